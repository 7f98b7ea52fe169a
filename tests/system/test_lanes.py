"""Several processes that paint side by side, and a signal."""

import threading
from pathlib import Path

import pytest

from nst import pipeline
from nst.output import records
from nst.output.metadata import Outcome
from nst.planning.plan import Group
from nst.running.reports import NoListener
from nst.running.supervisor import Supervisor
from nst.settings import RunSettings
from tests import poison
from tests.helpers import PATIENCE_S, row, write_project
from tests.system.test_supervisor import children, is_running, running_in, wait_for_pictures
from tests.test_lanes import planned, run


def test_a_signal_ends_all_lanes(tmp_path: Path) -> None:
    arguments = ["--lanes", "2", "--max-batch-pixels", "1"]
    with running_in(tmp_path, *arguments) as running:
        wait_for_pictures(tmp_path, 3)
        painters = children(running.pid)
        assert len(painters) == 2
        running.terminate()
        _, said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 128 + 15
    assert "what is finished is kept" in said
    assert not any(map(is_running, painters))
    assert list((tmp_path / "out/locks").iterdir()) == []


def test_a_picture_that_kills_its_process_costs_the_other_lanes_nothing(tmp_path: Path) -> None:
    plan, settings = planned(tmp_path, [0, poison.KILLS, 1, 2, 3], lanes=2)
    report = run(plan, settings)
    assert report.num_ok == 4
    (failed,) = report.failed
    assert (failed.outcome.id, failed.outcome.reason) == ("n1", "worker_died")
    assert failed.outcome.attempts == 2


def test_lanes_paint_at_the_same_time_what_one_lane_paints(tmp_path: Path) -> None:
    class Seen(NoListener):
        """Is told by one thread at a time, whichever it is."""

        def __init__(self) -> None:
            self.ids: list[str] = []
            self.threads: set[int] = set()

        def recorded(self, group: Group, outcome: Outcome) -> None:
            self.ids.append(outcome.id)
            self.threads.add(threading.get_ident())

    plan, settings = planned(tmp_path, range(4), lanes=2)
    assert len(plan.groups) == 4
    seen = Seen()
    assert run(plan, settings, seen).num_ok == 4
    assert sorted(seen.ids) == sorted(job.id for job in plan.jobs)
    assert len(seen.threads) == 2
    alone, its = planned(tmp_path / "alone", range(4))
    assert run(alone, its).num_ok == 4
    for name in (f"images/n{n}.png" for n in range(4)):
        one = (tmp_path / "alone/out" / name).read_bytes()
        assert one == (tmp_path / "out" / name).read_bytes()


def test_all_lanes_compute_in_what_the_first_process_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(_: Supervisor, device: str) -> str:
        asked.append(device)
        return "bfloat16"

    monkeypatch.setattr(Supervisor, "precision", answer)
    manifest = write_project(tmp_path / "in", [row(id=f"n{n}", size=48, steps=1) for n in range(3)])
    settings = RunSettings(output=str(tmp_path / "out"), max_batch_pixels=1, lanes=2)
    assert pipeline.run_manifest(str(manifest), settings).num_ok == 3
    assert asked == ["auto"]
    made = records.read(settings.output).made.values()
    assert {each.precision for each in made} == {"bfloat16"}
