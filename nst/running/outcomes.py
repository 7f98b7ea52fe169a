"""Plan and records -> metadata: the result of every row."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nst import output, storage
from nst.errors import NSTError
from nst.job import Job
from nst.manifest import Rows
from nst.output import Brief, Ledger, Outcome, Record, Status, failure, metadata, records
from nst.planning import Group, Plan, PlannedJob, refusals_of
from nst.running.reports import MAX_EXAMPLES, MAX_FAILED
from nst.settings import RunSettings
from nst.storage import (
    ScratchFile,
    Table,
    TableError,
    digest_of_file,
    find,
    joined,
    release_memory,
    side_by_side,
)

# As many as the memory for their curves allows: where the manifest has another order than the
# records, each portion reads most parts of them anew.
ROWS_AT_ONCE = 10_000


@dataclass(slots=True, kw_only=True)
class Ended:
    """Counts of all rows, and the first of the failed ones."""

    num_done_before: int
    failed_by_reason: Counter[str] = field(default_factory=Counter)
    failed: list[Record] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    metadata_digest: str = ""

    def add(self, jobs: Sequence[Job], outcomes: Table, manifest: str | None = None) -> None:
        status = np.array(outcomes["status"].to_pylist())
        shown = np.nonzero(status == "ok")[0][: MAX_EXAMPLES - len(self.examples)]
        for row in outcomes.take(shown).to_pylist():
            paths = output.thumbnails_of(metadata.outcome_of_row(row))
            self.examples += [paths[edge] for edge in sorted(paths)[-1:]]
        at = np.nonzero(status == "failed")[0]
        self.failed_by_reason.update(
            reason or "" for reason in outcomes["reason"].take(at).to_pylist()
        )
        kept = at[: MAX_FAILED - len(self.failed)]
        self.failed.extend(
            metadata.record_of(
                jobs[number], replace(metadata.outcome_of_row(row), loss_curve=()), manifest
            )
            for number, row in zip(kept.tolist(), outcomes.take(kept).to_pylist(), strict=True)
        )


def write_metadata(
    table: IO[bytes],
    plan: Plan,
    settings: RunSettings,
    errors: Mapping[str, str],
    check: Callable[[], None],
) -> Ended:
    """Write the metadata, by way of `table`, and merge the records.

    The rows that other manifests have in the output stay, unless the settings have `only`.

    `errors` are the errors that ended groups early, by the group's name. `check` is called right
    before each write and deletion; an error that it raises ends this.
    """
    ledger = records.read(settings.output)
    ended = _write_rows(table, plan, settings, errors, ledger, check)
    ids = (job.id for job in plan.jobs)
    records.compact(
        settings.output, ledger, also=plan.failed, learned=plan.learned, order=ids, check=check
    )
    return ended


def retract_metadata(
    table: IO[bytes], plan: Plan, settings: RunSettings, check: Callable[[], None]
) -> bool:
    """Have the metadata tell no more of pictures that the plan makes anew; whether that was needed.

    Their rows are failed until the run has ended, so that a run that is killed leaves no row that
    tells of a picture that was written over. Pictures that are the first of their rows need no such
    care. `table` is an empty open file, and has the metadata then.
    """
    planned = [one for group in plan.groups for one in group.jobs]
    if not any(one.outdated is not None for one in planned):
        return False
    if not storage.exists(storage.join(settings.output, output.METADATA)):
        return False
    errors = {group.name: _NOT_FINISHED for group in plan.groups}
    ledger, remade = records.read(settings.output), [one.job.id for one in planned]
    _write_rows(table, plan, settings, errors, ledger, check, remade=remade)
    return True


def write_provisional(
    table: IO[bytes],
    plan: Plan,
    settings: RunSettings,
    ledger: Ledger,
    known: Mapping[str, Outcome],
) -> None:
    """Put into `table` the metadata as they would be now, while the run goes on; nothing is stored.

    `ledger` is of the time of the plan, `known` are the outcomes since, by id. The rows of pictures that
    are still to be made are WAITING.
    """
    labels, manifest = _labels(plan), plan.manifest or None
    finder = _Provisional(plan, ledger, known)

    def tables() -> Iterator[Table]:
        for start in range(0, len(plan.jobs), ROWS_AT_ONCE):
            jobs = plan.jobs[start : start + ROWS_AT_ONCE]
            outcomes = finder.outcomes(start, jobs)
            yield side_by_side(metadata.jobs_to_table(jobs, labels, manifest), outcomes)

    metadata.write_metadata(table, tables(), labels)
    if not settings.only:
        remade = [one.job.id for group in plan.groups for one in group.jobs]
        _add_other_rows(table, plan, settings, ledger, labels, remade)


def as_recorded(rows: Rows, ledger: Ledger) -> Plan:
    """The rows of a run that did not finish as a plan of which all is done, failed or WAITING."""
    ids = list(dict.fromkeys(job.id for job in rows.jobs if job.id not in rows.refused))
    made = ledger.made.briefs(ledger.made.find(ids))
    failed = ledger.failed.briefs(ledger.failed.find(ids))
    last = [records.last_failure(*each) for each in zip(failed, made, strict=True)]
    lost = [name for name, each in zip(ids, last, strict=True) if each is not None]
    done = [
        name
        for name, each, failure_ in zip(ids, made, last, strict=True)
        if each is not None and failure_ is None
    ]
    failures = ledger.failed.outcomes(ledger.failed.find(lost))
    left = set(ids) - {*lost, *done}
    return Plan(
        jobs=rows.jobs,
        groups=(),
        done=tuple(done),
        failed=(
            *refusals_of(rows),
            *(each for each in failures if each is not None),
            *map(waiting, sorted(left)),
        ),
        manifest=rows.manifest,
    )


def _labels(plan: Plan) -> list[str]:
    return list(dict.fromkeys(name for job in plan.jobs for name in job.labels))


_NO_RECORD = "the record of its picture could not be read at the end of the run; run it again"
_NOT_FINISHED = "the run that makes its picture has not finished"


def _write_rows(
    table: IO[bytes],
    plan: Plan,
    settings: RunSettings,
    errors: Mapping[str, str],
    ledger: Ledger,
    check: Callable[[], None],
    *,
    remade: Sequence[str] | None = None,
) -> Ended:
    finder = _Finder(plan, ledger, errors)
    labels, manifest = _labels(plan), plan.manifest or None
    ended = Ended(num_done_before=finder.num_done_before)
    # What it took to read the records and to find the jobs among them.
    release_memory()

    def tables() -> Iterator[Table]:
        for start in range(0, len(plan.jobs), ROWS_AT_ONCE):
            jobs = plan.jobs[start : start + ROWS_AT_ONCE]
            outcomes = finder.outcomes(start, jobs)
            ended.add(jobs, outcomes, manifest)
            yield side_by_side(metadata.jobs_to_table(jobs, labels, manifest), outcomes)

    metadata.write_metadata(table, tables(), labels)
    lost: Sequence[str] = ()
    if not settings.only:
        lost = _add_other_rows(table, plan, settings, ledger, labels, remade)
    ended.manifests += sorted({*lost, *output.manifests_in(table)})
    ended.metadata_digest = digest_of_file(table)
    check()
    storage.write_file(storage.join(settings.output, output.METADATA), table)
    return ended


def _add_other_rows(
    table: IO[bytes],
    plan: Plan,
    settings: RunSettings,
    ledger: Ledger,
    labels: Sequence[str],
    remade: Sequence[str] | None,
) -> Sequence[str]:
    """Put the rows of other manifests into the file of this run's rows.

    Returns the names of those manifests whose rows are not there any more, or cannot be read, of
    which there is a warning.
    """
    with ScratchFile() as before, ScratchFile() as merged:
        try:
            others = output.other_rows(settings.output, plan.manifest, before)
            if others is None:
                return ()
            first, last = others.labels()
            all_labels = list(dict.fromkeys([*first, *labels, *last]))
            rows = output.with_other_rows(
                table, others, settings.output, ledger.made, all_labels, remade=remade
            )
            metadata.write_metadata(merged, rows, all_labels)
        except TableError as exc:
            return output.lost_manifests(settings.output, plan.manifest, exc)
        merged.seek(0)
        table.seek(0)
        table.truncate()
        shutil.copyfileobj(merged, table)
        return others.missing


class _Finder:
    """The results of jobs: from the plan, from the records, or from the errors of their groups.

    It works with positions, since a dict of a million ids needs more memory than everything else.
    """

    def __init__(self, plan: Plan, ledger: Ledger, errors: Mapping[str, str]) -> None:
        self._plan = plan
        self._ledger = ledger
        self._errors = errors
        self._planned = [one for group in plan.groups for one in group.jobs]
        self._group_ends = np.cumsum([len(group.jobs) for group in plan.groups])
        ids = [job.id for job in plan.jobs]
        self._planned_at = find(ids, (one.job.id for one in self._planned))
        self._lost_at = find(ids, (outcome.id for outcome in plan.failed))
        self._made_at, self._failed_at = ledger.made.find(ids), ledger.failed.find(ids)

    @property
    def num_done_before(self) -> int:
        is_done = (self._planned_at < 0) & (self._lost_at < 0) & (self._made_at >= 0)
        return int(np.count_nonzero(is_done))

    def outcomes(self, start: int, jobs: Sequence[Job]) -> Table:
        """The outcomes of the jobs from number `start` on, in order, read together, as columns."""
        some = slice(start, start + len(jobs))
        planned_at, lost_at = self._planned_at[some], self._lost_at[some]
        made_at, failed_at = self._made_at[some], self._failed_at[some]
        others = {
            number: self._plan.failed[lost_at[number]]
            for number in np.nonzero(lost_at >= 0)[0].tolist()
        }
        are_failed = np.zeros(len(jobs), bool)
        for number, found in self._of_planned(planned_at, made_at, failed_at, lost_at < 0):
            if isinstance(found, Outcome):
                others[number] = found
            else:
                are_failed[number] = found == "failed"
        # The plan found a record of each of the rest; -1 would take that of another picture.
        is_lost = (planned_at < 0) & (lost_at < 0) & (made_at < 0)
        for number in np.nonzero(is_lost)[0].tolist():
            others[number] = failure(jobs[number].id, NSTError(_NO_RECORD))
        is_other = np.isin(np.arange(len(jobs)), list(others))
        is_made = ~is_other & ~are_failed
        table = joined(
            [
                records.with_learned(self._ledger.made.read(made_at[is_made]), self._plan.learned),
                self._ledger.failed.read(failed_at[are_failed]),
                metadata.outcomes_to_table(others[number] for number in sorted(others)),
            ]
        )
        order = np.concatenate([np.nonzero(each)[0] for each in (is_made, are_failed, is_other)])
        return table.take(np.argsort(order))

    def _of_planned(
        self,
        planned_at: NDArray[np.int64],
        made_at: NDArray[np.int64],
        failed_at: NDArray[np.int64],
        is_wanted: NDArray[np.bool_],
    ) -> Iterator[tuple[int, Outcome | Status]]:
        """For each job that was to be made: its index, and its outcome or the kind of record that has it."""
        numbers = np.nonzero(is_wanted & (planned_at >= 0))[0]
        at = planned_at[numbers]
        groups = np.searchsorted(self._group_ends, at, side="right")
        briefs = zip(
            self._ledger.made.briefs(made_at[numbers]),
            self._ledger.failed.briefs(failed_at[numbers]),
            strict=True,
        )
        for number, position, group, (made, failed) in zip(
            numbers.tolist(), at.tolist(), groups.tolist(), briefs, strict=True
        ):
            planned, plan_group = self._planned[position], self._plan.groups[group]
            # Not the last of both by their times: a clock that was set back has no say in it.
            yield number, self._by_records(planned, plan_group, made, failed)

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


# The status, in a table that is stored nowhere, of a row whose picture is still to be made.
WAITING: Any = "waiting"


class _Provisional(_Finder):
    """The results of jobs while their run goes on."""

    def __init__(self, plan: Plan, ledger: Ledger, known: Mapping[str, Outcome]) -> None:
        super().__init__(plan, ledger, {})
        self._known = known

    def _by_records(
        self, planned: PlannedJob, group: Group, made: Brief | None, failed: Brief | None
    ) -> Outcome | Status:
        found = self._known.get(planned.job.id)
        return found if found is not None else waiting(planned.job.id)


def waiting(job_id: str) -> Outcome:
    """The outcome of a picture that is still to be made."""
    return Outcome(id=job_id, status=WAITING, reason=WAITING)
