"""A gallery that grows while its run goes on, from what the run records."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO, Any, Protocol

from nst import storage
from nst.errors import NSTError, RunEndedError, StorageError, ends_the_run
from nst.output import Ledger, Outcome, records
from nst.planning import Group, Plan
from nst.running.outcomes import write_provisional
from nst.running.reports import NoListener
from nst.running.standing import Standing, Standings
from nst.settings import RunSettings
from nst.storage import ScratchFile

_EVERY_S = 5.0
# In a bucket, where a build is some twenty requests: a tenth of the time so far, up to this.
_EVERY_ELSEWHERE_S = 60.0
# The wait after a build, in multiples of the processor time that it took: builds take under 2 % of it.
_WAIT_FOR_A_BUILD = 50
# What is known of so many new pictures takes 150 MB. Of more, the gallery says how far the run is.
_MAX_NEW = 100_000
# A last build, of a run that was stopped, must not hold up its end.
_LAST_S = 2.0

_log = logging.getLogger(__name__)


class Gallery(Protocol):
    """As `nst.gallery.LiveGallery`."""

    def update(
        self, table: IO[bytes], told: Mapping[str, Any], check: Callable[[], None]
    ) -> str: ...

    def tell(self, told: Mapping[str, Any], check: Callable[[], None]) -> None: ...


class _OverError(NSTError):
    """The run has ended, and what was being built is built by its end."""


class Growing(NoListener):
    """A listener that has a gallery show what is recorded, by a thread of its own."""

    def __init__(
        self,
        gallery: Gallery,
        plan: Plan,
        settings: RunSettings,
        standings: Standings,
        check: Callable[[], None],
    ) -> None:
        self._gallery = gallery
        self._plan = plan
        self._settings = settings
        self._standings = standings
        self._check_run = check
        self._ledger: Ledger = records.read(settings.output)
        self._known: dict[str, Outcome] = {}
        self._num_new = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._grow, name="gallery", daemon=True)
        self._started_at = time.monotonic()
        self._built_at = 0.0
        self._build_s = 0.0
        self._has_failed = False

    def start(self) -> None:
        """Write the gallery as it is before the first picture, and let it grow from there.

        Raises StorageError where the output cannot be written, and what the check raises. Anything
        else is warned of, and the pictures are made all the same.
        """
        try:
            self._build("running")
        except NSTError:
            raise
        except Exception as exc:
            self._warn(exc)
        self._thread.start()

    def recorded(self, group: Group, outcome: Outcome) -> None:
        self._num_new += 1
        if len(self._known) < _MAX_NEW:
            # Most of an outcome is its curve, which the gallery at the end has.
            self._known[outcome.id] = replace(outcome, loss_curve=(), style_layer_losses=())

    def stop(self) -> None:
        """Write nothing more; what is being written is written by then."""
        self._ends.set()
        if self._thread.is_alive():
            self._thread.join()

    def stopped(self) -> None:
        """After `stop`, of a run that ended before its end: show the rest, and say so."""
        self._ends.clear()
        # Whatever it is, what ended the run is what is to be told.
        with suppress(Exception):
            if self._num_new and self._build_s <= _LAST_S:
                self._build("stopped")
            else:
                self._gallery.tell(_told(self._standings.now(), "stopped"), self._check)

    def _grow(self) -> None:
        while not self._ends.wait(self._every_s()):
            try:
                rested_s = time.monotonic() - self._built_at
                if self._num_new and rested_s >= _WAIT_FOR_A_BUILD * self._build_s:
                    self._build("running")
                else:
                    self._gallery.tell(_told(self._standings.now(), "running"), self._check)
            except (RunEndedError, _OverError):
                return
            except Exception as exc:
                self._warn(exc)

    def _every_s(self) -> float:
        if storage.local_path(self._settings.output) is not None:
            return _EVERY_S
        so_far_s = time.monotonic() - self._started_at
        return min(_EVERY_ELSEWHERE_S, max(_EVERY_S, so_far_s / 10))

    def _build(self, state: str) -> None:
        # Not the time on the clock, since what paints keeps all processors busy.
        started = time.thread_time()
        self._num_new = 0
        self._complete()
        with ScratchFile() as table:
            known = dict(self._known)
            write_provisional(table, self._plan, self._settings, self._ledger, known)
            self._gallery.update(table, _told(self._standings.now(), state), self._check)
        self._built_at = time.monotonic()
        self._build_s = time.thread_time() - started

    def _complete(self) -> None:
        """Read what another machine has recorded, of which no more than that was told."""
        bare = [
            each.id
            for each in [*self._known.values()]
            if each.finished_at is None and each.key is None
        ]
        if not bare:
            return
        found = records.read_new(self._settings.output, bare)
        for table in (found.failed, found.made):
            for outcome in table.values():
                self._known[outcome.id] = replace(outcome, loss_curve=(), style_layer_losses=())

    def _check(self) -> None:
        if self._ends.is_set():
            raise _OverError("the run has ended")
        self._check_run()

    def _warn(self, error: Exception) -> None:
        if not self._has_failed:
            _log.warning(
                "the gallery does not grow for now, and the run goes on: %s: %s",
                type(error).__name__,
                error,
            )
        self._has_failed = True


def _told(standing: Standing, state: str) -> dict[str, Any]:
    return {
        "state": state,
        "num_rows": standing.num_rows or 0,
        "num_ok": standing.num_ok,
        "num_failed": standing.num_failed,
        "seconds_left": standing.seconds_left,
        "at": standing.at,
    }


@contextmanager
def growing(
    gallery: Gallery,
    plan: Plan,
    settings: RunSettings,
    standings: Standings,
    check: Callable[[], None],
) -> Iterator[NoListener]:
    """A listener for what is made within, with which the gallery of a run's output grows.

    The gallery is there when this begins, and nothing writes to it when this has ended. `check` is
    called before each write. Where nothing is to be made, nothing is written.
    """
    if not plan.groups:
        yield NoListener()
        return
    grower = Growing(gallery, plan, settings, standings, check)
    grower.start()
    try:
        yield grower
    except BaseException as exc:
        grower.stop()
        # Not where a store is out of order, or another run writes there.
        if not (isinstance(exc, RunEndedError | StorageError) or ends_the_run(exc)):
            grower.stopped()
        raise
    grower.stop()
