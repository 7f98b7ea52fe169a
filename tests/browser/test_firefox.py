"""The gallery from a file in Firefox, where such a page may read no other file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import firefox
from tests.browser.firefox import Firefox


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    if firefox.find() is None:
        pytest.skip(firefox.MISSING)
    with firefox.opened(tmp_path_factory.mktemp("firefox") / "profile") as opened:
        yield opened


def test_it_is_as_strict_as_a_users(tab: Firefox, tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("other")
    (tmp_path / "index.html").write_text("<!doctype html><title>t</title>")
    tab.open((tmp_path / "index.html").as_uri())
    assert tab.evaluate("document.title") == "t"
    assert tab.evaluate("fetch('other.txt').then(() => 'read', () => 'refused')") == "refused"


def test_the_gallery_opens_from_a_file(tab: Firefox, usual: Path) -> None:
    # What another page logged may be told late, but not after this.
    tab.open("about:blank")
    tab.problems.clear()
    tab.requests.clear()
    tab.open((usual / "index.html").as_uri())
    tab.wait_for("Number(document.documentElement.dataset.ready) > 0")
    assert tab.evaluate("document.querySelectorAll('tr[data-line]').length") > 1
    tab.wait_for("document.querySelector('#grid [role=gridcell] img').naturalWidth > 0")
    tab.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = int(tab.evaluate("NST.app.view.numLines")) - 1
    tab.wait_for(f"document.querySelector('tr[data-line=\"{last}\"]:not([data-pending])') !== null")
    tab.evaluate("NST.app.go({ q: 'wave' })")
    assert tab.evaluate("NST.app.view.shown") > 0
    assert tab.violations() == []
    assert tab.problems == []
    # It tells of no file that is read.
    assert all(url.startswith("data:") for url in tab.requests)
