"""Every view of the gallery for everyone: axe, narrow, magnified, without scripts, on paper, in runs."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from nst import pipeline
from tests.browser import axe, samples
from tests.browser.pages import Pages, updated, wait_ready
from tests.browser.samples import Sample

_ROW = "NST.app.open(NST.app.view.items[0])"
# What leads to each view from the table.
VIEWS = {
    "table": "",
    "small": "NST.app.go({ size: 's' })",
    "large pictures": "NST.app.go({ size: 'l' })",
    "other axes": "NST.app.go({ x: 'content', y: ['backbone'], sort: '-ssim' })",
    "wall": "NST.app.go({ layout: 'wall' })",
    "styles across": "NST.app.go({ x: 'style', y: ['content'] })",
    "plot": "NST.app.go({ plot: true })",
    "failures": "NST.app.go({ q: 'is:failed' })",
    "nothing found": "NST.app.go({ q: 'zzz' })",
    "no such field": "NST.app.go({ q: 'painter:monet' })",
    "opened": _ROW,
    "a failure opened": "NST.app.go({ q: 'is:failed' }).then(() => " + _ROW + ")",
}
SCREENS: dict[str, dict[str, Any]] = {
    "wide and light": {"color_scheme": "light"},
    "wide and dark": {"color_scheme": "dark"},
    "320 px": {"viewport": {"width": 320, "height": 640}, "color_scheme": "light"},
    "magnified twice": {
        "viewport": {"width": 640, "height": 450},
        "device_scale_factor": 2,
        "color_scheme": "dark",
    },
    "forced colours": {"forced_colors": "active"},
}


def shown(watched: Pages, folder: Path, **options: Any) -> Page:
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open(reduced_motion="reduce", **options)
    page.goto((folder / "index.html").as_uri())
    wait_ready(page)
    return page


@pytest.mark.parametrize("screen", SCREENS)
def test_axe_finds_nothing_in_any_view(watched: Pages, usual: Path, screen: str) -> None:
    page = shown(watched, usual, **SCREENS[screen])
    found = {}
    for view, action in VIEWS.items():
        if action:
            with updated(page):
                page.evaluate("void NST.app.go({ q: '', id: '', layout: 'table', plot: false })")
            with updated(page):
                page.evaluate(f"void {action}")
            page.wait_for_timeout(100)
        found[view] = axe.violations(page)
    with updated(page):
        page.evaluate("void NST.app.go({ q: '', id: '' })")
    for name in ("Filter", "More"):
        page.get_by_role("button", name=name, exact=True).click()
        page.wait_for_timeout(50)
        found[name] = axe.violations(page)
        page.keyboard.press("Escape")
    page.locator("#rows-button").click()
    found["rows"] = axe.violations(page)
    assert {view: each for view, each in found.items() if each} == {}


@pytest.mark.parametrize("screen", ["320 px", "magnified twice"])
def test_nothing_but_the_table_is_wider_than_the_screen(
    watched: Pages, usual: Path, screen: str
) -> None:
    page = shown(watched, usual, **SCREENS[screen])
    width = page.evaluate("document.documentElement.clientWidth")
    for selector in (".top", "#controls", "footer"):
        box = page.locator(selector).bounding_box()
        assert box is not None
        assert box["width"] <= width
    # What one writes, chooses or presses is as large as a finger needs.
    small = page.locator("#controls :is(button, select, input[type=search])").evaluate_all(
        "all => all.map((e) => e.getBoundingClientRect()).filter((b) => b.width < 24 || b.height < 24).length"
    )
    assert small == 0


def test_without_scripts_all_can_be_read(watched: Pages, usual: Path) -> None:
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open(java_script_enabled=False)
    page.goto((usual / "index.html").as_uri())
    expect(page.locator("#grid tbody tr").first).to_be_visible()
    expect(page.locator("#controls")).to_be_hidden()
    expect(page.locator("noscript p")).to_contain_text("of 36 lines")
    page.get_by_role("link", name="plain pages").click()
    expect(page.locator("#grid tbody tr")).to_have_count(36)
    text = page.locator("#grid").inner_text()
    assert "there is no such file" in text
    assert page.locator("#grid a.open").count() == 106
    page.get_by_role("link", name="The gallery").click()
    assert page.url.endswith("/index.html")


def test_what_is_chosen_is_printed_with_captions_and_the_pages_url(
    watched: Pages, usual: Path
) -> None:
    page = shown(watched, usual)
    with updated(page):
        page.fill("#search", "style_weight=2 harbour")
    chosen = page.evaluate("NST.app.view.shown")
    page.evaluate("window.print = () => {}")
    page.get_by_role("button", name="More", exact=True).click()
    page.get_by_role("button", name="Print what is shown").click()
    sheet = page.locator(".sheet")
    expect(sheet.locator("img[src*=thumbs]")).to_have_count(chosen)
    expect(sheet).to_contain_text(page.url)
    page.evaluate("Promise.all(Array.from(document.images, (i) => i.decode().catch(() => {})))")
    pdf = page.pdf()
    assert pdf.count(b"/Subtype /Image") >= chosen


@pytest.mark.parametrize("num_runs", [2, 5])
def test_runs_stand_side_by_side(watched: Pages, tmp_path: Path, num_runs: int) -> None:
    for run in range(num_runs):
        made = [
            Sample(
                number=10 * run + n,
                id=f"p{n}",
                content=f"pictures/c{n}.jpg",
                params={"tv_weight": float(run)},
                outcome={"picture": f"images/p{10 * run + n:05}.png"},
            )
            # The last run lacks a row, and has one that no other has.
            for n in (range(4) if run < num_runs - 1 else range(1, 5))
        ]
        samples.write(tmp_path / f"run {run}", made)
    url = pipeline.rebuild_gallery([str(tmp_path / f"run {run}") for run in range(num_runs)])
    watched.expect("ERR_FILE_NOT_FOUND")
    page = watched.open()
    page.goto(url)
    wait_ready(page)
    heads = page.locator("#grid thead th .name").all_inner_texts()
    assert heads[1:] == [f"run {run}" for run in range(num_runs)]
    expect(page.locator("#counts")).to_contain_text(f"{4 * num_runs} results in 5 rows")
    expect(page.locator(".top")).to_contain_text("2 rows are not in every run")
    expect(page.locator(".top summary")).to_contain_text("tv weight")
    page.locator("#grid tr[data-line='1'] td[data-item]").first.click()
    dialog = page.locator("dialog")
    row = dialog.get_by_role("row", name="tv weight")
    expect(row.locator("td")).to_have_text([str(run) for run in range(num_runs)])
    # The link leads to the very same picture of the very same run.
    again = watched.open()
    again.goto(page.url)
    wait_ready(again)
    expect(again.locator("dialog h2").first).to_have_text(dialog.locator("h2").first.inner_text())
