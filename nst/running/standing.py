"""How far a run is: what it says of itself while it goes on, and what an output says of its last run."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from nst.errors import ConfigError
from nst.output import Outcome, read_account
from nst.planning import Group, Plan
from nst.running import lease
from nst.running.reports import NoListener
from nst.running.tally import Tally

Phase = Literal["starting", "painting", "finishing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a run is, at a time: `at`. The counts are of rows; None is what is not known.

    `num_ok` are the rows that have their picture, `num_done_before` those of them that had it when
    the run began.
    """

    phase: Phase = "starting"
    num_rows: int | None = None
    num_ok: int = 0
    num_done_before: int = 0
    failed_by_reason: Mapping[str, int] = field(default_factory=dict)
    images_per_s: float | None = None
    seconds_left: float | None = None
    at: str = ""

    @property
    def num_failed(self) -> int:
        return sum(self.failed_by_reason.values())


class Standings(NoListener):
    """A listener that knows how far the run is."""

    def __init__(self) -> None:
        self._tally: Tally | None = None
        self._num_rows = 0
        self._num_done_before = 0
        self._num_made = 0
        self._failed: Counter[str] = Counter()
        # Of pictures that several rows ask for.
        self._rows_of: dict[str, int] = {}

    def planned(self, plan: Plan) -> None:
        self._num_rows = len(plan.jobs)
        rows_of = Counter(job.id for job in plan.jobs)
        for outcome in plan.failed:
            self._failed[outcome.reason or ""] += rows_of[outcome.id]
        num_to_make = sum(rows_of[one.job.id] for group in plan.groups for one in group.jobs)
        self._num_done_before = self._num_rows - num_to_make - self._failed.total()
        self._rows_of = {job_id: n for job_id, n in rows_of.items() if n > 1}
        self._tally = Tally(plan)

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        assert self._tally is not None
        self._tally.advanced(group, evaluations, pictures)

    def recorded(self, group: Group, outcome: Outcome) -> None:
        num_rows = self._rows_of.get(outcome.id, 1)
        if outcome.status == "ok":
            self._num_made += num_rows
        else:
            self._failed[outcome.reason or ""] += num_rows

    def now(self) -> Standing:
        """How far it is now."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        tally = self._tally
        if tally is None:
            return Standing(at=at)
        # Other threads count on meanwhile.
        failed = dict(self._failed.copy())
        num_through = self._num_made + sum(failed.values()) + self._num_done_before
        return Standing(
            phase="painting" if num_through < self._num_rows else "finishing",
            num_rows=self._num_rows,
            num_ok=self._num_done_before + self._num_made,
            num_done_before=self._num_done_before,
            failed_by_reason=failed,
            images_per_s=tally.images_per_s,
            seconds_left=tally.seconds_left,
            at=at,
        )


State = Literal["running", "stopping", "killed", "finished", "interrupted", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """An output's last run, or the one under way.

    `host` and `pid` are of the process that holds the output, None once none does. `is_alive` says
    whether it renews its lock; `stop_asked_by` who has asked it to stop. `error` is what ended it.
    """

    output: str
    state: State
    standing: Standing
    manifest: str | None = None
    host: str | None = None
    pid: int | None = None
    is_alive: bool = False
    stop_asked_by: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    error: str | None = None


def status(url: str) -> RunStatus:
    """What an output says of its last run; of one under way on another machine after some seconds.

    Raises ConfigError where no run has written.
    """
    claim = lease.holder(url)
    if claim is not None:
        alive = lease.is_alive(url, claim)
        # One that has ended meanwhile tells the rest in run.json.
        claim = lease.holder(url)
    account = read_account(url)
    if claim is None and account is None:
        raise ConfigError(f"{url}: expected the output of a run, found none; nst run makes one")
    told = account or {}
    if claim is None:
        return _of_account(url, told)
    # Until a run has written run.json, that is of the run before it.
    is_own = told.get("state") == "running"
    return RunStatus(
        output=url,
        state=("stopping" if claim.told.stop else "running") if alive else "killed",
        standing=standing_of(claim.told.progress or {}),
        manifest=_text(told, "manifest") if is_own else None,
        host=claim.host,
        pid=claim.pid,
        is_alive=alive,
        stop_asked_by=claim.told.stop,
        started_at=claim.since,
    )


def _of_account(url: str, told: Mapping[str, Any]) -> RunStatus:
    state: State
    match told.get("state"):
        case "finished" | "interrupted" | "stopped" as ended_as:
            state = ended_as
        case _:
            # Its lock was taken since.
            state = "killed"
    if state == "finished":
        started, ended = _time(told, "started_at"), _time(told, "ended_at")
        standing = standing_of(
            {**told, "phase": "finishing", "at": told.get("ended_at")},
            seconds=(ended - started).total_seconds() if started and ended else None,
        )
    else:
        progress = told.get("progress")
        standing = standing_of(progress if isinstance(progress, dict) else {})
    return RunStatus(
        output=url,
        state=state,
        standing=standing,
        manifest=_text(told, "manifest"),
        started_at=_text(told, "started_at"),
        ended_at=_text(told, "ended_at"),
        error=_text(told, "error"),
        stop_asked_by=_text(told, "stopped_by"),
    )


def told_of(standing: Standing) -> dict[str, Any]:
    """A standing in values that JSON has, for `standing_of`."""
    return asdict(standing)


def standing_of(told: Mapping[str, Any], *, seconds: float | None = None) -> Standing:
    """What `told_of` made, or a run.json; what is missing or no such value is not known.

    `seconds` is how long a run took that does not say how fast it was.
    """
    failed = told.get("failed_by_reason")
    known: dict[str, Any] = {
        name: told.get(name) for name in _KINDS if isinstance(told.get(name), _KINDS[name])
    }
    found = Standing(
        **known,
        failed_by_reason={
            str(reason): number
            for reason, number in (failed.items() if isinstance(failed, dict) else ())
            if isinstance(number, int)
        },
        images_per_s=_number(told, "images_per_s"),
        seconds_left=_number(told, "seconds_left"),
        phase=told["phase"] if told.get("phase") in ("painting", "finishing") else "starting",
    )
    num_made = found.num_ok - found.num_done_before
    if seconds and num_made > 0 and found.images_per_s is None:
        return replace(found, images_per_s=num_made / seconds)
    return found


_KINDS: Mapping[str, type] = {"num_rows": int, "num_ok": int, "num_done_before": int, "at": str}


def _number(told: Mapping[str, Any], name: str) -> float | None:
    found = told.get(name)
    return float(found) if isinstance(found, int | float) and math.isfinite(found) else None


def _text(told: Mapping[str, Any], name: str) -> str | None:
    found = told.get(name)
    return found if isinstance(found, str) else None


def _time(told: Mapping[str, Any], name: str) -> datetime | None:
    try:
        return datetime.fromisoformat(told.get(name) or "")
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What came of asking a run to stop: it `has_noted` it, or had ended, as `before` says."""

    before: RunStatus
    has_noted: bool


def stop(url: str, who: str) -> Stop:
    """Ask the run under way on an output to stop after its current pictures, in the name of `who`.

    Returns once it has taken note, or where none is under way. Raises ConfigError where no run has
    written, and for one that takes no such requests.
    """
    found = status(url)
    claim = lease.holder(url)
    if not found.is_alive or claim is None:
        return Stop(before=found, has_noted=False)
    noted = lease.ask_to_stop(url, claim, who)
    if noted is False:
        raise ConfigError(
            f"{url}: expected a run that can be asked to stop, found one of process {claim.pid} on "
            f"{claim.host} that does not take note, as of an earlier release or one that has hung; "
            "press Ctrl-C there"
        )
    return Stop(before=found, has_noted=noted is True)
