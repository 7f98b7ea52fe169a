"""A run on two nodes of Ray or Dask of which one dies half-way, on a real S3 and a real Prefect."""

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from nst import pipeline
from nst.output.reading import read_metadata
from tests import networks, servers
from tests.faults import FaultProxy, Request
from tests.helpers import ROOT, csv_bytes, row, write_project
from tests.networks import Network
from tests.operators import Operator

NUM_ROWS = 200
ROWS_OF_A_GROUP = 10
# On two idle cores it takes four minutes.
PATIENCE_S = 1800
BIN = Path(sys.executable).parent

NODES = {"painter-one": "first/secret+key", "painter-two": "second/secret+key"}

Report = Callable[[str], None]


@pytest.fixture
def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """In front of the store, to count; the nodes' own credentials are not those of this process."""
    folder = tmp_path / "seaweedfs"
    folder.mkdir()
    with servers.seaweedfs(folder, NODES) as url, FaultProxy(url) as proxy:
        for name, value in servers.environment(proxy.url).items():
            monkeypatch.setenv(name, value)
        servers.copy_up(url, "many", put_project(tmp_path / "in"))
        yield proxy


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    (tmp_path / "home").mkdir()
    operator = Operator(tmp_path / "home", {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"})
    try:
        (tmp_path / "home/home").mkdir(exist_ok=True)
        operator.begin("prefect server start")
        operator.wait("a server", operator.is_up)
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


class Cluster:
    """The nodes of an engine, as its users start them: one that only directs, and two that paint."""

    def __init__(self, network: Network, folder: Path, common: Mapping[str, str]) -> None:
        self.network = network
        self.folder = folder
        self.common = common
        self.head, *self.painters = network.namespaces

    def begin(self, address: str, *command: object, **environment: str) -> None:
        path, *arguments = map(str, command)
        self.network.start(
            address,
            [str(BIN / path), *arguments],
            self.folder / f"{address}.log",
            **{**self.common, **environment},
        )

    def own(self, number: int) -> dict[str, str]:
        """The credentials of a painter."""
        name = list(NODES)[number]
        return {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": NODES[name]}

    def log(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{each.name}:\n{each.read_text()[-1500:]}" for each in logs)


def start_ray(cluster: Cluster) -> str:
    common = ["--disable-usage-stats", "--block", "--object-store-memory", "100000000"]
    port = 6379
    cluster.begin(
        cluster.head, "ray", "start", "--head", "--node-ip-address", cluster.head, "--port", port,
        "--num-cpus", 0, "--include-dashboard", "false", "--temp-dir", cluster.common["TMPDIR"],
        *common,
    )  # fmt: skip
    address = f"{cluster.head}:{port}"
    wait_until_open(cluster, port)
    for number, painter in enumerate(cluster.painters):
        cluster.begin(
            painter, "ray", "start", "--address", address, "--node-ip-address", painter,
            "--num-cpus", 1, *common, **cluster.own(number),
        )  # fmt: skip
    return address


def start_dask(cluster: Cluster) -> str:
    port = 8786
    cluster.begin(
        cluster.head, "dask", "scheduler", "--host", cluster.head, "--port", port, "--no-dashboard"
    )
    address = f"tcp://{cluster.head}:{port}"
    wait_until_open(cluster, port)
    for number, painter in enumerate(cluster.painters):
        cluster.begin(
            painter, "dask", "worker", address, "--nthreads", 1, "--host", painter,
            "--no-dashboard", "--local-directory", cluster.folder / painter, **cluster.own(number),
        )  # fmt: skip
    return address


def wait_until_open(cluster: Cluster, port: int) -> None:
    code = (
        "import socket, sys, time\n"
        "end = time.monotonic() + 120\n"
        "while True:\n"
        f"    try: socket.create_connection(({cluster.head!r}, {port}), 1); break\n"
        "    except OSError:\n"
        "        if time.monotonic() > end: raise\n"
        "        time.sleep(0.2)\n"
    )
    cluster.network.run(cluster.head, [sys.executable, "-c", code])


START = {"ray": start_ray, "dask": start_dask}


@pytest.mark.parametrize("engine", sorted(START))
def test_a_node_that_dies_half_way_costs_no_row_and_one_group_at_most(
    tmp_path: Path, proxy: FaultProxy, operator: Operator, report: Report, engine: str
) -> None:
    assert networks.is_possible(), "expected to be root, with network namespaces"
    painted_by: dict[str, set[str]] = {}

    def watch(request: Request) -> None:
        if request.method == "PUT" and request.key.startswith("run/images/"):
            signed = re.search(r"Credential=([^/]+)/", request.headers.get("Authorization", ""))
            painted_by.setdefault(request.key, set()).add(signed[1] if signed else "nobody")

    proxy.rules.append(watch)
    with ExitStack() as stack:
        network = stack.enter_context(networks.network(3))
        # The path of a socket has a hundred characters at most.
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nst", dir="/tmp")))
        ports = {url.rpartition(":")[2].split("/")[0] for url in (proxy.url, operator.api)}
        for port in ports:
            stack.enter_context(networks.forwarded(network.gateway, int(port)))
        here = {
            **operator.settings,
            **servers.environment(proxy.url.replace("127.0.0.1", network.gateway)),
            "PREFECT_API_URL": operator.api.replace("127.0.0.1", network.gateway),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'flows'}",
            "PREFECT_HOME": str(tmp_path / "nodes"),
            "TMPDIR": str(short),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        cluster = Cluster(network, tmp_path, here)
        address = START[engine](cluster)
        log = tmp_path / "run.txt"
        running = network.start(
            cluster.head,
            [
                sys.executable, "-m", "nst", "run", "s3://many/in/rows.csv", "--output", "s3://many/run",
                "--prefect", "--runner", engine, "--runner-address", address,
                "--max-batch-pixels", str(ROWS_OF_A_GROUP * 36 * 48),
            ],
            log,
            **here,
        )  # fmt: skip

        def is_half_way() -> bool:
            assert running.poll() is None, f"{log.read_text()}\n{cluster.log()}"
            recorded = {
                k for (m, k), _ in proxy.counts.items() if m == "PUT" and "/records/new/" in k
            }
            return len(recorded) >= NUM_ROWS // 2

        operator.wait("half of the rows", is_half_way, PATIENCE_S)
        before = len(painted_by)
        num_killed = network.kill(cluster.painters[1])
        report(f"{before} pictures were written when a node was killed, {num_killed} processes")
        status = running.wait(PATIENCE_S)
        text = log.read_text()
        assert status == 0, f"{text}\n{cluster.log()}"
        report(text[text.index("200 of 200 rows ok") :].partition("\n")[0])

    going_on = {"state": {"type": {"any_": ["RUNNING", "PENDING", "SCHEDULED", "CANCELLING"]}}}

    def is_quiet() -> bool:
        # What tasks tell comes in events, after a while.
        return not operator.ask("task_runs/filter", task_runs=going_on)

    operator.wait("no task that seems to run", is_quiet, 60)
    assert operator.ask("flow_runs/filter", flow_runs=going_on) == []
    tasks: list[dict[str, Any]] = operator.ask("task_runs/filter")
    states = sorted(task["state_name"] for task in tasks)
    report(f"task runs: { {state: states.count(state) for state in states} }")

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
    # Each node with what was in its environment and nobody else's.
    assert both == set(NODES)
    audit = pipeline.verify("s3://many/run")
    assert (audit.num_good, audit.findings) == (NUM_ROWS, ())
