"""WebKitGTK, the nearest to Safari that Linux has, by WebDriver: webkit2gtk-driver and xvfb of Debian."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import URLError
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
    """One tab."""

    session: str
    log: Path

    @property
    def problems(self) -> list[str]:
        """Errors and warnings that its pages logged, threw, or had stopped by their policy."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if line.startswith("CONSOLE") and "ERROR" in line]

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
    """A WebKitGTK on a screen of its own that keeps its log in a folder of its own."""
    browser = find()
    assert browser is not None, MISSING
    folder.mkdir(parents=True)
    log = folder / "log.txt"
    with ExitStack() as stack:
        display = stack.enter_context(_screen())
        port = _free_port()
        output = stack.enter_context(log.open("wb"))
        environment = {
            "DISPLAY": display,
            "HOME": str(folder),
            "PATH": "/usr/bin:/bin",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "NO_AT_BRIDGE": "1",
        }
        command = [_DRIVER, f"--port={port}"]
        stack.enter_context(
            _running(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
        )
        session = stack.enter_context(_session(f"http://127.0.0.1:{port}", browser))
        yield WebKit(session, log)


@contextmanager
def _screen() -> Iterator[str]:
    """The name of a screen that nobody sees."""
    command = [_SCREEN, "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with _running(process):
        assert process.stdout is not None
        yield f":{process.stdout.readline().decode().strip()}"
        process.stdout.close()


@contextmanager
def _running(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _session(driver: str, browser: str) -> Iterator[str]:
    options = {
        "binary": browser,
        "args": ["--automation", "--enable-write-console-messages-to-stdout=true"],
    }
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
    with urlopen(request, timeout=_TIMEOUT_S) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
