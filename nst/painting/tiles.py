"""Pictures in tiles that go through a network one after the other, with the same result; pure.

A tile has a margin as wide as the network's receptive field, so that every feature of its core is the
same as in the whole picture. Cores cover the picture without overlap.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nst.scales import Scale

# What a tiled picture costs is told without torch, whose import takes seconds.
if TYPE_CHECKING:
    from torch import Tensor

# An index into a map [B,C,h,w].
Slices = tuple[slice, slice, slice, slice]
EVERYWHERE: Slices = (slice(None), slice(None), slice(None), slice(None))
# A pass there, besides one there and back that takes three times as long.
_TILED_COST = 4 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Pixels [rows, columns] with the margin, and without it, [core_rows, core_columns]."""

    rows: slice
    columns: slice
    core_rows: slice
    core_columns: slice

    def at(self, stride: int, features: "Tensor") -> tuple[Slices, Slices]:
        """The core's position in the tile's own features [B,C,h,w], and in those of the whole picture."""
        down = _span(self.rows, self.core_rows, stride, features.shape[2])
        across = _span(self.columns, self.core_columns, stride, features.shape[3])
        own = (slice(None), slice(None), down[0], across[0])
        return own, (slice(None), slice(None), down[1], across[1])


def cut(height: int, width: int, tile_px: int | None, margin_px: int | None) -> tuple[Tile, ...]:
    """Tiles of at most `tile_px` a side without margins; one tile if `tile_px` or `margin_px` is None.

    `margin_px` and so the cores' edges are multiples of the network's coarsest stride.
    """
    if tile_px is None or margin_px is None:
        whole = slice(0, height), slice(0, width)
        return (Tile(rows=whole[0], columns=whole[1], core_rows=whole[0], core_columns=whole[1]),)
    tile_px = max(margin_px, tile_px // margin_px * margin_px)
    return tuple(
        Tile(rows=rows, columns=columns, core_rows=core_rows, core_columns=core_columns)
        for (rows, core_rows), (columns, core_columns) in itertools.product(
            _spans(height, tile_px, margin_px), _spans(width, tile_px, margin_px)
        )
    )


@dataclass(frozen=True, slots=True)
class Work:
    """The work of an evaluation: passes through the network, and as how many pixels' they count."""

    passes: int
    pixels: int


def work_of(
    scales: Sequence[Scale], tile_px: int | None, margin_px: int | None
) -> tuple[Work, ...]:
    """The work of an evaluation at each size, in which all coarser ones go through the network too.

    Tiles take their margins with them, and go through twice: for the statistics of the whole, and for
    the gradient.
    """
    works: list[Work] = []
    passes = pixels = 0
    for scale in scales:
        tiles = cut(scale.height, scale.width, tile_px, margin_px)
        own = sum(
            (tile.rows.stop - tile.rows.start) * (tile.columns.stop - tile.columns.start)
            for tile in tiles
        )
        passes += 1 if len(tiles) == 1 else 2 * len(tiles)
        pixels += own if len(tiles) == 1 else round(own * _TILED_COST)
        works.append(Work(passes, pixels))
    return tuple(works)


def _spans(length: int, tile_px: int, margin_px: int) -> list[tuple[slice, slice]]:
    if length <= tile_px + margin_px:
        return [(slice(0, length), slice(0, length))]
    starts = list(range(0, length, tile_px))
    # What would be left over as a sliver goes with the tile before it.
    if length - starts[-1] <= margin_px:
        starts.pop()
    stops = [*starts[1:], length]
    return [
        (slice(max(0, a - margin_px), min(length, b + margin_px)), slice(a, b))
        for a, b in zip(starts, stops, strict=True)
    ]


def _span(outer: slice, core: slice, stride: int, found: int) -> tuple[slice, slice]:
    """The core's positions among the tile's `found` ones, and among those of the whole."""
    first = (core.start - outer.start) // stride
    is_last = core.stop == outer.stop
    last = found if is_last else (core.stop - outer.start) // stride
    start = core.start // stride
    return slice(first, last), slice(start, start + last - first)
