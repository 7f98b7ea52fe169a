"""Pictures beside each other, small, in one picture."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageOps

# Of a JPEG.
QUALITY = 82
_GAP_PX = 4


def sheet(cells: Mapping[tuple[int, int], Path], width_px: int) -> Image.Image:
    """The pictures of a table, by column and line, each up to `width_px` wide and 3/4 as high."""
    cell = width_px, width_px * 3 // 4
    width, height = (side + _GAP_PX for side in cell)
    columns, lines = (1 + max(place) for place in zip(*cells, strict=True))
    made = Image.new("RGB", (columns * width, lines * height), "white")
    for (column, line), path in cells.items():
        with Image.open(path) as image:
            small = ImageOps.contain(image.convert("RGB"), cell, Image.Resampling.LANCZOS)
        made.paste(small, (column * width, line * height))
    return made
