"""Processes that paint side by side, each on its device, with one queue of groups between them."""

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from queue import SimpleQueue

from nst.output import Outcome
from nst.planning import Group
from nst.running.reports import GroupReport, Listener, NoListener
from nst.running.spawning import ENTRY
from nst.running.supervisor import ON_THE_CPU, Supervisor
from nst.settings import Precision, RunSettings


def lane_devices(device: str, lanes: int, num_gpus: int) -> tuple[str, ...]:
    """The device of each lane: one lane for each device, or `lanes` of them, in turn.

    `auto` is every GPU of several, and one lane that finds out itself what there is elsewhere.
    """
    is_every = device == "auto" and num_gpus > 1
    names = [f"cuda:{n}" for n in range(num_gpus)] if is_every else device.split(",")
    return tuple(names[n % len(names)] for n in range(lanes or len(names)))


@dataclass(frozen=True, slots=True)
class _Lane:
    device: str
    supervisor: Supervisor


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
        self._free: SimpleQueue[_Lane] = SimpleQueue()
        self._listening = threading.Lock()
        self._opening = threading.Lock()

    def num_lanes(self) -> int:
        """How many groups it runs at a time."""
        return len(self._opened())

    def precision(self, device: str) -> Precision:
        """As `Supervisor.precision`, by the first process: the others are on the same machine."""
        return self._first.precision(device)

    def run_group(self, group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
        """As `Supervisor.run_group`, in the next lane that is free; the listener hears one at a time."""
        self._opened()
        lane = self._free.get()
        try:
            return lane.supervisor.run_group(
                group,
                replace(settings, device=lane.device),
                _OneAtATime(listener, self._listening),
            )
        finally:
            self._free.put(lane)

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
                for lane in self._lanes:
                    self._free.put(lane)
            return self._lanes


def _num_threads(settings: RunSettings) -> int | None:
    """Lanes on one CPU share its cores, since threads that wait for one another's turn take it."""
    if settings.lanes > 1 and settings.device in ON_THE_CPU:
        return max(1, (os.cpu_count() or 1) // settings.lanes)
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
