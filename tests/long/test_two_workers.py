"""A run on two workers of which one dies half-way with its flow, on a real S3 and a real Prefect."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from nst import pipeline
from nst.finish import read_metadata
from tests import servers
from tests.faults import FaultProxy, Request
from tests.helpers import ROOT, csv_bytes, row, write_project
from tests.operators import Operator, parameters, settings_and_commands
from tests.test_supervisor import children

pytestmark = pytest.mark.long

NUM_ROWS = 200
ROWS_OF_A_GROUP = 10
# Two shards go on at half-way, and one is left.
ROWS_OF_A_SHARD = 70
# On two idle cores it takes four minutes.
PATIENCE_S = 2400

WORKERS = {"painter-one": "first/secret+key", "painter-two": "second/secret+key"}

Report = Callable[[str], None]


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """In front of the store, to count; the workers' own credentials are not those of this process."""
    folder = tmp_path / "seaweedfs"
    folder.mkdir()
    with servers.seaweedfs(folder, WORKERS) as url, FaultProxy(url) as proxy:
        for name, value in servers.environment(proxy.url).items():
            monkeypatch.setenv(name, value)
        servers.copy_up(url, "many", put_project(tmp_path / "in"))
        yield proxy


@pytest.fixture
def operator(tmp_path: Path, proxy: FaultProxy) -> Iterator[Operator]:
    settings, commands = settings_and_commands(
        ROOT / "deploy/README.md", "From nothing to a nightly run"
    )
    folder = tmp_path / "prefect"
    folder.mkdir()
    operator = Operator(folder, settings)
    try:
        operator.do(next(each for each in commands if each.startswith("mkdir")))
        operator.begin("prefect server start")
        operator.wait("a server", operator.is_up)
        for command in commands:
            if "work-pool create" in command or command.endswith("deploy/prefect.yaml"):
                operator.do(command)
        yield operator
    finally:
        operator.close()


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Report:
    """Say a figure that no test judges."""
    started = time.monotonic()

    def say(text: str) -> None:
        with capsys.disabled():
            line = f"\n{time.monotonic() - started:.0f} s: {text}"
            request.config.get_terminal_writer().line(line)

    return say


def put_project(folder: Path) -> Mapping[str, bytes]:
    """The manifest and its pictures, by their keys."""
    pairs = product("ab", "s", range(NUM_ROWS // 2))
    rows = [
        row(f"{content}.png", f"{style}.png", id=f"{content}-{style}-{seed}", seed=seed)
        | {"size": 48, "steps": 1}
        for content, style, seed in pairs
    ]
    write_project(folder, [])
    found = {f"in/{path.name}": path.read_bytes() for path in folder.glob("*.png")}
    return found | {"in/rows.csv": csv_bytes(rows)}


def worker(operator: Operator, key_id: str, device: int) -> int:
    """The process of a worker with an environment of its own."""
    own = {
        "AWS_ACCESS_KEY_ID": key_id,
        "AWS_SECRET_ACCESS_KEY": WORKERS[key_id],
        "CUDA_VISIBLE_DEVICES": str(device),
    }
    variables = " ".join(f"{name}={value}" for name, value in own.items())
    start = f"prefect worker start --pool nst --name {key_id} --limit 1 --install-policy never"
    return operator.begin(f"env {variables} {start}").pid


def runs(operator: Operator, **chosen: object) -> list[dict[str, Any]]:
    """All but those of coming nights."""
    found: list[dict[str, Any]] = operator.ask("flow_runs/filter", flow_runs=chosen)
    return [run for run in found if not run["auto_scheduled"]]


def test_a_machine_that_dies_half_way_costs_no_row_and_one_group_at_most(
    proxy: FaultProxy, operator: Operator, report: Report
) -> None:
    painted_by: dict[str, set[str]] = {}

    def watch(request: Request) -> None:
        if request.method == "PUT" and request.key.startswith("run/images/"):
            signed = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
            painted_by.setdefault(request.key, set()).add(signed[1] if signed else "nobody")

    proxy.rules.append(watch)
    operator.begin("prefect worker start --pool nst-drivers --install-policy never")
    pids = {key_id: worker(operator, key_id, n) for n, key_id in enumerate(WORKERS)}
    told = parameters(
        manifest="s3://many/in/rows.csv",
        output="s3://many/run",
        shard_rows=ROWS_OF_A_SHARD,
        in_flight=2,
        shard_timeout_s=90,
        max_batch_pixels=ROWS_OF_A_GROUP * 36 * 48,
        timeout_s=PATIENCE_S,
    )
    operator.do(f"prefect deployment run stylize-shards/driver {told}")

    def is_half_way() -> bool:
        num_recorded = len(
            {key for (m, key), _ in proxy.counts.items() if m == "PUT" and "/records/new/" in key}
        )
        return num_recorded >= NUM_ROWS // 2

    operator.wait("half of the rows", is_half_way, PATIENCE_S)
    before = len(painted_by)
    victim = next(pid for pid in pids.values() if children(pid))
    doomed = [victim, *children(victim)]
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    report(f"{before} pictures were written when a worker and its flow were killed: {doomed}")

    def driver() -> dict[str, Any] | None:
        ended = operator.runs_of("driver", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
        return ended[0] if ended else None

    ended: dict[str, Any] = operator.wait("the end of the run", driver, PATIENCE_S)
    by_state = {run["name"]: run["state_name"] for run in runs(operator)}
    report(f"the run is {ended['state_name']}; all runs: {by_state}")
    assert ended["state_name"] == "Completed", operator.messages(ended["id"])
    going_on = {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED", "CANCELLING", "PAUSED"]}}
    assert runs(operator, state=going_on) == []
    assert sorted(by_state.values()).count("Completed") == 4
    assert any(name.endswith("attempt 2") for name in by_state)

    rows = read_metadata("s3://many/run")
    assert [each.outcome.status for each in rows] == ["ok"] * NUM_ROWS
    assert len({each.outcome.id for each in rows}) == NUM_ROWS
    writes = {
        key: number
        for (method, key), number in proxy.counts.items()
        if method == "PUT" and "/run/images/" in key
    }
    repeated = sorted(key for key, number in writes.items() if number > 1)
    both = set[str]().union(*painted_by.values())
    report(f"{len(writes)} pictures by {sorted(both)}, {len(repeated)} written twice: {repeated}")
    assert len(writes) == NUM_ROWS
    assert len(repeated) <= ROWS_OF_A_GROUP
    assert max(writes.values()) <= 2
    # Each worker with what was in its environment and nobody else's.
    assert both == set(WORKERS)
    audit = pipeline.verify("s3://many/run")
    assert (audit.num_good, audit.findings) == (NUM_ROWS, ())
