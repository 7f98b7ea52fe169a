"""Manifest text -> jobs, with every bad row named.

No I/O here but what the caller hands in: the bytes, and a way to expand a glob.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError

from nst.errors import ManifestError
from nst.ids import SAFE_ID_RULE, Ids, is_safe_id, made_id
from nst.job import LABEL_PREFIX, PARAM_FIELDS, PARAMS_ADAPTER, Init, Job, PictureParams
from nst.problems import Problem, Problems, nearest, shown
from nst.profiles import PROFILES
from nst.rows import REQUIRED_COLUMNS, Glob, Row, is_given, read_rows, text_of

Resolve = Callable[[str], str]

# What an `init` may say that is not a picture.
_NAMED_INITS = tuple(name for name in get_args(Init) if name != "picture")

_REQUIRED_TEXT = {
    "content": "the path or URL of a picture",
    "style": "the path or URL of a picture, or several with | between them",
    "backbone": "one of " + ", ".join(PROFILES),
}


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
        table = read_rows(name, data, glob)
    except Problems as exc:
        raise _refusal(name, exc.problems) from exc
    problems = list(table.problems)
    jobs: list[Job] = []
    ids = Ids()
    for number, row in enumerate(table.rows, start=1):
        own_id = text_of(row.cells, "id")
        try:
            job = _job(number, row, own_id, forced, resolve)
            jobs.append(job)
            problems += ids.add(job.id, number, row.line, is_own=own_id is not None)
        except Problems as exc:
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
        Problem(None, None, "a picture parameter" + nearest(field, known), repr(field))
        for field in values
        if field not in known
    ]
    if values.get("init") == "picture":
        expected = "one of " + ", ".join(_NAMED_INITS) + "; a picture is each row's own"
        problems.append(Problem(None, "init", expected, "'picture'"))
    try:
        params = PARAMS_ADAPTER.validate_python({k: v for k, v in values.items() if k in known})
    except ValidationError as exc:
        problems += _value_problems(exc, None)
    if problems:
        raise _refusal("--set", problems)
    return {field: getattr(params, field) for field in values}


def _job(
    number: int, row: Row, own_id: str | None, forced: Mapping[str, Any], resolve: Resolve
) -> Job:
    problems: list[Problem] = []
    texts = {}
    for column in REQUIRED_COLUMNS:
        value = _joined(row.cells.get(column)) if column == "style" else row.cells.get(column)
        if not isinstance(value, str) or not value.strip():
            problems.append(Problem(row.line, column, _REQUIRED_TEXT[column], shown(value)))
        else:
            texts[column] = value.strip()
    backbone = texts.get("backbone")
    if backbone is not None and backbone not in PROFILES:
        expected = "one of " + ", ".join(PROFILES) + nearest(backbone, PROFILES)
        problems.append(Problem(row.line, "backbone", expected, repr(backbone)))
    styles = tuple(filter(None, (part.strip() for part in texts.get("style", "").split("|"))))
    if "style" in texts and not styles:
        problems.append(Problem(row.line, "style", _REQUIRED_TEXT["style"], shown(texts["style"])))
    given = {f: row.cells[f] for f in PARAM_FIELDS if is_given(row.cells, f)}
    mask = text_of(row.cells, "mask")
    if given.get("init") == "picture":
        expected = "one of " + ", ".join(_NAMED_INITS) + ", or the path or URL of a picture"
        problems.append(Problem(row.line, "init", expected, "'picture'"))
    start = _start(given)
    params = None
    try:
        own = PARAMS_ADAPTER.validate_python(given)
        params = PARAMS_ADAPTER.validate_python({**given, **forced})
        if backbone in PROFILES:
            problems += _layer_problems(params, str(backbone), row.line)
        problems += _blend_problems(params, len(styles), mask, row.line)
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
        raise Problems(*problems)
    labels = {
        column.removeprefix(LABEL_PREFIX): str(value)
        for column, value in row.cells.items()
        if column.startswith(LABEL_PREFIX) and is_given(row.cells, column)
    }
    return Job(
        row=number,
        id=own_id
        or made_id(texts | _said(mask=mask, start=start), {f: getattr(own, f) for f in given}),
        content=resolve(texts["content"]),
        styles=tuple(map(resolve, styles)),
        content_name=texts["content"],
        style_name=texts["style"],
        backbone=texts["backbone"],
        params=params,
        labels=labels,
        mask=resolve(mask) if mask else None,
        mask_name=mask,
        start=resolve(start) if start and params.init == "picture" else None,
        start_name=start if params.init == "picture" else None,
    )


def _joined(value: object) -> object:
    """Several styles as one text, which is how a cell of a CSV has them."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
        return " | ".join(value)
    return value


def _start(given: dict[str, Any]) -> str | None:
    """The picture that an `init` names; in `given` it is then said to be one."""
    init = given.get("init")
    # A path has a folder or a suffix; a lone word is a slip of the pen.
    if not isinstance(init, str) or not any(mark in init.strip() for mark in "/."):
        return None
    given["init"] = "picture"
    return init.strip()


def _said(**texts: str | None) -> dict[str, str]:
    return {name: text for name, text in texts.items() if text is not None}


def _blend_problems(
    params: PictureParams, num_styles: int, mask: str | None, line: int | None
) -> list[Problem]:
    blend = params.style_blend
    if blend is None:
        return []
    if mask is not None:
        expected = "no blend beside a mask, which says where each style paints"
    elif len(blend) != num_styles:
        expected = f"{num_styles} weights, one for each style"
    else:
        return []
    return [Problem(line, "style_blend", expected, shown(" ".join(map(str, blend))))]


def _layer_problems(params: PictureParams, backbone: str, line: int | None) -> list[Problem]:
    known = PROFILES[backbone].layers
    return [
        Problem(line, column, f"layers of {backbone}" + nearest(layer, known), repr(layer))
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
            shown(detail["input"]),
        )
        for detail in error.errors(include_url=False)
    ]


def _is_utf_8(text: str) -> bool:
    """Not so for half of a surrogate pair, which JSON can spell and nothing can write."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _refusal(name: str, problems: Sequence[Problem]) -> ManifestError:
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    lines = "\n".join(f"  {problem}" for problem in problems)
    return ManifestError(f"{name}: refused with {count}, nothing was run\n{lines}")
