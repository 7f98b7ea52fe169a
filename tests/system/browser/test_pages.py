"""That the watching itself sees what it is there for."""

from pathlib import Path
from time import monotonic

import pytest
from playwright.sync_api import Page

from tests.browser import axe
from tests.browser.pages import Pages
from tests.browser.serve import serving

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:"


def write(folder: Path, body: str, script: str = "") -> str:
    """A page with our policy."""
    (folder / "script.js").write_text(script)
    (folder / "index.html").write_text(
        f'<!doctype html><html lang="en"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<title>t</title><link rel="icon" href="data:,"><script src="script.js" defer></script>'
        f"<main><h1>h</h1>{body}</main>"
    )
    return (folder / "index.html").as_uri()


def wait_until_seen(page: Page, watched: Pages, problem: str) -> None:
    """A browser tells of some problems through another process, on a busy machine after seconds."""
    end = monotonic() + 10
    while not any(problem in found for found in watched.problems()):
        assert monotonic() < end, watched.problems()
        page.wait_for_timeout(20)


def test_a_page_without_faults_has_none(page: Page, watched: Pages, tmp_path: Path) -> None:
    page.goto(write(tmp_path, "<p>text"))
    assert watched.problems() == []
    assert axe.violations(page) == []


@pytest.mark.parametrize(
    ("body", "script", "problem"),
    [
        ("", "console.error('x')", "console: x"),
        ("", "console.warn('x')", "console: x"),
        ("", "throw new Error('x')", "error: x"),
        ("", "Promise.reject(new Error('x'))", "error: x"),
        ("", "alert('x')", "dialog: x"),
        # One that runs: Chromium tells of others no more since its version 150.
        ("<img src='data:,' alt='a' onerror='x()'>", "", "policy: script-src"),
        ("<p style='color: red'>", "", "policy: style-src"),
        ("<script>1</script>", "", "policy: script-src"),
        ("<img src='https://192.0.2.1/a.png' alt='a'>", "", "policy: img-src"),
        ("<img src='gone.png' alt='a'>", "", "console: Failed to load resource"),
        (
            "",
            "location.href = 'http://127.0.0.1:9/'",
            "request: http://127.0.0.1:9/ is not of file:",
        ),
    ],
)
def test_what_goes_wrong_is_seen(
    page: Page, watched: Pages, tmp_path: Path, body: str, script: str, problem: str
) -> None:
    page.goto(write(tmp_path, body, script))
    wait_until_seen(page, watched, problem)
    watched.expect(".")


def test_what_is_expected_is_no_problem(page: Page, watched: Pages, tmp_path: Path) -> None:
    page.goto(write(tmp_path, "<img src='gone.png' alt='a'>"))
    wait_until_seen(page, watched, "Failed to load resource")
    watched.expect("Failed to load resource")
    assert watched.problems() == []


def test_accessibility_faults_are_told_by_element(page: Page, tmp_path: Path) -> None:
    page.goto(write(tmp_path, "<img src='data:,' id='plain'><button></button>"))
    found = axe.violations(page)
    assert [line.split(":")[0] for line in found] == ["button-name", "image-alt"]
    assert axe.violations(page, within="h1") == []


def test_the_server_is_plain(page: Page, tmp_path: Path) -> None:
    write(tmp_path, "<p>text")
    with serving(tmp_path) as url:
        response = page.goto(f"{url}/index.html")
        assert response is not None
        assert "content-encoding" not in response.headers
        assert "accept-ranges" not in response.headers
