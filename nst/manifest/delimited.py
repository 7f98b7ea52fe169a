"""Lines of cells, as spreadsheets and programs write them -> rows; which separator stands between."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from types import UnionType
from typing import TYPE_CHECKING, Annotated, TextIO, Union, get_args, get_origin

from nst.job import PARAM_FIELDS
from nst.manifest.names import (
    LEFT_OUT,
    REQUIRED_COLUMNS,
    Reading,
    column_problems,
    num_known,
)
from nst.manifest.problems import Problem, Problems, shown
from nst.manifest.table import Row, Table

if TYPE_CHECKING:
    from _csv import Reader as _Reader

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Excel's own way to say which one it is.
_DECLARED = re.compile(r'"?sep=([^\w\s"]|\t)"?[,;\s]*', re.IGNORECASE)
_NOTHING = ' ,;\t\r\n"'
_DECIMAL = re.compile(r"\s*[+-]?\d+,\d+([eE][+-]?\d+)?\s*")
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(,\d{3})+\s*")


def _takes_decimal(annotation: object) -> bool:
    """Whether a value may be one decimal; of several, commas stand between them."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return any(map(_takes_decimal, get_args(annotation)))
    return annotation is float


_DECIMALS = {name for name, each in PARAM_FIELDS.items() if _takes_decimal(each.annotation)}


def read_delimited(lines: TextIO, reading: Reading) -> Table:
    """The rows below a header, in lines that end in any way. Raises Problems.

    The separator is the one that makes the header known: a comma, a semicolon or a tab, or whatever a
    first line `sep=` says. Rows without a value and lines of comment are left out.
    """
    num_lines, first, declared = _header_line(lines)
    separator = declared or _separator(first)
    # strict: a quote that is never closed would otherwise swallow the rest of the file.
    reader = csv.reader(chain([first], lines), delimiter=separator, strict=True)
    return read_cells(_numbered(reader, num_lines), reading, separator=separator)


def read_cells(
    rows: Iterator[tuple[int, list[str]]],
    reading: Reading,
    *,
    separator: str = ",",
    are_ragged: bool = False,
) -> Table:
    """The rows below a header, of lines with their numbers and cells. Raises Problems.

    Of rows that are ragged, what is missing at the end is empty.
    """
    line, header = next((row for row in rows if not _is_blank(row[1])), (1, []))
    while header and not header[-1].strip():
        header.pop()
    # What pandas writes above an index; above another column a name is forgotten.
    columns = [
        LEFT_OUT if position and not name.strip() else reading.columns([name])[0]
        for position, name in enumerate(header)
    ]
    problems = column_problems(columns, line=line, given=reading.given)

    # An index alone makes no row.
    index = {
        position
        for position, (name, column) in enumerate(zip(header, columns, strict=True))
        if column == LEFT_OUT and (name.strip() or position == 0)
    }

    # Where a folder gives the style, one cell can be all of a row.
    may_be_comments = REQUIRED_COLUMNS.keys() <= set(columns)

    def made() -> Iterator[Row]:
        for number, cells in rows:
            own = [cell for at, cell in enumerate(cells) if at not in index]
            if not (_is_blank(own) if may_be_comments else _is_empty(own)):
                missing = len(header) - len(cells) if are_ragged else 0
                yield _row(number, header, columns, cells + [""] * missing, separator)

    return Table(made(), problems)


def _header_line(lines: TextIO) -> tuple[int, str, str | None]:
    """The number of lines before the header, its first line, and the separator that a line declares."""
    declared = None
    number = -1
    for number, line in enumerate(lines):
        found = _DECLARED.fullmatch(line)
        if found and declared is None:
            declared = found[1]
        elif line.strip(_NOTHING) and not _is_comment(line):
            return number, line, declared
    return number + 1, "", declared


def _is_comment(text: str) -> bool:
    return text.lstrip(' "').startswith("#")


def _separator(line: str) -> str:
    """The separator with which most of a header's columns are known; a comma, if none is better."""
    return max(_SEPARATORS, key=lambda each: num_known(_split(line, each)))


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _numbered(reader: "_Reader", num_lines: int) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, and the line in which it begins; `num_lines` were read before."""
    line = num_lines + 1
    with _translated(reader, num_lines):
        for cells in reader:
            yield line, cells
            line = num_lines + reader.line_num + 1


def _is_empty(cells: Sequence[str]) -> bool:
    return not any(cell.strip() for cell in cells)


def _is_blank(cells: Sequence[str]) -> bool:
    """Whether a row says nothing: no cell has a value, or one, which begins a comment."""
    return _is_empty(cells) or (_is_comment(cells[0]) and _is_empty(cells[1:]))


def _row(
    line: int, header: Sequence[str], columns: Sequence[str], cells: list[str], separator: str
) -> Row:
    while len(cells) > len(header) and not cells[-1].strip():
        cells.pop()
    found = dict(zip(columns, cells, strict=False))
    found.pop(LEFT_OUT, None)
    if len(cells) != len(header):
        expected = f"{len(header)} cells as in the header"
        if len(cells) == 1 and separator in _SEPARATORS:
            expected += f", with {_SEPARATORS[separator]} between them"
        return Row(line, found, (Problem(line, None, expected, str(len(cells))),), is_guess=True)
    problems = [
        Problem(line, None, f"a name in the header above cell {number}", shown(cell))
        for number, (name, cell) in enumerate(zip(header, cells, strict=True), start=1)
        if number > 1 and not name.strip() and cell.strip()
    ]
    if separator != ",":
        problems += _decimals_read(line, found)
    return Row(line, found, tuple(problems))


def _decimals_read(line: int, cells: dict[str, str]) -> Iterator[Problem]:
    """Read decimals with a comma: who writes them cannot have it between cells.

    What may be thousands as well is a problem.
    """
    for column in _DECIMALS & cells.keys():
        text = cells[column]
        if _THOUSANDS.fullmatch(text):
            yield Problem(line, column, "a number with a point, or without a comma", shown(text))
            del cells[column]
        elif _DECIMAL.fullmatch(text):
            cells[column] = text.replace(",", ".")


@contextmanager
def _translated(reader: "_Reader", num_lines: int) -> Iterator[None]:
    try:
        yield
    except csv.Error as exc:
        # What follows cannot be told apart any more: it may stand within a quoted cell.
        line, found = num_lines + reader.line_num, str(exc)
        hint = next((each for said, each in _HINTS.items() if said in found), "")
        raise Problems(Problem(line, None, "CSV", found + hint)) from exc


# What Python's reader says, and what must have been meant.
_HINTS = {
    "unexpected end of data": ", within a quoted cell that does not end",
    "expected after": "; a quote within a quoted cell is written twice",
}
