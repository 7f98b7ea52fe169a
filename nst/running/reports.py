"""What the steps of a run tell their caller; small, so that they travel between processes."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from nst.errors import StoppedError, TooManyFailedError
from nst.output import Outcome, Record
from nst.planning import Group, Plan
from nst.settings import RunSettings

_log = logging.getLogger(__name__)


class Listener(Protocol):
    """Who wants to know how a run gets on."""

    def planned(self, plan: Plan) -> None:
        """What will run is known; nothing has run."""

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        """So many evaluations are done, over all pictures of the group, and so many pictures.

        They are told in evaluations of the pictures' own size, of which `Group.evaluations` are a
        picture's. One that stops early counts as if all of its evaluations had been made.
        """

    def begun(self, group: Group, ids: Sequence[str]) -> None:
        """The inputs of these pictures are about to be read."""

    def recorded(self, group: Group, outcome: Outcome) -> None:
        """What became of a picture is put down in the output."""


class NoListener:
    """Wants to know nothing."""

    def planned(self, plan: Plan) -> None: ...

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None: ...

    def begun(self, group: Group, ids: Sequence[str]) -> None: ...

    def recorded(self, group: Group, outcome: Outcome) -> None: ...


class Listeners:
    """Tells several listeners all that it is told, one after the other.

    What one of them raises while pictures are made costs nobody a picture: it is warned of once, and
    told the rest all the same. What it raises of the plan is raised: nothing is made by then. So is a
    StoppedError, by which a listener ends a group.
    """

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._failing: set[int] = set()

    def planned(self, plan: Plan) -> None:
        for each in self._listeners:
            each.planned(plan)

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        for each in self._listeners:
            with self._forgiving(each):
                each.advanced(group, evaluations, pictures)

    def begun(self, group: Group, ids: Sequence[str]) -> None:
        for each in self._listeners:
            with self._forgiving(each):
                each.begun(group, ids)

    def recorded(self, group: Group, outcome: Outcome) -> None:
        for each in self._listeners:
            with self._forgiving(each):
                each.recorded(group, outcome)

    @contextmanager
    def _forgiving(self, listener: Listener) -> Iterator[None]:
        try:
            yield
        except StoppedError:
            raise
        except Exception as exc:
            if id(listener) in self._failing:
                return
            self._failing.add(id(listener))
            _log.warning(
                "the listener %s has failed, and the run goes on: %s: %s",
                type(listener).__name__,
                type(exc).__name__,
                exc,
                exc_info=exc,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """How many pictures of a group were made, and how many failed."""

    name: str
    num_made: int
    num_failed: int


# A report travels between processes, and nobody reads half a million rows in one.
MAX_FAILED = 1000
MAX_EXAMPLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PortionReport:
    """As of a group, of several; `errors` are what ended some of them early, by their names.

    `is_stopped` says that one of them ended, or did not begin, since the run was asked to stop.
    """

    num_made: int
    num_failed: int
    errors: Mapping[str, str]
    is_stopped: bool = False

    def __add__(self, other: "PortionReport") -> "PortionReport":
        return PortionReport(
            num_made=self.num_made + other.num_made,
            num_failed=self.num_failed + other.num_failed,
            errors={**self.errors, **other.errors},
            is_stopped=self.is_stopped or other.is_stopped,
        )


def max_failed(fail_over: str, num_rows: int) -> int | None:
    """How many rows may fail by a number of them or a share such as `5%`; None for any, by `""`."""
    if fail_over.endswith("%"):
        # Exactly: 29 / 100 * 100 is a little less than 29 in floating point.
        return int(Fraction(fail_over[:-1]) * num_rows / 100)
    return int(fail_over) if fail_over else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """How a run ended: each row of the manifest is ok or failed.

    `failed` are the failed rows in their order, the first MAX_FAILED of them and without their
    curves; the metadata has them all. `examples` are the paths in the output of thumbnails of the
    first few pictures. `manifests` are the names of all manifests that have rows in the metadata; the
    numbers are of this run's alone. `metadata_digest` is the sha256 of the metadata's bytes.
    `num_encoded` of the pictures that were done before are now in another format. `stopped_by` is who
    asked the run to stop before all of its pictures were made.
    """

    num_rows: int
    num_ok: int
    num_done_before: int
    failed_by_reason: Mapping[str, int]
    failed: tuple[Record, ...]
    gallery_url: str
    metadata_url: str
    examples: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()
    metadata_digest: str = ""
    num_encoded: int = 0
    stopped_by: str = ""

    @property
    def num_failed(self) -> int:
        return self.num_rows - self.num_ok


def counting_failures(
    plan: Plan, settings: RunSettings, listener: Listener, check: Callable[[], None]
) -> tuple[Listener, Callable[[], None]]:
    """The listener and the check of a run that ends once more rows failed than the settings allow.

    The check then raises TooManyFailedError.
    """
    failed = FailedRows(plan, settings)

    def check_both() -> None:
        check()
        failed.check()

    return Listeners(failed, listener), check_both


class FailedRows(NoListener):
    """Counts the rows that failed: those of the plan, and those that are told of."""

    def __init__(self, plan: Plan, settings: RunSettings) -> None:
        self._num_failed = len(plan.failed)
        self._allowed = max_failed(settings.fail_over, len(plan.jobs))

    def check(self) -> None:
        """Raises TooManyFailedError where more failed than the settings allow."""
        if self._allowed is not None and self._num_failed > self._allowed:
            raise TooManyFailedError(
                f"{self._num_failed} rows have failed, more than the {self._allowed} that "
                "--fail-over allows; the others were not made; correct those rows, or allow more"
            )

    def recorded(self, group: Group, outcome: Outcome) -> None:
        self._num_failed += outcome.status == "failed"
