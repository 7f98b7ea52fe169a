"""Small pictures in rows and columns, with labels -> one picture for paper and slides."""

import io
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Literal

from PIL import Image, ImageDraw, ImageFont

from nst.errors import ConfigError
from nst.pictures.images import decode_preview, pixels_8_bit

_MAX_PX = 16_384
# In memory it takes three bytes each, and as much again to encode it.
_MAX_PIXELS = 64_000_000
_GAP_PX = 12
_LABEL_SHARE = 0.9
_PAPER, _INK, _QUIET = (255, 255, 255), (30, 30, 30), (120, 120, 120)
# The first that this machine has; Pillow's own knows only Latin letters.
_FONTS = ("NotoSans-Regular.ttf", "DejaVuSans.ttf", "Arial.ttf", "arial.ttf", "Helvetica.ttc")

SheetFormat = Literal["png", "jpeg"]


def contact_sheet(
    rows: Iterable[Sequence[bytes | str]],
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
    cell_px: int,
    sheet_format: SheetFormat,
) -> bytes:
    """The file of a sheet whose cells are pictures of `cell_px`, or the texts that stand for some.

    Rows are taken one after the other, so that no more than one of them is in memory beside the
    sheet. Raises ConfigError for a sheet that is larger than programs show.
    """
    text_px = max(11, cell_px // 14)
    font = _font(text_px)
    label_px = min(
        round(cell_px * _LABEL_SHARE),
        max((round(font.getlength(text)) for text in row_labels), default=0) + _GAP_PX,
    )
    head_px = 3 * text_px + 2 * _GAP_PX
    width = label_px + len(column_labels) * (cell_px + _GAP_PX) + 2 * _GAP_PX
    height = head_px + len(row_labels) * (cell_px + _GAP_PX) + _GAP_PX
    _check(width, height, cell_px)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP_PX, _GAP_PX), _cut(title, font, width - 2 * _GAP_PX), _QUIET, font)
    lefts = [label_px + _GAP_PX + n * (cell_px + _GAP_PX) for n in range(len(column_labels))]
    for left, text in zip(lefts, column_labels, strict=True):
        draw.text((left, head_px - 1.5 * text_px), _cut(text, font, cell_px), _INK, font)
    for number, (label, cells) in enumerate(zip(row_labels, rows, strict=True)):
        top = head_px + number * (cell_px + _GAP_PX)
        draw.text((_GAP_PX, top), _cut(label, font, label_px - _GAP_PX), _INK, font)
        for left, cell in zip(lefts, cells, strict=True):
            if isinstance(cell, bytes):
                sheet.paste(_picture(cell, cell_px), (left, top))
            elif cell:
                draw.text((left, top), _cut(cell, font, cell_px), _QUIET, font)
    return _encoded(sheet, sheet_format)


def _check(width: int, height: int, cell_px: int) -> None:
    if max(width, height) > _MAX_PX or width * height > _MAX_PIXELS:
        raise ConfigError(
            f"expected a sheet of at most {_MAX_PX} px a side and {_MAX_PIXELS // 10**6} million "
            f"pixels, found {width} x {height} with cells of {cell_px} px; make the cells smaller "
            "with --cell, or choose fewer pictures with --where"
        )


def _font(px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, px)
        except OSError:
            continue
    return ImageFont.load_default(px)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The text, its end left out where it is wider than `width` px."""
    if font.getlength(text) <= width:
        return text
    # Bisected, since all of a text is measured each time.
    lengths = range(1, len(text) + 1)
    length = bisect_right(lengths, float(width), key=lambda each: font.getlength(f"{text[:each]}…"))
    return text[:length].rstrip() + "…"


def _picture(data: bytes, cell_px: int) -> Image.Image:
    decoded = decode_preview(data, long_edge_px=cell_px, name="picture")
    return Image.fromarray(pixels_8_bit(decoded))


def _encoded(sheet: Image.Image, sheet_format: SheetFormat) -> bytes:
    sink = io.BytesIO()
    if sheet_format == "jpeg":
        sheet.save(sink, "JPEG", quality=90)
    else:
        sheet.save(sink, "PNG")
    return sink.getvalue()
