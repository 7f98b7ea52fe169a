"""Manifest bytes -> rows of cells, by one reader for each format."""

import io
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import yaml

from nst.manifest.cells import cell_of
from nst.manifest.delimited import read_delimited
from nst.manifest.limits import MAX_BYTES_IN_FILE, num_characters
from nst.manifest.names import KNOWN_COLUMNS, LEFT_OUT, Reading, column_problems
from nst.manifest.packing import as_utf_8, unpacked
from nst.manifest.problems import Problem, Problems, shown
from nst.manifest.table import Cells, Row, Table
from nst.manifest.workbooks import read_workbook
from nst.storage import is_pattern, is_web, literal_of, tables

Glob = Callable[[str], Sequence[str]]


def read_rows(name: str, data: bytes, glob: Glob, reading: Reading | None = None) -> Table:
    """The rows of the manifest file `name`, whose suffix decides the format. Raises Problems.

    `glob` expands a pattern of a matrix into paths in the same form; it raises Problems for a pattern
    that is not allowed. `reading` gets what is left out, until the last row is read.
    """
    reading = reading or Reading()
    suffix = next((each for each in _ALL_SUFFIXES if name.lower().endswith(each)), None)
    if suffix is None:
        expected = "a manifest that ends in " + ", ".join(_ALL_SUFFIXES)
        raise Problems(Problem(None, None, expected, shown(name)))
    if len(data) > MAX_BYTES:
        raise Problems(Problem(None, None, f"at most {MAX_BYTES} bytes", f"{len(data)}"))
    plain = suffix.removesuffix(_PACKED)
    table = _READERS[plain](unpacked(data) if suffix != plain else data, glob, reading)
    rows = _with_given(table.rows, reading) if reading.given else table.rows
    return Table(_counted(rows), table.problems)


def _with_given(rows: Iterable[Row], reading: Reading) -> Iterator[Row]:
    for row in rows:
        cells = {**reading.given, **row.cells}
        empty = {name: text for name, text in reading.given.items() if not is_given(cells, name)}
        yield replace(row, cells=cells | empty)


# What planning keeps of a row is some kilobytes, and a file may hold many times what it looks like.
MAX_BYTES = 2 * 1024**3
MAX_ROWS = 5_000_000
_MAX_MATRIX_BYTES = 8 * 1024**2
_MAX_MATRIX_VALUES = 500_000
# For each a folder is listed, or a whole tree.
_MAX_PATTERNS = 100
# Some bytes of a Parquet file can be as many empty cells as one likes, and one text in all of them.
_MAX_PARQUET_CELLS = 200_000_000


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


def _read_csv(data: bytes, _: Glob, reading: Reading) -> Table:
    data = as_utf_8(data)
    with _utf_8_translated(data):
        table = read_delimited(_text(data, newline=""), reading)
    return Table(_decoded(table.rows, data), table.problems)


def _decoded(rows: Iterable[Row], data: bytes) -> Iterator[Row]:
    with _utf_8_translated(data):
        yield from rows


def _read_workbook(data: bytes, _: Glob, reading: Reading) -> Table:
    return read_workbook(data, reading)


def _read_jsonl(data: bytes, _: Glob, reading: Reading) -> Table:
    return Table(_jsonl_rows(as_utf_8(data), reading), ())


def _jsonl_rows(data: bytes, reading: Reading) -> Iterator[Row]:
    with _utf_8_translated(data):
        for line, text in enumerate(_text(data, newline="\n"), start=1):
            if text.strip():
                yield _jsonl_row(line, text.rstrip("\r\n"), reading)


def _jsonl_row(line: int, text: str, reading: Reading) -> Row:
    try:
        cells = json.loads(
            text, object_pairs_hook=_without_repeats, parse_constant=_refused_constant
        )
        if not isinstance(cells, dict):
            raise ValueError(f"{type(cells).__name__} {text.strip()[:40]!r}")
    except (ValueError, RecursionError) as exc:
        # As of one list of all rows, in many lines.
        hint = ", in a list; write the objects alone" if text.strip() in ("[", "]") else ""
        found = _said(exc) + hint
        return Row(line, {}, (Problem(line, None, "a JSON object", found),), is_guess=True)
    columns = reading.columns(list(cells))
    try:
        problems = column_problems(columns, line=line, needs_all=False)
    except Problems as exc:
        problems = list(exc.problems)
    cells = _named(columns, cells.values())
    problems += [
        Problem(line, column, "a value or a list of values", type(value).__name__)
        for column, value in cells.items()
        if not _is_flat(value)
    ]
    flat = {column: value for column, value in cells.items() if _is_flat(value)}
    return Row(line, flat, tuple(problems))


def _said(error: Exception) -> str:
    """What Python says of a line that is no JSON, without the line, which it counts within the text."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return str(error)


def _named(columns: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    cells = dict(zip(columns, values, strict=True))
    cells.pop(LEFT_OUT, None)
    return cells


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


def _read_parquet(data: bytes, _: Glob, reading: Reading) -> Table:
    with _parquet_translated():
        outline = tables.parquet_outline(data)
    if outline.num_rows > MAX_ROWS:
        raise Problems(_too_many_rows(f"{outline.num_rows}"))
    columns = reading.columns([column.name for column in outline.columns])
    by_name = {each.name: name for each, name in zip(outline.columns, columns, strict=True)}
    wanted = {name for name, column in by_name.items() if column != LEFT_OUT}
    if len(wanted) < len(by_name):
        # What nobody wants may be pictures, which are larger than any cell of a manifest.
        with _parquet_translated():
            outline = tables.parquet_outline(data, columns=wanted)
    if outline.num_bytes > MAX_BYTES:
        found = f"{outline.num_bytes} once unpacked"
        raise Problems(Problem(None, None, f"at most {MAX_BYTES} bytes", found))
    num_cells = outline.num_rows * len(wanted) + outline.num_items
    if num_cells > _MAX_PARQUET_CELLS:
        expected = f"at most {_MAX_PARQUET_CELLS:,} cells and items of lists"
        raise Problems(Problem(None, None, expected, f"{num_cells:,}"))
    problems = column_problems(columns, line=None, given=reading.given)
    problems += [
        Problem(None, name, _KIND_TEXTS[kinds], column.type)
        for name, column in zip(columns, outline.columns, strict=True)
        if (kinds := _kinds(name)) and column.kind not in kinds and column.kind != "none"
    ]
    return Table(_parquet_rows(data, by_name, wanted), problems)


def _parquet_rows(
    data: bytes, by_name: Mapping[str, str], wanted: Collection[str]
) -> Iterator[Row]:
    with _parquet_translated():
        total = 0
        found = tables.parquet_rows(data, max_cell_bytes=MAX_BYTES_IN_FILE, columns=wanted)
        for number, cells in enumerate(found, start=1):
            # A text that stands in every row is in the file once, which says nothing of the sum.
            total += num_characters(cells)
            if total > MAX_BYTES:
                expected = f"at most {MAX_BYTES} characters once unpacked"
                raise Problems(Problem(number, None, expected, "more"))
            row = {by_name[name]: cell_of(by_name[name], value) for name, value in cells.items()}
            # pyarrow takes a column `a.b` for one in `a`.
            row.pop(LEFT_OUT, None)
            if any(is_given(row, column) for column in row):
                yield Row(number, row)


_TEXT: tuple[tables.Kind, ...] = ("text",)
_TEXTS: tuple[tables.Kind, ...] = ("text", "texts")
_NAME: tuple[tables.Kind, ...] = ("text", "value")
_VALUES: tuple[tables.Kind, ...] = ("text", "texts", "value", "values")
_KIND_TEXTS: Mapping[tuple[tables.Kind, ...], str] = {
    _TEXT: "a column of text",
    _TEXTS: "a column of text or of lists of text",
    _NAME: "a column of text or of numbers",
    _VALUES: "a column of text, of numbers, or of lists of either",
}


def _kinds(column: str) -> tuple[tables.Kind, ...]:
    """The types that a Parquet column of this name may have; none if it may have any."""
    if column not in KNOWN_COLUMNS:
        return ()
    named: Mapping[str, tuple[tables.Kind, ...]] = {
        "content": _TEXT,
        "style": _TEXTS,
        "backbone": _TEXT,
        "mask": _TEXT,
        "style_mask": _TEXTS,
        "id": _NAME,
    }
    return named.get(column, _VALUES)


@contextmanager
def _parquet_translated() -> Iterator[None]:
    try:
        yield
    except tables.TableError as exc:
        raise Problems(Problem(None, None, "a Parquet file", str(exc))) from exc
    except MemoryError as exc:
        expected = "a Parquet file that the memory holds, group of rows by group"
        raise Problems(Problem(None, None, expected, str(exc) or "a larger one")) from exc


def _read_matrix(data: bytes, glob: Glob, reading: Reading) -> Table:
    """A YAML mapping of column to value or list of values -> a row for every combination.

    Every value is read as its text, as in a CSV: YAML would turn `no` into false, and `1:30` into 90.
    Only `null` and `~`, where they are not in quotes, are empty cells.
    """
    if len(data) > _MAX_MATRIX_BYTES:
        expected = f"a matrix of at most {_MAX_MATRIX_BYTES} bytes"
        raise Problems(Problem(None, None, expected, f"{len(data)}"))
    data = as_utf_8(data)
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
    names = reading.columns([_yaml_text(key) for key, _ in root.value])
    problems = column_problems(names, line=_yaml_line(root), given=reading.given)
    axes: dict[str, list[tuple[int, Any]]] = {}
    for column, (key, node) in zip(names, root.value, strict=True):
        if column == LEFT_OUT:
            continue
        if column == "id":
            expected = "no ids in a matrix, whose rows have ids made for them"
            problems.append(Problem(_yaml_line(key), column, expected, "some"))
            continue
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values = [_yaml_value(item) for item in items]
        if column in _LISTS and len(values) > 1 and not any(map(_is_list, values)):
            reading.note(_each_by_itself(column, values))
        axes[column] = values
    axes = _all_expanded(axes, glob)
    rows = (
        Row(max(_lines(combination)), _cells(axes, combination), lines=_line_of(axes, combination))
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
    if isinstance(key, yaml.ScalarNode):
        return str(key.value)
    raise Problems(Problem(_yaml_line(key), None, "the name of a column", _yaml_kind(key)))


def _yaml_value(node: yaml.Node) -> tuple[int, Any]:
    """The line of a value and its text, or a list of texts if one row names several layers."""
    line = _yaml_line(node)
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for item in items:
        if not isinstance(item, yaml.ScalarNode):
            raise Problems(Problem(line, None, "a value or a list of values", _yaml_kind(item)))
    texts = ["" if _is_null(item) else str(item.value) for item in items]
    return line, texts if isinstance(node, yaml.SequenceNode) else texts[0]


def _is_null(item: Any) -> bool:
    # What is in quotes, or in lines of its own, has a style.
    return not item.style and item.value in ("null", "Null", "NULL", "~")


# Of these one row can have several values.
_LISTS = ("content_layers", "style_layers", "style_blend")


def _is_list(value: tuple[int, Any]) -> bool:
    """Whether a value of a matrix names several for one row."""
    return isinstance(value[1], list) or len(str(value[1]).split()) > 1


def _each_by_itself(column: str, values: Sequence[tuple[int, Any]]) -> str:
    line = values[0][0]
    texts = ", ".join(str(text)[:_MAX_NOTED_TEXT] for _, text in values[:_MAX_NOTED])
    more = ", ..." if len(values) > _MAX_NOTED else ""
    return (
        f"line {line}, column {column!r}: each of {len(values)} values is for rows of its own; "
        f"[[{texts}{more}]] is all of them for one row"
    )


_MAX_NOTED = 5
_MAX_NOTED_TEXT = 80


def _lines(combination: Sequence[tuple[int, Any]]) -> Iterator[int]:
    return (line for line, _ in combination)


def _line_of(axes: Mapping[str, Any], combination: Sequence[tuple[int, Any]]) -> Mapping[str, int]:
    return dict(zip(axes, _lines(combination), strict=True))


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
        value
        for column, values in axes.items()
        for _, value in values
        if _is_glob(column, value) and literal_of(value) is None
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
    is_text = column in ("content", "style") and isinstance(value, str)
    return is_text and is_pattern(_without_query(str(value)))


def _without_query(text: str) -> str:
    """The text; of a URL on the web only what is before its query, in which `?` is no wildcard."""
    start, _, rest = text.partition("?")
    return start if is_web(text) and _QUERY.match(rest) else text


# The query of a URL names something; in p?.jpg the mark is a wildcard for the links of a page.
_QUERY = re.compile(r"[^=/*]+=")


def _expanded(column: str, line: int, value: Any, *, glob: Glob) -> list[tuple[int, Any]]:
    if not _is_glob(column, value):
        return [(line, value)]
    literal = literal_of(value)
    if literal is not None:
        # The name of one file, which no folder need be listed for.
        return [(line, literal)]
    try:
        matches = glob(value)
    except Problems as exc:
        found = (replace(problem, line=line, column=column) for problem in exc.problems)
        raise Problems(*found) from exc
    if not matches:
        raise Problems(Problem(line, column, "a pattern that some file matches", shown(value)))
    for match in matches:
        if expected := objection_to_name(match, column):
            raise Problems(Problem(line, column, expected, f"{shown(match)}; rename it"))
    return [(line, match) for match in matches]


def objection_to_name(path: str, column: str) -> str | None:
    """What was expected instead of a file's path that would be another as a cell; None if it would not."""
    if "|" in path and column == "style":
        return "a name without '|', which stands between styles in a manifest"
    return "a name without spaces at its ends" if path != path.strip() else None


# What a file begins with that is something else than its name says.
_OTHER_FILES = {
    b"PAR1": "a Parquet file; let its name end in .parquet",
    b"\x1f\x8b": "a gzip file; let its name end in .gz, as .csv.gz",
    b"PK\x03\x04": "a ZIP file, as Excel writes them; let its name end in .xlsx, or save it as CSV",
}


def _text(data: bytes, *, newline: str | None = None) -> io.TextIOWrapper:
    """The text of a file, decoded as it is read; see `_utf_8_translated`. Raises Problems."""
    for start, found in _OTHER_FILES.items():
        if data.startswith(start):
            raise Problems(Problem(None, None, "text in UTF-8", found))
    nul = data.find(b"\0")
    if nul >= 0:
        # UTF-16 without its mark has one in every letter of English.
        hint = ", as in UTF-16; save the file in UTF-8" if nul < _WIDTH_OF_A_LETTER else ""
        raise Problems(
            Problem(_line_at(data, nul), None, "text in UTF-8", f"the byte 0x00 at {nul}{hint}")
        )
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
            expected = "text in UTF-8, which Excel calls CSV UTF-8"
            found = f"the byte 0x{data[at]:02x} at {at}"
            raise Problems(Problem(_line_at(data, at), None, expected, found)) from exc
        raise


def _line_at(data: bytes, at: int) -> int:
    """The line of a byte; lines end in CR alone where there is no LF."""
    return max(data.count(b"\n", 0, at), data.count(b"\r", 0, at)) + 1


_WIDTH_OF_A_LETTER = 2

_READERS: dict[str, Callable[[bytes, Glob, Reading], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    ".yaml": _read_matrix,
    ".yml": _read_matrix,
    ".xlsx": _read_workbook,
}
_PACKED = ".gz"
_ALL_SUFFIXES = (*_READERS, *(f"{each}{_PACKED}" for each in (".csv", ".tsv", ".jsonl", ".ndjson")))

# Those of the files that a folder of manifests consists of. A workbook is often what a file of CSV
# beside it was saved from.
SUFFIXES = tuple(each for each in _ALL_SUFFIXES if each != ".xlsx")
