"""WebKitGTK, the nearest to Safari that Linux has, by WebDriver: webkit2gtk-driver and xvfb of Debian."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_DRIVER = "WebKitWebDriver"
_SCREEN = "Xvfb"
_BROWSERS = "/usr/lib/*/webkit2gtk-4.*/MiniBrowser"
_TIMEOUT_S = 60

MISSING = "found no WebKitGTK: install webkit2gtk-driver and xvfb"


def find() -> str | None:
    """The path of its small browser, where there is a driver and a screen for it too."""
    if shutil.which(_DRIVER) is None or shutil.which(_SCREEN) is None:
        return None
    return next(iter(sorted(glob(_BROWSERS))), None)


@dataclass(slots=True)
class WebKit:
    """One tab. What its pages log it keeps to itself."""

    session: str

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        _post(f"{self.session}/url", {"url": url})

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or what it promises."""
        script = (
            "const done = arguments[arguments.length - 1];"
            f"Promise.resolve({expression}).then((value) => done(JSON.stringify(value ?? null)))"
        )
        answer = _post(f"{self.session}/execute/async", {"script": script, "args": []})
        return json.loads(answer["value"])


@contextmanager
def opened(folder: Path) -> Iterator[WebKit]:
    """A WebKitGTK on a screen of its own that keeps what it remembers in `folder`."""
    browser = find()
    assert browser is not None, MISSING
    with ExitStack() as stack:
        display = stack.enter_context(_screen())
        port = _free_port()
        environment = {
            "DISPLAY": display,
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "NO_AT_BRIDGE": "1",
        }
        command = [_DRIVER, f"--port={port}"]
        stack.enter_context(_running(command, environment))
        session = stack.enter_context(_session(f"http://127.0.0.1:{port}", browser))
        yield WebKit(session)


@contextmanager
def _screen() -> Iterator[str]:
    """The name of a screen that nobody sees."""
    command = [_SCREEN, "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    with _running(command, os.environ) as process:
        assert process.stdout is not None
        yield f":{process.stdout.readline().decode().strip()}"


@contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def _session(driver: str, browser: str) -> Iterator[str]:
    options = {"binary": browser, "args": ["--automation"]}
    wanted = {"capabilities": {"alwaysMatch": {"webkitgtk:browserOptions": options}}}
    end = monotonic() + _TIMEOUT_S
    while True:
        try:
            answer = _post(f"{driver}/session", wanted)
            break
        except URLError:
            assert monotonic() < end, f"the driver did not listen in {_TIMEOUT_S} s"
            sleep(0.05)
    session = f"{driver}/session/{answer['value']['sessionId']}"
    try:
        yield session
    finally:
        with urlopen(Request(session, method="DELETE"), timeout=_TIMEOUT_S):
            pass


def _post(url: str, values: dict[str, Any]) -> dict[str, Any]:
    request = Request(url, json.dumps(values).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=_TIMEOUT_S) as response:
            answer: dict[str, Any] = json.load(response)
    except HTTPError as error:
        raise AssertionError(error.read().decode()) from error
    return answer


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
