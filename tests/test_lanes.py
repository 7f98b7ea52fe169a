"""Several processes that paint side by side."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from nst import pipeline
from nst.errors import ConfigError, NSTError, RunEndedError, StorageError
from nst.output import records
from nst.planning.plan import Group, Plan
from nst.running import lanes, spawning
from nst.running.lanes import Lanes, lane_devices
from nst.running.reports import GroupReport, Listener, NoListener, RunReport
from nst.running.session import Session, run_in_order
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
    assert seen == ["cuda:0", "cuda:1", "cuda:0"]


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
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
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
