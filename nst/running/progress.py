"""Shows a run's progress to a person: a live bar, or lines if there is no terminal."""

import sys
import time
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.status import Status

from nst.output import Outcome
from nst.planning import Group, Plan
from nst.running.reports import NoListener
from nst.running.tally import Tally

_LINE_EVERY_S = 10
# Of a narrower terminal the bar itself would leave too little to the words.
_MIN_COLUMNS_WITH_BAR = 72


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
