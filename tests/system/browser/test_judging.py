"""Judging in the gallery: blind votes, ratings by keys, files of both, and what is made of them."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.axe import violations
from tests.browser.pages import Pages, updated, wait_ready

Open = Callable[..., Page]

_MINE = "NST.opinions.mine()"


@pytest.fixture
def opened(watched: Pages, usual: Path) -> Open:
    """The gallery of 108 at a link."""
    watched.expect("ERR_FILE_NOT_FOUND")

    def at(link: str = "", **options: Any) -> Page:
        page = watched.open(**options)
        page.goto((usual / "index.html").as_uri() + link)
        wait_ready(page)
        return page

    return at


def focused(page: Page, item: str) -> None:
    cell = page.locator(f"td[data-item]:has(a[href$='{item}.png'])")
    cell.focus()


def votes(page: Page) -> Any:
    return page.evaluate(f"{_MINE}.votes")


def asked(page: Page) -> None:
    """A pair is on the screen and waits for an answer."""
    expect(page.locator("dialog.blind:not([aria-busy]) canvas").first).to_be_visible()


def answer(page: Page, key: str) -> None:
    asked(page)
    before = len(votes(page))
    page.keyboard.press(key)
    while len(votes(page)) == before:
        page.wait_for_timeout(10)


def test_nothing_tells_which_of_two_is_which(opened: Open) -> None:
    page = opened()
    page.keyboard.press("b")
    for key in ("ArrowLeft", "2", "ArrowDown"):
        asked(page)
        shown = page.locator("dialog.blind").evaluate("dialog => dialog.outerHTML")
        told = shown + page.url + page.title() + page.locator("#live").inner_text()
        assert re.findall(r"vgg16|vgg19|resnet50|p\d{5}|thumbs|images/", told) == []
        sizes = page.locator("dialog.blind canvas").evaluate_all(
            "all => all.map((c) => c.width * c.height)"
        )
        assert min(sizes) > 1000
        answer(page, key)
    given = votes(page)
    assert [vote["better"] for vote in given] == ["a", "b", "same"]
    for vote in given:
        # Of one row: consecutive numbers of three backbones.
        assert int(vote["a"][1:]) // 3 == int(vote["b"][1:]) // 3
        assert vote["a"] != vote["b"]


def test_answers_are_taken_back_one_by_one(opened: Open) -> None:
    page = opened()
    page.keyboard.press("b")
    for key in ("1", "2", "0"):
        answer(page, key)
    first = votes(page)[0]
    for left in (2, 1, 0):
        asked(page)
        page.keyboard.press("Backspace")
        expect(page.locator(".blind-count")).to_have_text(
            f"{left} answer{'' if left == 1 else 's'}"
        )
    assert votes(page) == []
    answer(page, "2")
    # It is the pair that was asked first, the other way answered.
    again = votes(page)[0]
    assert (again["a"], again["b"], again["better"]) == (first["a"], first["b"], "b")


def test_the_result_has_shares_with_their_intervals(opened: Open) -> None:
    page = opened()
    page.evaluate(
        "NST.opinions.change(() => NST.opinions.mine().votes.push("
        "...Array.from({ length: 10 }, (_, n) => ({ a: 'p00000', b: 'p00001', better: n < 8 ? 'a' : 'b', at: n })),"
        "{ a: 'p00000', b: 'p00003', better: 'a', at: 99 }))"
    )
    page.get_by_role("button", name="Judge", exact=True).click()
    page.get_by_role("button", name="Shares of wins").click()
    rows = page.locator(".shares tbody tr")
    expect(rows.first.locator("th, td")).to_have_text(
        ["vgg16", "80 %", "49 % – 94 %", "8", "0", "10", ""]
    )
    expect(rows.nth(1).locator("th, td")).to_have_text(
        ["vgg19", "20 %", "6 % – 51 %", "2", "0", "10", ""]
    )
    expect(page.locator("dialog.verdict")).to_contain_text("1 vote is left out")
    page.get_by_label("Compare").select_option("style_weight")
    expect(rows).to_have_count(2)
    expect(rows.first.locator("td").last).to_be_visible()


def test_rows_of_one_picture_each_are_explained(opened: Open) -> None:
    page = opened("#v=1&q=backbone%3Dvgg16")
    page.keyboard.press("b")
    expect(page.locator("#problem")).to_contain_text("expected two results in one row")
    expect(page.locator("dialog")).to_have_count(0)


def test_a_pair_that_cannot_be_loaded_ends_the_judging_and_is_told(opened: Open) -> None:
    page = opened()
    page.keyboard.press("b")
    asked(page)
    page.evaluate("void (NST.app.store.item = () => Promise.reject(new Error('found none')))")
    page.keyboard.press("1")
    expect(page.locator("#problem")).to_have_text("found none")
    expect(page.locator("dialog")).to_have_count(0)


def test_shares_that_cannot_be_loaded_are_told(opened: Open) -> None:
    page = opened()
    page.keyboard.press("b")
    asked(page)
    page.evaluate("void (NST.codec.load = () => Promise.reject(new Error('found none')))")
    page.evaluate("void (NST.app.store.spine.votes = '00000000')")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_have_text("found none")
    expect(page.locator("dialog")).to_have_count(0)


def test_ratings_by_keys_last_and_are_filtered_and_sorted_by(opened: Open) -> None:
    page = opened()
    for item, keys in (("p00000", "4p"), ("p00001", "2j"), ("p00002", "5pp0")):
        focused(page, item)
        for key in keys:
            with updated(page):
                page.keyboard.press(key)
    focused(page, "p00001")
    page.keyboard.press("n")
    expect(page.get_by_role("textbox", name="Note")).to_be_focused()
    page.keyboard.type("<b>too</b> loud")
    with updated(page):
        page.keyboard.press("Control+Enter")
    page.reload()
    wait_ready(page)
    marks = page.locator(".opinion")
    expect(marks).to_have_count(2)
    expect(marks.first).to_have_accessible_name("rated 4, favourite")
    expect(marks.nth(1)).to_have_accessible_name("rated 2, rejected, with a note")
    shown = "Array.from(NST.app.view.items)"
    for query, ids in (
        ("is:favourite", [0]),
        ("my_rating>=2", [0, 1]),
        ("my_note:loud", [1]),
        ("-is:rejected backbone=vgg19", None),
    ):
        with updated(page):
            page.fill("#search", query)
        found = page.evaluate(shown)
        assert found == ids if ids is not None else len(found) == 35
    with updated(page):
        page.evaluate("NST.app.go({ q: '', sort: '-my_rating' })")
    assert page.evaluate(shown)[:3] == [0, 1, 2]
    assert page.evaluate("NST.app.problems") == []


def test_the_open_picture_is_rated_by_keys_and_buttons(opened: Open) -> None:
    page = opened("#v=1&id=p00007")
    for key in ("r", "3"):
        page.keyboard.press(key)
    page.keyboard.press("p")
    own = f"{_MINE}.opinions['p00007']"
    expect(page.locator(".rate [aria-pressed=true]")).to_have_count(2)
    assert page.evaluate(f"{own}.rating") == 3
    assert page.evaluate("NST.app.state.id") == "p00007"
    page.get_by_role("button", name="Rate 5 of 5").click()
    page.get_by_role("button", name="Reject (J)").click()
    assert page.evaluate(f"[{own}.rating, {own}.pick]") == [5, "rejected"]
    expect(page.locator(".facts-table").get_by_role("row", name="my rating")).to_contain_text("5")
    # As a keyboard has them whose digits want Shift, or the other way round.
    for rating, key in ((2, "Shift+Digit2"), (4, "Shift+Numpad4"), (1, "Digit1")):
        page.keyboard.press("r")
        page.keyboard.press(key)
        expect(page.locator(".rate .on")).to_have_count(rating)
        assert page.evaluate(f"{own}.rating") == rating
    # A digit without R is still a column's.
    page.wait_for_timeout(50)
    with updated(page):
        page.keyboard.press("3")
    assert page.evaluate("NST.app.state.id") == "p00008"


def saved(opened: Open, folder: Path, kind: str) -> tuple[Page, Path]:
    """A page with what Ann said, and the file that she saved of it."""
    page = opened()
    page.evaluate(
        "NST.opinions.change(() => { const me = NST.opinions.mine(); me.name = 'Ann';"
        " me.votes.push({ a: 'p00000', b: 'p00001', better: 'a', at: 1 }); })"
    )
    page.evaluate(
        "NST.opinions.say('p00000', { rating: 4, note: '=1; <img src=x onerror=alert(1)>' })"
    )
    page.get_by_role("button", name="Judge", exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save as {kind}").click()
    file = folder / download.value.suggested_filename
    assert file.name == f"votes-Ann.{kind.lower()}"
    download.value.save_as(file)
    return page, file


def test_what_was_said_is_saved_and_goes_on_in_another_browser(
    opened: Open, tmp_path: Path
) -> None:
    page, file = saved(opened, tmp_path, "JSON")
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    other = opened()
    other.get_by_role("button", name="Judge", exact=True).click()
    other.get_by_label("Add from files").set_input_files([bad, file])
    expect(other.get_by_role("dialog")).to_contain_text("votes-Ann.json")
    assert violations(other, within="dialog[open]") == []
    other.get_by_role("button", name="They are mine").click()
    expect(other.locator("#problem")).to_contain_text("bad.json: expected a file of ratings")
    assert other.evaluate(_MINE) == page.evaluate(_MINE)
    expect(other.locator(".opinion")).to_have_accessible_name("rated 4, with a note")


@pytest.mark.parametrize(
    ("kind", "said"), [("JSON", False), ("JSON", True), ("CSV", False), ("JSON of before", False)]
)
def test_a_colleagues_file_stays_a_colleagues(
    opened: Open, tmp_path: Path, kind: str, said: bool
) -> None:
    """Only somebody who has said nothing here is asked, of a file that tells who saved it."""
    page, file = saved(opened, tmp_path, kind.partition(" ")[0])
    if kind == "JSON of before":
        found = json.loads(file.read_text())
        del found["me"]
        file.write_text(json.dumps(found))
    other = opened()
    me = other.evaluate(f"{_MINE}.voter")
    if said:
        other.evaluate("NST.opinions.say('p00001', { rating: 2 })")
    other.get_by_role("button", name="Judge", exact=True).click()
    other.get_by_label("Add from files").set_input_files(file)
    if kind == "JSON" and not said:
        other.get_by_role("button", name="They are somebody else").click()
    expect(other.locator("#live")).to_have_text("1 file added.")
    expect(other.locator("dialog")).to_have_count(0)
    assert other.evaluate(f"{_MINE}.voter") == me
    assert list(other.evaluate(f"{_MINE}.opinions")) == (["p00001"] if said else [])
    assert other.evaluate("NST.opinions.all().voters[1]") == page.evaluate(_MINE)


_FULL = (
    "globalThis.real ??= Storage.prototype.setItem; void (Storage.prototype.setItem = () => {"
    " throw new DOMException('full', 'QuotaExceededError') })"
)
# Whether the browser would ask before the page is left.
_IS_ASKED = (
    "(() => { const leaving = new Event('beforeunload', { cancelable: true });"
    " window.dispatchEvent(leaving); return leaving.defaultPrevented })()"
)


def test_a_full_storage_is_told_and_a_file_is_offered(opened: Open) -> None:
    page = opened()
    page.evaluate(_FULL)
    assert page.evaluate(_IS_ASKED) is False
    focused(page, "p00000")
    page.keyboard.press("4")
    expect(page.locator("#problem")).to_contain_text("keeps no more ratings and votes")
    expect(page.locator(".opinion")).to_have_accessible_name("rated 4")
    assert page.evaluate(_IS_ASKED) is True
    page.get_by_role("button", name="Judge", exact=True).click()
    expect(page.locator("#judging")).to_contain_text("Not kept by this browser")
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.locator("#problem").get_by_role("button", name="Save as JSON").click()
    (voter,) = json.loads(download.value.path().read_text())["voters"]
    assert voter["opinions"]["p00000"]["rating"] == 4
    expect(page.locator("#problem")).to_be_hidden()
    assert page.evaluate(_IS_ASKED) is False
    # What is said after that is on the page alone again.
    with updated(page):
        page.evaluate("void NST.opinions.say('p00001', { rating: 2 })")
    expect(page.locator("#problem")).to_be_visible()


def test_what_only_a_page_has_is_joined_with_what_another_tab_keeps(opened: Open) -> None:
    page = opened()
    other = page.context.new_page()
    other.goto(page.url)
    wait_ready(other)
    page.evaluate(_FULL)
    page.evaluate("NST.opinions.say('p00000', { rating: 4 })")
    page.evaluate("NST.app.more()")
    other.evaluate("NST.opinions.say('p00001', { rating: 2 })")
    expect(page.locator(".opinion")).to_have_count(2)
    page.evaluate("void (Storage.prototype.setItem = real)")
    page.evaluate("NST.opinions.say('p00002', { rating: 3 })")
    expect(other.locator(".opinion")).to_have_count(3)
    expect(page.locator("#problem")).to_be_hidden()


def test_a_note_that_is_changed_is_told_as_it_is_now(opened: Open) -> None:
    page = opened("#v=1&id=p00000")
    facts = page.locator(".facts-table")
    for note in ("first", "second"):
        page.evaluate(f"NST.opinions.say('p00000', {{ note: '{note}' }})")
        expect(page.locator(".opinion")).to_have_attribute("title", note)
        expect(facts.get_by_role("row", name="my note")).to_contain_text(note)
    page.evaluate("NST.opinions.say('p00000', { note: null })")
    expect(facts.get_by_role("row", name="my note")).to_have_count(0)


def test_two_tabs_do_not_overwrite_each_other(opened: Open) -> None:
    page = opened()
    other = page.context.new_page()
    other.goto(page.url)
    wait_ready(other)
    page.evaluate("NST.opinions.say('p00000', { rating: 4 })")
    other.evaluate("NST.opinions.say('p00001', { rating: 2 })")
    for each in (page, other):
        expect(each.locator(".opinion")).to_have_count(2)
    assert page.evaluate("Object.keys(NST.opinions.mine().opinions)") == ["p00000", "p00001"]


def test_favourites_become_a_manifest_of_larger_pictures(opened: Open, usual: Path) -> None:
    page = opened()
    for item in ("p00005", "p00000"):
        page.evaluate(f"NST.opinions.say('{item}', {{ pick: 'favourite' }})")
    page.get_by_role("button", name="Judge", exact=True).click()
    page.get_by_role("button", name="Make these again, larger …").click()
    page.get_by_label("How large").select_option("3")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save the manifest").click()
    note, *lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert note.startswith("# ")
    rows = list(csv.DictReader(lines))
    assert [row["backbone"] for row in rows] == ["vgg16", "resnet50"]
    assert {row["size"] for row in rows} == {"288"}
    assert [row["style_weight"] for row in rows] == ["0.5", "1"]
    assert rows[0]["content"] == "pictures/great-hall.jpg"
    assert "id" not in rows[0]


@pytest.mark.parametrize(
    ("width", "height", "scheme"), [(1280, 900, "light"), (390, 844, "dark"), (320, 640, "light")]
)
def test_judging_is_for_everyone(opened: Open, width: int, height: int, scheme: str) -> None:
    page = opened(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.evaluate("NST.opinions.say('p00000', { rating: 4, pick: 'favourite', note: 'a note' })")
    found = {"table": violations(page)}
    page.get_by_role("button", name="Judge", exact=True).click()
    page.wait_for_timeout(100)
    found["panel"] = violations(page)
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    asked(page)
    found["blind"] = violations(page)
    box = page.locator(".blind-answers").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= height
    answer(page, "1")
    page.keyboard.press("Enter")
    expect(page.locator(".shares")).to_be_visible()
    found["verdict"] = violations(page)
    page.keyboard.press("Escape")
    with updated(page):
        page.evaluate("void NST.app.open(0)")
    expect(page.locator(".rate")).to_be_visible()
    found["large"] = violations(page)
    assert {name: each for name, each in found.items() if each} == {}
    assert json.loads(page.evaluate("JSON.stringify(NST.opinions.mine().votes.length)")) == 1
