"""Portions of groups, made in any process of a cluster from plain data alone.

A process keeps what paints for as long as the run's lease is held, so that weights are loaded once
in it, and ends it with the lease, whatever it is at.
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from nst.errors import NoPainterError, NSTError, PainterError, RunEndedError, WorkerError
from nst.iterables import in_parallel
from nst.output import Outcome, records
from nst.planning import Group, PlannedJob, Portion, failure_of
from nst.running import attempts, lease
from nst.running.attempts import PortionResult
from nst.running.lease import HEARTBEAT_S
from nst.running.nodes import RunIdentity, check_versions, node, with_local_weights
from nst.running.reports import Listeners, NoListener, PortionReport
from nst.running.session import Painter, Session, open_painter, run_in_order
from nst.running.stopping import Stopping
from nst.settings import RunSettings
from nst.storage import work_for

# How often a portion may take its node with it before it is given up.
MAX_BEGUN = 2

_log = logging.getLogger(__name__)


def make_portion(portion: Portion, settings: RunSettings, identity: RunIdentity) -> PortionResult:
    """As `run_in_order`, of all pictures that no earlier attempt at it has recorded.

    A portion that was made before is not made again, and of one whose nodes were lost MAX_BEGUN
    times all that is not recorded is recorded as failed. Raises RunEndedError where the run's lease
    is gone, ConfigError where this node has other versions, and what `run_in_order` raises.
    """
    check_versions(identity.versions, node())
    work_for(settings.output, have_answered=True)
    url = attempts.url_of(portion, settings, identity.token)
    before = attempts.read(url)
    if before.made is not None:
        return before.made
    kept = _kept_for(settings, identity.token)
    begun = replace(before, num_begun=before.num_begun + 1)
    if before.num_begun >= MAX_BEGUN:
        result = _given_up(portion, settings, before.num_begun)
    else:
        attempts.write(url, begun)
        try:
            result = _attempted(portion, settings, kept, is_first=not before.num_begun)
        except RunEndedError:
            # Nobody asks any more, and whoever called it off has removed what was put down.
            raise
        except Exception:
            # That ended in order, and says nothing against the portion.
            attempts.write(url, before)
            raise
    kept.check()
    attempts.write(url, replace(begun, made=result))
    return result


def _attempted(
    portion: Portion, settings: RunSettings, kept: "_KeptPainter", *, is_first: bool
) -> PortionResult:
    failures = _Failures()
    left = portion if is_first else remaining(portion, settings)
    groups = with_local_weights(left, settings)
    session = Session(
        painter=kept.painter(),
        settings=settings,
        listener=Listeners(failures, kept.stopping),
        check=kept.check_all,
    )
    try:
        report = run_in_order(groups, session)
    except NoPainterError as exc:
        # Others may be able to paint where this node is not.
        raise PainterError(str(exc)) from exc
    if is_first:
        return PortionResult(report=report, failed=tuple(failures.ids))
    return _of_all_attempts(portion, settings, report)


class _Failures(NoListener):
    """Remembers what failed."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def recorded(self, group: Group, outcome: Outcome) -> None:
        if outcome.status == "failed":
            self.ids.append(outcome.id)


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


def _of_all_attempts(
    portion: Portion, settings: RunSettings, last: PortionReport | None = None
) -> PortionResult:
    """What came of a portion by now, in the `last` attempt and in those before it."""
    found = _Recorded(portion, settings)
    failed = tuple(one.job.id for one in found.planned if found.is_failed(one))
    report = PortionReport(
        num_made=sum(map(found.is_made, found.planned)),
        num_failed=len(failed),
        errors={} if last is None else last.errors,
        is_stopped=last is not None and last.is_stopped,
    )
    return PortionResult(report=report, failed=failed)


def _given_up(portion: Portion, settings: RunSettings, num_begun: int) -> PortionResult:
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
    return _of_all_attempts(portion, settings)


# What paints in this process, by the token of the lease that it paints under.
_kept: dict[str, "_KeptPainter"] = {}
_keeping = threading.Lock()


def _kept_for(settings: RunSettings, token: str) -> "_KeptPainter":
    with _keeping:
        kept = _kept.get(token)
        if kept is None:
            kept = _kept[token] = _KeptPainter(settings, token)
    kept.check()
    return kept


class _KeptPainter:
    """What paints for a run, from the first group on, and who looks whether the run goes on."""

    def __init__(self, settings: RunSettings, token: str) -> None:
        self._settings = settings
        self._token = token
        self._followed = lease.Followed(settings.output, token)
        self.stopping = Stopping(self._followed.stop_asked_by)
        self._stack = ExitStack()
        self._painter: Painter | None = None
        self._lock = threading.Lock()
        self._is_over = self._has_ended()
        threading.Thread(target=self._watch, name="follow", daemon=True).start()

    def check(self) -> None:
        """Raises RunEndedError where the run is over."""
        if self._is_over:
            raise RunEndedError("expected a run that renews its lease, found none; run it again")

    def check_all(self) -> None:
        """As `check`; and raises StoppedError where the run was asked to stop."""
        self.check()
        self.stopping.check()

    def painter(self) -> Painter:
        with self._lock:
            self.check()
            if self._painter is None:
                self._painter = self._stack.enter_context(open_painter(self._settings))
            return self._painter

    def _has_ended(self) -> bool:
        return not self._followed.is_held() or attempts.is_called_off(self._settings, self._token)

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
