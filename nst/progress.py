"""How a run gets on, for a person to watch: a live bar, or lines where there is no terminal."""

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from nst.metadata import Outcome
from nst.plan import Group, Plan
from nst.reports import NoListener

_LINE_EVERY_S = 10


@dataclass(frozen=True, slots=True)
class _Mark:
    """How much work was done at a time."""

    time_s: float
    work: int


class RunProgress(NoListener):
    """A listener that shows pictures done, per second and failed, and the time left, on stderr.

    Speed and time go by the pixels and evaluations that are done, so that they move within
    a batch too: a picture half of whose evaluations are done counts as half a picture.
    """

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        self._bar = Progress(
            TextColumn("{task.fields[pictures]}"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:.0f}%"),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]}"),
            TextColumn("{task.fields[failed]}", style="red"),
            console=self._console,
        )
        self._task: TaskID | None = None
        self._num_pictures = 0
        self._num_failed = 0
        self._num_made = 0
        self._total_work = 0
        self._work_by_group: dict[str, int] = {}
        self._pictures_by_group: dict[str, int] = {}
        self._started: _Mark | None = None
        self._line_at = 0.0

    @property
    def num_made(self) -> int:
        """Pictures that this run has made so far."""
        return self._num_made

    def __enter__(self) -> "RunProgress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._bar.stop()

    def planned(self, plan: Plan) -> None:
        self._num_pictures = plan.num_pictures_to_make
        self._num_failed = len(plan.failed)
        self._total_work = sum(group.work for group in plan.groups)
        if self._console.is_terminal and self._num_pictures:
            self._task = self._bar.add_task(
                "",
                total=self._total_work,
                pictures=f"0/{self._num_pictures} pictures",
                speed="starting",
                left="",
                failed=self._failed,
            )
            self._bar.start()

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        now = time.monotonic()
        self._work_by_group[group.name] = group.height * group.width * evaluations
        self._pictures_by_group[group.name] = pictures
        work = sum(self._work_by_group.values())
        if self._started is None:
            # The speed is that since the first evaluation, which the loading came before.
            self._started = _Mark(now, work)
            self._line_at = now + _LINE_EVERY_S
        self._show(now, work, since=self._started)

    def recorded(self, group: Group, outcome: Outcome) -> None:
        self._num_made += outcome.status == "ok"
        self._num_failed += outcome.status == "failed"
        if self._task is not None:
            self._bar.update(self._task, failed=self._failed)

    @property
    def _failed(self) -> str:
        return f"{self._num_failed} failed" if self._num_failed else ""

    def _show(self, now: float, work: int, *, since: "_Mark") -> None:
        speed, left = "", ""
        if now > since.time_s and work > since.work:
            work_per_s = (work - since.work) / (now - since.time_s)
            speed = f"{work_per_s * self._num_pictures / self._total_work:.3g} images/s"
            left = f"{_clock((self._total_work - work) / work_per_s)} left"
        pictures = f"{sum(self._pictures_by_group.values())}/{self._num_pictures} pictures"
        if self._task is not None:
            self._bar.update(self._task, completed=work, pictures=pictures, speed=speed, left=left)
            if work == self._total_work:
                # What is logged from here on comes after the bar and not above a copy of it.
                self._bar.stop()
        elif now >= self._line_at:
            self._line_at = now + _LINE_EVERY_S
            # Nobody may be there to read it, which is no reason to stop.
            with suppress(OSError):
                parts = [pictures, f"{work / self._total_work:.0%}", speed, left, self._failed]
                print(", ".join(filter(None, parts)), file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
