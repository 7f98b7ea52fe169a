import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nst import manifest
from nst.access import Access
from nst.errors import ManifestError
from nst.ids import SAFE_ID_RULE, is_safe_id
from nst.job import Job, PictureParams
from tests.helpers import csv_bytes

ANYWHERE = Access(("file", "s3"))
FILES = ["styles/s.png", "styles/t.png", "a.png", "b.png"]


def glob(pattern: str) -> list[str]:
    from fnmatch import fnmatch

    return [name for name in FILES if fnmatch(name, pattern)]


def parse(name: str, data: bytes | str, **overrides: Any) -> tuple[Job, ...]:
    return manifest.parse(
        name,
        data if isinstance(data, bytes) else data.encode(),
        resolve=lambda reference: "/base/" + reference,
        glob=glob,
        access=ANYWHERE,
        overrides=overrides,
    ).jobs


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
    assert alone.id.startswith("n-code-co-s-vgg16-")
    assert is_safe_id(alone.id)


def test_what_a_row_says_makes_its_id_and_defaults_do_not() -> None:
    base = {"content": "a.png", "style": "s.png", "backbone": "vgg16"}
    rows = [base, base | {"steps": 7}, base | {"style_weight": 2}, base | {"label_x": "y"}]
    plain, steps, weight, label = (job.id for job in parse("m.jsonl", jsonl(rows)))
    assert len({plain, steps, weight}) == 3
    assert plain == label
    # However a number is written, it says the same.
    (text,) = parse("m.jsonl", jsonl([base | {"style_weight": "2.0"}]))
    assert text.id == weight


def test_rows_that_say_the_same_share_one_picture() -> None:
    first, second = parse("m.jsonl", jsonl([ROWS[0], ROWS[0]]))
    assert first.id == second.id
    assert (first.row, second.row) == (1, 2)


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
        "line 4, column 'size': expected greater than or equal to 32; found '9'",
        "line 4, column 'steps': expected a valid integer, unable to parse string as an integer;"
        " found 'ten'",
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
        ("m.txt", "", "ends in .csv, .jsonl, .parquet, .yaml, .yml; found 'm.txt'"),
        ("m.csv", "content,style\na,b\n", "column 'backbone': expected this column"),
        ("m.csv", "content,style,backbone,size,size\n", "column 'size': expected each column once"),
        ("m.csv", "content,style,backbone\na,b\n", "line 2: expected 3 cells as in the header; found 2"),
        ("m.csv", 'content,style,backbone\n"a,b,c\n', "expected CSV"),
        ("m.csv", "content,style,backbone\n".encode("utf-16"), "expected text in UTF-8; found the byte"),
        ("m.jsonl", '{"content": "a"\n', "line 1: expected a JSON object"),
        ("m.jsonl", "[1]", "line 1: expected a JSON object; found list"),
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
        ("m.yaml", "content: a\nstyle: s\nbackbone: vgg16\nseed: ~\n", "line 4, column 'seed': expected a valid integer"),
        ("m.jsonl", '{"content": "\\ud800", "style": "s", "backbone": "vgg16"}', "text that UTF-8 can hold, without NUL; found '\\ud800'"),
        ("m.yaml", "content: a\nstyle: s\n", "column 'backbone': expected this column"),
        ("m.yaml", "content: a\nstyle: s\nbackbone: vgg16\nid: [x, y]\n", "no ids in a matrix"),
        ("m.yaml", "content: none/*.png\nstyle: s\nbackbone: vgg16\n", "line 1, column 'content': expected a pattern that some file matches"),
        ("m.yaml", "content: a\nstyle: s\nbackbone: [vgg16]\nsize:\n  - 64\n  - 9\n", "line 6, column 'size': expected greater than"),
    ],
)  # fmt: skip
def test_refused(name: str, data: bytes | str, said: str) -> None:
    assert any(said in problem for problem in refusal(name, data)), refusal(name, data)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("style_weight", "nan", "finite number"),
        ("style_weight", "inf", "finite number"),
        ("style_weight", -1, "greater than or equal to 0"),
        ("style_weight", "1,5", "a valid number"),
        ("steps", 0, "greater than or equal to 1"),
        ("steps", 1.5, "a valid integer"),
        ("steps", True, "a number"),
        ("style_weight", False, "a number"),
        ("size", 100_000, "less than or equal to 8192"),
        ("init", "nois", "'recolored', 'content', 'noise' or 'picture'"),
        ("optimizer", "sgd", "'lbfgs' or 'adam'"),
        ("seed", -1, "greater than or equal to 0"),
        ("style_layers", "relu1_1 relu9_1", "layers of vgg16"),
        ("content_layers", "layer2.3", "layers of vgg16"),
    ],
)
def test_values_out_of_range_are_refused(column: str, value: object, said: str) -> None:
    row = {"content": "a", "style": "s", "backbone": "vgg16", column: value}
    (problem,) = refusal("m.jsonl", jsonl([row]))
    assert problem.startswith(f"line 1, column {column!r}: expected ")
    assert said in problem


def test_a_wrong_column_does_not_hide_what_is_wrong_with_the_rows() -> None:
    text = "id,content,style,backbone,size,colour\nx,a,s,vgg1,64,\nx,a,s,vgg16,9,\n"
    assert [problem.split(";")[0] for problem in refusal("m.csv", text)] == [
        "line 1, column 'colour': expected a known column (a column of your own is called 'label_colour')",
        "line 2, column 'backbone': expected one of vgg16, vgg19, resnet50 (did you mean 'vgg19'?)",
        "line 3, column 'size': expected greater than or equal to 32",
        "line 3, column 'id': expected an id that line 2 does not have",
    ]


def test_a_bad_override_is_refused_by_its_name() -> None:
    with pytest.raises(ManifestError) as caught:
        parse("m.csv", csv_bytes(ROWS), step="3", size="9")
    message = str(caught.value)
    assert "--set: refused with 2 problems" in message
    assert "expected a picture parameter (did you mean 'steps'?); found 'step'" in message
    assert "column 'size': expected greater than or equal to 32; found '9'" in message


@pytest.mark.parametrize("style", ["s.png|t.png", " s.png | t.png ", ["s.png", "t.png"]])
def test_a_row_may_name_several_styles_and_their_blend(style: object) -> None:
    row = {"content": "a.png", "style": style, "backbone": "vgg16", "style_blend": "2 1"}
    (job,) = parse("m.jsonl", jsonl([row]))
    assert job.styles == ("/base/s.png", "/base/t.png")
    assert job.params.style_blend == (2.0, 1.0)
    assert job.id.startswith("a-")


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
