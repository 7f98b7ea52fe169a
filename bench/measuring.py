"""What all benchmarks share: what a command took, where it ran, and the sections of RESULTS.md."""

import argparse
import os
import platform
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent

_MAX_LINES_SHOWN = 20
_LOOK_EVERY_S = 0.05
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a command took, with all the processes that it started.

    `peak_mb`, in 1e6 bytes, is the most that they were seen to have resident together, and
    `own_cpu_s` the processor's seconds of the first of them; both are 0 where there is no /proc.
    `lines` are what it printed, each with when: seconds since the epoch, as `started_s` is.
    """

    started_s: float
    process_s: float
    peak_mb: float
    own_cpu_s: float
    lines: tuple[tuple[float, str], ...]


def measured(
    command: Iterable[object],
    *,
    cwd: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> Usage:
    """Run a command to its end. Raises RuntimeError, with what it said last, where it fails."""
    arguments = [str(each) for each in command]
    started_s, started = time.time(), time.monotonic()
    child = subprocess.Popen(
        arguments,
        cwd=cwd,
        env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert child.stdout is not None
    ends = threading.Event()
    seen = [(0, 0.0)]

    def watch() -> None:
        while not ends.wait(_LOOK_EVERY_S):
            seen.append((_resident_bytes(child.pid), _cpu_s(child.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with child:
        lines = tuple((time.time(), line.rstrip()) for line in child.stdout)
    process_s = time.monotonic() - started
    ends.set()
    watcher.join()
    if child.returncode != 0:
        said = "\n".join(text for _, text in lines[-_MAX_LINES_SHOWN:])
        raise RuntimeError(
            f"expected status 0 of {' '.join(arguments)}, found {child.returncode}:\n{said}"
        )
    return Usage(
        started_s=started_s,
        process_s=process_s,
        peak_mb=max(size for size, _ in seen) / 1e6,
        own_cpu_s=max(cpu_s for _, cpu_s in seen),
        lines=lines,
    )


def python(module: str, *arguments: object) -> list[object]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]


def installed(folder: Path, *requirements: str, options: Sequence[str] = ()) -> Path:
    """A folder to import packages from, which pip fills on first use."""
    if not any(folder.glob("*.dist-info")):
        pip = python("pip", "install", "--quiet", "--disable-pip-version-check", *options)
        subprocess.run([*map(str, pip), "--target", str(folder), *requirements], check=True)
    return folder.resolve()


def _resident_bytes(pid: int) -> int:
    """Of a process and all below it; 0 of one that has just ended."""
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return own + sum(_resident_bytes(int(child)) for child in below)


def _cpu_s(pid: int) -> float:
    try:
        # The name before it, in brackets, may have spaces.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:13])) / _TICKS_PER_S if fields else 0.0


def peak_mb() -> float:
    """The most that this process has had resident so far, in 1e6 bytes.

    Linux counts into `ru_maxrss` what whoever started the process had, and not into this.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024 / 1e6
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes / 1e6


def where() -> str:
    """The machine, the day and the commit, for the head of a section."""
    threads = os.environ.get("OMP_NUM_THREADS")
    cores = f"{os.cpu_count()} cores" + (f", OMP_NUM_THREADS={threads}" if threads else "")
    return f"{_processor()}, {cores}; {datetime.now(UTC).date()}, commit {_commit()}"


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", listing.read_text()) if listing.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _commit() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()


def add_markdown_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="put it into this file too, as a section"
    )


def tell(text: str, markdown: Path | None, title: str) -> None:
    """Print a section, and put it into a file where one is given."""
    sys.stdout.write(text)
    if markdown is not None:
        before = markdown.read_text() if markdown.exists() else "# Benchmark\n"
        markdown.write_text(in_place(before, title, text))


def in_place(text: str, title: str, body: str) -> str:
    """`text` with `body` as its section `## title`: in place of the one that it has, or at its end."""
    section = f"## {title}\n\n{body}"
    found = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"{text.rstrip()}\n\n{section}"
    after = text[found.end() :]
    return text[: found.start()] + section + ("\n" + after if after else "")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table whose columns are even as text too."""
    lines = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )
