"""The results of earlier runs in an output: which pictures are done, and which failed."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nst import output, storage
from nst.errors import (
    StorageError,
    ends_the_run,
)
from nst.iterables import in_chunks, in_parallel
from nst.job import (
    Job,
    is_other_recipe,
)
from nst.output import MAX_ATTEMPTS, Brief, Outcome, RecordTable, records
from nst.pictures import images
from nst.planning.plan import PlannedJob
from nst.planning.survey import DONE, DOUBTFUL, HOPELESS, TO_ENCODE, TO_MAKE, Sketch
from nst.settings import RunSettings
from nst.storage import are_equal, find

_ENTRIES_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True)
class Known:
    """The records of a job: the last one of its picture and the last one of a failure.

    `left_alone` is that failure in full, if this run must not try the job again. `is_stored` says that
    its picture is there without loss in another format than that of this run.
    """

    made: Brief | None
    failed: Brief | None
    is_done: bool
    left_alone: Outcome | None
    is_stored: bool = False


class EarlierRuns:
    """The results of earlier runs in an output, looked up for many jobs at a time."""

    def __init__(self, jobs: Sequence[Job], settings: RunSettings) -> None:
        self.num_of_another_precision = 0
        # By id, what the store tells now of pictures that were read, which showed that they are whole.
        self.picture_versions: dict[str, str] = {}
        self._settings = settings
        self._ledger = records.read(settings.output)
        self._listed, self._new_versions = _listed_pictures(self._ledger.made, settings.output)
        self._made_at = self._ledger.made.find(job.id for job in jobs)
        self._failed_at = self._ledger.failed.find(job.id for job in jobs)

    def verdicts(
        self, numbers: range, jobs: Sequence[Job], sketches: Sequence[Sketch]
    ) -> list[int]:
        """What is known about jobs before any input is read, by their numbers."""
        known = self._briefs(list(numbers))
        made_at = self._made_at[numbers.start : numbers.stop].tolist()
        found: list[int | None] = [
            self._verdict(jobs[number], sketch, made, failed, at)
            for number, sketch, (made, failed), at in zip(
                numbers, sketches, known, made_at, strict=True
            )
        ]
        unsure = [n for n, verdict in enumerate(found) if verdict is None]
        are_whole = self._are_whole([(known[n][0], made_at[n]) for n in unsure])
        for n, is_whole in zip(unsure, are_whole, strict=True):
            found[n] = DONE if is_whole else TO_MAKE
        self._count_precisions(
            made for (made, _), verdict in zip(known, found, strict=True) if verdict == DONE
        )
        return [TO_MAKE if verdict is None else verdict for verdict in found]

    def look_up(self, numbers: Sequence[int], planned: Sequence[PlannedJob]) -> list[Known]:
        """What is known about jobs, by their numbers."""
        known = self._briefs(numbers)
        made_at = self._made_at[list(numbers)].tolist()
        are_done = [
            # Without a key it was to be made by the versions already.
            one.key is not None
            and made is not None
            and made.key == one.key
            and self._is_there(one.job, made, at)
            for one, (made, _), at in zip(planned, known, made_at, strict=True)
        ]
        unsure = [n for n, is_done in enumerate(are_done) if is_done is None]
        are_whole = self._are_whole([(known[n][0], made_at[n]) for n in unsure])
        for n, is_whole in zip(unsure, are_whole, strict=True):
            are_done[n] = is_whole
        self._count_precisions(
            made for (made, _), is_done in zip(known, are_done, strict=True) if is_done
        )
        are_stored = [
            not is_done
            and one.key is not None
            and made is not None
            and made.key == one.key
            and self._is_stored(one.job, made, at)
            for one, (made, _), at, is_done in zip(planned, known, made_at, are_done, strict=True)
        ]
        are_left = [
            not is_done and self._is_left_alone(one, made, failed)
            for one, (made, failed), is_done in zip(planned, known, are_done, strict=True)
        ]
        left = self._ledger.failed.outcomes(
            np.where(are_left, self._failed_at[list(numbers)], -1).astype(np.int64)
        )
        return [
            Known(made, failed, bool(is_done), outcome, is_stored)
            for (made, failed), is_done, outcome, is_stored in zip(
                known, are_done, left, are_stored, strict=True
            )
        ]

    def _is_left_alone(self, planned: PlannedJob, made: Brief | None, failed: Brief | None) -> bool:
        """The failure of an earlier run, if this run must not try the job again; else None."""
        last, settings = records.last_failure(failed, made), self._settings
        if last is None or not _is_of(last, planned):
            return False
        is_quarantined = (last.attempts or 0) >= MAX_ATTEMPTS and not settings.retry_quarantined
        return settings.skip_failed or is_quarantined

    def _briefs(self, numbers: Sequence[int]) -> list[tuple[Brief | None, Brief | None]]:
        """The records of jobs, by their numbers: of pictures, and of failures."""
        made, failed = (
            table.briefs(at[list(numbers)]) if len(table) else [None] * len(numbers)
            for table, at in (
                (self._ledger.made, self._made_at),
                (self._ledger.failed, self._failed_at),
            )
        )
        return list(zip(made, failed, strict=True))

    def _verdict(
        self, job: Job, sketch: Sketch, made: Brief | None, failed: Brief | None, at: int
    ) -> int | None:
        """The verdict on a job; None if only reading its picture tells whether it is done."""
        if sketch.recipe is None:
            return HOPELESS
        if made is not None:
            is_there = self._is_there(job, made, at)
            is_same = _is_same(made, sketch)
            if is_there is not False and is_same is not False:
                if is_same is None:
                    return DOUBTFUL
                return DONE if is_there else None
            if is_same is not False and self._is_stored(job, made, at):
                return DOUBTFUL if is_same is None else TO_ENCODE
        last = records.last_failure(failed, made)
        is_to_tell = last is not None and (self._settings.skip_failed or last.attempts)
        if last is not None and is_to_tell and _is_same(last, sketch) is None:
            return DOUBTFUL
        return TO_MAKE

    def _is_there(self, job: Job, made: Brief, at: int) -> bool | None:
        """Whether the output has the picture of a record, undamaged; None if only reading can tell.

        The last record of an id is of the picture that lies under its name, which a run with other
        parameters may have written over the one that is asked for. A picture is read only where the
        store tells of it what it did not tell when it was written: changed since, or moved with all
        of the output.
        """
        if made.picture != output.picture_path(job, self._settings):
            return False
        if self._settings.replace and self._is_of_another_precision(made):
            return False
        if self._listed[at] == _SAME:
            return True
        return None if self._listed[at] == _UNSURE else False

    def _is_stored(self, job: Job, made: Brief, at: int) -> bool:
        """Whether the output has the picture of a record without loss in another format.

        Whoever encodes it compares its bytes with the record.
        """
        suffix = output.picture_path(job, self._settings).rpartition(".")[2]
        name = made.picture or ""
        is_other = name.rpartition(".")[2] != suffix
        is_of_job = name.rpartition(".")[0] == f"{output.IMAGES}/{job.id}"
        if not (is_other and is_of_job and images.is_lossless(name)):
            return False
        if self._is_of_another_precision(made):
            return False
        # One at a time, unlike those that are done: a change of the format is a rare thing.
        return bool(
            self._listed[at] == _SAME or (self._listed[at] == _UNSURE and self._is_whole(made))
        )

    def _count_precisions(self, done: Iterable[Brief | None]) -> None:
        self.num_of_another_precision += sum(map(self._is_of_another_precision, done))

    def _is_of_another_precision(self, made: Brief | None) -> bool:
        """Whether a picture is known to be of another precision than the run's."""
        chosen = self._settings.precision
        return (
            made is not None
            and made.precision is not None
            and chosen not in ("auto", made.precision)
        )

    def _are_whole(self, unsure: Sequence[tuple[Brief | None, int]]) -> list[bool]:
        """Whether the pictures of records, with their positions, are as recorded; reads all of them."""
        are_whole = in_parallel(lambda each: self._is_whole(each[0]), unsure)
        for (made, at), is_whole in zip(unsure, are_whole, strict=True):
            if made is not None and is_whole and at in self._new_versions:
                self.picture_versions[made.id] = self._new_versions[at]
        return are_whole

    def _is_whole(self, made: Brief | None) -> bool:
        assert made is not None
        assert made.picture is not None
        try:
            data = storage.read_bytes(storage.join(self._settings.output, made.picture))
        except StorageError as exc:
            if ends_the_run(exc):
                raise
            return False
        return hashlib.sha256(data).hexdigest() == made.picture_digest


def _is_same(record: Brief, sketch: Sketch) -> bool | None:
    """Whether a record is of this same picture; None if only digests can decide that."""
    if record.inputs_key is None:
        # A failure that was met before anything was known of its inputs.
        return None if record.key is not None or record.status == "ok" else True
    if sketch.recipe is None or is_other_recipe(record.inputs_key, sketch.recipe):
        return False
    if sketch.inputs_key == record.inputs_key:
        return True
    # Whatever its inputs were, there are others now.
    return None if record.key is not None else False


def _is_of(failed: Brief, planned: PlannedJob) -> bool:
    """Whether a failure is of this same picture, as far as that is known."""
    if failed.inputs_key is not None and failed.inputs_key == planned.inputs_key:
        return True
    # One without either failed before anything was known of its inputs.
    return failed.key == planned.key if failed.key else failed.inputs_key is None


# What a listing tells of the picture of a record: nothing, or another size; the size; and that it
# was not written again.
_GONE, _UNSURE, _SAME = range(3)


def _listed_pictures(made: RecordTable, url: str) -> tuple[NDArray[np.int8], dict[int, str]]:
    """The store's listing of each record's picture, by the record's position, and new versions of some.

    These are of the pictures that only reading tells. One that changes after it was listed is listed
    with another version next time, and read again.
    """
    states = np.full(len(made), _GONE, np.int8)
    new: dict[int, str] = {}
    if not made:
        return states, new
    entries = storage.list_objects(storage.join(url, output.IMAGES))
    for some in in_chunks(entries, _ENTRIES_AT_ONCE):
        at = find((f"{output.IMAGES}/{name}" for name, _ in some), made.table["picture"])
        listed = [each for (_, each), index in zip(some, at.tolist(), strict=True) if index >= 0]
        at = at[at >= 0]
        is_size = are_equal(made.table, "picture_bytes", at, [each.size for each in listed])
        # A store that tells of no version tells nothing by it.
        versions = [each.version or None for each in listed]
        is_version = are_equal(made.table, "picture_version", at, versions)
        states[at[is_size]] = _UNSURE
        states[at[is_size & is_version]] = _SAME
        for number in np.nonzero(is_size & ~is_version)[0].tolist():
            if (version := versions[number]) is not None:
                new[int(at[number])] = version
    return states, new


def with_history(planned: PlannedJob, found: Known) -> PlannedJob:
    """The job with its history: how often it hung or crashed, and its earlier records."""
    made, failed = found.made, found.failed
    planned = replace(
        planned,
        outdated=None if made is None else made.finished_at,
        failed_before=None if failed is None else failed.finished_at,
    )
    last = records.last_failure(failed, made)
    if last is None or not last.attempts or not _is_of(last, planned):
        return planned
    # Only one that is to be tried again comes here with as many as would keep it from that.
    return replace(planned, attempts=min(last.attempts, MAX_ATTEMPTS - 1))
