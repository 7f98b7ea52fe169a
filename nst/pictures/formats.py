"""What a file is by its first bytes, and whether its last ones are missing; decodes nothing."""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from nst.errors import Reason


@dataclass(frozen=True, slots=True)
class Format:
    """What a file is: `name` is Pillow's for what is read; `reason` is why anything else is not."""

    name: str
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class PngChunk:
    """A piece of a PNG, from `start` to `end` in its file."""

    kind: bytes
    body: memoryview
    start: int
    end: int
    checksum: int

    @property
    def is_sound(self) -> bool:
        """Whether its checksum is right."""
        return zlib.crc32(self.body, zlib.crc32(self.kind)) == self.checksum


@dataclass(frozen=True, slots=True)
class ColourCode:
    """The colours of a picture in the numbers of ITU-T H.273."""

    primaries: int
    transfer: int

    @property
    def is_like_srgb(self) -> bool:
        """Whether it is sRGB, or left open, or the video that everybody shows as sRGB."""
        return self.primaries in (1, 2) and self.transfer in (1, 2, 6, 13)


READ = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
# How the names of such files end, in small letters; what a file is, its bytes say.
_SUFFIXES = ".jpg .jpeg .jpe .jfif .png .webp .tif .tiff .bmp .gif .avif"
PICTURE_SUFFIXES = tuple(_SUFFIXES.split())

# JPEG 2000, Netpbm, Targa and icons are pictures that Pillow reads too: they are rare, and each
# reader more is one more that a stranger's file can attack.
_PICTURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (8, b"CR\x02\0", "a Canon CR2 raw"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xffO\xffQ", "JPEG 2000"),
    (0, b"II\xbc\x01", "JPEG XR"),
    (0, b"FUJIFILMCCD-RAW", "a Fujifilm raw"),
    (0, b"IIU\0", "a Panasonic raw"),
    (0, b"IIRO", "an Olympus raw"),
    (0, b"IIRS", "an Olympus raw"),
    (0, b"MMOR", "an Olympus raw"),
    (0, b"FOVb", "a Sigma raw"),
    (0, b"\0MRM", "a Minolta raw"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"gimp xcf", "a GIMP picture"),
    (0, b"\0\0\x01\0", "an icon"),
    (0, b"icns", "an icon"),
    (0, b"DDS ", "DDS"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"qoif", "QOI"),
    (0, b"\x8aMNG", "MNG"),
    *((0, f"P{n}{space}".encode(), "Netpbm") for n in range(1, 8) for space in "\n\r\t "),
)
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF-", "a PDF document"),
    (0, b"%!", "a PostScript document"),
    (0, b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"version https://git-lfs", "a Git LFS pointer to a file that was not fetched"),
)
_MARKUP: tuple[tuple[bytes, str], ...] = (
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML document"),
)
# The sizes that a header of a bitmap can have; the two letters of its magic begin many a text.
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_HEIF_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}
_HEAD = 1024


def format_of(data: bytes) -> Format | None:
    """What `data` begins like, or None where that is nothing known."""
    if data[4:8] == b"ftyp":
        return _media_format(data)
    for offset, magic, name in _PICTURES:
        if data.startswith(magic, offset):
            return Format(name, None if name in READ else "image_unsupported")
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return Format("BMP")
    for offset, magic, name in _OTHERS:
        if data.startswith(magic, offset):
            return Format(name, "not_an_image")
    head = data[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"<"):
        for tag, name in _MARKUP:
            if tag in head:
                return Format(name, "not_an_image")
    return None


def _media_format(data: bytes) -> Format:
    """Of a file in boxes, which pictures, camera raws and films all are, by its brands."""
    length = min(int.from_bytes(data[:4]), _HEAD)
    brands = {data[8:12], *(data[i : i + 4] for i in range(16, length, 4))}
    if brands & {b"avif", b"avis"}:
        return Format("AVIF")
    if brands & _HEIF_BRANDS:
        return Format("HEIC", "image_unsupported")
    if b"crx " in brands:
        return Format("a Canon CR3 raw", "image_unsupported")
    return Format("a film", "not_an_image")


def png_chunks(data: bytes) -> Iterator[PngChunk]:
    """The chunks of a PNG up to its end, or to where the file is cut short."""
    view, at = memoryview(data), 8
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4])
        if end > len(data):
            return
        kind = bytes(view[at + 4 : at + 8])
        checksum = int.from_bytes(view[end - 4 : end])
        yield PngChunk(kind, view[at + 8 : end - 4], at, end, checksum)
        if kind == b"IEND":
            return
        at = end


def colour_code(data: bytes, name: str) -> ColourCode | None:
    """How a PNG or an AVIF codes its colours where it says so beside, or in place of, a profile."""
    if name == "PNG":
        for chunk in png_chunks(data):
            if chunk.kind == b"IDAT":
                return None
            if chunk.kind == b"cICP" and len(chunk.body) == 4:
                return ColourCode(chunk.body[0], chunk.body[1])
    elif name == "AVIF" and (at := data.find(b"colrnclx", 0, _AVIF_HEAD)) >= 0:
        primaries, transfer = data[at + 8 : at + 10], data[at + 10 : at + 12]
        return ColourCode(int.from_bytes(primaries), int.from_bytes(transfer))
    return None


def webp_size(data: bytes) -> tuple[int, int] | None:
    """(height, width) of a WebP by its first bytes; None where Exif behind its pixels may turn it.

    https://www.rfc-editor.org/rfc/rfc9649.html, sections 2.5 to 2.7 and 3.4.
    """
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X" and not body[0] & _WEBP_EXIF:
        width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    elif kind == b"VP8L" and body[0] == _WEBP_LOSSLESS:
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    else:
        return None
    return (height, width) if height and width else None


_WEBP_EXIF = 0x08
_WEBP_LOSSLESS = 0x2F


def avif_pixels(data: bytes) -> int:
    """The pixels of the largest picture that an AVIF speaks of in its header."""
    largest, at = 0, -1
    while (at := data.find(b"ispe", at + 1, _AVIF_HEAD)) >= 0:
        height, width = data[at + 8 : at + 12], data[at + 12 : at + 16]
        largest = max(largest, int.from_bytes(height) * int.from_bytes(width))
    return largest


_AVIF_HEAD = 1 << 16


def is_cut_short(data: bytes, name: str) -> bool:
    """Whether a file in the format `name` says of itself that it ends later than it does.

    Raises nothing, whatever the bytes are.
    """
    try:
        return _IS_CUT_SHORT[name](data)
    except Exception:
        # It ends within what would have said so, or points to where no file reaches.
        return True


def _png_is_cut_short(data: bytes) -> bool:
    return not any(chunk.kind == b"IEND" for chunk in png_chunks(data))


def _jpeg_is_cut_short(data: bytes) -> bool:
    """No end after the beginning of its pixels: an end before is that of a thumbnail."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xDA:
            return b"\xff\xd9" not in data[at:]
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
    return False


def _gif_is_cut_short(data: bytes) -> bool:
    return not data.rstrip(b"\0").endswith(b";")


def _webp_is_cut_short(data: bytes) -> bool:
    (length,) = struct.unpack_from("<I", data, 4)
    return bool(8 + length > len(data))


_MAX_BOXES = 1 << 16


def _avif_is_cut_short(data: bytes) -> bool:
    at = 0
    for _ in range(_MAX_BOXES):
        if at >= len(data):
            break
        (length,) = struct.unpack_from(">I", data, at)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
        if length == 0:
            return False
        at += max(8, length)
    return at > len(data)


def _bmp_is_cut_short(data: bytes) -> bool:
    length, _, offset = struct.unpack_from("<III", data, 2)
    return bool(max(length, offset) > len(data))


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8} | {
    16: 8,
    17: 8,
    18: 8,
}
# The offsets of strips and of tiles, with their lengths.
_TIFF_PIXELS = ((273, 279), (324, 325))


@dataclass(frozen=True, slots=True)
class TiffTags:
    """The first directory of a TIFF: its integers by tag, and where each strip or tile is.

    `jpeg_tables` is where the tables are that all strips in JPEG have in common. `end` is where the
    last value or piece ends, which may be behind the file's end.
    """

    numbers: Mapping[int, tuple[int, ...]]
    pieces: tuple[tuple[int, int], ...]
    jpeg_tables: tuple[int, int] | None
    end: int


def tiff_tags(data: bytes) -> TiffTags:
    """The first directory. Raises struct.error, OverflowError or ValueError if it is cut short."""
    directory = _tiff_directory(data)
    if directory.num_entries > MAX_TIFF_TAGS:
        raise ValueError("too many tags")
    numbers: dict[int, tuple[int, ...]] = {}
    last, tables = directory.at, None
    for tag, kind, length, start in _tiff_entries(data, directory):
        end = start + _TIFF_SIZES.get(kind, 0) * length
        last = max(last, end)
        if end <= len(data) and kind in _TIFF_INTEGERS and length <= MAX_TIFF_VALUES:
            form = f"{directory.order}{length}{_TIFF_INTEGERS[kind]}"
            numbers[tag] = struct.unpack_from(form, data, start)
        if tag == _JPEG_TABLES:
            tables = (start, end)
    pieces = tuple(
        (offset, offset + length)
        for offsets, lengths in _TIFF_PIXELS
        for offset, length in zip(numbers.get(offsets, ()), numbers.get(lengths, ()), strict=False)
    )
    return TiffTags(numbers, pieces, tables, max([last, *(end for _, end in pieces)]))


@dataclass(frozen=True, slots=True)
class _Directory:
    """The first directory of a TIFF, its entries from byte `at` on; `order` is as `struct` names it."""

    order: str
    is_big: bool
    at: int
    num_entries: int


def _tiff_directory(data: bytes) -> _Directory:
    order = "<" if data.startswith(b"II") else ">"
    is_big = b"+" in data[2:4]
    head, count_form = (8, "Q") if is_big else (4, "H")
    (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, head)
    (count,) = struct.unpack_from(order + count_form, data, at)
    return _Directory(order, is_big, at + struct.calcsize("=" + count_form), count)


def _tiff_entries(data: bytes, directory: _Directory) -> Iterator[tuple[int, int, int, int]]:
    """Of each entry its tag, its kind, the number of its values and where they start."""
    entry_form, offset_form = ("HHQ", "Q") if directory.is_big else ("HHI", "I")
    inline, at = struct.calcsize("=" + offset_form), directory.at
    for _ in range(directory.num_entries):
        tag, kind, length = struct.unpack_from(directory.order + entry_form, data, at)
        at += struct.calcsize("=" + entry_form)
        start = at
        if _TIFF_SIZES.get(kind, 0) * length > inline:
            (start,) = struct.unpack_from(directory.order + offset_form, data, at)
        yield tag, kind, length, start
        at += inline


def tiff_counts(data: bytes) -> tuple[int, int]:
    """How many tags the first directory has, and how many values the longest one that is not bytes.

    Only those count that lie in the file. Raises as `tiff_tags`. Of too many tags none is looked at.
    """
    directory = _tiff_directory(data)
    num_tags = min(directory.num_entries, (len(data) - directory.at) // 12)
    if num_tags > MAX_TIFF_TAGS:
        return num_tags, 0
    lengths = [
        length
        for _, kind, length, start in _tiff_entries(data, directory)
        if _TIFF_SIZES.get(kind, 1) > 1 and start + length <= len(data)
    ]
    return num_tags, max(lengths, default=0)


# Those that the standard and its supplements name are some 200.
MAX_TIFF_TAGS = 4096
# Each strip has a row at least, and a picture of as many rows is 85 pixels wide at most.
MAX_TIFF_VALUES = 1 << 20
_JPEG_TABLES = 347


def _tiff_is_cut_short(data: bytes) -> bool:
    """Whether the first directory, what it points to, or the pixels lie behind the file's end."""
    return tiff_tags(data).end > len(data)


_TIFF_INTEGERS = {3: "H", 4: "I", 16: "Q"}

_IS_CUT_SHORT: Mapping[str, Callable[[bytes], bool]] = {
    "PNG": _png_is_cut_short,
    "JPEG": _jpeg_is_cut_short,
    "WEBP": _webp_is_cut_short,
    "TIFF": _tiff_is_cut_short,
    "BMP": _bmp_is_cut_short,
    "GIF": _gif_is_cut_short,
    "AVIF": _avif_is_cut_short,
}
