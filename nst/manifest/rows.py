"""Manifest bytes -> rows of cells, by one reader for each format; the known columns."""

import csv
import io
import itertools
import json
import math
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from nst.job import LABEL_PREFIX, PARAM_FIELDS
from nst.manifest.access import is_plain
from nst.manifest.limits import MAX_NAME, num_characters
from nst.manifest.problems import Problem, Problems, nearest, shown
from nst.profiles import PROFILES
from nst.redaction import secret_in
from nst.storage import is_pattern, tables

if TYPE_CHECKING:
    from _csv import Reader as _Reader

REQUIRED_COLUMNS = {
    "content": "Picture to repaint: a path relative to the manifest, or a URL.",
    "style": "Picture whose style to use: a path relative to the manifest, or a URL; several "
    "with `|` between them.",
}
OPTIONAL_COLUMNS = {
    "backbone": "Network whose features are used: " + ", ".join(PROFILES) + ".",
    "id": "Name of the picture's file: letters, digits, `.`, `_`, `-`; if empty, it is made from the row.",
    "mask": "Picture of the content's shape that says where each style paints, from black for the "
    "first style to white for the last; with one style, white is painted and black is not.",
}

Cells = Mapping[str, Any]
Glob = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as the file has it: its line, or None where the format has no lines, and its cells.

    `problems` are those of its form. `is_guess` is true if they make the cells unreliable, so that no
    problems of the cells should be reported.
    """

    line: int | None
    cells: Cells
    problems: tuple[Problem, ...] = ()
    is_guess: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, and those of its problems that do not prevent reading the rows.

    The rows can be iterated once, and are read on demand; the iteration raises Problems if the file
    turns out to be invalid.
    """

    rows: Iterable[Row]
    problems: Sequence[Problem]


def read_rows(name: str, data: bytes, glob: Glob) -> Table:
    """The rows of the manifest file `name`, whose suffix decides the format. Raises Problems.

    `glob` expands a pattern of a matrix into paths in the same form; it raises Problems for a pattern
    that is not allowed.
    """
    suffix = posixpath.splitext(name)[1].lower()
    if suffix not in _READERS:
        expected = "a manifest that ends in " + ", ".join(_READERS)
        raise Problems(Problem(None, None, expected, shown(name)))
    if len(data) > MAX_BYTES:
        raise Problems(Problem(None, None, f"at most {MAX_BYTES} bytes", f"{len(data)}"))
    table = _READERS[suffix](data, glob)
    return Table(_counted(table.rows), table.problems)


# What planning keeps of a row is some kilobytes, and a file may hold many times what it looks like.
MAX_BYTES = 2 * 1024**3
MAX_ROWS = 5_000_000
_MAX_MATRIX_BYTES = 8 * 1024**2
_MAX_MATRIX_VALUES = 500_000
# For each a folder is listed, or a whole tree.
_MAX_PATTERNS = 100
_MAX_COLUMNS = 1000
# Some bytes of a Parquet file can be as many empty cells as one likes, and one text in all of them.
_MAX_PARQUET_CELLS = 200_000_000
_MAX_CELL_BYTES = 131_072


def _counted(rows: Iterable[Row]) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        if number > MAX_ROWS:
            raise Problems(_too_many_rows(f"more of them at line {row.line}"))
        yield row


def _too_many_rows(found: str) -> Problem:
    return Problem(None, None, f"at most {MAX_ROWS} rows; split the manifest", found)


def text_of(cells: Cells, column: str) -> str | None:
    """A cell as text."""
    return str(cells[column]).strip() if is_given(cells, column) else None


def is_given(cells: Cells, column: str) -> bool:
    """Whether a cell has a value: an empty cell and a null have none."""
    value = cells.get(column)
    return value is not None and not (isinstance(value, str) and not value.strip())


def _read_csv(data: bytes, _: Glob) -> Table:
    # strict: a quote that is never closed would otherwise swallow the rest of the file.
    reader = csv.reader(_text(data, newline=""), strict=True)
    with _csv_translated(reader, data):
        header = next((cells for cells in reader if cells), [])
    problems = _column_problems(header, line=reader.line_num)
    return Table(_csv_rows(reader, header, data), problems)


def _csv_rows(reader: "_Reader", header: Sequence[str], data: bytes) -> Iterator[Row]:
    line = reader.line_num + 1
    with _csv_translated(reader, data):
        for cells in reader:
            if cells:
                yield _csv_row(line, header, cells)
            line = reader.line_num + 1


def _csv_row(line: int, header: Sequence[str], cells: Sequence[str]) -> Row:
    found = dict(zip(header, cells, strict=False))
    if len(cells) == len(header):
        return Row(line, found)
    expected = f"{len(header)} cells as in the header"
    return Row(line, found, (Problem(line, None, expected, str(len(cells))),), is_guess=True)


@contextmanager
def _csv_translated(reader: "_Reader", data: bytes) -> Iterator[None]:
    try:
        with _utf_8_translated(data):
            yield
    except csv.Error as exc:
        # What follows cannot be told apart any more: it may stand within a quoted cell.
        raise Problems(Problem(reader.line_num, None, "CSV", str(exc))) from exc


def _read_jsonl(data: bytes, _: Glob) -> Table:
    return Table(_jsonl_rows(data), ())


def _jsonl_rows(data: bytes) -> Iterator[Row]:
    with _utf_8_translated(data):
        for line, text in enumerate(_text(data, newline="\n"), start=1):
            if text.strip():
                yield _jsonl_row(line, text.rstrip("\r\n"))


def _jsonl_row(line: int, text: str) -> Row:
    try:
        cells = json.loads(
            text, object_pairs_hook=_without_repeats, parse_constant=_refused_constant
        )
        if not isinstance(cells, dict):
            raise ValueError(f"{type(cells).__name__} {text.strip()[:40]!r}")
    except (ValueError, RecursionError) as exc:
        return Row(line, {}, (Problem(line, None, "a JSON object", str(exc)),), is_guess=True)
    try:
        problems = _column_problems(list(cells), line=line, needs_all=False)
    except Problems as exc:
        problems = list(exc.problems)
    problems += [
        Problem(line, column, "a value or a list of values", type(value).__name__)
        for column, value in cells.items()
        if not _is_flat(value)
    ]
    flat = {column: value for column, value in cells.items() if _is_flat(value)}
    return Row(line, flat, tuple(problems))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    cells = dict(pairs)
    if len(cells) != len(pairs):
        repeated = next(name for name, count in Counter(n for n, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {shown(repeated)} twice")
    return cells


def _refused_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON")


def _is_flat(value: object) -> bool:
    items = value if isinstance(value, list) else [value]
    return not any(isinstance(item, list | dict) for item in items)


def _read_parquet(data: bytes, _: Glob) -> Table:
    with _parquet_translated():
        outline = tables.parquet_outline(data)
    if outline.num_rows > MAX_ROWS:
        raise Problems(_too_many_rows(f"{outline.num_rows}"))
    if outline.num_bytes > MAX_BYTES:
        found = f"{outline.num_bytes} once unpacked"
        raise Problems(Problem(None, None, f"at most {MAX_BYTES} bytes", found))
    num_cells = outline.num_rows * len(outline.columns) + outline.num_items
    if num_cells > _MAX_PARQUET_CELLS:
        expected = f"at most {_MAX_PARQUET_CELLS:,} cells and items of lists"
        raise Problems(Problem(None, None, expected, f"{num_cells:,}"))
    problems = _column_problems([column.name for column in outline.columns], line=None)
    problems += [
        Problem(None, column.name, _KIND_TEXTS[kinds], column.type)
        for column in outline.columns
        if column.kind not in (kinds := _kinds(column.name)) and column.kind != "none"
    ]
    return Table(_parquet_rows(data), problems)


def _parquet_rows(data: bytes) -> Iterator[Row]:
    with _parquet_translated():
        total = 0
        found = tables.parquet_rows(data, max_cell_bytes=_MAX_CELL_BYTES)
        for number, cells in enumerate(found, start=1):
            # A text that stands in every row is in the file once, which says nothing of the sum.
            total += num_characters(cells)
            if total > MAX_BYTES:
                expected = f"at most {MAX_BYTES} characters once unpacked"
                raise Problems(Problem(number, None, expected, "more"))
            yield Row(number, cells)


_TEXT: tuple[tables.Kind, ...] = ("text",)
_TEXTS: tuple[tables.Kind, ...] = ("text", "texts")
_NAME: tuple[tables.Kind, ...] = ("text", "value")
_ANY: tuple[tables.Kind, ...] = ("text", "texts", "value", "values")
_KIND_TEXTS: Mapping[tuple[tables.Kind, ...], str] = {
    _TEXT: "a column of text",
    _TEXTS: "a column of text or of lists of text",
    _NAME: "a column of text or of numbers",
    _ANY: "a column of text, of numbers, or of lists of either",
}


def _kinds(column: str) -> tuple[tables.Kind, ...]:
    """The types that a Parquet column of this name may have."""
    named: Mapping[str, tuple[tables.Kind, ...]] = {
        "content": _TEXT,
        "style": _TEXTS,
        "backbone": _TEXT,
        "mask": _TEXT,
        "id": _NAME,
    }
    return named.get(column, _ANY)


@contextmanager
def _parquet_translated() -> Iterator[None]:
    try:
        yield
    except tables.TableError as exc:
        raise Problems(Problem(None, None, "a Parquet file", str(exc))) from exc
    except MemoryError as exc:
        expected = "a Parquet file that the memory holds, group of rows by group"
        raise Problems(Problem(None, None, expected, str(exc) or "a larger one")) from exc


def _read_matrix(data: bytes, glob: Glob) -> Table:
    """A YAML mapping of column to value or list of values -> a row for every combination.

    Every value is read as its text, as in a CSV: YAML would turn `no` into false, and `1:30` into 90.
    """
    if len(data) > _MAX_MATRIX_BYTES:
        expected = f"a matrix of at most {_MAX_MATRIX_BYTES} bytes"
        raise Problems(Problem(None, None, expected, f"{len(data)}"))
    try:
        with _utf_8_translated(data):
            root = _composed(_text(data).read())
    except (yaml.YAMLError, RecursionError, ValueError) as exc:
        raise Problems(Problem(None, None, "YAML", " ".join(str(exc).split()))) from exc
    is_empty = isinstance(root, yaml.MappingNode) and not root.value
    if root is None or is_empty:
        return Table([], [])
    if not isinstance(root, yaml.MappingNode):
        raise Problems(Problem(1, None, "a mapping of columns to lists", _yaml_kind(root)))
    names = [_yaml_text(key) for key, _ in root.value]
    problems = _column_problems(names, line=_yaml_line(root))
    axes: dict[str, list[tuple[int, Any]]] = {}
    for column, (key, node) in zip(names, root.value, strict=True):
        if column == "id":
            expected = "no ids in a matrix, whose rows have ids made for them"
            problems.append(Problem(_yaml_line(key), column, expected, "some"))
            continue
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        axes[column] = [_yaml_value(item) for item in items]
    axes = _all_expanded(axes, glob)
    rows = (
        Row(max(line for line, _ in combination), _cells(axes, combination))
        for combination in itertools.product(*axes.values())
    )
    return Table(rows, problems)


# That of libyaml takes time in proportion to a text, PyYAML's own the square of it.
_Loader: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def _composed(text: str) -> yaml.Node | None:
    """The YAML document.

    Refuses tags, which create objects, anchors and aliases, which can expand enormously, and more
    values than memory should hold, before there is an object for any.
    """
    num_values = 0
    # Typed loosely, as each loader has events and marks of its own.
    events: Iterable[Any] = yaml.parse(text, Loader=_Loader)
    for event in events:
        _check_plain(event)
        num_values += isinstance(event, yaml.ScalarEvent)
        if num_values > _MAX_MATRIX_VALUES:
            expected = f"a matrix of at most {_MAX_MATRIX_VALUES:,} values"
            raise Problems(Problem(event.start_mark.line + 1, None, expected, "more"))
    return yaml.compose(text, Loader=_Loader)


def _check_plain(event: Any) -> None:
    if getattr(event, "anchor", None) is not None:
        raise yaml.composer.ComposerError(
            None, None, "anchors and aliases are not read", event.start_mark
        )
    tag = getattr(event, "tag", None)
    if tag is not None:
        raise Problems(Problem(event.start_mark.line + 1, None, "YAML without tags", shown(tag)))


def _yaml_kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a value"


def _yaml_line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _yaml_text(key: yaml.Node) -> str:
    """The name of a column."""
    value = _yaml_value(key)[1]
    if not isinstance(value, str):
        raise Problems(Problem(_yaml_line(key), None, "the name of a column", "a list"))
    return value


def _yaml_value(node: yaml.Node) -> tuple[int, Any]:
    """The line of a value and its text, or a list of texts if one row names several layers."""
    line = _yaml_line(node)
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for item in items:
        if not isinstance(item, yaml.ScalarNode):
            raise Problems(Problem(line, None, "a value or a list of values", _yaml_kind(item)))
    texts = [str(item.value) for item in items]
    return line, texts if isinstance(node, yaml.SequenceNode) else texts[0]


def _cells(axes: Mapping[str, Any], combination: Sequence[tuple[int, Any]]) -> Cells:
    return dict(zip(axes, (value for _, value in combination), strict=True))


def _all_expanded(
    axes: Mapping[str, list[tuple[int, Any]]], glob: Glob
) -> dict[str, list[tuple[int, Any]]]:
    """The values of each column, with its patterns replaced by what they match.

    The number of rows is checked before the first pattern and after each, since what a few of them
    match can be more than memory holds.
    """
    found = dict(axes)
    _check_num_rows(found)
    patterns = [
        value for column, values in axes.items() for _, value in values if _is_glob(column, value)
    ]
    if len(patterns) > _MAX_PATTERNS:
        expected = f"at most {_MAX_PATTERNS} patterns"
        raise Problems(Problem(None, None, expected, f"{len(patterns)}"))
    for column, values in axes.items():
        found[column] = []
        for item in values:
            found[column] += _expanded(column, *item, glob=glob)
            _check_num_rows(found)
    return found


def _check_num_rows(axes: Mapping[str, Sequence[object]]) -> None:
    lengths = [*map(len, axes.values())]
    # Where one column has no values yet, or none at all, the others may still be too many.
    num_rows = max(math.prod(lengths), *lengths, 0)
    if num_rows > MAX_ROWS:
        raise Problems(_too_many_rows(f"{num_rows}"))


def _is_glob(column: str, value: object) -> bool:
    return column in ("content", "style") and isinstance(value, str) and is_pattern(value)


def _expanded(column: str, line: int, value: Any, *, glob: Glob) -> list[tuple[int, Any]]:
    if not _is_glob(column, value):
        return [(line, value)]
    try:
        matches = glob(value)
    except Problems as exc:
        found = (replace(problem, line=line, column=column) for problem in exc.problems)
        raise Problems(*found) from exc
    if not matches:
        raise Problems(Problem(line, column, "a pattern that some file matches", shown(value)))
    return [(line, match) for match in matches]


def _column_problems(
    names: Sequence[str], *, line: int | None, needs_all: bool = True
) -> list[Problem]:
    """The problems of a header whose rows can still be read.

    Raises Problems if a required column is missing, since otherwise every row would report it.
    """
    if len(names) > _MAX_COLUMNS:
        raise Problems(Problem(line, None, f"at most {_MAX_COLUMNS} columns", f"{len(names)}"))
    problems = [
        Problem(line, name, _expected_instead(name), shown(name))
        for name in names
        if not _is_column(name)
    ]
    problems += [
        Problem(line, name, "each column once", f"{count} of them")
        for name, count in Counter(names).items()
        if count > 1
    ]
    missing = [
        Problem(line, name, "this column", "only " + ", ".join(map(shown, names)))
        for name in REQUIRED_COLUMNS
        if needs_all and names and name not in names
    ]
    if missing:
        raise Problems(*problems, *missing)
    return problems


_KNOWN_COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, *PARAM_FIELDS)


def _is_column(name: str) -> bool:
    if name in _KNOWN_COLUMNS:
        return True
    is_label = name.startswith(LABEL_PREFIX) and name != LABEL_PREFIX
    is_short = len(name) <= MAX_NAME
    return is_label and is_short and is_plain(name) and secret_in(name) is None


@lru_cache(maxsize=1000)
def _expected_instead(name: str) -> str:
    if len(name) > MAX_NAME:
        return f"a column whose name has at most {MAX_NAME} characters, not {len(name):,}"
    if not is_plain(name):
        return "a column whose name UTF-8 can hold, without NUL"
    if secret_in(name) is not None:
        return "a column without credentials in its name"
    return "a known column" + nearest(name, _KNOWN_COLUMNS, LABEL_PREFIX + name)


# What a file begins with that is something else than its name says.
_OTHER_FILES = {
    b"PAR1": "a Parquet file; let its name end in .parquet",
    b"\x1f\x8b": "a gzip file; unpack it first",
    b"PK\x03\x04": "a ZIP file, as Excel writes them; save it as CSV",
    b"\xff\xfe": "the byte 0xff at 0, as UTF-16 begins; save it as UTF-8",
    b"\xfe\xff": "the byte 0xfe at 0, as UTF-16 begins; save it as UTF-8",
}


def _text(data: bytes, *, newline: str | None = None) -> io.TextIOWrapper:
    """The text of a file, decoded as it is read; see `_utf_8_translated`. Raises Problems."""
    for start, found in _OTHER_FILES.items():
        if data.startswith(start):
            raise Problems(Problem(None, None, "text in UTF-8", found))
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise Problems(Problem(line, None, "text in UTF-8", f"the byte 0x00 at {nul}"))
    return io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", newline=newline)


@contextmanager
def _utf_8_translated(data: bytes) -> Iterator[None]:
    """Report the position of the bad byte in the file; the decoder counts from its chunk's start."""
    try:
        yield
    except UnicodeDecodeError:
        try:
            data.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            at = exc.start
            line = data.count(b"\n", 0, at) + 1
            found = f"the byte 0x{data[at]:02x} at {at}"
            raise Problems(Problem(line, None, "text in UTF-8", found)) from exc
        raise


_READERS: dict[str, Callable[[bytes, Glob], Table]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".yaml": _read_matrix,
    ".yml": _read_matrix,
}

SUFFIXES = tuple(_READERS)
