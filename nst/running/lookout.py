"""The progress of portions that other machines make, found by looking at the output."""

import time
from collections.abc import Iterable, Mapping

from nst import storage
from nst.output import Outcome, records
from nst.planning import Group, Portion
from nst.running.attempts import PortionResult
from nst.running.reports import Listener
from nst.settings import RunSettings

# The wait before the next look at the records, in multiples of the time that a look takes.
_WAIT_FOR_A_LOOK = 20


class Lookout:
    """Tells a listener of the pictures that are recorded, wherever, by looking at the output.

    A look at all single records takes a request for each thousand of them, so that there is less
    and less of it, the more there are, and one in `every_s` at most.
    """

    def __init__(self, settings: RunSettings, listener: Listener, *, every_s: float = 5.0) -> None:
        self._settings = settings
        self._listener = listener
        self._groups: dict[str, Group] = {}
        self._through: dict[str, int] = {}
        self._looked_at = time.monotonic()
        self._every_s = self._wait_s = every_s
        # Of an earlier run that was stopped; those are told of when their portion ends.
        self._before = self._names()

    def begun(self, portion: Portion) -> None:
        """A portion has been submitted."""
        self._groups |= {one.job.id: group for group in portion for one in group.jobs}

    def look(self) -> None:
        """Tell of what is new, if it is time for another look."""
        if not self._groups or time.monotonic() - self._looked_at < self._wait_s:
            return
        started = time.monotonic()
        told = dict(map(records.told_by, self._names() - self._before))
        failed = self._failed(job_id for job_id, status in told.items() if status == "failed")
        for job_id, status in told.items():
            self._tell(failed.get(job_id) or Outcome(id=job_id, status=status))
        self._looked_at = time.monotonic()
        self._wait_s = max(self._every_s, _WAIT_FOR_A_LOOK * (self._looked_at - started))

    def ended(self, portion: Portion, made: PortionResult) -> None:
        """Report the rest of a portion; nothing of it is reported after this."""
        failed = self._failed(made.failed)
        for group in portion:
            for one in group.jobs:
                if one.job.id in made.failed:
                    self._tell(failed.get(one.job.id) or Outcome(id=one.job.id, status="failed"))
                elif group.name not in made.report.errors:
                    self._tell(Outcome(id=one.job.id, status="ok"))
                # Of a group that ended early it is not known which of the others were made.
                self._groups.pop(one.job.id, None)
            self._listener.advanced(group, group.evaluations * len(group.jobs), len(group.jobs))

    def _names(self) -> set[str]:
        folder = storage.join(self._settings.output, records.SINGLES)
        return {name for name, _ in storage.list_objects(folder)}

    def _failed(self, ids: Iterable[str]) -> Mapping[str, Outcome]:
        """What the records say of those that failed and were not told of; why they did, above all."""
        new = [job_id for job_id in ids if job_id in self._groups]
        return records.read_new(self._settings.output, new).failed if new else {}

    def _tell(self, outcome: Outcome) -> None:
        group = self._groups.pop(outcome.id, None)
        if group is None:
            return
        self._listener.recorded(group, outcome)
        num = self._through[group.name] = self._through.get(group.name, 0) + 1
        self._listener.advanced(group, group.evaluations * num, num)
