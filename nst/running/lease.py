"""One run at a time on an output, by files alone, since not every store can do more.

A run puts a file of its own into the folder of locks, and rewrites it every few seconds. The order
of runs is decided as in Lamport's bakery (1974), which needs only atomic writes and reads that see
them. A waiting run sees whether a holder is alive by changes of its file, so clocks of two machines
are never compared; on the same machine it looks at the process.

A process can be suspended between any two lines of this code. So a holder relies on its lock for
PATIENCE_S, counted from before its last renewal, and others take a dead holder's lock only after that
time. Renewing and taking are both changes of the file as it was last seen, so only one of them
succeeds. A holder that slept for longer renews its lock first, or finds that it was taken.
"""

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

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
class _Told:
    """What a lock file says besides the claim, and a lock of an earlier release does not.

    `progress` is how far the run is, renewed with the lock; `stop` is who has asked it to stop.
    """

    progress: Mapping[str, Any] | None = None
    stop: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The content of a lock file. `number` is None while it is being chosen."""

    token: str
    number: int | None
    beat: int
    host: str
    pid: int
    # Where process numbers mean the same as here: a boot and a namespace of it.
    processes: str
    process_started: str
    since: str
    told: _Told = _Told()


_KINDS = {name: kind for name, kind in get_type_hints(Claim).items() if name != "told"}
_COUNTS = ("number", "beat", "pid")
_MAX_COUNT = 1 << 62


class Lease:
    """The right to write to an output; another run may take it if this one goes silent.

    `took_over`: an earlier run ended without releasing its lock.
    """

    def __init__(self, output: str, token: str) -> None:
        self.took_over = False
        self._output = output
        self._token = token
        self._ends = threading.Event()
        self._is_lost = False
        self._progress: Callable[[], Mapping[str, Any] | None] = lambda: None
        self._stop: str | None = None
        self._renewing = threading.Lock()
        self._renewed_at = _now()
        # Since when the store has no lock of ours, if it has none.
        self._missing_since: float | None = None
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    @property
    def token(self) -> str:
        """The name of the lease, for the processes that work for the run."""
        return self._token

    def tell(self, progress: Callable[[], Mapping[str, Any] | None]) -> None:
        """From now on each renewal says in the lock how far the run is, in values that JSON has."""
        self._progress = progress

    def stop_asked_by(self) -> str | None:
        """Who asked the run to stop, by `ask_to_stop`, as of the last renewal; None if nobody did.

        Of a lease that is lost it is the run that has taken over: what is being painted is finished, and
        `check` ends the run then.
        """
        return "the run that has taken over" if self._is_lost else self._stop

    def check(self) -> None:
        """Raises RunEndedError if another run has taken over, since this one seemed dead.

        It asks the store if the lock was not renewed for half of PATIENCE_S, because this process was
        suspended or could not reach the store; the other half is for the write that follows. Raises
        StorageError if the store does not answer.
        """
        while not self._is_lost and _now() - self._renewed_at > PATIENCE_S / 2:
            if self._renew() is None:
                time.sleep(HEARTBEAT_S / 5)
        if self._is_lost:
            raise RunEndedError(
                f"expected to be the only run in {self._output}, found that another run took over "
                f"after this one was silent for {PATIENCE_S:.0f} s; let the other run finish"
            )

    def _renew(self, number: int | None = None) -> Claim | None:
        """Rewrite the lock, and set its number if it has none; None if there is no such lock.

        A store that was out of order can say so of an object that it has. So the lease is lost only
        once it says so for half of PATIENCE_S, or at once if the lock shows that it was taken.
        """
        renewed: Claim | None = None

        def change(data: bytes) -> bytes | None:
            nonlocal renewed
            before = _claim_in(data)
            if before is None:
                return None
            self._stop = before.told.stop
            renewed = replace(
                before,
                beat=before.beat + 1,
                number=number or before.number,
                told=replace(before.told, progress=self._progress()),
            )
            return _encoded(renewed)

        with self._renewing:
            # Not when it is through: this process may be suspended in the middle of it.
            asked_at = _now()
            if storage.update(_path(self._output, self._token), change):
                self._renewed_at = asked_at
                self._missing_since = None
                return renewed
            if self._missing_since is None:
                self._missing_since = asked_at
            is_gone = asked_at - self._missing_since > PATIENCE_S / 2
            self._is_lost = is_gone or _data(self._output, self._token) == _TAKEN
            return None

    def _enter(self) -> Claim | None:
        """Take the number behind all others, from which on they see this run; None if it is lost."""
        numbers = (other.number or 0 for other in _others(self._output, self._token).values())
        number = 1 + max(numbers, default=0)
        while (numbered := self._renew(number)) is None and not self._is_lost:
            time.sleep(HEARTBEAT_S / 5)
        return numbered

    def _beat(self) -> None:
        while not self._ends.wait(HEARTBEAT_S):
            try:
                self._renew()
                if self._is_lost:
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
    """The lease of a run, as the processes that work for the run see it."""

    def __init__(self, output: str, token: str) -> None:
        self._output = output
        self._token = token
        self._beat: int | None = None
        self._stop: str | None = None
        self._silence = Silence(HEARTBEAT_S)

    def stop_asked_by(self) -> str | None:
        """As of a Lease, by the last `is_held`."""
        return self._stop

    def is_held(self) -> bool:
        """Whether its holder is alive; call this every few seconds. Raises StorageError."""
        claim = _claim_in(_data(self._output, self._token))
        if claim is None:
            return False
        self._stop = claim.told.stop
        if claim.beat != self._beat:
            self._beat = claim.beat
            self._silence.heard()
        return self._silence.seconds() <= PATIENCE_S


@contextmanager
def held(output: str) -> Iterator[Lease]:
    """Hold the lease of `output` for as long as this lasts.

    Raises ConfigError if another run holds it. The lock of a dead run is removed.
    """
    claim = Claim(
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
        numbered = lease._enter()
        if numbered is not None:
            # From here on, so that those behind us see that we live while we wait for others.
            lease._thread.start()
            lease.took_over = _outlive(output, numbered)
        lease.check()
        yield lease
    finally:
        lease._end()


def holder(output: str) -> Claim | None:
    """The claim of the run that holds an output, dead or alive; None where there is no lock."""
    found = (_claim_in(_data(output, token)) for token in _tokens(output))
    claims = [one for one in found if one is not None and one.number is not None]
    return min(claims, key=lambda one: (one.number or 0, one.token), default=None)


def is_alive(output: str, claim: Claim) -> bool:
    """Whether a holder lives: at once on its machine, and after up to PATIENCE_S elsewhere.

    One that has released its lock meanwhile does not.
    """
    here = _is_alive(claim)
    if here is not None:
        return here
    silence = Silence(HEARTBEAT_S / 5)
    while silence.seconds() <= PATIENCE_S:
        found = _claim_in(_data(output, claim.token))
        if found is None or found.beat != claim.beat:
            return found is not None
        time.sleep(HEARTBEAT_S / 5)
    return False


def ask_to_stop(output: str, claim: Claim, who: str) -> bool | None:
    """Ask a live run to stop after its current pictures; whether it has taken note.

    None where the run has ended meanwhile; False where its lock was renewed without the request,
    as by a run of a release that knows none.
    """
    path = _path(output, claim.token)

    def change(data: bytes) -> bytes | None:
        found = _claim_in(data)
        if found is None or found.told.stop is not None:
            return None
        return _encoded(replace(found, told=replace(found.told, stop=who)))

    storage.update(path, change)
    asked = first = _claim_in(_data(output, claim.token))
    silence = Silence(HEARTBEAT_S / 5)
    while asked is not None and first is not None and asked.beat == first.beat:
        if silence.seconds() > PATIENCE_S:
            return False
        time.sleep(HEARTBEAT_S / 5)
        asked = _claim_in(_data(output, claim.token))
    return None if asked is None else asked.told.stop is not None


class _Rival:
    """Another run with a lock, as this one sees it while it waits."""

    def __init__(self, output: str, token: str, mine: Claim) -> None:
        self._output = output
        self._token = token
        self._mine = mine
        self._silence = Silence(HEARTBEAT_S / 5)
        self._data = b""
        self._claim: Claim | None = None

    def look(self) -> bool | None:
        """Whether it turned out to be dead, and its lock was removed; None if that is not known yet.

        It is False for one that is gone, or behind us. Raises ConfigError if it is alive and ahead.
        """
        data = _data(self._output, self._token)
        other = _claim_in(data)
        if other is None:
            return False
        mine = self._mine
        if other.number is not None and (other.number, self._token) > (
            mine.number or 0,
            mine.token,
        ):
            return False
        is_alive = _is_alive(other)
        if data != self._data:
            self._silence.heard()
        last = self._claim
        if is_alive is None and last is not None and other.number and other.beat != last.beat:
            is_alive = True
        if is_alive and other.number is not None:
            raise ConfigError(
                f"{self._output}: expected to be the only run here, found one of process {other.pid} "
                f"on {other.host} since {other.since}; wait for it, or choose another output"
            )
        self._data, self._claim = data, other
        is_silent = is_alive is False or self._silence.seconds() > PATIENCE_S
        if not is_silent or not _take(self._output, self._token, data):
            return None
        _log.warning(
            "%s: the run of process %d on %s ended without releasing its lock; continuing from there",
            self._output,
            other.pid,
            other.host,
        )
        return True


def _outlive(output: str, mine: Claim) -> bool:
    """Wait for all other runs together, until each is gone, behind us or dead; whether one was dead.

    Raises ConfigError as soon as one is alive and ahead of us.
    """
    rivals = [_Rival(output, token, mine) for token in _others(output, mine.token)]
    was_dead = False
    while rivals:
        found = [rival.look() for rival in rivals]
        was_dead |= True in found
        rivals = [rival for rival, dead in zip(rivals, found, strict=True) if dead is None]
        if rivals:
            time.sleep(HEARTBEAT_S / 5)
    return was_dead


def _take(output: str, token: str, data: bytes) -> bool:
    """Remove the lock of a dead holder, unless it has changed since it was `data`."""
    path = _path(output, token)

    def change(found: bytes) -> bytes | None:
        # What was just taken, if only the store's answer to that was lost.
        return _TAKEN if found in (data, _TAKEN) else None

    if not storage.update(path, change):
        return False
    storage.delete(path)
    return True


def _now() -> float:
    """Seconds that also count while the machine sleeps, if the system has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _path(output: str, token: str) -> str:
    return storage.join(output, LOCKS, f"{token}.json")


def _encoded(claim: Claim) -> bytes:
    said = asdict(claim)
    told = said.pop("told")
    return json.dumps(said | told).encode()


def _claim_in(data: bytes) -> Claim | None:
    """The claim in a lock file; None if it is not one.

    The lock of a later release may have more fields, and counts too.
    """
    try:
        said = json.loads(data)
        known = {name: said[name] for name in _KINDS}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    is_claim = all(isinstance(known[name], kind) for name, kind in _KINDS.items())
    # Numbers of which one more can be written.
    is_counted = is_claim and all(0 <= (known[name] or 0) < _MAX_COUNT for name in _COUNTS)
    return Claim(**known, told=_told_in(said)) if is_counted else None


def _told_in(said: Mapping[str, Any]) -> _Told:
    progress, stop = said.get("progress"), said.get("stop")
    return _Told(
        progress=progress if isinstance(progress, dict) else None,
        stop=stop if isinstance(stop, str) else None,
    )


def _data(output: str, token: str) -> bytes:
    """The bytes of a lock file, empty if there is no file."""
    try:
        return storage.read_bytes(_path(output, token))
    except NotFoundError:
        return b""


def _others(output: str, own: str) -> Mapping[str, Claim]:
    """The claims of all others, by token; locks that were taken but not removed are deleted."""
    found = {}
    for token in _tokens(output):
        if token == own:
            continue
        data = _data(output, token)
        if data == _TAKEN:
            storage.delete(_path(output, token))
        claim = _claim_in(data)
        if claim is not None:
            found[token] = claim
    return found


def _tokens(output: str) -> list[str]:
    names = storage.list_sizes(storage.join(output, LOCKS))
    return [name.removesuffix(".json") for name in names if name.endswith(".json")]


def _is_alive(claim: Claim) -> bool | None:
    """Whether its process is running; None if that cannot be seen from here."""
    if not claim.processes or claim.processes != _processes():
        return None
    return _started(claim.pid) == claim.process_started


def _processes() -> str:
    """A name for the process namespace of this boot; "" if the system has none."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """The start of a running process in ticks since the boot, to recognise a reused process number."""
    try:
        # The name, in brackets, may hold anything; the 20th field after it is the start.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else fields[18]
