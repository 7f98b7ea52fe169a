"""What users found broken once: the large view on a phone, printing, the menu's labels, CSV, rows from many files."""

import csv
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from nst.gallery import codec
from tests.browser import samples
from tests.browser.pages import Pages, wait_ready


@pytest.fixture(scope="module")
def scattered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a gallery of 108 that has a file of its own for the data of each."""
    folder = tmp_path_factory.mktemp("scattered")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "CHUNK_ITEMS", 1)
        samples.write(folder, samples.usual(), gone=samples.GONE)
    return folder


def shown(watched: Pages, folder: Path, link: str = "", **options: Any) -> Page:
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open(**options)
    page.goto((folder / "index.html").as_uri() + link)
    wait_ready(page)
    return page


def test_on_a_phone_the_large_view_fills_the_screen_however_many_columns_there_are(
    watched: Pages, usual: Path
) -> None:
    page = shown(
        watched,
        usual,
        "#v=1&x=id",
        viewport={"width": 390, "height": 844},
        is_mobile=True,
        has_touch=True,
        device_scale_factor=2,
    )
    # A row that is replaced while it is tapped gets a touch that cannot be cancelled, of which
    # Chromium complains.
    expect(page.locator('tr[data-line="0"]:not([data-pending])')).to_be_visible()
    page.locator("#grid td[data-item]").first.tap()
    expect(page.locator("dialog.large")).to_be_visible()
    box = page.locator("dialog.large").bounding_box()
    assert box == {"x": 0, "y": 0, "width": 390, "height": 844}
    page.get_by_role("button", name="Close").tap()
    expect(page.locator("dialog.large")).to_have_count(0)


def test_ctrl_p_prints_all_rows_of_a_page_that_was_just_opened(watched: Pages, usual: Path) -> None:
    page = shown(watched, usual)
    page.evaluate("window.print = () => (document.body.dataset.printed = 'yes')")
    page.keyboard.press("Control+p")
    expect(page.locator("body[data-printed]")).to_be_attached()
    expect(page.locator(".sheet > section")).to_have_count(36)


def test_the_browsers_menu_prints_all_rows_after_the_first_movement(
    watched: Pages, usual: Path
) -> None:
    page = shown(watched, usual)
    page.mouse.move(100, 100)
    expect(page.locator('script[src*="/large."]')).to_be_attached()
    page.evaluate("NST.app.more()")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".sheet > section").count() > 3


def test_every_label_of_the_menu_can_be_read(watched: Pages, usual: Path) -> None:
    page = shown(watched, usual)
    page.get_by_role("button", name="More", exact=True).click()
    for name in ("as the system", "light", "dark"):
        box = page.locator("#menu").get_by_text(name, exact=True).bounding_box()
        assert box is not None
        assert box["width"] > 100


def test_the_csv_names_the_file_of_each_picture(watched: Pages, usual: Path) -> None:
    page = shown(watched, usual)
    page.get_by_role("button", name="More", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save what is shown as CSV").click()
    text = download.value.path().read_text(encoding="utf-8-sig")
    rows = list(csv.DictReader(text.splitlines()))
    pictures = {row["id"]: row["picture"] for row in rows}
    assert pictures["p00007"] == "images/p00007.png"
    assert {row["id"] for row in rows if not row["picture"]} == {"p00004", "p00040"}


def test_every_row_is_drawn_however_many_files_its_data_are_in(
    watched: Pages, scattered: Path
) -> None:
    page = shown(
        watched,
        scattered,
        "#v=1&layout=wall&size=s&sort=ssim",
        viewport={"width": 2560, "height": 1440},
    )
    expect(page.locator("#grid tr[data-pending]")).to_have_count(0)
    assert page.locator("#grid td[data-item] a").count() > 80
    asked = len(watched.requests)
    page.wait_for_timeout(300)
    assert watched.requests[asked:] == []


def test_every_picture_is_printed_however_many_files_its_data_are_in(
    watched: Pages, scattered: Path
) -> None:
    page = shown(watched, scattered, "#v=1&size=s")
    # What is on screen is there already, and makes way for the rest.
    expect(page.locator("#grid tr[data-pending]")).to_have_count(0)
    page.evaluate("NST.app.more()")
    page.evaluate("window.print = () => {}")
    page.evaluate("NST.export.print(NST.app)")
    # And what is printed of the two that failed.
    expect(page.locator(".sheet figure:has(img[src*=thumbs], img[src*=images])")).to_have_count(106)
    expect(page.locator(".sheet > p")).to_contain_text("All 36 rows.")


def test_captions_tell_only_what_is_known_to_differ_within_the_row(
    watched: Pages, scattered: Path
) -> None:
    # Of each row with one backbone in a column there are many lines, of which only the first are loaded.
    page = shown(watched, scattered, "#v=1&y=style&x=backbone&q=content:harbour")
    expect(page.locator("#grid tr[data-pending]")).to_have_count(0)
    captions = " ".join(page.locator("#grid .apart").all_inner_texts())
    assert "style weight" in captions
    assert "old harbour" not in captions
