"""An operator's terminals: a Prefect server, workers and commands in a home of their own."""

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from prefect.client.base import PrefectHttpxSyncClient

from nst_flows.summary import artifact_key
from tests.helpers import ROOT, row, write_project
from tests.servers import free_ports

# What an operator reads, and the part of it from which they type.
DOCUMENT = ROOT / "deploy/README.md"
SECTION = "From nothing to a nightly run"
# Commands that go on until somebody ends them.
_GO_ON = ("prefect server start", "prefect worker start")

# The machine may be busy with other tests.
_PATIENCE_S = 600
_STOP_S = 20

# So many steps on so small a picture take minutes, each of them milliseconds.
_LONG_STEPS = 90_000

_T = TypeVar("_T")


def settings_and_commands(document: Path, heading: str) -> tuple[dict[str, str], list[str]]:
    """The variables that a section exports, and its other commands in order."""
    section = document.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    section = re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    exports = [line for line in lines if line.startswith("export ")]
    pairs = (shlex.split(line, comments=True)[1].partition("=") for line in exports)
    settings = {name: value for name, _, value in pairs}
    return settings, [line for line in lines if line not in exports]


class Operator:
    """Runs commands in the checkout, in an environment that points to a server of its own."""

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        (port,) = free_ports(1)
        self.api = f"http://127.0.0.1:{port}/api"
        self.folder = folder
        self.outputs: list[str] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        here = {name: v for name, v in os.environ.items() if not name.startswith("PREFECT_")}
        # A home and a port of their own; all else as it is given. It lies in a folder that is not
        # there yet, as in the home of one who has never used Prefect.
        self.settings = {
            **settings,
            "PREFECT_HOME": str(folder / "home/prefect"),
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_API_URL": self.api,
        }
        self._environment = here | {
            # Not a setting of the operator's: to wait ten seconds for each run is only longer.
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'flows'}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "200",
            **self.settings,
        }

    def do(self, command: str) -> str:
        """What a command prints. Raises AssertionError where it fails."""
        done = subprocess.run(
            ["bash", "-euc", command],
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=2 * _PATIENCE_S,
            check=False,
        )
        text = done.stdout.decode()
        assert done.returncode == 0, f"{command}: {done.returncode}\n{text}\n{self.log()}"
        return text

    def begin(self, command: str) -> "subprocess.Popen[bytes]":
        """Start a command that goes on, as if in a terminal of its own; one before it has ended."""
        if command in self._running:
            self._running[command].wait(_STOP_S)
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                shlex.split(command),
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._running[command] = process
        return process

    def command(self, start: str) -> str:
        """What was begun by a command that starts so."""
        return next(command for command in self._running if command.startswith(start))

    def process(self, start: str) -> "subprocess.Popen[bytes]":
        """The process of the last command that was begun and starts so."""
        return self._running[self.command(start)]

    def ask(self, path: str, **body: Any) -> Any:
        """What the server answers to a question with this body."""
        return self._send("POST", path, json=body).json()

    def delete(self, path: str) -> None:
        """Have the server delete what lies at a path."""
        self._send("DELETE", path)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        # Prefect's client tries again where the server answers 503, as one whose SQLite database is
        # locked by its own services or by a worker does.
        with PrefectHttpxSyncClient(base_url=f"{self.api}/", timeout=60) as client:
            return client.request(method, path, **options)

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.api}/health", timeout=5).json() is True
        except httpx.HTTPError:
            return False

    def wait(self, what: str, look: Callable[[], _T | None], patience_s: float = _PATIENCE_S) -> _T:
        """What `look` finds, once it finds something."""
        give_up = time.monotonic() + patience_s
        while time.monotonic() < give_up:
            if found := look():
                return found
            time.sleep(0.3)
        raise AssertionError(f"expected {what} within {patience_s:.0f} s\n{self.log()}")

    def runs_of(self, deployment: str, states: Sequence[str]) -> list[dict[str, Any]]:
        """The runs of a deployment in states of these types, the last to begin first."""
        found: list[dict[str, Any]] = self.ask(
            "flow_runs/filter",
            deployments={"name": {"any_": [deployment]}},
            flow_runs={"state": {"type": {"any_": list(states)}}},
            sort="START_TIME_DESC",
        )
        return found

    def artifact(self, run_id: str, key: str) -> dict[str, Any] | None:
        """The artifact of a run under a key, if there is one."""
        found = self.ask(
            "artifacts/filter",
            artifacts={"flow_run_id": {"any_": [run_id]}, "key": {"any_": [key]}},
        )
        return dict(found[0]) if found else None

    def messages(self, run_id: str) -> list[str]:
        """What a run has logged."""
        found = self.ask(
            "logs/filter", logs={"flow_run_id": {"any_": [run_id]}}, sort="TIMESTAMP_ASC"
        )
        return [str(entry["message"]) for entry in found]

    def log(self) -> str:
        """The end of what the commands that go on have printed."""
        path = self.folder / "log"
        return path.read_text(errors="replace")[-5000:] if path.exists() else ""

    def end(self, command: str) -> None:
        """End what was begun by this command, if it was."""
        if process := self._running.get(command):
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """End what was begun, the last first."""
        for command in reversed(self._running):
            self.end(command)


@contextmanager
def who_has_typed_it_all(folder: Path) -> Iterator[Operator]:
    """One who has typed all that deploy/README.md says, with a manifest and folders of their own."""
    manifest = write_project(folder / "in", [row(id="one"), row("b.png", id="two", steps=2)])
    settings, commands = settings_and_commands(DOCUMENT, SECTION)
    theirs = {"NST_MANIFEST": str(manifest), "NST_OUTPUT": str(folder / "nightly")}
    operator = Operator(folder, settings | theirs)
    try:
        for command in commands:
            if not command.startswith(_GO_ON):
                operator.outputs.append(operator.do(command))
            else:
                operator.begin(command)
                operator.wait("a server", operator.is_up)
            if "schedule create" in command:
                operator.wait("a scheduled run", lambda: scheduled(operator))
        yield operator
    finally:
        operator.close()


def scheduled(operator: Operator) -> list[dict[str, Any]]:
    """The runs that the schedule has begun and that have ended well."""
    runs = operator.runs_of("nightly", ["COMPLETED"])
    return [run for run in runs if run["auto_scheduled"]]


def parameters(**values: object) -> str:
    """As options of `prefect deployment run`."""
    return " ".join(f"--param {shlex.quote(f'{n}={_text(v)}')}" for n, v in values.items())


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def painters(above: psutil.Process) -> list[psutil.Process]:
    """The processes below another that paint."""
    return [
        process
        for process in above.children(recursive=True)
        if any("nst.running.worker" in word for word in process.cmdline())
    ]


def is_alive(process: psutil.Process) -> bool:
    """Whether it does anything: one whose parent is gone may wait for nobody to ask for its end."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def begin_long_run(
    operator: Operator, deployment: str, output: Path, *, num_long: int = 1, **chosen: object
) -> str:
    """The id of a run that has made its first picture and paints others that take minutes."""
    _write_rows(output, num_long, steps=_LONG_STEPS)
    # One that the schedule has begun, and that would have this one cancelled.
    operator.wait("no other run", lambda: not operator.runs_of(deployment, ["RUNNING", "PENDING"]))
    operator.do(f"{_run_command(deployment, output)} {parameters(**chosen)}")

    def has_begun() -> str | None:
        for run in operator.runs_of(deployment, ["RUNNING", "FAILED", "CRASHED"]):
            if not run["name"].endswith(str(output)):
                continue
            assert run["state_type"] == "RUNNING", operator.log()
            progress = operator.artifact(run["id"], artifact_key("progress", str(output)))
            if progress and f"1/{1 + num_long} pictures" in str(progress["description"]):
                return str(run["id"])
        return None

    return operator.wait("a run that paints its second picture", has_begun)


def finish_it(
    operator: Operator, deployment: str, output: Path, *, num_long: int = 1, **chosen: object
) -> None:
    """Run what `begin_long_run` began again, with few steps for what is left, to its end."""
    _write_rows(output, num_long, steps=2)
    made = (output / "images/quick.png").stat().st_mtime_ns
    operator.do(f"{_run_command(deployment, output)} {parameters(**chosen)} --watch")
    run = operator.runs_of(deployment, ["COMPLETED"])[0]
    assert run["name"].endswith(str(output))
    assert len(list((output / "images").iterdir())) == 1 + num_long
    # Kept from the run that was stopped, not made again.
    assert (output / "images/quick.png").stat().st_mtime_ns == made


def _write_rows(output: Path, num_long: int, *, steps: int) -> Path:
    """The manifest of a run: a quick row, and others each of which is a group of its own."""
    long = [row("b.png", id=f"long{n}", steps=steps + n) for n in range(num_long)]
    return write_project(output.with_name(f"{output.name}-in"), [row(id="quick"), *long])


def _run_command(deployment: str, output: Path) -> str:
    manifest = output.with_name(f"{output.name}-in") / "manifest.csv"
    chosen = parameters(manifest=str(manifest), output=str(output))
    return f"prefect deployment run stylize-manifest/{deployment} {chosen}"
