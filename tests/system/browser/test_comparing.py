"""Any two pictures beside or over each other: chosen in the table, named, linked, at their own size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.axe import violations
from tests.browser.pages import Pages, updated, wait_ready

Open = Callable[..., Page]


@pytest.fixture
def opened(watched: Pages, usual_url: str) -> Open:
    """The gallery of 108 at a link, from a server."""
    watched.expect("404")

    def at(link: str = "", **options: Any) -> Page:
        page = watched.open(**options)
        page.goto(usual_url + link)
        wait_ready(page)
        return page

    return at


def state(page: Page, name: str) -> Any:
    return page.evaluate(f"NST.app.state.{name}")


def cell(page: Page, item: int) -> Any:
    return page.locator(f"td[data-item='{item}']")


def test_two_cells_are_compared_by_shift_and_click(opened: Open) -> None:
    page = opened()
    cell(page, 0).click(modifiers=["Shift"])
    expect(cell(page, 0)).to_have_attribute("aria-selected", "true")
    with updated(page):
        cell(page, 2).click(modifiers=["Shift"])
    assert [state(page, name) for name in ("id", "mode", "a", "b")] == [
        "p00000", "slider", "vgg16", "resnet50",
    ]  # fmt: skip
    expect(page.locator(".plate")).to_have_text(["vgg16", "resnet50"])


def test_two_cells_of_other_rows_are_compared_by_keys_and_the_second_stays(opened: Open) -> None:
    page = opened()
    cell(page, 0).focus()
    page.keyboard.press("c")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    with updated(page):
        page.keyboard.press("c")
    assert state(page, "b") == "id=p00007"
    names = page.locator(".plate")
    expect(names.nth(1)).to_have_text("great hall × wave, vgg19")
    expect(page.locator(".pair .picture img").nth(1)).to_have_attribute("src", "images/p00007.png")
    with updated(page):
        page.keyboard.press("]")
    expect(names.nth(1)).to_have_text("great hall × wave, vgg19")
    again = opened("#" + page.url.partition("#")[2])
    expect(again.locator(".plate")).to_have_text(names.all_inner_texts())
    assert violations(page) == []


def test_escape_forgets_the_marked_cell(opened: Open) -> None:
    page = opened()
    cell(page, 0).focus()
    page.keyboard.press("c")
    page.keyboard.press("Escape")
    expect(page.locator("[aria-selected]")).to_have_count(0)


def test_the_link_has_where_the_slider_is_and_how_bright_the_difference(opened: Open) -> None:
    page = opened("#v=1&id=p00007&m=slider")
    with updated(page):
        page.keyboard.press("Shift+ArrowRight")
    assert "at=60" in page.url
    with updated(page):
        page.keyboard.press("d")
    with updated(page):
        page.get_by_role("slider").press("ArrowRight")
    assert "bright=3" in page.url
    with updated(page):
        page.keyboard.press("f")
    with updated(page):
        page.keyboard.press(" ")
    again = opened("#" + page.url.partition("#")[2])
    expect(again.locator(".flip .picture").nth(1)).to_be_visible()
    expect(again.locator(".plate-b")).to_be_visible()
    with updated(again):
        again.keyboard.press("s")
    expect(again.get_by_role("slider")).to_have_value("60")
    with updated(again):
        again.keyboard.press("d")
    expect(again.get_by_role("slider")).to_have_value("3")


@pytest.mark.parametrize("ratio", [1, 2])
def test_a_hundred_percent_is_a_pixel_for_a_pixel(opened: Open, ratio: int) -> None:
    page = opened("#v=1&id=p00007", device_scale_factor=ratio)
    expect(page.locator('.results img[src^="images"]')).to_have_count(3)
    with updated(page):
        page.keyboard.press("z")
    expect(page.locator(".large-zoom")).to_have_text("100 %")
    box = page.locator(".results img").first.evaluate(
        "image => { const box = image.getBoundingClientRect();"
        " const scale = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);"
        " return scale * devicePixelRatio; }"
    )
    assert box == pytest.approx(1, abs=0.002)
    with updated(page):
        page.keyboard.press("0")
    assert state(page, "zoom") == 1


def test_the_arrows_go_through_the_columns(opened: Open) -> None:
    page = opened("#v=1&id=p00006")
    for key, item in (("ArrowRight", "p00007"), (".", "p00008"), (",", "p00007")):
        with updated(page):
            page.keyboard.press(key)
        assert state(page, "id") == item
    with updated(page):
        page.keyboard.press("s")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("slider")).to_have_value("51")
    assert state(page, "id") == "p00007"


@pytest.mark.parametrize("mode", ["side", "slider", "flip", "onion", "difference"])
def test_the_view_is_saved_as_one_picture(opened: Open, tmp_path: Path, mode: str) -> None:
    page = opened(f"#v=1&id=p00007&m={mode}&a=vgg16&b=vgg19")
    shown = ".results" if mode == "side" else ".pair"
    expect(page.locator(f'{shown} img[src^="images"]')).to_have_count(3 if mode == "side" else 2)
    with page.expect_download() as download:
        page.keyboard.press("w")
    download.value.save_as(tmp_path / "view.png")
    image = Image.open(tmp_path / "view.png").convert("RGB")
    assert image.width == (3 * 916 + 16 if mode == "side" else 932)
    colors = image.getcolors(maxcolors=1 << 24)
    assert colors is not None
    assert len(colors) > 100


def test_a_page_from_a_disk_says_how_the_view_can_be_saved(watched: Pages, usual: Path) -> None:
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open()
    page.goto((usual / "index.html").as_uri() + "#v=1&id=p00007")
    wait_ready(page)
    expect(page.locator('.results img[src^="images"]')).to_have_count(3)
    page.keyboard.press("w")
    expect(page.locator("dialog.large > p[role=status]")).to_contain_text("--serve")
