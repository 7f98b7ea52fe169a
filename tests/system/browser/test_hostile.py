"""Texts that want to be more than text: none runs, none is lost, none asks for anything."""

from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from nst.gallery.texts import shown_text
from tests.browser import hostile, samples
from tests.browser.pages import Pages, updates, wait_ready

_NAMES = ("x", "y", "q", "sort", "p", "left", "size", "id", "m", "a", "b", "show", "z", "all")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hostile")
    return samples.write(folder, hostile.rows()).as_uri()


def test_there_are_enough_of_them() -> None:
    assert len(set(hostile.PAYLOADS)) == len(hostile.PAYLOADS) >= 60


def lost(text: str) -> list[str]:
    """The payloads that are not in a text, as the gallery shows what a person wrote."""
    return [each for each in hostile.PAYLOADS if shown_text(each).strip() not in text]


def seen_text(page: Page) -> str:
    found = page.evaluate(
        "Array.from(document.querySelectorAll('[title]'), (e) => e.title).join('\\n')"
        " + '\\n' + document.body.textContent"
    )
    return str(found)


def test_the_table_shows_each_as_it_is(page: Page, gallery: str) -> None:
    page.goto(gallery)
    wait_ready(page)
    text = ""
    height = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, 800):
        page.evaluate(f"scrollTo(0, {top})")
        page.wait_for_timeout(60)
        expect(page.locator("tr[data-pending]")).to_have_count(0)
        text += seen_text(page)
    assert lost(text) == []


def test_the_large_view_shows_each_as_it_is(page: Page, gallery: str) -> None:
    page.goto(gallery)
    wait_ready(page)
    page.evaluate("NST.app.go({ id: 'p00000', all: true })")
    expect(page.locator("dialog.large[open]")).to_be_visible()
    text = ""
    for number in range(2 * len(hostile.PAYLOADS)):
        before = updates(page)
        page.evaluate(f"NST.app.go({{ id: 'p{number:05}' }})")
        if number:
            wait_ready(page, after=before)
        text += seen_text(page)
    assert lost(text) == []


def test_names_of_fields_and_columns_are_shown_as_they_are(page: Page, tmp_path: Path) -> None:
    page.goto(samples.write(tmp_path, hostile.names()).as_uri())
    wait_ready(page)
    page.locator("button[popovertarget=rows]").click()
    page.locator("button[popovertarget=rows]").click()
    page.locator("button[popovertarget=filters]").click()
    text = seen_text(page)
    assert lost(text) == []


def test_a_link_with_any_of_them_opens(watched: Pages, gallery: str) -> None:
    page = watched.open()
    page.goto(gallery)
    wait_ready(page)
    for payload in hostile.PAYLOADS:
        value = quote(payload, safe="")
        links = [
            "&".join(["#v=1", *(f"{name}={value}" for name in _NAMES), f"{value}=1"]),
            # As someone types it.
            f"#v=1&q={payload}",
        ]
        for link in links:
            before = updates(page)
            page.evaluate("(link) => { location.hash = link; }", link)
            wait_ready(page, after=before)


def test_a_search_for_any_of_them_is_answered(page: Page, gallery: str) -> None:
    page.goto(gallery)
    wait_ready(page)
    for payload in hostile.PAYLOADS:
        before = updates(page)
        page.evaluate("(q) => { NST.app.go({ q }); }", payload)
        wait_ready(page, after=before)


def test_the_pages_without_scripts_run_none(watched: Pages, gallery: str) -> None:
    folder = Path(gallery.removeprefix("file://")).parent
    page = watched.open()
    text = ""
    for path in sorted((folder / "pages").glob("*.html")):
        page.goto(path.as_uri())
        text += seen_text(page)
    assert lost(text) == []
