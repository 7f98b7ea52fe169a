"""The parts of a file around its pixels: how many there may be, and what is left out; decodes nothing.

Readers look at each part in turn, and unpack texts of which a picture needs none. A file of many parts
would cost minutes, and one of packed texts gigabytes, before a pixel is read.
"""

import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nst.pictures import formats

# A PNG writer that cuts its pixels up by 8 KB, as most do, needs 44 000 for the most bytes there may be.
MAX_CHUNKS = 1 << 16
MAX_SEGMENTS = 1 << 14
MAX_FILL_BYTES = 1 << 16
MAX_BLOCKS = 1 << 16
# What Pillow unpacks of one chunk.
MAX_UNPACKED = 1 << 20


def excess(data: bytes, name: str) -> str | None:
    """What there is too much of in a file in the format `name`, in words, with the limit; or None.

    Raises nothing that the reader of the format does not find wrong too.
    """
    try:
        return _EXCESS[name](data) if name in _EXCESS else None
    except (struct.error, IndexError, ValueError, OverflowError):
        return None


def _of_png(data: bytes) -> str | None:
    num_chunks = sum(1 for _ in zip(range(MAX_CHUNKS + 1), formats.png_chunks(data), strict=False))
    return f"more than {MAX_CHUNKS} chunks" if num_chunks > MAX_CHUNKS else None


_FILL = re.compile(rb"\xff+")
_SCAN, _END = 0xDA, 0xD9
_ALONE = (0x01, *range(0xD0, 0xD9))


def _of_jpeg(data: bytes) -> str | None:
    at = num_fill = 0
    for _ in range(MAX_SEGMENTS):
        fill = _FILL.match(data, at)
        if fill is None:
            # Pillow looks for the next marker byte by byte.
            following = data.find(b"\xff", at)
            num_fill += (following if following >= 0 else len(data)) - at
            at = following
        else:
            num_fill += fill.end() - at - 1
            at = fill.end() + 1
        if num_fill > MAX_FILL_BYTES:
            return f"more than {MAX_FILL_BYTES} bytes between its segments"
        if fill is None and at >= 0:
            continue
        if at < 0 or data[at - 1] in (_SCAN, _END):
            return None
        if data[at - 1] not in (*_ALONE, 0):
            at += int.from_bytes(data[at : at + 2])
    return f"more than {MAX_SEGMENTS} segments before its pixels"


_EXTENSION = 0x21


def _of_gif(data: bytes) -> str | None:
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    num_blocks = 0
    while data[at] == _EXTENSION:
        at += 2
        # Up to the block of no bytes that ends each extension.
        while True:
            num_blocks += 1
            if num_blocks > MAX_BLOCKS:
                return f"more than {MAX_BLOCKS} blocks before its pixels"
            length = data[at]
            at += 1 + length
            if not length:
                break
    return None


def _of_tiff(data: bytes) -> str | None:
    num_tags, num_values = formats.tiff_counts(data)
    if num_tags > formats.MAX_TIFF_TAGS:
        return f"more than {formats.MAX_TIFF_TAGS} tags"
    if num_values > formats.MAX_TIFF_VALUES:
        return f"more than {formats.MAX_TIFF_VALUES} values of a tag"
    return None


_EXCESS: Mapping[str, Callable[[bytes], str | None]] = {
    "PNG": _of_png,
    "JPEG": _of_jpeg,
    "GIF": _of_gif,
    "TIFF": _of_tiff,
}


@dataclass(frozen=True, slots=True)
class Light:
    """A PNG without what unpacks to too much: its bytes, and in words what was left out."""

    data: bytes
    left_out: tuple[str, ...]


_PROFILE, _TEXTS = b"iCCP", (b"tEXt", b"zTXt", b"iTXt")
# The texts that say how a picture lies, by their keywords.
_NEEDED = (b"XML:com.adobe.xmp", b"Raw profile type exif")
# Of texts that are not packed this much does no harm.
_MAX_TEXT = 1 << 16


def without_excess(data: bytes) -> Light:
    """A PNG without a profile of more than 1 MiB, and without other texts if these are many or packed.

    A few MiB are unpacked at most to find that out. `data` is the same object if nothing is left out.
    """
    chunks = [c for c in formats.png_chunks(data) if c.kind == _PROFILE or c.kind in _TEXTS]
    needed, others = _sorted_out(chunks)
    dropped = [chunk for chunk in needed if _is_too_large(chunk)]
    left_out = [
        "its profile" if chunk.kind == _PROFILE else f"its {_keyword(chunk).decode('latin-1')}"
        for chunk in dropped
    ]
    packed = [chunk for chunk in others if _packed(chunk) is not None]
    if packed or sum(len(chunk.body) for chunk in others) > _MAX_TEXT:
        dropped += others
    if packed and _is_too_large(max(packed, key=lambda chunk: len(chunk.body))):
        left_out.append("its texts")
    if not dropped:
        return Light(data, ())
    pieces, at = [], 0
    for chunk in sorted(dropped, key=lambda chunk: chunk.start):
        pieces.append(data[at : chunk.start])
        at = chunk.end
    return Light(b"".join([*pieces, data[at:]]), tuple(left_out))


def _sorted_out(
    chunks: Sequence[formats.PngChunk],
) -> tuple[list[formats.PngChunk], list[formats.PngChunk]]:
    """The profile and the texts that are needed, of each the first; and the others."""
    needed: dict[bytes, formats.PngChunk] = {}
    others = []
    for chunk in chunks:
        what = _PROFILE if chunk.kind == _PROFILE else _keyword(chunk)
        if (chunk.kind == _PROFILE or what in _NEEDED) and what not in needed:
            needed[what] = chunk
        else:
            others.append(chunk)
    return list(needed.values()), others


def _keyword(chunk: formats.PngChunk) -> bytes:
    return bytes(chunk.body[:80]).split(b"\0")[0]


def _packed(chunk: formats.PngChunk) -> bytes | None:
    """What is packed of a profile or a text; None if nothing is."""
    if chunk.kind == b"tEXt":
        return None
    _, _, rest = bytes(chunk.body).partition(b"\0")
    if chunk.kind == b"iTXt":
        # Whether it is packed and how, its language, and its keyword in that: 11.3.3.4.
        return rest[2:].split(b"\0", 2)[-1] if rest[:1] not in (b"", b"\0") else None
    return rest[1:]


def _is_too_large(chunk: formats.PngChunk) -> bool:
    packed = _packed(chunk)
    if packed is None:
        return len(chunk.body) > MAX_UNPACKED
    unpacker = zlib.decompressobj()
    try:
        unpacker.decompress(packed, MAX_UNPACKED)
    except zlib.error:
        return False
    return bool(unpacker.unconsumed_tail)
