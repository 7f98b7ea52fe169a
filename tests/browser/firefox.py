"""Firefox as it is installed, by the protocol that it speaks itself: WebDriver BiDi.

With its preferences as users have them, but for what it would ask of the network: tools that drive it
let a page that was opened from a file read its neighbours, which no user's Firefox does. Selenium needs
geckodriver, which neither Debian nor PyPI has; Playwright 1.65 can start this one with the channel
`moz-firefox`, and then asks for a command that Firefox 153 does not know.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

_NAMES = ("firefox-esr", "firefox", "/Applications/Firefox.app/Contents/MacOS/firefox")
_TIMEOUT_S = 60
_PREFERENCES: dict[str, bool | int | str] = {
    # Without this the remote agent sets its own, and the next one to false.
    "remote.prefs.recommended": False,
    "security.fileuri.strict_origin_policy": True,
    "app.normandy.enabled": False,
    "app.update.auto": False,
    "browser.aboutwelcome.enabled": False,
    "browser.region.network.url": "",
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.startup.page": 0,
    "browser.topsites.contile.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.dns.disablePrefetch": True,
    "services.settings.server": "data:,",
    "toolkit.telemetry.unified": False,
}

MISSING = "found no Firefox: install firefox-esr, or Firefox"

_REPORT_VIOLATIONS = """() => {
  globalThis.nstTestViolations = [];
  document.addEventListener("securitypolicyviolation", (event) => {
    globalThis.nstTestViolations.push(`${event.effectiveDirective} forbids ${event.blockedURI}`);
  });
}"""


def find() -> str | None:
    """The path of a Firefox."""
    return next((path for name in _NAMES if (path := shutil.which(name)) is not None), None)


@dataclass(slots=True)
class Firefox:
    """One tab. It tells of no request for a file."""

    connection: Connection
    tab: str = ""
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self.command("browsingContext.navigate", context=self.tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, or what it promises."""
        answer = self.command(
            "script.evaluate",
            expression=f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))",
            target={"context": self.tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    def faults(self) -> list[str]:
        """Errors and warnings of its pages, and what the policy of the present one had to stop."""
        return [*self.problems, *self.evaluate("globalThis.nstTestViolations")]

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command. What Firefox tells in the meantime is put down."""
        number = next(self._numbers)
        self.connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.connection.recv(timeout=_TIMEOUT_S))
            if message.get("id") == number:
                assert message["type"] == "success", f"{method}: {message.get('message')}"
                result: dict[str, Any] = message["result"]
                return result
            self._heard(message)

    def _heard(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        match message.get("method"):
            case "log.entryAdded" if parameters["level"] in ("error", "warn"):
                self.problems.append(f"{parameters['type']}: {parameters['text']}")
            case "network.beforeRequestSent":
                self.requests.append(parameters["request"]["url"])


@contextmanager
def opened(profile: Path) -> Iterator[Firefox]:
    """A Firefox without a window that keeps its profile in a folder of its own."""
    path = find()
    assert path is not None, MISSING
    profile.mkdir(parents=True)
    (profile / "user.js").write_text(
        "".join(
            f"user_pref({json.dumps(name)}, {json.dumps(value)});\n"
            for name, value in _PREFERENCES.items()
        )
    )
    command = [path, "--headless", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(
        [*command, "--remote-debugging-port", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # Pictures come as requests with headers, and answers as large as a tree of frames.
        with connect(f"{_endpoint(profile, process)}/session", max_size=None) as connection:
            yield _started(connection)
    finally:
        process.terminate()
        process.wait()


def _endpoint(profile: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where Firefox listens, which it writes into its profile once it does."""
    found = profile / "WebDriverBiDiServer.json"
    end = monotonic() + _TIMEOUT_S
    while not (found.exists() and found.read_text()):
        assert process.poll() is None, f"Firefox ended with {process.returncode}"
        assert monotonic() < end, f"Firefox did not listen in {_TIMEOUT_S} s"
        sleep(0.05)
    where = json.loads(found.read_text())
    return f"ws://{where['ws_host']}:{where['ws_port']}"


def _started(connection: Connection) -> Firefox:
    firefox = Firefox(connection)
    firefox.command("session.new", capabilities={})
    firefox.command("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
    firefox.command("script.addPreloadScript", functionDeclaration=_REPORT_VIOLATIONS)
    tree = firefox.command("browsingContext.getTree")
    firefox.tab = tree["contexts"][0]["context"]
    firefox.command(
        "browsingContext.setViewport", context=firefox.tab, viewport={"width": 1280, "height": 900}
    )
    return firefox
