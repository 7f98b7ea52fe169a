import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

from nst import gallery
from nst.job import PictureParams
from nst.metadata import Outcome, Record
from nst.output import preview_name
from tests.test_metadata import FAILED, OK


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)


def record(**values: Any) -> Record:
    defaults: dict[str, Any] = {
        "row": 1,
        "content": "in/summer-palace.jpg",
        "style": "in/great_wave.jpg",
        "backbone": "vgg16",
        "labels": {},
        "params": PictureParams(),
        "outcome": OK,
    }
    return Record(**defaults | values)


def page(*records: Record, previews: set[str] | None = None) -> Page:
    return Page(gallery.render(records, previews=previews or set())["index.html"])


def test_rows_are_pairs_and_columns_are_backbones() -> None:
    made = page(
        record(backbone="vgg19", outcome=replace(OK, id="a", picture="images/a.png")),
        record(backbone="vgg16", outcome=replace(OK, id="b", picture="images/b.png")),
        record(style="in/other.jpg", outcome=replace(OK, id="c", picture="images/c.png")),
    )
    assert len(made.all("tr")) == 3
    assert [w for w in made.words if w in ("content", "style", "vgg16", "vgg19")][:4] == [
        "content",
        "style",
        "vgg16",
        "vgg19",
    ]
    links = [a["href"] for a in made.all("a") if a.get("class") == "open"]
    assert links == ["images/b.png", "images/a.png", "images/c.png"]
    assert "not in the manifest" in made.text
    assert "2 pairs, 3 pictures" in made.text
    assert "summer palace" in made.text
    assert "great wave" in made.text


def test_inputs_are_shown_where_there_are_previews() -> None:
    sources = [i.get("src") for i in page(record(), previews={preview_name("c")}).all("img")]
    assert f"inputs/{preview_name('c')}" in sources
    assert f"inputs/{preview_name('s')}" not in sources


def test_losses_of_each_picture_are_shown() -> None:
    text = page(record()).text
    assert "content 0.500 · style 0.250" in text
    assert "1.5 s on cpu" in text


def test_labels_may_be_called_as_measurements_are() -> None:
    text = page(record(labels={"content_loss": "mine", "id": "also mine"})).text
    assert "content loss 0.5" in text
    assert "label content_loss mine" in text
    assert "label id also mine" in text


def test_rows_that_share_a_picture_show_it_once() -> None:
    made = page(record(row=1), record(row=2))
    assert len([a for a in made.all("a") if a.get("class") == "open"]) == 1
    assert "1 pair, 1 picture." in made.text


def test_a_failed_row_shows_its_reason() -> None:
    made = page(record(), record(backbone="vgg19", outcome=FAILED))
    assert "input not found" in made.text
    assert "no such file" in made.text
    assert "1 failed" in made.text


def test_pictures_of_one_cell_are_told_apart_by_what_differs() -> None:
    records = [
        record(
            params=PictureParams(style_weight=weight),
            labels={"series": "x"},
            outcome=replace(OK, id=f"with-{weight}"),
        )
        for weight in (0.5, 2.0)
    ]
    html = gallery.render(records, previews=set())["index.html"]
    captions = re.findall(r'<span class="differs" dir="auto">([^<]*)<', html)
    assert captions == ["style weight 0.5", "style weight 2"]


def test_hostile_text_stays_text() -> None:
    hostile = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>{{7*7}}"
    made = page(
        record(content=hostile, style=hostile, labels={hostile: hostile}),
        record(
            content=hostile,
            outcome=Outcome(id="x", status="failed", reason="image_unreadable", error=hostile),
        ),
    )
    assert len(made.all("script")) == 1
    assert not any(name.startswith("on") for _, attrs in made.tags for name in attrs)
    assert "alert(2)" in made.text
    assert "{{7*7}}" in made.text


def test_runs_nothing_and_loads_nothing_from_elsewhere() -> None:
    files = gallery.render([record()], previews={preview_name("c")})
    made = Page(files["index.html"])
    (policy,) = [m["content"] for m in made.all("meta") if "http-equiv" in m]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert not any("style" in attrs for _, attrs in made.tags)
    urls = [a.get("src") or a.get("href") for _, a in made.tags if a.get("src") or a.get("href")]
    assert urls
    assert all(
        re.fullmatch(r"(assets|images|inputs)/[\w.-]+|metadata\.parquet|data:,", u or "")
        for u in urls
    )
    local = {u for u in urls if u and u.startswith("assets/")}
    assert local == set(files) - {"index.html"}
    assert not re.search(r"https?://", files["assets/gallery.css"] + files["assets/gallery.js"])


def test_no_rows_say_so() -> None:
    assert "The manifest has no rows" in page().text


def test_the_same_records_give_the_same_files() -> None:
    assert gallery.render([record()], previews=set()) == gallery.render([record()], previews=set())
