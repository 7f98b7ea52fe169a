"""Where Chromium is, and to have one installed: `python -m tests.browser.chromium`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# Where other than on the PATH: macOS.
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
# Without any font a page has no text to lay out.
_PACKAGES = ("chromium", "fonts-dejavu-core")

MISSING = "found no Chromium: install it or Google Chrome, or set CHROME_PATH to one"


def find() -> str | None:
    """The path of a Chromium, or of a Chrome, which does as well."""
    chosen = os.environ.get("CHROME_PATH")
    if chosen:
        return chosen
    on_path = (shutil.which(name) for name in _NAMES)
    return next(
        (path for path in (*on_path, *_PLACES) if path is not None and Path(path).exists()), None
    )


def must_run() -> bool:
    """Whether a test that cannot run has failed: in CI. A developer is told what it would need."""
    return bool(os.environ.get("CI"))


def main() -> int:
    """Sees to a Chromium where that takes no more than this system's packages; says so where not."""
    if find() is None and _may_install():
        _install()
    if find() is not None:
        return 0
    sys.stderr.write(f"{MISSING}\n")
    if must_run():
        return 1
    sys.stderr.write("the tests in a browser are skipped\n")
    return 0


def _may_install() -> bool:
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def _install() -> None:
    sys.stderr.write(f"installing {' and '.join(_PACKAGES)}\n")
    command = ["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *_PACKAGES]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode != 0:
        # On a machine that has never been told which packages there are.
        subprocess.run(["apt-get", "update", "--quiet"], stdout=subprocess.DEVNULL)
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
