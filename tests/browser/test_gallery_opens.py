"""The gallery in a real browser, the least of it; the rest is in tests/system/browser."""

from pathlib import Path

from playwright.sync_api import Page

from tests.browser.pages import Pages, opens


def test_it_asks_for_nothing_outside_its_folder(page: Page, watched: Pages, usual: Path) -> None:
    watched.expect("Failed to load resource")
    opens(page, (usual / "index.html").as_uri())
    others = [url for url in watched.requests if not url.startswith((usual.as_uri(), "data:"))]
    assert others == []
