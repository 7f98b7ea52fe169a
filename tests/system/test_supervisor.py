"""Pictures that kill or hang what paints them, in real processes."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain, repeat
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from nst import pipeline
from nst.errors import ConfigError, NSTError, PainterError, StoppedError, WorkerError
from nst.output import records
from nst.output.metadata import Outcome
from nst.painting.precision import resolve_precision
from nst.planning.plan import Group, Plan, failure_of
from nst.running import runs
from nst.running.neighbours import Neighbours
from nst.running.reports import NoListener, RunReport
from nst.running.silence import Silence
from nst.running.supervisor import Supervisor, _Death, _how_it_died, _Worker
from nst.settings import RunSettings
from tests import poison
from tests.helpers import PATIENCE_S, ROOT, SILENCE_S, row, started, write_project
from tests.painters import PaintsBy


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    made = Supervisor(entry="tests.poison")
    yield made
    made.stop()


def planned(folder: Path, seeds: Sequence[int], **settings: object) -> tuple[Plan, RunSettings]:
    rows = [row(id=f"n{n}", size=48, steps=1, seed=seed) for n, seed in enumerate(seeds)]
    manifest = write_project(folder / "in", rows)
    chosen = RunSettings(output=str(folder / "out"), **settings)  # type: ignore[arg-type]
    return pipeline.make_plan(str(manifest), chosen), chosen


def run(folder: Path, seeds: Sequence[int], by: Supervisor, **settings: object) -> RunReport:
    plan, chosen = planned(folder, seeds, **settings)
    return pipeline.run(plan, chosen, painter=PaintsBy(by.run_group))


@pytest.mark.parametrize(
    ("seed", "said"),
    [(poison.KILLS, "was killed by SIGKILL"), (poison.EXITS, "ended by itself with status 7")],
)
def test_a_picture_that_ends_its_process_is_quarantined_and_the_others_are_made(
    tmp_path: Path, supervisor: Supervisor, seed: int, said: str
) -> None:
    report = run(tmp_path, [0, 1, seed, 2, 3], supervisor)
    assert report.num_ok == 4
    (failed,) = report.failed
    assert (failed.outcome.id, failed.outcome.reason) == ("n2", "worker_died")
    assert failed.outcome.attempts == 2
    assert f"{said}" in str(failed.outcome.error)
    assert "2 times in a row" in str(failed.outcome.error)
    # Nothing is tried again on its own, and on demand once more.
    again, _ = planned(tmp_path, [0, 1, seed, 2, 3])
    assert (again.num_pictures_to_make, len(again.done)) == (0, 4)
    assert [outcome.attempts for outcome in again.failed] == [2]
    on_demand, _ = planned(tmp_path, [0, 1, seed, 2, 3], retry_quarantined=True)
    assert on_demand.num_pictures_to_make == 1


def test_a_picture_that_hangs_is_ended_and_quarantined(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    # A process that has its modules answers at once; the first group is for that.
    assert run(tmp_path / "warm", [0], supervisor).num_ok == 1
    report = run(tmp_path, [0, poison.HANGS, 1], supervisor, timeout_s=SILENCE_S)
    assert report.num_ok == 2
    (failed,) = report.failed
    assert (failed.outcome.id, failed.outcome.reason) == ("n1", "timed_out")
    assert f"no sign of life for {SILENCE_S} s" in str(failed.outcome.error)


def test_an_evaluation_may_take_longer_than_a_silence_may_last(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    """As one of 4096 px does: its parts tell that it goes on."""
    assert run(tmp_path / "warm", [0], supervisor).num_ok == 1
    report = run(tmp_path, [poison.IS_SLOW], supervisor, timeout_s=poison.SLOW_S * 2 / 3)
    assert report.num_ok == 1


def test_a_picture_that_makes_a_surprising_error_fails_alone_and_is_tried_by_every_run(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    report = run(tmp_path, [0, poison.FAILS, 1], supervisor)
    assert report.num_ok == 2
    (failed,) = report.failed
    assert (failed.outcome.id, failed.outcome.reason) == ("n1", "group_failed")
    assert "RuntimeError: the device fell off" in str(failed.outcome.error)
    again, _ = planned(tmp_path, [0, poison.FAILS, 1])
    assert again.num_pictures_to_make == 1


def test_time_in_which_the_run_itself_slept_is_no_silence(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closed lid stops both, and who wakes first has not heard of the other for a night."""
    now = [0.0]
    poll = Connection.poll

    def closed_lid(connection: Connection, timeout: float = 0.0) -> bool:
        is_first = not now[0]
        now[0] += 30_000 if is_first else timeout
        return False if is_first else poll(connection, timeout)

    assert run(tmp_path / "warm", [0], supervisor).num_ok == 1
    silence = Silence
    monkeypatch.setattr("nst.running.supervisor.Silence", lambda s: silence(s, lambda: now[0]))
    monkeypatch.setattr(Connection, "poll", closed_lid)
    assert run(tmp_path, [0, 1], supervisor, timeout_s=SILENCE_S).num_ok == 2


def test_those_under_suspicion_from_before_are_tried_alone(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    """The first run ended before it could: then the next one must, or the innocent share the blame."""
    plan, chosen = planned(tmp_path, [0, poison.KILLS, 1])
    for one in plan.groups[0].jobs:
        error = WorkerError("it died", reason="worker_died", attempts=1)
        records.write(chosen.output, failure_of(one, error))
    report = run(tmp_path, [0, poison.KILLS, 1], supervisor)
    assert [record.outcome.id for record in report.failed] == ["n1"]


def test_a_listener_that_fails_is_no_death_of_the_process(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    class Broken(NoListener):
        def recorded(self, group: Group, outcome: Outcome) -> None:
            raise BrokenPipeError

    plan, chosen = planned(tmp_path, [0, 1])
    with pytest.raises(BrokenPipeError):
        supervisor.run_group(plan.groups[0], chosen, Broken())
    assert dict(records.read(chosen.output).failed) == {}
    assert run(tmp_path, [0, 1], supervisor).num_ok == 2


def test_a_run_that_dies_with_its_process_remembers_the_first_try(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, chosen = planned(tmp_path, [poison.KILLS])
    written: list[Outcome] = []

    def last_words(output: str, outcome: Outcome) -> None:
        write(output, outcome)
        written.append(outcome)
        raise KeyboardInterrupt

    write = records.write
    with monkeypatch.context() as patch:
        patch.setattr(records, "write", last_words)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(plan, chosen, painter=PaintsBy(supervisor.run_group))
    assert [outcome.attempts for outcome in written] == [1]
    report = run(tmp_path, [poison.KILLS], supervisor)
    assert report.failed[0].outcome.attempts == 2


def test_a_process_that_never_gets_to_a_picture_ends_the_group(tmp_path: Path) -> None:
    plan, chosen = planned(tmp_path, [0])
    broken = Supervisor(entry="tests.no_such_module")
    with pytest.raises(NSTError, match="ended by itself with status 1 before its first picture"):
        broken.run_group(plan.groups[0], chosen, NoListener())


def test_a_process_that_finds_fewer_gpus_than_one_before_it_paints_nothing(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, chosen = planned(tmp_path, [0])
    with monkeypatch.context() as patch:
        patch.setattr(_Worker, "num_gpus", lambda _: 2)
        assert supervisor.num_gpus() == 2
    monkeypatch.setattr(_Worker, "num_gpus", lambda _: 1)
    with pytest.raises(PainterError, match="found 1 GPU where there had been 2") as raised:
        supervisor.run_group(plan.groups[0], chosen, NoListener())
    assert raised.value.is_lost
    # Whoever paints on the CPU needs none.
    monkeypatch.undo()
    on_the_cpu = replace(chosen, device="cpu")
    assert supervisor.run_group(plan.groups[0], on_the_cpu, NoListener()).num_made == 1


def test_a_process_that_dies_once_while_gpus_are_counted_is_started_again(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[int | Exception] = [_Death(), 2]

    def num_gpus(_: _Worker) -> int:
        match answers.pop(0):
            case int(number):
                return number
            case error:
                raise error

    monkeypatch.setattr(_Worker, "num_gpus", num_gpus)
    assert supervisor.num_gpus() == 2


def test_a_process_says_what_it_takes_for_auto_and_then_paints(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    expected = resolve_precision("auto", torch.device("cpu"))
    assert supervisor.precision("cpu") == expected
    assert run(tmp_path, [0], supervisor).num_ok == 1
    assert supervisor.precision("cpu") == expected
    with pytest.raises(ConfigError, match="--device cuda:99: found"):
        supervisor.precision("cuda:99")


def test_a_process_that_never_gets_ready_says_no_precision() -> None:
    broken = Supervisor(entry="tests.no_such_module")
    with pytest.raises(NSTError, match="ended by itself with status 1 before its first picture"):
        broken.precision("cpu")


def test_what_a_process_prints_is_none_of_what_was_asked_for(
    capfd: pytest.CaptureFixture[str],
) -> None:
    # A module that prints on stdout when it is imported, and has nothing to call.
    chatty = Supervisor(entry="this")
    with pytest.raises(NSTError):
        chatty.precision("cpu")
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "The Zen of Python" in printed.err


def test_a_process_starts_in_a_working_folder_that_was_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: Supervisor
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert supervisor.precision("cpu") in ("float32", "bfloat16")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (3, "ended by itself with status 3"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-signal.SIGKILL, "was killed by SIGKILL (was memory short?)"),
        (-40, "was killed by signal 40"),
    ],
)
def test_how_a_process_died_is_told_by_its_exit_status(code: int, said: str) -> None:
    assert _how_it_died(code) == said


def test_progress_and_records_come_through(tmp_path: Path, supervisor: Supervisor) -> None:
    class Seen(NoListener):
        def __init__(self) -> None:
            self.begun_ids: list[str] = []
            self.recorded_ids: list[str] = []
            self.last = (0, 0)

        def begun(self, group: Group, ids: Sequence[str]) -> None:
            self.begun_ids += ids

        def recorded(self, group: Group, outcome: Outcome) -> None:
            self.recorded_ids.append(outcome.id)

        def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
            self.last = (evaluations, pictures)

    plan, chosen = planned(tmp_path, [0, 1])
    seen = Seen()
    pipeline.run(plan, chosen, seen, painter=PaintsBy(supervisor.run_group))
    assert seen.recorded_ids == ["n0", "n1"]
    assert seen.last == (2, 2)


def test_a_process_that_is_to_stop_records_what_it_paints_and_goes_on_when_asked(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    class Stopped(NoListener):
        def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
            raise StoppedError("by me")

    plan, chosen = planned(tmp_path, range(8))
    supervisor.start()
    worker = supervisor._worker
    with pytest.raises(StoppedError, match="by me"):
        supervisor.run_group(plan.groups[0], chosen, Stopped())
    found = records.read(chosen.output)
    assert "n0" in found.made
    assert dict(found.failed) == {}
    assert supervisor._worker is worker
    assert run(tmp_path, range(8), supervisor).num_ok == 8
    assert supervisor._worker is worker


def test_who_is_told_of_pictures_needs_no_pytorch(tmp_path: Path) -> None:
    rows = [row(id="one", size=48, steps=1)]
    manifest = write_project(tmp_path / "in", rows)
    code = (
        "import sys; from nst.pipeline import run_manifest; from nst.settings import RunSettings; "
        f"run_manifest({str(manifest)!r}, RunSettings(output={str(tmp_path / 'out')!r})); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_another_process_goes_on_where_threads_have_to_wait_otherwise(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, settings = planned(tmp_path, [0, 1, 2], max_batch_pixels=10**6)
    (group,) = plan.groups
    changes = chain([False, True], repeat(False))
    monkeypatch.setattr(Neighbours, "have_changed", lambda _: next(changes))
    seen: list[str] = []
    processes = []
    start = Supervisor.start

    def starting(self: Supervisor) -> None:
        start(self)
        processes.append(self._worker)

    monkeypatch.setattr(Supervisor, "start", starting)

    class Seen(NoListener):
        def recorded(self, group: Group, outcome: Outcome) -> None:
            seen.append(outcome.id)

    report = supervisor.run_group(group, settings, Seen())
    assert (report.num_made, report.num_failed) == (3, 0)
    assert len(set(map(id, processes))) == 2
    assert sorted(seen) == ["n0", "n1", "n2"]


def test_another_process_goes_on_once_all_that_was_painted_side_by_side_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Worker, "has_gpus", False)
    plan, settings = planned(tmp_path, range(4), device="cpu")
    (group,) = plan.groups
    changes = chain([True], repeat(False))
    monkeypatch.setattr(Neighbours, "have_changed", lambda _: next(changes))
    begun: list[tuple[str, ...]] = []
    recorded: list[str] = []

    class Seen(NoListener):
        def begun(self, group: Group, ids: Sequence[str]) -> None:
            begun.append(tuple(ids))

        def recorded(self, group: Group, outcome: Outcome) -> None:
            recorded.append(outcome.id)

    supervisor = Supervisor(num_threads=2)
    try:
        report = supervisor.run_group(group, settings, Seen())
    finally:
        supervisor.close()
    assert (report.num_made, report.num_failed) == (4, 0)
    assert sorted(recorded) == ["n0", "n1", "n2", "n3"]
    # The second two were begun when the first process was replaced, and were begun again in the next.
    assert begun == [("n0", "n1"), ("n2", "n3"), ("n2", "n3")]


def test_a_process_beside_a_gpu_stays_however_its_threads_wait(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has tried out and recorded there is worth more."""
    monkeypatch.setattr(Neighbours, "have_changed", lambda _: True)
    monkeypatch.setattr(_Worker, "has_gpus", True)
    plan, settings = planned(tmp_path, [0, 1], max_batch_pixels=10**6)
    supervisor.start()
    before = supervisor._worker
    report = supervisor.run_group(plan.groups[0], settings, NoListener())
    assert report.num_made == 2
    assert supervisor._worker is before


def test_errors_of_a_group_leave_the_process_and_come_as_they_are(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    plan, chosen = planned(tmp_path, [0])
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(NSTError, match="out"):
        supervisor.run_group(plan.groups[0], chosen, NoListener())
    worker = supervisor._worker
    (tmp_path / "out").unlink()
    assert supervisor.run_group(plan.groups[0], chosen, NoListener()).num_made == 1
    assert supervisor._worker is worker


def running_in(folder: Path, *arguments: str) -> AbstractContextManager["subprocess.Popen[str]"]:
    """A run that lasts long enough to be stopped in the middle."""
    rows = [row(id=f"n{n}", steps=50, seed=n, init="noise") for n in range(30)]
    manifest = write_project(folder / "in", rows)
    return started("run", manifest, "--output", folder / "out", *arguments)


def wait_for_pictures(folder: Path, number: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while len(list((folder / "out/records/new").glob("*.json"))) < number:
        assert time.monotonic() < until, "no pictures"
        time.sleep(0.05)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(each) for task in tasks for each in task.read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("number", "arguments"),
    [
        (signal.SIGINT, []),
        (signal.SIGTERM, []),
        (signal.SIGHUP, []),
        (signal.SIGTERM, ["--no-isolate"]),
    ],
)
def test_a_signal_stops_a_run_which_the_next_one_goes_on_with(
    tmp_path: Path, number: int, arguments: list[str]
) -> None:
    with running_in(tmp_path, *arguments) as running:
        wait_for_pictures(tmp_path, 2)
        painters = children(running.pid)
        running.send_signal(number)
        _, said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 128 + number
    assert "what is finished is kept" in said
    assert not any(map(is_running, painters))
    assert list((tmp_path / "out/locks").iterdir()) == []
    assert '"state": "interrupted"' in (tmp_path / "out/run.json").read_text()
    plan = pipeline.make_plan(
        str(tmp_path / "in/manifest.csv"), RunSettings(output=str(tmp_path / "out"))
    )
    assert len(plan.done) >= 2
    assert len(plan.done) + plan.num_pictures_to_make == 30


def test_killed_it_leaves_no_process_and_the_next_run_need_not_wait(tmp_path: Path) -> None:
    with running_in(tmp_path) as running:
        wait_for_pictures(tmp_path, 1)
        painters = children(running.pid)
        assert painters
        running.kill()
        running.communicate()
    until = time.monotonic() + PATIENCE_S
    while any(map(is_running, painters)):
        assert time.monotonic() < until, "the painting process outlives the run"
        time.sleep(0.05)
    settings = RunSettings(output=str(tmp_path / "out"))
    with runs.opened(str(tmp_path / "in/manifest.csv"), settings, {}) as this:
        assert this.lease.took_over
        assert len(list((tmp_path / "out/locks").iterdir())) == 1
    assert list((tmp_path / "out/locks").iterdir()) == []
