"""One run at a time on an output, told by files alone, since not every store can do more.

Who writes to an output puts a file of its own among the locks, and rewrites it every few seconds.
Who comes first is settled as in Lamport's bakery (1974), which needs nothing but whole writes and
reads that see them. Whether a holder is still alive is told by its file's changing while one waits,
so no two machines' clocks are ever compared; on the same machine by its process.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from nst import storage
from nst.errors import ConfigError, NotFoundError, NSTError, RunEndedError
from nst.output import LOCKS

HEARTBEAT_S = 5.0
# A holder whose file has not changed for so long is dead.
PATIENCE_S = 4 * HEARTBEAT_S

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a lock file says. `number` is None while it is being chosen."""

    token: str
    number: int | None
    beat: int
    host: str
    pid: int
    # Where process numbers mean the same as here: a boot and a namespace of it.
    processes: str
    process_started: str
    since: str


class Lease:
    """The right to write to an output, which another may take where this one goes silent.

    `took_over` tells that a run was here before that ended without a word.
    """

    def __init__(self, output: str, claim: _Claim) -> None:
        self.took_over = False
        self._output = output
        self._claim = claim
        self._ends = threading.Event()
        self._is_lost = False
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def token(self) -> str:
        """Names the lease to those who work under it."""
        return self._claim.token

    def check(self) -> None:
        """Raises RunEndedError where another run has taken over, thinking this one dead."""
        if self._is_lost:
            raise RunEndedError(
                f"expected to be alone in {self._output}, found that another run took over after "
                f"this one was silent for {PATIENCE_S:.0f} s; let that one finish"
            )

    def _beat(self) -> None:
        path = _path(self._output, self._claim.token)
        renewed_at = _now()
        while not self._ends.wait(HEARTBEAT_S):
            try:
                storage.read_bytes(path)
                if _now() - renewed_at > PATIENCE_S:
                    # Asleep for so long, this one was dead to others, though its lock may be there.
                    self._is_lost = True
                    return
                self._claim = replace(self._claim, beat=self._claim.beat + 1)
                _write(self._output, self._claim)
                renewed_at = _now()
                if self._ends.is_set():
                    # It was let go while a slow store still took this.
                    storage.delete(path)
            except NotFoundError:
                self._is_lost = True
                return
            except Exception as exc:
                _log.warning("%s: the lock could not be renewed: %s", self._output, exc)

    def _end(self) -> None:
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join(timeout=HEARTBEAT_S)
        with suppress(NSTError):
            storage.delete(_path(self._output, self._claim.token))


class Followed:
    """The lease of another process, as who works under it sees it."""

    def __init__(self, output: str, token: str) -> None:
        self._output = output
        self._token = token
        self._beat: int | None = None
        self._changed_at = _now()

    def is_held(self) -> bool:
        """Whether its holder lives: to be asked every few seconds. Raises StorageError."""
        claim = _read(self._output, self._token)
        if claim is None:
            return False
        if claim.beat != self._beat:
            self._beat, self._changed_at = claim.beat, _now()
        return _now() - self._changed_at <= PATIENCE_S


@contextmanager
def held(output: str) -> Iterator[Lease]:
    """Hold the lease of `output` for as long as this lasts.

    Raises ConfigError where another run holds it; of one that died, the lock is removed.
    """
    claim = _Claim(
        token=secrets.token_hex(8),
        number=None,
        beat=0,
        host=socket.gethostname(),
        pid=os.getpid(),
        processes=_processes(),
        process_started=_started(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    lease = Lease(output, claim)
    try:
        _write(output, claim)
        others = _others(output, claim.token)
        claim = replace(claim, number=1 + max((o.number or 0 for o in others.values()), default=0))
        lease._claim = claim
        _write(output, claim)
        # From here on, so that those behind us see that we live while we wait for others.
        lease._thread.start()
        for token in _others(output, claim.token):
            lease.took_over |= _is_dead(output, token, claim)
        yield lease
    finally:
        lease._end()


def _is_dead(output: str, token: str, mine: _Claim) -> bool:
    """Wait until the other is gone or behind us, or known to be dead; then its file is removed.

    Raises ConfigError where it lives and is ahead.
    """
    seen: _Claim | None = None
    until = time.monotonic() + PATIENCE_S
    while True:
        other = _read(output, token)
        if other is None:
            return False
        if other.number is not None and (other.number, token) > (mine.number or 0, mine.token):
            return False
        is_alive = _is_alive(other)
        if is_alive is None and seen is not None and other.number and other.beat != seen.beat:
            is_alive = True
        if is_alive and other.number is not None:
            raise ConfigError(
                f"{output}: expected to be the only run here, found one of process {other.pid} on "
                f"{other.host} since {other.since}; wait for it, or choose another output"
            )
        if is_alive is False or time.monotonic() > until:
            _log.warning(
                "%s: the run of process %d on %s ended without a word; going on from where it was",
                output,
                other.pid,
                other.host,
            )
            storage.delete(_path(output, token))
            return True
        seen = seen or other
        time.sleep(HEARTBEAT_S / 5)


def _now() -> float:
    """Seconds that go on while the machine sleeps, where the system has a clock that does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _path(output: str, token: str) -> str:
    return storage.join(output, LOCKS, f"{token}.json")


def _write(output: str, claim: _Claim) -> None:
    storage.write_bytes(_path(output, claim.token), json.dumps(asdict(claim)).encode())


def _others(output: str, own: str) -> Mapping[str, _Claim]:
    names = storage.list_sizes(storage.join(output, LOCKS))
    tokens = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    found = {token: _read(output, token) for token in tokens if token != own}
    return {token: claim for token, claim in found.items() if claim is not None}


def _read(output: str, token: str) -> _Claim | None:
    try:
        return _Claim(**json.loads(storage.read_bytes(_path(output, token))))
    except (NotFoundError, ValueError, TypeError):
        return None


def _is_alive(claim: _Claim) -> bool | None:
    """Whether its process runs, or None where that cannot be told from here."""
    if not claim.processes or claim.processes != _processes():
        return None
    return _started(claim.pid) == claim.process_started


def _processes() -> str:
    """Names the set of processes that this one can see, or nothing where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process that runs began, in ticks since the boot; a number used again is no match."""
    try:
        # The name, in brackets, may hold anything; the 20th field after it is the start.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]
