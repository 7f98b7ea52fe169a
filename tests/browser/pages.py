"""Pages that are watched: whatever goes wrong in one, and whatever it asks for, is put down."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Playwright,
    expect,
)

from tests.browser import chromium

# A browser that looks for updates asks for what the page did not.
ARGUMENTS = (
    "--no-sandbox",  # root, as in a container, has none
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
VIEWPORT = {"width": 1280, "height": 900}
# A machine that runs other tests beside it is now and then away for seconds.
_TIMEOUT_MS = 30_000
expect.set_options(timeout=_TIMEOUT_MS)
_LOCAL = ("data:", "blob:", "about:")

_REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  globalThis.nstTestViolation(`${event.effectiveDirective} forbids ${event.blockedURI}`);
});
"""


def launch(playwright: Playwright, **options: Any) -> Browser:
    """The Chromium of this machine, without a window."""
    return playwright.chromium.launch(executable_path=chromium.find(), args=[*ARGUMENTS], **options)


# Without slots: Playwright sets an attribute on whose method it is given.
@dataclass
class Pages:
    """Opens watched pages, each in a profile of its own, and tells what went wrong in any."""

    browser: Browser
    requests: list[str] = field(default_factory=list)
    _problems: list[str] = field(default_factory=list)
    _expected: list[re.Pattern[str]] = field(default_factory=list)
    _contexts: list[BrowserContext] = field(default_factory=list)

    def open(self, **options: Any) -> Page:
        """An empty page; options are those of Playwright's `Browser.new_context`."""
        context = self.browser.new_context(**{"viewport": VIEWPORT} | options)
        self._contexts.append(context)
        context.set_default_timeout(_TIMEOUT_MS)
        # A binding is no script of the page, so that its policy has no say in it.
        context.expose_binding(
            "nstTestViolation", lambda _, text: self._problems.append(f"policy: {text}")
        )
        context.add_init_script(_REPORT_VIOLATIONS)
        page = context.new_page()
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self._problems.append(f"error: {error}"))
        page.on("dialog", self._asked)
        page.on("popup", lambda _: self._problems.append("popup: a window was opened"))
        context.on("request", lambda request: self._requested(request.url, page.url))
        return page

    def expect(self, pattern: str) -> None:
        """Let problems pass that this is found in, such as that of a picture which is not there."""
        self._expected.append(re.compile(pattern))

    def problems(self) -> list[str]:
        """All that went wrong so far and was not expected."""
        return [
            problem
            for problem in self._problems
            if not any(pattern.search(problem) for pattern in self._expected)
        ]

    def close(self) -> None:
        for context in self._contexts:
            context.close()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self._problems.append(f"console: {message.text}")

    def _asked(self, dialog: Dialog) -> None:
        self._problems.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _requested(self, url: str, page_url: str) -> None:
        self.requests.append(url)
        is_local = url.startswith(_LOCAL) or page_url.startswith("about:")
        if not is_local and _origin(url) != _origin(page_url):
            self._problems.append(f"request: {url} is not of {page_url}")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def updates(page: Page) -> int:
    """How many updates of its view the gallery has finished; 0 before the first."""
    found = page.evaluate("Number(document.documentElement.dataset.ready ?? 0)")
    return int(found)


def wait_ready(page: Page, *, after: int = 0, timeout_s: float = 30, controls: bool = True) -> None:
    """Until an update later than `after` is finished, and the controls are there, unless they are to wait."""
    # Playwright's own wait_for_function makes a function of a text, which the page's policy forbids.
    end = monotonic() + timeout_s
    while updates(page) <= after:
        assert monotonic() < end, f"no update after {after} in {timeout_s:g} s; {problem(page)!r}"
        sleep(0.01)
    if controls:
        page.evaluate("NST.app.controls()")


def problem(page: Page) -> str:
    """What the gallery says went wrong, empty where nothing did."""
    note = page.locator("#problem:not([hidden])")
    return note.inner_text() if note.count() else ""


def opens(page: Page, url: str) -> None:
    """The page shows its rows and loads more of them where it is scrolled to."""
    page.goto(url)
    wait_ready(page)
    expect(page.locator('#grid[role="grid"]')).to_be_visible()
    assert page.locator("tr[data-line]").count() > 1
    first = page.locator('#grid [role="gridcell"] img').first
    expect(first).to_be_visible()
    assert first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    last = int(page.evaluate("NST.app.view.numLines")) - 1
    expect(page.locator(f'tr[data-line="{last}"]:not([data-pending])')).to_be_visible()


@contextmanager
def updated(page: Page) -> Iterator[None]:
    """What is done within leads to an update, which is waited for."""
    before = updates(page)
    yield
    wait_ready(page, after=before)
