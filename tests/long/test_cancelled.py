"""A run on two nodes of Dask that is cancelled, with tasks that paint and tasks that wait."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from nst import pipeline
from nst.output.reading import read_metadata
from tests.operators import Operator, begin_long_run, finish_it, is_alive, painters
from tests.servers import free_ports

NODES = ("one", "two")
# So many that some wait for the nodes while those paint.
NUM_LONG = 4


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    """One who has a server with the deployments, and a worker."""
    theirs = {"NST_MANIFEST": "/not/run", "NST_OUTPUT": "/not/run"}
    operator = Operator(tmp_path, {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"} | theirs)
    try:
        (tmp_path / "home").mkdir()
        operator.begin("prefect server start")
        operator.wait("a server", operator.is_up)
        operator.do("python deploy/set_up.py")
        operator.begin("prefect worker start --pool nst --install-policy never")
        yield operator
    finally:
        operator.close()


@pytest.fixture
def scheduler(operator: Operator) -> str:
    """The address of a Dask cluster of two nodes that paint a group each."""
    from distributed import Client

    (port,) = free_ports(1)
    address = f"tcp://127.0.0.1:{port}"
    operator.begin(f"dask scheduler --host 127.0.0.1 --port {port} --no-dashboard")
    for name in NODES:
        operator.begin(
            f"dask worker {address} --name {name} --nthreads 1 --host 127.0.0.1 --no-dashboard "
            f"--local-directory {operator.folder / name}"
        )
    with Client(address, timeout="120s") as client:
        client.wait_for_workers(len(NODES), timeout=120)
    return address


def test_a_cancelled_run_stops_its_nodes_and_the_next_one_makes_the_rest(
    operator: Operator, scheduler: str, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    chosen = {"runner": "dask", "runner_address": scheduler}
    run = begin_long_run(operator, "adhoc", output, num_long=NUM_LONG, **chosen)
    painting = painters(psutil.Process())
    assert len(painting) == len(NODES)

    operator.do(f"prefect flow-run cancel {run}")
    operator.wait("painting to end", lambda: not any(map(is_alive, painting)), patience_s=20)
    operator.wait(
        "the run to be cancelled",
        lambda: any(each["id"] == run for each in operator.runs_of("adhoc", ["CANCELLED"])),
        patience_s=40,
    )
    # All that were submitted: the one that made its picture, those that painted, and those behind.
    of_run = {"flow_runs": {"id": {"any_": [run]}}, "task_runs": {"tags": {"all_": ["gpu"]}}}

    def states() -> list[str]:
        return sorted(task["state_name"] for task in operator.ask("task_runs/filter", **of_run))

    # What tasks tell comes in events, after a while.
    expected = ["Cancelled"] * NUM_LONG + ["Completed"]
    operator.wait(f"tasks that are {expected}", lambda: states() == expected, patience_s=60)
    said = f"stopped: 1 of {1 + NUM_LONG} pictures were made and are kept"
    operator.wait("the log to say so", lambda: any(said in line for line in operator.messages(run)))
    assert [path.name for path in (output / "images").iterdir()] == ["quick.png"]
    assert not list((output / "attempts").glob("*"))

    finish_it(operator, "adhoc", output, num_long=NUM_LONG, **chosen)
    rows = read_metadata(str(output))
    assert [each.outcome.status for each in rows] == ["ok"] * (1 + NUM_LONG)
    audit = pipeline.verify(str(output))
    assert (audit.num_good, audit.findings) == (1 + NUM_LONG, ())
