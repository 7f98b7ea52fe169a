"""Zeros in pictures: those that an interrupted download leaves, and those that encoders write."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst.errors import ImageError
from nst.pictures import images
from tests.helpers import encoded

HOLE_BYTES = 4096


def photo(height: int = 240, width: int = 320) -> Image.Image:
    """Soft shapes with grain, so that no part of it is flat."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height)), dtype=np.int16)
    grain = generator.integers(-9, 10, soft.shape)
    return Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8))


def packed(image: Image.Image, image_format: str, **options: Any) -> bytes:
    return encoded(image, image_format, **options)


def with_hole(data: bytes, share: float) -> bytes:
    at = int(len(data) * share)
    return data[:at] + bytes(HOLE_BYTES) + data[at + HOLE_BYTES :]


def with_zero_tail(data: bytes, share: float) -> bytes:
    at = int(len(data) * share)
    return data[:at] + bytes(len(data) - at)


def decode(data: bytes) -> images.Picture:
    return images.decode(data, long_edge_px=64, name="in")


IN_THE_MIDDLE: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("JPEG", {"quality": 95}),
    "JPEG own tables": ("JPEG", {"quality": 95, "optimize": True}),
    "JPEG restarts": ("JPEG", {"quality": 95, "restart_marker_blocks": 8}),
    "WebP": ("WEBP", {"quality": 95}),
    "WebP lossless": ("WEBP", {"lossless": True}),
    "PNG": ("PNG", {}),
    "TIFF LZW": ("TIFF", {"compression": "tiff_lzw"}),
    "TIFF deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "TIFF JPEG": ("TIFF", {"compression": "jpeg", "quality": 95}),
}
AT_THE_END: dict[str, tuple[str, dict[str, Any]]] = {
    **IN_THE_MIDDLE,
    "JPEG progressive": ("JPEG", {"quality": 95, "progressive": True}),
    "AVIF": ("AVIF", {"quality": 95}),
    "GIF": ("GIF", {}),
}


@pytest.mark.parametrize("kind", IN_THE_MIDDLE)
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_hole_of_zeros_is_refused(kind: str, share: float) -> None:
    image_format, options = IN_THE_MIDDLE[kind]
    data = packed(photo(), image_format, **options)
    assert len(data) * (1 - share) > 2 * HOLE_BYTES
    with pytest.raises(ImageError) as caught:
        decode(with_hole(data, share))
    assert caught.value.reason == "image_unreadable"
    decode(data)


@pytest.mark.parametrize("kind", AT_THE_END)
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_zeros_in_place_of_the_end_are_refused(kind: str, share: float) -> None:
    image_format, options = AT_THE_END[kind]
    data = packed(photo(), image_format, **options)
    with pytest.raises(ImageError):
        decode(with_zero_tail(data, share))


def test_fax_with_a_hole_is_refused() -> None:
    for compression in ("group3", "group4"):
        data = packed(photo(600, 800).convert("1"), "TIFF", compression=compression)
        with pytest.raises(ImageError, match="in the middle of its data"):
            decode(with_hole(data, 0.3))


def test_what_is_told_is_where_the_zeros_are() -> None:
    data = packed(photo(), "JPEG", quality=95)
    at = len(data) // 2
    damaged = data[:at] + b"\x55" + bytes(HOLE_BYTES) + b"\x55" + data[at + HOLE_BYTES + 2 :]
    with pytest.raises(
        ImageError, match=rf"found {HOLE_BYTES} zeros in the middle .* byte {at + 1} on"
    ):
        decode(damaged)
    data = packed(photo(), "WEBP", quality=95)
    damaged = data[:5000] + b"\x55" + bytes(len(data) - 5001)
    with pytest.raises(ImageError, match=r"zeros at the end .* byte 5001 on") as caught:
        decode(damaged)
    assert caught.value.reason == "image_truncated"


@pytest.mark.parametrize("kind", AT_THE_END)
def test_padding_behind_a_whole_picture_is_fine(kind: str) -> None:
    image_format, options = AT_THE_END[kind]
    data = packed(photo(), image_format, **options)
    decode(data + bytes(HOLE_BYTES))


def test_padding_within_the_chunk_of_a_whole_webp_is_fine() -> None:
    data = packed(photo(), "WEBP")
    longer = bytearray(data + bytes(HOLE_BYTES))
    longer[4:8] = (len(longer) - 8).to_bytes(4, "little")
    at = longer.index(b"VP8 ") + 4
    longer[at : at + 4] = (len(longer) - at - 4).to_bytes(4, "little")
    assert np.array_equal(decode(bytes(longer)).pixels, decode(data).pixels)


def letterbox() -> Image.Image:
    """A photograph of which half is black."""
    pixels = np.asarray(photo(768, 1024)).copy()
    pixels[384:] = 0
    return Image.fromarray(pixels)


def gradient() -> Image.Image:
    """Each block of 8 x 8 pixels is a grey level darker than the one before it."""
    levels = 255 - np.arange(2048) // 8 % 256
    return Image.fromarray(np.broadcast_to(levels.astype(np.uint8), (1024, 2048)).copy())


FLAT = {
    "white": lambda: Image.new("RGB", (2400, 1800), "white"),
    "letterbox": letterbox,
    "gradient": gradient,
}


@pytest.mark.parametrize("what", FLAT)
@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {"optimize": True}),
        ("JPEG", {"progressive": True}),
        ("WEBP", {"quality": 95, "method": 0}),
        ("WEBP", {"quality": 75}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "jpeg"}),
    ],
)
def test_flat_pictures_which_are_zeros_to_their_encoder_are_read(
    what: str, image_format: str, options: dict[str, Any]
) -> None:
    data = packed(FLAT[what](), image_format, **options)
    decode(data)


def test_flat_pictures_have_such_zeros() -> None:
    """Otherwise the test before would show nothing."""
    white = FLAT["white"]()
    assert bytes(1000) in packed(white, "JPEG", optimize=True)
    assert bytes(1000) in packed(white, "JPEG", progressive=True)
    assert packed(white, "WEBP").endswith(bytes(256))
    assert packed(letterbox(), "WEBP", quality=95, method=0).rstrip(b"\0") != packed(
        letterbox(), "WEBP", quality=95, method=0
    )


def test_zeros_in_what_the_pixels_do_not_need_are_fine() -> None:
    sink = io.BytesIO()
    exif = Image.Exif()
    exif[270] = "\0" * HOLE_BYTES
    for image_format in ("JPEG", "WEBP", "AVIF", "TIFF"):
        sink = io.BytesIO()
        photo().save(sink, image_format, exif=exif)
        assert bytes(HOLE_BYTES) in sink.getvalue()
        decode(sink.getvalue())


def test_padding_behind_a_jpeg_that_nobody_ended_is_fine() -> None:
    """Its data is whole, and only the marker behind it is missing."""
    data = packed(photo(), "JPEG", quality=95)
    assert data.endswith(b"\xff\xd9")
    padded = data[:-2] + bytes(HOLE_BYTES)
    assert np.array_equal(decode(padded).pixels, decode(data).pixels)
    with pytest.raises(ImageError, match=r"cut short|at the end of its data"):
        decode(data[: len(data) - 600] + bytes(HOLE_BYTES))
