"""The start of the process that paints, which may be the first thing that a command does.

PyTorch takes seconds to import. So this begins with nothing but the standard library, and a process
that was started early gets ready while whoever started it imports its own modules and reads a manifest.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nst.running.neighbours import Neighbours

ENTRY = "nst.running.worker"
_STDERR = 2
# A terminal sends them to all of its processes, and some managers SIGTERM; whoever starts this one
# decides what they mean.
_NOT_ITS_OWN = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Spawned:
    """A process and the socket to it."""

    process: subprocess.Popen[bytes]
    connection: Connection

    def kill(self) -> None:
        """End it at once, whatever it is at."""
        self.process.kill()
        self.process.wait()
        self.connection.close()


@dataclass(slots=True)
class Early:
    """A process that was started before it was asked for.

    `neighbours` watch the processors from its start on; what they see it is told once.
    """

    spawned: Spawned
    neighbours: "Neighbours"
    _is_told: bool = False
    _telling: threading.Lock = field(default_factory=threading.Lock)

    def tell(self) -> None:
        """Tell it how its threads are to wait, which it needs before it imports PyTorch."""
        with self._telling:
            if self._is_told:
                return
            self._is_told = True
            # One that has died says so to whoever listens to it.
            with suppress(OSError):
                self.spawned.connection.send(self.neighbours.environment())


_early: Early | None = None


def start_early() -> None:
    """Have a process get ready for whoever takes it; where that fails, whoever needs one says so."""
    global _early
    with _signals_held(), suppress(OSError):
        process = spawn(ENTRY, None)
        try:
            # It takes a while by itself, in which that process starts.
            from nst.running.neighbours import Neighbours

            _early = Early(process, Neighbours())
        except BaseException:
            process.kill()
            raise
    if _early is not None:
        # While this thread goes on: the processors are watched for a tenth of a second.
        threading.Thread(target=_early.tell, name="tell", daemon=True).start()


def end_early() -> None:
    """End the process that was started early, if nobody has taken it."""
    global _early
    ready, _early = _early, None
    if ready is not None:
        ready.spawned.kill()


def take_early(entry: str, num_threads: int | None) -> Early | None:
    """The process that was started early, told and from now on the caller's, if it is such a one."""
    global _early
    if (entry, num_threads) != (ENTRY, None):
        end_early()
    ready, _early = _early, None
    if ready is not None:
        ready.tell()
    return ready


def spawn(entry: str, num_threads: int | None) -> Spawned:
    """Start a process that calls `main` of the module `entry`, with so many threads where told.

    The first thing to be sent to it is what `Neighbours.environment` says. Raises OSError where none
    can be started.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # The same modules as here, wherever this program found them.
        code = (
            "import gc, signal, sys; gc.disable(); "
            f"held = {[int(number) for number in _NOT_ITS_OWN]}; "
            "[signal.signal(each, signal.SIG_IGN) for each in held]; "
            "signal.pthread_sigmask(signal.SIG_UNBLOCK, held); "
            f"sys.path[:] = {sys.path!r}; from {entry} import main; main({theirs.fileno()})"
        )
        # It inherits what is held, so that no signal reaches it before it ignores them.
        with _signals_held():
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # stdout is for what was asked for, which with `--json` is one document.
                stdout=_where_stderr_goes(),
                cwd=_a_folder(),
                env=_environment(num_threads),
            )
        return Spawned(process, Connection(ours.detach()))


@contextmanager
def _signals_held() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_ITS_OWN)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _environment(num_threads: int | None) -> Mapping[str, str]:
    """That of the process that paints, with so many threads where that is told."""
    threads = {} if num_threads is None else {"OMP_NUM_THREADS": str(num_threads)}
    return dict(os.environ) | threads


def _where_stderr_goes() -> int:
    try:
        os.fstat(_STDERR)
    except OSError:
        # Closed, as in a process without a console.
        return subprocess.DEVNULL
    return _STDERR


def _a_folder() -> str | None:
    """None for the working folder; another one if that is gone, in which PyTorch ends its process."""
    try:
        os.getcwd()
    except OSError:
        return os.path.abspath(os.sep)
    return None
