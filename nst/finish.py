"""Records -> metadata and gallery: what a run leaves behind, whatever became of its groups."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from nst import gallery, metadata, output, records, storage
from nst.errors import ConfigError, NotFoundError, NSTError
from nst.facets import Source, lacks_thumbnails
from nst.job import Job
from nst.metadata import Outcome, Record, Status
from nst.output import failure
from nst.plan import Plan
from nst.records import Brief, Ledger
from nst.reports import RunReport
from nst.settings import RunSettings
from nst.tables import Held, TableError
from nst.texts import told_apart

# Of a gallery's files so many are written at a time, and as few as hold so many bytes.
_FILES_AT_ONCE = 64
_BYTES_AT_ONCE = 8 << 20
_ROWS_AT_ONCE = 1000

# Below the first of several outputs, where their gallery goes unless told otherwise.
COMPARE = "compare"


def finish(plan: Plan, settings: RunSettings, errors: Mapping[str, str] | None = None) -> RunReport:
    """Write the metadata and the gallery of what is there, and report every row.

    `errors` are what ended groups before all of their pictures were made, by the group's name.
    Raises CredentialError where the gallery is refused, by when all else is written.
    """
    metadata_url = storage.join(settings.output, output.METADATA)
    table, failed = _write_metadata(metadata_url, plan, settings, errors or {})
    (name,) = _run_names([settings.output])
    gallery_url = _write_gallery(settings.output, [_source(name, settings.output, "", table)])
    done = set(plan.done)
    return RunReport(
        num_rows=len(plan.jobs),
        num_ok=len(plan.jobs) - len(failed),
        num_done_before=sum(job.id in done for job in plan.jobs),
        failed_by_reason=Counter(record.outcome.reason or "" for record in failed),
        failed=failed,
        gallery_url=storage.browsable(gallery_url),
        metadata_url=metadata_url,
    )


def _write_metadata(
    url: str, plan: Plan, settings: RunSettings, errors: Mapping[str, str]
) -> tuple[bytes, tuple[Record, ...]]:
    """Its bytes, and the rows that failed, without their curves."""
    ledger = records.read(settings.output)
    finder = _Finder(plan, ledger, errors)
    labels = list(dict.fromkeys(name for job in plan.jobs for name in job.labels))
    failed: list[Record] = []

    def parts() -> Iterator[Held]:
        for start in range(0, len(plan.jobs), _ROWS_AT_ONCE):
            jobs = plan.jobs[start : start + _ROWS_AT_ONCE]
            outcomes = finder.outcomes(start, jobs)
            failed.extend(_failed(jobs, outcomes))
            yield metadata.hold_rows(jobs, labels).beside(outcomes)

    table = metadata.held_metadata_to_parquet(parts(), labels)
    storage.write_bytes(url, table)
    records.compact(settings.output, ledger, also=plan.failed)
    return table, tuple(failed)


def _failed(jobs: Sequence[Job], outcomes: Held) -> list[Record]:
    at = np.nonzero(np.array(outcomes.values("status")) == "failed")[0]
    rows = outcomes.take(at).rows()
    return [
        metadata.record_of(jobs[place], replace(metadata.outcome_of_row(row), loss_curve=()))
        for place, row in zip(at.tolist(), rows, strict=True)
    ]


class _Finder:
    """What became of jobs: by the plan, by the records, or by what ended their groups."""

    def __init__(self, plan: Plan, ledger: Ledger, errors: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._errors = errors
        self._failed = {outcome.id: outcome for outcome in plan.failed}
        self._groups = {one.job.id: (one, group) for group in plan.groups for one in group.jobs}
        self._made_at = ledger.made.find(job.id for job in plan.jobs)
        self._failed_at = ledger.failed.find(job.id for job in plan.jobs)

    def outcomes(self, start: int, jobs: Sequence[Job]) -> Held:
        """Those of the jobs from number `start` on, in their order, read together, as columns."""
        made, failed = self._ledger.made, self._ledger.failed
        made_at, failed_at = (
            at[start : start + len(jobs)] for at in (self._made_at, self._failed_at)
        )
        briefs = zip(made.briefs(made_at), failed.briefs(failed_at), strict=True)
        others: dict[int, Outcome] = {}
        are_failed = np.zeros(len(jobs), bool)
        for number, (job, (brief, other)) in enumerate(zip(jobs, briefs, strict=True)):
            found = self._by_plan(job, brief, records.last_failure(other, brief))
            if isinstance(found, Outcome):
                others[number] = found
            else:
                are_failed[number] = found == "failed"
        is_other = np.isin(np.arange(len(jobs)), list(others))
        is_made = ~is_other & ~are_failed
        held = Held.joined(
            [
                made.full(made_at[is_made]),
                failed.full(failed_at[are_failed]),
                metadata.hold_outcomes(others.values()),
            ]
        )
        places = np.concatenate([np.nonzero(each)[0] for each in (is_made, are_failed, is_other)])
        return held.take(np.argsort(places))

    def _by_plan(self, job: Job, made: Brief | None, failed: Brief | None) -> Outcome | Status:
        """The outcome, or which of the two last records has it."""
        if job.id in self._failed:
            return self._failed[job.id]
        if job.id not in self._groups:
            return "ok"
        planned, group = self._groups[job.id]
        if made is not None and made.key == planned.key and made.finished_at != planned.outdated:
            return "ok"
        if failed is not None and failed.key == planned.key:
            return "failed"
        why = self._errors.get(group.name, "it was not reached")
        error = NSTError(f"its group ended early: {why}; run it again")
        return failure(job.id, error, key=planned.key)


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
    sources = [
        _source(name, url, link, _read_table(url))
        for name, url, link in zip(_run_names(urls), urls, links, strict=True)
    ]
    return storage.browsable(_write_gallery(place, sources, static_pages=static_pages))


def gallery_folder(urls: Sequence[str], to: str | None = None) -> str:
    """Where the gallery of these outputs goes."""
    return to or (urls[0] if len(urls) == 1 else storage.join(urls[0], COMPARE))


def read_metadata(url: str) -> list[Record]:
    """The rows of an output's last run. Raises ConfigError where there was none."""
    try:
        return metadata.metadata_from_parquet(_read_table(url))
    except (TableError, KeyError) as exc:
        uri = storage.join(url, output.METADATA)
        raise ConfigError(f"{uri}: expected the metadata of a run, found {exc}") from exc


def _read_table(url: str) -> bytes:
    try:
        return storage.read_bytes(storage.join(url, output.METADATA))
    except NotFoundError as exc:
        raise ConfigError(f"{exc}; expected the output of a run") from exc


def _source(name: str, url: str, base: str, table: bytes) -> Source:
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


def _write_gallery(url: str, sources: Sequence[Source], *, static_pages: bool | None = None) -> str:
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
            storage.delete(storage.join(url, gallery.RECEIPT))
        sizes |= {path: len(data) for path, data in portion}
        missing = [
            (storage.join(url, path), data)
            for path, data in portion
            if not (gallery.is_hashed(path) and there.get(path) == len(data))
        ]
        storage.in_parallel(lambda file: storage.write_bytes(*file), missing)
    storage.write_bytes(storage.join(url, gallery.RECEIPT), gallery.receipt(digest, sizes))
    stale = sorted(there.keys() - sizes.keys() - {gallery.RECEIPT})
    storage.in_parallel(storage.delete, [storage.join(url, path) for path in stale])
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
