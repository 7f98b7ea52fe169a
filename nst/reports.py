"""What the steps of a run tell their caller; small, so that they travel between processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from nst.metadata import Outcome, Record
from nst.plan import Group, Plan


class Listener(Protocol):
    """Who wants to know how a run gets on."""

    def planned(self, plan: Plan) -> None:
        """What will run is known; nothing has run."""

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
        """So many evaluations are done, over all pictures of the group, and so many pictures.

        A picture that stops early counts as if all of its evaluations had been made.
        """

    def begun(self, group: Group, ids: Sequence[str]) -> None:
        """The inputs of these pictures are about to be read."""

    def recorded(self, group: Group, outcome: Outcome) -> None:
        """What became of a picture is put down in the output."""


class NoListener:
    """Wants to know nothing."""

    def planned(self, plan: Plan) -> None: ...

    def advanced(self, group: Group, evaluations: int, pictures: int) -> None: ...

    def begun(self, group: Group, ids: Sequence[str]) -> None: ...

    def recorded(self, group: Group, outcome: Outcome) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupReport:
    """How many pictures of a group were made, and how many failed."""

    name: str
    num_made: int
    num_failed: int


# A report travels between processes, and nobody reads half a million rows in one.
MAX_FAILED = 1000
MAX_EXAMPLES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PortionReport:
    """As of a group, of several; `errors` are what ended some of them early, by their names."""

    num_made: int
    num_failed: int
    errors: Mapping[str, str]


def counted(number: int, noun: str) -> str:
    """So many of something, in the singular where it is one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def max_failed(fail_over: str, num_rows: int) -> int | None:
    """How many rows may fail by a number of them or a share such as `5%`; None for any, by `""`."""
    if fail_over.endswith("%"):
        return int(float(fail_over[:-1]) / 100 * num_rows)
    return int(fail_over) if fail_over else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """How a run ended: each row of the manifest is ok or failed.

    `failed` are the failed rows in their order, the first MAX_FAILED of them and without their
    curves; the metadata has them all. `examples` are the paths in the output of thumbnails of the
    first few pictures.
    """

    num_rows: int
    num_ok: int
    num_done_before: int
    failed_by_reason: Mapping[str, int]
    failed: tuple[Record, ...]
    gallery_url: str
    metadata_url: str
    examples: tuple[str, ...] = ()

    @property
    def num_failed(self) -> int:
        return self.num_rows - self.num_ok
