"""Contact sheets: small pictures, each where it belongs."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageOps

_GAP_PX = 4


def contact_sheet(
    cells: Mapping[tuple[int, int], Path], *, cell_px: tuple[int, int]
) -> Image.Image:
    """The picture files of `cells`, by column and row, each fitted into `cell_px` (width, height)."""
    width, height = (side + _GAP_PX for side in cell_px)
    num_columns, num_rows = (max(place) + 1 for place in zip(*cells, strict=True))
    made = Image.new("RGB", (num_columns * width, num_rows * height), "white")
    for (column, row), path in cells.items():
        with Image.open(path) as image:
            small = ImageOps.contain(image.convert("RGB"), cell_px, Image.Resampling.LANCZOS)
        made.paste(small, (column * width, row * height))
    return made
