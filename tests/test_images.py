import io
import json
import zlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageFile, PngImagePlugin, TiffImagePlugin

from nst.errors import ImageError
from nst.pictures import formats, images
from nst.pictures.images import Picture
from nst.settings import ImageFormat
from tests import forged
from tests.helpers import encoded, picture, picture_bytes

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def decoded(data: bytes, *, size: int = 64) -> Picture:
    return images.decode(data, long_edge_px=size, name="in.png")


def mean_colour(made: Picture) -> list[int]:
    return [round(float(c) * 255) for c in made.pixels.mean(axis=(1, 2))]


def quadrants() -> Image.Image:
    """Red and green over blue and white, 40 high and 60 wide."""
    image = Image.new("RGB", (60, 40), "white")
    for box, colour in (((0, 0), RED), ((30, 0), GREEN), ((0, 20), BLUE)):
        image.paste(colour, (*box, box[0] + 30, box[1] + 20))
    return image


def test_decodes_to_float_channels_first_in_0_to_1() -> None:
    made = decoded(encoded(quadrants()), size=60)
    assert made.pixels.dtype == np.float32
    assert made.pixels.shape == (3, 40, 60)
    assert made.alpha is None
    assert made.pixels[:, 5, 5].tolist() == [1, 0, 0]
    assert made.pixels[:, 35, 55].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(40, 60, (43, 64)), (60, 40, (64, 43)), (9, 9, (64, 64))]
)
def test_long_edge_is_as_asked_and_the_aspect_kept(
    height: int, width: int, expected: tuple[int, int]
) -> None:
    assert images.fitted_size(height, width, 64) == expected
    assert decoded(picture_bytes(height, width)).pixels.shape[1:] == expected


def test_without_upscaling_a_small_picture_keeps_its_size() -> None:
    small = images.decode(picture_bytes(20, 30), long_edge_px=64, name="in.png", upscale=False)
    large = images.decode(picture_bytes(100, 200), long_edge_px=64, name="in.png", upscale=False)
    assert small.pixels.shape[1:] == (20, 30)
    assert large.pixels.shape[1:] == (32, 64)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_pixels_and_to_the_probed_size(
    orientation: int, image_format: str
) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = quadrants()
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = encoded(stored, image_format, exif=exif)
    assert images.probe_size(data, name="in.png") == (40, 60)
    np.testing.assert_array_equal(
        decoded(data, size=60).pixels, decoded(encoded(upright), size=60).pixels
    )


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("1", 1, [255, 255, 255]),
        ("L", 100, [100, 100, 100]),
        ("RGB", (10, 20, 30), [10, 20, 30]),
        ("CMYK", (0, 255, 255, 0), [255, 0, 0]),
        ("I;16", 100 * 257, [100, 100, 100]),
        ("I", 100 * 257, [100, 100, 100]),
        ("F", 0.5, [128, 128, 128]),
        ("LAB", (255, 128, 128), [255, 255, 255]),
    ],
)
def test_modes(mode: str, colour: object, expected: list[int]) -> None:
    image = Image.new(mode, (20, 20), colour)  # type: ignore[arg-type]
    assert mean_colour(decoded(encoded(image, "TIFF"))) == pytest.approx(expected, abs=1)


def test_16_bit_grey_png_is_not_clipped_to_white() -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(64, axis=0)
    made = decoded(encoded(Image.fromarray(ramp)))
    np.testing.assert_allclose(made.pixels[0, 0], np.linspace(0, 1, 64), atol=1 / 255)


def test_cmyk_jpeg_as_adobe_writes_it() -> None:
    data = encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG", quality=100)
    assert mean_colour(decoded(data)) == pytest.approx([255, 0, 0], abs=3)


def test_palette_picture() -> None:
    made = decoded(encoded(quadrants().quantize(8)), size=60)
    assert made.pixels[:, 5, 35].tolist() == [0, 1, 0]
    assert made.alpha is None


def test_colour_profile_is_converted_to_srgb() -> None:
    """Against lcms by itself, on a profile whose green is not that of sRGB."""
    srgb = ImageCms.createProfile("sRGB")
    profile = bytearray(ImageCms.ImageCmsProfile(srgb).tobytes())
    # Swap the red and the green primaries: a picture under it has these colours swapped in sRGB.
    r, g = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[r : r + 4], profile[g : g + 4] = b"gXYZ", b"rXYZ"
    data = encoded(Image.new("RGB", (20, 20), RED), icc_profile=bytes(profile))
    assert mean_colour(decoded(data)) == pytest.approx([0, 255, 0], abs=2)


def test_a_broken_colour_profile_is_taken_for_srgb_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = encoded(Image.new("RGB", (20, 20), (10, 20, 30)), icc_profile=b"not a profile")
    assert mean_colour(decoded(data)) == [10, 20, 30]
    assert "in.png: taken as sRGB, its colour profile cannot be used" in caplog.text


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_alpha_is_shown_on_white_and_kept(mode: str) -> None:
    rgba = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    rgba.paste((0, 0, 0, 0), (0, 0, 32, 64))
    made = decoded(encoded(rgba.quantize(4) if mode == "P" else rgba.convert(mode)))
    assert made.alpha is not None
    assert made.alpha.shape == (64, 64)
    assert made.pixels[:, 30, 5].tolist() == [1, 1, 1]
    assert made.pixels[:, 30, 60].tolist() == [0, 0, 0]
    assert made.alpha[30, 5] == 0
    assert made.alpha[30, 60] == 1


def test_a_transparent_colour_of_a_png_is_alpha() -> None:
    data = encoded(quadrants(), transparency=GREEN)
    made = decoded(data, size=60)
    assert made.alpha is not None
    assert made.alpha[5, 35] == 0
    assert made.alpha[5, 5] == 1


def test_an_opaque_alpha_is_none() -> None:
    assert decoded(encoded(quadrants().convert("RGBA"))).alpha is None


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, GREEN)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert mean_colour(decoded(data)) == [255, 0, 0]


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_written_pictures_carry_their_parameters(image_format: ImageFormat) -> None:
    parameters = {"steps": 3, "content": "naïve “ünï” ✓"}
    made = Picture(decoded(picture_bytes(48, 64)).pixels, None)
    data = images.encode(made, image_format, parameters)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert image.format == image_format.upper()
        assert image.size == (64, 48)
        if isinstance(image, PngImagePlugin.PngImageFile):
            text = image.text["parameters"]
        else:
            text = image.getexif()[ExifTags.Base.ImageDescription]
    assert json.loads(text) == parameters


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_writing_gives_back_what_was_read(image_format: ImageFormat) -> None:
    original = decoded(picture_bytes(48, 64))
    data = images.encode(original, image_format, {})
    assert images.encode(original, image_format, {}) == data
    difference = np.abs(decoded(data).pixels - original.pixels)
    assert difference.max() == 0 if image_format == "png" else difference.mean() < 0.03


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_alpha_is_given_back(image_format: ImageFormat) -> None:
    alpha = np.zeros((48, 64), dtype=np.float32)
    alpha[:, 32:] = 1
    made = Picture(decoded(picture_bytes(48, 64)).pixels, alpha)
    with Image.open(io.BytesIO(images.encode(made, image_format, {}))) as image:
        assert image.mode == "RGBA"
        assert np.asarray(image.getchannel("A"))[10, [5, 60]].tolist() == [0, 255]


def test_jpeg_shows_what_is_transparent_as_white() -> None:
    black = np.zeros((3, 48, 64), dtype=np.float32)
    made = Picture(black, np.zeros((48, 64), dtype=np.float32))
    assert mean_colour(decoded(images.encode(made, "jpeg", {}))) == [255, 255, 255]


def test_values_out_of_range_are_clipped_not_wrapped() -> None:
    made = Picture(np.array([-0.5, 0.5, 1.5], dtype=np.float32).repeat(16).reshape(3, 4, 4), None)
    assert mean_colour(decoded(images.encode(made, "png", {}))) == [0, 128, 255]


@pytest.mark.parametrize("offset", [0, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("order", ["little", "big"])
def test_an_offset_to_nowhere_is_an_image_error(
    offset: int, order: Literal["little", "big"]
) -> None:
    magic = {"little": b"II+\0\x08\0\0\0", "big": b"MM\0+\0\x08\0\0"}[order]
    data = magic + offset.to_bytes(8, order)
    with pytest.raises(ImageError) as caught:
        images.probe_size(data, name="in.tiff")
    assert caught.value.reason in ("image_truncated", "image_unreadable")
    assert images.size_by_start(data, name="in.tiff") is None


def test_whatever_a_reader_raises_is_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the header is read, where the pixels are, and where it is asked what is wrong."""

    class SurpriseError(Exception):
        pass

    def surprise(*_: Any, **__: Any) -> None:
        raise SurpriseError("of a reader")

    data = picture_bytes(48, 64)
    for where, name in (
        (formats, "png_chunks"),
        (ImageFile.ImageFile, "load"),
        (Image, "open"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(where, name, surprise)
            with pytest.raises(ImageError, match=r"in\.png: .*of a reader"):
                decoded(data)


def test_a_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="cannot be decoded"):
        decoded(forged.png(0, 10))


def _cut(image_format: str) -> bytes:
    data = encoded(Image.fromarray(picture(64, 64)), image_format)
    return data[: len(data) * 3 // 4]


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"", "not_an_image", "found 0 bytes"),
        (b"<html>not a picture</html>", "not_an_image", "found a web page"),
        (b"what is this?", "not_an_image", "13 bytes that begin with b'what is '"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image_unsupported", "found HEIC"),
        (b"P6 1 1 255\n...", "image_unsupported", "found Netpbm"),
        (forged.png(30_000, 30_000), "image_too_large", "found Image size"),
        (forged.png(9_500, 9_500), "image_too_large", "found 9500 x 9500"),
        (forged.png(10, 10), "image_truncated", "expected a whole PNG"),
        *((_cut(f), "image_truncated", "cut short at") for f in formats.READ),
    ],
    ids=["empty", "html", "text", "heic", "netpbm", "bomb", "large", "short", *formats.READ],
)
def test_bad_bytes_are_an_image_error(data: bytes, reason: str, said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        decoded(data)
    assert caught.value.reason == reason


def test_more_bytes_than_are_read_are_refused_unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_BYTES", 100)
    with pytest.raises(ImageError, match=r"at most .* and 100 bytes, found") as caught:
        images.probe_size(picture_bytes(64, 64), name="in.png")
    assert caught.value.reason == "image_too_large"


def test_a_large_picture_is_an_error_and_no_warning_whatever_pillow_is_set_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="30000 x 30000"):
        images.probe_size(forged.png(30_000, 30_000), name="in.png")


def test_half_a_picture_is_refused_whatever_pillow_is_set_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match="cut short"):
        decoded(_cut("JPEG"))


def test_a_wrong_checksum_of_a_pngs_pixels_is_refused() -> None:
    data = bytearray(picture_bytes(64, 64))
    data[data.index(b"IDAT") + 40] ^= 1
    with pytest.raises(ImageError, match="wrong checksum of its IDAT chunk"):
        decoded(bytes(data))


def test_a_small_tiff_with_a_huge_tile_is_refused() -> None:
    """Its tile would be decoded whole for the few pixels of it that the picture has."""
    with pytest.raises(ImageError, match="tiles of 10000 x 10000") as caught:
        decoded(forged.tiled_tiff(16, 16, 10_000))
    assert caught.value.reason == "image_too_large"


def test_a_raws_preview_is_not_taken_for_the_picture() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[50706] = b"\x01\x04\0\0"
    tags.tagtype[50706] = 1
    with pytest.raises(ImageError, match="a camera's raw") as caught:
        decoded(encoded(Image.new("RGB", (16, 16)), "TIFF", tiffinfo=tags))
    assert caught.value.reason == "image_unsupported"


def test_numbers_that_are_none_are_refused() -> None:
    values = np.zeros((16, 16), dtype=np.float32)
    values[3, 3] = np.nan
    with pytest.raises(ImageError, match="found NaN or infinity"):
        decoded(encoded(Image.fromarray(values), "TIFF"))


@pytest.mark.parametrize("white", [1, 255])
def test_floats_that_overshoot_their_range_are_clipped_to_it(white: int) -> None:
    """As sharpening and resizing make them."""
    within = np.linspace(0, white, 64, dtype=np.float32)[None].repeat(64, axis=0)
    beyond = within.copy()
    beyond[0, :3] = [-0.2 * white, 1.0001 * white, 1.5 * white]
    made, plain = (decoded(encoded(Image.fromarray(each), "TIFF")) for each in (beyond, within))
    assert np.array_equal(made.pixels[:, 1:], plain.pixels[:, 1:])
    assert made.pixels[0, 0, :3].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("top", "white"), [(1, 1), (1.99, 1), (2, 255), (255, 255), (509, 255), (510, 65535)]
)
def test_the_range_of_floats_is_told_by_their_maximum(top: float, white: int) -> None:
    values = np.full((16, 16), 0.5 * white, dtype=np.float32).clip(0, top)
    values[0, 0] = top
    made = decoded(encoded(Image.fromarray(values), "TIFF"), size=16)
    assert made.pixels[0, 0, 0] == pytest.approx(min(1, top / white), abs=1 / 255)
    assert made.pixels[0, 8, 8] == pytest.approx(min(0.5, top / white), abs=1 / 255)


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0" + b"\xff" * 40, b"Exif\0\0nonsense"])
def test_a_picture_with_broken_exif_is_as_stored(exif: bytes) -> None:
    made = decoded(encoded(quadrants(), "JPEG", exif=exif, quality=100), size=60)
    assert made.pixels.shape == (3, 40, 60)
    assert made.pixels[:, 5, 5].tolist() == pytest.approx([1, 0, 0], abs=0.05)


def test_exif_that_cannot_be_read_at_all_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    data = encoded(quadrants(), exif=b"Exif\0\0nonsense")
    assert images.probe_size(data, name="in.png") == (40, 60)
    assert "in.png: taken as upright" in caplog.text


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_an_orientation_in_xmp_alone_is_applied(image_format: str) -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    options: dict[str, Any] = {"xmp": xmp}
    if image_format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp)
        options = {"pnginfo": info}
    elif image_format == "TIFF":
        options = {"tiffinfo": {700: xmp}}
    data = encoded(quadrants().transpose(Image.Transpose.ROTATE_90), image_format, **options)
    assert images.probe_size(data, name="in") == (40, 60)
    assert decoded(data, size=60).pixels[:, 5, 5].tolist() == pytest.approx([1, 0, 0], abs=0.05)


def test_exif_behind_the_pixels_of_a_png_leaves_size_and_picture_agreeing() -> None:
    """They are found without decoding, and so before it; either way is upright for some reader."""
    data = encoded(Image.fromarray(picture(40, 60)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    late = (
        data[:-12]
        + forged.png_chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
        + data[-12:]
    )
    size = images.probe_size(late, name="in.png")
    assert decoded(late, size=60).pixels.shape[1:] == size


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_grey_profile_is_applied_in_8_and_in_16_bits(mode: str) -> None:
    """A profile with a gamma of 1: half the light is 188 of 255 in sRGB."""
    grey = Image.fromarray(np.full((20, 20), 128 * 257, dtype=np.uint16))
    image = grey if mode == "I;16" else Image.new("L", (20, 20), 128)
    made = decoded(encoded(image, icc_profile=linear_grey_profile()))
    assert mean_colour(made) == pytest.approx([188] * 3, abs=1)


def linear_grey_profile() -> bytes:
    """One with a gamma of 1."""

    def tag(body: bytes) -> bytes:
        return body + bytes(-len(body) % 4)

    tags = {
        b"desc": tag(b"desc\0\0\0\0\0\0\0\x02L\0" + bytes(78)),
        b"cprt": tag(b"text\0\0\0\0free\0"),
        b"wtpt": b"XYZ \0\0\0\0\0\0\xf6\xd6\0\x01\0\0\0\0\xd3\x2d",
        b"kTRC": tag(b"curv\0\0\0\0\0\0\0\0"),
    }
    table, body, at = len(tags).to_bytes(4), b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + (at + len(body)).to_bytes(4) + len(value).to_bytes(4)
        body += value
    head = bytearray(128)
    head[0:4] = (at + len(body)).to_bytes(4)
    head[8:12], head[12:24] = b"\x02\x10\0\0", b"mntrGRAYXYZ "
    head[36:40], head[68:80] = b"acsp", b"\0\0\xf6\xd6\0\x01\0\0\0\0\xd3\x2d"
    return bytes(head) + table + body


def _row_png(depth: int, colour_type: int, row: bytes, *chunks: bytes) -> bytes:
    """A PNG of four pixels in a row."""
    return forged.png(4, 1, b"\0" + row, *chunks, depth=depth, colour_type=colour_type)


@pytest.mark.parametrize(
    ("depth", "colour_type", "row", "key"),
    [
        (1, 0, b"\x70", b"\0\0"),
        (2, 0, b"\x6c", b"\0\1"),
        (4, 0, b"\x5f\xff", b"\0\5"),
        (8, 0, b"\x05\xff\xff\xff", b"\0\5"),
        (16, 0, b"\x01\x05" + b"\x01\x06" * 3, b"\x01\x05"),
        (8, 2, b"\1\2\3" + b"\xff" * 9, b"\0\1\0\2\0\3"),
        (16, 2, b"\1\xff\2\xff\3\xff" + b"\xff" * 18, b"\1\xff\2\xff\3\xff"),
    ],
)
def test_the_transparent_colour_of_a_png_of_any_depth(
    depth: int, colour_type: int, row: bytes, key: bytes
) -> None:
    made = decoded(_row_png(depth, colour_type, row, forged.png_chunk(b"tRNS", key)), size=4)
    assert made.alpha is not None
    assert made.alpha.tolist() == [[0, 1, 1, 1]]


def test_grey_with_alpha_in_16_bits_keeps_its_grey_profile() -> None:
    profile = forged.png_chunk(b"iCCP", b"grey\0\0" + zlib.compress(linear_grey_profile()))
    made = decoded(_row_png(16, 4, b"\x80\x80\xff\xff" * 4, profile), size=4)
    assert mean_colour(made) == pytest.approx([188] * 3, abs=1)


@pytest.mark.parametrize(
    ("depth", "row", "key", "light"),
    [
        (1, b"\x70", b"\0\0", 255),
        (2, b"\x15", b"\0\0", 156),
        (8, b"\0\x80\x80\x80", b"\0\0", 188),
        (16, b"\0\0" + b"\x80\x80" * 3, b"\0\0", 188),
    ],
)
def test_grey_with_a_transparent_colour_keeps_its_grey_profile(
    depth: int, row: bytes, key: bytes, light: int, caplog: pytest.LogCaptureFixture
) -> None:
    profile = forged.png_chunk(b"iCCP", b"grey\0\0" + zlib.compress(linear_grey_profile()))
    made = decoded(_row_png(depth, 0, row, profile, forged.png_chunk(b"tRNS", key)), size=4)
    assert made.alpha is not None
    assert made.alpha.tolist() == [[0, 1, 1, 1]]
    assert made.pixels[:, 0, 2] * 255 == pytest.approx([light] * 3, abs=1)
    assert not caplog.records


def test_a_grey_profile_is_applied_wherever_all_pixels_are_grey(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A reader may give them in three channels."""
    profile = linear_grey_profile()
    three = Image.new("RGB", (20, 20), (128, 128, 128))
    avif = encoded(three, "AVIF", icc_profile=profile, subsampling="4:0:0", quality=100)
    for data in (encoded(three, icc_profile=profile), avif):
        assert mean_colour(decoded(data)) == pytest.approx([188] * 3, abs=1)
    bits = encoded(Image.new("1", (20, 20), 1), icc_profile=profile)
    assert mean_colour(decoded(bits)) == [255] * 3
    assert not caplog.records
    coloured = encoded(quadrants(), icc_profile=profile)
    assert decoded(coloured, size=60).pixels[:, 5, 5].tolist() == [1, 0, 0]
    assert "its colour profile cannot be used" in caplog.text


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_that_counts_from_white_to_black(bits: int) -> None:
    tags = {256: 16, 257: 16, 258: bits, 259: 1, 262: 0, 277: 1}
    assert mean_colour(decoded(forged.tiff(tags, bytes(16 * 16 * bits // 8)))) == [255] * 3


@pytest.mark.parametrize(
    ("two_pixels", "light"), [("ffffff", 255), ("800800", 128), ("000000", 0), ("fff000", 127.5)]
)
def test_a_tiff_of_12_bits(two_pixels: str, light: float) -> None:
    tags = {256: 16, 257: 16, 258: 12, 259: 1, 262: 1, 277: 1}
    made = decoded(forged.tiff(tags, bytes.fromhex(two_pixels) * 8 * 16), size=16)
    assert mean_colour(made) == pytest.approx([light] * 3, abs=1)


def test_ycck_as_adobe_writes_it() -> None:
    """Red, whose ink Adobe stores inverted, as cyan is, and that as luma and chroma."""
    y, cb, cr = 179, 171, 1
    # Pillow inverts once more what it writes.
    stored = Image.new("CMYK", (32, 32), (255 - y, 255 - cb, 255 - cr, 0))
    data = bytearray(encoded(stored, "JPEG", quality=100, subsampling=0))
    data[data.index(b"Adobe") + 11] = 2
    assert mean_colour(decoded(bytes(data))) == pytest.approx([255, 0, 0], abs=3)


@pytest.mark.parametrize("image_format", ["PNG", "AVIF"])
def test_colours_coded_without_a_profile_are_warned_of(
    image_format: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Rec. 2020 with PQ, as HDR pictures have it."""
    if image_format == "PNG":
        data = _row_png(8, 0, bytes(4), forged.png_chunk(b"cICP", bytes([9, 16, 0, 1])))
    else:
        data = encoded(Image.fromarray(picture(64, 64)), "AVIF")
        at = data.index(b"colrnclx") + 8
        data = data[:at] + b"\0\x09\0\x10" + data[at + 4 :]
    decoded(data)
    assert "in.png: taken as sRGB, its colours are coded as primaries 9" in caplog.text


def test_srgb_coded_without_a_profile_is_not_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    decoded(encoded(Image.fromarray(picture(64, 64)), "AVIF"))
    decoded(_row_png(8, 0, bytes(4), forged.png_chunk(b"cICP", bytes([1, 13, 0, 1]))))
    assert caplog.text == ""


def test_a_preview_of_a_half_transparent_picture_is_on_white_once() -> None:
    half = encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 128)))
    preview = images.decode_preview(half, long_edge_px=20, name="in.png")
    assert preview.alpha is None
    assert mean_colour(preview) == pytest.approx([255, 127, 127], abs=1)


def test_a_preview_is_no_larger_than_asked_and_than_its_input() -> None:
    for edge, expected in ((50, (25, 50)), (500, (100, 200))):
        made = images.decode_preview(picture_bytes(100, 200), long_edge_px=edge, name="in.png")
        assert made.pixels.shape[1:] == expected


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def half_clear(height: int, width: int) -> Picture:
    """A red picture whose left half is transparent."""
    pixels = np.zeros((3, height, width), dtype=np.float32)
    pixels[0] = 1
    alpha = np.ones((height, width), dtype=np.float32)
    alpha[:, : width // 2] = 0
    return Picture(pixels, alpha)


def test_thumbnails_are_small_and_never_larger_than_the_picture() -> None:
    made = images.thumbnails(decoded(picture_bytes(300, 400), size=400), "png", [256, 512])
    assert [opened(data).format for data in made.files.values()] == ["WEBP", "WEBP"]
    sizes = {edge: opened(data).size for edge, data in made.files.items()}
    assert sizes == {256: (256, 192), 512: (400, 300)}


def test_a_thumbnail_looks_like_its_picture() -> None:
    original = decoded(picture_bytes(300, 400), size=400)
    data = images.thumbnails(original, "png", [128]).files[128]
    expected = images.resized(original, 96, 128).pixels
    assert np.abs(decoded(data, size=128).pixels - expected).mean() < 0.02


def test_thumbnails_keep_the_alpha_where_the_format_has_it() -> None:
    """Smaller, what is transparent does not bleed into what is not."""
    picture = half_clear(64, 64)
    image = opened(images.thumbnails(picture, "png", [32]).files[32])
    assert image.mode == "RGBA"
    assert [image.getpixel((x, 10))[3] for x in (3, 28)] == [0, 255]  # type: ignore[index]
    flat = opened(images.thumbnails(picture, "jpeg", [32]).files[32])
    assert flat.mode == "RGB"
    assert min(flat.getpixel((3, 10))) > 240  # type: ignore[arg-type]


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_the_colour_of_a_picture_is_its_mean_on_white(image_format: ImageFormat) -> None:
    halves = np.zeros((3, 20, 20), dtype=np.float32)
    halves[2, :10] = 1
    assert images.thumbnails(Picture(halves, None), image_format, []).color == "#000080"
    assert images.thumbnails(half_clear(20, 20), image_format, []).color == "#ff8080"


@pytest.mark.parametrize("with_alpha", [False, True])
def test_thumbnails_of_a_file_are_those_of_the_picture_that_it_was_made_of(
    with_alpha: bool,
) -> None:
    alpha = np.linspace(0, 1, 100 * 80, dtype=np.float32).reshape(100, 80) if with_alpha else None
    original = Picture(decoded(picture_bytes(100, 80), size=100).pixels, alpha)
    data = images.encode(original, "png", {"steps": 3})
    expected = images.thumbnails(original, "png", [50, 512])
    assert images.thumbnails_of_file(data, [50, 512], name="one.png") == expected


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_nothing_that_a_file_tells_is_in_its_thumbnails(image_format: ImageFormat) -> None:
    data = images.encode(half_clear(40, 40), image_format, {"content": "SECRET"})
    assert b"SECRET" in data
    made = images.thumbnails_of_file(data, [20, 512], name="one")
    for thumbnail in made.files.values():
        assert not {b"SECRET", b"EXIF", b"XMP ", b"ICCP"} & {
            thumbnail[i : i + n] for n in (4, 6) for i in range(len(thumbnail))
        }


def test_a_damaged_file_has_no_thumbnails() -> None:
    data = images.encode(half_clear(40, 40), "png", {})
    with pytest.raises(ImageError, match=r"one\.png: expected a whole PNG"):
        images.thumbnails_of_file(data[:-20], [20], name="one.png")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("name", formats.READ)
def test_a_size_by_the_first_bytes_is_that_of_all_of_them_or_none(
    name: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    data = encoded(
        Image.fromarray(noise), name, **({} if name in ("BMP", "GIF") else {"exif": exif})
    )
    whole = images.probe_size(data, name="in")
    by_length = {
        length: images.size_by_start(data[:length], name="in") for length in range(0, 3000, 7)
    }
    assert set(by_length.values()) <= {None, whole}
    # A WebP and an AVIF may tell behind their pixels how they lie, and Pillow puts a TIFF's tags first.
    assert (by_length[2996] is None) == (name in ("WEBP", "AVIF"))


def test_first_bytes_of_no_sound_picture_tell_nothing() -> None:
    data = picture_bytes(40, 60)
    for bad in (b"", b"GIF", b"\x89PNG\r\n\x1a\n", data[:20] + b"x" + data[21:], b"<html>" * 99):
        assert images.size_by_start(bad, name="in") is None
    assert images.size_by_start(forged.png(30_000, 30_000), name="in") is None


@pytest.mark.parametrize(
    ("alphas", "expected"), [((0, 0), None), ((0, 255), [0, 1]), ((255, 255), None)]
)
def test_a_bitmap_whose_alpha_is_0_everywhere_is_opaque(
    alphas: tuple[int, int], expected: list[int] | None
) -> None:
    data = forged.bitmap(b"".join(bytes([30, 20, 10, alpha]) for alpha in alphas) * 8, 2)
    made = images.decode(data, long_edge_px=8, name="in.bmp")
    assert images.read_header(data, name="in.bmp").transparency == "bitmap"
    if expected is None:
        assert made.alpha is None
        assert mean_colour(made) == [10, 20, 30]
    else:
        assert made.alpha is not None
        assert made.alpha[0].tolist() == expected


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_other_pictures_whose_alpha_is_0_everywhere_are_transparent(image_format: str) -> None:
    data = encoded(Image.new("RGBA", (32, 32), (10, 20, 30, 0)), image_format)
    made = decoded(data)
    assert images.read_header(data, name="in").transparency == "some"
    assert made.alpha is not None
    assert not made.alpha.any()
    assert mean_colour(made) == [255, 255, 255]


def test_a_header_that_cannot_be_read_says_nothing_of_transparency() -> None:
    assert images.transparency_of(b"no picture", name="in") == "none"
    assert images.transparency_of(picture_bytes(8, 8), name="in") == "none"


def told_in_png(*chunks: tuple[bytes, bytes]) -> bytes:
    rows = (b"\0" + bytes([100, 50, 25]) * 8) * 8
    return forged.png(8, 8, rows, *(forged.png_chunk(kind, body) for kind, body in chunks))


def chromaticities(*values: float) -> bytes:
    return b"".join(round(100_000 * value).to_bytes(4) for value in values)


def told_in_exif(
    image_format: str, *, color_space: int | None = None, index: str | None = None
) -> bytes:
    exif = Image.Exif()
    if color_space is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[0xA001] = color_space
    if index is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.IFD.Interop] = {1: index}
    return encoded(quadrants(), image_format, exif=exif.tobytes())


def told_in_tiff(values: Mapping[int, Any]) -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags.tagtype[319] = 5
    for tag, value in values.items():
        tags[tag] = value
    return encoded(quadrants(), "TIFF", tiffinfo=tags)


def told_in_bitmap(space: bytes) -> bytes:
    return forged.bitmap(bytes([30, 20, 10, 255]) * 64, 8).replace(b"BGRs", space)


SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
GAMMA_22, GAMMA_18 = (45455).to_bytes(4), (55556).to_bytes(4)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (told_in_png((b"gAMA", (100_000).to_bytes(4))), "those of gAMA 1, where sRGB has 0.45455"),
        (told_in_png((b"gAMA", GAMMA_18)), "those of gAMA 0.55556"),
        (told_in_png((b"gAMA", GAMMA_22), (b"cHRM", chromaticities(*P3))), "those of cHRM 0.3127"),
        (told_in_png((b"cICP", bytes([9, 16, 0, 1]))), "coded as primaries 9 and transfer 16"),
        (told_in_exif("JPEG", color_space=2), "Adobe RGB by its Exif"),
        (told_in_exif("JPEG", color_space=0xFFFF, index="R03"), "Adobe RGB by its Exif"),
        (told_in_exif("WEBP", color_space=2), "Adobe RGB by its Exif"),
        (told_in_tiff({34665: {0xA001: 2}}), "Adobe RGB by its Exif"),
        (told_in_exif("PNG", color_space=2), "Adobe RGB by its Exif"),
        (told_in_tiff({319: P3[2:]}), "those of PrimaryChromaticities 0.68 0.32"),
        (told_in_bitmap(b"DEBM"), "those of a profile in a bitmap, which is not read"),
    ],
    ids=[
        "gamma",
        "gamma 1.8",
        "P3",
        "cICP",
        "Exif",
        "R03",
        "WebP",
        "TIFF",
        "PNG",
        "primaries",
        "BMP",
    ],
)
def test_colours_that_are_told_beside_a_profile_are_warned_of(
    data: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    decoded(data)
    (record,) = caplog.records
    assert f"in.png: taken as sRGB, its colours are {said}" in record.getMessage()
    caplog.clear()
    images.decode_preview(data, long_edge_px=8, name="preview")
    assert not caplog.records


@pytest.mark.parametrize(
    "data",
    [
        told_in_png((b"gAMA", GAMMA_22)),
        told_in_png((b"gAMA", GAMMA_22), (b"cHRM", chromaticities(*SRGB))),
        told_in_png((b"sRGB", b"\0"), (b"gAMA", GAMMA_18)),
        told_in_png((b"cICP", bytes([1, 13, 0, 1])), (b"gAMA", GAMMA_18)),
        told_in_exif("JPEG", color_space=1, index="R98"),
        told_in_exif("JPEG", color_space=0xFFFF),
        told_in_tiff({318: 7}),
        told_in_tiff({319: SRGB[2:], 34665: {0xA001: 1}}),
        encoded(quadrants(), "BMP"),
        told_in_bitmap(b"BGRs"),
    ],
    ids=[
        "gamma",
        "primaries",
        "sRGB",
        "cICP",
        "Exif",
        "uncalibrated",
        "a tag of a wrong type",
        "TIFF",
        "BMP",
        "BMP sRGB",
    ],
)
def test_colours_that_are_told_as_srgb_are_not_warned_of(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    decoded(data)
    assert not caplog.records


@pytest.mark.parametrize("tags", [{254: 1}, {255: 2}])
def test_a_first_page_that_is_a_smaller_copy_is_warned_of(
    tags: dict[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    values = {256: 2, 257: 2, 258: 8, 259: 1, 262: 1, 277: 1, 278: 2}
    decoded(forged.tiff({**values, **tags}, bytes(4)))
    assert "in.png: its first page, which is used, says that it is a smaller copy" in caplog.text
    caplog.clear()
    decoded(forged.tiff({**values, 254: 2}, bytes(4)))
    assert not caplog.records
