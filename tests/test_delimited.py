"""Tables as spreadsheets and programs write them: what is read, what is noted, and what is refused."""

import codecs
import gzip
import logging
from contextlib import suppress
from typing import Any

import pytest
from pydantic import ValidationError

from nst.errors import ManifestError
from nst.job import PARAM_FIELDS, PictureParams
from nst.manifest import packing
from nst.manifest.names import Reading
from tests.test_parsing import parse, parsed, refusal

ONE = ("a.png", "s.png", "vgg16")


def first_of(data: bytes | str, name: str = "m.csv") -> tuple[str, str, str]:
    (job,) = parse(name, data)
    return job.content_name, job.style_name, job.backbone


@pytest.mark.parametrize(
    "data",
    [
        "content,style,backbone\na.png,s.png,vgg16\n",
        "\ufeffcontent;style;backbone\r\na.png;s.png;vgg16\r\n",
        "content\tstyle\tbackbone\r\na.png\ts.png\tvgg16\r\n",
        "sep=,\r\ncontent,style,backbone\r\na.png,s.png,vgg16\r\n",
        "sep=;\r\ncontent;style;backbone\r\na.png;s.png;vgg16\r\n",
        "sep=^\r\ncontent^style^backbone\r\na.png^s.png^vgg16\r\n",
        "content,style,backbone\ra.png,s.png,vgg16\r",
        "content,style,backbone\na.png,s.png,vgg16\n,,\n , ,\n\n",
        ",,\n\ncontent,style,backbone\na.png,s.png,vgg16\n",
        "content,style,backbone,,\na.png,s.png,vgg16,,\n",
        "content,style,backbone,,\na.png,s.png,vgg16\n",
        "content,style,backbone\na.png,s.png,vgg16,,,\n",
        "content,style,,backbone\na.png,s.png,,vgg16\n",
        "content, style, backbone\na.png, s.png, vgg16\n",
        "Content,STYLE,Backbone \na.png,s.png,vgg16\n",
        "content\u200b,\u00a0style,\ufeffbackbone\na.png,s.png,vgg16\n",
        "content,style,backbone\na.png,s.png,VGG16\n",
        "content,style,backbone\na.png,s.png, Vgg-16 \n",
        "# made by hand, on Monday\n#\ncontent,style,backbone\n# the first\na.png,s.png,vgg16\n",
        '"# made by hand, on Monday",,\ncontent,style,backbone\n# the first,,\na.png,s.png,vgg16\n',
        codecs.BOM_UTF16_LE
        + "content\tstyle\tbackbone\r\na.png\ts.png\tvgg16\r\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE
        + "content\tstyle\tbackbone\r\na.png\ts.png\tvgg16\r\n".encode("utf-16-be"),
    ],
)
def test_a_table_is_read_however_it_was_saved(data: bytes | str) -> None:
    assert first_of(data) == ONE
    packed = gzip.compress(data if isinstance(data, bytes) else data.encode())
    assert first_of(packed, "M.CSV.GZ") == ONE


@pytest.mark.parametrize("name", ["m.tsv", "m.tsv.gz"])
def test_a_file_of_tabs_may_say_so(name: str) -> None:
    data = b"content\tstyle\tbackbone\na.png\ts.png\tvgg16\n"
    assert first_of(gzip.compress(data) if name.endswith(".gz") else data, name) == ONE


@pytest.mark.parametrize("name", ["m.ndjson", "m.jsonl.gz", "m.ndjson.gz"])
def test_json_lines_have_other_names_too(name: str) -> None:
    data = b'{"Content": "a.png", "Style ": "s.png", "backbone": "VGG16"}\n'
    assert first_of(gzip.compress(data) if name.endswith(".gz") else data, name) == ONE


def test_several_packed_parts_are_one_file() -> None:
    data = gzip.compress(b"content,style\na.png,s.png\n") + gzip.compress(b"b.png,s.png\n")
    assert [job.content_name for job in parse("m.csv.gz", data)] == ["a.png", "b.png"]


def test_a_packed_file_is_unpacked_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = gzip.compress(b"content,style\n" + b"a.png,s.png\n" * 100)
    monkeypatch.setattr(packing, "MAX_UNPACKED_BYTES", 1214)
    assert len(parse("m.csv.gz", data)) == 100
    monkeypatch.setattr(packing, "MAX_UNPACKED_BYTES", 1213)
    assert refusal("m.csv.gz", data) == ["expected at most 1213 bytes once unpacked; found more"]


def test_names_of_settings_are_read_whatever_their_capitals() -> None:
    text = (
        "Content,Style,Style Weight,POOLING,init,style_layers,Label Series,LABEL_of\n"
        "a.png,s.png,2,Avg, Noise,ReLU1_1 relu2_1,x,y\n"
    )
    (job,) = parse("m.csv", text)
    assert (job.params.style_weight, job.params.pooling, job.params.init) == (2, "avg", "noise")
    assert job.params.style_layers == ("relu1_1", "relu2_1")
    assert job.labels == {"Series": "x", "of": "y"}
    plain = text.lower().replace("style weight", "style_weight").replace("label series", "label_s")
    (same,) = parse("m.csv", plain)
    assert same.id == job.id


def test_the_name_of_a_label_stays_as_it_is_written() -> None:
    names = (
        "label__private",
        "label_-x",
        "label_A b",
        "label_\u0645\u06cc\u200c\u062e",
        " label_y ",
    )
    (job,) = parse("m.csv", f"content,style,{','.join(names)}\na,s,1,2,3,4,5\n")
    assert list(job.labels) == ["_private", "-x", "A b", "\u0645\u06cc\u200c\u062e", "y"]


def test_where_a_folder_gives_the_style_no_row_is_taken_for_a_comment() -> None:
    data = "content\n#1.png\n2.png\n\n"
    found = parsed("m.csv", data, reading=Reading(given={"style": "s.png"}))
    assert [job.content_name for job in found.jobs] == ["#1.png", "2.png"]
    named = parsed("m.csv", "content,style\n#1.png,s.png\n# a comment\n")
    assert [job.content_name for job in named.jobs] == ["#1.png"]


def test_where_no_comma_is_between_cells_a_decimal_may_have_one() -> None:
    text = "content;style;style_weight;style_blend;label_x\na.png;s.png;0,5;;0,5\n"
    (job,) = parse("m.csv", text)
    assert (job.params.style_weight, job.labels) == (0.5, {"x": "0,5"})
    (tabs,) = parse("m.csv", text.replace(";", "\t"))
    assert tabs == job
    for number in ("1,000", "1,500", "12,345,678"):
        (problem,) = refusal("m.csv", f"content;style;style_weight\na.png;s.png;{number}\n")
        assert problem == (
            "line 2, column 'style_weight': expected a number with a point, or without a comma; "
            f"found {number!r}"
        )
    for number, value in (("0,500", 0.5), ("1,5", 1.5), ("1234,500", 1234.5)):
        (job,) = parse("m.csv", f"content;style;style_weight\na.png;s.png;{number}\n")
        assert job.params.style_weight == value
    (two,) = parse("m.csv", "content;style;style_blend\na.png;s.png|t.png;2,1\n")
    assert two.params.style_blend == (2, 1)


def decimal_params() -> list[str]:
    """The parameters that take a half for what it is."""
    names = []
    for name in PARAM_FIELDS:
        half: dict[str, Any] = {name: "0.5"}
        with suppress(ValidationError):
            if getattr(PictureParams(**half), name) == 0.5:
                names.append(name)
    return names


@pytest.mark.parametrize("name", decimal_params())
def test_each_parameter_that_takes_decimals_takes_them_with_a_comma(name: str) -> None:
    (job,) = parse("m.csv", f"content;style;{name}\na.png;s.png;0,5\n")
    assert getattr(job.params, name) == 0.5
    (problem,) = refusal("m.csv", f"content;style;{name}\na.png;s.png;1,500\n")
    assert "expected a number with a point, or without a comma; found '1,500'" in problem


@pytest.mark.parametrize(
    ("data", "said"),
    [
        # No separator, or one that is none of the three.
        ("content|style|backbone\n", "line 1: expected the names of the columns, 'content' and 'style' "
         "among them, with a comma, a semicolon or a tab between columns; found 'content|style|backbone'"),
        ("content|style,size\n", "column 'content|style': expected the name of one column, with a comma"),
        ("Inhalt;Stil\n", "with a comma, a semicolon or a tab between columns; found 'Inhalt;Stil'"),
        ("c.jpg,s.jpg,vgg16\n", "line 1: expected the names of the columns, 'content' and 'style' among "
         "them; found 'c.jpg', 's.jpg', 'vgg16'"),
        ("content style backbone\n", "with a comma, a semicolon or a tab between columns"),
        # The rows have another one than the header.
        ("content,style,backbone\na;s;vgg16\n", "line 2: expected 3 cells as in the header, with commas between them; found 1"),
        ("content;style;backbone\na,s,vgg16\n", "line 2: expected 3 cells as in the header, with semicolons between them; found 1"),
        # A value without a name above it.
        ("content,style,,size\na,s,x,64\n", "line 2: expected a name in the header above cell 3; found 'x'"),
        ("content,style,\na,s,x\n", "line 2: expected 2 cells as in the header; found 3"),
        ("Content,content,style\na,b,s\n", "column 'content': expected each column once; found 2 of them"),
        ("# x\n\na\n", "line 3: expected the names of the columns"),
        ("# x\r\rcontent,style,colour\r", "line 3, column 'colour': expected a known column"),
    ],
)  # fmt: skip
def test_what_may_be_meant_otherwise_is_refused_where_it_stands(data: str, said: str) -> None:
    problems = refusal("m.csv", data)
    assert any(said in problem for problem in problems), problems
    assert not any("'label_" in problem and "colour" not in problem for problem in problems)


def test_lines_are_counted_from_the_first_of_the_file() -> None:
    text = 'sep=;\n# a\n\ncontent;style;"size"\n# b\na;"s";64\n\nb;s;9\n'
    (problem,) = refusal("m.csv", text)
    assert problem.startswith("line 8, column 'size'")
    (old_mac,) = refusal("m.csv", b"content,style\ra,s\rb,\xe9\r")
    assert old_mac.startswith("line 3: expected text in UTF-8")


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__", "Unnamed: 0.1"])
def test_the_index_of_a_data_frame_is_left_out_and_said(name: str) -> None:
    expected = (f"the column {name!r} is left out, as the index of a data frame",)
    found = parsed("m.csv", f"{name},content,style\n0,a.png,s.png\n1,b.png,s.png\n2,,\n")
    assert [job.content_name for job in found.jobs] == ["a.png", "b.png"]
    assert found.notes == expected
    row = f'{{"{name}": 7, "content": "a.png", "style": "s.png"}}\n'
    found = parsed("m.jsonl", row * 2)
    assert found.jobs[0].content_name == "a.png"
    assert found.notes == expected


def test_nothing_is_noted_where_nothing_is_left_out() -> None:
    assert parsed("m.csv", "content,style,,\na.png,s.png,,\n\n").notes == ()


def test_notes_are_told_with_the_file(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    from nst.manifest.reading import read_manifest
    from nst.settings import RunSettings

    path = tmp_path / "in/m.csv"
    path.parent.mkdir()
    path.write_text(",content,style\n0,a.png,s.png\n")
    with caplog.at_level(logging.WARNING):
        read_manifest(str(path), RunSettings(output=str(tmp_path / "out")))
    assert caplog.messages == [
        f"{path}: the column '' is left out, as the index of a data frame",
    ]


def test_a_stranger_in_the_text_is_found_in_any_line() -> None:
    with pytest.raises(ManifestError, match="line 2: expected text in UTF-8; found the byte 0x00"):
        parse("m.csv", b"content,style\na.png,s\0.png\n")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("m.csv", "content,style,Photographer,size,steps \na.png,s.png,me,64,1\n"),
        ("m.jsonl", '{"content": "a.png", "style": "s.png", "Photographer": 1, "size": 64}\n'),
        ("m.yaml", "content: a.png\nstyle: s.png\nPhotographer: [a, b]\nsize: 64\n"),
    ],
)
def test_unknown_columns_are_left_out_on_demand(name: str, data: str) -> None:
    with pytest.raises(ManifestError, match="column 'Photographer': expected a known column"):
        parse(name, data)
    found = parsed(name, data, reading=Reading(ignores_unknown=True))
    assert [job.params.size for job in found.jobs] == [64]
    assert found.notes == ("the column 'Photographer' is left out, since it is not known",)


def test_a_first_line_of_very_many_separators_is_read_once() -> None:
    """By each way to divide it among separators and spaces, it would take hours."""
    text = "sep=;" + "\t" * 200_000 + "x\ncontent,style\na,s\n"
    with pytest.raises(ManifestError):
        parsed("m.csv", text)
