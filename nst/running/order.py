"""A group that is to be made, with its settings and its listener."""

from dataclasses import dataclass

from nst.output import Outcome, records
from nst.planning import Group
from nst.running.reports import Listener
from nst.settings import RunSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A group, the settings to make it with, and the listener that is told."""

    group: Group
    settings: RunSettings
    listener: Listener

    def record(self, outcome: Outcome) -> None:
        """Put down what became of a picture, and tell of it. Raises StorageError."""
        records.write(self.settings.output, outcome)
        self.listener.recorded(self.group, outcome)
