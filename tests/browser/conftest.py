from tests.browser.fixtures import browser, page, usual, usual_url, watched

# Of this folder's package too, so that Playwright ends with its tests.
__all__ = ["browser", "page", "usual", "usual_url", "watched"]
