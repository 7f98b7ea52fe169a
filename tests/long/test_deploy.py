"""Machines and processes that die under a run of a deployment."""

from pathlib import Path

import psutil

from tests.operators import (
    Operator,
    begin_long_run,
    finish_it,
    is_alive,
    painters,
)


def test_a_machine_that_dies_holds_no_slot_and_the_next_run_goes_on(
    operator: Operator, tmp_path: Path
) -> None:
    worker = psutil.Process(operator.process("prefect worker start").pid)
    run = begin_long_run(operator, "nightly", tmp_path / "out")
    (painter,) = painters(worker)
    flow = painter.parent()
    assert flow is not None
    worker.kill()
    flow.kill()
    operator.wait("what paints to end with it", lambda: not is_alive(painter), patience_s=20)
    operator.begin(operator.command("prefect worker start"))
    operator.wait(
        "the silent run to be marked as crashed",
        lambda: any(each["id"] == run for each in operator.runs_of("nightly", ["CRASHED"])),
    )
    # One at a time: had the dead one kept its slot, this one would be cancelled.
    finish_it(operator, "nightly", tmp_path / "out")


def test_a_run_whose_process_is_killed_is_crashed_and_the_next_goes_on(
    operator: Operator, tmp_path: Path
) -> None:
    worker = psutil.Process(operator.process("prefect worker start").pid)
    run = begin_long_run(operator, "adhoc", tmp_path / "out")
    (painter,) = painters(worker)
    flow = painter.parent()
    assert flow is not None
    flow.kill()
    operator.wait("what paints to end with it", lambda: not is_alive(painter), patience_s=20)
    operator.wait(
        "the run to be crashed",
        lambda: any(each["id"] == run for each in operator.runs_of("adhoc", ["CRASHED"])),
        patience_s=60,
    )
    finish_it(operator, "adhoc", tmp_path / "out")
