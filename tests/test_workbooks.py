"""Manifests that are Excel workbooks, and what is said where the package that reads them is missing."""

import io
import sys
import zipfile
from datetime import date, datetime
from typing import Any

import pytest

from nst.manifest import workbooks
from nst.manifest.names import Reading
from tests.test_parsing import ANYWHERE, parse, parsed, refusal


def workbook(*rows: list[Any], sheets: int = 1) -> bytes:
    """A workbook with these rows in its first sheet, and in the others a cell."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for _ in range(sheets - 1):
        book.create_sheet().append(["x"])
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def test_the_first_sheet_of_a_workbook_is_read_as_its_csv_would_be() -> None:
    data = workbook(
        ["# made by hand"],
        [],
        ["Content", "Style ", "Backbone", "Size", "style_weight", "label_day", "label_new"],
        ["a.png", "s.png", "VGG16", 256, 0.5, date(2026, 1, 2), True],
        [None, None],
        ["b.png", "s.png", None, 64.0, None, datetime(2026, 1, 2, 3, 4), None, None],
    )
    text = (
        "content,style,backbone,size,style_weight,label_day,label_new\n"
        "a.png,s.png,vgg16,256,0.5,2026-01-02,true\n"
        "b.png,s.png,,64,,2026-01-02 03:04:00,\n"
    )
    assert parse("M.XLSX", data) == parse("m.csv", text)


def test_other_sheets_are_noted() -> None:
    data = workbook(["content", "style"], ["a.png", "s.png"], sheets=3)
    assert parsed("m.xlsx", data, access=ANYWHERE).notes == (
        "only the first of 3 sheets is read, 'Sheet'",
    )


def test_problems_of_a_workbook_are_told_by_its_lines() -> None:
    data = workbook([], ["content", "style", "size"], ["a", "s", 9], ["a", "s", 64, None, "x"])
    assert [problem.partition(";")[0] for problem in refusal("m.xlsx", data)] == [
        "line 3, column 'size': expected a whole number from 32 to 8192, or `content`",
        "line 4: expected 3 cells as in the header",
    ]


def test_a_cell_far_away_takes_no_memory_of_its_own() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cell, value in {"A1": "content", "B1": "style", "A9": "a", "B9": "s", "XFD3": "x"}.items():
        book.active[cell] = value
    sink = io.BytesIO()
    book.save(sink)
    (job,) = parse("m.xlsx", sink.getvalue())
    assert (job.row, job.content_name) == (1, "a")


def test_a_workbook_is_unpacked_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = workbook(["content", "style"], *([["a.png", "s.png"]] * 1000))
    monkeypatch.setattr(workbooks, "MAX_UNPACKED_BYTES", 10_000)
    (problem,) = refusal("m.xlsx", data)
    assert problem.startswith("expected at most 10000 bytes once unpacked; found ")


def with_computed(data: bytes, before: bytes, after: bytes) -> bytes:
    """A workbook with other text in the XML of its first sheet."""
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(sink, "w") as target:
        for name in source.namelist():
            found = source.read(name)
            is_sheet = name == "xl/worksheets/sheet1.xml"
            assert not is_sheet or before in found
            target.writestr(name, found.replace(before, after) if is_sheet else found)
    return sink.getvalue()


def test_formulas_that_were_never_computed_are_a_problem_of_their_row() -> None:
    data = workbook(
        ["content", "style", "label_x"],
        ["a.png", "s.png"],
        ["=A2", "=B2", "=1/0"],
        [None, None],
        ["c.png", "s.png", '="x"'],
    )
    said = (
        "expected a value; found a formula that was never computed; open the workbook in a "
        "spreadsheet program and save it"
    )
    assert refusal("m.xlsx", data) == [
        *(f"line 3, column {column!r}: {said}" for column in ("content", "style", "label_x")),
        f"line 5, column 'label_x': {said}",
    ]
    result = parsed("m.xlsx", data, keep_going=True)
    assert [job.content_name for job in result.jobs] == ["a.png", "", "c.png"]
    assert set(result.refused) == {job.id for job in result.jobs[1:]}


def test_formulas_of_columns_that_are_not_read_need_no_value() -> None:
    data = workbook(["content", "style", "mine"], ["a.png", "s.png", "=A2"])
    reading = Reading(ignores_unknown=True)
    (job,) = parsed("m.xlsx", data, reading=reading).jobs
    assert job.content_name == "a.png"


def test_formulas_have_the_values_that_were_computed() -> None:
    """Also an empty text, as where formulas are filled down below the last row."""
    data = workbook(["content", "style", "label_x"], ["=X1", "s.png"], ["b.png", "s.png", "=X2"])
    data = with_computed(data, b'<c r="A2"><f>X1</f><v />', b'<c r="A2" t="str"><f>X1</f><v>a</v>')
    data = with_computed(data, b'<c r="C3"><f>X2</f><v />', b'<c r="C3" t="str"><f>X2</f><v></v>')
    jobs = parse("m.xlsx", data)
    assert [(job.content_name, dict(job.labels)) for job in jobs] == [("a", {}), ("b.png", {})]


def other_zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("a.txt", "a")
    return sink.getvalue()


@pytest.mark.parametrize("data", [b"content,style\n", b"", other_zip(), b"\xd0\xcf\x11\xe0" * 99])
def test_what_is_no_workbook_is_refused(data: bytes) -> None:
    pytest.importorskip("openpyxl")
    (problem,) = refusal("m.xlsx", data)
    assert problem.startswith("expected an Excel workbook, or a file whose name ends as its format")


def test_where_the_package_is_missing_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    assert refusal("m.xlsx", b"PK") == [
        "expected the package that reads workbooks (pip install 'nst[excel]'), or a file of CSV; "
        "found no package openpyxl"
    ]


def test_a_text_that_is_too_long_is_refused_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workbooks, "MAX_BYTES_IN_FILE", 50)
    data = workbook(["content", "style", "label_x"], ["a", "s", "x" * 50], ["b", "s", "x" * 51])
    assert refusal("m.xlsx", data) == ["line 3: expected at most 50 characters in a cell; found 51"]
