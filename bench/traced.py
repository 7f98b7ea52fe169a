"""`nst` with a clock in it: `python -m bench.traced FILE run ...` says in FILE what it was at, and when.

The same modules in the same processes as `python -m nst`, with timers around the steps of a run. What
a thread is at is the innermost step that it is in; seconds are of the clock that all processes of a
machine share.
"""

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any

import psutil

_FILE = "NST_BENCH_TRACE"


@dataclass(frozen=True, slots=True)
class Segment:
    """A time in which a thread was at one step, and the processor's seconds that it took of it."""

    step: str
    start_s: float
    end_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Beside:
    """Processor's seconds that were taken so far, by the process that plans and by Prefect's server."""

    driver_cpu_s: float
    server_cpu_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one process says of itself; `beside` is of before and after each group."""

    segments: tuple[Segment, ...]
    beside: tuple[Beside, ...]


class _Clock:
    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.beside: list[Beside] = []
        self._threads = threading.local()

    @contextmanager
    def at(self, step: str) -> Iterator[None]:
        threads = self._threads
        outer = getattr(threads, "step", None)
        self._turn_to(step)
        try:
            yield
        finally:
            self._turn_to(outer)

    def _turn_to(self, step: str | None) -> None:
        threads, now, cpu = self._threads, time.monotonic(), time.thread_time()
        before = getattr(threads, "step", None)
        if before is not None:
            self.segments.append(Segment(before, threads.since, now, cpu - threads.cpu))
        threads.step, threads.since, threads.cpu = step, now, cpu

    def around(self, owner: Any, name: str, step: str) -> None:
        """Have `owner.name` timed from here on, whoever calls it."""
        function: Callable[..., Any] = getattr(owner, name)

        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            with self.at(step):
                return function(*arguments, **options)

        setattr(owner, name, timed)

    def write(self, path: Path) -> None:
        trace = Trace(segments=tuple(self.segments), beside=tuple(self.beside))
        path.write_text(json.dumps(asdict(trace)))


def read(path: Path) -> Trace:
    """What a process has written."""
    found = json.loads(path.read_text())
    return Trace(
        **found
        | {
            "segments": tuple(Segment(**each) for each in found["segments"]),
            "beside": tuple(Beside(**each) for each in found["beside"]),
        }
    )


def painter_file(file: Path) -> Path:
    """Where the process that paints writes, beside the one that started it."""
    return file.with_name(f"painter-{file.name}")


def main(fd: int) -> None:
    """In place of `nst.running.worker.main`, in the process that paints."""
    clock = _Clock()
    file = painter_file(Path(os.environ[_FILE]))
    from nst.output import records
    from nst.painting import rulers, weights
    from nst.running import batch, loading, worker

    for owner, name, step in (
        (batch, "resolve_precision", "weights"),
        (batch, "load_backbone", "weights"),
        (rulers, "load_backbone", "weights"),
        (weights, "load_state", "weights"),
        (weights, "load_lpips_heads", "weights"),
        (batch, "_load", "decode"),
        (loading.Inputs, "write_previews", "small pictures"),
        (batch, "_paint", "paint"),
        (batch, "_measured", "measure"),
        (batch, "_write_picture", "write"),
        (batch, "_with_thumbnails", "small pictures"),
        (records, "write", "records"),
        (worker._Teller, "tell", "telling"),
    ):
        clock.around(owner, name, step)
    run_group = batch.run_group

    def written(*arguments: Any) -> Any:
        try:
            return run_group(*arguments)
        finally:
            # Once all is painted the process is killed, and would not write any more.
            clock.write(file)

    batch.run_group = written  # type: ignore[assignment]
    worker.main(fd)


def _run(file: Path, arguments: Sequence[str]) -> None:
    """As `nst` with these arguments."""
    clock = _Clock()
    # Registered first, it is called last, when Prefect has put away its server.
    atexit.register(clock.write, file)
    os.environ[_FILE] = str(file)
    sys.argv = ["nst", *arguments]
    with clock.at("start"):
        from nst import cli, pipeline
        from nst.output import records
        from nst.running import lanes, supervisor
    for owner, name, step in (
        (pipeline, "check", "planning"),
        (pipeline, "read_manifest", "planning"),
        (pipeline, "plan_rows", "planning"),
        (supervisor._Worker, "__init__", "painter"),
        (supervisor._Worker, "num_gpus", "painter"),
        (supervisor._Worker, "kill", "painter"),
        (lanes.Lanes, "run_group", "telling"),
        (records, "read", "records"),
        (records, "compact", "records"),
        (pipeline, "write_metadata", "metadata"),
        (pipeline, "publish", "gallery"),
    ):
        clock.around(owner, name, step)
    find_server = _time_prefect(clock) if "--prefect" in arguments else _no_server
    _look_beside(clock, lanes.Lanes, find_server)
    vars(pipeline)["Lanes"] = partial(lanes.Lanes, entry="bench.traced")
    with clock.at("account"):
        cli.main()


def _time_prefect(clock: _Clock) -> "_FindServer":
    """Time what is called of Prefect; a function that finds its own server."""
    with clock.at("prefect imports"):
        from nst_flows import local
    with clock.at("server"):
        # Nobody who has a server running imports this.
        from prefect.server.api.server import SubprocessASGIServer
    for name in ("start", "stop"):
        clock.around(SubprocessASGIServer, name, "server")
    clock.around(local, "run_locally", "prefect")

    def find_server() -> psutil.Process | None:
        running = [each.server_process for each in SubprocessASGIServer._instances.values()]
        return next((psutil.Process(one.pid) for one in running if one is not None), None)

    return find_server


_FindServer = Callable[[], psutil.Process | None]


def _no_server() -> psutil.Process | None:
    return None


def _look_beside(clock: _Clock, lanes: Any, find_server: _FindServer) -> None:
    """Have the processor's seconds put down before and after each group."""
    run_group = lanes.run_group

    def look() -> None:
        server = find_server()
        used = server.cpu_times() if server is not None else None
        server_cpu_s = used.user + used.system if used is not None else 0.0
        clock.beside.append(Beside(time.process_time(), server_cpu_s))

    @wraps(run_group)
    def between(*arguments: Any) -> Any:
        look()
        try:
            return run_group(*arguments)
        finally:
            look()

    lanes.run_group = between


if __name__ == "__main__":
    _run(Path(sys.argv[1]), sys.argv[2:])
