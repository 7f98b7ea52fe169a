"""The first sheet of an Excel workbook -> rows; the only openpyxl, which is an extra.

Its rows are read one by one: a reader that makes a rectangle of a sheet would take half a terabyte
for a file of five kilobytes with one cell in its last corner.
"""

import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, time
from typing import Any

from nst.manifest.cells import label_of
from nst.manifest.delimited import read_cells
from nst.manifest.limits import MAX_BYTES_IN_FILE
from nst.manifest.names import MAX_COLUMNS, Reading
from nst.manifest.packing import MAX_UNPACKED_BYTES
from nst.manifest.problems import Problem, Problems
from nst.manifest.table import Row, Table

_EXPECTED = "an Excel workbook, or a file whose name ends as its format does"
_EXTRA = "the package that reads workbooks (pip install 'nst[excel]'), or a file of CSV"


def read_workbook(data: bytes, reading: Reading) -> Table:
    """The rows below the header of the first sheet. Raises Problems, also where openpyxl is missing."""
    try:
        import openpyxl
    except ImportError as exc:
        raise Problems(Problem(None, None, _EXTRA, "no package openpyxl")) from exc
    with _translated(), warnings.catch_warnings():
        # Of what a sheet has besides its cells.
        warnings.simplefilter("ignore")
        _check_size(data)
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        sheet, *others = book.worksheets
    if others:
        reading.note(f"only the first of {len(others) + 1} sheets is read, {sheet.title!r}")
    table = read_cells(_rows(sheet), reading, are_ragged=True)
    return Table(map(_without_formulas, table.rows), table.problems)


def _check_size(data: bytes) -> None:
    """Raises Problems for a workbook that unpacks to too much; zipfile unpacks no more than it says."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        num_bytes = sum(each.file_size for each in file.infolist())
    if num_bytes > MAX_UNPACKED_BYTES:
        expected = f"at most {MAX_UNPACKED_BYTES} bytes once unpacked"
        raise Problems(Problem(None, None, expected, f"{num_bytes}"))


class _Formula(str):
    """The formula of a cell that has no value, since no program has ever computed it."""

    __slots__ = ()


def _rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    with _translated():
        # What a file says of its own size is often wrong.
        sheet.reset_dimensions()
        cells = sheet.iter_rows(max_col=MAX_COLUMNS + 1, values_only=True)
        formulas = _never_computed(sheet)
        at_line, places = next(formulas, _NO_MORE)
        for line, values in enumerate(cells, start=1):
            texts = [_text(value) for value in values]
            if line == at_line:
                for place in places:
                    texts[place] = _Formula("=")
                at_line, places = next(formulas, _NO_MORE)
            _check_lengths(line, texts)
            yield line, texts


_NO_MORE: tuple[int, list[int]] = (0, [])


def _never_computed(sheet: Any) -> Iterator[tuple[int, list[int]]]:
    """Each line with formulas that have no value, and their places in it, from 0.

    openpyxl reads such a cell as an empty one, and one that has computed an empty text as well.
    """
    from openpyxl.xml.functions import iterparse

    line = last = 0
    with sheet._get_source() as file:
        for _, element in iterparse(file):
            if _tag(element) == "row":
                line = int(element.get("r", line + 1))
                found = [place for place, cell in _placed(element) if _is_never_computed(cell)]
                # A row that stands behind a later one is in no workbook of Excel, and openpyxl skips it.
                if found and line > last:
                    yield line, found
                last = max(line, last)
                element.clear()


def _placed(row: Any) -> Iterator[tuple[int, Any]]:
    """The cells of a row and their places, which most programs write, and others leave to the order."""
    from openpyxl.utils import coordinate_to_tuple

    place = -1
    for cell in row:
        reference = cell.get("r")
        place = coordinate_to_tuple(reference)[1] - 1 if reference else place + 1
        if place <= MAX_COLUMNS:
            yield place, cell


def _is_never_computed(cell: Any) -> bool:
    texts = {_tag(each): each.text for each in cell}
    return "f" in texts and not texts.get("v") and cell.get("t") != "str"


def _tag(element: Any) -> str:
    """The name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _without_formulas(row: Row) -> Row:
    """The row; where a cell has no value but a formula, without its text, and with a problem."""
    found = [column for column, text in row.cells.items() if isinstance(text, _Formula)]
    if not found:
        return row
    problems = (Problem(row.line, column, "a value", _NEVER_COMPUTED) for column in found)
    cells = {**row.cells, **dict.fromkeys(found, "")}
    return replace(row, cells=cells, problems=(*row.problems, *problems), is_guess=True)


_NEVER_COMPUTED = (
    "a formula that was never computed; open the workbook in a spreadsheet program and save it"
)


def _check_lengths(line: int, texts: list[str]) -> None:
    """Raises Problems for a text that is too long: a workbook can have it once, and in each cell."""
    longest = max(map(len, texts), default=0)
    if longest > MAX_BYTES_IN_FILE:
        expected = f"at most {MAX_BYTES_IN_FILE:,} characters in a cell"
        raise Problems(Problem(line, None, expected, f"{longest:,}"))


def _text(value: Any) -> str:
    """A cell as it would stand in a CSV; a date without a time has none."""
    if isinstance(value, datetime) and value.time() == time():
        value = value.date()
    return label_of(value) or ""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (Problems, MemoryError):
        raise
    except Exception as exc:
        # Of a damaged file openpyxl raises nearly anything.
        found = f"one that cannot be read: {exc or type(exc).__name__}"
        raise Problems(Problem(None, None, _EXPECTED, found)) from exc
