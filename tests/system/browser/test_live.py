"""The page of a run that goes on: it says how far the run is, and shows what is new at the same place."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from nst.gallery.publishing import LiveGallery, rebuild_gallery
from nst.output.metadata import Record
from nst.running.outcomes import waiting
from tests.browser import axe, samples
from tests.browser.pages import Pages, wait_ready
from tests.tables import metadata_to_parquet

SAMPLES = samples.usual()
ROWS = [sample.record() for sample in SAMPLES]


def so_far(number: int) -> list[Record]:
    """The rows when so many of them are through."""
    return [
        each if at < number else replace(each, outcome=waiting(each.outcome.id))
        for at, each in enumerate(ROWS)
    ]


def table(rows: Sequence[Record]) -> bytes:
    labels = list(dict.fromkeys(label for each in rows for label in each.labels))
    return metadata_to_parquet(rows, labels)


def grow(gallery: LiveGallery, number: int, state: str = "running") -> None:
    rows = so_far(number)
    done = [each.outcome.status for each in rows[:number]]
    told: dict[str, Any] = {
        "state": state,
        "num_rows": len(rows),
        "num_ok": done.count("ok"),
        "num_failed": done.count("failed"),
        "seconds_left": 100.0,
        "at": "2026-01-01T00:00:00+00:00",
    }
    gallery.update(io.BytesIO(table(rows)), told, lambda: None)


def ask(page: Page) -> None:
    """As it does every few seconds."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def opened(watched: Pages, folder: Path) -> Page:
    watched.expect("Failed to load resource|ERR_FILE_NOT_FOUND")
    page = watched.open()
    page.goto((folder / "index.html").as_uri())
    wait_ready(page)
    return page


def test_what_is_new_is_offered_and_shown_at_the_same_place(watched: Pages, tmp_path: Path) -> None:
    samples.write(tmp_path, SAMPLES)
    gallery = LiveGallery(str(tmp_path))
    grow(gallery, 10)
    page = opened(watched, tmp_path)
    expect(page.locator("#run")).to_contain_text("Under way")
    expect(page.locator("#news")).to_be_hidden()
    page.keyboard.press("Tab")
    page.evaluate("scrollTo(0, 700)")
    grow(gallery, 40)
    ask(page)
    expect(page.locator("#news")).to_contain_text("show")
    place = page.evaluate("scrollY")
    assert place > 0
    spine = page.locator("html").get_attribute("data-spine")
    page.locator("#news").evaluate("button => button.click()")
    expect(page.locator("html")).not_to_have_attribute("data-spine", spine or "")
    wait_ready(page)
    # The policy of the page lets nobody wait in it.
    for _ in range(200):
        if page.evaluate("scrollY") == place:
            break
        page.wait_for_timeout(50)
    assert page.evaluate("scrollY") == place
    expect(page.locator("#news")).to_be_hidden()
    assert axe.violations(page) == []


def test_a_page_that_nobody_touches_grows_by_itself_up_to_the_end(
    watched: Pages, tmp_path: Path
) -> None:
    samples.write(tmp_path, SAMPLES)
    gallery = LiveGallery(str(tmp_path))
    grow(gallery, 1)
    page = opened(watched, tmp_path)
    waiting_cells = page.locator("td .waiting")
    expect(waiting_cells.first).to_have_text("waiting")
    rebuild_gallery([str(tmp_path)])
    ask(page)
    expect(page.locator("#run")).to_have_count(0)
    wait_ready(page)
    expect(waiting_cells).to_have_count(0)
