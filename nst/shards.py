"""A plan cut into shards, which run on other machines; and what they and their driver tell each other.

Both tell it by files in the output, and the records there are the only truth: what a shard that was
lost has recorded, its next attempt leaves out. The driver alone holds the lease, and a shard works
for as long as that is renewed and the driver has not given the attempt up.
"""

import hashlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Literal, Protocol

from pydantic import TypeAdapter, ValidationError

from nst import lease, records, storage
from nst.errors import (
    ConfigError,
    NotFoundError,
    NSTError,
    Reason,
    RunEndedError,
    StorageError,
    WeightsError,
    WorkerError,
)
from nst.lease import HEARTBEAT_S, Lease
from nst.metadata import MAX_ATTEMPTS, Outcome
from nst.output import SHARDS
from nst.plan import Group, PlannedJob, failure_of
from nst.prepare import layers_of, usable_weights
from nst.redaction import secret_in
from nst.reports import Listener, NoListener
from nst.settings import Precision, RunSettings

# Between two looks at the shards that are under way.
POLL_S = 5.0
# What runs are given to come to their end once they were told to: a worker gives them 30 s.
_GRACE_S = 60.0
_BRIEF_GRACE_S = 20.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Groups that one run on one machine makes. `number` counts from 1."""

    number: int
    groups: tuple[Group, ...]

    @property
    def num_rows(self) -> int:
        return sum(len(group.jobs) for group in self.groups)


def cut(groups: Sequence[Group], shard_rows: int) -> tuple[Shard, ...]:
    """The groups in order in shards of at most `shard_rows`; a larger group is a shard of its own.

    Groups of one program come one after the other, so that a shard loads few networks.
    """
    packs: list[list[Group]] = []
    num_rows = 0
    for group in groups:
        if not packs or num_rows + len(group.jobs) > shard_rows:
            packs.append([])
            num_rows = 0
        packs[-1].append(group)
        num_rows += len(group.jobs)
    return tuple(Shard(number=n, groups=tuple(pack)) for n, pack in enumerate(packs, start=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a shard's run is told, small whatever the shard's size: a file, and the sha256 of it."""

    number: int
    url: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a shard's file holds. `lease` names the lock of the driver that it works for."""

    number: int
    lease: str
    settings: RunSettings
    groups: tuple[Group, ...]


def assign(shard: Shard, settings: RunSettings, lease_token: str) -> Ticket:
    """Put a shard down in the output. Raises ConfigError where a credential would go with it."""
    data = _adapter().dump_json(
        Assignment(number=shard.number, lease=lease_token, settings=settings, groups=shard.groups)
    )
    secret = secret_in(data.decode())
    if secret is not None:
        raise ConfigError(
            f"shard {shard.number}: expected inputs that can be told to another machine, found "
            f"{secret} in one; give credentials by the environment of the workers"
        )
    url = storage.join(settings.output, SHARDS, f"{shard.number:05}.json")
    storage.write_bytes(url, data)
    return Ticket(number=shard.number, url=url, digest=hashlib.sha256(data).hexdigest())


def read_assignment(url: str, digest: str) -> Assignment:
    """Raises ConfigError for another file than the driver has written."""
    data = storage.read_bytes(url)
    if hashlib.sha256(data).hexdigest() != digest:
        raise ConfigError(f"{url}: expected the shard of sha256 {digest}, found another")
    try:
        return _adapter().validate_json(data)
    except ValidationError as exc:
        raise ConfigError(
            f"{url}: expected a shard as this release writes it, found another; install the same "
            f"release for the driver and the workers ({exc.error_count()} differences)"
        ) from exc


@cache
def _adapter() -> TypeAdapter[Assignment]:
    return TypeAdapter(Assignment)


def with_local_weights(groups: Sequence[Group], settings: RunSettings) -> tuple[Group, ...]:
    """The groups with weights as they are found on this machine, which lie elsewhere on another.

    Raises WeightsError where they cannot be had, or are not those of the driver.
    """
    layers = layers_of(one.job for group in groups for one in group.jobs)
    found = {
        name: usable_weights(name, settings.weights.get(name), layers[name], download=True)
        for name in dict.fromkeys(group.backbone for group in groups)
    }
    for group in groups:
        here = found[group.backbone]
        if here.digest != group.weights.digest:
            raise WeightsError(
                f"weights of {group.backbone}: expected the sha256 of the driver's, "
                f"{group.weights.digest}, found {here.digest} on this machine; give both the same "
                "file"
            )
        if here.topology != group.weights.topology:
            raise WeightsError(
                f"weights of {group.backbone}: expected the topology of the driver's, "
                f"{group.weights.topology}, found {here.topology} on this machine; give both the "
                "same #topology= behind the file"
            )
    return tuple(replace(group, weights=found[group.backbone]) for group in groups)


def remaining(groups: Sequence[Group], settings: RunSettings) -> tuple[Group, ...]:
    """The groups without the pictures that this run has recorded, and none that has no other."""
    made = records.read_new(settings.output, [one.job.id for g in groups for one in g.jobs]).made

    def is_recorded(one: PlannedJob) -> bool:
        return one.is_made_by(made.brief(one.job.id))

    left = (
        replace(group, jobs=tuple(one for one in group.jobs if not is_recorded(one)))
        for group in groups
    )
    return tuple(group for group in left if group.jobs)


def give_up(groups: Sequence[Group], settings: RunSettings, reason: Reason, why: str) -> int:
    """Record every picture of the groups that nothing is recorded of as failed; of how many."""
    found = records.read_new(settings.output, [one.job.id for g in groups for one in g.jobs])

    def is_recorded(one: PlannedJob) -> bool:
        made, failed = (each.brief(one.job.id) for each in (found.made, found.failed))
        return one.is_made_by(made) or one.is_failed_by(failed)

    # Without a number of attempts: most of them are innocent, and the next run is to try them.
    error = (
        NSTError(f"{why}; run it again")
        if reason == "group_failed"
        else WorkerError(f"{why}; run it again", reason=reason, attempts=0)
    )
    lost = [one for group in groups for one in group.jobs if not is_recorded(one)]
    outcomes = [replace(failure_of(one, error), attempts=None) for one in lost]
    storage.in_parallel(lambda outcome: records.write(settings.output, outcome), outcomes)
    return len(outcomes)


# --- What a shard tells of itself.

End = Literal["through", "stopped", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A sign of life. `advanced` has evaluations and pictures by the names of groups.

    `precision` is what its machine has chosen, where its driver did not say what to compute in.

    `end` is None while it goes on; "stopped" is by a store that is out of order, "failed" by
    anything else, and `error` says what.
    """

    number: int = 0
    advanced: Mapping[str, Sequence[int]] = field(default_factory=dict)
    num_made: int = 0
    num_failed: int = 0
    precision: Precision | None = None
    end: End | None = None
    error: str = ""


def _beat_url(output: str, shard: int, attempt: int) -> str:
    return storage.join(output, SHARDS, f"{shard:05}-{attempt}.beat")


def _mark_url(output: str, shard: int, attempt: int) -> str:
    return storage.join(output, SHARDS, f"{shard:05}-{attempt}.ended")


def read_beat(output: str, shard: int, attempt: int) -> Beat | None:
    """The last sign of life of an attempt, if it has given any."""
    try:
        return Beat(**json.loads(storage.read_bytes(_beat_url(output, shard, attempt))))
    except (NotFoundError, ValueError, TypeError):
        return None


class Heart(NoListener):
    """Tells the driver every few seconds how a shard gets on, and hears from it whether to go on."""

    def __init__(self, this: Assignment, attempt: int) -> None:
        self._this = this
        self._attempt = attempt
        self._followed = lease.Followed(this.settings.output, this.lease)
        self._beat = Beat()
        self._lock = threading.Lock()
        self._over = ""
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="heart", daemon=True)

    def check(self) -> None:
        """Raises RunEndedError where the driver is gone or has given this attempt up."""
        if self._over:
            raise RunEndedError(f"shard {self._this.number}: {self._over}")

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        with self._lock:
            now = {**self._beat.advanced, group.name: (evaluations, pictures)}
            self._beat = replace(self._beat, advanced=now)

    def recorded(self, group: Group, outcome: Outcome) -> None:
        with self._lock:
            self._beat = replace(
                self._beat,
                num_made=self._beat.num_made + (outcome.status == "ok"),
                num_failed=self._beat.num_failed + (outcome.status == "failed"),
            )

    def computes_in(self, precision: Precision) -> None:
        """Tell the driver so at once. Raises StorageError where that cannot be written."""
        with self._lock:
            self._beat = replace(self._beat, precision=precision)
        self._write()

    def start(self) -> None:
        """Raises NSTError where the driver is gone already."""
        self._over = self._objection()
        self.check()
        self._write()
        self._thread.start()

    def end(self, end: End, error: str = "") -> None:
        """The last sign of life."""
        self._ends.set()
        self._thread.join()
        with self._lock:
            self._beat = replace(self._beat, end=end, error=error)
        self._write()

    def _go_on(self) -> None:
        while not self._ends.wait(HEARTBEAT_S):
            try:
                self._over = self._over or self._objection()
                self._write()
            except Exception as exc:
                _log.warning("shard %d: no sign of life: %s", self._this.number, exc)

    def _objection(self) -> str:
        output, number = self._this.settings.output, self._this.number
        if not self._followed.is_held():
            return "expected a driver that renews its lease, found none; run it again"
        try:
            storage.read_bytes(_mark_url(output, number, self._attempt))
        except NotFoundError:
            return ""
        return f"attempt {self._attempt} was given up by the driver, and another makes the rest"

    def _write(self) -> None:
        with self._lock:
            self._beat = beat = replace(self._beat, number=self._beat.number + 1)
        url = _beat_url(self._this.settings.output, self._this.number, self._attempt)
        storage.write_bytes(url, json.dumps(asdict(beat)).encode())


@contextmanager
def beating(this: Assignment, attempt: int) -> Iterator[Heart]:
    """Work on a shard under its driver's lease, and tell the driver how that ends."""
    heart = Heart(this, attempt)
    heart.start()
    try:
        yield heart
    except StorageError as exc:
        _end_if_possible(heart, "stopped" if exc.ends_the_run else "failed", str(exc))
        raise
    except BaseException as exc:
        _end_if_possible(heart, "failed", str(exc) or type(exc).__name__)
        raise
    heart.end("through")


def settled(settings: RunSettings, choose: Callable[[str], Precision], heart: Heart) -> RunSettings:
    """The settings with the precision that a shard paints in, which its driver has heard of by then.

    `choose` is asked by the choice of a device where the driver knew of none: it leaves that to the
    first shard, and starts no other before it has its answer.
    """
    if settings.precision != "auto":
        return settings
    precision = choose(settings.device)
    heart.computes_in(precision)
    return replace(settings, precision=precision)


def _end_if_possible(heart: Heart, end: End, error: str) -> None:
    try:
        heart.end(end, error)
    except NSTError as exc:
        _log.warning("%s", exc)


# --- What the driver makes of that.

Phase = Literal[
    "waiting",  # no worker has taken it
    "running",
    "through",
    "stopped",  # a store is out of order
    "lost",  # its process ended before it was through
    "given_up",  # it was lost too often
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The last attempt at a shard, counted from 1; `sign_at` is when it gave the last sign of life."""

    shard: int
    number: int
    phase: Phase
    sign_at: float
    beat: Beat = field(default_factory=Beat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something to do about a shard: `start` an attempt, `end` one that is silent, or `give_up`."""

    do: Literal["start", "end", "give_up"]
    shard: int
    attempt: int


def seen(before: Attempt, phase: Phase | None, beat: Beat | None, now: float) -> Attempt:
    """An attempt after another look: at the phase its run is in, where that is known, and its beat."""
    beat = beat or before.beat
    phase = phase or before.phase
    match beat.end:
        case "through" | "stopped":
            phase = beat.end
        case "failed":
            phase = "lost"
        case None if phase == "through":
            # It is the records that count, and one whose last word is missing may lack some.
            phase = "lost"
    has_moved = phase != before.phase or beat.number != before.beat.number
    return replace(before, phase=phase, beat=beat, sign_at=now if has_moved else before.sign_at)


def next_steps(
    attempts: Mapping[int, Attempt],
    num_shards: int,
    *,
    now: float,
    in_flight: int,
    timeout_s: float,
) -> tuple[Step, ...]:
    """What to do now, in this order: lost shards once more or given up, then shards that are new.

    A shard that no worker has taken is not lost, however long that takes. `attempts` has the last
    attempt at each shard that was started.
    """
    steps: list[Step] = []
    num_running = 0
    again: list[Step] = []
    for shard, one in sorted(attempts.items()):
        is_silent = one.phase == "running" and now - one.sign_at > timeout_s
        if is_silent:
            steps.append(Step(do="end", shard=shard, attempt=one.number))
        if one.phase == "lost" or is_silent:
            is_last = one.number >= MAX_ATTEMPTS
            number = one.number if is_last else one.number + 1
            step = Step(do="give_up" if is_last else "start", shard=shard, attempt=number)
            (steps if is_last else again).append(step)
        elif one.phase in ("waiting", "running"):
            num_running += 1
    new = [
        Step(do="start", shard=shard, attempt=1)
        for shard in range(1, num_shards + 1)
        if shard not in attempts
    ]
    return (*steps, *[*again, *new][: max(0, in_flight - num_running)])


class Pool(Protocol):
    """Where shards run. What it cannot do for now it leaves, and is asked for again."""

    def start(self, ticket: Ticket, attempt: int) -> str | None:
        """Have an attempt run, once however often it is asked; the name of its run, if there is one."""

    def phases(self, runs: Sequence[str]) -> Mapping[str, Phase]:
        """The phases of runs, of those that are known. One that has ended is through or lost."""

    def cancel(self, run: str) -> None:
        """Have a run end."""

    def discard(self, run: str) -> None:
        """Take a run for ended that did not end when it was told to: its machine is gone."""


def drive(
    shards: Sequence[Shard],
    settings: RunSettings,
    held: Lease,
    pool: Pool,
    listener: Listener,
    *,
    in_flight: int,
    timeout_s: float,
    settle: Callable[[Precision], RunSettings],
) -> None:
    """Have all shards run in `pool`, until each is through or given up; of those, record why.

    Where the settings leave the precision open, the first shard that tells chooses it for all, and
    `settle` gives the settings with it. Raises StorageError where a store stopped one, and NSTError where the lease is lost. Whatever
    ends this ends all of its runs, which would go on without it.
    """
    driver = _Driver(shards, settings, held, pool, listener, settle)
    try:
        while driver.look():
            driver.go_on(in_flight=in_flight, timeout_s=timeout_s)
            time.sleep(POLL_S)
    except BaseException:
        driver.end_all(_BRIEF_GRACE_S)
        raise
    driver.settle(_GRACE_S)
    storage.in_parallel(
        storage.delete,
        [
            storage.join(settings.output, SHARDS, name)
            for name in storage.list_sizes(storage.join(settings.output, SHARDS))
        ],
    )


class _Driver:
    def __init__(
        self,
        shards: Sequence[Shard],
        settings: RunSettings,
        held: Lease,
        pool: Pool,
        listener: Listener,
        settle: Callable[[Precision], RunSettings],
    ) -> None:
        self._settle = settle
        self._shards = {shard.number: shard for shard in shards}
        self._groups = {group.name: group for shard in shards for group in shard.groups}
        self._settings = settings
        self._held = held
        self._pool = pool
        self._listener = listener
        self._tickets: dict[int, Ticket] = {}
        self._attempts: dict[int, Attempt] = {}
        # The run of the last attempt at each shard, and all that have not been seen to end.
        self._run_of: dict[int, str] = {}
        self._open: set[str] = set()
        self._cancelled_at: dict[str, float] = {}
        self._shown: dict[str, int] = {}

    def look(self) -> bool:
        """Whether anything is left to do, after a look at what goes on."""
        self._held.check()
        phases = self._phases()
        now = time.monotonic()
        for shard, before in self._attempts.items():
            if before.phase not in ("waiting", "running"):
                continue
            beat = read_beat(self._settings.output, shard, before.number)
            after = seen(before, phases.get(self._run_of[shard]), beat, now)
            self._attempts[shard] = after
            self._hear(after.beat)
            self._tell(self._shards[shard], after)
            if after.phase == "stopped":
                raise StorageError(f"shard {shard}: {after.beat.error}")
            if after.phase == "lost":
                _log.warning(
                    "shard %d: attempt %d was lost: %s",
                    shard,
                    after.number,
                    after.beat.error or "it ended without a word",
                )
        is_over = [each.phase in ("through", "given_up") for each in self._attempts.values()]
        return sum(is_over) < len(self._shards)

    def go_on(self, *, in_flight: int, timeout_s: float) -> None:
        """Start what is to be started, and end what is to be ended."""
        is_open = self._settings.precision == "auto"
        steps = next_steps(
            self._attempts,
            len(self._shards),
            now=time.monotonic(),
            in_flight=1 if is_open else in_flight,
            timeout_s=timeout_s,
        )
        for step in steps:
            match step.do:
                case "start":
                    self._start(step)
                case "end":
                    self._end(step, timeout_s)
                case "give_up":
                    self._give_up(step)

    def end_all(self, grace_s: float) -> None:
        """End every run that goes on, and wait a little for that."""
        for run in self._open:
            self._cancel(run)
        self.settle(grace_s)

    def settle(self, grace_s: float) -> None:
        """Leave no run that seems to go on: those that do not end by themselves are discarded."""
        until = time.monotonic() + grace_s
        while self._open and time.monotonic() < until:
            self._phases()
            if self._open:
                time.sleep(min(1.0, POLL_S))
        for run in sorted(self._open):
            self._pool.discard(run)

    def _hear(self, beat: Beat) -> None:
        if self._settings.precision == "auto" and beat.precision is not None:
            self._settings = self._settle(beat.precision)
            # Those leave it open.
            self._tickets.clear()

    def _cancel(self, run: str) -> None:
        self._pool.cancel(run)
        self._cancelled_at[run] = time.monotonic()

    def _phases(self) -> Mapping[str, Phase]:
        """Of the runs that are not known to have ended; one that cannot be cancelled is discarded."""
        phases = self._pool.phases(sorted(self._open))
        self._open -= {run for run, phase in phases.items() if phase in ("through", "lost")}
        for run in sorted(self._open & self._cancelled_at.keys()):
            if time.monotonic() - self._cancelled_at[run] > _GRACE_S:
                self._pool.discard(run)
                self._open.discard(run)
        return phases

    def _start(self, step: Step) -> None:
        if step.shard not in self._tickets:
            shard = self._shards[step.shard]
            self._tickets[step.shard] = assign(shard, self._settings, self._held.token)
        run = self._pool.start(self._tickets[step.shard], step.attempt)
        if run is None:
            return
        self._run_of[step.shard] = run
        self._open.add(run)
        self._attempts[step.shard] = Attempt(
            shard=step.shard, number=step.attempt, phase="waiting", sign_at=time.monotonic()
        )

    def _end(self, step: Step, timeout_s: float) -> None:
        """The mark is for a process that does go on, and that nobody reaches but by the output."""
        _log.warning(
            "shard %d: attempt %d gave no sign of life for %g s and is ended",
            step.shard,
            step.attempt,
            timeout_s,
        )
        storage.write_bytes(_mark_url(self._settings.output, step.shard, step.attempt), b"")
        self._cancel(self._run_of[step.shard])
        self._attempts[step.shard] = replace(self._attempts[step.shard], phase="lost")

    def _give_up(self, step: Step) -> None:
        one = self._attempts[step.shard]
        self._attempts[step.shard] = replace(one, phase="given_up")
        why = one.beat.error or "its machine or its process ended without a word"
        number = give_up(
            self._shards[step.shard].groups,
            self._settings,
            "worker_died",
            f"shard {step.shard} was lost {step.attempt} times: {why}",
        )
        _log.error("shard %d is given up with %d pictures: %s", step.shard, number, why)

    def _tell(self, shard: Shard, one: Attempt) -> None:
        """The listener hears only of what goes forward: an attempt begins where it is told nothing."""
        for group in shard.groups:
            whole = (group.steps * len(group.jobs), len(group.jobs))
            told = one.beat.advanced.get(group.name, (0, 0))
            evaluations, pictures = whole if one.phase == "through" else told
            if evaluations > self._shown.get(group.name, 0):
                self._shown[group.name] = evaluations
                self._listener.advanced(group, evaluations, pictures)
