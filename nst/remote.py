"""Groups made in whatever process an engine gives them, of which it is told nothing but plain data.

A process keeps what paints for as long as the run's lease is held, so that weights are loaded once
in it, and ends it with the lease, whatever it is at. How often a portion was begun, and what came
of it, is put down in the output: an engine that loses a node, or a result, has the portion made again.
"""

import importlib.metadata
import json
import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace

from nst import __version__, pipeline, storage
from nst.errors import (
    ConfigError,
    NotFoundError,
    NSTError,
    RunEndedError,
    StorageError,
    WeightsError,
    WorkerError,
    ends_the_run,
)
from nst.iterables import in_parallel
from nst.output import ATTEMPTS, Outcome, Status, records
from nst.painting import usable_weights
from nst.pipeline import Painter, Portion
from nst.planning import Group, PlannedJob, failure_of, layers_of
from nst.running import HEARTBEAT_S, Listener, NoListener, PortionReport, lease
from nst.settings import Precision, RunSettings

# How often a portion may take its node with it before it is given up.
MAX_BEGUN = 2
_OVER = "-over"
# Between two looks at the records, and how much longer that is than a look takes.
_LOOK_EVERY_S = 5.0
_WAIT_FOR_A_LOOK = 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a task is told of its run: the token of the lease, and with what versions it was planned."""

    token: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a node says of itself."""

    host: str
    versions: Mapping[str, str]


def versions() -> dict[str, str]:
    """The versions that decide what a picture looks like and whether its tasks are understood."""
    return {"nst": __version__, "torch": importlib.metadata.version("torch")}


def node() -> Node:
    """This one."""
    return Node(host=socket.gethostname(), versions=versions())


def precision(settings: RunSettings) -> Precision:
    """What the devices of this node take for `auto`."""
    with pipeline.painter(settings) as by:
        return by.precision(settings.device)


def check_versions(expected: Mapping[str, str], found: Node) -> None:
    """Raises ConfigError where a node has another version of anything than the run."""
    others = [
        f"{name} {found.versions.get(name, 'none')} instead of {version}"
        for name, version in expected.items()
        if found.versions.get(name) != version
    ]
    if others:
        raise ConfigError(
            f"{found.host}: expected the versions that the run has, found {', '.join(others)}; install "
            "the same on all nodes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What came of a portion; `failed` are the ids of the pictures that failed."""

    report: PortionReport
    failed: tuple[str, ...]


def make_portion(portion: Portion, settings: RunSettings, ticket: Ticket) -> Made:
    """As `pipeline.run_portion`, of all pictures that no earlier attempt at it has recorded.

    A portion that was made before is not made again, and of one whose nodes were lost MAX_BEGUN
    times all that is not recorded is recorded as failed. Raises RunEndedError where the run's lease
    is gone, ConfigError where this node has other versions, and what `run_portion` raises.
    """
    check_versions(ticket.versions, node())
    url = _url(portion, settings, ticket.token)
    before = _read(url)
    if before.made is not None:
        return before.made
    kept = _kept_for(settings, ticket.token)
    if before.num_begun >= MAX_BEGUN:
        made = _given_up(portion, settings, before.num_begun)
    else:
        _write(url, _Attempts(num_begun=before.num_begun + 1))
        failures = _Failures()
        try:
            left = remaining(portion, settings) if before.num_begun else portion
            groups = _with_local_weights(left, settings)
            report = pipeline.run_portion(
                groups, settings, failures, by=kept.by(), check=kept.check
            )
        except RunEndedError:
            # Nobody asks any more, and whoever called it off has removed what was put down.
            raise
        except Exception:
            # That ended in order, and says nothing against the portion.
            _write(url, before)
            raise
        made = Made(report=report, failed=tuple(failures.ids))
        if before.num_begun:
            made = _of_all_attempts(portion, settings, report.errors)
    kept.check()
    _write(url, _Attempts(num_begun=before.num_begun + 1, made=made))
    return made


class _Failures(NoListener):
    """Remembers what failed."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def recorded(self, group: Group, outcome: Outcome) -> None:
        if outcome.status == "failed":
            self.ids.append(outcome.id)


def call_off(settings: RunSettings, token: str) -> None:
    """Have whoever makes portions of a run end that, within some seconds."""
    storage.write_bytes(_over_url(settings, token), b"")


def forget(settings: RunSettings, token: str) -> None:
    """Remove what was put down of a run's portions, once none of them goes on."""
    folder = storage.join(settings.output, ATTEMPTS)
    names = [name for name in storage.list_sizes(folder) if name.startswith(token)]
    storage.delete_all([storage.join(folder, name) for name in names])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Attempts:
    """How often a portion was begun, and how it ended, if it did."""

    num_begun: int = 0
    made: Made | None = None


def _url(portion: Portion, settings: RunSettings, token: str) -> str:
    number = portion[0].name.partition(" ")[0]
    return storage.join(settings.output, ATTEMPTS, f"{token}-{number}.json")


def _over_url(settings: RunSettings, token: str) -> str:
    return storage.join(settings.output, ATTEMPTS, f"{token}{_OVER}")


def _read(url: str) -> _Attempts:
    """What was put down of a portion; of one that cannot be read, that it was begun once."""
    try:
        found = json.loads(storage.read_bytes(url))
        made = found["made"]
        return _Attempts(
            num_begun=int(found["num_begun"]),
            made=made
            and Made(report=PortionReport(**made["report"]), failed=tuple(made["failed"])),
        )
    except NotFoundError:
        return _Attempts()
    except (StorageError, ValueError, KeyError, TypeError) as exc:
        if ends_the_run(exc):
            raise
        # The records tell what is there, and the next mark is written over this one.
        _log.warning("%s: expected how often groups were begun, ignoring it: %s", url, exc)
        return _Attempts(num_begun=1)


def _write(url: str, attempts: _Attempts) -> None:
    storage.write_bytes(url, json.dumps(asdict(attempts)).encode())


def remaining(groups: Sequence[Group], settings: RunSettings) -> tuple[Group, ...]:
    """The groups without the pictures that this run has recorded, and none that has no other."""
    made = _Recorded(groups, settings)
    left = (
        replace(group, jobs=tuple(one for one in group.jobs if not made.is_made(one)))
        for group in groups
    )
    return tuple(group for group in left if group.jobs)


class _Recorded:
    """What the single records say of the pictures of some groups."""

    def __init__(self, groups: Sequence[Group], settings: RunSettings) -> None:
        self.planned = [one for group in groups for one in group.jobs]
        ids = [one.job.id for one in self.planned]
        found = records.read_new(settings.output, ids)
        self._made, self._failed = (
            dict(zip(ids, table.briefs(table.find(ids)), strict=True))
            for table in (found.made, found.failed)
        )

    def is_made(self, one: PlannedJob) -> bool:
        return one.is_made_by(self._made[one.job.id])

    def is_failed(self, one: PlannedJob) -> bool:
        return one.is_failed_by(self._failed[one.job.id]) and not self.is_made(one)


def _of_all_attempts(portion: Portion, settings: RunSettings, errors: Mapping[str, str]) -> Made:
    """What came of a portion by now, in this attempt and in those before it."""
    found = _Recorded(portion, settings)
    failed = tuple(one.job.id for one in found.planned if found.is_failed(one))
    report = PortionReport(
        num_made=sum(map(found.is_made, found.planned)), num_failed=len(failed), errors=errors
    )
    return Made(report=report, failed=failed)


def _given_up(portion: Portion, settings: RunSettings, num_begun: int) -> Made:
    # Without a number of attempts: most of them are innocent, and the next run is to try them.
    error = WorkerError(
        f"the node that made its group was lost {num_begun} times; run it again",
        reason="worker_died",
        attempts=0,
    )
    found = _Recorded(portion, settings)
    lost = [one for one in found.planned if not (found.is_made(one) or found.is_failed(one))]
    outcomes = [replace(failure_of(one, error), attempts=None) for one in lost]
    in_parallel(lambda outcome: records.write(settings.output, outcome), outcomes)
    _log.error("group %s is given up with %d pictures: %s", portion[0].name, len(lost), error)
    return _of_all_attempts(portion, settings, {})


def _with_local_weights(groups: Sequence[Group], settings: RunSettings) -> tuple[Group, ...]:
    """The groups with weights as they are found on this node, which lie elsewhere on another.

    Raises WeightsError where they cannot be had, or are not those of the plan.
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
                f"weights of {group.backbone}: expected the sha256 of the plan's, "
                f"{group.weights.digest}, found {here.digest} on {socket.gethostname()}; give all "
                "nodes the same file"
            )
        if here.topology != group.weights.topology:
            raise WeightsError(
                f"weights of {group.backbone}: expected the topology of the plan's, "
                f"{group.weights.topology}, found {here.topology} on {socket.gethostname()}; give "
                "all nodes the same #topology= behind the file"
            )
    return tuple(replace(group, weights=found[group.backbone]) for group in groups)


# --- What paints in this process, by the token of the lease that it paints under.

_kept: dict[str, "_Kept"] = {}
_keeping = threading.Lock()


def _kept_for(settings: RunSettings, token: str) -> "_Kept":
    with _keeping:
        kept = _kept.get(token)
        if kept is None:
            kept = _kept[token] = _Kept(settings, token)
    kept.check()
    return kept


class _Kept:
    """What paints for a run, from the first group on, and who looks whether the run goes on."""

    def __init__(self, settings: RunSettings, token: str) -> None:
        self._settings = settings
        self._token = token
        self._followed = lease.Followed(settings.output, token)
        self._stack = ExitStack()
        self._by: Painter | None = None
        self._lock = threading.Lock()
        self._is_over = self._has_ended()
        threading.Thread(target=self._watch, name="follow", daemon=True).start()

    def check(self) -> None:
        """Raises RunEndedError where the run is over."""
        if self._is_over:
            raise RunEndedError("expected a run that renews its lease, found none; run it again")

    def by(self) -> Painter:
        with self._lock:
            self.check()
            if self._by is None:
                self._by = self._stack.enter_context(pipeline.painter(self._settings))
            return self._by

    def _has_ended(self) -> bool:
        return not self._followed.is_held() or storage.exists(
            _over_url(self._settings, self._token)
        )

    def _watch(self) -> None:
        while not self._is_over:
            time.sleep(HEARTBEAT_S)
            try:
                self._is_over = self._has_ended()
            except NSTError as exc:
                _log.warning("the lease of the run could not be read: %s", exc)
        with self._lock:
            self._stack.close()
        with _keeping:
            _kept.pop(self._token, None)


# --- How far portions are that are made elsewhere.


class Lookout:
    """Tells a listener of the pictures that are recorded, wherever, by looking at the output.

    A look at all single records takes a request for each thousand of them, so that there is less
    and less of it, the more there are.
    """

    def __init__(self, settings: RunSettings, listener: Listener) -> None:
        self._settings = settings
        self._listener = listener
        self._groups: dict[str, Group] = {}
        self._through: dict[str, int] = {}
        self._looked_at = time.monotonic()
        self._wait_s = _LOOK_EVERY_S
        # Of an earlier run that was stopped; those are told of when their portion ends.
        self._before = self._names()

    def begun(self, portion: Portion) -> None:
        """A portion has been given to somebody."""
        self._groups |= {one.job.id: group for group in portion for one in group.jobs}

    def look(self) -> None:
        """Tell of what is new, if it is time for another look."""
        if not self._groups or time.monotonic() - self._looked_at < self._wait_s:
            return
        started = time.monotonic()
        for name in self._names() - self._before:
            self._tell(*records.told_by(name))
        self._looked_at = time.monotonic()
        self._wait_s = max(_LOOK_EVERY_S, _WAIT_FOR_A_LOOK * (self._looked_at - started))

    def ended(self, portion: Portion, made: Made) -> None:
        """Tell of what has not been told of a portion, and of no more of it from now on."""
        failed = set(made.failed)
        for group in portion:
            for one in group.jobs:
                if one.job.id in failed:
                    self._tell(one.job.id, "failed")
                elif group.name not in made.report.errors:
                    self._tell(one.job.id, "ok")
                # Of a group that ended early it is not known which of the others were made.
                self._groups.pop(one.job.id, None)
            self._listener.advanced(group, group.steps * len(group.jobs), len(group.jobs))

    def _names(self) -> set[str]:
        folder = storage.join(self._settings.output, records.SINGLES)
        return {name for name, _ in storage.list_objects(folder)}

    def _tell(self, job_id: str, status: Status) -> None:
        group = self._groups.pop(job_id, None)
        if group is None:
            return
        self._listener.recorded(group, Outcome(id=job_id, status=status))
        num = self._through[group.name] = self._through.get(group.name, 0) + 1
        self._listener.advanced(group, group.steps * num, num)
