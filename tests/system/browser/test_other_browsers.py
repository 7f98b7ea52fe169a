"""The gallery from a file in other engines than Chromium, where such a page may read no other file."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol

import pytest

from tests.browser import firefox, webkit


class Tab(Protocol):
    """What both can do."""

    def open(self, url: str) -> None: ...

    def evaluate(self, expression: str) -> Any: ...


# Neither has to be there, in CI neither.
@pytest.fixture(scope="module", params=[firefox, webkit], ids=["firefox", "webkit"])
def tab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if request.param.find() is None:
        pytest.skip(request.param.MISSING)
    with request.param.opened(tmp_path_factory.mktemp("browser") / "profile") as opened:
        yield opened


def wait_for(tab: Tab, expression: str, *, timeout_s: float = 15) -> None:
    """Until a JavaScript expression is true."""
    end = monotonic() + timeout_s
    while not tab.evaluate(expression):
        assert monotonic() < end, f"not true in {timeout_s:g} s: {expression}"
        sleep(0.02)


def test_it_is_as_strict_as_a_users(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("other")
    (tmp_path / "index.html").write_text("<!doctype html><title>t</title>")
    tab.open((tmp_path / "index.html").as_uri())
    assert tab.evaluate("document.title") == "t"
    assert tab.evaluate("fetch('other.txt').then(() => 'read', () => 'refused')") == "refused"


def test_the_gallery_opens_from_a_file(tab: Tab, usual: Path) -> None:
    if isinstance(tab, firefox.Firefox):
        # What another page logged may be told late, but not after this.
        tab.open("about:blank")
        tab.problems.clear()
        tab.requests.clear()
    tab.open((usual / "index.html").as_uri())
    wait_for(tab, "Number(document.documentElement.dataset.ready) > 0")
    assert tab.evaluate("document.querySelectorAll('tr[data-line]').length") > 1
    wait_for(tab, "document.querySelector('#grid [role=gridcell] img')?.naturalWidth > 0")
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = int(tab.evaluate("NST.app.view.numLines")) - 1
    wait_for(
        tab, f"document.querySelector('tr[data-line=\"{last}\"]:not([data-pending])') !== null"
    )
    tab.evaluate("NST.app.go({ q: 'wave' })")
    assert tab.evaluate("NST.app.view.shown") > 0
    tab.evaluate("document.querySelector('[role=gridcell] a').click()")
    wait_for(tab, "document.querySelector('dialog.large[open] img')?.naturalWidth > 0")
    assert tab.evaluate("document.getElementById('problem').hidden")
    if isinstance(tab, firefox.Firefox):
        assert tab.faults() == []
        assert all(url.startswith("data:") for url in tab.requests)
