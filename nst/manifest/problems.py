"""The problems of a manifest, and the words for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from nst.errors import Reason
from nst.redaction import redacted

_MAX_SHOWN = 80
# No credential that begins in what is shown ends behind this.
_MAX_LOOKED_AT = 10_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem of a manifest: where it is, what was expected, what was found.

    `reason` becomes the row's, if only the row fails.
    """

    line: int | None
    column: str | None
    expected: str
    found: str
    reason: Reason = "bad_row"

    def __str__(self) -> str:
        line = None if self.line is None else f"line {self.line}"
        column = None if self.column is None else f"column {shown(self.column)}"
        where = ", ".join(filter(None, (line, column)))
        return f"{where + ': ' if where else ''}expected {self.expected}; found {self.found}"


class Problems(Exception):
    """Raised while a manifest is read; the reader catches it and looks for more problems."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = problems


def shown(value: object) -> str:
    """A value as a message quotes it: shortened, or `nothing` if it is empty."""
    if value is None or value == "":
        return "nothing"
    start = value[:_MAX_LOOKED_AT] if isinstance(value, str) else value
    text = redacted(repr(start)[:_MAX_LOOKED_AT])
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."


def nearest(name: str, known: Sequence[str] | Mapping[str, Any], label: str | None = None) -> str:
    """A hint for a message: the known name that is similar to `name`, if there is one.

    Otherwise the name for a column of the user's own, if `label` is given.
    """
    near = get_close_matches(name.lower(), list(known), n=1)
    if near:
        return f" (did you mean {near[0]!r}?)"
    return f" (a column of your own is called {label!r})" if label else ""
