"""Groups painted in a process of its own, so that a picture that kills or hangs it costs no other.

What the process was at when it ended is tried again alone, once; a picture that ends it then too is
quarantined, and everything else goes on in a new process.
"""

import logging
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection

from nst import records
from nst.errors import NSTError, Reason, WorkerError
from nst.metadata import MAX_ATTEMPTS
from nst.plan import Group, PlannedJob, failure_of
from nst.reports import GroupReport, Listener
from nst.settings import RunSettings
from nst.worker import Advanced, Begun, Ended, Logged, Ready, Recorded

# How often in a row a process may end before it has begun with any picture.
_MAX_DEATHS = 2
_KILL_WAIT_S = 10
# What a process is given to load its modules, whatever a picture is given.
_START_S = 300

_log = logging.getLogger(__name__)


class Supervisor:
    """Runs groups one at a time in a process that it starts, watches, ends and starts again.

    `entry` is the module whose `main` the process calls.
    """

    def __init__(self, entry: str = "nst.worker") -> None:
        self._entry = entry
        self._worker: _Worker | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Have a process get ready, while something else is done."""
        if self._worker is None:
            self._worker = _Worker(self._entry)

    def stop(self) -> None:
        """End the process at once, whatever it is at."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def run_group(self, group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
        """As `batch.run_group`, whatever happens to the process that does it.

        Raises what it raises, and NSTError where no process gets as far as a picture.
        """
        with self._lock:
            return self._run_group(group, settings, listener)

    def _run_group(self, group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
        progress = _Progress()
        # Those under suspicion from an earlier run alone, so that no other falls under it.
        fresh = [one for one in group.jobs if not one.attempts]
        todo = [fresh] if fresh else []
        todo += [[one] for one in group.jobs if one.attempts]
        num_deaths = 0
        while todo:
            jobs = todo.pop(0)
            num_before = len(progress.recorded)
            end = self._attempt(replace(group, jobs=tuple(jobs)), settings, listener, progress)
            if end is None:
                continue
            suspects = [one for one in jobs if one.job.id in progress.begun]
            rest = [one for one in jobs if one.job.id not in progress.begun | progress.recorded]
            has_moved = bool(suspects) or len(progress.recorded) > num_before
            num_deaths = 0 if has_moved else num_deaths + 1
            if num_deaths >= _MAX_DEATHS:
                raise NSTError(f"the process that paints {end.said} before its first picture")
            for one in suspects:
                todo += self._judged(one, end, len(jobs) == 1, group, settings, listener, progress)
            if rest:
                todo.append(rest)
            progress.begun.clear()
        return progress.report(group)

    def _attempt(
        self,
        group: Group,
        settings: RunSettings,
        listener: Listener,
        progress: "_Progress",
    ) -> "_End | None":
        """Run a group to its end, or to that of the process: then how that came about."""
        self.start()
        worker = self._worker
        assert worker is not None
        num_before = len(progress.recorded)
        is_through = False
        try:
            worker.send(group, settings)
            for message in worker.messages(settings.timeout_s):
                match message:
                    case Begun(ids):
                        progress.begun |= set(ids)
                    case Advanced(evaluations, pictures):
                        before = num_before * group.steps
                        listener.advanced(group, before + evaluations, num_before + pictures)
                    case Recorded(outcome):
                        progress.put(outcome.id, outcome.status)
                        listener.recorded(group, outcome)
                    case Logged(name, level, text):
                        logging.getLogger(name).log(level, "%s", text)
                    case Ended(error, is_surprise):
                        if error is not None and is_surprise:
                            return _End(f"failed: {error}", "group_failed")
                        is_through = True
                        if error is not None:
                            raise error
                        return None
        except _Silence:
            return _End(
                f"gave no sign of life for {settings.timeout_s:g} s and was ended", "timed_out"
            )
        except _Death:
            return _End(_how_it_died(worker.exit_code()), "worker_died")
        finally:
            # Whatever else came between leaves a process that still paints and tells of it.
            if not is_through:
                self.stop()
        raise AssertionError("messages end by an error alone")

    def _judged(
        self,
        one: PlannedJob,
        end: "_End",
        was_alone: bool,
        group: Group,
        settings: RunSettings,
        listener: Listener,
        progress: "_Progress",
    ) -> list[list[PlannedJob]]:
        """Whether a picture that was there when the process ended is tried again, alone.

        An error is one picture's own once it was alone. A death or a silence is put down at once,
        lest we end as well, and a picture that has too many of them is given up.
        """
        start = (
            f"{one.job.content_name}, {one.job.style_name}: the process that painted it {end.said}"
        )
        error: NSTError
        if end.reason == "group_failed":
            is_last, error = was_alone, NSTError(f"{start}; run it again, or report it")
        else:
            one = replace(one, attempts=one.attempts + 1)
            is_last = one.attempts >= MAX_ATTEMPTS
            advice = (
                f", {one.attempts} times in a row; look at its inputs, or try it again with "
                "--retry-quarantined"
            )
            error = WorkerError(
                start + (advice if is_last else "; run it again"),
                reason=end.reason,
                attempts=one.attempts,
            )
        _log.warning("%s: %s", one.job.id, error)
        if is_last or one.attempts:
            outcome = failure_of(one, error)
            records.write(settings.output, outcome)
            if is_last:
                progress.put(one.job.id, "failed")
                listener.recorded(group, outcome)
        return [] if is_last else [[one]]


@contextmanager
def supervised() -> Iterator[Supervisor]:
    """A supervisor whose process gets ready at once and is ended with this."""
    supervisor = Supervisor()
    supervisor.start()
    try:
        yield supervisor
    finally:
        supervisor.stop()


@dataclass(slots=True)
class _Progress:
    """Which pictures are under way, and what became of those that are through."""

    begun: set[str] = field(default_factory=set)
    recorded: set[str] = field(default_factory=set)
    num_made: int = 0
    num_failed: int = 0

    def put(self, job_id: str, status: str) -> None:
        self.begun.discard(job_id)
        self.recorded.add(job_id)
        self.num_made += status == "ok"
        self.num_failed += status == "failed"

    def report(self, group: Group) -> GroupReport:
        return GroupReport(name=group.name, num_made=self.num_made, num_failed=self.num_failed)


@dataclass(frozen=True, slots=True)
class _End:
    """How a process ended: words to follow "the process", and a reason for its pictures."""

    said: str
    reason: Reason


class _Silence(Exception):
    """Nothing was heard of the process for longer than it was given."""


class _Death(Exception):
    """The process has closed its end of the socket."""


class _Worker:
    """A process of `nst.worker` and the socket to it."""

    def __init__(self, entry: str) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # The same modules as here, wherever this program found them.
            code = (
                f"import sys; sys.path[:] = {sys.path!r}; from {entry} import main; "
                f"main({theirs.fileno()})"
            )
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", code],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                )
            except OSError as exc:
                raise NSTError(
                    f"cannot start the process that paints: {exc}; --no-isolate paints without it"
                ) from exc
            self._connection = Connection(ours.detach())
        self._is_ready = False

    def send(self, group: Group, settings: RunSettings) -> None:
        try:
            self._connection.send((group, settings))
        except OSError as exc:
            raise _Death from exc

    def messages(self, timeout_s: float) -> Iterator[object]:
        """What it tells. Raises _Death where it died, _Silence where it tells nothing for so long."""
        while True:
            try:
                if not self._connection.poll(timeout_s if self._is_ready else _START_S):
                    raise _Silence
                message = self._connection.recv()
            except (EOFError, OSError) as exc:
                raise _Death from exc
            if isinstance(message, Ready):
                self._is_ready = True
            else:
                yield message

    def exit_code(self) -> int:
        """Once its socket has closed."""
        try:
            return self._process.wait(_KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()


def _how_it_died(code: int) -> str:
    if code >= 0:
        return f"ended by itself with status {code}"
    name = signal.Signals(-code).name
    hint = " (was memory short?)" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"
