"""The process that paints: it gets one group after the other and reports its progress.

It ends with whoever started it, and takes nothing with it when it dies: what it made is in the
output, and what it was at is known from what it told.
"""

import gc
import logging
import os
import pickle
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from time import monotonic

from nst.errors import NSTError, StoppedError
from nst.output import Outcome
from nst.planning import Group
from nst.running.reports import NoListener
from nst.settings import Precision

# A small picture has hundreds of evaluations a second, each of which would wake the other process.
ADVANCED_EVERY_S = 0.25
# Of pictures as they mostly are an evaluation takes less.
_ALIVE_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Ready:
    """The process has loaded its modules; `num_gpus` are here."""

    num_gpus: int


@dataclass(frozen=True, slots=True)
class Asked:
    """Asks which precision a choice means on these devices."""

    device: str


@dataclass(frozen=True, slots=True)
class Answered:
    """That is it."""

    precision: Precision


@dataclass(frozen=True, slots=True)
class Stop:
    """Asks a process to begin with no other pictures of its group, and why: which an error says."""

    said: str


@dataclass(frozen=True, slots=True)
class Begun:
    """The inputs of these pictures are about to be read."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Advanced:
    """As `Listener.advanced`, not of each evaluation but a few times a second, and of each picture."""

    evaluations: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Alive:
    """A part of an evaluation is done, of which one may take longer than a silence may last."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a picture is put down; without its curve, which nobody asks for here."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Logged:
    """A warning or worse that the process would have shown by itself."""

    name: str
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The group is through, or an error ended it early, which may be none of ours: a surprise."""

    error: Exception | None
    is_surprise: bool = False


def main(fd: int) -> None:
    """Serve groups from the socket `fd` until it closes.

    The first message is what its environment is to have besides. The collector of garbage may be off
    until all is imported, which takes an eighth longer with it.
    """
    connection = Connection(fd)
    teller = _Teller(connection)
    logger = logging.getLogger("nst")
    logger.addHandler(_Forwarder(teller))
    logger.propagate = False
    try:
        # Before PyTorch is loaded, which reads it once.
        os.environ.update(connection.recv())
    except (EOFError, OSError):
        return
    # While the plan is made: PyTorch takes seconds to import.
    from nst.painting import devices, pulse
    from nst.running import batch

    # What is there by now stays, so that nothing is gained by looking through it again.
    gc.freeze()
    gc.enable()
    pulse.listen(teller.alive)
    teller.tell(Ready(devices.num_gpus()))
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        if isinstance(asked, Stop):
            # Of a group that is through by now.
            continue
        if isinstance(asked, Asked):
            teller.tell(_answer(asked))
            continue
        group, settings = asked
        with _listening(connection, teller):
            try:
                batch.run_group(group, settings, teller)
                ended = Ended(None)
            except Exception as exc:
                ended = Ended(_portable(exc), is_surprise=not isinstance(exc, NSTError))
        teller.tell(ended)


class _Teller(NoListener):
    """Tells over the connection, from whichever thread; raises `stopped`, where that is set."""

    def __init__(self, connection: Connection) -> None:
        self.stopped: StoppedError | None = None
        self._connection = connection
        self._lock = threading.Lock()
        self._advanced_at: float | None = None
        self._told_at = monotonic()
        self._pictures = 0

    def tell(self, message: object) -> None:
        with self._lock:
            self._told_at = monotonic()
            try:
                self._connection.send(message)
            except (BrokenPipeError, ConnectionError):
                # Nobody listens any more; without them there is nothing to go on for.
                os._exit(1)

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        self._check()
        now = monotonic()
        is_soon = self._advanced_at is not None and now - self._advanced_at < ADVANCED_EVERY_S
        if is_soon and pictures == self._pictures:
            return
        self._advanced_at, self._pictures = now, pictures
        self.tell(Advanced(evaluations, pictures))

    def alive(self) -> None:
        # From several threads at once it may be told twice.
        if monotonic() - self._told_at >= _ALIVE_EVERY_S:
            self.tell(Alive())

    def begun(self, group: Group, ids: Sequence[str]) -> None:
        self.tell(Begun(tuple(ids)))
        self._check()

    def recorded(self, group: Group, outcome: Outcome) -> None:
        self.tell(Recorded(replace(outcome, loss_curve=())))
        self._check()

    def _check(self) -> None:
        if self.stopped is not None:
            raise self.stopped


class _Forwarder(logging.Handler):
    def __init__(self, teller: _Teller) -> None:
        super().__init__(logging.WARNING)
        self._teller = teller

    def emit(self, record: logging.LogRecord) -> None:
        self._teller.tell(Logged(record.name, record.levelno, self.format(record)))


def _answer(asked: Asked) -> Answered | Ended:
    from nst.painting import resolve_devices, resolve_precision

    try:
        return Answered(resolve_precision("auto", *resolve_devices(asked.device)))
    except Exception as exc:
        return Ended(_portable(exc))


@contextmanager
def _listening(connection: Connection, teller: _Teller) -> Iterator[None]:
    """While a group runs within: have it stop where that is asked for, and end with the parent."""
    is_through, reading = threading.Event(), threading.Lock()
    teller.stopped = None
    threading.Thread(
        target=_listen, args=(connection, teller, is_through, reading), daemon=True
    ).start()
    try:
        yield
    finally:
        # What comes from now on is for the main thread to read.
        with reading:
            is_through.set()


def _listen(
    connection: Connection, teller: _Teller, is_through: threading.Event, reading: threading.Lock
) -> None:
    """End with whoever started this process, whatever it is at: it may not be telling anything."""
    while not is_through.is_set():
        if not connection.poll(1):
            continue
        with reading:
            if is_through.is_set():
                return
            try:
                asked = connection.recv()
            except (EOFError, OSError):
                os._exit(1)
        if isinstance(asked, Stop):
            teller.stopped = StoppedError(asked.said)


def _portable(error: Exception) -> Exception:
    """An error that another process can read: ours as they are, others in words."""
    if isinstance(error, NSTError):
        try:
            pickle.loads(pickle.dumps(error))
            return error
        except Exception:
            pass
    return NSTError(f"{type(error).__name__}: {error}")
