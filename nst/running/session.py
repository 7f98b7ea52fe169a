"""The groups of a run, painted one after the other or side by side, in this process or others."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol

from nst.errors import (
    NoPainterError,
    NSTError,
    RunEndedError,
    StoppedError,
    StorageError,
    ends_the_run,
)
from nst.planning import Group
from nst.running.lanes import Lanes
from nst.running.reports import GroupReport, Listener, NoListener, PortionReport
from nst.settings import Precision, RunSettings

_log = logging.getLogger(__name__)

# PyTorch takes seconds to import, which a plan or a gallery need not wait for, so that what needs it
# is imported by the functions below.


class Painter(Protocol):
    """Makes the pictures of groups, asked from as many threads at a time as it has lanes."""

    def num_lanes(self) -> int:
        """How many groups it paints at a time."""

    def precision(self, device: str) -> Precision:
        """What all of its lanes take for `auto` on the devices of a choice."""

    def run_group(self, group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
        """As `nst.running.batch.run_group`."""

    def has_lost_processes(self) -> bool:
        """Whether a process died or was ended while it painted, which may leave temporary files."""

    def close(self) -> None:
        """End the groups that are under way, by an NSTError, and paint no more."""


class InThisProcess:
    """A painter without a process of its own: what kills or hangs it takes the run along."""

    def num_lanes(self) -> int:
        return 1

    def precision(self, device: str) -> Precision:
        from nst.painting import resolve_devices, resolve_precision

        return resolve_precision("auto", *resolve_devices(device))

    def run_group(self, group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
        from nst.running import batch

        return batch.run_group(group, settings, listener)

    def has_lost_processes(self) -> bool:
        return False

    def close(self) -> None: ...


@contextmanager
def open_painter(settings: RunSettings) -> Iterator[Painter]:
    """Watched processes, one for each lane, or with `isolate` off this one; closed at the end."""
    painter = Lanes(settings) if settings.isolate else InThisProcess()
    try:
        yield painter
    finally:
        painter.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What all groups of a run share.

    `check` is called before each group, and what it raises ends the run.
    """

    painter: Painter
    settings: RunSettings
    listener: Listener = field(default_factory=NoListener)
    check: Callable[[], None] = lambda: None


def run_in_order(groups: Sequence[Group], session: Session) -> PortionReport:
    """Run groups one after the other.

    A group that ends early does not stop the others. Raises StorageError where a store is out of
    order, NoPainterError where nothing is painted any more, RunEndedError where the run is over, and
    what `session.check` raises, but for a StoppedError, which is what ended the group.
    """
    reports: list[GroupReport] = []
    errors: dict[str, str] = {}
    is_stopped = False
    for group in groups:
        try:
            session.check()
        except StoppedError as exc:
            errors[group.name], is_stopped = str(exc), True
            continue
        try:
            reports.append(session.painter.run_group(group, session.settings, session.listener))
        except RunEndedError:
            raise
        except StoppedError as exc:
            errors[group.name], is_stopped = str(exc), True
        except Exception as exc:
            errors[group.name] = why_it_ended(group, exc)
    return PortionReport(
        num_made=sum(report.num_made for report in reports),
        num_failed=sum(report.num_failed for report in reports),
        errors=errors,
        is_stopped=is_stopped,
    )


def run_in_lanes(groups: Sequence[Group], session: Session) -> PortionReport:
    """As `run_in_order`, as many at a time as the painter has lanes. An error ends all lanes."""
    num_lanes = num_lanes_for(groups, session.painter)
    if num_lanes == 1:
        return run_in_order(groups, session)
    with ThreadPoolExecutor(num_lanes, "lane") as pool:
        futures = [pool.submit(run_in_order, (group,), session) for group in groups]
        try:
            reports = [future.result() for future in as_completed(futures)]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # Before the pool is left, which waits for the groups that are under way.
            session.painter.close()
            raise
    return reduce(PortionReport.__add__, reports)


def num_lanes_for(groups: Sequence[Group], painter: Painter) -> int:
    """How many groups to run at a time."""
    # A painter knows its lanes once a process is ready, which one group need not wait for.
    return min(painter.num_lanes(), len(groups)) if len(groups) > 1 else 1


def why_it_ended(group: Group, error: Exception) -> str:
    """What to tell of a group that `error` ended.

    Raises StorageError or NoPainterError where it ends the run.
    """
    if isinstance(error, NoPainterError):
        raise error
    if ends_the_run(error):
        raise StorageError(
            f"{error}\nWhat is finished is kept; run the same again to make the rest"
        ) from error
    # The last line of defence: hours of other groups must not go with this one.
    is_ours = isinstance(error, NSTError)
    _log.log(
        logging.WARNING if is_ours else logging.ERROR,
        "group %s ended early: %s",
        group.name,
        error,
        exc_info=None if is_ours else error,
    )
    return str(error) if is_ours else f"{type(error).__name__}: {error}"
