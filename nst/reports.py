"""What the steps of a run tell their caller; small, so that they travel between processes."""

from dataclasses import dataclass
from typing import Protocol

from nst.metadata import Record
from nst.plan import Group, Plan


class Listener(Protocol):
    """Who wants to know how a run gets on."""

    def planned(self, plan: Plan) -> None:
        """What will run is known; nothing has run."""

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        """So many evaluations are done, over all pictures of the group, and so many pictures.

        A picture that stops early counts as if all of its evaluations had been made.
        """


class NoListener:
    """Wants to know nothing."""

    def planned(self, plan: Plan) -> None: ...

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """How many pictures of a group were made, and how many failed."""

    name: str
    num_made: int
    num_failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """How a run ended: each row of the manifest is ok or failed, and the failed ones are listed."""

    num_rows: int
    num_ok: int
    num_done_before: int
    failed: tuple[Record, ...]
    gallery_url: str
    metadata_url: str
