"""Measures of pictures as a page shows them: which, which of them is best, what a column has of each."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from nst.gallery.facets import Facet, Items, Value, rounded
from nst.gallery.pivot import Grid

# Under every picture, by the words that are told with them.
CHIPS: Mapping[str, str] = {"style_loss": "style", "content_loss": "content", "lpips": "LPIPS"}

# A row of more is not loaded for a star.
_MAX_MEMBERS = 60
# Of more columns than a page shows, they are found in the page.
_MAX_COLUMNS = 24

Spans = Mapping[str, Sequence[tuple[float, float, float] | None]]


def best_of(items: Items, grid: Grid, row: int) -> dict[str, Value]:
    """The best of each measure among the pictures of a whole row.

    Of none where their values cannot be compared: pictures of another content, style or backbone, or
    under other weights, are measured otherwise. Nor of those that they all share.
    """
    members = range(int(grid.starts[row]), int(grid.starts[row + 1]))
    if len(members) > _MAX_MEMBERS or not _are_comparable(items, grid.row, members):
        return {}
    found: dict[str, Value] = {}
    for name in CHIPS:
        values = [
            v for item in members if isinstance(v := items.facets[name].at(item), int | float)
        ]
        if len(set(values)) > 1:
            found[name] = min(values)
    return found


def _are_comparable(items: Items, row: Sequence[str], members: range) -> bool:
    """Whether all that decides what is measured is the row's own, and of the network's weights too."""
    # What was not made has no weights, and takes no star from the others.
    status = items.facets["status"]
    made = [item for item in members if status.at(item) == "ok"]
    for name, facet in items.facets.items():
        if not facet.field.is_decisive or not facet.varies or name in row:
            continue
        if facet.field.role != "provenance" or len(set(facet.codes[made].tolist())) > 1:
            return False
    return True


def spans_of(items: Items, grid: Grid) -> Spans:
    """Of each measure and each column the mean, the least and the largest; None where it has none.

    `items` are in the order of the grid.
    """
    num_columns = len(grid.columns)
    if num_columns > _MAX_COLUMNS:
        return {}
    return {
        name: _spans(_numbers(items.facets[name]), grid.column_of, num_columns)
        for name in CHIPS
        if items.facets[name].values
    }


def _numbers(facet: Facet) -> NDArray[np.float64]:
    """The number that each item has, NaN for none."""
    if facet.kind == "text":
        return np.full(len(facet.codes), np.nan)
    return np.array([*facet.values, np.nan], np.float64)[facet.codes]


def _spans(
    numbers: NDArray[np.float64], column_of: NDArray[np.int64], num_columns: int
) -> list[tuple[float, float, float] | None]:
    is_known = np.isfinite(numbers)
    known, places = numbers[is_known], column_of[is_known]
    counts = np.bincount(places, minlength=num_columns)
    means = np.bincount(places, known, num_columns) / np.maximum(counts, 1)
    low, high = np.full(num_columns, np.inf), np.full(num_columns, -np.inf)
    np.minimum.at(low, places, known)
    np.maximum.at(high, places, known)
    return [
        (float(mean), float(least), float(most)) if count else None
        for count, mean, least, most in zip(counts, rounded(means), low, high, strict=True)
    ]
