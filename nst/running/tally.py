"""A run's progress in words, by the work that is done."""

import time
from dataclasses import dataclass

from nst.planning import Group, Plan

# What a picture takes after its last evaluation, in evaluations: it is measured, encoded and written.
_EVALUATIONS_AFTER = 2
# What metadata and gallery take at the end; those of 100,000 rows take some ten seconds.
_FINISH_S = 1.0
_FINISH_S_PER_ROW = 1e-4


@dataclass(frozen=True, slots=True)
class _Mark:
    """The work done at a moment."""

    time_s: float
    work: int


class Tally:
    """A run's progress in words, by the work that is done.

    So it also moves within a batch: a picture with half of its evaluations counts as half a picture.
    """

    def __init__(self, plan: Plan) -> None:
        self.num_pictures = plan.num_pictures_to_make
        self.total_work = sum(group.work for group in plan.groups)
        # What comes after the evaluations: of the pictures that are not through yet, and of the run.
        self._work_after = sum(_work_after(group) * len(group.jobs) for group in plan.groups)
        self._finish_s = _FINISH_S + _FINISH_S_PER_ROW * len(plan.jobs)
        # As of a group, and pictures that are made or failed.
        self.work = 0
        self.num_through = 0
        self._work_by_group: dict[str, int] = {}
        self._pictures_by_group: dict[str, int] = {}
        self._started: _Mark | None = None
        self._now: _Mark | None = None

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        """As `Listener.advanced`."""
        work = group.work_of(evaluations)
        # Sums that are kept, since there may be very many groups.
        self.work += work - self._work_by_group.get(group.name, 0)
        num_new = pictures - self._pictures_by_group.get(group.name, 0)
        self.num_through += num_new
        self._work_after -= _work_after(group) * num_new
        self._work_by_group[group.name] = work
        self._pictures_by_group[group.name] = pictures
        self._now = _Mark(time.monotonic(), self.work)
        # The speed is that since the first evaluation, which the loading came before.
        self._started = self._started or self._now

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.work / self.total_work if self.total_work else 1.0

    @property
    def pictures(self) -> str:
        return f"{self.num_through}/{self.num_pictures} pictures"

    @property
    def speed(self) -> str:
        """Pictures per second; "" while it is unknown."""
        found = self.images_per_s
        return f"{found:.3g} images/s" if found is not None else ""

    @property
    def images_per_s(self) -> float | None:
        """As `speed`, as a number; None while it is unknown."""
        work_per_s = self._work_per_s()
        return work_per_s * self.num_pictures / self.total_work if work_per_s else None

    @property
    def left(self) -> str:
        """The time until the gallery is there; "" while it is unknown."""
        found = self.seconds_left
        return f"{_clock(found)} left" if found is not None else ""

    @property
    def seconds_left(self) -> float | None:
        """As `left`, in seconds; None while it is unknown."""
        work_per_s = self._work_per_s()
        if work_per_s is None:
            return None
        return (self.total_work - self.work + self._work_after) / work_per_s + self._finish_s

    def _work_per_s(self) -> float | None:
        if self._started is None or self._now is None:
            return None
        seconds = self._now.time_s - self._started.time_s
        work = self._now.work - self._started.work
        return work / seconds if seconds > 0 and work > 0 else None


def _work_after(group: Group) -> int:
    """What one of its pictures takes after its last evaluation."""
    return group.work_of(_EVALUATIONS_AFTER)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
