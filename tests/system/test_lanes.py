"""Several processes that paint side by side, and a signal."""

from pathlib import Path

from tests import poison
from tests.helpers import PATIENCE_S
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
