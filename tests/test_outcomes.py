"""What a run's end tells of every row, and writes of it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from nst import pipeline
from nst.errors import NotFoundError, NSTError, StorageError
from nst.output import records
from nst.output.metadata import failure
from nst.output.reading import read_metadata
from nst.planning.plan import Plan
from nst.running import outcomes
from nst.settings import RunSettings
from tests.helpers import job
from tests.test_estimates import groups
from tests.test_metadata import OK


def test_of_very_many_failed_rows_the_first_are_told_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "MAX_FAILED", 3)
    monkeypatch.setattr(outcomes, "ROWS_AT_ONCE", 2)
    jobs = tuple(job(id=f"p{n}", row=n) for n in range(1, 8))
    (group,) = groups((8, 8), (8, 8))
    planned = [replace(each, job=jobs[n]) for n, each in zip((1, 4), group.jobs, strict=True)]
    lost = tuple(
        failure(jobs[n].id, error)
        for n, error in ((5, NotFoundError("gone")), (0, StorageError("late")), (3, NSTError("no")))
    )
    plan = Plan(
        jobs=(*jobs, replace(jobs[1], row=8)),
        groups=(replace(group, name="g", jobs=tuple(planned)),),
        done=("p3", "p7"),
        failed=lost,
    )
    for each in (jobs[2], jobs[6]):
        records.write(str(tmp_path), replace(OK, id=each.id))
    records.write(str(tmp_path), replace(OK, id="p5", key=planned[1].key))
    report = pipeline.finish(plan, RunSettings(output=str(tmp_path)), {"g": "it fell off"})
    assert (report.num_rows, report.num_ok, report.num_failed) == (8, 3, 5)
    assert report.num_done_before == 2
    assert report.failed_by_reason == {"storage": 1, "group_failed": 3, "input_not_found": 1}
    assert [row.row for row in report.failed] == [1, 2, 4]
    told = {row.row: row.outcome for row in read_metadata(str(tmp_path))}
    assert [n for n, outcome in told.items() if outcome.status == "failed"] == [1, 2, 4, 6, 8]
    assert [outcome.id for outcome in told.values()] == [*(f"p{n}" for n in range(1, 8)), "p2"]
    assert "it fell off" in str(told[2].error)
    assert told[8].error == told[2].error
    assert set(records.read(str(tmp_path)).failed) == {"p1", "p4", "p6"}


def test_a_failure_is_told_with_its_reason_where_the_clock_was_set_back(tmp_path: Path) -> None:
    """The picture of the run before has a later time than the failure of this one."""
    (group,) = groups((8, 8))
    assert OK.finished_at is not None
    (planned,) = (
        replace(one, job=job(id="p1", row=1), outdated=OK.finished_at) for one in group.jobs
    )
    group = replace(group, name="g", jobs=(planned,))
    plan = Plan(jobs=(planned.job,), groups=(group,), done=(), failed=())
    records.write(str(tmp_path), replace(OK, id="p1"))
    failed = failure("p1", NotFoundError("it is gone"), key=planned.key)
    earlier = OK.finished_at - timedelta(hours=1)
    records.write(str(tmp_path), replace(failed, finished_at=earlier))
    report = pipeline.finish(plan, RunSettings(output=str(tmp_path)))
    assert report.failed_by_reason == {"input_not_found": 1}


@pytest.mark.parametrize("there", [("p2",), ()])
def test_a_done_row_whose_record_is_missing_at_the_end_is_told_with_no_other_picture(
    tmp_path: Path, there: tuple[str, ...]
) -> None:
    plan = Plan(
        jobs=tuple(job(id=f"p{n}", row=n) for n in (1, 2)), groups=(), done=("p1", "p2"), failed=()
    )
    for name in there:
        records.write(str(tmp_path), replace(OK, id=name))
    report = pipeline.finish(plan, RunSettings(output=str(tmp_path)))
    assert (report.num_ok, report.num_done_before) == (len(there), len(there))
    told = [row.outcome for row in read_metadata(str(tmp_path))]
    assert [each.id for each in told] == ["p1", "p2"]
    assert [each.id for each in told if each.status == "ok"] == list(there)
    assert "its picture could not be read at the end of the run; run it again" in str(told[0].error)
    assert told[0].picture is None
