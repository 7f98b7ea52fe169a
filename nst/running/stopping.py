"""A run that is asked to stop ends its groups after the pictures that are being painted."""

from collections.abc import Callable, Mapping, Sequence

from nst.errors import StoppedError
from nst.output import Outcome
from nst.planning import Group
from nst.running.reports import NoListener

_STOPPED = "the run was stopped by nst stop"


class Stopping(NoListener):
    """Ends each group, by a StoppedError, once somebody has asked for it.

    `asked_by` says who that was, and None before. What is painted by then is still recorded: a group
    ends when all of its pictures that have been painted have their records.
    """

    def __init__(self, asked_by: Callable[[], str | None]) -> None:
        self._asked_by = asked_by
        self._painted: dict[str, int] = {}
        self._recorded: dict[str, int] = {}
        self._over: set[str] = set()

    def check(self) -> None:
        """Raises StoppedError where the run is to stop; to be called before each group."""
        who = self._asked_by()
        if who is not None:
            raise StoppedError(f"{_STOPPED}, by {who}")

    def beside(self, check: Callable[[], None]) -> Callable[[], None]:
        """A check of both: what `check` raises comes first."""

        def both() -> None:
            check()
            self.check()

        return both

    def begun(self, group: Group, ids: Sequence[str]) -> None:
        self._end_if_over(group)

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        # In the process that paints, the next picture is begun with by then.
        self._end_if_over(group)
        self._painted[group.name] = pictures

    def recorded(self, group: Group, outcome: Outcome) -> None:
        num_recorded = self._recorded.get(group.name, 0) + 1
        self._recorded[group.name] = num_recorded
        if self._asked_by() is not None and num_recorded >= self._painted.get(group.name, 0):
            self._over.add(group.name)
            self._end_if_over(group)

    def _end_if_over(self, group: Group) -> None:
        if group.name in self._over:
            self.check()


def stopped_by(asked_by: str | None, errors: Mapping[str, str]) -> str:
    """Who stopped a run of which these groups ended early; "" where none ended for that."""
    is_stopped = any(_STOPPED in error for error in errors.values())
    return (asked_by or "") if is_stopped else ""
