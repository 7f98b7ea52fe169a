"""A run that is asked to stop ends its groups after the pictures that are being painted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nst.errors import StoppedError
from nst.output import Outcome
from nst.planning import Group
from nst.running.reports import Listener, NoListener


class Stopping(NoListener):
    """Raises StoppedError, whatever it is told, once somebody has asked for it.

    `asked_by` says who that was, and None before. What paints finishes its pictures first, since it
    tells its listener by way of a Postponing.
    """

    def __init__(self, asked_by: Callable[[], str | None]) -> None:
        self._asked_by = asked_by

    def check(self) -> None:
        """Raises StoppedError where the run is to stop; to be called before each group."""
        who = self._asked_by()
        if who is not None:
            raise StoppedError(f"the run was stopped by nst stop, by {who}")

    def beside(self, check: Callable[[], None]) -> Callable[[], None]:
        """A check of both: what `check` raises comes first."""

        def both() -> None:
            check()
            self.check()

        return both

    def begun(self, group: Group, ids: Sequence[str]) -> None:
        self.check()

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        self.check()

    def recorded(self, group: Group, outcome: Outcome) -> None:
        self.check()


class Postponing(NoListener):
    """Tells a listener, and keeps a StoppedError that it raises in `stopped`, to be raised later.

    So that it takes no picture along that is being painted or written.
    """

    def __init__(self, inner: Listener) -> None:
        self._inner = inner
        self.stopped: StoppedError | None = None

    def check(self) -> None:
        """Raises the StoppedError that was kept; to be called before pictures are begun with."""
        if self.stopped is not None:
            raise self.stopped

    def begun(self, group: Group, ids: Sequence[str]) -> None:
        with self._keeping():
            self._inner.begun(group, ids)

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        with self._keeping():
            self._inner.advanced(group, evaluations, pictures)

    def recorded(self, group: Group, outcome: Outcome) -> None:
        with self._keeping():
            self._inner.recorded(group, outcome)

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except StoppedError as exc:
            self.stopped = exc
