"""What paints in the place of a painter of the product."""

from collections.abc import Callable
from dataclasses import dataclass

from nst.planning import Group
from nst.running import InThisProcess
from nst.running.reports import GroupReport, Listener
from nst.settings import Precision, RunSettings

RunGroup = Callable[[Group, RunSettings, Listener], GroupReport]


@dataclass(frozen=True, slots=True)
class PaintsBy:
    """A painter whose groups are run by `run`, in so many lanes."""

    run: RunGroup
    lanes: int = 1
    closed: Callable[[], object] = lambda: None

    def num_lanes(self) -> int:
        return self.lanes

    def precision(self, device: str) -> Precision:
        return InThisProcess().precision(device)

    def run_group(self, group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
        return self.run(group, settings, listener)

    def has_lost_processes(self) -> bool:
        return False

    def close(self) -> None:
        self.closed()
