"""The large view: what it shows follows from the link, and all of it can be done by keys."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import samples
from tests.browser.axe import violations
from tests.browser.pages import Pages, updated, wait_ready
from tests.browser.samples import Sample
from tests.helpers import PATIENCE_S

_MODES = ("side", "slider", "flip", "onion", "difference")
# Of the gallery of 108: three columns; the third row's second picture is the eighth.
_ID = "p00007"

Open = Callable[..., Page]


@pytest.fixture
def opened(watched: Pages, usual: Path) -> Open:
    """The gallery of 108 at a link."""
    watched.expect("ERR_FILE_NOT_FOUND")

    def at(link: str, **options: Any) -> Page:
        page = watched.open(**options)
        page.goto((usual / "index.html").as_uri() + "#v=1&" + link)
        wait_ready(page)
        return page

    return at


def dialog(page: Page) -> Locator:
    return page.locator("dialog.large")


def results(page: Page) -> Locator:
    return page.locator(".results .pane")


def state(page: Page, name: str) -> Any:
    return page.evaluate(f"NST.app.state.{name}")


def press(page: Page, *keys: str) -> None:
    for key in keys:
        with updated(page):
            page.keyboard.press(key)


def test_a_picture_opens_closes_and_gives_the_focus_back(opened: Open) -> None:
    page = opened("")
    title = page.title()
    page.locator('#grid [tabindex="0"]').focus()
    press(page, "Enter")
    expect(dialog(page)).to_be_visible()
    expect(results(page)).to_have_count(3)
    expect(page.get_by_role("dialog")).to_have_accessible_name("great hall × wave")
    assert page.title().startswith("great hall × wave, vgg16")
    press(page, "]", "Escape")
    expect(dialog(page)).to_have_count(0)
    assert page.title() == title
    assert page.evaluate("document.activeElement.closest('tr').dataset.line") == "1"
    with updated(page):
        page.go_back()
    expect(dialog(page)).to_be_visible()


def test_full_pictures_take_the_place_of_small_ones(opened: Open) -> None:
    page = opened(f"id={_ID}")
    for image in results(page).locator("img").all():
        expect(image).to_have_attribute("src", "images/" + str(image.get_attribute("src"))[7:])
    expect(results(page).locator("a[download]")).to_have_count(3)


def test_rows_and_columns_are_reached_by_keys_and_the_zoom_stays(opened: Open) -> None:
    page = opened(f"id={_ID}&z=4,0.5,0.5&m=slider&a=vgg19&b=vgg16")
    press(page, "]")
    assert state(page, "id") == "p00010"
    press(page, "[", "[")
    assert state(page, "id") == "p00004"
    press(page, "3")
    assert (state(page, "id"), state(page, "a")) == ("p00005", "resnet50")
    assert (state(page, "zoom"), state(page, "mode"), state(page, "b")) == (4, "slider", "vgg16")


def test_columns_are_shown_and_hidden_but_for_two(opened: Open) -> None:
    page = opened(f"id={_ID}")
    press(page, "Shift+Digit1")
    assert state(page, "show") == ["vgg19", "resnet50"]
    expect(results(page)).to_have_count(2)
    page.keyboard.press("Shift+Digit3")
    expect(dialog(page).locator("p[role=status]")).to_have_text(
        "Two to six pictures stand side by side."
    )
    with updated(page):
        page.get_by_role("button", name="vgg16", exact=True).first.click()
    expect(results(page)).to_have_count(3)


def test_modes_of_two_are_chosen_and_steered_by_keys(opened: Open) -> None:
    page = opened(f"id={_ID}")
    press(page, "s")
    line = page.get_by_role("slider")
    expect(line).to_have_value("50")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    expect(line).to_have_value("39")
    press(page, "x")
    assert (state(page, "a"), state(page, "b")) == ("content", "vgg19")
    press(page, "f")
    second = page.locator(".flip .picture").nth(1)
    expect(second).to_be_hidden()
    page.keyboard.press(" ")
    expect(second).to_be_visible()
    press(page, "o")
    expect(page.locator(".onion .picture").nth(1)).to_have_css("opacity", "0.5")
    press(page, "d")
    expect(page.locator(".difference .picture").nth(1)).to_have_css("mix-blend-mode", "difference")
    with updated(page):
        page.get_by_label("Picture A").select_option("resnet50")
    assert state(page, "a") == "resnet50"
    press(page, "c")
    expect(results(page)).to_have_count(3)


def test_the_wheel_zooms_at_the_pointer_and_the_link_follows_once(opened: Open) -> None:
    page = opened(f"id={_ID}")
    expect(results(page).locator("img")).to_have_count(3)
    box = page.locator(".results .window").first.bounding_box()
    assert box is not None
    before = page.evaluate("history.length")
    with updated(page):
        page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
        for _ in range(8):
            page.mouse.wheel(0, -100)
    # A busy machine has one update after the first turn of the wheel, and others after it.
    until = monotonic() + PATIENCE_S
    while (zoom := state(page, "zoom")) < 6:
        assert monotonic() < until, zoom
        page.wait_for_timeout(50)
    # The point at a quarter is still there.
    assert state(page, "cx") == pytest.approx(0.25 + 0.25 / zoom, abs=0.01)
    expect(page.locator(".results img").first).to_have_css("image-rendering", "pixelated")
    assert page.evaluate("history.length") == before
    gaps = page.evaluate(
        "Array.from(document.querySelectorAll('.window'), (window) => {"
        " const [a, b] = [window, window.querySelector('img')].map((e) => e.getBoundingClientRect());"
        " return Math.max(b.left - a.left, b.top - a.top, a.right - b.right, a.bottom - b.bottom); })"
    )
    assert max(gaps) < 1


def test_failures_and_missing_files_are_told(opened: Open) -> None:
    page = opened("q=is:failed")
    page.locator("#grid td[data-item]").first.click()
    expect(page.locator(".failure strong").first).to_have_text("diverged")
    assert page.locator(".facts-table", has_text="reason").count() == 1
    press(page, "Escape")
    with updated(page):
        page.evaluate("NST.app.go({ q: '', id: 'p00010' })")
    missing = page.locator(".results .missing")
    expect(missing).to_contain_text("Picture not found.")
    missing.get_by_role("button", name="Try again").click()
    expect(missing).to_have_count(1)


def test_figures_mark_no_best_among_networks_and_tell_only_what_differs(opened: Open) -> None:
    page = opened(f"id={_ID}")
    table = page.locator(".facts-table")
    expect(table.get_by_role("row", name="Style loss by layer")).to_have_count(1)
    expect(table.get_by_label("best")).to_have_count(0)
    expect(table.get_by_role("row", name="backbone")).to_have_count(1)
    expect(table.get_by_role("row", name="optimizer")).to_have_count(0)
    button = page.get_by_role("button", name="Show all parameters")
    with updated(page):
        button.click()
    expect(table.get_by_role("row", name="optimizer")).to_have_count(1)
    expect(page.get_by_role("button", name="Show only what differs")).to_be_focused()
    curve = page.locator(".plot").get_by_role("img")
    expect(curve).to_have_accessible_name(
        re.compile(r"vgg16: first [\d.]+ at evaluation 1, last .*, lowest ")
    )


def test_a_picture_that_is_not_there_says_so(opened: Open) -> None:
    page = opened("id=nothing")
    expect(page.locator("#live")).to_have_text("This picture is not in the gallery.")
    expect(dialog(page)).to_have_count(0)
    assert "id=" not in page.url


def test_opening_and_closing_leaves_nothing_behind(opened: Open) -> None:
    page = opened("")
    session = page.context.new_cdp_session(page)

    def nodes() -> int:
        for _ in range(10):
            with updated(page):
                page.evaluate(f"void NST.app.go({{ id: '{_ID}' }})")
            expect(results(page).locator('img[src^="images"]')).to_have_count(3)
            expect(page.locator(".legend li")).to_have_count(3)
            page.wait_for_timeout(60)
            with updated(page):
                page.evaluate("void NST.app.go({ id: '' })")
            # And once so soon that its pictures are still on their way.
            for hasty in (_ID, ""):
                with updated(page):
                    page.evaluate(f"void NST.app.go({{ id: '{hasty}' }})")
        page.wait_for_timeout(600)
        session.send("HeapProfiler.collectGarbage")
        return int(session.send("Memory.getDOMCounters")["nodes"])

    nodes()
    first = nodes()
    assert nodes() <= first * 1.05


@pytest.mark.parametrize("mode", _MODES)
def test_nothing_is_amiss_in_any_mode(opened: Open, mode: str) -> None:
    for width, scheme in ((1280, "light"), (320, "dark")):
        page = opened(
            f"id={_ID}&m={mode}", viewport={"width": width, "height": 800}, color_scheme=scheme
        )
        expect(page.locator(".curve")).to_be_visible()
        assert violations(page) == []
        assert page.evaluate("document.querySelector('.large').scrollWidth") <= width
        page.keyboard.press("?")
        expect(page.locator("dialog.help")).to_be_visible()
        assert violations(page, within=".help") == []


def test_what_is_shown_is_exported_and_printed(opened: Open) -> None:
    page = opened("q=backbone=vgg16")
    page.evaluate("NST.app.more()")
    with page.expect_download() as download:
        page.evaluate("NST.export.csv(NST.app)")
    lines = download.value.path().read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 1 + page.evaluate("NST.app.view.shown")
    assert lines[0].startswith("content,style,")
    page.evaluate("window.print = () => (window.hasPrinted = true)")
    page.evaluate("NST.export.print(NST.app)")
    assert page.evaluate("window.hasPrinted")
    expect(page.locator(".sheet > section")).to_have_count(36)
    expect(page.locator(".sheet > p")).to_contain_text("All 36 rows. file://")


@pytest.mark.parametrize("only", ["", "&q=backbone:vgg16"])
def test_on_a_phone_the_picture_that_was_opened_is_in_sight(opened: Open, only: str) -> None:
    """Its content and style are beside it, a swipe away; there may be one column or several."""
    page = opened(f"id=p00006{only}", viewport={"width": 390, "height": 844})
    shown = results(page)
    expect(shown).to_have_count(1 if only else 3)
    current = shown.filter(has_text=re.compile("vgg16|VGG-16"))
    expect(current.locator("img").first).to_be_in_viewport(ratio=0.9)


def test_a_picture_opens_where_the_browser_takes_no_more_links(opened: Open) -> None:
    page = opened("")
    page.evaluate(
        "void (history.pushState = () => { throw new DOMException('too many', 'SecurityError') })"
    )
    with updated(page):
        page.locator("#grid td[data-item]").first.click()
    expect(dialog(page)).to_be_visible()
    press(page, "]", "Escape")
    expect(dialog(page)).to_have_count(0)
    assert "id=" in page.url


def test_what_is_let_go_of_outside_the_picture_is_held_no_more(opened: Open) -> None:
    page = opened(f"id={_ID}")
    expect(results(page).locator("img")).to_have_count(3)
    box = page.locator(".results .window").first.bounding_box()
    title = page.locator("#large-title").bounding_box()
    assert box is not None
    assert title is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(title["x"] + 5, title["y"] + 5)
    page.mouse.up()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    with updated(page):
        page.mouse.wheel(0, -100)
    assert state(page, "zoom") > 1


def test_a_picture_that_failed_takes_no_star_from_the_others(
    watched: Pages, tmp_path: Path
) -> None:
    made = [Sample(number=n, params={"seed": n}) for n in range(3)]
    made[1] = made[1].failed("diverged", "the loss became nan")
    made[1] = replace(made[1], outcome=made[1].outcome | {"weights_digest": None})
    page = watched.open()
    page.goto(samples.write(tmp_path, made).as_uri() + "#v=1&id=p00000")
    wait_ready(page)
    for name in ("style loss", "relu1_1"):
        row = page.locator(f".facts-table tr:has(th:text-is('{name}'))")
        expect(row.get_by_label("best")).to_have_count(1)


@pytest.mark.parametrize(
    ("rows", "item", "count"),
    # Of 108 columns, those that have a picture in the row; and of more than 100 the open one too.
    [("content", "p00030", 27), ("size", "p00107", 101)],
)
def test_of_very_many_columns_those_of_the_row_are_offered(
    opened: Open, rows: str, item: str, count: int
) -> None:
    page = opened(f"x=id&y={rows}&id={item}")
    buttons = dialog(page).locator(".large-columns button")
    expect(buttons).to_have_count(count)
    expect(buttons.and_(page.locator("[aria-pressed=true]"))).to_have_count(6)
    press(page, "s")
    choice = page.get_by_label("Picture A")
    expect(choice).to_have_value(item)
    expect(choice.locator("option")).to_have_count(2 + count)
