"""The table of pictures: lines, keys, columns and rows by any field, search, order, filters, links."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser import samples
from tests.browser.pages import Pages, updated, wait_ready
from tests.browser.samples import Sample

# What the large view adds is its own tests' business.
_CELLS = "#grid td[data-item]"


@pytest.fixture
def table(watched: Pages, usual: Path) -> Page:
    """The gallery of 108, from a disk."""
    # A picture that is not in the folder is what one of its cells tells of.
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open()
    page.goto((usual / "index.html").as_uri())
    wait_ready(page)
    return page


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of 3,000 in 1,000 rows, whose pictures are all of twelve."""
    folder = tmp_path_factory.mktemp("many")
    made = [
        Sample(
            number=number,
            content=f"pictures/c{number // 30:03}.jpg",
            style=f"styles/s{number // 3 % 10}.jpg",
            backbone=samples.BACKBONES[number % 3],
            curve=2,
        )
        for number in range(3000)
    ]
    samples.write(folder, made, previews=False)
    return folder


def rows(page: Page) -> list[list[str]]:
    """What the lines on screen say, cell by cell."""
    lines = page.evaluate(
        "Array.from(document.querySelectorAll('#grid tbody tr'), (row) =>"
        " [row.dataset.line, ...Array.from(row.cells, (cell) => cell.textContent)])"
    )
    return sorted(lines, key=lambda line: int(line[0]))


def focused(page: Page) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(
        "(() => { const cell = document.activeElement.closest('td'); return cell && {"
        " line: Number(cell.parentElement.dataset.line), column: Number(cell.ariaColIndex),"
        " top: cell.getBoundingClientRect().top, bottom: cell.getBoundingClientRect().bottom }; })()"
    )
    return found


def headings(page: Page) -> list[str]:
    return page.locator("#grid thead th .name").all_inner_texts()


def choose(page: Page, selector: str, value: str) -> None:
    with updated(page):
        page.select_option(selector, value)


def search(page: Page, text: str) -> None:
    with updated(page):
        page.fill("#search", text)


def test_the_script_makes_the_very_rows_that_the_page_comes_with(
    watched: Pages, usual: Path
) -> None:
    watched.expect("ERR_FILE_NOT_FOUND")
    plain = watched.open(java_script_enabled=False)
    plain.goto((usual / "index.html").as_uri())
    given = plain.locator("#grid tbody tr").evaluate_all("rows => rows.map((row) => row.outerHTML)")
    page = watched.open()
    page.goto((usual / "index.html").as_uri() + "#size=s")
    wait_ready(page)
    # Before that, a line waits of which little is on screen.
    page.mouse.move(5, 5)
    with updated(page):
        page.evaluate("NST.app.go({ size: 'm' })")
    made = page.locator("#grid tbody tr").evaluate_all(
        "rows => rows.map((row) => { row = row.cloneNode(true);"
        " for (const each of row.querySelectorAll('[tabindex]')) each.removeAttribute('tabindex');"
        " for (const each of row.querySelectorAll('[style]')) each.removeAttribute('style');"
        " return row.outerHTML; })"
    )
    assert len(given) >= 2
    assert made[: len(given)] == given


def test_the_rows_that_the_page_comes_with_stay(watched: Pages, usual: Path) -> None:
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open()
    page.add_init_script(
        "addEventListener('DOMContentLoaded', () => {"
        " for (const row of document.querySelectorAll('#grid tbody tr')) row.cameWithThePage = 1; })"
    )
    page.goto((usual / "index.html").as_uri())
    wait_ready(page)
    kept = page.locator("#grid tbody tr").evaluate_all("rows => rows.map((r) => r.cameWithThePage)")
    assert kept.count(1) >= 2


def test_counts_are_always_shown(table: Page) -> None:
    expect(table.locator("#counts")).to_have_text("Showing 108 of 108 results in 36 rows")
    search(table, "is:failed")
    expect(table.locator("#counts")).to_have_text(
        "Showing 2 of 108 results in 2 rows, 106 hidden by the search"
    )
    expect(table.locator("#live")).to_have_text(
        "Showing 2 of 108 results in 2 rows, 106 hidden by the search"
    )


def test_failures_show_their_reason_and_are_found_by_a_button(table: Page) -> None:
    button = table.locator("#failures")
    expect(button).to_have_text("2 failed")
    with updated(table):
        button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(table.locator("#grid tr[data-pending]")).to_have_count(0)
    text = " ".join(cell for line in rows(table) for cell in line)
    assert "diverged" in text
    assert "there is no such file" in text
    with updated(table):
        button.click()
    expect(table.locator("#counts")).to_contain_text("Showing 108 of 108")


def test_a_thumbnail_that_is_gone_gives_way_to_the_picture_and_that_to_words(
    watched: Pages, tmp_path: Path
) -> None:
    made = [Sample(number=n, backbone=backbone) for n, backbone in enumerate(samples.BACKBONES)]
    page_path = samples.write(tmp_path, made, gone=[1])
    for path in (tmp_path / "thumbs").rglob("*.webp"):
        path.unlink()
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open()
    page.goto(page_path.as_uri())
    wait_ready(page)
    images = page.locator("#grid a.open img")
    expect(images).to_have_count(2)
    expect(images.first).to_have_attribute("src", "images/p00000.png")
    images.first.evaluate("(image) => image.decode()")
    assert images.first.evaluate("(image) => image.currentSrc").endswith("/images/p00000.png")
    expect(page.locator("#grid .missing")).to_have_text(
        "picture not found: great hall in the style of wave, vgg19"
    )


def test_any_field_makes_columns_and_any_fields_make_rows(table: Page) -> None:
    assert headings(table)[1:] == ["vgg16", "vgg19", "resnet50"]
    choose(table, "#x", "style_weight")
    assert headings(table) == [
        "content × style × backbone",
        "style weight 0.5",
        "style weight 1",
        "style weight 2",
    ]
    choose(table, "#x", "content")
    assert headings(table)[1:] == ["great hall", "old harbour", "portrait 10", "portrait 2"]
    table.click("#rows-button")
    with updated(table):
        table.get_by_label("backbone", exact=True).uncheck()
    assert "backbone" not in headings(table)[0]
    # What shares a row and a column then stands line by line below one another.
    expect(table.locator("#counts")).to_contain_text("Showing 108 of 108")


def test_rows_are_ordered_by_their_best(table: Page) -> None:
    choose(table, "#sort", "ssim")
    order = "NST.app.view.items"

    def best(line: int) -> float:
        found: float = table.evaluate(
            "async (line) => { const { view, store } = NST.app; const { lines, items } = view;"
            " const { values, codes } = await store.column('ssim');"
            " const of = Array.from(items.slice(lines[line], lines[line + 1]), (i) => values[codes[i]]);"
            " return Math.max(...of.filter((value) => value !== undefined)); }",
            line,
        )
        return found

    bests = [best(line) for line in range(36)]
    assert bests == sorted(bests, reverse=True)
    expect(table.locator("#direction")).to_have_text("↓")
    before = table.evaluate(f"Array.from({order})")
    with updated(table):
        table.click("#direction")
    assert table.evaluate(f"Array.from({order})") != before
    # The measure that orders is shown.
    assert "SSIM" in rows(table)[0][2]


def test_filters_are_words_of_the_search(table: Page) -> None:
    table.get_by_role("button", name="Filter").click()
    panel = table.locator("#filters")
    panel.get_by_text("backbone", exact=True).click()
    with updated(table):
        panel.get_by_label("vgg19").check()
    expect(table.locator("#search")).to_have_value("backbone=vgg19")
    assert headings(table)[1:] == ["vgg19"]
    panel.get_by_text("SSIM", exact=True).click()
    with updated(table):
        panel.get_by_label("at least").fill("0.5")
        panel.get_by_label("at least").press("Enter")
    expect(table.locator("#search")).to_have_value("backbone=vgg19 ssim>=0.5")
    shown = table.evaluate("NST.app.view.shown")
    assert 0 < shown < 36


def test_a_search_that_makes_no_sense_says_so(table: Page) -> None:
    search(table, "painter:monet")
    expect(table.locator("#query-problem")).to_have_text("there is no field painter")
    search(table, "zzz")
    expect(table.locator("#nothing")).to_be_visible()
    expect(table.locator("#counts")).to_contain_text("Showing 0 of 108")
    with updated(table):
        table.get_by_role("button", name="Show everything").click()
    expect(table.locator("#counts")).to_contain_text("Showing 108 of 108")


def test_links_lead_back_and_the_back_button_goes_back(table: Page, usual: Path) -> None:
    choose(table, "#x", "style_weight")
    search(table, "great")
    link = table.url
    assert "x=style_weight" in link
    assert "q=great" in link
    again = table.context.new_page()
    again.goto(link)
    wait_ready(again)
    assert headings(again) == headings(table)
    assert rows(again) == rows(table)
    with updated(table):
        table.go_back()
    assert headings(table)[1:] == ["vgg16", "vgg19", "resnet50"]
    with updated(table):
        table.go_forward()
    assert headings(table)[1] == "style weight 0.5"


def test_one_tab_stop_moved_by_keys(table: Page) -> None:
    expect(table.locator('#grid [tabindex="0"]')).to_have_count(1)
    table.locator('#grid [tabindex="0"]').focus()
    assert focused(table)["line"] == 0
    for key, line, column in [
        ("ArrowRight", 0, 3),
        ("ArrowDown", 1, 3),
        ("End", 1, 4),
        ("ArrowRight", 1, 4),
        ("Home", 1, 2),
        ("ArrowUp", 0, 2),
        ("Control+End", 35, 2),
        ("Control+Home", 0, 2),
    ]:
        table.keyboard.press(key)
        found = focused(table)
        assert (found["line"], found["column"]) == (line, column), key
        assert found["top"] >= 0
        assert found["bottom"] <= 900
    table.keyboard.press("PageDown")
    assert focused(table)["line"] > 1
    expect(table.locator('#grid [tabindex="0"]')).to_have_count(1)
    table.keyboard.press("/")
    expect(table.locator("#search")).to_be_focused()


def test_the_table_tells_how_large_it_is(table: Page) -> None:
    grid = table.locator("#grid")
    expect(grid).to_have_attribute("aria-rowcount", "37")
    expect(grid).to_have_attribute("aria-colcount", "4")
    table.keyboard.press("End")
    table.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    expect(table.locator('tr[aria-rowindex="37"]')).to_be_visible()


def test_no_best_is_marked_among_what_cannot_be_compared(table: Page) -> None:
    assert not any("★" in cell for line in rows(table) for cell in line)
    # Of one backbone, content, style and weight there is but one picture in a row.
    search(table, "backbone=vgg16")
    assert not any("★" in cell for line in rows(table) for cell in line)


def test_the_best_of_a_whole_row_is_marked_and_not_by_colour_alone(
    watched: Pages, tmp_path: Path
) -> None:
    made = [
        Sample(number=n, content=f"c{n // 3}.jpg", params={"seed": n % 3}) for n in range(3 * 4)
    ]
    page = watched.open()
    page.goto(samples.write(tmp_path, made).as_uri())
    wait_ready(page)
    assert headings(page)[1:] == ["seed 0", "seed 1", "seed 2"]

    def losses() -> list[list[tuple[bool, float]]]:
        return [
            [
                (
                    cell.startswith("★"),
                    float(cell.split("style ")[1].split("★")[0].split("content")[0]),
                )
                for cell in line[2:]
                if "style " in cell
            ]
            for line in rows(page)
        ]

    whole = losses()
    assert [[best for best, _ in line] for line in whole] == [
        [loss == min(each for _, each in line) for _, loss in line] for line in whole
    ]
    # A filter that hides the best moves no star.
    with updated(page):
        page.evaluate("void NST.app.go({ q: 'seed=1,2' })")
    expect(page.locator("#grid tr[data-pending]")).to_have_count(0)
    left = losses()
    # Fewer columns are wider, so that fewer lines are on screen.
    assert left == [line[1:] for line in whole[: len(left)]]
    assert sum(best for line in left for best, _ in line) < len(left)


def test_what_the_search_hides_is_told_from_what_is_not_there(
    watched: Pages, tmp_path: Path
) -> None:
    made = [
        Sample(
            number=n,
            content=f"c{n // 3}.jpg",
            backbone=samples.BACKBONES[n % 3],
            labels={"n": str(n)},
        )
        for n in range(3 * 4)
        if n != 4
    ]
    page = watched.open()
    page.goto(samples.write(tmp_path, made).as_uri() + "#q=-label_n%3D0")
    wait_ready(page)
    expect(page.locator("#grid .filtered")).to_have_count(1)
    expect(page.locator("#grid tr[data-line='0'] .filtered")).to_have_text("hidden by the search")
    expect(page.locator("#grid tr[data-line='1'] .empty")).to_have_count(1)


def test_only_lines_on_screen_are_there_however_many_there_are(watched: Pages, many: Path) -> None:
    page = watched.open()
    page.goto((many / "index.html").as_uri())
    wait_ready(page)
    count = "document.querySelectorAll('*').length"
    assert page.evaluate(count) < 1500
    for share in (0.1, 0.5, 0.93, 1):
        page.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {share})")
        expect(page.locator("#grid tr[data-pending]")).to_have_count(0)
        expect(page.locator(_CELLS).first).to_be_visible()
        assert page.evaluate(count) < 1500
    expect(page.locator("#grid tbody tr[data-line='999']")).to_have_count(1)
    assert rows(page)[-1][0] == "999"
    for size in ("s", "l"):
        with updated(page):
            page.evaluate(f"NST.app.go({{ size: '{size}' }})")
        assert page.evaluate(count) < 1500
    # More columns than there is room for are turned like pages.
    with updated(page):
        page.evaluate("NST.app.go({ size: 's', x: 'content', y: ['style', 'backbone'] })")
    assert page.evaluate(count) < 1500
    expect(page.locator("#pager")).to_contain_text("of 100")
    first = headings(page)[1]
    with updated(page):
        page.get_by_role("button", name="Later columns").click()
    assert headings(page)[1] > first


def test_every_picture_stands_somewhere(watched: Pages, many: Path) -> None:
    page = watched.open()
    page.goto((many / "index.html").as_uri() + "#size=s")
    wait_ready(page)
    seen: set[int] = set()
    while True:
        expect(page.locator("#grid tr[data-pending]")).to_have_count(0)
        seen |= set(
            map(int, page.locator(_CELLS).evaluate_all("cells => cells.map(c => c.dataset.item)"))
        )
        before = page.evaluate("scrollY")
        page.evaluate("scrollBy(0, innerHeight * 0.8)")
        if page.evaluate("scrollY") == before:
            break
        page.evaluate("new Promise(requestAnimationFrame)")
    assert seen == set(range(3000))


def test_a_gallery_that_was_rebuilt_says_what_to_do(
    watched: Pages, many: Path, tmp_path: Path
) -> None:
    watched.expect("ERR_FILE_NOT_FOUND")
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("assets", "data", "thumbs", "index.html"):
        (copy / name).symlink_to(many / name)
    (copy / "data").unlink()
    (copy / "data").mkdir()
    for path in (many / "data").glob("spine*"):
        (copy / "data" / path.name).write_bytes(path.read_bytes())
    page = watched.open()
    page.goto((copy / "index.html").as_uri())
    wait_ready(page)
    page.evaluate("scrollTo(0, 90000)")
    expect(page.locator("#problem")).to_contain_text("reload the page")


def test_themes_are_kept(watched: Pages, usual: Path) -> None:
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open(color_scheme="light")
    page.goto((usual / "index.html").as_uri())
    wait_ready(page)
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="More").click()
    page.get_by_label("dark").check()
    dark = page.evaluate(background)
    assert dark != light
    page.reload()
    wait_ready(page)
    assert page.evaluate(background) == dark


def test_links_of_random_states_are_followed(table: Page) -> None:
    """Whatever a link says, the table answers, and the link that it writes says the same."""
    fields = table.evaluate("NST.app.store.fields.map((field) => field.name)")
    for number, name in enumerate(fields):
        other = fields[(number * 7 + 3) % len(fields)]
        with updated(table):
            table.evaluate(
                f"NST.app.go({json.dumps({'x': name, 'y': [other], 'sort': '-' + other})})"
            )
        assert table.evaluate("NST.app.view.shown") == 108
        count = table.evaluate("document.querySelectorAll('*').length")
        assert count < 1500, name
        assert table.evaluate(
            "JSON.stringify(NST.link.parse(location.hash, NST.app.store.spine)) === JSON.stringify(NST.app.state)"
        )


def test_a_page_of_the_largest_lines_is_no_higher_than_firefox_has_it(
    watched: Pages, usual: Path
) -> None:
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open(viewport={"width": 3840, "height": 2160})
    page.goto((usual / "index.html").as_uri() + "#size=l&q=backbone%3Dvgg16")
    wait_ready(page)
    line = page.locator('#grid tr[data-line="0"]:not([data-pending])')
    expect(line).to_be_visible()
    height = line.evaluate("row => row.offsetHeight")
    assert height > 1000
    assert page.evaluate("NST.app.grid.pageLines") * height < 17.8e6


def test_what_the_reader_does_before_the_first_rows_are_laid_out_does_no_harm(
    watched: Pages, usual_url: str
) -> None:
    watched.expect("404")
    page = watched.open()
    held: list[Route] = []
    page.route("**/controls.*.js", lambda route: held.append(route))
    page.goto(usual_url + "#v=1&sort=ssim", wait_until="commit")
    page.evaluate("window.print = () => (document.body.dataset.printed = 'yes')")
    while not held:
        page.wait_for_timeout(10)
    page.mouse.move(100, 300)
    page.mouse.wheel(0, 100)
    page.set_viewport_size({"width": 1000, "height": 700})
    page.locator("#grid").focus()
    for key in ("ArrowDown", "Control+p"):
        page.keyboard.press(key)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.evaluate("NST.app.grid.focus(0, 0)")
    expect(page.locator("body[data-printed]")).to_be_attached()
    expect(page.locator("#problem")).to_be_hidden()
    for route in held:
        route.continue_()
    wait_ready(page)
    expect(page.locator("#grid tr[data-pending]")).to_have_count(0)
