"""Items -> the view that a gallery opens with: rows of inputs and settings, columns of one field."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nst.gallery.facets import Facet, Items, Value
from nst.gallery.fields import Role
from nst.profiles import PROFILES

Order = NDArray[np.int64]

# What may make up the columns: of these roles the field that varies most, or else one of those after.
_COMPARED_ROLES: tuple[Role, ...] = ("backbone", "setting")
_MAX_COLUMNS = 12
# A table with more of it empty is worse to look at than a wall of all pictures.
_LEAST_FILLED = 1 / 3
# A single line of more would leave the page below it empty.
_MAX_STRIP = 6
# Not labels: one that goes with the column would leave a row for each picture.
_ROW_ROLES: tuple[Role, ...] = ("input", "backbone", "setting")
_ALWAYS_IN_ROWS = ("content", "style")
# What two runs are compared by. Where its inputs lie and how a run went is each picture's own.
_RUN_ROLES: tuple[Role, ...] = ("input", "backbone", "label", "setting", "provenance")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Which items stand where, of n items in m rows.

    `order` [n] are the items as they are shown: row by row, within a row by column, then in the
    order of the manifest; `column_of` [n] is the column of each of them, and row i is those from
    `starts[i]` to `starts[i + 1]`. `columns` are the values of the field `column`, None for items
    that have none. `patterns` are the sequences of columns that rows have, `row_patterns` [m] which
    of them each has, and `heights` how many lines each of them takes. `layout` is how it is best
    looked at: as a wall, where the table would be a single column or mostly empty.
    """

    row: tuple[str, ...]
    column: str
    columns: tuple[Value | None, ...]
    order: Order
    column_of: Order
    starts: Order
    patterns: tuple[tuple[int, ...], ...]
    row_patterns: Order
    heights: Order
    layout: Literal["table", "wall"]
    run_diff: Mapping[str, tuple[Value | None, ...]]
    num_unmatched: int

    @property
    def num_rows(self) -> int:
        return len(self.starts) - 1

    @property
    def num_lines(self) -> int:
        return int(self.heights[self.row_patterns].sum())


def arrange(items: Items, *, num_runs: int = 1) -> Grid:
    """The grid of the axes that fit the items."""
    by_run = _constant_in_runs(items, num_runs) if num_runs > 1 else {}
    laid = _best(items, by_run)
    return replace(
        laid,
        layout="table" if "run" in items.facets or _is_table(laid) else "wall",
        run_diff={
            name: values for name, values in by_run.items() if len(set(map(repr, values))) > 1
        },
        num_unmatched=_num_unmatched(items, laid, num_runs) if num_runs > 1 else 0,
    )


def _laid(items: Items, column: str, by_run: Mapping[str, object]) -> Grid:
    """The grid with the values of this field in its columns."""
    row = _default_row(items.facets, column, by_run)
    columns, column_of = _columns(items.facets[column])
    row_of = _rows([items.facets[name] for name in row], len(items))
    # Stable, so that what is in one row and column stays in the order of the manifest.
    order = np.lexsort((column_of, row_of))
    starts = np.concatenate([[0], np.flatnonzero(np.diff(row_of[order])) + 1, [len(items)]])
    starts = np.unique(starts)
    patterns, row_patterns = _patterns(column_of[order], starts)
    return Grid(
        row=row,
        column=column,
        columns=columns,
        order=order,
        column_of=column_of[order],
        starts=starts,
        patterns=patterns,
        row_patterns=row_patterns,
        heights=np.array([_height(pattern) for pattern in patterns], np.int64),
        layout="table",
        run_diff={},
        num_unmatched=0,
    )


def _filled(grid: Grid) -> float:
    """The share of the table's cells that have an item."""
    return len(grid.order) / max(1, grid.num_lines * len(grid.columns))


def _is_table(grid: Grid) -> bool:
    if len(grid.order) < 2:
        return True
    is_strip = grid.num_lines == 1 and len(grid.columns) > _MAX_STRIP
    return len(grid.columns) > 1 and not is_strip and _filled(grid) >= _LEAST_FILLED


def lines_of(grid: Grid) -> Iterator[tuple[int, int]]:
    """The row and the number within it of each line."""
    for row, pattern in enumerate(grid.row_patterns.tolist()):
        for number in range(int(grid.heights[pattern])):
            yield row, number


def cells_of(grid: Grid, row: int) -> list[dict[int, int]]:
    """For each line of a row, which item stands in which column, by its number in the order."""
    pattern = int(grid.row_patterns[row])
    lines: list[dict[int, int]] = [{} for _ in range(int(grid.heights[pattern]))]
    # All lines at once: a row can have as many as there are items.
    seen: Counter[int] = Counter()
    for item, column in enumerate(grid.patterns[pattern], int(grid.starts[row])):
        lines[seen[column]][column] = item
        seen[column] += 1
    return lines


def _constant_in_runs(items: Items, num_runs: int) -> dict[str, tuple[Value | None, ...]]:
    """What each run has throughout, for the fields of which that can be said of every run."""
    members = [np.flatnonzero(items.run == run) for run in range(num_runs)]
    found = {}
    for name, facet in items.facets.items():
        if facet.field.role not in _RUN_ROLES or name in _ALWAYS_IN_ROWS:
            continue
        codes = [facet.codes[each] for each in members]
        if all(len(each) == 0 or np.all(each == each[0]) for each in codes):
            found[name] = tuple(facet.at(int(each[0])) if len(each) else None for each in members)
    return found


def _best(items: Items, by_run: Mapping[str, object]) -> Grid:
    """The grid with the columns that fit the items.

    They are runs, if there are several. Else of backbone and settings that with most values; if none
    varies, the styles, the contents where they are fewer and the styles many, or a label.
    """
    facets = items.facets
    if "run" in facets:
        return _laid(items, "run", by_run)
    compared = [name for name, each in facets.items() if each.field.role in _COMPARED_ROLES]
    inputs = sorted(
        ("style", "content"), key=lambda name: max(len(facets[name].values) - _MAX_COLUMNS, 0)
    )
    labels = [name for name, each in facets.items() if each.field.role == "label"]
    # The first of those with as many, since sorting is stable.
    compared.sort(key=lambda name: -len(facets[name].values))
    for name in (*compared, *inputs, *labels):
        if not facets[name].varies or (name not in inputs and _is_long(facets[name])):
            continue
        grid = _laid(items, name, by_run)
        if _is_table(grid):
            return grid
    usual = next((name for name in compared if facets[name].varies), "backbone")
    return _laid(items, usual, by_run)


def _is_long(facet: Facet) -> bool:
    return len(facet.values) > _MAX_COLUMNS


def _default_row(
    facets: Mapping[str, Facet], column: str, by_run: Mapping[str, object]
) -> tuple[str, ...]:
    others = (
        name
        for role in _ROW_ROLES
        for name, facet in facets.items()
        if facet.field.role == role and facet.varies
        if name not in (*_ALWAYS_IN_ROWS, column) and name not in by_run
    )
    return (*(name for name in _ALWAYS_IN_ROWS if name != column), *others)


def _columns(facet: Facet) -> tuple[tuple[Value | None, ...], Order]:
    """The values of the columns, in order, and the column of each item."""
    values: list[Value | None] = list(facet.values)
    order = list(range(len(values)))
    if facet.field.role == "backbone":
        known = list(PROFILES)
        order.sort(
            key=lambda i: known.index(str(values[i])) if values[i] in PROFILES else len(known)
        )
    if facet.num_missing:
        values.append(None)
        order.append(len(order))
    rank = np.zeros(len(values), np.int64)
    rank[order] = np.arange(len(order))
    return tuple(values[i] for i in order), rank[facet.codes] if values else np.zeros(0, np.int64)


def _rows(facets: Sequence[Facet], num_items: int) -> Order:
    """The row of each item, numbered in the order in which items first name them."""
    keys = np.zeros(num_items, np.int64)
    for facet in facets:
        keys = keys * (len(facet.values) + 1) + facet.codes
        # Dense again after each, so that they stay below the square of the number of items.
        keys = np.unique(keys, return_inverse=True)[1]
    _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
    ranks = np.empty(len(firsts), np.int64)
    ranks[np.argsort(firsts)] = np.arange(len(firsts))
    rows: Order = ranks[inverse]
    return rows


def _patterns(column_of: Order, starts: Order) -> tuple[tuple[tuple[int, ...], ...], Order]:
    data = column_of.astype(np.uint32).tobytes()
    number_of: dict[bytes, int] = {}
    bounds = (starts * 4).tolist()
    which = [
        number_of.setdefault(data[start:stop], len(number_of)) for start, stop in pairwise(bounds)
    ]
    patterns = tuple(tuple(np.frombuffer(each, np.uint32).tolist()) for each in number_of)
    return patterns, np.array(which, np.int64)


def _height(pattern: Sequence[int]) -> int:
    return int(np.bincount(pattern).max())


def _num_unmatched(items: Items, grid: Grid, num_runs: int) -> int:
    row_of = np.repeat(np.arange(grid.num_rows), np.diff(grid.starts))
    pairs = np.unique(row_of * num_runs + items.run[grid.order]) // num_runs
    return int(np.count_nonzero(np.bincount(pairs) < num_runs))
