"""Zeros in place of a compressed picture's data, which interrupted downloads leave; decodes nothing itself.

Readers take such zeros for pixels. Compressed data may have long runs of zeros of its own, where a
picture is flat, so a run counts only if the format itself rules it out. What cannot be ruled out
is not reported: a hole in the middle of an AVIF, or one that a JPEG's own tables read as a flat area.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from nst.pictures import formats

# Fewer zeros than a disk's block are no hole; what ends in a hole may end in less of it.
_MIN_HOLE = 256
_MIN_TAIL = 64
# A WebP's reader needs all bytes of its picture but some of the last few.
_SLACK = 32
# Of directories, boxes, items and segments; honest files have some dozens.
_MAX_PARTS = 4096


@dataclass(frozen=True, slots=True)
class Hole:
    """`length` zeros from byte `at` on; `is_at_end` if they are the last of the picture's data."""

    at: int
    length: int
    is_at_end: bool


def hole_in(data: bytes, name: str, *, is_readable: Callable[[bytes], bool]) -> Hole | None:
    """The hole in a picture in the format `name`, if there certainly is one.

    `is_readable` says whether a whole file can be decoded. Raises nothing but what it raises.
    """
    if bytes(_MIN_TAIL) not in data:
        return None
    try:
        match name:
            case "JPEG":
                hole = _in_jpeg(data, 0, len(data), _Tables())
                # Some cameras pad a picture without having ended it.
                is_padded = hole and hole.is_at_end and is_readable(data[: hole.at + 2])
                return None if is_padded else hole
            case "WEBP":
                return _in_webp(data, is_readable)
            case "AVIF":
                return _in_avif(data)
            case "TIFF":
                return _in_tiff(data)
    except (struct.error, LookupError, ValueError, OverflowError):
        # A part that the pixels do not need; otherwise they could not have been read.
        return None
    return None


def _run_in(data: bytes, start: int, end: int, least: int = _MIN_HOLE) -> Hole | None:
    """The first run of at least so many zeros."""
    at = data.find(bytes(least), start, end)
    if at < 0:
        return None
    other = _NOT_ZERO.search(data, at, end)
    stop = other.start() if other else end
    return Hole(at, stop - at, stop == end)


_NOT_ZERO = re.compile(rb"[^\0]")


@dataclass(slots=True)
class _Tables:
    """What the segments of a JPEG have told so far, for its scans.

    `firsts` has, by class and number of a Huffman table, the length of the code of zeros alone and
    what it means. `sampling` has the blocks of each component in a unit of an interleaved scan.
    """

    frame: int = 0
    firsts: dict[int, tuple[int, int]] = field(default_factory=dict)
    sampling: dict[int, int] = field(default_factory=dict)


_HUFFMAN, _SCAN, _END = 0xC4, 0xDA, 0xD9
_FRAMES = (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)
_PROGRESSIVE = 0xC2
# Without segments: fill bytes, restarts, starts, and what is reserved.
_ALONE = (0x01, *range(0xD0, 0xD9), 0xFF)
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# A DC coefficient of 8 bits has no larger range.
_DC_RANGE = 2048
_END_OF_BLOCK = 0x00


def _in_jpeg(data: bytes, start: int, stop: int, tables: _Tables) -> Hole | None:
    at = start + 2
    for _ in range(_MAX_PARTS):
        if at + 4 > stop or data[at] != 0xFF or data[at + 1] == _END:
            return None
        marker = data[at + 1]
        if marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        body = data[at + 4 : end]
        if marker == _HUFFMAN:
            tables.firsts |= _firsts(body)
        elif marker in _FRAMES:
            tables.frame = marker
            tables.sampling = {
                body[i]: (body[i + 1] >> 4) * (body[i + 1] & 15) for i in range(6, len(body), 3)
            }
        elif marker == _SCAN:
            following = _NEXT_MARKER.search(data, end, stop)
            scan_end = following.start() if following else stop
            hole = _run_in(data, end, scan_end)
            if hole is not None and _is_no_picture(body, 8 * hole.length, tables):
                return hole
            end = scan_end
        at = end
    return None


def _firsts(body: bytes) -> dict[int, tuple[int, int]]:
    """Of the tables in a segment: ITU-T T.81, B.2.4.2 and C.2, where codes count up from zeros."""
    found, at = {}, 0
    while at + 17 <= len(body):
        counts = body[at + 1 : at + 17]
        length = next((n for n, count in enumerate(counts, start=1) if count), 0)
        if length:
            found[body[at]] = (length, body[at + 17])
        at += 17 + sum(counts)
    return found


def _is_no_picture(scan: bytes, num_bits: int, tables: _Tables) -> bool:
    """Whether so many zeros in a scan mean what no encoder writes, by its header and tables."""
    count = scan[0]
    parts = [(scan[1 + 2 * i], scan[2 + 2 * i]) for i in range(count)]
    start, is_refined = scan[1 + 2 * count], scan[3 + 2 * count] >> 4
    is_progressive = tables.frame == _PROGRESSIVE
    if tables.frame not in (0xC0, 0xC1, _PROGRESSIVE) or is_refined:
        return False
    # Of the progressive mode, these coefficients alone: G.1.2.2.
    if start:
        _, meaning = tables.firsts[0x10 | parts[0][1] & 15]
        return bool(meaning & 15) or meaning == 0xF0
    unit, drifts = 0, []
    for component, selected in parts:
        length, category = tables.firsts[selected >> 4]
        bits = length + category
        if not is_progressive:
            length, meaning = tables.firsts[0x10 | selected & 15]
            if meaning != _END_OF_BLOCK:
                # Every coefficient of every block would be the same small number.
                return True
            bits += length
        blocks = tables.sampling[component] if count > 1 else 1
        unit += blocks * bits
        drifts.append(blocks * ((1 << category) - 1))
    # Flat blocks, each darker than the last by the same amount, soon are darker than black.
    return num_bits / unit * max(drifts) > _DC_RANGE


def _in_webp(data: bytes, is_readable: Callable[[bytes], bool]) -> Hole | None:
    """A hole in the first picture, if it is decoded before its data ends.

    Zeros take fewer bytes than the pixels in whose place they are, or lead astray; in a picture
    that is flat the last byte is needed as any other. Padding behind a whole picture is fine.
    """
    kind, start, end = _first_of_webp(data)

    def is_whole(stop: int) -> bool:
        return is_readable(_webp_of(kind, data[start:stop]))

    tail = _tail_of(data, start, end)
    hole = tail if tail.length >= _MIN_TAIL else _run_in(data, start, end)
    if hole is not None and is_whole(tail.at):
        # Whatever zeros are behind it are padding.
        hole, end = _run_in(data, start, tail.at), tail.at
    return hole if hole is not None and is_whole(end - _SLACK) else None


def _tail_of(data: bytes, start: int, end: int) -> Hole:
    at = start + len(data[start:end].rstrip(b"\0"))
    return Hole(at, end - at, is_at_end=True)


def _first_of_webp(data: bytes) -> tuple[bytes, int, int]:
    """The kind of the first chunk of pixels, and where its body is."""
    at = 12
    for _ in range(_MAX_PARTS):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind, at + 8, min(at + 8 + length, len(data))
        # A frame of a film has chunks of its own behind 16 bytes.
        at += 8 + (16 if kind == b"ANMF" else length + length % 2)
    raise ValueError("no pixels")


def _webp_of(kind: bytes, body: bytes) -> bytes:
    padded = body + bytes(len(body) % 2)
    chunk = kind + len(body).to_bytes(4, "little") + padded
    return b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk


def _in_avif(data: bytes) -> Hole | None:
    """A picture's last byte is never zero: AV1 ends data with a bit that is set (5.3.4, 8.2.5)."""
    (meta,) = (box for box in _boxes(data, 0, len(data)) if box[0] == b"meta")
    inner = {kind: (start, end) for kind, start, end in _boxes(data, meta[1] + 4, meta[2])}
    coded = _coded_items(data, *inner[b"iinf"])
    for item, start, end in _extents(data, *inner[b"iloc"]):
        if item in coded and end <= len(data) and data[start:end].endswith(bytes(_MIN_TAIL)):
            return _tail_of(data, start, end)
    return None


def _boxes(data: bytes, at: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each box, and where its body is: ISO/IEC 14496-12, 4.2."""
    for _ in range(_MAX_PARTS):
        if at + 8 > stop:
            return
        length, head = int.from_bytes(data[at : at + 4]), 8
        if length == 1:
            length, head = int.from_bytes(data[at + 8 : at + 16]), 16
        end = at + length if length else stop
        if not at + head <= end <= stop:
            return
        yield data[at + 4 : at + 8], at + head, end
        at = end


def _coded_items(data: bytes, start: int, end: int) -> set[int]:
    """The numbers of the items that are AV1: 8.11.6 there."""
    at = start + (6 if data[start] == 0 else 8)
    found = set()
    for kind, entry, _ in _boxes(data, at, end):
        width = 4 if data[entry] >= 3 else 2
        at = entry + 4
        if kind == b"infe" and data[at + width + 2 : at + width + 6] == b"av01":
            found.add(int.from_bytes(data[at : at + width]))
    return found


def _extents(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The last extent of each item that lies in the file: 8.11.3 there."""
    reader = _Reader(data, start + 6, end)
    version = data[start]
    sizes = data[start + 4 : start + 6]
    wide = 4 if version == 2 else 2
    for _ in range(min(reader.number(wide), _MAX_PARTS)):
        item = reader.number(wide)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)
        base = reader.number(sizes[1] >> 4)
        offset = length = 0
        for _ in range(min(reader.number(2), _MAX_PARTS)):
            reader.number(sizes[1] & 15 if version else 0)
            offset, length = reader.number(sizes[0] >> 4), reader.number(sizes[0] & 15)
        if method == 0:
            yield item, base + offset, base + offset + length


@dataclass(slots=True)
class _Reader:
    data: bytes
    at: int
    end: int

    def number(self, width: int) -> int:
        if self.at + width > self.end:
            raise IndexError
        self.at += width
        return int.from_bytes(self.data[self.at - width : self.at])


# By the numbers of TIFF's tag of compressions.
_FAX, _JPEG, _DEFLATE = (2, 3, 4), (7,), (8, 32946)


def _in_tiff(data: bytes) -> Hole | None:
    tags = formats.tiff_tags(data)
    compression = tags.numbers.get(259, (1,))[0]
    judge = _IN_TIFF.get(compression)
    for start, end in tags.pieces if judge is not None else ():
        hole = _run_in(data, start, end)
        if hole is not None and judge is not None and judge(data, start, end, hole, tags):
            return hole
    return None


def _is_no_fax(data: bytes, start: int, end: int, hole: Hole, tags: formats.TiffTags) -> bool:
    # No code has more than a few zeros, and lines are not filled up by so many.
    return not hole.is_at_end


def _is_no_jpeg(data: bytes, start: int, end: int, hole: Hole, tags: formats.TiffTags) -> bool:
    tables = _Tables()
    if tags.jpeg_tables is not None:
        _in_jpeg(data, *tags.jpeg_tables, tables)
    return _in_jpeg(data, start, end, tables) is not None


def _is_no_deflate(data: bytes, start: int, end: int, hole: Hole, tags: formats.TiffTags) -> bool:
    """Whether the checksum of what it unpacks to is wrong, at which libtiff does not look."""
    unpacker, num_bytes = zlib.decompressobj(), 0
    try:
        for at in range(start, end, _PACKED_AT_ONCE):
            num_bytes += len(unpacker.decompress(data[at : min(at + _PACKED_AT_ONCE, end)]))
            if unpacker.eof or num_bytes > _MAX_UNPACKED:
                break
    except zlib.error:
        return True
    return False


# Of which each byte may become a thousand, and all together no more than any picture has.
_PACKED_AT_ONCE = 1 << 14
_MAX_UNPACKED = 1 << 30

_Judge = Callable[[bytes, int, int, Hole, formats.TiffTags], bool]
_IN_TIFF: Mapping[int, _Judge] = (
    dict.fromkeys(_FAX, _is_no_fax)
    | dict.fromkeys(_JPEG, _is_no_jpeg)
    | dict.fromkeys(_DEFLATE, _is_no_deflate)
)
