"""Groups painted in a process of its own, so that a picture that kills or hangs it costs no other.

What the process was at when it ended is tried again alone, once; a picture that ends it then too is
quarantined, and everything else goes on in a new process.
"""

import logging
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from nst.errors import NSTError, PainterError, Reason, RunEndedError, WorkerError
from nst.output import MAX_ATTEMPTS, records
from nst.planning import Group, PlannedJob, failure_of
from nst.running import spawning
from nst.running.neighbours import Neighbours
from nst.running.order import Order
from nst.running.reports import GroupReport, Listener
from nst.running.silence import Silence
from nst.running.spawning import ENTRY, Spawned
from nst.running.stopping import Postponing
from nst.running.worker import (
    Advanced,
    Answered,
    Asked,
    Begun,
    Ended,
    Logged,
    Ready,
    Recorded,
    Stop,
)
from nst.settings import Precision, RunSettings
from nst.wording import counted

# How often in a row a process may end before it has begun with any picture.
_MAX_DEATHS = 2
_KILL_WAIT_S = 10
# What is painted there is, unless `auto` finds a GPU.
ON_THE_CPU = ("auto", "cpu")
# How long a process may take to load its modules, independent of a picture's time.
_START_S = 300
_POLL_S = 1.0

_log = logging.getLogger(__name__)


class Supervisor:
    """Runs groups one at a time in a process that it starts, watches, ends and starts again.

    `entry` is the module whose `main` the process calls, with so many threads where that is told.
    `has_lost_processes` is whether one died or was ended while it painted, and may have left something.
    """

    def __init__(self, entry: str = ENTRY, *, num_threads: int | None = None) -> None:
        self._entry = entry
        self._num_threads = num_threads
        self._worker: _Worker | None = None
        self._neighbours = Neighbours()
        self._lock = threading.Lock()
        self._is_closed = False
        self._most_gpus = 0
        self.has_lost_processes = False

    def start(self) -> None:
        """Have a process get ready, while something else is done."""
        if self._is_closed:
            raise _closed()
        if self._worker is None:
            early = spawning.take_early(self._entry, self._num_threads)
            if early is not None:
                self._neighbours = early.neighbours
                self._worker = _Worker(early.spawned)
                return
            try:
                self._worker = _Worker(spawning.spawn(self._entry, self._num_threads))
            except OSError as exc:
                raise NSTError(
                    f"cannot start the process that paints: {exc}; --no-isolate paints without it"
                ) from exc
            # One that has died by now says so once it is asked for something.
            with suppress(_Death):
                self._worker.send(self._neighbours.environment())

    def num_gpus(self) -> int:
        """How many GPUs its process finds; of one that does not get ready, its first group tells."""
        with self._lock:
            for _ in range(_MAX_DEATHS):
                self.start()
                assert self._worker is not None
                try:
                    self._most_gpus = self._worker.num_gpus()
                    break
                except _Silence:
                    self.stop()
                    break
                except _Death:
                    self.stop()
            return self._most_gpus

    def precision(self, device: str) -> Precision:
        """What its process takes for `auto` on the devices of a choice.

        Raises ConfigError where there is no such device, and NSTError where no process tells.
        """
        with self._lock:
            self.start()
            worker = self._worker
            assert worker is not None
            found: Precision | None = None
            try:
                found = worker.precision(device)
                return found
            except (_Silence, _Death) as exc:
                if self._is_closed:
                    raise _closed() from None
                said = (
                    f"gave no sign of life for {_START_S:g} s"
                    if isinstance(exc, _Silence)
                    else _how_it_died(worker.exit_code())
                )
                raise NSTError(f"the process that paints {said} before its first picture") from None
            finally:
                if found is None:
                    self.stop()

    def stop(self) -> None:
        """End the process at once, whatever it is at."""
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def close(self) -> None:
        """`stop` for good, from whichever thread: a group that is under way ends by an NSTError."""
        self._is_closed = True
        # Whoever runs a group listens to its process, which no other thread may take from it.
        while not self._lock.acquire(timeout=0.05):
            worker = self._worker
            if worker is not None:
                worker.end()
        try:
            self.stop()
        finally:
            self._lock.release()

    def run_group(self, group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
        """As `batch.run_group`, whatever happens to the process that does it.

        Raises what it raises, and PainterError where no process gets as far as a picture.
        """
        heard = Postponing(listener)
        order = Order(group=group, settings=settings, listener=heard)
        with self._lock:
            return self._run_group(_Progress(order, heard))

    def _run_group(self, progress: "_Progress") -> GroupReport:
        group = progress.order.group
        # Those under suspicion from an earlier run alone, so that no other falls under it.
        fresh = [one for one in group.jobs if not one.attempts]
        todo = [fresh] if fresh else []
        todo += [[one] for one in group.jobs if one.attempts]
        num_deaths = 0
        while todo:
            progress.heard.check()
            jobs = todo.pop(0)
            num_before = len(progress.recorded)
            try:
                end = self._attempt(replace(group, jobs=tuple(jobs)), progress)
            except _Refit:
                progress.begun.clear()
                todo.insert(0, [one for one in jobs if one.job.id not in progress.recorded])
                continue
            if end is None:
                continue
            suspects = [one for one in jobs if one.job.id in progress.begun]
            rest = [one for one in jobs if one.job.id not in progress.begun | progress.recorded]
            has_moved = bool(suspects) or len(progress.recorded) > num_before
            num_deaths = 0 if has_moved else num_deaths + 1
            if num_deaths >= _MAX_DEATHS:
                raise PainterError(
                    f"the process that paints {end.said} before its first picture",
                    is_lost=end.reason != "group_failed",
                )
            for one in suspects:
                todo += _judged(one, end, progress, was_alone=len(jobs) == 1)
            num_through = len(progress.recorded)
            progress.heard.advanced(group, num_through * group.evaluations, num_through)
            if rest:
                todo.append(rest)
            progress.begun.clear()
        return progress.report()

    def _attempt(self, group: Group, progress: "_Progress") -> "_End | None":
        """Run a group to its end, or to that of the process: then how that came about."""
        settings, listener = progress.order.settings, progress.heard
        if self._waits_wrongly(settings):
            self.stop()
        self.start()
        worker = self._worker
        assert worker is not None
        num_before = len(progress.recorded)
        batch_of: dict[str, frozenset[str]] = {}
        is_through = is_told = False
        silent_s: float = _START_S
        try:
            gone = self._gpus_gone(worker, settings)
            if gone:
                return _End(gone, "worker_died")
            silent_s = settings.timeout_s
            worker.send((group, settings))
            for message in worker.messages(settings.timeout_s):
                match message:
                    case Begun(ids):
                        progress.begun |= set(ids)
                        batch_of |= dict.fromkeys(ids, frozenset(ids))
                        listener.begun(group, ids)
                    case Advanced(evaluations, pictures):
                        before = num_before * group.evaluations
                        listener.advanced(group, before + evaluations, num_before + pictures)
                    case Recorded(outcome):
                        progress.put(outcome.id, outcome.status)
                        listener.recorded(group, outcome)
                        is_last = len(progress.recorded) == num_before + len(group.jobs)
                        # What was painted beside it may not be written yet.
                        is_between = batch_of.get(outcome.id, frozenset()) <= progress.recorded
                        # A run that stops finishes what its process has begun.
                        goes_on = listener.stopped is None and not is_last
                        if goes_on and is_between and self._waits_wrongly(settings):
                            raise _Refit
                    case Logged(name, level, text):
                        logging.getLogger(name).log(level, "%s", text)
                    case Ended(error, is_surprise):
                        if error is not None and is_surprise:
                            return _End(f"failed: {error}", "group_failed")
                        is_through = True
                        if error is not None:
                            raise error
                        return None
                if listener.stopped is not None and not is_told:
                    is_told = True
                    worker.send(Stop(str(listener.stopped)))
        except _Silence:
            return _End(f"gave no sign of life for {silent_s:g} s and was ended", "timed_out")
        except _Death:
            if self._is_closed:
                # We have ended it, and no picture is to be blamed for that.
                raise _closed() from None
            return _End(_how_it_died(worker.exit_code()), "worker_died")
        finally:
            # Whatever else came between leaves a process that still paints and tells of it.
            if not is_through:
                self.has_lost_processes = True
                self.stop()
        raise AssertionError("messages end by an error alone")

    def _gpus_gone(self, worker: "_Worker", settings: RunSettings) -> str:
        """What to say of a process that finds fewer GPUs than one before it; else "".

        `auto` would go on on the CPU, and take days for what was to take hours.
        """
        found = worker.num_gpus()
        self._most_gpus = max(self._most_gpus, found)
        if found == self._most_gpus or settings.device == "cpu":
            return ""
        return f"found {counted(found, 'GPU')} where there had been {self._most_gpus}"

    def _waits_wrongly(self, settings: RunSettings) -> bool:
        """Whether a process in the place of one that paints on a CPU would be told to wait otherwise.

        Beside a GPU threads have little to do, and another process would begin anew with what is tried
        out and recorded there.
        """
        worker = self._worker
        is_on_a_cpu = worker is not None and not worker.has_gpus and settings.device in ON_THE_CPU
        return is_on_a_cpu and self._neighbours.have_changed()


def _judged(
    one: PlannedJob, end: "_End", progress: "_Progress", *, was_alone: bool
) -> list[list[PlannedJob]]:
    """Whether a picture that was there when the process ended is tried again, alone.

    An error is one picture's own once it was alone. A death or a silence is put down at once,
    lest we end as well, and a picture that has too many of them is given up.
    """
    start = f"{one.job.content_name}, {one.job.style_name}: the process that painted it {end.said}"
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
        if is_last:
            progress.order.record(outcome)
            progress.put(one.job.id, "failed")
        else:
            records.write(progress.order.settings.output, outcome)
    return [] if is_last else [[one]]


def _closed() -> RunEndedError:
    return RunEndedError("the run has ended the process that paints")


@dataclass(slots=True)
class _Progress:
    """A group that is run: which pictures are under way, and what became of those that are through."""

    order: Order
    heard: Postponing
    begun: set[str] = field(default_factory=set)
    recorded: set[str] = field(default_factory=set)
    num_made: int = 0
    num_failed: int = 0

    def put(self, job_id: str, status: str) -> None:
        self.begun.discard(job_id)
        self.recorded.add(job_id)
        self.num_made += status == "ok"
        self.num_failed += status == "failed"

    def report(self) -> GroupReport:
        return GroupReport(
            name=self.order.group.name, num_made=self.num_made, num_failed=self.num_failed
        )


@dataclass(frozen=True, slots=True)
class _End:
    """How a process ended: words to follow "the process", and a reason for its pictures."""

    said: str
    reason: Reason


class _Silence(Exception):
    """Nothing was heard of the process for longer than it was given."""


class _Death(Exception):
    """The process has closed its end of the socket."""


class _Refit(Exception):
    """How threads wait is settled when a process starts, so another one goes on."""


class _Worker:
    """A process of `nst.running.worker` and the socket to it."""

    def __init__(self, spawned: Spawned) -> None:
        self._spawned = spawned
        self._process, self._connection = spawned.process, spawned.connection
        self._num_gpus: int | None = None
        self._early: list[object] = []

    def num_gpus(self) -> int:
        """What it tells when it is ready. Raises _Death, and _Silence where that takes too long."""
        while self._num_gpus is None:
            message = self._receive(_START_S)
            if isinstance(message, Ready):
                self._num_gpus = message.num_gpus
            else:
                self._early.append(message)
        return self._num_gpus

    @property
    def has_gpus(self) -> bool:
        """Whether it has told of any so far."""
        return bool(self._num_gpus)

    def send(self, message: object) -> None:
        try:
            self._connection.send(message)
        except OSError as exc:
            raise _Death from exc

    def precision(self, device: str) -> Precision:
        """What it answers. Raises what it raised, _Death, and _Silence where that takes too long."""
        self.num_gpus()
        self.send(Asked(device))
        while True:
            match self._receive(_START_S):
                case Answered(precision):
                    return precision
                case Ended(error) if error is not None:
                    raise error
                case other:
                    self._early.append(other)

    def messages(self, timeout_s: float) -> Iterator[object]:
        """What it tells. Raises _Death where it died, _Silence where it tells nothing for so long."""
        self.num_gpus()
        while self._early:
            yield self._early.pop(0)
        while True:
            yield self._receive(timeout_s)

    def _receive(self, timeout_s: float) -> object:
        silence = Silence(_POLL_S)
        try:
            while not self._connection.poll(min(_POLL_S, timeout_s)):
                if silence.seconds() >= timeout_s:
                    raise _Silence
            message: object = self._connection.recv()
        except (EOFError, OSError) as exc:
            raise _Death from exc
        return message

    def end(self) -> None:
        """Have it end at once; who listens to it finds out."""
        self._process.kill()

    def exit_code(self) -> int:
        """Once its socket has closed."""
        try:
            return self._process.wait(_KILL_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def kill(self) -> None:
        self._spawned.kill()


def _how_it_died(code: int) -> str:
    if code >= 0:
        return f"ended by itself with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        # Of those in real time, only the first and the last have names.
        name = f"signal {-code}"
    hint = " (was memory short?)" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"
