"""Shows a run's progress to a person: a live bar, or lines if there is no terminal."""

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.status import Status

from nst.output import Outcome
from nst.planning import Group, Plan
from nst.running.reports import NoListener

_LINE_EVERY_S = 10
# What a picture takes after its last evaluation, in evaluations: it is measured, encoded and written.
_EVALUATIONS_AFTER = 2
# What metadata and gallery take at the end; those of 100,000 rows take some ten seconds.
_FINISH_S = 1.0
_FINISH_S_PER_ROW = 1e-4
# Of a narrower terminal the bar itself would leave too little to the words.
_MIN_COLUMNS_WITH_BAR = 72


@dataclass(frozen=True, slots=True)
class _Mark:
    """The work done at a moment."""

    time_s: float
    work: int


class Tally:
    """A run's progress in words, by the pixels and evaluations that are done.

    So it also moves within a batch: a picture with half of its evaluations counts as half a picture.
    """

    def __init__(self, plan: Plan) -> None:
        self.num_pictures = plan.num_pictures_to_make
        self.total_work = sum(group.work for group in plan.groups)
        # What comes after the evaluations: of the pictures that are not through yet, and of the run.
        self._work_after = sum(_work_after(group) * len(group.jobs) for group in plan.groups)
        self._finish_s = _FINISH_S + _FINISH_S_PER_ROW * len(plan.jobs)
        # Pixels times evaluations, and pictures that are made or failed.
        self.work = 0
        self.num_through = 0
        self._work_by_group: dict[str, int] = {}
        self._pictures_by_group: dict[str, int] = {}
        self._started: _Mark | None = None
        self._now: _Mark | None = None

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        """As `Listener.advanced`."""
        work = group.height * group.width * evaluations
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
    return group.height * group.width * _EVALUATIONS_AFTER


class RunProgress(NoListener):
    """A listener that shows pictures done, per second and failed, and the time left, on stderr.

    Before and after the painting a terminal shows what is done in words, with something that moves.
    """

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        has_bar = self._console.width >= _MIN_COLUMNS_WITH_BAR
        bar: list[ProgressColumn] = [BarColumn(bar_width=None)] if has_bar else []
        self._status: Status | None = None
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[pictures]}"),
            *bar,
            TextColumn("{task.percentage:.0f}%"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[failed]}", style="red"),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._tally: Tally | None = None
        self._line_at: float | None = None
        self._num_failed = 0
        self._num_made = 0

    @property
    def num_made(self) -> int:
        """Pictures that this run has made so far."""
        return self._num_made

    def __enter__(self) -> "RunProgress":
        self._say("reading what to paint, and what is done")
        return self

    def _say(self, what: str) -> None:
        """Show on a terminal that something else than painting goes on."""
        if self._console.is_terminal:
            self._be_silent()
            self._status = self._console.status(what)
            self._status.start()

    def _be_silent(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._be_silent()
        if self._task is not None:
            self._bar.stop()

    def planned(self, plan: Plan) -> None:
        self._tally = tally = Tally(plan)
        self._num_failed = len(plan.failed)
        self._be_silent()
        if not tally.num_pictures:
            self._say(_FINISHING)
        if self._console.is_terminal and tally.num_pictures:
            self._task = self._bar.add_task(
                "",
                total=tally.total_work,
                pictures=tally.pictures,
                speed="loading the weights",
                left="",
                failed=self._failed,
            )
            self._bar.start()

    def recorded(self, group: Group, outcome: Outcome) -> None:
        self._num_made += outcome.status == "ok"
        self._num_failed += outcome.status == "failed"
        if self._task is not None:
            self._bar.update(self._task, failed=self._failed)

    @property
    def _failed(self) -> str:
        return f"{self._num_failed} failed" if self._num_failed else ""

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        tally = self._tally
        assert tally is not None
        tally.advanced(group, evaluations, pictures)
        if self._task is not None:
            self._bar.update(
                self._task,
                completed=tally.work,
                pictures=tally.pictures,
                speed=tally.speed,
                left=tally.left,
            )
            if tally.num_through == tally.num_pictures and self._status is None:
                # What is logged from here on comes after the bar and not above a copy of it.
                self._bar.stop()
                self._say(_FINISHING)
            return
        now = time.monotonic()
        if self._line_at is None:
            self._line_at = now + _LINE_EVERY_S
        if now >= self._line_at:
            self._line_at = now + _LINE_EVERY_S
            # Nobody may be there to read it, which is no reason to stop.
            with suppress(OSError):
                parts = [
                    tally.pictures,
                    f"{tally.share:.0%}",
                    tally.speed,
                    tally.left,
                    self._failed,
                ]
                print(", ".join(filter(None, parts)), file=sys.stderr, flush=True)


_FINISHING = "writing metadata and gallery"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
