"""Manifest text -> jobs, with every bad row named; the formats, the columns, the ids.

No I/O here but what the caller hands in: the bytes, and a way to expand a glob.
"""

import csv
import hashlib
import io
import itertools
import json
import math
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote

import yaml
from pydantic import ValidationError

from nst import tables
from nst.errors import ManifestError
from nst.job import LABEL_PREFIX, PARAM_FIELDS, PARAMS_ADAPTER, Job, PictureParams
from nst.profiles import PROFILES

REQUIRED_COLUMNS = {
    "content": "Picture to repaint: a path relative to the manifest, or a URL.",
    "style": "Picture whose style to use: a path relative to the manifest, or a URL.",
    "backbone": "Network whose features decide: " + ", ".join(PROFILES) + ".",
}
_REQUIRED_TEXT = {
    "content": "the path or URL of a picture",
    "style": "the path or URL of a picture",
    "backbone": "one of " + ", ".join(PROFILES),
}
ID_COLUMN = {
    "id": "Name of the picture's file: letters, digits, `.`, `_`, `-`; made from the row if empty."
}

Cells = Mapping[str, Any]
Resolve = Callable[[str], str]
Glob = Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a manifest: where, what was expected, what was found."""

    line: int | None
    column: str | None
    expected: str
    found: str

    def __str__(self) -> str:
        places = []
        if self.line is not None:
            places.append(f"line {self.line}")
        if self.column is not None:
            places.append(f"column {self.column!r}")
        where = ", ".join(places)
        return f"{where + ': ' if where else ''}expected {self.expected}; found {self.found}"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row as the file has it: its line, or None where the format has no lines, and its cells."""

    line: int | None
    cells: Cells


@dataclass(frozen=True, slots=True)
class _Table:
    """The rows of a file, and what is wrong with it that does not keep the rows from being read."""

    rows: Sequence[_Row]
    problems: Sequence[Problem]


class _Problems(Exception):
    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = problems


def parse(
    name: str,
    data: bytes,
    *,
    resolve: Resolve,
    glob: Glob,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[Job, ...]:
    """The jobs of the manifest file `name` with the bytes `data`, one per row and in its order.

    `resolve` turns a path as written into one to read, `glob` a pattern into paths as if written.
    `overrides` are picture parameters that stand over those of every row.
    Raises ManifestError, which lists every problem, before anything is run.
    """
    try:
        forced = parse_overrides(overrides or {})
        table = _READERS[_suffix(name)](data, glob)
    except _Problems as exc:
        raise _refusal(name, exc.problems) from exc
    problems = list(table.problems)
    jobs: list[Job] = []
    ids = _Ids()
    for number, row in enumerate(table.rows, start=1):
        own_id = _text_of(row.cells, "id")
        try:
            job = _job(number, row, own_id, forced, resolve)
            jobs.append(job)
            problems += ids.add(job.id, number, row.line, is_own=own_id is not None)
        except _Problems as exc:
            problems += exc.problems
            if own_id is not None:
                problems += ids.add(own_id, number, row.line, is_own=True)
    if problems:
        raise _refusal(name, sorted(problems, key=lambda problem: problem.line or 0))
    return tuple(jobs)


def parse_overrides(values: Mapping[str, Any]) -> dict[str, Any]:
    """The picture parameters among `values`, validated. Raises ManifestError for one that is not."""
    known = list(PARAM_FIELDS)
    problems = [
        Problem(None, None, "a picture parameter" + _nearest(field, known), repr(field))
        for field in values
        if field not in known
    ]
    try:
        params = PARAMS_ADAPTER.validate_python({k: v for k, v in values.items() if k in known})
    except ValidationError as exc:
        problems += _value_problems(exc, None)
    if problems:
        raise _refusal("--set", problems)
    return {field: getattr(params, field) for field in values}


def _job(
    number: int, row: _Row, own_id: str | None, forced: Mapping[str, Any], resolve: Resolve
) -> Job:
    problems: list[Problem] = []
    texts = {}
    for column in REQUIRED_COLUMNS:
        value = row.cells.get(column)
        if not isinstance(value, str) or not value.strip():
            problems.append(Problem(row.line, column, _REQUIRED_TEXT[column], _shown(value)))
        else:
            texts[column] = value.strip()
    backbone = texts.get("backbone")
    if backbone is not None and backbone not in PROFILES:
        expected = "one of " + ", ".join(PROFILES) + _nearest(backbone, PROFILES)
        problems.append(Problem(row.line, "backbone", expected, repr(backbone)))
    given = {f: row.cells[f] for f in PARAM_FIELDS if _given(row.cells, f)}
    params = None
    try:
        own = PARAMS_ADAPTER.validate_python(given)
        params = PARAMS_ADAPTER.validate_python({**given, **forced})
        if backbone in PROFILES:
            problems += _layer_problems(params, str(backbone), row.line)
    except ValidationError as exc:
        problems += _value_problems(exc, row.line)
    problems += [
        Problem(row.line, column, "text that UTF-8 can hold", ascii(value))
        for column, value in row.cells.items()
        if isinstance(value, str) and not _is_utf_8(value)
    ]
    if own_id is not None and not is_safe_id(own_id):
        problems.append(Problem(row.line, "id", SAFE_ID_RULE, repr(own_id)))
    if problems or params is None:
        raise _Problems(*problems)
    labels = {
        column.removeprefix(LABEL_PREFIX): str(value)
        for column, value in row.cells.items()
        if column.startswith(LABEL_PREFIX) and _given(row.cells, column)
    }
    return Job(
        row=number,
        id=own_id or _made_id(texts, {f: getattr(own, f) for f in given}),
        content=resolve(texts["content"]),
        style=resolve(texts["style"]),
        content_name=texts["content"],
        style_name=texts["style"],
        backbone=texts["backbone"],
        params=params,
        labels=labels,
    )


def _layer_problems(params: PictureParams, backbone: str, line: int | None) -> list[Problem]:
    known = PROFILES[backbone].layers
    return [
        Problem(line, column, f"layers of {backbone}" + _nearest(layer, known), repr(layer))
        for column, layers in (
            ("content_layers", params.content_layers),
            ("style_layers", params.style_layers),
        )
        for layer in layers or ()
        if layer not in known
    ]


def _value_problems(error: ValidationError, line: int | None) -> list[Problem]:
    """Pydantic's findings in our words: "Input should be greater than 1" -> "greater than 1"."""
    return [
        Problem(
            line,
            str(detail["loc"][0]),
            detail["msg"].removeprefix("Input should be ").rstrip("."),
            _shown(detail["input"]),
        )
        for detail in error.errors(include_url=False)
    ]


# Ids


SAFE_ID_RULE = (
    "an id of at most 100 letters, digits, '.', '_' and '-', that begins with a letter or digit, "
    "does not end in '.', and is no name that Windows reserves"
)
_SAFE_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_safe_id(text: str) -> bool:
    """Whether `text` names a file on every system, and a URL's last part without escapes."""
    return bool(_SAFE_ID.fullmatch(text)) and not _RESERVED.fullmatch(text)


def _made_id(texts: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """A readable id that depends on nothing but what this row says.

    Not on other rows, on defaults or on --set, so it stays the same across runs; the digest tells
    rows apart whose names look alike.
    """
    parts = [_slug(texts["content"]), _slug(texts["style"]), texts["backbone"]]
    written = json.dumps([texts, given], sort_keys=True)
    digest = hashlib.sha256(written.encode()).hexdigest()[:8]
    return "-".join([*parts, digest])


def _slug(reference: str) -> str:
    stem = posixpath.splitext(posixpath.basename(unquote(reference).rstrip("/")))[0]
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:32].rstrip("-") or "picture"


class _Ids:
    """The ids so far, compared without case since some filesystems do so.

    Rows without an id of their own that say the same share one picture, which is no problem.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, bool]] = {}

    def add(self, text: str, number: int, line: int | None, *, is_own: bool) -> list[Problem]:
        here = f"line {line}" if line is not None else f"row {number}"
        first, was_own = self._seen.setdefault(text.casefold(), (here, is_own))
        if first == here or not (is_own or was_own):
            return []
        return [Problem(line, "id", f"an id that {first} does not have", repr(text))]


# Readers: bytes -> rows


def _read_csv(data: bytes, _: Glob) -> _Table:
    # strict: a quote that is never closed would otherwise swallow the rest of the file.
    reader = csv.reader(io.StringIO(_text(data), newline=""), strict=True)
    rows = []
    try:
        header = next((cells for cells in reader if cells), [])
        problems = _column_problems(header, line=reader.line_num)
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(header):
                rows.append(_Row(line, dict(zip(header, cells, strict=True))))
            elif cells:
                expected = f"{len(header)} cells as in the header"
                problems.append(Problem(line, None, expected, str(len(cells))))
            line = reader.line_num + 1
    except csv.Error as exc:
        raise _Problems(Problem(reader.line_num, None, "CSV", str(exc))) from exc
    return _Table(rows, problems)


def _read_jsonl(data: bytes, _: Glob) -> _Table:
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
            rows.append(_Row(line, cells))
        except (ValueError, RecursionError) as exc:
            problems.append(Problem(line, None, "a JSON object", str(exc)))
    return _Table(rows, problems)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    cells = dict(pairs)
    if len(cells) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} twice")
    return cells


def _read_parquet(data: bytes, _: Glob) -> _Table:
    try:
        problems = _column_problems(tables.parquet_columns(data), line=None)
        rows = tables.read_parquet(data)
    except tables.TableError as exc:
        raise _Problems(Problem(None, None, "a Parquet file", str(exc))) from exc
    return _Table([_Row(number, cells) for number, cells in enumerate(rows, start=1)], problems)


def _read_matrix(data: bytes, glob: Glob) -> _Table:
    """A YAML mapping of column to value or list of values -> the rows of their product.

    Every value is taken as the text that stands there, as a CSV cell is: YAML would make a truth
    value of `no`, and 90 of `1:30`.
    """
    try:
        root = yaml.compose(_text(data), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as exc:
        raise _Problems(Problem(None, None, "YAML", " ".join(str(exc).split()))) from exc
    if root is None:
        return _Table([], [])
    if not isinstance(root, yaml.MappingNode):
        raise _Problems(Problem(1, None, "a mapping of columns to lists", _yaml_kind(root)))
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
        raise _Problems(Problem(None, None, expected, f"{num_rows}"))
    rows = [
        _Row(max(line for line, _ in combination), _cells(axes, combination))
        for combination in itertools.product(*axes.values())
    ]
    return _Table(rows, problems)


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
            raise _Problems(Problem(line, None, "a value or a list of values", _yaml_kind(item)))
        if item.tag != "tag:yaml.org,2002:str":
            raise _Problems(Problem(line, None, "YAML without tags", repr(item.tag)))
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
        raise _Problems(Problem(line, column, "a pattern that some file matches", repr(value)))
    yield from ((line, match) for match in matches)


def _is_glob(text: str) -> bool:
    return any(c in text for c in "*?[")


_READERS: dict[str, Callable[[bytes, Glob], _Table]] = {
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".yaml": _read_matrix,
    ".yml": _read_matrix,
}


def _suffix(name: str) -> str:
    suffix = posixpath.splitext(name)[1].lower()
    if suffix not in _READERS:
        raise _Problems(
            Problem(None, None, "a manifest that ends in " + ", ".join(_READERS), repr(name))
        )
    return suffix


def _column_problems(
    names: Sequence[str], *, line: int | None, needs_all: bool = True
) -> list[Problem]:
    """What is wrong with a header whose rows can still be read.

    Raises _Problems where a required column is missing, since every row would then say so again.
    """
    known = [*REQUIRED_COLUMNS, *ID_COLUMN, *PARAM_FIELDS]
    problems = [
        Problem(
            line, name, "a known column" + _nearest(name, known, LABEL_PREFIX + name), repr(name)
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
        raise _Problems(*problems, *missing)
    return problems


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        found = f"the byte 0x{data[exc.start]:02x} at {exc.start}"
        raise _Problems(Problem(None, None, "text in UTF-8", found)) from exc


# Words


def _text_of(cells: Cells, column: str) -> str | None:
    return str(cells[column]).strip() if _given(cells, column) else None


def _given(cells: Cells, column: str) -> bool:
    """Whether the row says anything here: an empty cell and a null do not."""
    value = cells.get(column)
    return value is not None and not (isinstance(value, str) and not value.strip())


def _is_utf_8(text: str) -> bool:
    """Not so for half of a surrogate pair, which JSON can spell and nothing can write."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _shown(value: object) -> str:
    if value is None or value == "":
        return "nothing"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(name: str, known: Sequence[str] | Mapping[str, Any], label: str | None = None) -> str:
    near = get_close_matches(name, list(known), n=1)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (a column of your own is called {label!r})" if label else ""


def _refusal(name: str, problems: Sequence[Problem]) -> ManifestError:
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    lines = "\n".join(f"  {problem}" for problem in problems)
    return ManifestError(f"{name}: refused with {count}, nothing was run\n{lines}")
