from dataclasses import replace

import pytest

from nst.errors import NSTError
from nst.output.metadata import Outcome, Status, failure
from nst.planning.plan import Group, Plan, make_groups
from nst.running.progress import RunProgress
from tests.test_plan import WEIGHTS, planned


def two_groups() -> tuple[Group, ...]:
    """Three pictures in two groups; the second has twice the steps and so half of all work."""
    jobs = [planned("a", steps=4), planned("b", steps=4), planned("c", steps=8)]
    return make_groups(jobs, weights=WEIGHTS, max_batch_pixels=10**6)


def outcome(name: str, status: Status) -> Outcome:
    return replace(failure(name, NSTError("it was not to be")), status=status)


def watch(
    monkeypatch: pytest.MonkeyPatch, *, seconds_per_step: float, failing: str = ""
) -> RunProgress:
    """Show a whole run to a RunProgress, on a clock of its own that goes with the work.

    Each group records its pictures after its last step; those whose ids are in `failing` failed.
    """
    clock = [0.0]
    monkeypatch.setattr("nst.running.progress.time.monotonic", lambda: clock[0])
    groups = two_groups()
    with RunProgress() as progress:
        progress.planned(Plan(jobs=(), groups=groups, done=(), failed=()))
        for group in groups:
            for evaluation in range(1, group.steps + 1):
                clock[0] += seconds_per_step * len(group.jobs)
                done = len(group.jobs) if evaluation == group.steps else 0
                progress.advanced(group, evaluation * len(group.jobs), done)
            for each in group.jobs:
                status: Status = "failed" if each.job.id in failing else "ok"
                progress.recorded(group, outcome(each.job.id, status))
    return progress


def test_without_a_terminal_there_is_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watch(monkeypatch, seconds_per_step=3)
    lines = capsys.readouterr().err.splitlines()
    # 48 s in all, 0.0625 pictures in each; the first evaluation is in after 6 s. Each picture that is
    # not through takes 6 s more, and metadata and gallery 1 s.
    assert lines == [
        "0/3 pictures, 38%, 0.0625 images/s, 0:49 left",
        "2/3 pictures, 62%, 0.0625 images/s, 0:25 left",
        "2/3 pictures, 88%, 0.0625 images/s, 0:13 left",
    ]


def test_failures_are_counted_as_they_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = watch(monkeypatch, seconds_per_step=3, failing="b")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "0/3 pictures, 38%, 0.0625 images/s, 0:49 left"
    assert lines[2] == "2/3 pictures, 88%, 0.0625 images/s, 0:13 left, 1 failed"
    assert progress.num_made == 2


def test_a_bar_shows_failures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    watch(monkeypatch, seconds_per_step=5, failing="ab")
    assert "2 failed" in capsys.readouterr().err


def test_rows_that_cannot_run_have_failed_from_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    lost = (outcome("x", "failed"),)
    with RunProgress() as progress:
        progress.planned(Plan(jobs=(), groups=two_groups(), done=(), failed=lost))
    assert "1 failed" in capsys.readouterr().err


def test_a_short_run_prints_nothing_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    watch(monkeypatch, seconds_per_step=0.1)
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar_that_ends_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    watch(monkeypatch, seconds_per_step=5)
    shown = capsys.readouterr().err
    assert "3/3 pictures" in shown
    assert "100%" in shown
    assert "images/s" in shown
    assert "0:01 left" in shown


def test_nothing_to_make_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress() as progress:
        progress.planned(Plan(jobs=(), groups=(), done=(), failed=()))
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_that_the_plan_is_made_and_that_the_gallery_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    watch(monkeypatch, seconds_per_step=5)
    shown = capsys.readouterr().err
    before, _, rest = shown.partition("3 pictures")
    assert "reading what to paint" in before
    assert "loading the weights" in rest
    assert "writing metadata and gallery" in rest.rpartition("left")[2]


@pytest.mark.parametrize("columns", ["60", "100"])
def test_no_word_of_the_bar_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", columns)
    watch(monkeypatch, seconds_per_step=500, failing="ab")
    shown = capsys.readouterr().err
    assert "\u2026" not in shown
    assert "2 failed" in shown
