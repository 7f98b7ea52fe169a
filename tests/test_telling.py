"""What is told to a Prefect server that does not answer: without holding anybody up."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
from prefect.settings import (
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_SERVER_ALLOW_EPHEMERAL_MODE,
    temporary_settings,
)

from nst.errors import ConfigError, RunnerError, StorageError
from nst.planning.plan import Plan
from nst.running.reports import NoListener, RunReport
from nst.settings import RunSettings
from nst_flows import fan_out, local, own_server
from nst_flows import progress as progresses
from nst_flows.progress import ProgressArtifact
from nst_flows.telling import Teller
from nst_flows.watching import end_of_flow
from tests.helpers import PATIENCE_S, ROOT
from tests.test_progress import outcome, two_groups


def test_what_is_told_holds_nobody_up_and_only_the_last_of_a_subject_is_told() -> None:
    teller, told = Teller(), list[str]()
    is_asked, may_answer = threading.Event(), threading.Event()

    def slow() -> None:
        is_asked.set()
        assert may_answer.wait(PATIENCE_S)
        told.append("first")

    teller.tell("progress", slow)
    assert is_asked.wait(PATIENCE_S)
    teller.tell("progress", lambda: told.append("second"))
    teller.tell("end", lambda: told.append("end"))
    teller.tell("progress", lambda: told.append("third"))
    assert told == []
    may_answer.set()
    teller.wait(PATIENCE_S)
    assert told == ["first", "third", "end"]


def test_a_server_that_does_not_answer_is_asked_once_and_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    teller, retries = Teller(), list[Any]()

    def gone() -> None:
        retries.append(PREFECT_CLIENT_MAX_RETRIES.value())
        raise httpx.ConnectError("connection refused")

    for subject in ("one", "two"):
        teller.tell(subject, gone)
        teller.wait(PATIENCE_S)
    assert retries == [0, 0]
    assert caplog.text.count("the Prefect server said: connection refused; the run goes on") == 1


def test_an_answer_that_does_not_come_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    teller, may_answer = Teller(), threading.Event()
    teller.tell("progress", may_answer.wait)
    teller.wait(0.01)
    assert "no answer within 0.01 s" in caplog.text
    may_answer.set()
    teller.wait(PATIENCE_S)


def test_a_progress_that_could_not_be_made_is_made_by_the_next_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progresses, "EVERY_S", 0)
    made: list[tuple[float, str]] = []

    def create(share: float, key: str, description: str) -> str:
        made.append((share, description))
        if len(made) == 1:
            raise httpx.ConnectError("connection refused")
        return "artifact"

    monkeypatch.setattr(progresses, "create_progress_artifact", create)
    updated: list[tuple[float, str]] = []
    monkeypatch.setattr(
        progresses,
        "update_progress_artifact",
        lambda artifact, share, description: updated.append((share, description)),
    )
    groups = two_groups()
    progress = ProgressArtifact("key")
    progress.planned(Plan(jobs=(), groups=groups, done=(), failed=()))
    progress.teller.wait(PATIENCE_S)
    progress.advanced(groups[0], 8, 2)
    progress.recorded(groups[0], outcome("a", "ok"))
    progress.teller.wait(PATIENCE_S)
    progress.ended("all done")
    assert [share for share, _ in made] == [0, 50]
    assert updated == [(50, "all done")]


def report() -> RunReport:
    return RunReport(
        num_rows=1,
        num_ok=1,
        num_done_before=0,
        failed_by_reason={},
        failed=(),
        gallery_url="g",
        metadata_url="m",
    )


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A flow whose server goes away before it is told how the flow ended: by `ends`."""
    made = SimpleNamespace(ends=None)

    def flow(*_: object, **__: object) -> None:
        made.ends()
        raise httpx.ConnectError("connection refused")

    monkeypatch.setattr(local, "stylize_manifest", flow)
    monkeypatch.setattr(local, "_check_server", lambda: None)
    monkeypatch.setattr(own_server, "start", lambda: None)
    return made


def run_locally(tmp_path: Path) -> RunReport:
    return local.run_locally("/m.csv", RunSettings(output=str(tmp_path)), {}, NoListener())


def test_a_run_whose_server_goes_away_has_its_report(
    tmp_path: Path, flow: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    flow.ends = lambda: setattr(end_of_flow(), "report", report())
    assert run_locally(tmp_path) == report()
    assert "was not told how the run ended, it said: connection refused" in caplog.text


def test_a_run_whose_server_goes_away_has_its_own_error(
    tmp_path: Path, flow: SimpleNamespace
) -> None:
    flow.ends = lambda: setattr(end_of_flow(), "error", StorageError("the disk is full"))
    with pytest.raises(StorageError, match="the disk is full"):
        run_locally(tmp_path)


def test_a_server_that_takes_no_run_is_told_of(tmp_path: Path, flow: SimpleNamespace) -> None:
    flow.ends = lambda: None
    with pytest.raises(RunnerError, match="a Prefect server that takes the run, found: connection"):
        run_locally(tmp_path)


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (None, False),
        (CancelledError(), True),
        (httpx.ConnectError("gone"), True),
        (StorageError("full"), False),
    ],
)
def test_a_task_that_was_cancelled_or_ended_by_its_engine_was_not_begun(
    error: Exception | None, is_refused: bool
) -> None:
    wrapped: Future[object] = Future()
    if error is None:
        wrapped.set_result(None)
    elif isinstance(error, CancelledError):
        wrapped.cancel()
    else:
        wrapped.set_exception(error)
    future: Any = SimpleNamespace(wrapped_future=wrapped)
    assert fan_out._was_not_begun(future) is is_refused


def test_a_server_does_not_outlive_the_process_that_started_it() -> None:
    code = (
        "import os, subprocess, sys; from nst_flows import own_server; "
        "server = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
        "own_server._watch(server.pid); print(server.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == -signal.SIGKILL
    _, alive = psutil.wait_procs(processes(int(done.stdout)), PATIENCE_S)
    assert alive == []


def processes(pid: int) -> list[psutil.Process]:
    try:
        return [psutil.Process(pid)]
    except psutil.NoSuchProcess:
        return []


class Server:
    """In the place of Prefect's temporary server, which would take half a minute."""

    running = False
    api_url = "http://127.0.0.1:8123/api"
    error: Exception | None = None
    was_stopped = False

    def _run_uvicorn_command(self) -> SimpleNamespace:
        return SimpleNamespace(pid=4321)

    def start(self) -> None:
        self._run_uvicorn_command()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.was_stopped = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    module = SimpleNamespace(SubprocessASGIServer=lambda: made)
    monkeypatch.setitem(sys.modules, "prefect.server.api.server", module)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return made


def test_a_temporary_server_is_watched_and_serves_the_processes_of_its_run(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    watched: list[int] = []
    monkeypatch.setattr(own_server, "_watch", watched.append)
    own_server.start()
    assert watched == [4321]
    assert os.environ["PREFECT_API_URL"] == server.api_url


def test_a_temporary_server_that_does_not_start_is_told_of_and_stopped(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setattr(own_server, "_watch", lambda pid: None)
    server.error = RuntimeError("Timed out while attempting to connect")
    with pytest.raises(RunnerError, match="temporary server to start, found: Timed out"):
        own_server.start()
    assert server.was_stopped
    assert "PREFECT_API_URL" not in os.environ


def test_where_no_temporary_server_is_allowed_one_has_to_be_configured() -> None:
    with (
        temporary_settings({PREFECT_SERVER_ALLOW_EPHEMERAL_MODE: False}),
        pytest.raises(ConfigError, match="set PREFECT_API_URL"),
    ):
        own_server.start()
