"""Ids that rows of other manifests have in the output, of which each can have one picture only."""

import hashlib
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from nst import __version__, output, storage
from nst.errors import ManifestError, NSTError, ends_the_run
from nst.iterables import in_chunks
from nst.job import PARAM_FIELDS, Job, params_dict
from nst.manifest import Refusal, Rows
from nst.output import OUTCOME_COLUMNS, PARAM_COLUMNS, ROW_COLUMNS, OtherRows
from nst.pictures import images
from nst.settings import RunSettings
from nst.storage import RowReader, ScratchFile, TableError, find, is_pattern
from nst.wording import counted

_ROWS_AT_ONCE = 10_000
_MAX_LISTED = 20
_MAX_REMEMBERED = 20_000

_TOLD = ("id", "status", "content_digest", "style_digest", "nst_version")
_COLUMNS = (*ROW_COLUMNS, *(c for c in OUTCOME_COLUMNS if c.name in _TOLD), *PARAM_COLUMNS)


@dataclass(frozen=True, slots=True)
class _Clash:
    """A job whose id is that of another manifest's row, which asks for another picture."""

    job: Job
    row: int
    manifest: str

    def __str__(self) -> str:
        return (
            f"row {self.job.row}: id: expected one that no row of another manifest has in this "
            f"output, found {self.job.id!r}, by which row {self.row} of {self.manifest} has another "
            "picture"
        )


def without_taken_ids(rows: Rows, settings: RunSettings) -> Rows:
    """The rows, if none has the id of another manifest's row that asks for another picture.

    The two would be painted over each other, run by run. Rows of the same inputs and parameters
    share their picture, which is no problem. Raises ManifestError with every row that clashes; with
    `keep_going` these are refused, under other ids.
    """
    with ScratchFile() as file:
        try:
            others = output.other_rows(settings.output, rows.manifest, file)
            clashes = [] if others is None else _clashes(rows, others, settings)
        except TableError:
            # The run's end says so.
            return rows
    if not clashes:
        return rows
    if not settings.keep_going:
        said = [f"  {clash}" for clash in clashes[:_MAX_LISTED]]
        if len(clashes) > _MAX_LISTED:
            said.append(f"  and {len(clashes) - _MAX_LISTED} more")
        raise ManifestError(
            "\n".join(
                [
                    f"{rows.manifest}: refused for {counted(len(clashes), 'row')} whose ids are taken, "
                    "nothing was run; give other ids, or another --output",
                    *said,
                ]
            )
        )
    new = {clash.job.id: f"row-{clash.job.row}-{_digest(str(clash))[:8]}" for clash in clashes}
    refused = {new[clash.job.id]: Refusal("bad_row", str(clash)) for clash in clashes}
    jobs = tuple(replace(job, id=new[job.id]) if job.id in new else job for job in rows.jobs)
    return replace(rows, jobs=jobs, refused={**rows.refused, **refused})


def _clashes(rows: Rows, others: OtherRows, settings: RunSettings) -> list[_Clash]:
    """The jobs that clash, each once, in their order."""
    jobs = list({job.id: job for job in rows.jobs if job.id not in rows.refused}.values())
    # File systems may ignore case.
    among = (name.casefold() for name in others.table["id"].to_pylist())
    # Each row is looked at: of several with one id, only one may have the picture.
    job_at = find(among, (job.id.casefold() for job in jobs))
    names = others.table["manifest"]
    reader = RowReader(others.file, _COLUMNS)
    compare = _Comparison(settings)
    clashes: dict[int, _Clash] = {}
    for numbers in in_chunks(np.nonzero(job_at >= 0)[0].tolist(), _ROWS_AT_ONCE):
        found = reader.take(others.at[numbers]).to_pylist()
        manifests = names.take(numbers).to_pylist()
        for at, other, manifest in zip(job_at[numbers].tolist(), found, manifests, strict=True):
            if at not in clashes and not compare.is_same(jobs[at], other, manifest):
                clashes[at] = _Clash(jobs[at], other["row"], manifest)
    return [clashes[at] for at in sorted(clashes)]


class _Comparison:
    """Compares jobs with rows of other manifests, and remembers what it has found of files."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._is_gone = lru_cache(maxsize=None)(
            lambda manifest: output.is_gone(manifest, settings.output)
        )
        self._digest_of = lru_cache(maxsize=_MAX_REMEMBERED)(_digest_of)

    def is_same(self, job: Job, other: Mapping[str, Any], manifest: str) -> bool:
        """Whether they ask for one picture, or the other has none or no manifest any more."""
        if other["status"] != "ok" or self._is_gone(manifest):
            return True
        if other["id"] != job.id or other["backbone"] != job.backbone:
            return False
        return self._has_same_params(job, other) and self._has_same_inputs(job, other, manifest)

    def _has_same_params(self, job: Job, other: Mapping[str, Any]) -> bool:
        # Another release has other defaults, and --replace asks for others on purpose.
        if self._settings.replace or other["nst_version"] != __version__:
            return True
        mine = params_dict(job.params)
        return all(_plain(mine[name]) == _plain(other[name]) for name in PARAM_FIELDS)

    def _has_same_inputs(self, job: Job, other: Mapping[str, Any], manifest: str) -> bool:
        if _masked_styles(job.style_mask_name) != _masked_styles(other["style_mask"]):
            return False
        theirs = [other["content"], *(other["style"] or "").split("|")]
        theirs += [other[name] for name in ("mask", "start") if other[name] is not None]
        theirs += filter(str.strip, (other["style_mask"] or "").split("|"))
        start, has_several = _start_of(manifest, self._settings.output)
        is_named = _may_be_named if has_several else _is_named
        if len(theirs) == len(job.inputs) and all(
            is_named(name.strip(), uri, start) for name, uri in zip(theirs, job.inputs, strict=True)
        ):
            return True
        # Copies of the same files, as of a folder that was copied with its output.
        digests = [other["content_digest"], *(other["style_digest"] or "").split()]
        mine_now = [self._digest_of(uri) for uri in (job.content, *job.styles)]
        return None in digests or None in mine_now or digests == mine_now


def _masked_styles(masks: str | None) -> list[int]:
    """The numbers of the styles that have a mask."""
    return [number for number, each in enumerate((masks or "").split("|")) if each.strip()]


def _start_of(manifest: str, output_url: str) -> tuple[str, bool]:
    """The folder that a manifest's paths are relative to, or if there are several, that above them all."""
    if is_pattern(manifest):
        start, pattern = storage.split_pattern(storage.resolve(output_url, manifest))
        return start, "/" in pattern
    uri = storage.resolve(output_url, manifest.partition("?")[0])
    return uri[:-1] if manifest.endswith("/") else storage.parent(uri), False


def _is_named(name: str, uri: str, folder: str) -> bool:
    return storage.resolve(folder, name) == uri


def _may_be_named(name: str, uri: str, folder: str) -> bool:
    """Whether an input may be what a row names, whose file lies somewhere below `folder`."""
    if storage.is_absolute(name):
        return name == uri
    is_below = uri.startswith(f"{folder.rstrip('/')}/")
    return is_below and posixpath.basename(name) == posixpath.basename(uri)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _digest_of(uri: str) -> str | None:
    """The sha256 of an input; None of one that cannot be read, whose row fails by itself."""
    try:
        data = storage.read_input(uri, max_bytes=images.MAX_BYTES).data
    except NSTError as exc:
        if ends_the_run(exc):
            raise
        return None
    return hashlib.sha256(data).hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
