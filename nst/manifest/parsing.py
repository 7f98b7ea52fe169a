"""Manifest text -> jobs; every invalid row is reported.

It does no I/O except to follow the links of local paths; the caller passes the bytes and a function
that expands a glob.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, get_args

from pydantic import ValidationError

from nst.errors import ManifestError, Reason
from nst.job import (
    LABEL_PREFIX,
    PARAM_FIELDS,
    PARAMS_ADAPTER,
    SIZES,
    Init,
    Job,
    PictureParams,
    range_text,
)
from nst.manifest.access import Access, is_plain
from nst.manifest.cells import label_of
from nst.manifest.ids import SAFE_ID_RULE, Ids, id_of, is_safe_id
from nst.manifest.limits import MAX_CELL, MAX_LABELS, too_long
from nst.manifest.names import (
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    Reading,
    choice_of,
    column_of,
)
from nst.manifest.problems import Problem, Problems, nearest, shown
from nst.manifest.rows import Glob, is_given, read_rows, text_of
from nst.manifest.table import Cells, Row
from nst.profiles import DEFAULT_BACKBONE, PROFILES, layer_and_weight
from nst.redaction import redacted, secret_in
from nst.wording import counted

Resolve = Callable[[str], str]

# What an `init` may say that is not a picture.
_NAMED_INITS = tuple(name for name in get_args(Init) if name != "picture")

_REQUIRED_TEXT = {
    "content": "the path or URL of a picture",
    "style": "the path or URL of a picture, or several with | between them",
}

# The number of remembered values of each kind that rows may have in common.
_MAX_REMEMBERED = 20_000
_MAX_LISTED = 1000
_MAX_LISTED_OF_ROW = 20
_MAX_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row cannot be run."""

    reason: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """The jobs of a manifest, one for each row, in the order of the rows.

    Jobs whose id is in `refused` stand for invalid rows: they have no inputs, default parameters, and
    as much of the row's text as there is.
    """

    jobs: tuple[Job, ...]
    refused: Mapping[str, Refusal]
    # What was left out of the file, or may be meant otherwise than it was read.
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Earlier:
    """The number of rows in the files before this one, their ids, and the columns of their labels."""

    num_rows: int = 0
    ids: Ids = field(default_factory=Ids)
    labels: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Located:
    """An input as a URL that may be read, or what was expected instead."""

    uri: str
    objection: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """How what a manifest names is found, and what of it may be read.

    `resolve` turns a path as written into one to read, `full_pattern` a pattern into an absolute one,
    and `glob` a pattern into paths as if written. None is asked for what `access` objects to.
    `said` is what a path says in an id: where a manifest is files of several folders, the same text
    is another picture in each of them.
    """

    resolve: Resolve
    glob: Glob
    access: Access
    full_pattern: Resolve
    said: Resolve | None = None

    def located(self, reference: str) -> _Located:
        if not is_plain(reference):
            return _Located("", None)
        # As written, too: resolved, a `data:` URL is a path like any other.
        objection = self.access.objection_to_kind(reference)
        if objection:
            return _Located("", objection)
        uri = self.resolve(reference)
        return _Located(uri, self.access.objection(uri))

    def matches(self, pattern: str) -> Sequence[str]:
        """Raises Problems for a pattern that is not allowed."""
        expected = self.access.objection_to_kind(pattern)
        expected = expected or self.access.objection_to_pattern(self.full_pattern(pattern))
        if expected:
            raise Problems(Problem(None, None, expected, shown(pattern), "path_not_allowed"))
        return self.glob(pattern)


def parse(
    name: str,
    data: bytes,
    places: Places,
    *,
    overrides: Mapping[str, Any] | None = None,
    keep_going: bool = False,
    after: Earlier | None = None,
    reading: Reading | None = None,
) -> Parsed:
    """The jobs of the manifest file `name` with the bytes `data`, one per row and in its order.

    Where it is one of several files, `after` is what came before it, and goes on with it. `overrides`
    are picture parameters that stand over those of every row. `reading` says what else there is of
    columns. Raises ManifestError, which lists every problem, before anything is run; with `keep_going`
    only where the file as a whole is wrong, since rows that are wrong are then refused by themselves.
    """
    reading = reading or Reading()
    made = _Made(after or Earlier(), file=name if after else None, keep_going=keep_going)
    # Each once, since rows of a matrix share their cells.
    problems: dict[Problem, None] = {}
    try:
        reader = _Reader(places, parse_overrides(overrides or {}), reading)
        table = read_rows(name, data, places.matches, reading)
        problems |= dict.fromkeys(table.problems)
        for row in table.rows:
            problems |= dict.fromkeys(made.add(row, reader))
    except Problems as exc:
        problems |= dict.fromkeys(exc.problems)
    if problems:
        raise _refusal(name, sorted(problems, key=lambda problem: problem.line or 0))
    return Parsed(tuple(made.jobs), made.refused, tuple(reading.notes))


@dataclass(slots=True)
class _Made:
    """The jobs of a file so far, and those of them that are refused."""

    earlier: Earlier
    file: str | None
    keep_going: bool
    jobs: list[Job] = field(default_factory=list)
    refused: dict[str, Refusal] = field(default_factory=dict)

    def add(self, row: Row, reader: "_Reader") -> Sequence[Problem]:
        """The job of a row, or one that stands for it; returns what refuses the whole file."""
        self.earlier.num_rows += 1
        number = self.earlier.num_rows
        row = _bounded(row, self.earlier.labels)
        own_id = text_of(row.cells, "id")
        job = None
        problems: list[Problem] = []
        try:
            job = reader.job(number, row, own_id)
        except Problems as exc:
            problems += _in_their_lines(exc.problems, row)
        job_id = job.id if job else own_id
        clash = self._clash(job_id, row, is_own=own_id is not None)
        if job and not clash:
            self.jobs.append(job)
            return ()
        if not self.keep_going:
            return [*problems, *clash]
        if job_id is None or clash or not is_safe_id(job_id) or secret_in(job_id):
            job_id = self.earlier.ids.stand_in(number, row.cells)
        self.jobs.append(_stand_in(number, row, job_id))
        self.refused[job_id] = _row_refusal([*problems, *clash], self.file)
        return ()

    def _clash(self, job_id: str | None, row: Row, *, is_own: bool) -> Sequence[Problem]:
        if not job_id:
            return ()
        number = self.earlier.num_rows
        return self.earlier.ids.add(job_id, number, row.line, is_own=is_own, file=self.file)


def parse_overrides(values: Mapping[str, Any]) -> dict[str, Any]:
    """Validated picture parameters from `values`. Raises ManifestError for any other name or value."""
    known = list(PARAM_FIELDS)
    problems = [
        Problem(None, None, "a picture parameter" + _instead_of(field), shown(field))
        for field in values
        if field not in known
    ]
    init = values.get("init")
    if init == "picture" or (isinstance(init, str) and _is_picture(init)):
        expected = "one of " + ", ".join(_NAMED_INITS) + "; a picture is each row's own"
        problems.append(Problem(None, "init", expected, shown(init)))
        values = {name: value for name, value in values.items() if name != "init"}
    try:
        params = PARAMS_ADAPTER.validate_python({k: v for k, v in values.items() if k in known})
    except ValidationError as exc:
        problems += _value_problems(exc, None)
    if problems:
        raise _refusal("--set", problems)
    return {field: getattr(params, field) for field in values}


def _instead_of(field: str) -> str:
    """A hint for a message: what a field of `--set` may have meant."""
    column = column_of(field)
    if column in (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS) or column.startswith(LABEL_PREFIX):
        return ", of which each row may have its own; this is a column of the manifest alone"
    return nearest(field, PARAM_FIELDS)


def _in_their_lines(problems: Iterable[Problem], row: Row) -> Iterator[Problem]:
    """The problems of a row, each in the line in which its column stands."""
    return (replace(each, line=row.line_of(each.column)) for each in problems)


@dataclass(frozen=True, slots=True)
class _Settings:
    """The parameters of a row, those that it sets as JSON, and the picture that its `init` names.

    `problems` are those of every row that says the same, whatever its line.
    """

    params: PictureParams | None
    own: str
    start: str | None
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Written:
    """A cell that is not text, compared with others by how it is written.

    Equal values may be written differently (1, 1.0 and true; 0.0 and -0.0), and some cannot be hashed.
    """

    text: str
    value: Any = field(compare=False)


class _Reader:
    """Rows -> jobs. A value that rows share is read once, and is one object for all of them."""

    def __init__(self, places: Places, forced: Mapping[str, Any], reading: Reading) -> None:
        self._note = reading.note
        self._forced = forced
        remembered = lru_cache(maxsize=_MAX_REMEMBERED)
        self._locate = remembered(places.located)
        self._in_id = remembered(partial(_in_id, places.said)) if places.said else None
        self._shared: Callable[[Any], Any] = remembered(lambda value: value)
        self._styles = remembered(_styles)
        self._labels = remembered(_labels)
        self._settings = remembered(self._looked_at)

    def job(self, number: int, row: Row, own_id: str | None) -> Job:
        """The job of a row. Raises Problems."""
        if row.is_guess:
            raise Problems(*row.problems)
        cells, line = row.cells, row.line
        problems = [*row.problems, *_text_problems(cells, line)]
        texts = self._required(cells, line, problems)
        styles = self._styles(texts.get("style", ""))
        if "style" in texts and not styles:
            problems.append(Problem(line, "style", _REQUIRED_TEXT["style"], shown(texts["style"])))
        mask = text_of(cells, "mask")
        style_masks = _style_masks(cells, len(styles), line, problems)
        settings = self._settings_of(
            cells, texts.get("backbone", ""), len(styles), mask is not None
        )
        if settings.problems:
            problems += [replace(problem, line=line) for problem in settings.problems]
        if own_id is not None and not is_safe_id(own_id):
            problems.append(Problem(line, "id", SAFE_ID_RULE, shown(own_id)))

        def located(column: str, reference: str) -> str:
            found = self._locate(reference)
            if found.objection:
                expected, what = found.objection, shown(reference)
                problems.append(Problem(line, column, expected, what, "path_not_allowed"))
            return found.uri

        content = located("content", texts["content"]) if "content" in texts else ""
        style_uris = self._shared(tuple([located("style", style) for style in styles]))
        mask_uri = located("mask", mask) if mask else None
        style_mask_uris = tuple([uri and located("style_mask", uri) for uri in style_masks])
        style_mask = " | ".join(uri or "" for uri in style_masks) or None
        start = settings.start
        start_uri = located("init", start) if start else None
        params = settings.params
        if problems or params is None:
            raise Problems(*problems)
        starts_from_it = params.init == "picture"
        others = {"mask": mask, "start": start, "style_mask": style_mask}
        return Job(
            row=number,
            id=own_id or id_of(self._told(texts, others), settings.own),
            content=content,
            styles=style_uris,
            content_name=texts["content"],
            style_name=texts["style"],
            backbone=texts["backbone"],
            params=params,
            labels=self._labels(_label_items(cells)),
            mask=mask_uri,
            mask_name=mask,
            start=start_uri if starts_from_it else None,
            start_name=start if starts_from_it else None,
            style_masks=style_mask_uris,
            style_mask_name=style_mask,
        )

    def _told(self, texts: Mapping[str, str], others: Mapping[str, str | None]) -> dict[str, str]:
        """What an id is made of: the cells that are given, their paths as those of the whole manifest."""
        told = {**texts, **{column: text for column, text in others.items() if text is not None}}
        if self._in_id is None:
            return told
        return {column: self._in_id(column, text) for column, text in told.items()}

    def _required(self, cells: Cells, line: int | None, problems: list[Problem]) -> dict[str, str]:
        """Content, style and backbone as written; of what is missing or unknown, a problem instead."""
        texts: dict[str, str] = {}
        for column in REQUIRED_COLUMNS:
            value = cells.get(column)
            if column == "style":
                self._note_bars(value)
                value = _joined(value)
            text = value.strip() if isinstance(value, str) else ""
            if text:
                texts[column] = self._shared(text)
            else:
                problems.append(Problem(line, column, _REQUIRED_TEXT[column], shown(value)))
        value = cells["backbone"] if is_given(cells, "backbone") else DEFAULT_BACKBONE
        backbone = choice_of(value, PROFILES) if isinstance(value, str) else ""
        if backbone in PROFILES:
            texts["backbone"] = self._shared(backbone)
        else:
            expected = "one of " + ", ".join(PROFILES) + nearest(backbone, PROFILES)
            problems.append(Problem(line, "backbone", expected, shown(backbone or value)))
        return texts

    def _note_bars(self, style: object) -> None:
        for each in style if isinstance(style, list) else ():
            if isinstance(each, str) and "|" in each:
                self._note(f"{shown(each)} is several styles, in a list too: | is between them")

    def _settings_of(
        self, cells: Cells, backbone: str, num_styles: int, has_mask: bool
    ) -> _Settings:
        said: list[Any] = [backbone, num_styles, has_mask]
        for column, value in cells.items():
            if column in PARAM_FIELDS:
                is_text = isinstance(value, str)
                said += (column, value if is_text else _Written(repr(value), value))
        return self._settings(*said)

    def _looked_at(self, backbone: str, num_styles: int, has_mask: bool, *said: Any) -> _Settings:
        cells = {
            column: value.value if isinstance(value, _Written) else value
            for column, value in zip(said[::2], said[1::2], strict=True)
        }
        given = {name: cells[name] for name in PARAM_FIELDS if is_given(cells, name)}
        problems: list[Problem] = []
        if given.get("init") == "picture":
            expected = "one of " + ", ".join(_NAMED_INITS) + ", or the path or URL of a picture"
            problems.append(Problem(None, "init", expected, "'picture'"))
        start = _start(given)
        params, own = None, ""
        try:
            named = PARAMS_ADAPTER.validate_python(given)
            own = json.dumps({name: getattr(named, name) for name in given}, sort_keys=True)
            params = PARAMS_ADAPTER.validate_python({**given, **self._forced})
            if backbone in PROFILES:
                problems += _layer_problems(params, backbone, None)
            problems += _blend_problems(params, num_styles, has_mask, None)
        except ValidationError as exc:
            problems += _value_problems(exc, None)
        return _Settings(params, own, start, tuple(problems))


def _bounded(row: Row, labels: set[str]) -> Row:
    """The row; if its cells are too long, or its labels too many, with the start of the text alone.

    `labels` are those of the rows before it, to which its own are added.
    """
    starts: dict[str, Any] = {}
    problems = list(row.problems)
    for column, length in too_long(row.cells).items():
        value = row.cells[column]
        # Not cut through a credential, which is told by its end too.
        is_text = isinstance(value, str)
        starts[column] = redacted(value[:MAX_CELL])[:_MAX_KEPT] if is_text else None
        problems.append(
            Problem(row.line, column, f"at most {MAX_CELL:,} characters", f"{length:,}")
        )
    own = {c for c in row.cells if c.startswith(LABEL_PREFIX) and c not in labels}
    if len(labels) + len(own) > MAX_LABELS:
        starts |= dict.fromkeys(own)
        expected = f"at most {MAX_LABELS:,} columns of labels in all rows"
        problems.append(Problem(row.line, None, expected, f"{len(own)} more in this one"))
    else:
        labels |= own
    if not starts:
        return row
    cells = {column: starts.get(column, value) for column, value in row.cells.items()}
    return replace(row, cells=cells, problems=tuple(problems), is_guess=True)


def _styles(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split("|"))))


def _style_masks(
    cells: Cells, num_styles: int, line: int | None, problems: list[Problem]
) -> tuple[str | None, ...]:
    """The masks of the styles, None for one without; () if none has any, or with a problem added."""
    value = cells.get("style_mask")
    # Of a list, too, each may be several, as of styles.
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | None) for each in items):
        problems.append(Problem(line, "style_mask", _STYLE_MASK, shown(value)))
        return ()
    parts = tuple(part.strip() or None for each in items for part in (each or "").split("|"))
    if not any(parts):
        return ()
    # Without a style there is a problem already.
    if num_styles and len(parts) != num_styles:
        masks = counted(num_styles, "mask")
        expected = f"{masks}, one for each style with | between them, or nothing there"
        problems.append(Problem(line, "style_mask", expected, f"{len(parts)} in {shown(value)}"))
        return ()
    return parts


_STYLE_MASK = "the path or URL of a picture, or one for each style with | between them"


def _are_plain(cells: Cells) -> bool:
    texts: list[str] = []
    for value in cells.values():
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, list):
            texts += _texts(value)
    # All in one look: a million rows have many million cells.
    return is_plain("".join(texts))


# Their URLs are looked at one by one, by what may be read.
_REFERENCES = ("content", "style", "mask", "style_mask", "init")


def _secret_problems(cells: Cells, line: int | None) -> list[Problem]:
    """One for each cell that would bring a credential into the metadata, and into what shows it."""
    texts = {
        column: "\n".join(_texts(value))
        for column, value in cells.items()
        if column not in _REFERENCES
    }
    # All in one look, as above.
    if secret_in("\n".join(texts.values())) is None:
        return []
    return [
        Problem(line, column, _NO_SECRETS, f"{kind} in {shown(text)}")
        for column, text in texts.items()
        if (kind := secret_in(text)) is not None
    ]


_NO_SECRETS = "a text without credentials, since it would be written to the metadata; remove it"


def _label_items(cells: Cells) -> tuple[str, ...]:
    """Names and texts alternating."""
    items: list[str] = []
    for column, value in cells.items():
        text = label_of(value) if column.startswith(LABEL_PREFIX) else None
        if text is not None and text.strip():
            items += (column.removeprefix(LABEL_PREFIX), text)
    return tuple(items)


def _labels(items: tuple[str, ...]) -> Mapping[str, str]:
    """What `_label_items` returned, by name."""
    return dict(zip(items[::2], items[1::2], strict=True))


def _text_problems(cells: Cells, line: int | None) -> Iterator[Problem]:
    """What is wrong with the texts of a row, whatever they are for."""
    if text_of(cells, "mask") is not None and not isinstance(cells["mask"], str):
        yield Problem(line, "mask", "the path or URL of a picture", shown(cells["mask"]))
    if not _are_plain(cells):
        for column, value in cells.items():
            if not all(map(is_plain, _texts(value))):
                yield Problem(line, column, "text that UTF-8 can hold, without NUL", shown(value))
    yield from _secret_problems(cells, line)


def _stand_in(number: int, row: Row, job_id: str) -> Job:
    """The job of a refused row, with as much of its text as the metadata can hold."""

    def said(column: str) -> str:
        return _kept(text_of({column: _joined(row.cells.get(column))}, column) or "")

    start = said("init")
    labels = _labels(_label_items(row.cells))
    return Job(
        row=number,
        id=job_id,
        content="",
        styles=(),
        content_name=said("content"),
        style_name=said("style"),
        backbone=said("backbone") or DEFAULT_BACKBONE,
        params=PictureParams(),
        labels={redacted(name): _kept(text) for name, text in labels.items() if is_plain(name)},
        mask_name=said("mask") or None,
        start_name=start if _is_picture(start) else None,
        style_mask_name=said("style_mask") or None,
    )


def _kept(text: str) -> str:
    """A refused text as the metadata and the gallery may show it."""
    plain = text if is_plain(text) else ascii(text)[1:-1]
    return redacted(plain)[:_MAX_KEPT]


def _row_refusal(problems: Sequence[Problem], file: str | None) -> Refusal:
    is_access = any(problem.reason == "path_not_allowed" for problem in problems)
    said = ". ".join(map(str, problems[:_MAX_LISTED_OF_ROW]))
    if len(problems) > _MAX_LISTED_OF_ROW:
        said += f". And {len(problems) - _MAX_LISTED_OF_ROW} more problems"
    message = redacted(f"{file}: {said}" if file else said)
    return Refusal("path_not_allowed" if is_access else "bad_row", message)


def _joined(value: object) -> object:
    """Several styles as one text, as in a cell of a CSV."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return " | ".join(value)
    return value


def _texts(value: object) -> list[str]:
    """The texts of a cell, which may be a list of them."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, str)]


def _start(given: dict[str, Any]) -> str | None:
    """The picture that an `init` names, if any; `given["init"]` then becomes `picture`."""
    init = given.get("init")
    if not isinstance(init, str) or not _is_picture(init):
        return None
    given["init"] = "picture"
    return init.strip()


def _is_picture(init: str) -> bool:
    """Whether an `init` is a path, with a folder or a suffix; a single word is a misspelt choice."""
    return any(mark in init for mark in "/.")


def _in_id(said: Resolve, column: str, text: str) -> str:
    """A cell as an id tells it, each of its paths by what it says."""
    if column == "backbone":
        return text
    parts = text.split("|") if column in ("style", "style_mask") else [text]
    paths = [part.strip() for part in parts]
    told = [said(path) if path else "" for path in paths]
    # As it is written, unless it has a path that lies elsewhere in each folder.
    return text if told == paths else " | ".join(told)


def _blend_problems(
    params: PictureParams, num_styles: int, has_mask: bool, line: int | None
) -> list[Problem]:
    blend = params.style_blend
    if blend is None:
        return []
    if has_mask:
        expected = "no blend beside a mask, which says where each style paints"
    elif len(blend) != num_styles:
        expected = f"{num_styles} weights, one for each style"
    else:
        return []
    return [Problem(line, "style_blend", expected, shown(" ".join(map(str, blend))))]


def _layer_problems(params: PictureParams, backbone: str, line: int | None) -> list[Problem]:
    known = PROFILES[backbone].layers
    unknown = [
        (column, layer)
        for column, layers in (
            ("content_layers", params.content_layers),
            ("style_layers", params.style_layers),
        )
        for layer in dict.fromkeys(layer_and_weight(named)[0] for named in layers or ())
        if layer not in known
    ]
    expected = f"layers of {backbone}, {known[0]} to {known[-1]}"
    return [
        Problem(line, column, expected + _layer_meant(layer, known), shown(layer))
        for column, layer in unknown[:_MAX_LISTED_OF_ROW]
    ]


def _layer_meant(layer: str, known: Sequence[str]) -> str:
    """A hint for a message: the layer that other programs call so, or a similar one of the backbone."""
    found = _OF_A_VGG.fullmatch(layer)
    name = f"relu{found[1]}_{found[2]}" if found else layer
    if name in known:
        return f" (did you mean {name!r}?)"
    others = [each.name for each in PROFILES.values() if name in each.layers]
    return f" ({name!r} is one of {' and '.join(others)})" if others else nearest(layer, known)


# As Keras, Caffe and others write it.
_OF_A_VGG = re.compile(r"(?:block|conv|relu)?_?(\d)_?(?:conv|relu)?_?(\d)")


def _value_problems(error: ValidationError, line: int | None) -> list[Problem]:
    """Pydantic's findings in our words: what the column may have, where it has a type of its own."""
    return [
        Problem(line, column, _expected_of(column, detail), shown(detail["input"]))
        for detail in error.errors(include_url=False)
        if (column := str(detail["loc"][0]))
    ]


def _expected_of(column: str, detail: Any) -> str:
    schema, found = _SCHEMAS[column], detail["input"]
    if column == "size":
        return SIZES
    if "enum" in schema:
        choices = _NAMED_INITS if column == "init" else schema["enum"]
        more = ", or the path or URL of a picture" if column == "init" else ""
        near = nearest(found, choices) if isinstance(found, str) else ""
        return f"one of {', '.join(choices)}{more}{near}"
    kinds = {each.get("type") for each in schema.get("anyOf", [schema])}
    kind = next((_KINDS[each] for each in kinds if each in _KINDS), None)
    if detail["type"] == "weights":
        return str(detail["msg"])
    if kind is None:
        return _LISTS[column]
    point = found.strip().replace(",", ".") if isinstance(found, str) else ""
    near = f" (did you mean {point!r}?)" if "," in str(found) and _NUMBER.fullmatch(point) else ""
    return f"{kind} {range_text(schema).rstrip('.').lower()}{near}"


_SCHEMAS: Mapping[str, Any] = PARAMS_ADAPTER.json_schema()["properties"]
_LISTS = {
    "content_layers": "names of layers, with spaces between them",
    "style_layers": "names of layers, with spaces between them",
    "style_blend": "numbers from 0 to 1e+06, with spaces between them",
}
_KINDS = {"integer": "a whole number", "number": "a number"}
_NUMBER = re.compile(r"[+-]?\d+\.\d+")


def _refusal(name: str, problems: Sequence[Problem]) -> ManifestError:
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    lines = [f"  {problem}" for problem in problems[:_MAX_LISTED]]
    if len(problems) > _MAX_LISTED:
        lines.append(f"  and {len(problems) - _MAX_LISTED} more")
    listed = redacted("\n".join(lines))
    return ManifestError(f"{name}: refused with {count}, nothing was run\n{listed}")
