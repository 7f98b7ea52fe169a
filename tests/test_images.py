import io
import json
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from nst import images
from nst.errors import ImageError
from nst.images import Picture
from nst.settings import ImageFormat
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


def _png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))


AVIF = encoded(Image.fromarray(picture(64, 64)), "AVIF")
JPEG = encoded(Image.fromarray(picture(64, 64)), "JPEG")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "0 bytes"),
        (b"<html>not a picture</html>", "expected a picture"),
        (picture_bytes(64, 64)[:400], "cannot be decoded"),
        (JPEG[: len(JPEG) // 2], "cannot be decoded"),
        (_png_of_size(30_000, 30_000), "too many pixels"),
        (AVIF[:-100], "cannot be decoded"),
    ],
    ids=["empty", "html", "cut png", "cut jpeg", "bomb", "cut avif"],
)
def test_bad_bytes_are_an_image_error(data: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said) as caught:
        decoded(data)
    assert caught.value.reason == "image_unreadable"


def test_a_preview_of_a_half_transparent_picture_is_on_white_once() -> None:
    half = encoded(Image.new("RGBA", (20, 20), (255, 0, 0, 128)))
    preview = images.encode_preview(half, long_edge_px=20, name="in.png")
    assert mean_colour(decoded(preview)) == pytest.approx([255, 127, 127], abs=3)


def test_a_preview_is_a_small_jpeg() -> None:
    data = images.encode_preview(picture_bytes(100, 200), long_edge_px=50, name="in.png")
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (50, 25))
