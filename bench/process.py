"""Command -> what it took: wall time, peak memory, and when it printed which line.

Run as a script this file is the launcher that measures. Linux counts into a process's peak the
memory of the one that started it, so whoever starts it must be small, and have no torch loaded.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MAX_LINES_SHOWN = 20
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Line:
    """A line that a command printed, and when: seconds since the epoch, as files are dated."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a command took with all the processes that it started.

    `peak_mb`, in 1e6 bytes, is the most that they had resident together; `started_s` is by the
    monotonic clock, which all processes of a machine share.
    """

    started_s: float
    process_s: float
    peak_mb: float
    lines: tuple[Line, ...]


def measured(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> Usage:
    """Run a command to its end. Raises RuntimeError, with what it said last, where it fails."""
    launcher = subprocess.run(
        # Isolated and without site-packages: a launcher of 10 MB.
        [sys.executable, "-IS", __file__, *command],
        cwd=cwd,
        env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(launcher.stdout)
    lines = tuple(Line(at_s, text) for at_s, text in found["lines"])
    if found["status"] != 0:
        said = "\n".join(line.text for line in lines[-_MAX_LINES_SHOWN:])
        raise RuntimeError(f"expected status 0 of {' '.join(command)}, found a failure:\n{said}")
    return Usage(
        started_s=found["started_s"],
        process_s=found["process_s"],
        peak_mb=found["peak_mb"],
        lines=lines,
    )


def _launch(command: Sequence[str]) -> None:
    started = time.monotonic()
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert child.stdout is not None
    ends = threading.Event()
    seen: list[int] = []
    watcher = threading.Thread(target=_watch, args=(child.pid, ends, seen))
    watcher.start()
    lines = [(time.time(), line.rstrip()) for line in child.stdout]
    _, status, usage = os.wait4(child.pid, 0)
    process_s = time.monotonic() - started
    ends.set()
    watcher.join()
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    found = {
        "status": status,
        "started_s": started,
        "process_s": process_s,
        # A single process tells its peak itself, between two looks as well.
        "peak_mb": max(usage.ru_maxrss * unit_bytes, *seen, 0) / 1e6,
        "lines": lines,
    }
    json.dump(found, sys.stdout)


def _watch(pid: int, ends: threading.Event, seen: list[int]) -> None:
    """Append the resident bytes of a process and all below it, as often as makes no difference."""
    while not ends.wait(_LOOK_EVERY_S):
        seen.append(_resident_bytes(pid))


def _resident_bytes(pid: int) -> int:
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        # It has just ended, or the system does not tell.
        return 0
    return own + sum(_resident_bytes(int(child)) for child in below)


if __name__ == "__main__":
    _launch(sys.argv[1:])
