"""The layouts, the plot, the filters and what explains the figures."""

from itertools import product
from pathlib import Path
from time import monotonic, sleep

import pytest
from playwright.sync_api import FloatRect, Page, expect

from tests.browser import axe, samples
from tests.browser.pages import Pages, updated, wait_ready
from tests.browser.samples import Sample

CONTENTS = [f"pictures/photo-{n}.jpg" for n in range(12)]
STYLES = [f"styles/style-{n}.jpg" for n in range(4)]


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 12 contents x 4 styles of one backbone."""
    made = [
        Sample(number=n, content=content, style=style)
        for n, (content, style) in enumerate(product(CONTENTS, STYLES))
    ]
    return samples.write(tmp_path_factory.mktemp("crossed"), made)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 60 pictures, each of a content and a style of its own."""
    made = [Sample(number=n, content=f"c{n}.jpg", style=f"s{n}.jpg") for n in range(60)]
    return samples.write(tmp_path_factory.mktemp("pairs"), made)


def opened(
    watched: Pages, path: Path, link: str = "", *, width: int = 1280, height: int = 900
) -> Page:
    page = watched.open(viewport={"width": width, "height": height}, reduced_motion="reduce")
    page.goto(path.as_uri() + link)
    wait_ready(page)
    return page


def box(page: Page, selector: str, number: int = 0) -> FloatRect:
    # The grid makes its rows anew when it learns its own width, so the element that was found may be
    # gone before it is measured.
    end = monotonic() + 10
    while (found := page.locator(selector).nth(number).bounding_box()) is None:
        assert monotonic() < end, f"{selector} is never seen"
        sleep(0.01)
    return found


@pytest.mark.parametrize("width", [1280, 1920])
def test_styles_stand_across_with_their_pictures_and_fill_the_width(
    watched: Pages, crossed: Path, width: int
) -> None:
    page = opened(watched, crossed, width=width)
    names = page.locator("#grid thead .name").all_inner_texts()
    assert names == ["content", "style 0", "style 1", "style 2", "style 3"]
    expect(page.locator("#grid thead img.of")).to_have_count(4)
    last = box(page, "#grid tbody tr:first-child td", 3)
    assert width * 0.9 < last["x"] + last["width"] <= width
    # The heads stay above the pictures.
    page.evaluate("scrollTo(0, 900)")
    assert box(page, "#grid thead img.of")["y"] < 100


def test_the_heads_of_rows_stay_when_the_table_is_scrolled_sideways(
    watched: Pages, crossed: Path
) -> None:
    page = opened(watched, crossed, "#size=l")
    page.evaluate("scrollTo(600, 0)")
    assert page.evaluate("scrollX") > 100
    head = box(page, "#grid tbody .head")
    assert -1 <= head["x"] < 40
    page.locator("#grid td").nth(1).focus()
    page.keyboard.press("ArrowLeft")
    focused = box(page, "#grid td")
    assert focused["x"] >= box(page, "#grid tbody .head")["x"] + head["width"]


def test_pictures_that_no_table_would_hold_make_a_wall_that_keys_walk_through(
    watched: Pages, pairs: Path
) -> None:
    page = opened(watched, pairs)
    expect(page.locator("#layout")).to_have_value("wall")
    per_line = page.locator("#grid tbody tr:first-child td").count()
    assert per_line >= 4
    expect(page.locator("#grid td").first).to_contain_text("c0 × s0")
    page.locator("#grid td").first.focus()
    page.keyboard.press("Control+End")
    expect(page.locator('td[data-item="59"]')).to_be_visible()
    with updated(page):
        page.select_option("#sort", "ssim")
    order = page.evaluate(
        "Array.from(document.querySelectorAll('#grid td[data-item]'), (td) => Number(td.dataset.item))"
    )
    values = page.evaluate(
        "(items) => NST.app.store.column('ssim').then(({ values, codes }) => items.map((i) => values[codes[i]]))",
        order,
    )
    assert values == sorted(values, reverse=True)
    with updated(page):
        page.locator("#grid td[data-item]").first.click()
    with updated(page):
        page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.item") == str(order[0])
    with updated(page):
        page.select_option("#layout", "table")
    expect(page.locator("#grid thead")).to_be_visible()
    assert "layout=table" in page.url


@pytest.mark.parametrize("size", ["s", "m", "l"])
@pytest.mark.parametrize("layout", ["table", "wall"])
def test_figures_are_shown_whole(watched: Pages, crossed: Path, size: str, layout: str) -> None:
    page = opened(watched, crossed, f"#size={size}&layout={layout}")
    cut = page.evaluate(
        "Array.from(document.querySelectorAll('.chips'), (chips) => {"
        " const box = chips.getBoundingClientRect();"
        " const line = chips.closest('tr').getBoundingClientRect();"
        " return [...chips.children].filter((each) => { const own = each.getBoundingClientRect();"
        " return own.bottom > line.bottom + 1 || (own.top < box.bottom - 1 && own.bottom > box.bottom + 1); }).length;"
        " }).reduce((a, b) => a + b, 0)"
    )
    assert cut == 0


def test_a_single_column_has_the_whole_width_of_a_phone(watched: Pages, pairs: Path) -> None:
    page = opened(watched, pairs, "#layout=table", width=390, height=844)
    assert box(page, "#grid td")["width"] > 340


def test_a_dot_for_each_picture_shows_it_opens_it_and_filters(
    watched: Pages, crossed: Path
) -> None:
    page = opened(watched, crossed)
    with updated(page):
        page.get_by_role("button", name="Plot").click()
    plot = page.locator(".scatter")
    expect(plot).to_contain_text("48 dots of 48 pictures")
    expect(plot.locator("li")).to_have_text(["style 0", "style 1", "style 2", "style 3"])
    canvas = plot.locator(".scatter-area canvas").nth(1)
    # By keys from dot to dot, the least content loss first.
    canvas.focus()
    page.keyboard.press("ArrowRight")
    tip = plot.locator(".scatter-tip")
    expect(tip.locator("img")).to_be_visible()
    least = page.evaluate(
        "NST.app.store.column('content_loss').then(({ values }) => NST.format.short(values[0]))"
    )
    expect(tip).to_contain_text(f"content loss {least}")
    expect(page.locator("#live")).to_contain_text(f"content loss {least}")
    assert axe.violations(page) == []
    # A drag chooses a range of both measures, and the table follows.
    area = box(page, ".scatter-area")
    page.mouse.move(area["x"] + 60, area["y"] + 20)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)
    with updated(page):
        page.mouse.up()
    search = page.locator("#search").input_value()
    assert "content_loss>=" in search
    assert "style_loss<=" in search
    shown = page.evaluate("NST.app.view.shown")
    assert 0 < shown < 48
    expect(plot).to_contain_text(f"{shown} dot")
    with updated(page):
        plot.get_by_role("button", name="Clear the range").click()
    expect(page.locator("#search")).to_have_value("")
    with updated(page):
        canvas.press("ArrowRight")
        canvas.press("Enter")
    expect(page.locator("dialog.large")).to_be_visible()


def test_a_range_has_a_histogram_in_which_a_drag_chooses(watched: Pages, crossed: Path) -> None:
    page = opened(watched, crossed)
    page.get_by_role("button", name="Filter").click()
    panel = page.locator("#filters")
    panel.get_by_text("SSIM", exact=True).click()
    expect(panel.locator(".histogram rect.all")).to_have_count(24)
    expect(panel).to_contain_text("48 pictures: from ")
    bars = box(page, ".histogram svg")
    page.mouse.move(bars["x"] + bars["width"] * 0.55, bars["y"] + 20)
    page.mouse.down()
    page.mouse.move(bars["x"] + bars["width"] - 1, bars["y"] + 20)
    with updated(page):
        page.mouse.up()
    assert "ssim>=" in page.locator("#search").input_value()
    assert 0 < page.evaluate("NST.app.view.shown") < 48


def test_a_long_list_of_values_is_searched(watched: Pages, pairs: Path) -> None:
    page = opened(watched, pairs)
    page.get_by_role("button", name="Filter").click()
    panel = page.locator("#filters")
    panel.get_by_text("content", exact=True).click()
    expect(panel.locator("label")).to_have_count(40)
    expect(panel).to_contain_text("and 20 more")
    panel.get_by_label("Search the values of content").fill("c57")
    with updated(page):
        panel.get_by_label("c57").check()
    expect(page.locator("#counts")).to_contain_text("Showing 1 of 60")


def test_a_word_on_every_figure(watched: Pages, crossed: Path) -> None:
    page = opened(watched, crossed)
    page.locator(".chips > span").first.hover()
    expect(page.locator(".chips > span").first).to_have_attribute(
        "title", "style loss: Final style loss: 0 the style, 1 or a little more no features at all."
    )
    page.get_by_role("button", name="all settings").click()
    dialog = page.get_by_role("dialog", name="About this gallery")
    expect(dialog).to_contain_text("Structural similarity of the luma")
    expect(dialog).to_contain_text("pooling")
    assert axe.violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_times_and_sizes_are_no_axes(watched: Pages, crossed: Path) -> None:
    page = opened(watched, crossed)
    titles = page.locator("#x option").all_inner_texts()
    assert titles == ["content", "style"]
