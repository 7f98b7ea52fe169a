"""The gallery opens wherever it lies: from a file, from a plain server, below a path, moved."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.pages import Pages, opens, wait_ready
from tests.browser.serve import serving


@pytest.fixture(params=["file", "http", "below a path", "moved"])
def url(request: pytest.FixtureRequest, usual: Path, tmp_path: Path) -> Iterator[str]:
    match request.param:
        case "file":
            yield (usual / "index.html").as_uri()
        case "http":
            with serving(usual) as served:
                yield f"{served}/index.html"
        case "below a path":
            (tmp_path / "a b").mkdir()
            (tmp_path / "a b/100%#1").symlink_to(usual)
            with serving(tmp_path) as served:
                yield f"{served}/a%20b/100%25%231/"
        case _:
            shutil.copytree(usual, tmp_path / "moved #1 50% ü")
            yield (tmp_path / "moved #1 50% ü/index.html").as_uri()


def test_it_opens(page: Page, watched: Pages, url: str) -> None:
    watched.expect("Failed to load resource")
    opens(page, url)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(watched: Pages, usual: Path, scheme: str) -> None:
    watched.expect("Failed to load resource")
    page = watched.open(color_scheme=scheme)
    page.goto((usual / "index.html").as_uri())
    wait_ready(page)
    assert axe.violations(page) == []


@pytest.mark.parametrize(
    ("done", "found"),
    [
        ("document.querySelector('[popovertarget=filters]').click()", "#filters details"),
        ("document.querySelector('.sizes input[value=s]').click()", "#grid[data-size=s]"),
        ("document.getElementById('about').click()", "dialog[open]"),
        (
            "(() => { const search = document.getElementById('search'); search.value = 'backbone=vgg16';"
            " search.dispatchEvent(new Event('input', { bubbles: true })); })()",
            "#counts:text('hidden by the search')",
        ),
        (
            "(() => { const layout = document.getElementById('layout'); layout.value = 'wall';"
            " layout.dispatchEvent(new Event('change', { bubbles: true })); })()",
            "#grid[data-layout=wall]",
        ),
    ],
)
def test_what_is_done_before_the_controls_have_come_is_done_then(
    page: Page, watched: Pages, usual: Path, done: str, found: str
) -> None:
    watched.expect("Failed to load resource")
    page.goto((usual / "index.html").as_uri())
    wait_ready(page, controls=False)
    assert not [url for url in watched.requests if "/controls." in url]
    page.evaluate(f"void {done}")
    expect(page.locator(found).first).to_be_visible()


def test_the_first_key_is_not_lost(page: Page, watched: Pages, usual: Path) -> None:
    watched.expect("Failed to load resource")
    page.goto((usual / "index.html").as_uri())
    wait_ready(page, controls=False)
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
