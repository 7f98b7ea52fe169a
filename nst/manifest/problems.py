"""What is wrong with a manifest, and the words to say it in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from nst.errors import Reason
from nst.redaction import redacted

_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a manifest: where, what was expected, what was found.

    `reason` is that of its row, where only the row fails.
    """

    line: int | None
    column: str | None
    expected: str
    found: str
    reason: Reason = "bad_row"

    def __str__(self) -> str:
        line = None if self.line is None else f"line {self.line}"
        column = None if self.column is None else f"column {self.column!r}"
        where = ", ".join(filter(None, (line, column)))
        return f"{where + ': ' if where else ''}expected {self.expected}; found {self.found}"


class Problems(Exception):
    """Raised within the reading of a manifest, which goes on to find the others."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = problems


def shown(value: object) -> str:
    """A value as a message quotes it: short, and in words where there is none."""
    if value is None or value == "":
        return "nothing"
    text = redacted(repr(value))
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def nearest(name: str, known: Sequence[str] | Mapping[str, Any], label: str | None = None) -> str:
    """What to add to an expectation: the known name that `name` may have meant, if any is near.

    Or else what to call a column of one's own, if `label` says.
    """
    near = get_close_matches(name, list(known), n=1)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (a column of your own is called {label!r})" if label else ""
