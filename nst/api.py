"""What Python code may call: a picture, a run, a plan, and what a run has left; docs/API.md.

Exported from `nst`. A thin translation to the steps of a run, as the command line is.
"""

import inspect
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import cached_property, partial
from io import BytesIO
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from nst import output as outputs
from nst import pipeline, storage
from nst.errors import (
    ConfigError,
    ManifestError,
    error_of,
)
from nst.manifest import LEFT_OUT, Reading, cell_of
from nst.output import Outcome, Record
from nst.planning import Plan
from nst.profiles import DEFAULT_BACKBONE
from nst.redaction import redacted, secret_in_url
from nst.running import Listener, NoListener, RunReport
from nst.settings import DEFAULT_SCHEMES, SETTING_FIELDS, RunSettings, default_of, settings_of
from nst.starting import manifest_uri, painted
from nst.storage import TableError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    import pyarrow as pa
    from numpy.typing import NDArray

_Text: TypeAlias = "str | os.PathLike[str]"
_Picture: TypeAlias = "_Text | PIL.Image.Image | NDArray[np.uint8]"
# A path or URL, rows, or a table of pyarrow, pandas or Polars.
_Manifest: TypeAlias = "_Text | Iterable[Mapping[str, Any]] | pa.Table | Any"

# The rows of a run that were given as such, in its output.
MANIFEST = "manifest.jsonl"

_log = logging.getLogger(__name__)

_F = TypeVar("_F", bound=Callable[..., Any])


def _with_settings(function: _F) -> _F:
    """The function, whose signature has each setting of a run in place of `**settings`."""
    own = list(inspect.signature(function).parameters.values())[:-1]
    settings = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default_of(name),
            annotation=field.annotation,
        )
        for name, field in SETTING_FIELDS.items()
    ]
    function.__signature__ = inspect.Signature([*own, *settings])  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True, slots=True, kw_only=True)
class Stylization:
    """A picture that was made, and all that is known of it: the columns of the metadata."""

    image: "PIL.Image.Image"
    outcome: Outcome

    @property
    def losses(self) -> Mapping[str, float]:
        """The losses of this picture, unitless, by their names: `total` is what was minimised."""
        from nst.painting import LOSS_NAMES

        return {name: getattr(self.outcome, f"{name}_loss") for name in LOSS_NAMES}

    @property
    def measures(self) -> Mapping[str, float | None]:
        """What it came out like beside its content and styles; docs/OUTPUT.md says what each means."""
        from nst.painting import Measures

        return {each.name: getattr(self.outcome, each.name) for each in fields(Measures)}


def stylize(
    content: "_Picture",
    style: "_Picture | Sequence[_Picture]",
    backbone: str = DEFAULT_BACKBONE,
    size: int = 512,
    *,
    mask: "_Picture | None" = None,
    style_mask: "_Picture | Sequence[_Picture | None] | None" = None,
    device: str = "auto",
    weights: Mapping[str, "_Text"] | None = None,
    **picture_parameters: Any,
) -> Stylization:
    """One picture, painted in this process; the same that a run would make of such a row.

    Pictures are paths, URLs, PIL images or arrays of H x W x 3 uint8; several styles are a list, and
    so are their masks, with None for a style that is used whole.
    Parameters are those of `PictureParams`. Raises ManifestError for one that cannot be, and
    ImageError, StorageError, WeightsError or another NSTError for what keeps it from being made.
    """
    styles = _each_picture("style", style)
    style_masks = _each_picture("style_mask", style_mask)
    given = {"content": content}
    if mask is not None:
        given["mask"] = mask
    # None says nothing, as for every other parameter.
    if not isinstance(picture_parameters.get("init"), str | None):
        given["init"] = picture_parameters.pop("init")
    parameters = {"backbone": backbone, "size": size, **picture_parameters}
    row = _with_absolute_paths(_cells(parameters, Reading()))
    with TemporaryDirectory(prefix="nst-") as folder:
        row |= {name: _picture_uri(each, f"{folder}/{name}.png") for name, each in given.items()}
        row["style"] = [
            _picture_uri(each, f"{folder}/style-{number}.png")
            for number, each in enumerate(styles, start=1)
        ]
        if style_mask is not None:
            row["style_mask"] = [
                "" if each is None else _picture_uri(each, f"{folder}/style_mask-{number}.png")
                for number, each in enumerate(style_masks, start=1)
            ]
        manifest = f"{folder}/stylize.jsonl"
        storage.write_bytes(manifest, _json_lines([row]))
        # Who calls this has named each URL; of the rows of a manifest it need not have been them.
        uris = [row["content"], *row["style"], *row.get("style_mask", ())]
        uris += [row.get("mask", ""), str(row.get("init", ""))]
        schemes = {uri.partition("://")[0] for uri in uris if "://" in uri}
        settings = _settings(
            f"{folder}/out",
            {
                "device": device,
                "weights": weights,
                "schemes": (*DEFAULT_SCHEMES, *sorted(schemes - {*DEFAULT_SCHEMES})),
                "isolate": False,
            },
        )
        pipeline.check(manifest, settings)
        outcome = _made(pipeline.make_plan(manifest, settings), settings)
        assert outcome.picture is not None
        image = _image(storage.join(settings.output, outcome.picture))
    return Stylization(image=image, outcome=outcome)


@_with_settings
def run(
    manifest: "_Manifest",
    output: "_Text",
    *,
    listener: Listener | None = None,
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> RunReport:
    """Make every picture of a manifest that the output does not have, its metadata and gallery.

    The manifest is a path or URL, rows as mappings, or a table of pyarrow, pandas or Polars; rows and
    tables are kept in the output as `manifest.jsonl`, with which the run can be repeated. Paths in
    them are relative to the working folder. `overrides` are picture parameters over those of every
    row; `settings` are the fields of `RunSettings`. The listener is told how the run gets on.

    Raises ManifestError and ConfigError before anything is made. Rows that fail are in the report.
    """
    chosen = _settings(output, settings)
    _check_overrides(overrides)
    _check_listener(listener)
    uri = _manifest_of(manifest)
    if uri is not None:
        pipeline.check(uri, chosen)
        return pipeline.run_manifest(uri, chosen, overrides, listener)
    kept = storage.join(chosen.output, MANIFEST)
    with _in_a_file(_json_lines(_rows(manifest))) as file:
        pipeline.check(kept, chosen)
        return pipeline.run_manifest(file, chosen, overrides, listener, kept_as=kept)


@_with_settings
def plan(
    manifest: "_Manifest",
    output: "_Text | None" = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Plan:
    """What `run` would make of the same, in which groups, and what cannot be made; makes nothing.

    Without an output it plans for an empty one. Raises what `run` raises before it begins.
    """
    # Where nothing is looked for.
    chosen = _settings("-" if output is None else output, settings)
    _check_overrides(overrides)
    made = partial(
        pipeline.make_plan,
        settings=chosen,
        overrides=overrides,
        download=False,
        resume=output is not None,
    )
    uri = _manifest_of(manifest)
    if uri is not None:
        return made(uri)
    kept = storage.join(chosen.output, MANIFEST)
    with _in_a_file(_json_lines(_rows(manifest))) as file:
        return made(file, kept_as=kept)


class Output:
    """What a run has left: read when it is first asked for, and once."""

    def __init__(self, url: str) -> None:
        self.url = url

    @cached_property
    def metadata(self) -> "pa.Table":
        """A row for each of the manifest's, with the columns of docs/OUTPUT.md, as a pyarrow table."""
        data = outputs.read_table(self.url, BytesIO()).getvalue()
        try:
            return storage.arrow_table(data)
        except TableError as exc:
            raise ConfigError(
                f"{storage.join(self.url, outputs.METADATA)}: expected the metadata of a run, found "
                f"{exc}"
            ) from exc

    @cached_property
    def records(self) -> Sequence[Record]:
        """The same as records."""
        return tuple(outputs.read_metadata(self.url))

    @cached_property
    def report(self) -> Mapping[str, Any]:
        """What was run, with which settings and versions, and how it ended: run.json."""
        return outputs.read_account(self.url) or {}

    def picture(self, id: str) -> "PIL.Image.Image":
        """The picture of a row. Raises ConfigError where there is no such row or it has none."""
        if not isinstance(id, str) or id not in self._pictures:
            raise ConfigError(f"{self.url}: expected the id of a row of its run; found {id!r}")
        path = self._pictures[id]
        if path is None:
            raise ConfigError(
                f"{self.url}: expected a row that has its picture; found {id!r}, which failed"
            )
        return _image(storage.join(self.url, path))

    @cached_property
    def _pictures(self) -> Mapping[str, str | None]:
        columns = ["id", "picture"]
        missing = [name for name in columns if name not in self.metadata.column_names]
        if missing:
            raise ConfigError(
                f"{storage.join(self.url, outputs.METADATA)}: expected the metadata of a run, found "
                f"no column {missing[0]!r}"
            )
        rows = self.metadata.select(columns).to_pylist()
        # Manifests may share an id, for which one of them may have failed.
        rows.sort(key=lambda row: row["picture"] is not None)
        return {row["id"]: row["picture"] for row in rows}


def open(output: "_Text") -> Output:
    """The output of a run. Raises ConfigError where there is none."""
    found = Output(output_url(output))
    if not storage.exists(storage.join(found.url, outputs.METADATA)):
        raise ConfigError(
            f"{found.url}: expected the output of a run, found no {outputs.METADATA} in it"
        )
    return found


def _settings(output: "_Text", given: Mapping[str, Any]) -> RunSettings:
    return settings_of(output_url(output), given, absolute=storage.absolute)


def output_url(output: Any) -> str:
    """An output in any working folder.

    Raises ConfigError for what is neither path nor URL, and for a URL with credentials.
    """
    path = os.fspath(output) if isinstance(output, os.PathLike) else output
    if not isinstance(path, str):
        raise ConfigError(f"output: expected a path or a URL; found {type(output).__name__}")
    if secret_in_url(path):
        raise ConfigError(
            "output: expected a URL without credentials, which come from the environment; found "
            f"{redacted(path)!r}"
        )
    return storage.absolute(path)


def _check_overrides(overrides: Any) -> None:
    if overrides is None:
        return
    if not isinstance(overrides, Mapping):
        raise ConfigError(
            "overrides: expected a mapping from picture parameters to values; found "
            f"{type(overrides).__name__}"
        )
    for name in overrides:
        if not isinstance(name, str):
            raise ConfigError(f"overrides: expected names of picture parameters; found {name!r}")


def _check_listener(listener: Any) -> None:
    """Raises ConfigError for what lacks a method, before a run of hours asks for it."""
    methods = [name for name in vars(NoListener) if not name.startswith("_")]
    missing = [name for name in methods if not callable(getattr(listener, name, None))]
    if listener is not None and missing:
        raise ConfigError(
            "listener: expected the methods of nst.Listener, which nst.NoListener has; found "
            f"{type(listener).__name__} without {', '.join(missing)}"
        )


def _image(uri: str) -> "PIL.Image.Image":
    from nst.pictures import exchange

    return exchange.image_of(storage.read_bytes(uri), name=uri)


def _each_picture(name: str, given: Any) -> Sequence[Any]:
    """One picture or several as several. Raises ConfigError for a text that would be several."""
    pictures: Sequence[Any] = given if isinstance(given, list | tuple) else [given]
    for each in pictures:
        if isinstance(each, str | os.PathLike) and "|" in os.fspath(each):
            raise ConfigError(
                f"{name}: expected a path or a URL without '|', which stands between several in a "
                f"manifest; found {redacted(os.fspath(each))!r}; give several as a list"
            )
    return pictures


def _picture_uri(given: Any, path: str) -> str:
    """Where a picture can be read; one that is in memory is written to `path`."""
    if isinstance(given, str | os.PathLike):
        return storage.absolute(os.fspath(given))
    from nst.pictures import exchange

    name = os.path.basename(path).removesuffix(".png")
    data = exchange.png_of(given, name=name)
    if data is None:
        raise ConfigError(
            f"{name}: expected a path, a URL, a PIL image or an array of H x W x 3 uint8; found "
            f"{type(given).__name__}"
        )
    storage.write_bytes(path, data)
    return path


def _made(plan: Plan, settings: RunSettings) -> Outcome:
    """The outcome of a plan of one picture. Raises an NSTError where it cannot be made."""
    outcome = painted(plan, settings)
    if outcome.status == "failed":
        raise error_of(outcome.reason or "group_failed", outcome.error or "it was not made")
    return outcome


def _manifest_of(manifest: Any) -> str | None:
    """A manifest's URL, or None for one that is in memory."""
    return manifest_uri(os.fspath(manifest)) if isinstance(manifest, str | os.PathLike) else None


def _rows(manifest: Any) -> list[Mapping[str, Any]]:
    """The rows of a manifest in memory. Raises ManifestError for what has none."""
    is_table = True
    if hasattr(manifest, "to_batches"):  # pyarrow
        found = _of_arrow(storage.rows_of_table, manifest)
    elif hasattr(manifest, "to_pylist"):
        found = manifest.to_pylist()
    elif hasattr(manifest, "to_arrow"):  # Polars
        found = _of_arrow(storage.rows_of_table, manifest.to_arrow())
    elif hasattr(manifest, "to_dict"):  # pandas
        found = manifest.to_dict(orient="records")
    elif hasattr(manifest, "__dataframe__"):
        found = _of_arrow(storage.rows_of_frame, manifest)
    elif isinstance(manifest, Iterable) and not isinstance(manifest, Mapping | bytes):
        found, is_table = manifest, False
    else:
        raise ManifestError(f"{_EXPECTED_ROWS}; found {type(manifest).__name__}")
    rows = list(found)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise ManifestError(f"{_EXPECTED_ROWS}; found {type(row).__name__} as row {number}")
    reading = Reading()
    cells = [_with_absolute_paths(_cells(row, reading)) for row in rows]
    for note in reading.notes:
        _log.warning("manifest: %s", note)
    # A row of a table that has nothing in it is one that a spreadsheet had below its last.
    return [row for row in cells if row or not is_table]


def _of_arrow(rows_of: Callable[[Any], list[dict[str, Any]]], table: Any) -> Any:
    try:
        return rows_of(table)
    except TableError as exc:
        raise ManifestError(f"manifest: {exc}") from exc


_EXPECTED_ROWS = (
    "manifest: expected a path, a URL, a list of rows, each a mapping from columns to values, or a "
    "table of pyarrow, pandas or Polars"
)


def _cells(row: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """A row as JSON has it, under the names that columns have. What is nothing, as NaN, is left out."""
    cells: dict[str, Any] = {}
    for name, value in row.items():
        (column,) = reading.columns([str(name)])
        cell = None if column == LEFT_OUT else _cell(column, value)
        if cell is None:
            continue
        if column in cells:
            raise ManifestError(f"column {column!r}: expected it once; found {name!r} beside it")
        cells[column] = cell
    return cells


def _cell(column: str, value: Any) -> Any:
    cell = cell_of(column, value)
    for each in cell if isinstance(cell, list) else [cell]:
        if each is not None and not isinstance(each, str | int | float | list):
            raise ManifestError(
                f"column {column!r}: expected text, a number or a list of them; found "
                f"{type(each).__name__}"
            )
    return cell


def _with_absolute_paths(cells: Mapping[str, Any]) -> dict[str, Any]:
    """A row that means the same in a manifest that lies elsewhere."""
    found = dict(cells)
    for column in ("content", "mask"):
        if isinstance(found.get(column), str) and found[column].strip():
            found[column] = storage.absolute(found[column].strip())
    for column in ("style", "style_mask"):
        several = found.get(column)
        if not isinstance(several, str | list):
            continue
        # As a manifest has it: of a list, too, each may be several.
        parts = [
            part
            for each in ([several] if isinstance(several, str) else several)
            for part in (each.split("|") if isinstance(each, str) else [each])
        ]
        found[column] = [
            storage.absolute(each.strip()) if isinstance(each, str) and each.strip() else each
            for each in parts
        ]
    init = found.get("init")
    # As a manifest has it: a path has a folder or a suffix.
    if isinstance(init, str) and any(mark in init for mark in "/."):
        found["init"] = storage.absolute(init.strip())
    return found


@contextmanager
def _in_a_file(data: bytes) -> Iterator[str]:
    """A manifest where it can be read for a while."""
    with TemporaryDirectory(prefix="nst-") as folder:
        path = f"{folder}/{MANIFEST}"
        storage.write_bytes(path, data)
        yield path


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()
