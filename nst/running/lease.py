"""One run at a time on an output, told by files alone, since not every store can do more.

Who writes to an output puts a file of its own among the locks, and rewrites it every few seconds.
Who comes first is settled as in Lamport's bakery (1974), which needs nothing but whole writes and
reads that see them. Whether a holder is still alive is told by its file's changing while one waits,
so no two machines' clocks are ever compared; on the same machine by its process.

A process can be suspended between any two lines of this. So a holder's lock counts for PATIENCE_S
from before it was last renewed, and a dead one's lock is taken only after that long. Renewing and
taking both change the file as it was last seen: of the two only one succeeds. A holder that slept
for longer renews its lock before it goes on, or finds that it was taken.
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
from typing import get_type_hints

from nst import storage
from nst.errors import ConfigError, NotFoundError, NSTError, RunEndedError
from nst.output import LOCKS
from nst.running.silence import Silence

HEARTBEAT_S = 5.0
# A holder whose file has not changed for so long is dead.
PATIENCE_S = 4 * HEARTBEAT_S

# What is in the file of a lock that was taken from its holder, until it is removed.
_TAKEN = b"{}"

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


_KINDS = get_type_hints(_Claim)


class Lease:
    """The right to write to an output, which another may take where this one goes silent.

    `took_over` tells that a run was here before that ended without a word.
    """

    def __init__(self, output: str, token: str) -> None:
        self.took_over = False
        self._output = output
        self._token = token
        self._ends = threading.Event()
        self._is_lost = False
        self._renewing = threading.Lock()
        self._renewed_at = _now()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def token(self) -> str:
        """Names the lease to those who work under it."""
        return self._token

    def check(self) -> None:
        """Raises RunEndedError where another run has taken over, thinking this one dead.

        Asks the store where this process was suspended, or could not renew its lock for half as long
        as others wait: the other half is for what is written now. Raises StorageError where the store
        does not tell.
        """
        while not self._is_lost and _now() - self._renewed_at > PATIENCE_S / 2:
            self._renew()
        if self._is_lost:
            raise RunEndedError(
                f"expected to be alone in {self._output}, found that another run took over after "
                f"this one was silent for {PATIENCE_S:.0f} s; let that one finish"
            )

    def _renew(self, number: int | None = None) -> _Claim | None:
        """Write the lock anew, with a number where it has none; None where it is no longer there."""
        renewed: _Claim | None = None

        def change(data: bytes) -> bytes | None:
            nonlocal renewed
            before = _claim_in(data)
            if before is None:
                return None
            renewed = replace(before, beat=before.beat + 1, number=number or before.number)
            return _encoded(renewed)

        with self._renewing:
            # Not when it is through: this process may be suspended in the middle of it.
            asked_at = _now()
            if storage.update(_path(self._output, self._token), change):
                self._renewed_at = asked_at
                return renewed
            self._is_lost = True
            return None

    def _beat(self) -> None:
        while not self._ends.wait(HEARTBEAT_S):
            try:
                if self._renew() is None:
                    return
                if self._ends.is_set():
                    # It was let go while a slow store still took this.
                    storage.delete(_path(self._output, self._token))
            except Exception as exc:
                _log.warning("%s: the lock could not be renewed: %s", self._output, exc)

    def _end(self) -> None:
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join(timeout=HEARTBEAT_S)
        with suppress(NSTError):
            storage.delete(_path(self._output, self._token))


class Followed:
    """The lease of another process, as who works under it sees it."""

    def __init__(self, output: str, token: str) -> None:
        self._output = output
        self._token = token
        self._beat: int | None = None
        self._silence = Silence(HEARTBEAT_S)

    def is_held(self) -> bool:
        """Whether its holder lives: to be asked every few seconds. Raises StorageError."""
        claim = _claim_in(_data(self._output, self._token))
        if claim is None:
            return False
        if claim.beat != self._beat:
            self._beat = claim.beat
            self._silence.heard()
        return self._silence.seconds() <= PATIENCE_S


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
    lease = Lease(output, claim.token)
    try:
        storage.write_bytes(_path(output, claim.token), _encoded(claim))
        others = _others(output, claim.token).values()
        numbered = lease._renew(number=1 + max((other.number or 0 for other in others), default=0))
        if numbered is not None:
            # From here on, so that those behind us see that we live while we wait for others.
            lease._thread.start()
            for token in _others(output, claim.token):
                lease.took_over |= _is_dead(output, token, numbered)
        lease.check()
        yield lease
    finally:
        lease._end()


def _is_dead(output: str, token: str, mine: _Claim) -> bool:
    """Wait until the other is gone or behind us, or known to be dead; then its file is removed.

    Raises ConfigError where it lives and is ahead.
    """
    pause_s = HEARTBEAT_S / 5
    silence = Silence(pause_s)
    last_data, last = b"", None
    while True:
        data = _data(output, token)
        other = _claim_in(data)
        if other is None:
            return False
        if other.number is not None and (other.number, token) > (mine.number or 0, mine.token):
            return False
        is_alive = _is_alive(other)
        if data != last_data:
            silence.heard()
        if is_alive is None and last is not None and other.number and other.beat != last.beat:
            is_alive = True
        if is_alive and other.number is not None:
            raise ConfigError(
                f"{output}: expected to be the only run here, found one of process {other.pid} on "
                f"{other.host} since {other.since}; wait for it, or choose another output"
            )
        is_silent = is_alive is False or silence.seconds() > PATIENCE_S
        if is_silent and _take(output, token, data):
            _log.warning(
                "%s: the run of process %d on %s ended without a word; going on from where it was",
                output,
                other.pid,
                other.host,
            )
            return True
        last_data, last = data, other
        time.sleep(pause_s)


def _take(output: str, token: str, data: bytes) -> bool:
    """Remove the lock of a holder that is dead, unless it has changed since it was `data`."""
    path = _path(output, token)

    def change(found: bytes) -> bytes | None:
        # What was just taken, if only the store's answer to that was lost.
        return _TAKEN if found in (data, _TAKEN) else None

    if not storage.update(path, change):
        return False
    storage.delete(path)
    return True


def _now() -> float:
    """Seconds that go on while the machine sleeps, where the system has a clock that does."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _path(output: str, token: str) -> str:
    return storage.join(output, LOCKS, f"{token}.json")


def _encoded(claim: _Claim) -> bytes:
    return json.dumps(asdict(claim)).encode()


def _claim_in(data: bytes) -> _Claim | None:
    """What a lock file says, None where it is none.

    A later release may say more in it, and is not to be taken for nobody.
    """
    try:
        said = json.loads(data)
        known = {name: said[name] for name in _KINDS}
    except (ValueError, KeyError, TypeError):
        return None
    is_claim = all(isinstance(known[name], kind) for name, kind in _KINDS.items())
    return _Claim(**known) if is_claim else None


def _data(output: str, token: str) -> bytes:
    """The bytes of a lock file, none where there is no file."""
    try:
        return storage.read_bytes(_path(output, token))
    except NotFoundError:
        return b""


def _others(output: str, own: str) -> Mapping[str, _Claim]:
    """The claims of all others by their tokens; locks that were taken and not removed go."""
    names = storage.list_sizes(storage.join(output, LOCKS))
    tokens = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    found = {}
    for token in tokens:
        if token == own:
            continue
        data = _data(output, token)
        if data == _TAKEN:
            storage.delete(_path(output, token))
        claim = _claim_in(data)
        if claim is not None:
            found[token] = claim
    return found


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
