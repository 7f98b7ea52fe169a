"""The parts of a file around its pixels: too many of them, and what unpacks to too much."""

import struct
import zlib

import pytest
from PIL import Image, ImageCms

from nst.errors import ImageError
from nst.pictures import formats, images, parts
from tests import forged
from tests.helpers import encoded
from tests.test_images import mean_colour, quadrants

ROWS = (b"\0" + bytes([100, 50, 25]) * 8) * 8
MIB = 1 << 20
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return forged.png(8, 8, ROWS, *(forged.png_chunk(kind, body) for kind, body in chunks))


def packed_profile(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"a\0\0" + zlib.compress(profile)


def packed_text(length: int, keyword: bytes = b"a") -> tuple[bytes, bytes]:
    return b"zTXt", keyword + b"\0\0" + zlib.compress(bytes(length))


def packed_world_text(length: int, keyword: bytes = b"a") -> tuple[bytes, bytes]:
    return b"iTXt", keyword + b"\0\1\0\0\0" + zlib.compress(b"x" * length)


def decode(data: bytes) -> images.Picture:
    return images.decode(data, long_edge_px=8, name="in.png")


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (packed_profile(SRGB + bytes(MIB)), "its profile"),
        (packed_text(MIB + 1), "its texts"),
        (packed_world_text(MIB + 1), "its texts"),
        (packed_world_text(MIB + 1, b"XML:com.adobe.xmp"), "its XML:com.adobe.xmp"),
        (packed_text(100 * MIB), "its texts"),
        (packed_profile(bytes(100 * MIB)), "its profile"),
    ],
)
def test_a_png_is_read_without_what_unpacks_to_too_much(
    chunk: tuple[bytes, bytes], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = png(chunk)
    assert images.probe_size(data, name="in.png") == (8, 8)
    assert mean_colour(decode(data)) == [100, 50, 25]
    (record,) = caplog.records
    assert record.getMessage() == (
        f"in.png: read without {said}, which unpacks to more than 1048576 bytes"
    )


@pytest.mark.parametrize(
    "chunk",
    [
        packed_profile(SRGB),
        packed_text(1000),
        packed_world_text(MIB),
        (b"tEXt", b"a\0" + bytes(2 * MIB)),
        (b"iTXt", b"a\0\0\0\0\0" + bytes(2 * MIB)),
    ],
)
def test_what_is_not_too_large_is_no_reason_to_warn(
    chunk: tuple[bytes, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    assert mean_colour(decode(png(chunk))) == pytest.approx([100, 50, 25], abs=1)
    assert not caplog.records


def test_many_packed_texts_are_not_unpacked_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would be four bytes for each of a million characters."""
    body = b"a\0\1\0\0\0" + zlib.compress("\U0001f3a8".encode() * (MIB // 4))
    data = png(*[(b"iTXt", body)] * 60, packed_profile(SRGB))
    assert len(data) < 1 << 17
    unpacked = []
    decompressobj = zlib.decompressobj

    class Unpacker:
        def __init__(self) -> None:
            self.inner = decompressobj()

        def decompress(self, packed: bytes, length: int = 0) -> bytes:
            found = self.inner.decompress(packed, length)
            unpacked.append(len(found))
            return found

        @property
        def unconsumed_tail(self) -> bytes:
            return self.inner.unconsumed_tail

    monkeypatch.setattr(zlib, "decompressobj", Unpacker)
    assert images.probe_size(data, name="in.png") == (8, 8)
    assert images.size_by_start(data, name="in.png") == (8, 8)
    assert sum(unpacked) <= 4 * MIB


@pytest.mark.parametrize("keyword", [b"XML:com.adobe.xmp", b"Raw profile type exif"])
def test_the_texts_that_say_how_a_picture_lies_are_kept(keyword: bytes) -> None:
    xmp = b'<x tiff:Orientation="6"/>'
    exif = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 274, 3, 1, 6, 0) + bytes(4)
    if keyword == b"XML:com.adobe.xmp":
        text = (b"iTXt", keyword + b"\0\1\0\0\0" + zlib.compress(xmp))
    else:
        raw = f"\nexif\n{len(exif):8}\n{exif.hex()}\n".encode()
        text = (b"zTXt", keyword + b"\0\0" + zlib.compress(raw))
    rows = (b"\0" + bytes([100, 50, 25]) * 9) * 8
    chunks = [forged.png_chunk(*packed_text(MIB + 1)), forged.png_chunk(*text)]
    assert images.probe_size(forged.png(9, 8, rows, *chunks), name="in.png") == (9, 8)


def too_many(kind: str) -> bytes:
    """A sound picture with one part more than there may be."""
    match kind:
        case "PNG":
            return png(*[(b"abCd", b"")] * (parts.MAX_CHUNKS - 2))
        case "JPEG segments":
            data = encoded(quadrants(), "JPEG")
            return data[:2] + b"\xff\xe5\0\2" * parts.MAX_SEGMENTS + data[2:]
        case "JPEG fill":
            data = encoded(quadrants(), "JPEG")
            return data[:2] + b"\xff" * (parts.MAX_FILL_BYTES + 1) + data[2:]
        case "JPEG junk":
            data = encoded(quadrants(), "JPEG")
            return data[:2] + b"\xff\xe5\0\2" + b"\x55" * (parts.MAX_FILL_BYTES + 1) + data[2:]
        case "GIF":
            data = encoded(quadrants().quantize(4), "GIF")
            at = data.index(b"\x2c", 13)
            return data[:at] + b"\x21\xfe" + b"\1x" * parts.MAX_BLOCKS + b"\0" + data[at:]
        case "TIFF tags":
            tags = dict.fromkeys(range(40_000, 40_000 + formats.MAX_TIFF_TAGS), 1)
            return forged.tiff({256: 2, 257: 2, 258: 8, 259: 1, 262: 1, 277: 1, **tags}, bytes(4))
    head = struct.pack("<2sHIH", b"II", 42, 8, 3)
    values = ((256, 4, 1, 2), (257, 4, 1, 2), (273, 4, formats.MAX_TIFF_VALUES + 1, 50))
    entries = b"".join(struct.pack("<HHII", *each) for each in values)
    return head + entries + bytes(4) + bytes(4 * formats.MAX_TIFF_VALUES + 8)


@pytest.mark.parametrize(
    "kind",
    ["PNG", "JPEG segments", "JPEG fill", "JPEG junk", "GIF", "TIFF tags", "TIFF values"],
)
def test_more_parts_than_a_reader_should_look_at_are_refused_before_it_does(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = too_many(kind)

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(
        ImageError, match=r"of fewer parts, found more than \d+ .*save it"
    ) as caught:
        images.probe_size(data, name="in")
    assert caught.value.reason == "image_too_large"


@pytest.mark.parametrize("count", [1, 1000])
def test_pictures_of_some_parts_are_read(count: int) -> None:
    jpeg = encoded(quadrants(), "JPEG")
    gif = encoded(quadrants().quantize(4), "GIF")
    at = gif.index(b"\x2c", 13)
    for data, size in (
        (png(*[(b"abCd", b"")] * count), (8, 8)),
        (jpeg[:2] + b"\xff\xe5\0\2" * count + jpeg[2:], (40, 60)),
        (jpeg[:2] + b"\xff" * count + jpeg[2:], (40, 60)),
        (gif[:at] + b"\x21\xfe" + b"\1x" * count + b"\0" + gif[at:], (40, 60)),
    ):
        assert images.probe_size(data, name="in") == size


def test_a_text_that_is_called_profile_is_no_profile() -> None:
    profile = bytearray(SRGB)
    r, g = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[r : r + 4], profile[g : g + 4] = b"gXYZ", b"rXYZ"
    data = png((b"tEXt", b"profile\0x"), packed_text(MIB + 1), packed_profile(bytes(profile)))
    assert mean_colour(decode(data)) == mean_colour(decode(png(packed_profile(bytes(profile)))))
    assert mean_colour(decode(data)) != [100, 50, 25]
