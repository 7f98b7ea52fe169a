"""Records -> metadata and gallery: what a run leaves behind, whatever became of its groups."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import IO, TypeVar

import numpy as np
from numpy.typing import NDArray

from nst import gallery, output, storage
from nst.errors import ConfigError, NotFoundError, NSTError
from nst.gallery import Source, lacks_thumbnails, told_apart
from nst.job import Job
from nst.output import Brief, Ledger, Outcome, Record, Status, failure, metadata, records
from nst.planning import Group, Plan, PlannedJob
from nst.running import MAX_EXAMPLES, MAX_FAILED, RunReport
from nst.settings import RunSettings
from nst.storage import Held, ScratchFile, TableError, places, release_memory

# Of a gallery's files so many are written at a time, and as few as hold so many bytes.
_FILES_AT_ONCE = 64
_BYTES_AT_ONCE = 8 << 20
# As many as the memory for their curves allows: where the manifest has another order than the
# records, each portion reads most parts of them anew.
_ROWS_AT_ONCE = 10_000

_File = TypeVar("_File", bound=IO[bytes])

# Below the first of several outputs, where their gallery goes unless told otherwise.
COMPARE = "compare"


def finish(
    plan: Plan,
    settings: RunSettings,
    errors: Mapping[str, str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> RunReport:
    """Write the metadata and the gallery of what is there, and report every row.

    `errors` are what ended groups before all of their pictures were made, by the group's name.
    `check` is called right before each write and deletion, and what it raises ends this. Raises
    CredentialError where the gallery is refused, by when all else is written.
    """
    metadata_url = storage.join(settings.output, output.METADATA)
    release_memory()
    # Of a million rows it is more than should be in memory at once.
    with ScratchFile() as table:
        ended = _write_metadata(table, metadata_url, plan, settings, errors or {}, check)
        release_memory()
        (name,) = _run_names([settings.output])
        source = _source(name, settings.output, "", table)
        gallery_url = _write_gallery(settings.output, [source], check=check)
    return RunReport(
        num_rows=len(plan.jobs),
        num_ok=len(plan.jobs) - ended.failed_by_reason.total(),
        num_done_before=ended.num_done_before,
        failed_by_reason=ended.failed_by_reason,
        failed=tuple(ended.failed),
        examples=tuple(ended.examples),
        gallery_url=storage.browsable(gallery_url),
        metadata_url=metadata_url,
    )


@dataclass(slots=True, kw_only=True)
class _Ended:
    """What is told of the rows, as they are gone through; of the failed ones not all are kept."""

    num_done_before: int
    failed_by_reason: Counter[str] = field(default_factory=Counter)
    failed: list[Record] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)

    def add(self, jobs: Sequence[Job], outcomes: Held) -> None:
        status = np.array(outcomes.values("status"))
        shown = np.nonzero(status == "ok")[0][: MAX_EXAMPLES - len(self.examples)]
        for row in outcomes.take(shown).rows():
            paths = output.thumbnails_of(metadata.outcome_of_row(row))
            self.examples += [paths[edge] for edge in sorted(paths)[-1:]]
        at = np.nonzero(status == "failed")[0]
        self.failed_by_reason.update(reason or "" for reason in outcomes.values("reason", at))
        kept = at[: MAX_FAILED - len(self.failed)]
        self.failed.extend(
            metadata.record_of(jobs[place], replace(metadata.outcome_of_row(row), loss_curve=()))
            for place, row in zip(kept.tolist(), outcomes.take(kept).rows(), strict=True)
        )


def _write_metadata(
    table: IO[bytes],
    url: str,
    plan: Plan,
    settings: RunSettings,
    errors: Mapping[str, str],
    check: Callable[[], None],
) -> _Ended:
    """Put the metadata into `table` and to its place, and the records together."""
    ledger = records.read(settings.output)
    finder = _Finder(plan, ledger, errors)
    labels = list(dict.fromkeys(name for job in plan.jobs for name in job.labels))
    ended = _Ended(num_done_before=finder.num_done_before)
    # What it took to read the records and to find the jobs among them.
    release_memory()

    def parts() -> Iterator[Held]:
        for start in range(0, len(plan.jobs), _ROWS_AT_ONCE):
            jobs = plan.jobs[start : start + _ROWS_AT_ONCE]
            outcomes = finder.outcomes(start, jobs)
            ended.add(jobs, outcomes)
            yield metadata.hold_rows(jobs, labels).beside(outcomes)

    metadata.write_held_metadata(table, parts(), labels)
    check()
    storage.write_file(url, table)
    ids = (job.id for job in plan.jobs)
    records.compact(
        settings.output, ledger, also=plan.failed, learned=plan.learned, order=ids, check=check
    )
    return ended


class _Finder:
    """What became of jobs: by the plan, by the records, or by what ended their groups.

    By positions, since a million ids in a dict take more than all that is known of them.
    """

    def __init__(self, plan: Plan, ledger: Ledger, errors: Mapping[str, str]) -> None:
        self._plan = plan
        self._ledger = ledger
        self._errors = errors
        self._planned = [one for group in plan.groups for one in group.jobs]
        self._group_ends = np.cumsum([len(group.jobs) for group in plan.groups])
        ids = [job.id for job in plan.jobs]
        self._planned_at = places(ids, (one.job.id for one in self._planned))
        self._lost_at = places(ids, (outcome.id for outcome in plan.failed))
        self._made_at, self._failed_at = ledger.made.find(ids), ledger.failed.find(ids)

    @property
    def num_done_before(self) -> int:
        return int(np.count_nonzero((self._planned_at < 0) & (self._lost_at < 0)))

    def outcomes(self, start: int, jobs: Sequence[Job]) -> Held:
        """Those of the jobs from number `start` on, in their order, read together, as columns."""
        part = slice(start, start + len(jobs))
        planned_at, lost_at = self._planned_at[part], self._lost_at[part]
        made_at, failed_at = self._made_at[part], self._failed_at[part]
        others = {
            place: self._plan.failed[lost_at[place]]
            for place in np.nonzero(lost_at >= 0)[0].tolist()
        }
        are_failed = np.zeros(len(jobs), bool)
        for place, found in self._of_planned(planned_at, made_at, failed_at, lost_at < 0):
            if isinstance(found, Outcome):
                others[place] = found
            else:
                are_failed[place] = found == "failed"
        is_other = np.isin(np.arange(len(jobs)), list(others))
        is_made = ~is_other & ~are_failed
        held = Held.joined(
            [
                records.with_learned(self._ledger.made.full(made_at[is_made]), self._plan.learned),
                self._ledger.failed.full(failed_at[are_failed]),
                metadata.hold_outcomes(others[place] for place in sorted(others)),
            ]
        )
        order = np.concatenate([np.nonzero(each)[0] for each in (is_made, are_failed, is_other)])
        return held.take(np.argsort(order))

    def _of_planned(
        self,
        planned_at: NDArray[np.int64],
        made_at: NDArray[np.int64],
        failed_at: NDArray[np.int64],
        is_wanted: NDArray[np.bool_],
    ) -> Iterator[tuple[int, Outcome | Status]]:
        """Of each job that was to be made, by its place, its outcome, or which record has it."""
        at = np.nonzero(is_wanted & (planned_at >= 0))[0]
        numbers = planned_at[at]
        groups = np.searchsorted(self._group_ends, numbers, side="right")
        briefs = zip(
            self._ledger.made.briefs(made_at[at]),
            self._ledger.failed.briefs(failed_at[at]),
            strict=True,
        )
        for place, number, group, (made, failed) in zip(
            at.tolist(), numbers.tolist(), groups.tolist(), briefs, strict=True
        ):
            planned, last = self._planned[number], records.last_failure(failed, made)
            yield place, self._by_records(planned, self._plan.groups[group], made, last)

    def _by_records(
        self, planned: PlannedJob, group: Group, made: Brief | None, failed: Brief | None
    ) -> Outcome | Status:
        if planned.is_made_by(made):
            return "ok"
        if planned.is_failed_by(failed):
            return "failed"
        why = self._errors.get(group.name, "it was not reached")
        error = NSTError(f"its group ended early: {why}; run it again")
        return failure(planned.job.id, error, key=planned.key, inputs_key=planned.inputs_key)


def rebuild_gallery(
    urls: Sequence[str], *, to: str | None = None, static_pages: bool | None = None
) -> str:
    """Write the gallery of one output, or of several together, from their metadata; where it is.

    That is `to`, or else the output itself, or of several a folder below the first. Raises
    ConfigError for an output without metadata, and one that a relative link cannot reach from there.
    """
    if len({storage.absolute(url).rstrip("/") for url in urls}) < len(urls):
        raise ConfigError("expected each output once, found one of them again")
    place = gallery_folder(urls, to)
    links = [storage.relative_link(url, place) for url in urls]
    if links != [""] and output.METADATA in storage.list_sizes(place):
        raise ConfigError(
            f"{place}: expected a folder of the gallery's own, found the output of a run; choose "
            "another with --to"
        )
    with ExitStack() as opened:
        sources = [
            _source(name, url, link, _read_table(url, opened.enter_context(ScratchFile())))
            for name, url, link in zip(_run_names(urls), urls, links, strict=True)
        ]
        return storage.browsable(_write_gallery(place, sources, static_pages=static_pages))


def gallery_folder(urls: Sequence[str], to: str | None = None) -> str:
    """Where the gallery of these outputs goes."""
    return to or (urls[0] if len(urls) == 1 else storage.join(urls[0], COMPARE))


def read_metadata(url: str) -> list[Record]:
    """The rows of an output's last run. Raises ConfigError where there was none."""
    try:
        return metadata.metadata_from_parquet(_read_table(url, BytesIO()).getvalue())
    except (TableError, KeyError) as exc:
        uri = storage.join(url, output.METADATA)
        raise ConfigError(f"{uri}: expected the metadata of a run, found {exc}") from exc


def _read_table(url: str, file: _File) -> _File:
    """The metadata of an output, put into `file`. Raises ConfigError where there is none."""
    try:
        storage.read_into(storage.join(url, output.METADATA), file)
        return file
    except NotFoundError as exc:
        raise ConfigError(f"{exc}; expected the output of a run") from exc


def _source(name: str, url: str, base: str, table: IO[bytes]) -> Source:
    previews = storage.list_sizes(storage.join(url, output.INPUTS))
    # A release that made none did not name any; they may have been made since.
    thumbnails = (
        storage.list_tree(storage.join(url, output.THUMBS)) if lacks_thumbnails(table) else ()
    )
    return Source(
        name=name,
        base=base,
        metadata=table,
        previews=frozenset(previews),
        thumbnails=frozenset(f"{output.THUMBS}/{path}" for path in thumbnails),
    )


def _run_names(urls: Sequence[str]) -> list[str]:
    places = (storage.absolute(url).replace("\\", "/") for url in urls)
    return told_apart(place.rstrip("/").rpartition("/")[2] for place in places)


def _write_gallery(
    url: str,
    sources: Sequence[Source],
    *,
    static_pages: bool | None = None,
    check: Callable[[], None] = lambda: None,
) -> str:
    """Write what is not there yet, the page when all else is, and then remove what it was before."""
    page = storage.join(url, output.GALLERY)
    digest = gallery.digest_of(sources, static_pages=static_pages)
    there = _own_files(url)
    if _is_built(url, there, digest):
        return page
    sizes: dict[str, int] = {}
    for portion in _portions(gallery.build(sources, static_pages=static_pages)):
        if not sizes and gallery.RECEIPT in there:
            # From here on it would speak of files some of which are others.
            check()
            storage.delete(storage.join(url, gallery.RECEIPT))
        sizes |= {path: len(data) for path, data in portion}
        missing = [
            (storage.join(url, path), data)
            for path, data in portion
            if not (gallery.is_hashed(path) and there.get(path) == len(data))
        ]
        storage.in_parallel(lambda file: storage.write_bytes(*file), missing, check=check)
    check()
    storage.write_bytes(storage.join(url, gallery.RECEIPT), gallery.receipt(digest, sizes))
    stale = sorted(there.keys() - sizes.keys() - {gallery.RECEIPT})
    storage.delete_all([storage.join(url, path) for path in stale], check=check)
    return page


def _own_files(url: str) -> dict[str, int]:
    """The files that are a gallery's alone, and its page, by path, and their bytes."""
    found = {
        f"{folder}/{name}": size
        for folder in gallery.FOLDERS
        for name, size in storage.list_sizes(storage.join(url, folder)).items()
    }
    own = {path: size for path, size in found.items() if gallery.is_own(path)}
    page = storage.list_sizes(url).get(output.GALLERY)
    return own if page is None else own | {output.GALLERY: page}


def _is_built(url: str, there: Mapping[str, int], digest: str) -> bool:
    if gallery.RECEIPT not in there:
        return False
    receipt = storage.read_bytes(storage.join(url, gallery.RECEIPT))
    built_from, sizes = gallery.read_receipt(receipt)
    return built_from == digest and sizes.items() <= there.items()


def _portions(
    files: Iterator[tuple[str, bytes]],
) -> Iterator[list[tuple[str, bytes]]]:
    """The files a few at a time, the page alone, after all others."""
    portion: list[tuple[str, bytes]] = []
    for path, data in files:
        is_full = (
            len(portion) == _FILES_AT_ONCE
            or sum(len(other) for _, other in portion) + len(data) > _BYTES_AT_ONCE
        )
        if portion and (is_full or path == output.GALLERY):
            yield portion
            portion = []
        portion.append((path, data))
    yield portion
