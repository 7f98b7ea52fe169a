"""Fixtures: a browser, pages that are watched, and galleries to open in them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser import chromium, pages, samples
from tests.browser.pages import Pages
from tests.browser.serve import serving


# Of the package, not of the session: while Playwright is started no other test can use asyncio.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. Where there is none the test is skipped, and in CI it fails."""
    if chromium.find() is None:
        if chromium.must_run():
            pytest.fail(chromium.MISSING)
        pytest.skip(chromium.MISSING)
    with sync_playwright() as playwright:
        found = pages.launch(playwright)
        yield found
        found.close()


@pytest.fixture
def watched(browser: Browser) -> Iterator[Pages]:
    """To open several pages, or one that is unlike others. Nothing may go wrong in any of them."""
    opened = Pages(browser)
    yield opened
    opened.close()
    problems = opened.problems()
    # With a text of its own: pytest tells the values of an assertion in test files alone.
    assert not problems, "\n".join(problems)


@pytest.fixture
def page(watched: Pages) -> Page:
    """An empty page of 1280 x 900, in which nothing may go wrong."""
    return watched.open()


@pytest.fixture(scope="session")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a gallery of 108, some of which failed or lack their files: not to be changed."""
    folder = tmp_path_factory.mktemp("usual")
    samples.write(folder, samples.usual(), gone=samples.GONE)
    return folder


@pytest.fixture(scope="session")
def usual_url(usual: Path) -> Iterator[str]:
    """The page of that gallery over HTTP."""
    with serving(usual) as url:
        yield f"{url}/index.html"
