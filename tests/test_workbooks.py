"""Manifests that are Excel workbooks, and what is said where the package that reads them is missing."""

import io
import sys
import zipfile
from datetime import date, datetime
from typing import Any

import pytest

from nst.manifest import workbooks
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
