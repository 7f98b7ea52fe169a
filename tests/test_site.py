import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from nst.gallery import codec, pages, site
from nst.gallery.facets import Source
from nst.gallery.pivot import cells_of
from nst.job import PictureParams
from nst.output.metadata import CurvePoint, LayerLoss, Outcome, Record
from nst.output.paths import preview_name, small_preview_name
from tests.galleries import Read, expected_items, read_gallery, record, source, unpacked
from tests.helpers import Page
from tests.test_metadata import FAILED, OK

CONTENT, STYLE = "c" * 64, "d" * 64
PREVIEWS = {
    name(digest) for name in (preview_name, small_preview_name) for digest in (CONTENT, STYLE)
}


def built(*sources: Source, static_pages: bool | None = None) -> dict[str, bytes]:
    files = list(site.build(sources, static_pages=static_pages))
    assert files[-1][0] == "index.html"
    assert len({path for path, _ in files}) == len(files)
    return dict(files)


def page(*records: Record, **options: Any) -> Page:
    return Page(built(source(records, **options))["index.html"].decode())


def made(number: int, **values: Any) -> Record:
    """The n-th of many unlike records."""
    backbone, weight = ("vgg19", "vgg16")[number % 2], (0.5, 2.0)[number // 2 % 2]
    outcome = replace(
        OK,
        height=200 + number % 7,
        width=300,
        content_loss=number / 7,
        style_loss=None if number % 11 == 0 else 1 / (number + 1),
        lpips=math.nan if number % 5 == 0 else number,
        seconds=number * 1.0001,
        finished_at=datetime(2026, 1, 2, 3, number % 60, tzinfo=UTC),
        loss_curve=tuple(
            CurvePoint(evaluation=n + 1, content=n, style=1 / (n + 1), tv=0, detail=0, total=number)
            for n in range(number % 4)
        ),
        style_layer_losses=(LayerLoss(layer="relu1_1", loss=number / 3),) * (number % 3),
    )
    if number % 13 == 5:
        outcome = replace(FAILED, error=f"no file {number}")
    return record(
        id=f"item-{number}",
        row=number + 1,
        content=f"c{number // 4 % 9}.png",
        style=f"s{number // 36}.png",
        backbone=backbone,
        params=PictureParams(style_weight=weight),
        outcome=outcome,
        **values,
    )


def test_items_columns_and_details_are_the_metadata_row_by_row() -> None:
    rows = [made(number) for number in range(600)]
    run = source([*rows, rows[3]])
    read = read_gallery(built(run))
    expected = {item["id"]: item for item in expected_items([run])}
    assert read.spine["num_manifest_rows"] == 601
    assert read.spine["num_items"] == len(read.items) == len(expected) == 600
    assert sorted(read.ids()) == sorted(expected)
    failed = sum(item["status"] == "failed" for item in expected.values())
    assert read.spine["num_failed"] == failed > 10
    for item, (number, outcome) in zip(
        read.items,
        ((int(i.removeprefix("item-")), rows[int(i.removeprefix("item-"))].outcome) for i in read.ids()),
        strict=True,
    ):  # fmt: skip
        told = {n: v for n, v in item.items() if not n.startswith("@") and v is not None}
        assert told == {n: v for n, v in expected[item["id"]].items() if n in item}
        assert set(expected[item["id"]]) <= {field["name"] for field in read.spine["fields"]}
        assert item["@picture"] == outcome.picture
        assert (item["@height"], item["@width"]) == (outcome.height or 0, outcome.width or 0)
        assert item["@detail"] == number
        detail = read.details[number]
        assert detail.evaluations == [point.evaluation for point in outcome.loss_curve]
        for name in ("total", "content", "style"):
            for kept, point in zip(detail.curves[name], outcome.loss_curve, strict=True):
                loss = getattr(point, name)
                assert kept == (-32768 if loss == 0 else round(256 * math.log2(loss)))
        assert detail.layers == [
            [each.layer, float(f"{each.loss:.4g}")] for each in outcome.style_layer_losses
        ]
    for name, values in read.columns.items():
        assert values == [item[name] for item in read.items], name


def test_the_spine_says_how_the_items_are_laid_out() -> None:
    read = read_gallery(built(source([made(number) for number in range(80)])))
    spine = read.spine
    assert (spine["row"], spine["column"]) == (["content", "style", "style_weight"], "backbone")
    assert spine["columns"] == ["vgg16", "vgg19"]
    rows = [spine["patterns"][pattern] for pattern in spine["row_patterns"]]
    laid = [spine["columns"][column] for row in rows for column in row]
    assert laid == [item["backbone"] for item in read.items]
    assert spine["num_lines"] == sum(max(map(row.count, row)) for row in rows)
    assert (spine["chunk_items"], spine["detail_items"]) == (250, 250)
    assert spine["runs"] == [{"name": "", "base": ""}]
    assert spine["metadata"] == ["metadata.parquet"]
    kinds = {field["name"]: (field["kind"], field["better"]) for field in spine["fields"]}
    assert kinds["style_loss"] == ("number", -1)
    assert kinds["finished_at"] == ("text", 0)
    by_name = {field["name"]: field for field in spine["fields"]}
    assert by_name["size"]["value"] == 512
    assert by_name["style_loss"]["missing"] == 80 - sum(
        item["style_loss"] is not None for item in read.items
    )
    assert by_name["content"]["size"] == 9
    assert "mask" not in by_name


def test_every_row_stands_in_one_item_and_every_item_in_one_line() -> None:
    rows = [made(number) for number in range(120)]
    run = source([*rows, *rows[:30]])
    files = built(run, static_pages=True)
    read = read_gallery(files)
    assert sorted(read.ids()) == sorted({each.outcome.id for each in rows})
    pages = [Page(files[f"pages/{n + 1}.html"].decode()) for n in range(len(read.spine["row_patterns"]))
             if f"pages/{n + 1}.html" in files]  # fmt: skip
    shown = [int(str(cell["data-item"])) for each in pages for cell in each.all("td")
             if "data-item" in cell]  # fmt: skip
    assert sorted(shown) == list(range(len(read.items)))


def test_the_same_runs_give_the_same_files_and_others_another_digest() -> None:
    runs = [source([made(n) for n in range(300)], name=name, base=f"../{name}/") for name in "ab"]
    assert built(*runs) == built(*runs)
    digest = site.digest_of(runs)
    assert site.digest_of(runs) == digest
    others = [
        site.digest_of(runs[::-1]),
        site.digest_of(runs, static_pages=True),
        site.digest_of([runs[0], replace(runs[1], previews={"x.jpg"})]),
        site.digest_of([runs[0], replace(runs[1], base="b/")]),
        site.digest_of([runs[0], source([made(1)], name="b", base="../b/")]),
    ]
    assert len({digest, *others}) == 6


def test_a_receipt_says_what_a_gallery_is_of() -> None:
    sizes, digests = (
        {"index.html": 3, "data/spine.0.js": 2},
        {"index.html": "d", "data/spine.0.js": "e"},
    )
    written = site.receipt("abc", sizes, digests)
    assert site.digests_in_receipt(written) == digests
    assert site.read_receipt(written) == ("abc", {"index.html": 3, "data/spine.0.js": 2})
    for other in (b"", b"[]", b"{}", b'{"digest": 1, "files": [2]}', b"\xff"):
        assert site.read_receipt(other) == ("", {})
        assert site.digests_in_receipt(other) == {}


def test_the_first_view_is_within_its_budget() -> None:
    """60 KB without pictures: the page has up to 10, and the spine of 100,000 pictures 8.9."""
    sizes = {kind: len(data) for kind, (_, data) in pages.assets_of_pages().items()}
    assert sizes["js"] + sizes["css"] <= 60_000 - pages._MAX_INDEX_BYTES - 8_900
    # What follows is loaded by what the reader does.
    assert {"controls", "large", "tools"} <= sizes.keys()


def test_a_gallerys_own_files_are_known_by_their_names() -> None:
    files = built(source([made(n) for n in range(3)]))
    own = {path for path in files if site.is_own(path)}
    assert own == set(files) - {"index.html"}
    assert site.is_own(site.RECEIPT)
    for path in ("data/mine.csv", "data/spine.js", "pages/x.html", "images/a.png", "index.html"):
        assert not site.is_own(path)


def test_the_page_is_small_and_asks_for_nothing_from_elsewhere() -> None:
    outcome = replace(OK, content_digest=CONTENT, style_digest=STYLE, height=300, width=400,
                      thumbnail="thumbs/ab/abcdef0123456789")  # fmt: skip
    rows = [
        record(id=f"p{n}", content=f"c{n}.png", backbone=backbone, outcome=outcome)
        for n in range(400)
        for backbone in ("vgg16", "vgg19", "resnet50")
    ]
    files = built(source(rows, previews=PREVIEWS))
    assert len(files["index.html"]) <= 10_240
    texts = [files[path].decode() for path in files if path.endswith((".html", ".css"))]
    for text in texts:
        assert not re.search(r"https?://", text)
    index = Page(files["index.html"].decode())
    (policy,) = [m["content"] for m in index.all("meta") if "http-equiv" in m]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'self'")
    (head,) = index.all("html")
    urls = [head["data-spine"], head["data-large"]]
    urls += [a.get("src") or a.get("href") for _, a in index.tags]
    local = {url for url in urls if url and url.startswith(("data/", "assets/", "pages/"))}
    assert local <= set(files)
    assert {url.split("/")[0] for url in local} >= {"data", "assets"}
    assert not any("style" in attributes for _, attributes in index.tags)
    for image in index.all("img"):
        assert str(image["src"]).startswith(("inputs/", "thumbs/"))


def test_cells_show_thumbnails_as_wide_as_they_are_and_link_the_picture() -> None:
    outcome = replace(OK, height=300, width=400, thumbnail="thumbs/ab/abcdef0123456789",
                      content_digest=CONTENT, style_digest=STYLE)  # fmt: skip
    index = page(record(outcome=outcome), previews=PREVIEWS)
    content, style, picture = index.all("img")
    assert content["src"] == f"inputs/{CONTENT[:16]}-256.webp"
    assert style["src"] == f"inputs/{STYLE[:16]}-256.webp"
    stem = "thumbs/ab/abcdef0123456789"
    assert picture["src"] == f"{stem}-256.webp"
    assert picture["srcset"] == f"{stem}-256.webp 256w, {stem}-512.webp 400w"
    assert (picture["width"], picture["height"]) == ("400", "300")
    assert picture["alt"] == "summer palace in the style of great wave, vgg16"
    (link,) = [a["href"] for a in index.all("a") if a.get("class") == "open"]
    assert link == "images/one.png"
    small = page(record(outcome=replace(outcome, height=256, width=100)), previews=PREVIEWS)
    assert small.all("img")[2]["srcset"] == f"{stem}-256.webp 100w"


def test_without_thumbnails_the_picture_itself_is_shown() -> None:
    outcome = replace(OK, thumbnail=None, picture="images/a b#1.png", content_digest=CONTENT)
    index = page(record(outcome=outcome), previews={preview_name(CONTENT)})
    assert [image["src"] for image in index.all("img")] == [
        f"inputs/{CONTENT[:16]}.jpg",
        "images/a%20b%231.png",
    ]


def test_the_best_of_a_row_is_marked_where_its_values_can_be_compared() -> None:
    losses = {1: 0.25, 2: 0.125, 3: 0.125}

    def marked(**values: Any) -> list[str]:
        rows = [
            record(
                id=str(seed),
                params=PictureParams(seed=seed, **values.get(f"params_{seed}", {})),
                backbone=values.get(f"backbone_{seed}", "vgg16"),
                outcome=replace(OK, style_loss=loss, lpips=None),
            )
            for seed, loss in losses.items()
        ]
        return re.findall(r"★ style [\d.]+", page(*rows, record(id="alone", content="b.png")).text)

    assert marked() == ["★ style 0.125", "★ style 0.125"]
    # Another backbone, or another weight, measures something else.
    assert marked(backbone_1="vgg19") == []
    assert marked(params_1={"style_weight": 0.5}) == []


def test_the_head_says_whose_the_pictures_are_and_what_they_share() -> None:
    params = PictureParams(size=64, tv_weight=3)
    rows = [
        record(
            id=f"{content}{style}",
            content=f"{content}.png",
            style=f"{style}.png",
            params=params,
            outcome=replace(
                OK,
                finished_at=datetime(2026, 1, 2 + content, tzinfo=UTC),
                device="cuda:0",
                precision="bfloat16",
            ),
        )
        for content in range(3)
        for style in "ab"
    ]
    index = Page(built(source(rows, name="holiday"))["index.html"].decode())
    for told in ("holiday", "3 contents × 2 styles", "vgg16", "2 Jan 2026 – 4 Jan 2026",
                 "size 64", "tv weight 3", "cuda:0", "bfloat16"):  # fmt: skip
        assert told in index.text, told
    assert "pooling" not in index.text


def test_the_heads_of_styles_have_their_pictures_and_the_means_of_their_columns() -> None:
    losses = {("a", "x"): 0.25, ("b", "x"): 0.5, ("a", "y"): 0.125, ("b", "y"): 0.375}
    rows = [
        record(
            id=content + style,
            content=f"{content}.png",
            style=f"{style}.png",
            outcome=replace(OK, style_loss=loss, style_digest=STYLE, content_digest=CONTENT),
        )
        for (content, style), loss in losses.items()
    ]
    files = built(source(rows, previews=PREVIEWS))
    index = Page(files["index.html"].decode())
    spine = read_gallery(files).spine
    assert (spine["column"], spine["row"], spine["layout"]) == ("style", ["content"], "table")
    assert spine["spans"]["style_loss"] == [[0.375, 0.25, 0.5], [0.25, 0.125, 0.375]]
    heads = [image["src"] for image in index.all("img") if image.get("class") == "of"]
    assert heads == [f"inputs/{STYLE[:16]}-256.webp"] * 2
    assert re.search(r"style 0.375\s*0.25–0.5", index.text)


def test_whole_numbers_have_all_their_digits() -> None:
    def texts(values: Sequence[int]) -> str:
        rows = [
            record(
                id=f"p{value}",
                params=PictureParams(seed=value),
                outcome=replace(OK, style_loss=value, content_loss=0.12345),
            )
            for value in values
        ]
        return page(*rows).text

    table, wall = texts((1024, 2048)), texts(range(1201, 1231))
    assert "style 1024 1024–1024 content 0.123 0.12–0.12" in table
    assert "seed: 1201 style 1201 content 0.123" in wall


def test_a_failed_row_says_why() -> None:
    index = page(record(), record(id="x", backbone="vgg19", outcome=FAILED))
    assert "input not found" in index.text
    assert "no such file" in index.text
    assert "1 failed" in index.text


def test_no_rows_say_so() -> None:
    files = built(source([]))
    assert "The manifest has no rows" in Page(files["index.html"].decode()).text
    read = read_gallery(files)
    assert (read.items, read.spine["num_lines"], [*read.spine["chunks"]]) == ((), 0, [])
    names = [field["name"] for field in read.spine["fields"]]
    assert names == ["content", "style", "backbone", "status"]


@pytest.mark.parametrize(("number", "asked", "expected"), [
    (101, None, 2), (101, False, 0), (100, True, 1), (2001, None, 0), (2001, True, 21),
])  # fmt: skip
def test_plain_pages_are_made_of_few_pictures_or_if_asked_for(
    number: int, asked: bool | None, expected: int
) -> None:
    run = source([record(id=f"{n}", content=f"{n}.png") for n in range(number)])
    files = built(run, static_pages=asked)
    pages = [path for path in files if path.startswith("pages/")]
    assert sorted(pages) == sorted(f"pages/{n + 1}.html" for n in range(expected))
    links = [a.get("href") for a in Page(files["index.html"].decode()).all("a")]
    assert ("pages/1.html" in links) == bool(expected)
    if expected > 1:
        hrefs = [a.get("href") for a in Page(files["pages/2.html"].decode()).all("a")]
        assert {"../index.html", "1.html", "../images/100.png"} <= set(hrefs)


@pytest.mark.parametrize("num_runs", [2, 5])
def test_runs_side_by_side_are_matched_and_told_apart(num_runs: int) -> None:
    runs = [
        source(
            [
                record(
                    id=f"{content}-{weight}",
                    content=content,
                    params=PictureParams(style_weight=weight, tv_weight=float(run)),
                    outcome=replace(OK, nst_version=f"0.{run}"),
                )
                for content in ("a.png", "b.png")
                for weight in (1.0, 2.0)
                if (run, content, weight) != (0, "a.png", 1.0)
            ],
            name=f"run/{run}",
            base=f"../run%20{run}/",
        )
        for run in range(num_runs)
    ]
    files = built(*runs)
    read = read_gallery(files)
    spine = read.spine
    names = [f"run/{run}" for run in range(num_runs)]
    assert (spine["column"], spine["columns"]) == ("run", names)
    assert spine["row"] == ["content", "style", "style_weight"]
    assert spine["num_unmatched"] == 1
    diff = {each["name"]: each["values"] for each in spine["run_diff"]}
    assert diff["tv_weight"] == list(range(num_runs))
    assert diff["nst_version"] == [f"0.{run}" for run in range(num_runs)]
    assert spine["runs"] == [
        {"name": name, "base": f"../run%20{run}/"} for run, name in enumerate(names)
    ]
    assert spine["metadata"][1] == "../run%201/metadata.parquet"
    assert len(read.items) == 4 * num_runs - 1
    assert sorted(read.ids()) == sorted(each["id"] for each in expected_items(runs))
    for item in read.items:
        assert item["id"].startswith(f"{item['run']}/")
        assert names[item["@run"]] == item["run"]
    index = Page(files["index.html"].decode())
    hrefs = [str(a["href"]) for a in index.all("a") if a.get("class") == "open"]
    assert {href.split("/")[1] for href in hrefs} == {f"run%20{run}" for run in range(num_runs)}
    plain = Page(files["pages/1.html"].decode())
    assert all(str(a["href"]).startswith("../../run%20") for a in plain.all("a")
               if a.get("class") == "open")  # fmt: skip


PAYLOADS = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)>',
    "'><svg onload=alert(1)>",
    "\" onmouseover=\"alert(1)",
    "' onfocus='alert(1)' autofocus='",
    "` onclick=alert(1) `",
    "x onerror=alert(1)",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:msgbox(1)",
    "<a href=javascript:alert(1)>x</a>",
    "<iframe src=//evil.example></iframe>",
    "<base href=//evil.example/>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>*{background:url(//evil.example)}</style>",
    "<object data=x>",
    "<embed src=x>",
    "<form action=//evil.example><input name=x>",
    "<math><mtext></mtext><mglyph><svg><mtext><style><img src onerror=alert(1)>",
    "<!--",
    "-->",
    "<!--><script>alert(1)</script>-->",
    "]]>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</noscript><script>alert(1)</script>",
    "</table><td>",
    "</html>",
    "&lt;script&gt;",
    "&#60;script&#62;",
    "&amp;quot;",
    "&#x6a;avascript:alert(1)",
    "{{7*7}}",
    "{% for x in y %}",
    "${alert(1)}",
    "#{7*7}",
    "<%= 7*7 %>",
    "{{constructor.constructor('alert(1)')()}}",
    "\\u003cscript\\u003e",
    "\\x3cscript\\x3e",
    "');alert(1)//",
    '");alert(1)//',
    "\\",
    "%3Cscript%3Ealert(1)%3C/script%3E",
    "%00%0d%0aSet-Cookie:x",
    "%2e%2e%2f%2e%2e%2f",
    "../../../etc/passwd",
    "..\\..\\windows\\system32",
    "C:evil",
    "CON",
    "nul.png",
    "a\u202egpj.exe",
    "\u2066\u2067\u2068\u2069x",
    "\ufeffx",
    "a\x00b",
    "a\x1b[31mred",
    "a\u2028b\u2029c",
    "a\r\nb",
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    "\u0301\u0301\u0301\u0301",
    "ﷺ" * 40,
    "x" * 5000,
    "<" * 300,
    "=HYPERLINK('http://evil.example')",
    "@SUM(1+1)",
    "__proto__",
    "constructor",
    " ",
    ".",
]  # fmt: skip


def hostile_rows(text: str) -> list[Record]:
    hidden: dict[str, Any] = {name: text for name in ("picture", "thumbnail", "color", "content_digest",
                                      "style_digest", "weights_digest", "weights_origin",
                                      "nst_version", "torch_version", "device", "precision",
                                      "picture_digest", "key")}  # fmt: skip
    params = PictureParams()
    params = replace(params, style_layers=(text,), content_layers=(text, "relu"))
    shared: dict[str, Any] = {
        "content": text,
        "style": f"{text} | {text}",
        "mask": text,
        "start": text,
        "backbone": text,
        "labels": {text: text},
        "params": params,
    }
    ok = replace(OK, id=text, style_layer_losses=(LayerLoss(layer=text, loss=0.5),), **hidden)
    failed = Outcome(id=f"{text}2", status="failed", reason=text, error=text)  # type: ignore[arg-type]
    other = record(id="plain", labels={text: "other"})
    return [Record(row=1, **shared, outcome=ok), Record(row=2, **shared, outcome=failed), other]


ALLOWED = {"class", "id", "role", "tabindex", "dir", "lang", "title", "alt", "src", "href"}


@pytest.mark.parametrize("text", PAYLOADS, ids=lambda text: ascii(text)[1:25])
def test_hostile_text_is_text_wherever_it_stands(text: str) -> None:
    files = built(source(hostile_rows(text), name=text, base=""))
    plain = built(source(hostile_rows("harmless")))
    read = read_gallery(files)
    for path in ("index.html", "pages/1.html"):
        found, expected = (Page(each[path].decode()) for each in (files, plain))
        # Of a text no tag comes, and no attribute of one.
        assert {tag for tag, _ in found.tags} <= {tag for tag, _ in expected.tags}, path
        assert len(found.all("script")) == len(expected.all("script"))
        attributes = {(tag, name) for tag, own in found.tags for name in own}
        known = {(tag, name) for tag, own in expected.tags for name in own}
        assert attributes <= known | {("figcaption", "title")}
        for tag, own in found.tags:
            for name in ("href", "src", "srcset"):
                url = str(own.get(name) or "")
                if tag != "link" or not url.startswith("data:,"):
                    assert re.fullmatch(r"[A-Za-z0-9/._~%!$&'()*+,;=@ -]*", url), url
                    assert not url.startswith(("/", "%2F"))
        assert not re.search("[\u202a-\u202e\u2066-\u2069\x00]", files[path].decode())
    item = next(each for each in read.items if each["status"] == "ok" and each["id"] != "plain")
    error = next(each for each in read.items if each["status"] == "failed")
    for shown in (item["content"], item["backbone"], item["mask"], item["device"], error["reason"]):
        assert spelt_out(shown) == spelt_out(text) or "…" in shown
    (label,) = [field for field in read.spine["fields"] if field["role"] == "label"]
    assert spelt_out(label["title"]) == spelt_out(text) or "…" in label["title"]
    assert item[label["name"]] is not None
    (layers,) = [each.layers for each in read.details.values() if each.layers]
    assert layers[0][1] == 0.5
    assert spelt_out(layers[0][0]) == spelt_out(text) or "…" in layers[0][0]


def spelt_out(text: str) -> str:
    """What of a text is shown whatever is done about the invisible: the rest of it."""
    text = re.sub(r"\\u[0-9a-f]{4}", "", text)
    text = re.sub("[\x00-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2066-\u2069\ufeff]", "", text)
    return re.sub(r"[\s|]+", "", text)


@pytest.mark.parametrize("num_contents", [20, 10_000])
def test_plain_pages_grow_with_the_pictures_and_no_faster(num_contents: int) -> None:
    """With a column for each picture, all columns on each page would be the square of them."""

    def size(number: int) -> int:
        rows = [
            record(id=f"i{n}", row=n + 1, content=f"c{n % num_contents}.png", backbone=f"b{n}")
            for n in range(number)
        ]
        files = built(source(rows), static_pages=True)
        pages = [data for path, data in files.items() if path.startswith("pages/")]
        assert sum(data.count(b"data-item=") for data in pages) == number
        assert all(f">b{n}<".encode() in b"".join(pages) for n in (0, number - 1))
        return sum(map(len, pages))

    assert size(400) < 2.2 * size(200)


def test_of_a_row_with_very_many_lines_each_is_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def counting(grid: Any, row: int) -> Any:
        calls.append(row)
        return cells_of(grid, row)

    monkeypatch.setattr(pages, "cells_of", counting)
    files = built(source([record(id=f"i{n}", row=n + 1) for n in range(300)]))
    assert len([path for path in files if path.startswith("pages/")]) == 3
    assert calls == [0]


SECRETS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "X-Amz-Signature=0123abcd",
    "AWSAccessKeyId=abcdefgh",
    "https://h/a?sv=2020&sig=abcdefgh",
    "SharedAccessSignature=abcdefgh",
    "?token=abcdefgh",
    "s3://me:abcdefgh@bucket/a",
    "?u=https%3A%2F%2Fh%3Fsig%3Dabcdefgh",
]


def told(read: Read) -> str:
    return json.dumps([read.spine, read.items, read.columns], default=vars, ensure_ascii=False)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "values",
    [
        {"labels": {"note": "{}"}},
        {"labels": {"{}": "x"}},
        {"content": "{}"},
        {"backbone": "{}"},
        {"outcome": replace(FAILED, error="cannot: {}")},
        {"outcome": replace(OK, picture="images/{}.png")},
        {"outcome": replace(OK, style_layer_losses=(LayerLoss(layer="{}", loss=1),))},
    ],
    ids=["label", "name", "content", "backbone", "error", "picture", "layer"],
)
def test_credentials_of_old_metadata_are_hidden_and_the_gallery_is_made(
    secret: str, values: Mapping[str, Any]
) -> None:
    rows = [record(id="a", row=3), replace(record(row=7), **filled(values, secret))]
    files = built(source(rows))
    read = read_gallery(files)
    assert len(read.items) == 2
    texts = [told(read), *(files[path].decode() for path in files if path.endswith(".html"))]
    texts += [repr(each.layers) for each in read.details.values()]
    for text in texts:
        for part in ("EXAMPLE", "0123abcd", "abcdefgh"):
            assert part not in text


@pytest.mark.parametrize(
    "name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
)
def test_the_environments_credentials_are_hidden(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "canary secret")
    read = read_gallery(built(source([record(labels={"a": "the canary secret of it"})])))
    assert read.items[0]["label_a"] == "the *** of it"


def test_what_only_looks_like_a_credential_is_shown() -> None:
    read = read_gallery(built(source([record(labels={"by": "signature=Monet", "x": "sig=0.5"})])))
    (item,) = read.items
    assert (item["label_by"], item["label_x"]) == ("signature=Monet", "sig=0.5")


def filled(values: Any, secret: str) -> Any:
    """The values with the secret where it belongs."""
    match values:
        case str():
            return values.replace("{}", secret)
        case Mapping():
            return {filled(n, secret): filled(v, secret) for n, v in values.items()}
        case tuple():
            return tuple(filled(each, secret) for each in values)
        case Outcome() | LayerLoss():
            return replace(
                values, **{f.name: filled(getattr(values, f.name), secret) for f in fields(values)}
            )
        case _:
            return values


def test_signed_urls_and_folders_of_this_machine_are_told_without_what_is_secret() -> None:
    signed = "https://me:pw12345678@host/in/a.png?X-Amz-Signature=0f&token=abc"
    rows = [
        record(id="a", content=signed, style="/home/me/pics/s.png"),
        record(
            id="b",
            outcome=replace(
                FAILED, error=f"cannot read {signed.replace('0f', '***')}: no /home/me/x/y.png"
            ),
        ),
    ]
    files = built(source(rows))
    for text in (told(read_gallery(files)), files["index.html"].decode()):
        assert "https://host/in/a.png" in text
        assert "…/pics/s.png" in text
        for hidden in ("Amz", "pw12345678", "token", "/home"):
            assert hidden not in text


def test_ids_and_labels_may_look_like_hashes_and_assignments() -> None:
    texts: Sequence[str] = ("sigma=3", "key=value", "a=b&c=d", "Asia", "me@home", "AKIA-x")
    read = read_gallery(built(source([record(labels={"x": t}, id=str(n))
                                      for n, t in enumerate(texts)])))  # fmt: skip
    assert {item["label_x"] for item in read.items} == set(texts)


def test_metadata_of_earlier_releases_is_shown_too() -> None:
    """Without the columns that they did not have, and beside those of a run that has them."""
    import io

    import pyarrow.parquet as pq

    run = source([made(n) for n in range(5)])
    table = pq.read_table(run.metadata)
    new = ["thumbnail", "color", "style_layer_losses", "lpips", "ssim", "attempts"]
    new += ["lpips_grey", "cfsd", "style_distance", "color_distance", "noise"]
    old = table.drop_columns(new)
    sink = io.BytesIO()
    pq.write_table(old, sink)
    files = built(replace(run, metadata=sink))
    assert len(read_gallery(files).items) == 5
    key, detail = unpacked(files[next(path for path in files if "detail-0000" in path)])
    assert (key, detail["layers"]) == ("detail-0000", [])
    both = (replace(run, name="old", metadata=sink), replace(run, name="new"))
    told = {(item["run"], item["noise"]) for item in read_gallery(built(*both)).items}
    assert told == {("old", None), ("new", OK.noise)}
    bare = io.BytesIO()
    pq.write_table(table.select(["id", "row", "content", "style", "backbone", "status"]), bare)
    assert len(read_gallery(built(replace(run, metadata=bare))).items) == 5


def test_pictures_and_chunks_are_found_by_the_data_alone() -> None:
    files = built(source([made(n) for n in range(260)]))
    spine = next(data for path, data in files.items() if "spine" in path)
    paths = site.chunk_paths(spine)
    assert [path in files for path in paths] == [True, True]
    # As releases up to 0.2.0 wrote them.
    earlier = codec.encoded("spine", {"chunks": ["0123abcd"]})
    assert site.chunk_paths(earlier) == ["data/rows-0000.0123abcd.js"]
    shown = {picture for path in paths for picture in site.shown_pictures(files[path])}
    read = read_gallery(files)
    assert shown == {item["@picture"] for item in read.items if item["@picture"]}
    for function in (site.chunk_paths, site.shown_pictures):
        with pytest.raises(ValueError, match="expected"):
            function(next(data for path, data in files.items() if "col-" in path))
