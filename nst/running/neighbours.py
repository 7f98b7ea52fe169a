"""Whether other programs want the processors, which decides how threads that paint wait for each other.

Threads of OpenMP that wait spin for about a millisecond before they sleep. That is the faster way on an
idle machine, and beside other programs it takes the time that the thread waited for needs.
`python -m bench.waiting` measures both.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

# Of one processor, on average: a desktop takes a tenth, a program that computes a whole one.
_BUSY = 0.5
# The clock of processors ticks a hundred times a second.
_LEAST_S = 0.1
# Not sooner after the last one is a process replaced for another way of waiting: it takes some seconds
# to get ready.
_REPLACED_AFTER_S = 60.0
# Each of them says how threads wait; whoever has set one knows better.
_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds so far: on the clock, that all processors were busy, and with this program's processes."""

    clock_s: float
    busy_s: float
    own_s: float

    @classmethod
    def now(cls) -> "Sample":
        times = psutil.cpu_times()
        waiting = times.idle + getattr(times, "iowait", 0.0)
        # The time of guests is in that of users.
        guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return cls(time.monotonic(), sum(times) - waiting - guests, _own_s())


def others(before: Sample, after: Sample) -> float:
    """How many processors other programs kept busy between two samples, on average; at least 0."""
    used = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return max(0.0, used / (after.clock_s - before.clock_s))


def num_cores() -> int:
    """The cores that this process may use."""
    # Not there on macOS and Windows.
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


class Neighbours:
    """What other programs take while a process paints, and what that process was told of it."""

    def __init__(self) -> None:
        self._last = Sample.now()
        self._is_crowded: bool | None = None

    def environment(self) -> Mapping[str, str]:
        """What a process that is started now has to be told; nothing where it may spin.

        The first time it watches the processors for a tenth of a second.
        """
        if _is_told():
            return {}
        if self._is_crowded is None:
            time.sleep(max(0.0, self._last.clock_s + _LEAST_S - time.monotonic()))
            self._is_crowded = self._look()
        return {"OMP_WAIT_POLICY": "PASSIVE"} if self._is_crowded else {}

    def have_changed(self) -> bool:
        """Whether a process that is started now is told something else than the last one was."""
        is_due = time.monotonic() - self._last.clock_s >= _REPLACED_AFTER_S
        if not is_due or _is_told():
            return False
        before, self._is_crowded = self._is_crowded, self._look()
        return self._is_crowded != before

    def _look(self) -> bool:
        before, self._last = self._last, Sample.now()
        return others(before, self._last) >= _BUSY


def _is_told() -> bool:
    return any(name in os.environ for name in _SETTINGS)


def _own_s() -> float:
    """Of this process and of those it has started, also of those that have ended."""
    total = sum(os.times()[:4])
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            # It ended meanwhile, and its time will be among that of the ended.
            continue
        total += times.user + times.system
    return total
