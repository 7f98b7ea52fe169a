"""Processes that paint side by side, each on its device, with one queue of groups between them."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nst.errors import NoPainterError, PainterError
from nst.output import Outcome
from nst.planning import Group
from nst.running.neighbours import num_cores
from nst.running.reports import GroupReport, Listener, NoListener
from nst.running.spawning import ENTRY
from nst.running.supervisor import ON_THE_CPU, Supervisor
from nst.settings import Precision, RunSettings

# Of how many groups in a row a lane may get no picture before it is given up.
_MAX_LOST = 2

_log = logging.getLogger(__name__)


def lane_devices(device: str, lanes: int, num_gpus: int) -> tuple[str, ...]:
    """The device of each lane: one lane for each device, or `lanes` of them, in turn.

    `auto` is every GPU of several, and one lane that finds out itself what there is elsewhere.
    """
    is_every = device == "auto" and num_gpus > 1
    names = [f"cuda:{n}" for n in range(num_gpus)] if is_every else device.split(",")
    return tuple(names[n % len(names)] for n in range(lanes or len(names)))


@dataclass(slots=True, eq=False)
class _Lane:
    """`num_lost` are the groups in a row of which its process got to no picture."""

    device: str
    supervisor: Supervisor
    num_lost: int = 0


class _Free:
    """The lanes that have nothing to do, of which the last one that painted goes first.

    So that groups which come one after the other are painted by one process, which has the weights.
    """

    def __init__(self) -> None:
        self._lanes: deque[_Lane] = deque()
        self._changed = threading.Condition()

    def take(self) -> _Lane:
        """The next one, waited for."""
        with self._changed:
            self._changed.wait_for(lambda: self._lanes)
            return self._lanes.pop()

    def put(self, lane: _Lane) -> None:
        """Give one back; one that got no picture waits until the others are busy."""
        with self._changed:
            (self._lanes.appendleft if lane.num_lost else self._lanes.append)(lane)
            self._changed.notify()


class Lanes:
    """Runs groups in as many processes at a time as there are lanes.

    How many there are is known once the first process is ready, which is while the plan is made;
    the others are started when there is something for them to do. `entry` is as of a Supervisor.
    """

    def __init__(self, settings: RunSettings, entry: str = ENTRY) -> None:
        self._settings = settings
        self._entry = entry
        self._first = Supervisor(entry, num_threads=_num_threads(settings))
        self._first.start()
        self._lanes: tuple[_Lane, ...] = ()
        self._free = _Free()
        self._has_lost = False
        self._listening = threading.Lock()
        self._opening = threading.Lock()

    def num_lanes(self) -> int:
        """How many groups it runs at a time."""
        return len(self._opened())

    def precision(self, device: str) -> Precision:
        """As `Supervisor.precision`, by the first process: the others are on the same machine."""
        return self._first.precision(device)

    def run_group(self, group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
        """As `Supervisor.run_group`, in the next lane that is free; the listener hears one at a time.

        A group that one lane gets no picture of is tried by another. A lane that gets none of several
        groups is given up, for example since others fill its GPU. Raises NoPainterError where the last
        one dies or hangs before its first picture, group after group.
        """
        self._opened()
        tried: set[_Lane] = set()
        while True:
            lane = self._free.take()
            tried.add(lane)
            try:
                report = lane.supervisor.run_group(
                    group,
                    replace(settings, device=lane.device),
                    _OneAtATime(listener, self._listening),
                )
                lane.num_lost = 0
                return report
            except PainterError as exc:
                lane.num_lost += 1
                if lane.num_lost >= _MAX_LOST and not self._gives_up(lane, exc) and exc.is_lost:
                    said = (
                        f"{exc}; what is finished is kept, run the same again once that is mended"
                    )
                    raise NoPainterError(said, is_lost=True) from exc
                if len(tried) == 1 and any(each not in tried for each in self._lanes):
                    continue
                if len(tried) > 1 and not exc.is_lost:
                    # An error that several tell of is the group's own.
                    for each in tried:
                        each.num_lost -= 1
                raise
            finally:
                if lane in self._lanes:
                    self._free.put(lane)

    def _gives_up(self, lane: _Lane, error: PainterError) -> bool:
        """Leave a lane out from now on, and end its process, unless it is the last."""
        with self._opening:
            others = tuple(each for each in self._lanes if each is not lane)
            if not others:
                return False
            self._lanes = others
        _log.warning(
            "%s paints no more in this run, %d of its processes are left: %s",
            lane.device,
            len(others),
            error,
        )
        self._has_lost = True
        lane.supervisor.close()
        return True

    def has_lost_processes(self) -> bool:
        """Whether a process died or was ended while it painted."""
        return self._has_lost or any(lane.supervisor.has_lost_processes for lane in self._lanes)

    def close(self) -> None:
        """End all processes at once; groups that are under way end by an NSTError."""
        for each in [self._first, *(lane.supervisor for lane in self._lanes)]:
            each.close()

    def _opened(self) -> tuple[_Lane, ...]:
        with self._opening:
            if not self._lanes:
                is_open = self._settings.device == "auto"
                devices = lane_devices(
                    self._settings.device,
                    self._settings.lanes,
                    self._first.num_gpus() if is_open else 0,
                )
                threads = _num_threads(self._settings)
                others = [Supervisor(self._entry, num_threads=threads) for _ in devices[1:]]
                self._lanes = tuple(map(_Lane, devices, [self._first, *others]))
                # The first is the next one to be taken: its process is ready.
                for lane in reversed(self._lanes):
                    self._free.put(lane)
            return self._lanes


def _num_threads(settings: RunSettings) -> int | None:
    """Lanes on one CPU share its cores, since threads that wait for one another's turn take it."""
    if settings.lanes > 1 and settings.device in ON_THE_CPU:
        return max(1, num_cores() // settings.lanes)
    return None


class _OneAtATime(NoListener):
    """Tells a listener, which need know nothing of threads."""

    def __init__(self, inner: Listener, lock: threading.Lock) -> None:
        self._inner = inner
        self._lock = lock

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        with self._lock:
            self._inner.advanced(group, evaluations, pictures)

    def begun(self, group: Group, ids: Sequence[str]) -> None:
        with self._lock:
            self._inner.begun(group, ids)

    def recorded(self, group: Group, outcome: Outcome) -> None:
        with self._lock:
            self._inner.recorded(group, outcome)
