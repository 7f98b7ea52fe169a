"""Several processes that paint side by side."""

import pickle
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nst import pipeline
from nst.errors import (
    ConfigError,
    NoPainterError,
    NSTError,
    PainterError,
    RunEndedError,
    StorageError,
)
from nst.output import records
from nst.planning.plan import Group, Plan
from nst.running import lanes, spawning
from nst.running.lanes import Lanes, lane_devices
from nst.running.reports import GroupReport, Listener, NoListener, RunReport
from nst.running.session import Session, run_in_lanes, run_in_order
from nst.running.supervisor import Supervisor
from nst.settings import RunSettings
from tests import poison
from tests.helpers import PATIENCE_S, row, write_project
from tests.painters import PaintsBy


def planned(folder: Path, seeds: Sequence[int], **settings: object) -> tuple[Plan, RunSettings]:
    """A group for each picture."""
    rows = [row(id=f"n{n}", size=48, steps=1, seed=seed) for n, seed in enumerate(seeds)]
    manifest = write_project(folder / "in", rows)
    chosen = RunSettings(
        **{"output": str(folder / "out"), "max_batch_pixels": 1} | settings  # type: ignore[arg-type]
    )
    return pipeline.make_plan(str(manifest), chosen), chosen


def run(plan: Plan, settings: RunSettings, listener: Listener | None = None) -> RunReport:
    by = Lanes(settings, entry="tests.poison")
    try:
        return pipeline.run(plan, settings, listener, painter=by)
    finally:
        by.close()


@pytest.mark.parametrize(
    ("device", "number", "num_gpus", "expected"),
    [
        ("auto", 0, 0, ["auto"]),
        ("auto", 0, 1, ["auto"]),
        ("auto", 0, 3, ["cuda:0", "cuda:1", "cuda:2"]),
        ("auto", 2, 3, ["cuda:0", "cuda:1"]),
        ("auto", 2, 0, ["auto", "auto"]),
        ("cuda:1,cuda:3", 0, 0, ["cuda:1", "cuda:3"]),
        ("cuda:1,cuda:3", 4, 0, ["cuda:1", "cuda:3", "cuda:1", "cuda:3"]),
        ("cuda:1", 0, 4, ["cuda:1"]),
        ("cpu", 2, 4, ["cpu", "cpu"]),
    ],
)
def test_there_is_a_lane_for_each_device_unless_told_otherwise(
    device: str, number: int, num_gpus: int, expected: list[str]
) -> None:
    assert list(lane_devices(device, number, num_gpus)) == expected


def test_auto_takes_every_gpu_that_the_first_process_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Supervisor, "num_gpus", lambda _: 2)
    monkeypatch.setattr(Supervisor, "start", lambda _: None)
    seen = []

    def paint(_: Supervisor, group: Group, settings: RunSettings, __: Listener) -> GroupReport:
        seen.append(settings.device)
        return GroupReport(name=group.name, num_made=0, num_failed=0)

    monkeypatch.setattr(Supervisor, "run_group", paint)
    plan, settings = planned(tmp_path, [0, 1, 2])
    by = Lanes(settings)
    assert by.num_lanes() == 2
    for group in plan.groups:
        by.run_group(group, settings, NoListener())
    # The last one that painted goes first, as its process has the weights.
    assert seen == 3 * ["cuda:0"]


def painting_on(
    monkeypatch: pytest.MonkeyPatch, paint: Callable[[str, str], None]
) -> Callable[[Path, int], tuple[Lanes, Plan, RunSettings]]:
    """Lanes on two GPUs without processes, whose groups are painted by `paint` of device and group."""

    def run_group(_: Supervisor, group: Group, settings: RunSettings, __: Listener) -> GroupReport:
        paint(settings.device, group.name)
        return GroupReport(name=group.name, num_made=len(group.jobs), num_failed=0)

    monkeypatch.setattr(Supervisor, "start", lambda _: None)
    monkeypatch.setattr(Supervisor, "run_group", run_group)

    def planned_for(folder: Path, num_gpus: int) -> tuple[Lanes, Plan, RunSettings]:
        monkeypatch.setattr(Supervisor, "num_gpus", lambda _: num_gpus)
        plan, settings = planned(folder, range(5))
        return Lanes(settings), plan, settings

    return planned_for


def test_a_lane_that_gets_no_picture_is_given_up_and_costs_no_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    was_asked_twice = threading.Event()

    def paint(device: str, group: str) -> None:
        begun.append(device)
        if begun.count("cuda:0") == 2:
            was_asked_twice.set()
        if device == "cuda:0":
            raise PainterError("the process that paints failed: out of memory")
        assert was_asked_twice.wait(PATIENCE_S)

    by, plan, settings = painting_on(monkeypatch, paint)(tmp_path, 2)
    report = run_in_lanes(plan.groups, Session(painter=by, settings=settings))
    assert (report.num_made, report.errors) == (5, {})
    assert (begun.count("cuda:0"), begun.count("cuda:1")) == (2, 5)
    assert by.num_lanes() == 1


def test_an_error_that_two_lanes_tell_of_is_the_groups_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, str]] = []

    def paint(device: str, group: str) -> None:
        begun.append((device, group))
        if group != "5 of 5":
            raise PainterError("the process that paints failed: these weights cannot be used")

    by, plan, settings = painting_on(monkeypatch, paint)(tmp_path, 2)
    report = run_in_order(plan.groups, Session(painter=by, settings=settings))
    assert sorted(report.errors) == [f"{n} of 5" for n in range(1, 5)]
    assert report.num_made == 1
    assert len({device for device, group in begun if group == "4 of 5"}) == 2
    assert by.num_lanes() == 2


@pytest.mark.parametrize("num_gpus", [1, 2])
def test_where_no_process_gets_to_a_picture_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_gpus: int
) -> None:
    begun: list[str] = []

    def paint(device: str, group: str) -> None:
        begun.append(group)
        raise PainterError("the process that paints ended by itself", is_lost=True)

    by, plan, settings = painting_on(monkeypatch, paint)(tmp_path, num_gpus)
    with pytest.raises(NoPainterError, match="ended by itself"):
        run_in_order(plan.groups, Session(painter=by, settings=settings))
    assert len(begun) <= 2 * num_gpus
    assert set(begun) < {group.name for group in plan.groups}


def test_an_error_of_a_painter_keeps_what_it_says_on_its_way_from_another_process() -> None:
    found = pickle.loads(pickle.dumps(PainterError("said", is_lost=True)))
    assert (str(found), found.is_lost) == ("said", True)


def test_a_store_out_of_order_ends_the_groups_of_all_lanes(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path, [0, 1, 2, 3])
    begun: list[str] = []
    is_closed = threading.Event()

    def paint(group: Group, _: RunSettings, __: Listener) -> GroupReport:
        begun.append(group.name)
        if group.name == "2 of 4":
            raise StorageError("no room left")
        assert is_closed.wait(PATIENCE_S)
        raise NSTError("ended by the run")

    painter = PaintsBy(paint, lanes=2, closed=is_closed.set)
    with pytest.raises(StorageError, match="no room left"):
        pipeline.run(plan, settings, painter=painter)
    assert sorted(begun) == ["1 of 4", "2 of 4"]


def test_a_lease_that_is_lost_ends_all_lanes(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path, range(6))
    begun: list[str] = []

    def paint(group: Group, _: RunSettings, __: Listener) -> GroupReport:
        begun.append(group.name)
        return GroupReport(name=group.name, num_made=0, num_failed=0)

    def check() -> None:
        if len(begun) >= 2:
            raise NSTError("another run took over")

    with pytest.raises(NSTError, match="took over"):
        pipeline.run(plan, settings, painter=PaintsBy(paint, lanes=2), check=check)
    assert len(begun) < 6


def test_a_portion_whose_run_is_over_begins_no_other_group(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path, range(4))
    begun: list[str] = []

    def paint(group: Group, _: RunSettings, __: Listener) -> GroupReport:
        begun.append(group.name)
        raise RunEndedError("the run has ended the process that paints")

    with pytest.raises(RunEndedError):
        run_in_order(plan.groups, Session(painter=PaintsBy(paint), settings=settings))
    assert begun == ["1 of 4"]


def test_closing_ends_a_group_that_hangs_and_blames_no_picture(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path, [poison.HANGS])
    supervisor = Supervisor(entry="tests.poison")
    has_begun = threading.Event()
    raised: list[Exception] = []

    class Seen(NoListener):
        def begun(self, group: Group, ids: Sequence[str]) -> None:
            has_begun.set()

    def paint() -> None:
        try:
            supervisor.run_group(plan.groups[0], settings, Seen())
        except NSTError as exc:
            raised.append(exc)

    thread = threading.Thread(target=paint)
    thread.start()
    assert has_begun.wait(PATIENCE_S)
    supervisor.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [str(each) for each in raised] == ["the run has ended the process that paints"]
    assert dict(records.read(settings.output).failed) == {}
    with pytest.raises(NSTError, match="has ended"):
        supervisor.run_group(plan.groups[0], settings, NoListener())


def test_lanes_of_one_cpu_share_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "num_cores", lambda: 8)
    assert lanes._num_threads(RunSettings(output="-", lanes=3)) == 2
    assert lanes._num_threads(RunSettings(output="-", lanes=16)) == 1
    assert lanes._num_threads(RunSettings(output="-")) is None
    assert lanes._num_threads(RunSettings(output="-", lanes=3, device="cuda:0")) is None


def test_one_process_has_one_lane() -> None:
    for chosen in ({"lanes": 2}, {"device": "cuda:0,cuda:1"}):
        with pytest.raises(ConfigError, match="--no-isolate: expected one lane"):
            RunSettings(output="-", isolate=False, **chosen)


def test_a_lane_tells_its_process_how_many_threads_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert spawning._environment(None)["OMP_NUM_THREADS"] == "5"
    assert spawning._environment(3)["OMP_NUM_THREADS"] == "3"
