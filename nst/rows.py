"""Manifest bytes -> rows of cells, one reader for each format, and the columns that there are."""

import csv
import io
import itertools
import json
import math
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from nst import tables
from nst.job import LABEL_PREFIX, PARAM_FIELDS
from nst.problems import Problem, Problems, nearest
from nst.profiles import PROFILES

REQUIRED_COLUMNS = {
    "content": "Picture to repaint: a path relative to the manifest, or a URL.",
    "style": "Picture whose style to use: a path relative to the manifest, or a URL; several "
    "with `|` between them.",
    "backbone": "Network whose features decide: " + ", ".join(PROFILES) + ".",
}
OPTIONAL_COLUMNS = {
    "id": "Name of the picture's file: letters, digits, `.`, `_`, `-`; made from the row if empty.",
    "mask": "Picture of the content's shape that says where each style paints, from black for the "
    "first to white for the last; with one style, white is painted and black is not.",
}

Cells = Mapping[str, Any]
Glob = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as the file has it: its line, or None where the format has no lines, and its cells."""

    line: int | None
    cells: Cells


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, and what is wrong with it that does not keep the rows from being read."""

    rows: Sequence[Row]
    problems: Sequence[Problem]


def read_rows(name: str, data: bytes, glob: Glob) -> Table:
    """The rows of the manifest file `name`, told by its suffix. Raises Problems where there are none.

    `glob` turns a pattern of a matrix into paths as if written.
    """
    suffix = posixpath.splitext(name)[1].lower()
    if suffix not in _READERS:
        expected = "a manifest that ends in " + ", ".join(_READERS)
        raise Problems(Problem(None, None, expected, repr(name)))
    return _READERS[suffix](data, glob)


def text_of(cells: Cells, column: str) -> str | None:
    """What the row says here, as text."""
    return str(cells[column]).strip() if is_given(cells, column) else None


def is_given(cells: Cells, column: str) -> bool:
    """Whether the row says anything here: an empty cell and a null do not."""
    value = cells.get(column)
    return value is not None and not (isinstance(value, str) and not value.strip())


def _read_csv(data: bytes, _: Glob) -> Table:
    # strict: a quote that is never closed would otherwise swallow the rest of the file.
    reader = csv.reader(io.StringIO(_text(data), newline=""), strict=True)
    rows = []
    try:
        header = next((cells for cells in reader if cells), [])
        problems = _column_problems(header, line=reader.line_num)
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                rows.append(Row(line, dict(zip(header, cells, strict=True))))
            elif cells:
                expected = f"{len(header)} cells as in the header"
                problems.append(Problem(line, None, expected, str(len(cells))))
            line = reader.line_num + 1
    except csv.Error as exc:
        raise Problems(Problem(reader.line_num, None, "CSV", str(exc))) from exc
    return Table(rows, problems)


def _read_jsonl(data: bytes, _: Glob) -> Table:
    rows = []
    problems: list[Problem] = []
    for line, text in enumerate(_text(data).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            cells = json.loads(text, object_pairs_hook=_without_repeats)
            if not isinstance(cells, dict):
                raise ValueError(f"{type(cells).__name__} {text.strip()[:40]!r}")
            problems += _column_problems(list(cells), line=line, needs_all=False)
            rows.append(Row(line, cells))
        except (ValueError, RecursionError) as exc:
            problems.append(Problem(line, None, "a JSON object", str(exc)))
    return Table(rows, problems)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    cells = dict(pairs)
    if len(cells) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} twice")
    return cells


def _read_parquet(data: bytes, _: Glob) -> Table:
    try:
        problems = _column_problems(tables.parquet_columns(data), line=None)
        rows = tables.read_parquet(data)
    except tables.TableError as exc:
        raise Problems(Problem(None, None, "a Parquet file", str(exc))) from exc
    return Table([Row(number, cells) for number, cells in enumerate(rows, start=1)], problems)


def _read_matrix(data: bytes, glob: Glob) -> Table:
    """A YAML mapping of column to value or list of values -> the rows of their product.

    Every value is taken as the text that stands there, as a CSV cell is: YAML would make a truth
    value of `no`, and 90 of `1:30`.
    """
    try:
        root = yaml.compose(_text(data), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as exc:
        raise Problems(Problem(None, None, "YAML", " ".join(str(exc).split()))) from exc
    if root is None:
        return Table([], [])
    if not isinstance(root, yaml.MappingNode):
        raise Problems(Problem(1, None, "a mapping of columns to lists", _yaml_kind(root)))
    names = [_yaml_value(key)[1] for key, _ in root.value]
    problems = _column_problems(names, line=_yaml_line(root))
    axes: dict[str, list[tuple[int, Any]]] = {}
    for column, (key, node) in zip(names, root.value, strict=True):
        if column == "id":
            expected = "no ids in a matrix, whose rows have ids made for them"
            problems.append(Problem(_yaml_line(key), column, expected, "some"))
            continue
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        values = [_yaml_value(item) for item in items]
        axes[column] = [found for item in values for found in _expanded(column, *item, glob=glob)]
    num_rows = math.prod(map(len, axes.values()))
    if num_rows > _MAX_MATRIX_ROWS:
        expected = f"a matrix of at most {_MAX_MATRIX_ROWS} rows"
        raise Problems(Problem(None, None, expected, f"{num_rows}"))
    rows = [
        Row(max(line for line, _ in combination), _cells(axes, combination))
        for combination in itertools.product(*axes.values())
    ]
    return Table(rows, problems)


_MAX_MATRIX_ROWS = 10_000_000


def _yaml_kind(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a value"


def _yaml_line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _yaml_value(node: yaml.Node) -> tuple[int, Any]:
    """The line of a value and its text, or a list of texts for the layers that one row names."""
    line = _yaml_line(node)
    items = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for item in items:
        if not isinstance(item, yaml.ScalarNode):
            raise Problems(Problem(line, None, "a value or a list of values", _yaml_kind(item)))
        if item.tag != "tag:yaml.org,2002:str":
            raise Problems(Problem(line, None, "YAML without tags", repr(item.tag)))
    texts = [str(item.value) for item in items]
    return line, texts if isinstance(node, yaml.SequenceNode) else texts[0]


def _cells(axes: Mapping[str, Any], combination: Sequence[tuple[int, Any]]) -> Cells:
    return dict(zip(axes, (value for _, value in combination), strict=True))


def _expanded(column: str, line: int, value: Any, *, glob: Glob) -> Iterator[tuple[int, Any]]:
    if column not in ("content", "style") or not isinstance(value, str) or not _is_glob(value):
        yield line, value
        return
    matches = glob(value)
    if not matches:
        raise Problems(Problem(line, column, "a pattern that some file matches", repr(value)))
    yield from ((line, match) for match in matches)


def _is_glob(text: str) -> bool:
    return any(c in text for c in "*?[")


_READERS: dict[str, Callable[[bytes, Glob], Table]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".yaml": _read_matrix,
    ".yml": _read_matrix,
}


def _column_problems(
    names: Sequence[str], *, line: int | None, needs_all: bool = True
) -> list[Problem]:
    """What is wrong with a header whose rows can still be read.

    Raises Problems where a required column is missing, since every row would then say so again.
    """
    known = [*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, *PARAM_FIELDS]
    problems = [
        Problem(
            line, name, "a known column" + nearest(name, known, LABEL_PREFIX + name), repr(name)
        )
        for name in names
        if name not in known and not (name.startswith(LABEL_PREFIX) and name != LABEL_PREFIX)
    ]
    problems += [
        Problem(line, name, "each column once", f"{names.count(name)} of them")
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    missing = [
        Problem(line, name, "this column", "only " + ", ".join(map(repr, names)))
        for name in REQUIRED_COLUMNS
        if needs_all and names and name not in names
    ]
    if missing:
        raise Problems(*problems, *missing)
    return problems


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        found = f"the byte 0x{data[exc.start]:02x} at {exc.start}"
        raise Problems(Problem(None, None, "text in UTF-8", found)) from exc
