"""The pictures of a gallery in the README: `python -m bench.screenshot OUTPUT FOLDER`.

`gallery.jpg` is its table in the light, `compare.jpg` its second row large in the dark.
"""

import argparse
from pathlib import Path

from playwright.sync_api import Browser, ViewportSize, sync_playwright

from tests.browser.pages import launch, wait_ready

_QUALITY = 82
_SIZE: ViewportSize = {"width": 1280, "height": 860}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="what a run left on this machine")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    chosen = parser.parse_args()
    page = (chosen.output / "index.html").resolve().as_uri()
    with sync_playwright() as playwright:
        browser = launch(playwright)
        _take(browser, page, chosen.folder / "gallery.jpg", scheme="light")
        _take(browser, page, chosen.folder / "compare.jpg", scheme="dark", large=True)
        browser.close()


def _take(browser: Browser, url: str, path: Path, *, scheme: str, large: bool = False) -> None:
    context = browser.new_context(
        viewport=_SIZE,
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(url)
    wait_ready(page)
    if large:
        page.locator("#grid tr[data-line='1'] td[data-item]").first.click()
        page.locator("dialog .legend").wait_for()
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path, quality=_QUALITY, type="jpeg")
    context.close()


if __name__ == "__main__":
    main()
