"""Ids that rows of other manifests have in the output, of which each can have one picture only."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from nst import __version__, output, storage
from nst.errors import ManifestError, NSTError, StorageError, ends_the_run
from nst.iterables import in_chunks
from nst.job import PARAM_FIELDS, Job, job_key, params_dict
from nst.manifest import Refusal, Rows
from nst.output import OUTCOME_COLUMNS, PARAM_COLUMNS, ROW_COLUMNS, OtherRows
from nst.pictures import images
from nst.planning import inputs
from nst.planning.plan import Input
from nst.settings import RunSettings
from nst.storage import RowReader, ScratchFile, TableError, find, is_pattern
from nst.wording import counted

_ROWS_AT_ONCE = 10_000
_MAX_LISTED = 20
_MAX_REMEMBERED = 20_000

_TOLD = (
    *("id", "key", "status", "content_digest", "style_digest"),
    *("weights_digest", "weights_topology", "nst_version"),
)
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
        self._folder_of = lru_cache(maxsize=None)(
            lambda manifest: _folder_of(manifest, settings.output)
        )
        self._look_at = lru_cache(maxsize=_MAX_REMEMBERED)(_look_at)
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
        if not _has_as_many_inputs(job, other):
            return False
        folder = self._folder_of(manifest)
        painted, others = ([_resolved(name, folder) for name in some] for some in _names_in(other))
        if [*painted, *others] == list(job.inputs):
            return True
        mine = {uri: found for uri in job.inputs if (found := self._look_at(uri)) is not None}
        if len(mine) < len({*job.inputs}):
            # Of one that cannot be read the row fails by itself.
            return True
        # Copies of the same files, as of a folder that was copied with its output.
        digests = [other["content_digest"], *(other["style_digest"] or "").split()]
        mine_now = [mine[uri].digest for uri in job.inputs]
        if None not in digests and digests != mine_now[: len(painted)]:
            return False
        # The metadata have no digests of masks and starts, but the key is of them too.
        if not others or other["key"] == _key_of(job, other, mine):
            return True
        return [uri and self._digest_of(uri) for uri in others] == mine_now[len(painted) :]


def _has_as_many_inputs(job: Job, other: Mapping[str, Any]) -> bool:
    """Whether a row has as many styles as the job, and a mask, a start and style masks where it has."""
    (_, *styles), _ = _names_in(other)
    theirs = (len(styles), bool(other["mask"]), bool(other["start"]))
    mine = (len(job.styles), job.mask is not None, job.start is not None)
    masked = _masked_styles(other["style_mask"])
    return theirs == mine and masked == _masked_styles(job.style_mask_name)


def _names_in(other: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Content and styles as a row writes them, and its other inputs, in the order of `Job.inputs`."""
    styles = (other["style"] or "").split("|")
    others = (other["mask"] or "", other["start"] or "", *(other["style_mask"] or "").split("|"))
    return (
        [(other["content"] or "").strip(), *filter(None, map(str.strip, styles))],
        list(filter(None, map(str.strip, others))),
    )


def _masked_styles(masks: str | None) -> list[int]:
    """The numbers of the styles that have a mask."""
    return [number for number, each in enumerate((masks or "").split("|")) if each.strip()]


def _folder_of(manifest: str, output_url: str) -> str | None:
    """The folder that a manifest's paths are relative to; None if its files are in several, or gone."""
    uri = storage.resolve(output_url, manifest)
    if storage.is_web(uri):
        return storage.parent(uri.partition("?")[0])
    if manifest.endswith("/"):
        return uri.rstrip("/")
    if not is_pattern(uri):
        return storage.parent(uri)
    try:
        files = output.manifest_files(uri)
    except StorageError:
        # Of somebody else's folder or bucket, as for `is_gone`.
        return None
    folders = {storage.parent(file) for file in files}
    return folders.pop() if len(folders) == 1 else None


def _resolved(name: str, folder: str | None) -> str | None:
    if folder is None:
        return name if storage.is_absolute(name) else None
    return storage.resolve(folder, name)


def _key_of(job: Job, other: Mapping[str, Any], found: Mapping[str, Input]) -> str:
    """The key that the job's picture would have with the weights of the other's."""
    return job_key(
        job,
        digests={uri: each.digest or "" for uri, each in found.items()},
        transparent={uri: each.transparency for uri, each in found.items()},
        weights_digest=other["weights_digest"],
        topology=other["weights_topology"],
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _look_at(uri: str) -> Input | None:
    """An input of the job, with its digest; None of one that cannot be read."""
    try:
        return inputs.look_at(uri)
    except NSTError as exc:
        if ends_the_run(exc):
            raise
        return None


def _digest_of(uri: str) -> str | None:
    """The sha256 of the other's input; None of one that cannot be read, which is no reason to end."""
    try:
        data = storage.read_input(uri, max_bytes=images.MAX_BYTES).data
    except NSTError:
        return None
    return hashlib.sha256(data).hexdigest()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
