"""What a reader of manifests makes of a file: rows of cells, and what is wrong with them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nst.manifest.problems import Problem

Cells = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """A row as the file has it: its line, or None where the format has no lines, and its cells.

    `problems` are those of its form. `is_guess` is true if they make the cells unreliable, so that no
    problems of the cells should be reported. `lines` are those of single columns, if they differ.
    """

    line: int | None
    cells: Cells
    problems: tuple[Problem, ...] = ()
    is_guess: bool = False
    lines: Mapping[str, int] | None = None

    def line_of(self, column: str | None) -> int | None:
        """The line in which a column of the row stands."""
        return self.lines.get(column, self.line) if column and self.lines else self.line


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file, and those of its problems that do not prevent reading the rows.

    The rows can be iterated once, and are read on demand; the iteration raises Problems if the file
    turns out to be invalid.
    """

    rows: Iterable[Row]
    problems: Sequence[Problem]
