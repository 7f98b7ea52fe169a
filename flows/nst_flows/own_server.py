"""Prefect's temporary server, which ends with the process that it was started for, whatever ends that."""

import atexit
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_ALLOW_EPHEMERAL_MODE

from nst.errors import ConfigError, RunnerError

# Waits for the end of whoever started it, even by SIGKILL, which closes its stdin.
_WATCH = """
import os, signal, sys, time
pid = int(sys.argv[1])
sys.stdin.buffer.read()
try:
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        time.sleep(0.1)
        os.kill(pid, 0)
    os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
except OSError:
    pass
"""


def start() -> None:
    """Start it if no server is configured; Prefect stops it when this process ends in order.

    Raises ConfigError if the configuration allows none, and RunnerError if it does not start.
    """
    if PREFECT_API_URL.value() is not None:
        return
    if not PREFECT_SERVER_ALLOW_EPHEMERAL_MODE.value():
        raise ConfigError(
            "expected a Prefect server, found that none is configured and a temporary one is not "
            "allowed; set PREFECT_API_URL, or PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=true"
        )
    # As Prefect's client does, which takes a second to import.
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    if server.running:
        return
    _watch_all(server)
    try:
        server.start()
    except (RuntimeError, httpx.HTTPError) as exc:
        server.stop()
        raise RunnerError(
            f"expected Prefect's temporary server to start, found: {exc}; run it again, or start a "
            "server and set PREFECT_API_URL"
        ) from exc
    # For the processes of a cluster on this machine, each of which would start one of its own.
    os.environ[PREFECT_API_URL.name] = server.api_url


def _watch_all(server: Any) -> None:
    """Have each process of a server watched from its first moment on: it takes a while to start."""
    unwatched: Callable[[], subprocess.Popen[Any]] = server._run_uvicorn_command

    def watched() -> "subprocess.Popen[Any]":
        process = unwatched()
        _watch(process.pid)
        return process

    server._run_uvicorn_command = watched


def _watch(pid: int) -> None:
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCH, str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Ctrl-C in a terminal is sent to all of its processes.
        start_new_session=True,
    )

    def end() -> None:
        watcher.kill()
        watcher.communicate()

    # Prefect registers the end of the server after this, and what is registered last is called first.
    atexit.register(end)
