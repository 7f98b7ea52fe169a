"""The time since another process gave a sign of life, without the time in which this one slept."""

import time
from collections.abc import Callable


class Silence:
    """Counts the seconds since the last sign of life in which this process was awake.

    Call `seconds` about every `every_s`. A longer gap means that this process was suspended
    (a closed lid, Ctrl-Z, `docker pause`) or got no processor, and the other one may have been as
    well: so no more than twice `every_s` of it counts.
    """

    def __init__(self, every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._clock = clock
        self.heard()

    def heard(self) -> None:
        """Start counting again from now."""
        self._seconds = 0.0
        self._asked_at = self._clock()

    def seconds(self) -> float:
        """The seconds counted so far."""
        now = self._clock()
        self._seconds += min(now - self._asked_at, 2 * self._every_s)
        self._asked_at = now
        return self._seconds
