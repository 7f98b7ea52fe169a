import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nst import storage
from nst.errors import ManifestError
from nst.job import Job, PictureParams
from nst.manifest import parsing, rows
from nst.manifest.access import Access
from nst.manifest.ids import SAFE_ID_RULE, earlier_id, id_of, is_safe_id, is_safe_name
from nst.manifest.names import Reading
from nst.manifest.problems import Problems
from nst.storage import tables
from tests.helpers import csv_bytes

ANYWHERE = Access(("file", "s3"))
FILES = ["styles/s.png", "styles/t.png", "a.png", "b.png"]
# With no time in it, since the tests are called by what they are given, the same in each process.
GZIPPED = gzip.compress(b"content,style,backbone\n", mtime=0)


def glob(pattern: str) -> list[str]:
    from fnmatch import fnmatch

    return [name for name in FILES if fnmatch(name, pattern)]


def parse(name: str, data: bytes | str, **overrides: Any) -> tuple[Job, ...]:
    return parsed(name, data, overrides=overrides).jobs


def resolve(reference: str) -> str:
    return storage.resolve("/base", reference)


def parsed(
    name: str,
    data: bytes | str,
    *,
    access: Access = ANYWHERE,
    overrides: Mapping[str, Any] | None = None,
    keep_going: bool = False,
    reading: Reading | None = None,
) -> parsing.Parsed:
    return parsing.parse(
        name,
        data if isinstance(data, bytes) else data.encode(),
        parsing.Places(resolve=resolve, full_pattern=resolve, glob=glob, access=access),
        overrides=overrides,
        keep_going=keep_going,
        reading=reading,
    )


def refusal(name: str, data: bytes | str, **overrides: Any) -> list[str]:
    """The problems, a line each."""
    with pytest.raises(ManifestError) as caught:
        parse(name, data, **overrides)
    head, *problems = str(caught.value).splitlines()
    assert (
        head
        == f"{name}: refused with {len(problems)} problem{'s' * (len(problems) != 1)}, nothing was run"
    )
    return [problem.strip() for problem in problems]


ROWS: list[dict[str, Any]] = [
    {"content": "a.png", "style": "s.png", "backbone": "vgg16", "size": 256, "label_series": "x"},
    {"content": "b.png", "style": "s.png", "backbone": "vgg19", "size": None, "label_series": None},
]


def jsonl(rows: Sequence[object]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    data: bytes = sink.getvalue().to_pybytes()
    return data


@pytest.mark.parametrize(
    ("name", "data"),
    [("m.csv", csv_bytes(ROWS)), ("m.jsonl", jsonl(ROWS)), ("M.PARQUET", parquet(ROWS))],
)
def test_formats_say_the_same(name: str, data: bytes) -> None:
    first, second = parse(name, data)
    assert (first.row, first.content, first.content_name) == (1, "/base/a.png", "a.png")
    assert (first.styles, first.backbone) == (("/base/s.png",), "vgg16")
    assert first.params == PictureParams(size=256)
    assert first.labels == {"series": "x"}
    assert (second.backbone, second.params, second.labels) == ("vgg19", PictureParams(), {})
    assert [job.id for job in (first, second)] == [job.id for job in parse("m.jsonl", jsonl(ROWS))]


# A row that names the default backbone, and then rows that leave it out.
WITHOUT_BACKBONE: list[tuple[str, bytes | str]] = [
    ("m.csv", "content,style,backbone\na.png,s.png,vgg19\na.png,s.png,\na.png,s.png,  \n"),
    ("m.csv", "content,style\na.png,s.png\n"),
    (
        "m.jsonl",
        '{"content": "a.png", "style": "s.png", "backbone": "vgg19"}\n'
        '{"content": "a.png", "style": "s.png", "backbone": null}\n'
        '{"content": "a.png", "style": "s.png", "backbone": ""}\n'
        '{"content": "a.png", "style": "s.png"}\n',
    ),
    (
        "m.parquet",
        parquet([{"content": "a.png", "style": "s.png", "backbone": b} for b in ("vgg19", None)]),
    ),
    ("m.parquet", parquet([{"content": "a.png", "style": "s.png", "backbone": None}])),
    ("m.parquet", parquet([{"content": "a.png", "style": "s.png"}])),
    ("m.yaml", "content: a.png\nstyle: s.png\nbackbone: [vgg19, '']\n"),
    ("m.yaml", "content: a.png\nstyle: s.png\nbackbone:\n"),
    ("m.yaml", "content: a.png\nstyle: s.png\n"),
]


@pytest.mark.parametrize(("name", "data"), WITHOUT_BACKBONE)
def test_a_row_that_names_no_backbone_is_the_row_that_names_vgg19(
    name: str, data: bytes | str
) -> None:
    (named,) = parse("m.jsonl", '{"content": "a.png", "style": "s.png", "backbone": "vgg19"}')
    for job in parse(name, data):
        assert replace(job, row=1) == named
    # As it was before there was a default.
    written = '[{"backbone": "vgg19", "content": "a.png", "style": "s.png"}, {}]'
    assert named.id == f"a-s-vgg19-{hashlib.sha256(written.encode()).hexdigest()[:16]}"


def test_the_layers_of_a_row_that_names_no_backbone_are_vgg19s() -> None:
    row = {"content": "a", "style": "s", "style_layers": "relu5_4"}
    (job,) = parse("m.jsonl", jsonl([row]))
    assert job.params.style_layers == ("relu5_4",)
    (problem,) = refusal("m.jsonl", jsonl([row | {"style_layers": "relu1"}]))
    assert problem.startswith("line 1, column 'style_layers': expected layers of vgg19")


def test_csv_as_spreadsheets_write_it() -> None:
    text = '\ufeff\r\ncontent,style,backbone,label_note\r\n"a,b.png",s.png,vgg16,"two\nlines"\r\n\r\nb.png,s.png,vgg16,\r\n'
    first, second = parse("m.csv", text)
    assert first.content_name == "a,b.png"
    assert first.labels == {"note": "two\nlines"}
    assert second.row == 2


@pytest.mark.parametrize("data", ["", "content,style,backbone\n"])
def test_an_empty_manifest_has_no_rows(data: str) -> None:
    assert parse("m.csv", data) == ()


def test_a_matrix_is_the_product_of_its_lists_and_globs() -> None:
    jobs = parse(
        "m.yaml",
        "content: a.png\nstyle: [styles/*.png]\nbackbone: [vgg16, vgg19]\n"
        "style_weight: [0.5, 1]\nlabel_series: study\nstyle_layers: [[relu1_1, relu2_1]]\n",
    )
    assert len(jobs) == 8
    assert [job.row for job in jobs] == list(range(1, 9))
    assert {job.style_name for job in jobs} == {"styles/s.png", "styles/t.png"}
    assert {job.params.style_weight for job in jobs} == {0.5, 1.0}
    assert {job.params.style_layers for job in jobs} == {("relu1_1", "relu2_1")}
    assert all(job.labels == {"series": "study"} for job in jobs)
    assert len({job.id for job in jobs}) == 8


@pytest.mark.parametrize("query", ["w=512", "w=512&crop[]=1", "w=1?2", "a.b=*"])
def test_the_query_of_a_url_is_no_pattern(query: str) -> None:
    url = f"https://host.example/p.jpg?{query}"
    text = f"content: {url}\nstyle: [s.png, {url!r}]\n"
    # Of the stand-in for a disk or a server, no pattern matches them.
    jobs = parsed("m.yaml", text, access=Access(("file", "https"))).jobs
    assert [(job.content, job.styles[0]) for job in jobs] == [(url, "/base/s.png"), (url, url)]
    # As it always could be written, with the id of the URL.
    escaped = storage.escaped(url)
    text = f"content: {escaped!r}\nstyle: [s.png, {escaped!r}]\n"
    again = parsed("m.yaml", text, access=Access(("file", "https"))).jobs
    assert [job.id for job in again] == [job.id for job in jobs]


@pytest.mark.parametrize("name", ["p?.jpg", "*.jpg?w=512", "p.jpg?512", "[ab].jpg?w=512", "?=x"])
def test_a_mark_in_the_name_of_a_file_on_the_web_stays_a_wildcard(name: str) -> None:
    text = f"content: 'https://host.example/{name}'\nstyle: s.png\n"
    with pytest.raises(ManifestError, match="expected a pattern that some file matches"):
        parsed("m.yaml", text, access=Access(("file", "https")))


def test_a_matrix_takes_values_as_they_are_written() -> None:
    (job,) = parse(
        "m.yaml",
        "content: a\nstyle: s\nbackbone: vgg16\nlabel_a: no\nlabel_b: 1.10\nlabel_c: 2024-13-45\n",
    )
    assert job.labels == {"a": "no", "b": "1.10", "c": "2024-13-45"}


@pytest.mark.parametrize("value", [None, "", " ", []])
def test_empty_layers_are_the_backbones(value: object) -> None:
    row = {"content": "a", "style": "s", "backbone": "vgg16", "style_layers": value}
    (job,) = parse("m.jsonl", jsonl([row]), content_layers="")
    assert (job.params.style_layers, job.params.content_layers) == (None, None)


def test_overrides_stand_over_the_rows_own_values_and_leave_the_ids() -> None:
    data = csv_bytes(ROWS)
    plain, forced = parse("m.csv", data), parse("m.csv", data, size="128", style_layers="relu1_1")
    assert {job.params.size for job in forced} == {128}
    assert {job.params.style_layers for job in forced} == {("relu1_1",)}
    assert [job.id for job in plain] == [job.id for job in forced]


# Ids


def test_an_id_made_depends_on_its_row_alone_and_is_safe() -> None:
    row = {"content": "in/Ünï code & co.png", "style": "s.png", "backbone": "vgg16"}
    (alone,) = parse("m.jsonl", jsonl([row]))
    _, later = parse("m.jsonl", jsonl([ROWS[0], row]))
    assert alone.id == later.id
    assert alone.id.startswith("ünï-code-co-s-vgg16-")
    assert is_safe_name(alone.id)


def test_what_a_row_says_makes_its_id_and_defaults_do_not() -> None:
    base = {"content": "a.png", "style": "s.png", "backbone": "vgg16"}
    rows = [base, base | {"steps": 7}, base | {"style_weight": 2}, base | {"label_x": "y"}]
    plain, steps, weight, label = (job.id for job in parse("m.jsonl", jsonl(rows)))
    assert len({plain, steps, weight}) == 3
    assert plain == label
    # However a number is written, it says the same.
    (text,) = parse("m.jsonl", jsonl([base | {"style_weight": "2.0"}]))
    assert text.id == weight


def test_an_id_is_the_digest_of_what_the_row_says() -> None:
    row = {
        "content": 'a "ü".png',
        "style": ["s.png", "t.png"],
        "backbone": "vgg16",
        "mask": "m.png",
    }
    (job,) = parse("m.jsonl", jsonl([row | {"style_weight": 2, "init": "p.png", "seed": "3"}]))
    texts = row | {"style": "s.png | t.png", "start": "p.png"}
    given = {"style_weight": 2.0, "init": "picture", "seed": 3}
    written = json.dumps([texts, given], sort_keys=True)
    assert job.id == f"a-ü-s-png-t-vgg16-{hashlib.sha256(written.encode()).hexdigest()[:16]}"


@pytest.mark.parametrize("value", [True, [True]])
def test_what_is_equal_in_python_is_checked_each_for_itself(value: object) -> None:
    column = "style_blend" if isinstance(value, list) else "style_weight"
    row = {"content": "a.png", "style": "s.png", "backbone": "vgg16"}
    fine = row | {column: [1] if isinstance(value, list) else 1}
    (problem,) = refusal("m.jsonl", jsonl([fine, row | {column: value}, fine]))
    expected = "numbers" if isinstance(value, list) else "a number"
    assert problem.startswith(f"line 2, column '{column}': expected {expected} from 0")


def test_what_rows_have_in_common_is_one_object() -> None:
    first, second = parse("m.csv", csv_bytes([ROWS[0] | {"id": name} for name in "ab"]))
    assert first.id != second.id
    for name in ("content", "styles", "content_name", "style_name", "backbone", "params", "labels"):
        assert getattr(first, name) is getattr(second, name), name


def test_rows_that_say_the_same_share_one_picture() -> None:
    first, second = parse("m.jsonl", jsonl([ROWS[0], ROWS[0]]))
    assert first.id == second.id
    assert (first.row, second.row) == (1, 2)


@pytest.mark.parametrize(
    ("name", "slug", "earlier"),
    [
        ("Harbour at 5 (copy)", "harbour-at-5-copy", "harbour-at-5-copy"),
        ("東京タワー", "東京タワー", "picture"),
        ("Zürich", "zürich", "z-rich"),
        # As macOS writes it, in parts.
        ("Zu\u0308rich", "zürich", "zu-rich"),
        ("हिन्दी चित्र", "हिन्दी-चित्र", "picture"),
        ("\u0301a", "a", "a"),
        ("\u2764\ufe0f x", "x", "x"),
        ("名" * 40, "名" * 16, "picture"),
        ("a" * 40, "a" * 32, "a" * 32),
        ("\U0001f600", "picture", "picture"),
    ],
)
def test_an_id_keeps_the_letters_of_every_script(name: str, slug: str, earlier: str) -> None:
    row = {"content": f"in/{name}.jpg", "style": "s.png", "backbone": "vgg16"}
    (job,) = parse("m.jsonl", jsonl([row]))
    written = json.dumps([row, {}], sort_keys=True)
    digest = hashlib.sha256(written.encode()).hexdigest()[:16]
    assert job.id == f"{slug}-s-vgg16-{digest}"
    assert earlier_id(job) == f"{earlier}-s-vgg16-{digest}" or job.id.isascii()
    assert is_safe_name(job.id)


@pytest.mark.parametrize("text", ["a", "A-1_b.c", "0", "x" * 100, "café".encode().hex()])
def test_safe_ids(text: str) -> None:
    assert is_safe_id(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        ".a",
        "a.",
        "-a",
        "a/b",
        "../a",
        "a b",
        "é",
        "x" * 101,
        "con",
        "NUL.png",
        "a\n",
    ],
)
def test_unsafe_ids(text: str) -> None:
    assert not is_safe_id(text)


# Refusals


def test_every_problem_is_named_by_line_column_expected_and_found() -> None:
    text = (
        "id,content,style,backbone,size,steps\n"
        "one,a.png,s.png,vgg6,,\n"
        "one,a.png,,vgg16,512,\n"
        "ok,a.png,s.png,vgg16,9,ten\n"
        "ok,b.png,s.png,vgg16,,\n"
        "OK,b.png,s.png,vgg16,,\n"
        "../x,b.png,s.png,vgg16,,\n"
    )
    assert refusal("m.csv", text) == [
        "line 2, column 'backbone': expected one of vgg16, vgg19, resnet50 (did you mean 'vgg16'?);"
        " found 'vgg6'",
        "line 3, column 'style': expected the path or URL of a picture, or several with | between "
        "them; found nothing",
        "line 3, column 'id': expected an id that line 2 does not have; found 'one'",
        "line 4, column 'size': expected a whole number from 32 to 8192, or `content`; found '9'",
        "line 4, column 'steps': expected a whole number from 1 to 100000; found 'ten'",
        "line 5, column 'id': expected an id that line 4 does not have; found 'ok'",
        "line 6, column 'id': expected an id that line 4 does not have; found 'OK'",
        f"line 7, column 'id': expected {SAFE_ID_RULE}; found '../x'",
    ]


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("stile", "(did you mean 'style'?)"),
        ("stepz", "(did you mean 'steps'?)"),
        ("photographer", "(a column of your own is called 'label_photographer')"),
        ("Stile", "(did you mean 'style'?)"),
    ],
)
def test_an_unknown_column_names_the_nearest(column: str, said: str) -> None:
    problems = refusal("m.csv", f"content,style,backbone,{column}\na,b,vgg16,1\n")
    assert problems == [
        f"line 1, column {column!r}: expected a known column {said}; found {column!r}"
    ]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("m.txt", "", "ends in .csv, .tsv, .jsonl, .ndjson, .parquet, .yaml, .yml, .xlsx, "),
        ("m.csv", "content,backbone\na,vgg16\n", "column 'style': expected this column"),
        ("m.csv", "content,style,backbone,size,size\n", "column 'size': expected each column once"),
        ("m.csv", "content,style,backbone\na,b\n", "line 2: expected 3 cells as in the header; found 2"),
        ("m.csv", 'content,style,backbone\n"a,b,c\n', "expected CSV"),
        ("m.csv", "content,style,backbone\n".encode("utf-16-le"), "expected text in UTF-8; found the byte 0x00 at 1, as in UTF-16"),
        ("m.csv", "content,style\n".encode("utf-16")[:-1], "expected text in UTF-16, or in UTF-8; found"),
        ("m.jsonl", '{"content": "a"\n', "line 1: expected a JSON object"),
        ("m.csv", "content,style,label_\n", "column 'label_': expected a name behind label_, such as label_series"),
        ("m.csv", "content,style,Label\n", "column 'Label': expected a name behind label_, such as label_series"),
        ("m.csv", 'content,style,backbone\n"a,b,c\n', "a quoted cell that does not end"),
        ("m.csv", 'content,style,backbone\n"a"b",b,c\n', "a quote within a quoted cell is written twice"),
        ("m.jsonl", '\n{"content": }', "line 2: expected a JSON object; found Expecting value at character 13"),
        ("m.jsonl", '[\n{"content": "a", "style": "s"}\n]', "line 1: expected a JSON object; found Expecting value at character 2, in a list; write the objects alone"),
        ("m.jsonl", "[1]", "line 1: expected a JSON object; found list"),
        ("m.jsonl", "3", "line 1: expected a JSON object; found int"),
        ("m.jsonl", '{"size": NaN}', "line 1: expected a JSON object; found NaN, which is no JSON"),
        ("m.jsonl", '{"size": -Infinity}', "found -Infinity, which is no JSON"),
        ("m.jsonl", '{"size": ' + "9" * 5000 + "}", "line 1: expected a JSON object; found Exceeds"),
        ("m.jsonl", '{"label_x": {"a": 1}}', "column 'label_x': expected a value or a list of values; found dict"),
        ("m.jsonl", '{"label_x": ' + "[" * 900 + "]" * 900 + "}", "column 'label_x': expected a value or a list of values; found list"),
        ("m.jsonl", '{"content": "a", "style": "s", "backbone": "vgg16", "mask": 3}', "column 'mask': expected the path or URL of a picture; found 3"),
        ("m.jsonl", '{"content": "a\\u0000", "style": "s", "backbone": "vgg16"}', "text that UTF-8 can hold, without NUL"),
        ("m.jsonl", '{"label_\\ud800": "a"}', "expected a column whose name UTF-8 can hold"),
        ("m.jsonl", '{"content": "a", "style": ["\\ud800"], "backbone": "vgg16"}', "column 'style': expected text that UTF-8 can hold"),
        ("m.jsonl", '{"content": "a"}\n{"content": "\xff"}'.encode("latin-1"), "line 2: expected text in UTF-8, which Excel calls CSV UTF-8; found the byte 0xff at 30"),
        ("m.csv", "content,style,backbone\na,b\0,vgg16\n", "line 2: expected text in UTF-8; found the byte 0x00 at 26"),
        ("m.csv", f"content,style,backbone\na,b,vgg16\n{'a' * 131073},b,vgg16\n", "line 3: expected CSV; found field larger than field limit"),
        ("m.csv", ",".join(f"label_{i}" for i in range(2000)), "line 1: expected at most 1000 columns; found 2000"),
        ("m.csv", parquet(ROWS), "found a Parquet file; let its name end in .parquet"),
        ("m.csv", GZIPPED, "found a gzip file; let its name end in .gz"),
        ("m.yaml.gz", GZIPPED, "expected a manifest that ends in .csv, "),
        ("m.csv.gz", GZIPPED[:-4], "expected a gzip file; found Compressed file ended"),
        ("m.csv.gz", b"content,style\n", "expected a gzip file; found Not a gzipped file"),
        ("m.parquet", "content,style,backbone\n", "expected a Parquet file"),
        ("m.parquet", parquet([{"content": 3, "style": "s", "backbone": "vgg16"}]), "column 'content': expected a column of text; found int64"),
        ("m.parquet", parquet([{"content": "a", "style": ["s"], "backbone": ["vgg16"]}]), "column 'backbone': expected a column of text; found list<"),
        ("m.parquet", parquet([{"content": "a", "style": {"a": 1}, "backbone": "vgg16"}]), "column 'style': expected a column of text or of lists of text; found struct<"),
        ("m.parquet", parquet([{"content": "a", "style": "s", "backbone": "vgg16", "size": {"a": 1}}]), "column 'size': expected a column of text"),
        ("m.yaml", "content: &a a\nstyle: s\nbackbone: vgg16\n", "expected YAML; found anchors and aliases are not read"),
        ("m.yaml", "content: a\nstyle: s\nbackbone: vgg16\nlabel_x: *a\n", "expected YAML; found anchors and aliases are not read"),
        ("m.yaml", "content: a\ncontent: b\nstyle: s\nbackbone: vgg16\n", "column 'content': expected each column once; found 2 of them"),
        ("m.yaml", "? [a, b]\n: c\n", "line 1: expected the name of a column; found a list"),
        ("m.yaml", "seed: [" + ", ".join(map(str, range(3000))) + "]\nsize: [" + ", ".join(map(str, range(3000))) + "]\ncontent: a\nstyle: s\nbackbone: vgg16\n", "expected at most 5000000 rows"),
        ("m.jsonl", '{"content": "a", "content": "b"}', "found the key 'content' twice"),
        ("m.jsonl", "[" * 100_000, "line 1: expected a JSON object"),
        ("m.jsonl", '{"content": 3, "style": "s", "backbone": "vgg16"}', "column 'content'"),
        ("m.parquet", b"PAR1 no", "expected a Parquet file"),
        ("m.yaml", "- a\n", "expected a mapping of columns to lists"),
        ("m.yaml", "content: [a\n", "expected YAML"),
        ("m.yaml", "content: !!python/object:os.system x\nstyle: s\nbackbone: vgg16\n", "line 1: expected YAML without tags"),
        ("m.yaml", "content: " + "[" * 5000, "expected YAML"),
        ("m.yaml", "content: {a: b}\nstyle: s\nbackbone: vgg16\n", "expected a value or a list of values; found a mapping"),
        ("m.yaml", "content: a\nstyle: s\nbackbone: vgg16\nid: []\n", "no ids in a matrix"),
        ("m.yaml", "content: a\nstyle: s\nbackbone: vgg16\nseed: '~'\n", "line 4, column 'seed': expected a whole number from 0 to 9223372036854775807; found '~'"),
        ("m.jsonl", '{"content": "\\ud800", "style": "s", "backbone": "vgg16"}', "text that UTF-8 can hold, without NUL; found '\\ud800'"),
        ("m.yaml", "content: a\nbackbone: vgg16\n", "column 'style': expected this column"),
        ("m.yaml", "content: a\nstyle: s\nbackbone: '~'\n", "line 3, column 'backbone': expected one of vgg16, vgg19, resnet50; found '~'"),
        ("m.jsonl", '{"content": "a", "style": "s", "backbone": 19}', "column 'backbone': expected one of vgg16, vgg19, resnet50; found 19"),
        ("m.jsonl", '{"content": "a", "style": "s", "backbone": ["vgg19"]}', "column 'backbone': expected one of vgg16, vgg19, resnet50; found ['vgg19']"),
        ("m.yaml", "content: a\nstyle: s\nbackbone: vgg16\nid: [x, y]\n", "no ids in a matrix"),
        ("m.yaml", "content: none/*.png\nstyle: s\nbackbone: vgg16\n", "line 1, column 'content': expected a pattern that some file matches"),
        ("m.yaml", "content: a\nstyle: s\nbackbone: [vgg16]\nsize:\n  - 64\n  - 9\n", "line 6, column 'size': expected a whole number from 32"),
    ],
)  # fmt: skip
def test_refused(name: str, data: bytes | str, said: str) -> None:
    assert any(said in problem for problem in refusal(name, data)), refusal(name, data)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("style_weight", "nan", "a number from 0 to 1e+06; found 'nan'"),
        ("style_weight", "inf", "a number from 0 to 1e+06; found 'inf'"),
        ("style_weight", -1, "a number from 0 to 1e+06; found -1"),
        ("style_weight", "1,5", "a number from 0 to 1e+06 (did you mean '1.5'?); found '1,5'"),
        ("style_weight", "1,5,0", "a number from 0 to 1e+06; found '1,5,0'"),
        ("content_size", 9, "a whole number from 32 to 8192; found 9"),
        ("steps", 0, "a whole number from 1 to 100000; found 0"),
        ("steps", 1.5, "a whole number from 1 to 100000; found 1.5"),
        ("steps", True, "a whole number from 1 to 100000; found True"),
        ("style_weight", False, "a number from 0 to 1e+06; found False"),
        ("size", 100_000, "a whole number from 32 to 8192, or `content`; found 100000"),
        ("size", "contents", "a whole number from 32 to 8192, or `content`"),
        ("strength", 1.5, "a number from 0 to 1"),
        ("style_layers", "relu1_1:0", "above 0 and up to 1e+06"),
        ("style_layers", "relu1_1:nan", "above 0 and up to 1e+06"),
        ("style_layers", "relu1_1:x", "layers of vgg16"),
        ("method", "gatis", "one of pyramid, gatys (did you mean 'gatys'?)"),
        ("init", "nois", "one of recolored, content, noise, or the path or URL of a picture (did you mean 'noise'?)"),
        ("optimizer", "sgd", "one of lbfgs, adam; found 'sgd'"),
        ("optimizer", "ADAMW", "one of lbfgs, adam (did you mean 'adam'?); found 'adamw'"),
        ("preserve_color", "true", "one of none, luminance, match; found 'true'"),
        ("preserve_color", True, "one of none, luminance, match; found True"),
        ("seed", -1, "a whole number from 0 to 9223372036854775807; found -1"),
        ("style_blend", "1 x", "numbers from 0 to 1e+06, with spaces between them; found 'x'"),
        ("style_blend", True, "numbers from 0 to 1e+06, with spaces between them; found True"),
        ("style_layers", 3, "names of layers, with spaces between them; found 3"),
        ("style_layers", "conv4_2", "layers of vgg16, relu1_1 to relu5_3 (did you mean 'relu4_2'?); found 'conv4_2'"),
        ("style_layers", "Block4_Conv2", "(did you mean 'relu4_2'?)"),
        ("style_layers", "relu5_4", "layers of vgg16, relu1_1 to relu5_3 ('relu5_4' is one of vgg19)"),
        ("style_layers", "layer4.2", "layers of vgg16, relu1_1 to relu5_3 ('layer4.2' is one of resnet50)"),
        ("style_layers", "relu1_1 relu9_1", "layers of vgg16"),
        ("content_layers", "layer2.3", "layers of vgg16"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(column: str, value: object, said: str) -> None:
    row = {"content": "a", "style": "s", "backbone": "vgg16", column: value}
    (problem,) = refusal("m.jsonl", jsonl([row]))
    assert problem.startswith(f"line 1, column {column!r}: expected ")
    assert said in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resnet", "(did you mean 'resnet50'?)"),
        ("VGG99", "(did you mean 'vgg19'?)"),
        ("ViT", "resnet50; found 'ViT'"),
    ],
)
def test_an_unknown_backbone_names_the_nearest(text: str, said: str) -> None:
    (problem,) = refusal("m.csv", f"content,style,backbone\na,b,{text}\n")
    assert problem.startswith("line 2, column 'backbone': expected one of vgg16, vgg19, resnet50")
    assert said in problem


def test_a_wrong_value_of_a_matrix_is_told_once_and_in_its_line() -> None:
    text = (
        "style: [s, t]\nbackbone: [vgg16, vgg99]\nsize:\n- 64\n- 9\n"
        "content: ['http://h/a.png', b]\nseed: [0, 1, 2]\n"
    )
    assert [problem.partition(": expected")[0] for problem in refusal("m.yaml", text)] == [
        "line 2, column 'backbone'",
        "line 5, column 'size'",
        "line 6, column 'content'",
    ]
    (found, *_) = parsed("m.yaml", text, keep_going=True).refused.values()
    assert found.message.startswith("line 6, column 'content'")


def test_a_list_that_makes_rows_of_layers_is_noted() -> None:
    text = "content: a\nstyle: s\nstyle_layers: [relu1_1, relu2_1]\n"
    found = parsed("m.yaml", text)
    assert [job.params.style_layers for job in found.jobs] == [("relu1_1",), ("relu2_1",)]
    assert found.notes == (
        "line 3, column 'style_layers': each of 2 values is for rows of its own; "
        "[[relu1_1, relu2_1]] is all of them for one row",
    )
    (blend,) = parsed(
        "m.yaml", "content: a\nstyle: s|t\nstyle_blend: ['2', '1']\n", keep_going=True
    ).notes
    assert "[[2, 1]] is all of them for one row" in blend
    for plain in ("[[relu1_1, relu2_1]]", "relu1_1", "[relu1_1 relu2_1, relu3_1]", "[relu1_1]"):
        assert parsed("m.yaml", text.replace("[relu1_1, relu2_1]", plain)).notes == ()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        (
            "init",
            "picture",
            "column 'init': expected one of recolored, content, noise; a picture is",
        ),
        ("init", "a.png", "column 'init': expected one of recolored, content, noise; a picture is"),
        ("init", "nois", "did you mean 'noise'?"),
        ("Size", "64", "expected a picture parameter (did you mean 'size'?); found 'Size'"),
        ("backbone", "vgg16", "this is a column of the manifest alone; found 'backbone'"),
        ("label_x", "y", "this is a column of the manifest alone; found 'label_x'"),
    ],
)
def test_an_override_that_cannot_be_is_told_what_can(field: str, value: str, said: str) -> None:
    with pytest.raises(ManifestError) as caught:
        parse("m.csv", csv_bytes(ROWS), **{field: value})
    assert "--set: refused with 1 problem, nothing was run" in str(caught.value)
    assert said in str(caught.value)


def test_a_wrong_column_does_not_hide_what_is_wrong_with_the_rows() -> None:
    text = "id,content,style,backbone,size,colour\nx,a,s,vgg1,64,\nx,a,s,vgg16,9,\n"
    assert [problem.split(";")[0] for problem in refusal("m.csv", text)] == [
        "line 1, column 'colour': expected a known column (a column of your own is called 'label_colour')",
        "line 2, column 'backbone': expected one of vgg16, vgg19, resnet50 (did you mean 'vgg19'?)",
        "line 3, column 'size': expected a whole number from 32 to 8192, or `content`",
        "line 3, column 'id': expected an id that line 2 does not have",
    ]


def test_a_bad_override_is_refused_by_its_name() -> None:
    with pytest.raises(ManifestError) as caught:
        parse("m.csv", csv_bytes(ROWS), step="3", size="9")
    message = str(caught.value)
    assert "--set: refused with 2 problems" in message
    assert "expected a picture parameter (did you mean 'steps'?); found 'step'" in message
    assert (
        "column 'size': expected a whole number from 32 to 8192, or `content`; found '9'" in message
    )


@pytest.mark.parametrize("style", ["s.png|t.png", " s.png | t.png ", ["s.png", "t.png"]])
def test_a_row_may_name_several_styles_and_their_blend(style: object) -> None:
    row = {"content": "a.png", "style": style, "backbone": "vgg16", "style_blend": "2 1"}
    (job,) = parse("m.jsonl", jsonl([row]))
    assert job.styles == ("/base/s.png", "/base/t.png")
    assert job.params.style_blend == (2.0, 1.0)
    assert job.id.startswith("a-")


def test_a_style_of_a_list_that_is_several_is_noted() -> None:
    row = {"content": "a.png", "style": ["s|t.png", "u.png"], "backbone": "vgg16"}
    found = parsed("m.jsonl", jsonl([row, row]))
    assert found.jobs[0].styles == ("/base/s", "/base/t.png", "/base/u.png")
    assert found.notes == ("'s|t.png' is several styles, in a list too: | is between them",)


def test_a_blend_is_of_as_many_weights_as_styles_and_not_beside_a_mask() -> None:
    row = {"content": "a.png", "style": "s.png|t.png", "backbone": "vgg16"}
    rows = [
        row | {"style_blend": "1 2 3"},
        row | {"style_blend": "1 2", "mask": "m.png"},
        row | {"style_blend": "0 0"},
        row | {"style": "|"},
    ]
    assert refusal("m.jsonl", jsonl(rows)) == [
        "line 1, column 'style_blend': expected 2 weights, one for each style; found '1.0 2.0 3.0'",
        "line 2, column 'style_blend': expected no blend beside a mask, which says where each style "
        "paints; found '1.0 2.0'",
        "line 3, column 'style_blend': expected weights of which some are above 0; found ('0', '0')",
        "line 4, column 'style': expected the path or URL of a picture, or several with | between "
        "them; found '|'",
    ]


def test_a_mask_and_a_picture_to_start_from_are_inputs_of_the_row() -> None:
    row = {"content": "a.png", "style": "s.png", "backbone": "vgg16"}
    plain, full = parse("m.jsonl", jsonl([row, row | {"mask": "m.png", "init": "start/p.png"}]))
    assert (full.mask, full.start, full.params.init) == (
        "/base/m.png",
        "/base/start/p.png",
        "picture",
    )
    assert (full.mask_name, full.start_name) == ("m.png", "start/p.png")
    assert full.inputs == ("/base/a.png", "/base/s.png", "/base/m.png", "/base/start/p.png")
    assert (plain.mask, plain.start, plain.params.init) == (None, None, "recolored")
    assert full.id != plain.id


def test_each_style_has_a_mask_of_its_own_or_none() -> None:
    row = {"content": "a", "style": "s|t", "backbone": "vgg16"}
    cells: list[object] = ["m.png | n.png", "|n.png", ["m.png", None], " | ", None]
    found = parse("m.jsonl", jsonl([row | {"style_mask": cell} for cell in cells]))
    assert [job.style_masks for job in found] == [
        ("/base/m.png", "/base/n.png"),
        (None, "/base/n.png"),
        ("/base/m.png", None),
        (),
        (),
    ]
    assert found[0].inputs == ("/base/a", "/base/s", "/base/t", "/base/m.png", "/base/n.png")
    assert found[1].inputs == ("/base/a", "/base/s", "/base/t", "/base/n.png")
    names = ["m.png | n.png", " | n.png", "m.png | ", None, None]
    assert [job.style_mask_name for job in found] == names
    # Rows without one have kept their ids.
    (plain,) = parse("m.jsonl", jsonl([row]))
    assert [job.id == plain.id for job in found] == [False, False, False, True, True]
    assert len({job.id for job in found}) == 4


def test_masks_are_as_many_as_styles() -> None:
    row = {"content": "a", "style": "s|t", "backbone": "vgg16"}
    rows = [row | {"style_mask": value} for value in ("m.png", "m|n|o", 3, ["m", 3])]
    several = "line {}, column 'style_mask': expected 2 masks, one for each style with | between "
    several += "them, or nothing there; found {}"
    kind = "line {}, column 'style_mask': expected the path or URL of a picture, or one for each "
    kind += "style with | between them; found {}"
    assert refusal("m.jsonl", jsonl(rows)) == [
        several.format(1, "1 in 'm.png'"),
        several.format(2, "3 in 'm|n|o'"),
        kind.format(3, "3"),
        kind.format(4, "['m', 3]"),
    ]


def test_set_stands_over_a_picture_to_start_from() -> None:
    row = {"content": "a.png", "style": "s.png", "backbone": "vgg16", "init": "p.png"}
    (job,) = parse("m.jsonl", jsonl([row]), init="noise")
    assert (job.params.init, job.start, job.start_name) == ("noise", None, None)


def test_an_init_that_says_picture_without_one_is_refused() -> None:
    row = {"content": "a.png", "style": "s.png", "backbone": "vgg16"}
    expected = "expected one of recolored, content, noise"
    assert expected in refusal("m.jsonl", jsonl([row | {"init": "picture"}]))[0]
    with pytest.raises(ManifestError, match=expected):
        parse("m.jsonl", jsonl([row]), init="picture")


# Rows that are wrong beside others that are not


def said(result: parsing.Parsed) -> list[tuple[str, str, str]]:
    """Id, reason and message of each refused row, in the order of the rows."""
    return [
        (job.id, result.refused[job.id].reason, result.refused[job.id].message)
        for job in result.jobs
        if job.id in result.refused
    ]


def test_with_keep_going_a_wrong_row_fails_by_itself_and_says_what_it_can() -> None:
    text = (
        "id,content,style,backbone,size,label_x\n"
        "one,a.png,s.png,vgg16,,\n"
        "two,a.png,s.png|t.png,vgg61,9,mine\n"
        ",b.png,s.png,vgg16\n"
        "../x,http://h/b.png,s.png,vgg16,,\n"
        "three,b.png,s.png,vgg16,,\n"
    )
    result = parsed("m.csv", text, keep_going=True)
    one, two, short, unsafe, three = result.jobs
    assert [job.row for job in result.jobs] == [1, 2, 3, 4, 5]
    assert (one.id, two.id, three.id) == ("one", "two", "three")
    assert short.id.startswith("row-3-")
    assert unsafe.id.startswith("row-4-")
    assert all(is_safe_name(job.id) for job in result.jobs)
    assert result.refused.keys() == {"two", short.id, unsafe.id}
    assert (two.content_name, two.style_name, two.backbone) == ("a.png", "s.png|t.png", "vgg61")
    assert (two.labels, two.params, two.inputs) == ({"x": "mine"}, PictureParams(), ("",))
    assert (short.content_name, short.backbone, short.labels) == ("b.png", "vgg16", {})
    reasons = {job_id: (reason, message) for job_id, reason, message in said(result)}
    assert reasons["two"][0] == "bad_row"
    assert "line 3, column 'backbone': expected one of" in reasons["two"][1]
    (nameless,) = parsed("m.csv", "content,style,size\na.png,s.png,9\n", keep_going=True).jobs
    assert nameless.backbone == "vgg19"
    assert "line 3, column 'size': expected a whole number" in reasons["two"][1]
    assert reasons[short.id] == (
        "bad_row",
        "line 4: expected 6 cells as in the header; found 4",
    )
    assert reasons[unsafe.id][0] == "path_not_allowed"
    assert parsed("m.csv", text, keep_going=True) == result


def test_of_rows_with_one_id_the_first_has_it_whatever_becomes_of_it() -> None:
    rows = [
        row | {"id": name, "content": content}
        for row in [{"content": "a.png", "style": "s.png", "backbone": "vgg16"}]
        for name, content in [("x", "a.png"), ("X", "b.png"), ("y", ""), ("y", "b.png")]
    ]
    result = parsed("m.jsonl", jsonl(rows), keep_going=True)
    assert [job.id for job in result.jobs][::2] == ["x", "y"]
    assert [job.id.startswith(f"row-{job.row}-") for job in result.jobs] == [False, True] * 2
    assert result.refused.keys() == {job.id for job in result.jobs[1:]}
    assert len({job.id for job in result.jobs}) == 4


def test_a_stand_in_takes_no_id_that_a_row_has() -> None:
    row = {"content": "", "style": "s.png", "backbone": "vgg16"}
    (bad,) = parsed("m.jsonl", jsonl([row]), keep_going=True).jobs
    assert bad.id.startswith("row-1-")
    good = ROWS[0] | {"id": bad.id.replace("row-1", "row-2")}
    result = parsed("m.jsonl", jsonl([good, row]), keep_going=True)
    assert len({job.id for job in result.jobs}) == 2
    assert result.refused.keys() == {result.jobs[1].id}


def test_what_is_wrong_with_the_file_refuses_it_although_rows_may_fail() -> None:
    files: list[tuple[str, bytes | str]] = [
        ("m.csv", "content,style,backbone,colour\na,s,vgg16,x\n"),
        ("m.csv", 'content,style,backbone\na,s,vgg16\n"b,s,vgg16\n'),
        ("m.csv", b"content,style,backbone\na,s,vgg16\n\xff,s,vgg16\n"),
        ("m.parquet", parquet(ROWS)[:-9]),
        ("m.yaml", "content: none/*.png\nstyle: s\nbackbone: vgg16\n"),
    ]
    for name, data in files:
        with pytest.raises(ManifestError, match="nothing was run"):
            parsed(name, data, keep_going=True)


def test_a_broken_json_line_is_the_fault_of_its_row() -> None:
    lines = b"\n".join([jsonl(ROWS), b'{"content": "a.p', b'{"colour": "red"}', jsonl(ROWS)])
    result = parsed("m.jsonl", lines, keep_going=True)
    assert [job.row for job in result.jobs] == [1, 2, 3, 4, 5, 6]
    (_, _, broken), (_, _, unknown) = said(result)
    assert broken.startswith("line 3: expected a JSON object; found Unterminated string")
    assert "line 4, column 'colour': expected a known column" in unknown


def test_inputs_are_checked_as_written_and_as_resolved_before_anything_is_listed() -> None:
    access = Access(("file", "s3"), ("/base/in", "s3://b/in"))
    row = {"content": "in/a.png", "style": "in/s.png | s3://b/in/t.png", "backbone": "vgg16"}
    assert not parsed("m.jsonl", jsonl([row]), access=access).refused
    for column, value in [
        ("content", "a.png"),
        ("content", "in/../../etc/passwd"),
        ("content", "data:image/png;base64,AA"),
        ("style", "in/s.png | ~/t.png"),
        ("style", ["s3://b/inside/s.png"]),
        ("mask", "/etc/m.png"),
        ("style_mask", "in/m.png | /etc/m.png"),
        ("init", "simplecache::s3://b/in/p.png"),
    ]:
        data = jsonl([row | {column: value}])
        with pytest.raises(ManifestError, match=f"line 1, column '{column}': expected"):
            parsed("m.jsonl", data, access=access)
        result = parsed("m.jsonl", data, access=access, keep_going=True)
        assert [refusal.reason for refusal in result.refused.values()] == ["path_not_allowed"]
    # Resolved, it would be a path that is allowed.
    assert (
        "expected a URL of file, s3" in refusal("m.jsonl", jsonl([row | {"content": "data:,x"}]))[0]
    )
    with pytest.raises(ManifestError, match="line 1, column 'style': expected a place in /base/in"):
        parsed("m.yaml", "{style: 'styles/*.png', content: in/a, backbone: vgg16}", access=access)


def test_secrets_in_a_manifest_are_not_repeated() -> None:
    row = {
        "content": "s3://KEY:se/cret@b/k",
        "style": "s?X-Amz-Signature=cret",
        "backbone": "vgg16",
    }
    data = jsonl([row | {"style": "s3://b/" + row["style"], "label_x": row["content"]}])
    with pytest.raises(ManifestError) as caught:
        parsed("m.jsonl", data)
    assert "cret" not in str(caught.value)
    assert "cret" not in repr(parsed("m.jsonl", data, keep_going=True))


SIGNED = [
    "https://host/a.jpg?token=cret",
    "https://host/a.jpg?X-Amz-Signature=cret",
    "https://host/a.jpg?GoogleAccessId=me&Expires=1&Signature=cret",
    "https://host/a.jpg?sv=2020&sig=cret",
    "https://host/a.jpg?Policy=p&Signature=cret&Key-Pair-Id=k",
    "https://me:cret@host/a.jpg",
    "https://host/AKIAIOSFODNN7SECRET/a.jpg",
]


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize(
    "column", ["content", "style", "mask", "style_mask", "init", "label_x", "id", "backbone"]
)
def test_a_credential_fails_its_row_alone_and_is_not_told(column: str, signed: str) -> None:
    row = {"content": "a", "style": "s"}
    access = Access(("file", "s3", "https"))
    value = ["t", signed] if column == "style" else signed
    data = jsonl([row, row | {column: value}])
    result = parsed("m.jsonl", data, access=access, keep_going=True)
    (refused,) = result.refused.values()
    assert [job.id in result.refused for job in result.jobs] == [False, True]
    for told in (repr(result), refused.message):
        assert "cret" not in told.replace("secret", "")
        assert "SECRET" not in told
    if column != "backbone":
        assert "without credentials" in refused.message
    assert f"line 2, column '{column}': expected" in refusal("m.jsonl", data)[0]


@pytest.mark.parametrize("text", ["signature=Monet", "sig=0.5", "token=3", "Q&A;key=Cm", "a@b.org"])
def test_a_label_that_only_looks_like_a_credential_is_one(text: str) -> None:
    (job,) = parse("m.csv", f"content,style,label_x\na,s,{text}\n")
    assert job.labels == {"x": text}


def test_the_id_of_a_key_is_no_id_of_a_row() -> None:
    rows = [{"content": "a", "style": "s", "id": "AKIAIOSFODNN7EXAMPLE"}]
    result = parsed("m.jsonl", jsonl(rows), keep_going=True)
    (job_id,) = result.refused
    assert job_id.startswith("row-1-")


def test_a_credential_in_the_name_of_a_column_is_not_told() -> None:
    name = "label_AKIAIOSFODNN7EXAMPLE"
    row = {"content": "a", "style": "s", name: "x"}
    (said,) = refusal("m.csv", csv_bytes([row]))
    assert "a column without credentials in its name" in said
    result = parsed("m.jsonl", jsonl([row]), keep_going=True)
    for told in (said, repr(result)):
        assert "EXAMPLE" not in told


def test_a_value_of_the_environment_may_name_a_folder_and_no_label(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "minioadmin")
    (job,) = parse("m.csv", "content,style\n/home/minioadmin/a.png,s\n")
    assert job.content == "/home/minioadmin/a.png"
    (said,) = refusal("m.csv", "content,style,label_x\na,s,of minioadmin\n")
    assert "found a credential of the environment in 'of ***'" in said


LONG = [
    ("content", "s3://b/" + "?&" * 10_000, "at most 10,000 characters; found 20,007"),
    ("content", "s3://b/" + "?&" * 3000, "at most 4,096 characters, not 6,007; found 's3://b/?"),
    ("style", "|".join(["s"] * 6000), "at most 10,000 characters; found 11,999"),
    ("style", ["s", "t" * 5000], "at most 4,096 characters, not 5,000; found 'ttt"),
    ("style", ["s"] * 6000, "at most 10,000 characters; found 12,000"),
    ("mask", "m" * 5000, "at most 4,096 characters, not 5,000; found 'mmm"),
    ("style_mask", "m" * 5000, "at most 4,096 characters, not 5,000; found 'mmm"),
    ("init", "./" + "p" * 5000, "at most 4,096 characters, not 5,002; found './ppp"),
    ("backbone", "v" * 120_000, "at most 10,000 characters; found 120,000"),
    ("label_x", "a." * 100_000, "at most 10,000 characters; found 200,000"),
    ("label_x", ["a"] * 6000, "at most 10,000 characters; found 12,000"),
    ("style_layers", "x " * 6000, "at most 10,000 characters; found 12,000"),
    ("id", "i" * 10_001, "at most 10,000 characters; found 10,001"),
]


@pytest.mark.parametrize(("column", "value", "expected"), LONG, ids=lambda v: str(v)[:20])
def test_a_text_that_is_too_long_fails_its_row_and_is_told_by_its_start(
    column: str, value: Any, expected: str
) -> None:
    row = {"content": "a", "style": "s"}
    data = jsonl([row, row | {column: value}])
    (said,) = refusal("m.jsonl", data)
    assert said.startswith(f"line 2, column '{column}': expected")
    assert expected in said
    assert len(said) < 300
    result = parsed("m.jsonl", data, keep_going=True)
    assert [job.id in result.refused for job in result.jobs] == [False, True]
    assert len(repr(result)) < 10_000


def test_the_start_of_a_text_that_is_too_long_is_not_cut_through_a_credential() -> None:
    text = "x" * 970 + " https://me:" + "cret" * 20 + "@host/" + "y" * 20_000
    row = {"content": "a", "style": "s", "label_x": text}
    assert "cret" not in repr(parsed("m.jsonl", jsonl([row]), keep_going=True))


def test_texts_of_the_longest_are_read() -> None:
    row = {"content": "c" * 4090, "style": "s", "label_x": "a" * 10_000, "label_" + "n" * 194: "b"}
    (job,) = parsed("m.jsonl", jsonl([row])).jobs
    assert job.content == "/base/" + "c" * 4090
    assert len(job.labels["x"]) == 10_000


@pytest.mark.parametrize("name", ["label_" + "n" * 195, "x" * 120_000])
def test_the_name_of_a_column_has_a_limit(name: str) -> None:
    row = {"content": "a", "style": "s", name: "x"}
    for file, data in (("m.jsonl", jsonl([row])), ("m.csv", csv_bytes([row]))):
        (said,) = refusal(file, data)
        assert f"a column whose name has at most 200 characters, not {len(name):,}" in said
        assert len(said) < 400


def test_a_pattern_has_the_limit_of_a_path() -> None:
    (said,) = refusal("m.yaml", "{content: '" + "*?" * 2100 + "', style: s}")
    assert "a path or a URL of at most 4,096 characters, not 4,200" in said


def test_of_a_row_with_very_many_problems_some_are_told() -> None:
    row = {"content": "a", "style": "s"}
    layers = " ".join(f"l{n}" for n in range(1000))
    result = parsed("m.jsonl", jsonl([row | {"style_layers": layers}]), keep_going=True)
    (refused,) = result.refused.values()
    assert refused.message.count("expected layers of vgg19") == 20
    styles = [f"http://h/{n}" for n in range(30)]
    result = parsed("m.jsonl", jsonl([row | {"style": styles}]), keep_going=True)
    (refused,) = result.refused.values()
    assert refused.message.count("expected") == 20
    assert refused.message.endswith(". And 10 more problems")


def test_rows_may_have_a_thousand_labels_between_them() -> None:
    row = {"content": "a", "style": "s"}
    many = [{f"label_{n}": "x" for n in range(first, first + 400)} for first in (0, 400, 800)]
    data = jsonl([row | labels for labels in [*many, many[0]]])
    (said,) = refusal("m.jsonl", data)
    assert said == (
        "line 3: expected at most 1,000 columns of labels in all rows; found 400 more in this one"
    )
    result = parsed("m.jsonl", data, keep_going=True)
    assert [len(job.labels) for job in result.jobs] == [400, 400, 0, 400]


def test_a_file_is_read_up_to_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [{"content": "a" * 500, "style": "s", "backbone": "vgg16"}] * 40
    monkeypatch.setattr(rows, "MAX_BYTES", 10_000)
    assert refusal("m.jsonl", jsonl(many)) == ["expected at most 10000 bytes; found 22039"]
    packed = parquet(many)
    assert len(packed) < 10_000
    # Its text stands in it once, so that neither the file nor what it says of itself is large.
    assert tables.parquet_outline(packed).num_bytes < 10_000
    assert "expected at most 10000 characters once unpacked" in refusal("m.parquet", packed)[0]
    monkeypatch.setattr(rows, "MAX_ROWS", 3)
    assert refusal("m.parquet", packed)[0].startswith("expected at most 3 rows")
    matrix = "content: a\nstyle: [s, t]\nbackbone: [vgg16, vgg19]\n"
    files: list[tuple[str, bytes | str]] = [
        ("m.jsonl", jsonl(ROWS * 2)),
        ("m.yaml", matrix),
        ("m.csv", csv_bytes(ROWS * 2)),
    ]
    for name, data in files:
        assert refusal(name, data)[0].startswith("expected at most 3 rows; split the manifest")


def test_a_table_of_very_many_cells_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"content": "a", "style": ["s"] * 10}
    monkeypatch.setattr(rows, "_MAX_PARQUET_CELLS", 24)
    assert len(parsed("m.parquet", parquet([row] * 2)).jobs) == 2
    (said,) = refusal("m.parquet", parquet([row] * 3))
    assert said == "expected at most 24 cells and items of lists; found 36"


def test_a_text_that_is_in_every_row_of_a_table_is_refused_before_it_is_unpacked() -> None:
    table = pa.Table.from_pylist([{"content": "a", "style": "s", "label_x": "x" * 200_000}] * 300)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="brotli")
    data = sink.getvalue().to_pybytes()
    assert len(data) < 3000
    for keep_going in (False, True):
        with pytest.raises(ManifestError) as caught:
            parsed("m.parquet", data, keep_going=keep_going)
        said = "row 1 has 200,000 bytes in the column 'label_x', and may have 131,072"
        assert said in str(caught.value)


@pytest.mark.parametrize("image", [b"\xff" * 200_000, {"bytes": b"\xff" * 200_000, "path": "a"}])
def test_columns_of_a_table_that_are_left_out_are_not_read(
    image: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"content": "a.png", "style": ["s.png"], "label_x": "x"}
    some = [wanted | {"image": image, "image.n": n, "many": [n] * 50} for n in range(3)]
    monkeypatch.setattr(rows, "MAX_BYTES", 400_000)
    monkeypatch.setattr(rows, "_MAX_PARQUET_CELLS", 3 * 3 + 3)
    result = parsed("m.parquet", parquet(some), reading=Reading(ignores_unknown=True))
    assert [(job.content_name, dict(job.labels)) for job in result.jobs] == [
        ("a.png", {"x": "x"})
    ] * 3
    assert [note.split("'")[1] for note in result.notes] == ["image", "image.n", "many"]
    # The limits are those of what is read.
    monkeypatch.setattr(rows, "_MAX_PARQUET_CELLS", 3 * 3 + 2)
    with pytest.raises(ManifestError, match=r"expected at most 11 cells and items .* 12"):
        parsed("m.parquet", parquet(some), reading=Reading(ignores_unknown=True))


def test_a_column_whose_name_has_a_point_is_not_read_with_another() -> None:
    cells = {"style": "s.png", "n": 2, "label_x": "x", "label_x.n": {"y": 1}}
    some = [cells | {"content": "a.png"}]
    (job,) = parsed("m.parquet", parquet(some), reading=Reading(ignores_unknown=True)).jobs
    assert list(job.labels.items()) == [("x", "x"), ("x.n", '{"y": 1}')]
    some = [{"content": "a.png", "style": "s.png", "content.n": "b"}]
    (job,) = parsed("m.parquet", parquet(some), reading=Reading(ignores_unknown=True)).jobs
    assert job.content_name == "a.png"


def test_a_table_that_memory_does_not_hold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise pa.ArrowMemoryError("malloc of size 17179869184 failed")

    for name in ("parquet_outline", "parquet_rows"):
        with monkeypatch.context() as patch:
            patch.setattr(tables, name, full)
            (said,) = refusal("m.parquet", parquet([{"content": "a", "style": "s"}]))
        assert said.endswith("found malloc of size 17179869184 failed")


LOADERS = [yaml.BaseLoader, *([yaml.CBaseLoader] if yaml.__with_libyaml__ else [])]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ("content: &x a\nstyle: s\n", "anchors and aliases are not read"),
        ("content: a\nstyle: *x\n", "anchors and aliases are not read"),
        ("content: a\nstyle: !t s\n", "line 2: expected YAML without tags; found '!t'"),
        ("content: a\nstyle: !!str s\n", "line 2: expected YAML without tags"),
        ("content: a\nstyle: s\nstyle: t\n", "expected each column once; found 2 of them"),
        ("content: a\nstyle: s\n---\ncontent: b\n", "expected a single document"),
        ("content: a\nstyle: " + "[" * 200 + "]" * 200, "a value or a list of values"),
        ("content: a\nstyle: " + "[" * 1200, "expected YAML"),
        ("content: a\nstyle: s\nlabel_x:\n- b\n- [[c]]\n", "line 5: expected a value or a list"),
        ("content: 'a\n", "expected YAML"),
        ("content: a\nstyle: \x07\n", "expected YAML"),
    ],
)
def test_a_matrix_is_refused_alike_by_either_loader(
    loader: Any, matrix: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_Loader", loader)
    assert said in refusal("m.yaml", matrix)[0]


@pytest.mark.parametrize("loader", LOADERS)
def test_a_matrix_is_read_alike_by_either_loader(
    loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_Loader", loader)
    matrix = (
        "\ufeff# note\ncontent: [a, 'b: c', \"d\\te\"]\nstyle: >-\n  s\n  t\nlabel_x: no\n"
        "label_y: 1:30\nlabel_z: \U0001f600\n"
    )
    jobs = parse("m.yaml", matrix)
    assert [job.content_name for job in jobs] == ["a", "b: c", "d\te"]
    assert {job.style_name for job in jobs} == {"s t"}
    assert jobs[0].labels == {"x": "no", "y": "1:30", "z": "\U0001f600"}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("null", ["null", "~", "Null", "NULL", ""])
def test_a_null_of_a_matrix_is_an_empty_cell(
    null: str, loader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_Loader", loader)
    names = ("backbone", "mask", "style_layers", "label_x")
    text = "content: a\nstyle: s\n" + "".join(f"{name}: {null}\n" for name in names)
    text += f"size: [{null}, 64]\n" if null else "size: ['', 64]\n"
    text += "label_y: '~'\nlabel_z: \"null\"\n"
    jobs = parse("m.yaml", text)
    assert jobs == parse(
        "m.yaml", "content: a\nstyle: s\nsize: ['', 64]\nlabel_y: '~'\nlabel_z: 'null'\n"
    )
    assert jobs[0].labels == {"y": "~", "z": "null"}
    (said, *_) = refusal("m.yaml", "content: null\nstyle: s\n")
    assert said == "line 1, column 'content': expected the path or URL of a picture; found nothing"


def test_a_column_may_not_be_called_by_a_null() -> None:
    (said,) = refusal("m.yaml", "content: a\nstyle: s\nnull: 1\n")
    assert "column 'null': expected a known column" in said


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML has no libyaml here")
def test_a_matrix_of_very_many_values_is_read() -> None:
    """Of what takes the square of its length, it would take minutes."""
    matrix = "content: a\nstyle: s\nseed: [" + ",".join(map(str, range(50_000))) + "]\n"
    table = rows.read_rows("m.yaml", matrix.encode(), glob, Reading())
    assert [row.cells["seed"] for row in table.rows] == [*map(str, range(50_000))]


def test_values_and_patterns_of_a_matrix_are_counted_before_any_is_expanded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def matching(pattern: str) -> list[str]:
        asked.append(pattern)
        return [f"{pattern}{n}" for n in range(100)]

    def said(matrix: str) -> str:
        with pytest.raises(Problems) as caught:
            rows.read_rows("m.yaml", matrix.encode(), matching, Reading())
        (problem,) = caught.value.problems
        return str(problem)

    many = ", ".join(f"'{n}*'" for n in range(101))
    assert said(f"content: [{many}]\nstyle: s\n") == "expected at most 100 patterns; found 101"
    assert asked == []
    monkeypatch.setattr(rows, "MAX_ROWS", 1000)
    sizes = ", ".join(map(str, range(100, 600)))
    # 500 sizes of one style, and of the three that there are at least.
    assert "found 1500" in said(f"size: [{sizes}]\ncontent: ['1*', '2*', '3*']\nstyle: s\n")
    assert asked == []
    assert "found 1100" in said(f"content: [{many[:500]}]\nstyle: s\n")
    assert len(asked) == 11
    asked.clear()
    assert "found 1100" in said(f"seed: []\ncontent: [{many[:500]}]\nstyle: s\n")
    assert len(asked) == 11
    monkeypatch.setattr(rows, "_MAX_MATRIX_VALUES", 4)
    assert said("content: a\nstyle:\n- s\n- t\n") == (
        "line 4: expected a matrix of at most 4 values; found more"
    )


def test_of_very_many_problems_some_are_listed() -> None:
    with pytest.raises(ManifestError) as caught:
        parse("m.csv", "content,style,backbone\n" + "a,s,vgg61\n" * 1200)
    head, *problems = str(caught.value).splitlines()
    assert head == "m.csv: refused with 1200 problems, nothing was run"
    assert len(problems) == 1001
    assert problems[-1] == "  and 200 more"


def test_a_page_with_a_wrong_checksum_is_not_read() -> None:
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist([ROWS[0] | {"label_series": "x" * 50}])
    pq.write_table(
        table,
        sink,
        write_page_checksum=True,
        write_statistics=False,
        compression="none",
        use_dictionary=False,
    )
    data = sink.getvalue().to_pybytes()
    assert parse("m.parquet", data)[0].labels == {"series": "x" * 50}
    at = data.index(b"x" * 50)
    assert "Parquet file" in refusal("m.parquet", data[:at] + b"y" + data[at + 1 :])[0]


# Whatever the text

PLAIN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0|*?[:~"), min_size=1)
NAMES = PLAIN.map(str.strip).filter(bool).map(lambda text: f"in/{text}")
TABLES = st.lists(
    st.fixed_dictionaries(
        {
            "content": NAMES,
            "style": NAMES,
            "backbone": st.sampled_from(["vgg16", "vgg19", "resnet50", None]),
            "size": st.none() | st.integers(32, 8192),
            "style_weight": st.none() | st.floats(0, 1e6),
            "label_note": st.none() | PLAIN.filter(str.strip),
        }
    ),
    min_size=1,
    max_size=5,
)
SUFFIXES = st.sampled_from(["csv", "jsonl", "parquet", "yaml"])
MANY = settings(max_examples=150, deadline=None, database=None)


@MANY
@given(TABLES)
def test_any_table_says_the_same_in_every_format(table: list[dict[str, Any]]) -> None:
    forms = {"m.csv": csv_bytes(table), "m.jsonl": jsonl(table), "m.parquet": parquet(table)}
    first, *others = (parse(name, data) for name, data in forms.items())
    assert [job.content_name for job in first] == [row["content"].strip() for row in table]
    assert [job.labels.get("note") for job in first] == [row["label_note"] for row in table]
    assert others == [first, first]


def check_any_bytes(suffix: str, data: bytes) -> None:
    for keep_going in (False, True):
        try:
            result = parsed(f"m.{suffix}", data, keep_going=keep_going)
        except ManifestError as exc:
            str(exc).encode()
        else:
            assert len(
                {job.id.casefold() for job in result.jobs if job.id in result.refused}
            ) == len(result.refused)
            assert all(is_safe_name(job.id) for job in result.jobs)
            repr(result).encode()


HEAD = b"id,content,style,backbone,size,label_x\n"
LINES = st.lists(
    st.sampled_from(
        [
            *('"a', ",", "\n", "\r\n", "vgg16", "a.png", "x", "512", '"', "|", "\ufeff", "é", " "),
            *("{", "}", "[", "]", ":", "content", "style", "backbone", "- ", "&a ", "*a", "!!str "),
            *("\t", "? ", "<<", "\\ud800", "\\u0000", "1e999", "NaN", "true", "s3://a:b@c/d", "::"),
        ]
    ),
    max_size=30,
).map(lambda parts: "".join(parts).encode())


@MANY
@given(SUFFIXES, st.binary(max_size=200) | LINES | LINES.map(lambda line: HEAD + line))
def test_any_bytes_are_jobs_or_a_refusal(suffix: str, data: bytes) -> None:
    check_any_bytes(suffix, data)


@MANY
@given(st.data())
def test_a_damaged_table_is_jobs_or_a_refusal(data: st.DataObject) -> None:
    whole = parquet(ROWS)
    at = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:at] + data.draw(st.binary(max_size=3)) + whole[at + 1 :]
    check_any_bytes("parquet", damaged)


@MANY
@given(st.lists(st.tuples(st.text(), st.text(), st.integers()), unique=True, min_size=2))
def test_made_ids_are_safe_and_unlike_rows_have_unlike_ids(
    rows: list[tuple[str, str, int]],
) -> None:
    ids = [
        id_of({"content": content, "style": style, "backbone": "vgg16"}, f'{{"seed": {seed}}}')
        for content, style, seed in rows
    ]
    assert all(map(is_safe_name, ids))
    assert len({text.casefold() for text in ids}) == len(rows)
