"""Encoded pictures <-> float arrays; the only PIL beside exchange.py.

Arrays are float32 sRGB in [0, 1], [3,H,W]; PIL's (width, height) is turned round in here.
It reads the first picture of a PNG, JPEG, WebP, TIFF, BMP, GIF or AVIF file. A damaged or incomplete
file is refused.
"""

import io
import json
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import (
    ExifTags,
    Image,
    ImageCms,
    ImageFile,
    ImageStat,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    features,
)

from nst.errors import ImageError
from nst.pictures import color_spaces, formats, holes, parts
from nst.settings import ImageFormat

SUFFIXES: Mapping[ImageFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
# Above it Pillow itself warns of a file that is small and a picture that is not.
MAX_PIXELS = 89_478_485
# The bytes that the most pixels take at 8 bits and without compression.
MAX_BYTES = 4 * MAX_PIXELS
# Stores answer many requests at once; this many decoded pictures are held, of any size.
MAX_DECODED = 4

_log = logging.getLogger(__name__)
_WHITE = 1.0
# 16 and 32 bit integers and floats, one channel each.
HIGH_RANGE_MODES = ("I", "F")
_TURNS: Mapping[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: `pixels` float32 [3,H,W] in [0, 1] and, where it has one, `alpha` [H,W].

    If it is transparent, `pixels` shows it on white.
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[np.float32] | None


# What a header says of transparent pixels: that there are none, that there may be some, or that the
# alpha of a bitmap says so, which counts only if it is not 0 everywhere.
Transparency = Literal["none", "some", "bitmap"]


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a picture without its pixels: its size in pixels, after turning it upright."""

    height: int
    width: int
    transparency: Transparency


def read_header(data: bytes, *, name: str) -> Header:
    """The header of a picture, whose name in errors is `name`; raises ImageError."""
    with _opened(data, name) as image:
        height, width = _size(image, name)
        return Header(height, width, _transparency(image))


def probe_size(data: bytes, *, name: str) -> tuple[int, int]:
    """(height, width) of `read_header`."""
    header = read_header(data, name=name)
    return header.height, header.width


def transparency_of(data: bytes, *, name: str) -> Transparency:
    """That of the header, or "none" if it cannot be read."""
    try:
        with _opened(data, name) as image:
            return _transparency(image)
    except ImageError:
        return "none"


def _transparency(image: Image.Image) -> Transparency:
    # Not `has_transparency_data`, which takes a palette to be there before the pixels are.
    has_clear_colours = image.palette is not None and image.palette.mode.endswith("A")
    has_alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    if not (has_alpha or "transparency" in image.info or has_clear_colours):
        return "none"
    return "bitmap" if image.format == "BMP" else "some"


def _size(image: Image.Image, name: str) -> tuple[int, int]:
    width, height = image.size
    is_turned = _orientation(image, name) in (5, 6, 7, 8) and not _has_turned_size(image)
    return (width, height) if is_turned else (height, width)


# A TIFF may have its tags at its end; those that tell its size and how it lies are never elsewhere.
_SIZE_AT_START = ("PNG", "JPEG", "TIFF", "BMP", "GIF")


def size_by_start(data: bytes, *, name: str) -> tuple[int, int] | None:
    """As `probe_size`, from the first bytes of a longer file; None if they do not contain the size.

    That is so if anything is wrong with them, which the whole file shows better, and in formats that
    may store the orientation behind the pixels, or need the whole file to find it.
    """
    try:
        return _size_by_start(data, name)
    except Exception:
        # Whatever bytes that end too soon lead a reader to.
        return None


def _size_by_start(data: bytes, name: str) -> tuple[int, int] | None:
    found = formats.format_of(data)
    if found is None or found.reason is not None:
        return None
    if found.name == "WEBP":
        return formats.webp_size(data)
    if found.name not in _SIZE_AT_START:
        return None
    with _opened_as(found.name, data, name) as image:
        return _size(image, name)


def fitted_size(height: int, width: int, long_edge_px: int) -> tuple[int, int]:
    """(height, width) with the given long edge and the same aspect ratio, at least one pixel each."""
    scale = long_edge_px / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def decode(
    data: bytes, *, long_edge_px: int, name: str, upscale: bool = True, warns: bool = True
) -> Picture:
    """The first frame, upright, in sRGB, resized to `long_edge_px`; raises ImageError.

    Without `upscale` a smaller picture keeps its size. `name` is its name in errors and warnings;
    without `warns` there are no warnings of its colours.
    """
    with _opened(data, name) as image:
        # Before the pixels: what Pillow reads behind them, the header's size knows nothing of.
        turn = None if image.format == "TIFF" else _TURNS.get(_orientation(image, name))
        # A TIFF has no file any more behind its pixels.
        told = _told_by(image) if warns else None
        image.load()
        _check_holes(image, data, name)
        colour, alpha = _split_alpha(image, data, name)
        colour = _to_srgb(colour, name if warns else None)
        if told is not None:
            _warn_of_what_is_not_read(image, data, told, name)
        if turn is not None:
            colour = colour.transpose(turn)
            alpha = alpha.transpose(turn) if alpha else None
    if alpha is not None:
        colour = Image.composite(colour, Image.new("RGB", colour.size, "white"), alpha)
    if upscale or max(colour.size) > long_edge_px:
        height, width = fitted_size(colour.height, colour.width, long_edge_px)
        colour = colour.resize((width, height), Image.Resampling.LANCZOS)
        alpha = alpha.resize((width, height), Image.Resampling.LANCZOS) if alpha else None
    return Picture(
        np.ascontiguousarray(_to_float(colour).transpose(2, 0, 1)),
        _to_float(alpha) if alpha is not None else None,
    )


def resized(picture: Picture, height: int, width: int) -> Picture:
    """The picture at another size and aspect ratio."""
    if picture.pixels.shape[1:] == (height, width):
        return picture
    planes = [*picture.pixels] if picture.alpha is None else [*picture.pixels, picture.alpha]
    scaled = np.stack(
        [
            np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.LANCZOS))
            for plane in planes
        ]
    ).clip(0, 1)
    return Picture(np.ascontiguousarray(scaled[:3]), None if picture.alpha is None else scaled[3])


def encode(picture: Picture, image_format: ImageFormat, parameters: Mapping[str, Any]) -> bytes:
    """The picture as a file that contains `parameters` as JSON; the same input gives the same bytes.

    PNG and WebP keep the alpha; JPEG has none and shows the picture on white.
    """
    image = _as_written(picture, image_format)
    text = json.dumps(parameters, sort_keys=True)
    sink = io.BytesIO()
    match image_format:
        case "png":
            info = PngImagePlugin.PngInfo()
            info.add_itxt("parameters", text)
            image.save(sink, "PNG", pnginfo=info)
        case "jpeg":
            # Chroma at half resolution would blur the very brush strokes that were asked for.
            image.save(sink, "JPEG", quality=95, subsampling=0, exif=_exif(text))
        case "webp":
            image.save(sink, "WEBP", quality=92, method=4, exif=_exif(text))
    return sink.getvalue()


def is_lossless(path: str) -> bool:
    """Whether a picture that `encode` wrote under this name has every bit of what was painted."""
    return path.endswith(SUFFIXES["png"])


def reencoded(data: bytes, image_format: ImageFormat, *, name: str) -> tuple[Picture, bytes]:
    """A PNG that `encode` wrote as a file of another format, with the same parameters and pixels.

    Returns its pixels too. Raises ImageError for bytes that are no whole PNG.
    """
    with _opened(data, name) as image:
        image.load()
        parameters = json.loads(image.info.get("parameters", "{}"))
        pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    planes = pixels.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
    picture = Picture(np.ascontiguousarray(planes[:3]), planes[3] if len(planes) == 4 else None)
    return picture, encode(picture, image_format, parameters)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnails:
    """Small copies of a picture: WebP files, by their maximal long edge in px.

    `color` is the picture's mean colour as `#rrggbb`, on white if it is transparent.
    """

    files: Mapping[int, bytes]
    color: str


def thumbnails(
    picture: Picture, image_format: ImageFormat, long_edges_px: Collection[int]
) -> Thumbnails:
    """The thumbnails of a picture, made from the pixels that `encode` writes in that format."""
    return _thumbnails(_as_written(picture, image_format), long_edges_px)


def thumbnails_of_file(data: bytes, long_edges_px: Collection[int], *, name: str) -> Thumbnails:
    """As `thumbnails`, from a file that `encode` made; raises ImageError if it is damaged.

    They show the losses of a lossy format too.
    """
    with _opened(data, name) as image:
        image.load()
        plain = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return _thumbnails(plain, long_edges_px)


def decode_preview(data: bytes, *, long_edge_px: int, name: str) -> Picture:
    """The preview of an input: at most `long_edge_px`, on white; without warnings."""
    decoded = decode(data, long_edge_px=long_edge_px, name=name, upscale=False, warns=False)
    return Picture(decoded.pixels, None)


def pixels_8_bit(picture: Picture) -> NDArray[np.uint8]:
    """The pixels of a picture as 8 bits, [H,W,3]."""
    return _to_8_bit(picture.pixels.transpose(1, 2, 0))


def _as_written(picture: Picture, image_format: ImageFormat) -> Image.Image:
    """The pixels that a file of that format shows: RGBA if picture and format have alpha, else RGB."""
    colour = picture.pixels.transpose(1, 2, 0)
    if picture.alpha is None:
        return Image.fromarray(_to_8_bit(colour))
    if image_format == "jpeg":
        alpha = picture.alpha[..., None]
        return Image.fromarray(_to_8_bit(colour * alpha + _WHITE * (1 - alpha)))
    return Image.fromarray(np.dstack([_to_8_bit(colour), _to_8_bit(picture.alpha)]))


def _thumbnails(image: Image.Image, long_edges_px: Collection[int]) -> Thumbnails:
    """Of an RGB or RGBA image."""
    files = {edge: _thumbnail(image, edge) for edge in long_edges_px}
    return Thumbnails(files=files, color=_mean_color(image))


def _thumbnail(image: Image.Image, long_edge_px: int) -> bytes:
    if max(image.size) > long_edge_px:
        height, width = fitted_size(image.height, image.width, long_edge_px)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    # The empty ones keep out what the image may have brought along from a file of its own.
    image.save(sink, "WEBP", quality=70, method=4, exif=b"", icc_profile=b"", xmp=b"")
    return sink.getvalue()


def _mean_color(image: Image.Image) -> str:
    if image.mode == "RGBA":
        flat = Image.new("RGB", image.size, "white")
        flat.paste(image, mask=image.getchannel("A"))
        image = flat
    return "#" + "".join(f"{round(mean):02x}" for mean in ImageStat.Stat(image).mean)


def _exif(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = text
    return exif


def _to_float(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _to_8_bit(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return rounded


def _orientation(image: Image.Image, name: str) -> int:
    """The Exif orientation of a picture; 1 is upright, also if the Exif cannot be read."""
    try:
        # Not the PNG reader's own, which would decode the pixels to look for Exif behind them.
        found = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception as exc:
        # Whatever the bytes lead it to; good pixels need no good Exif.
        _log.warning("%s: taken as upright, its Exif cannot be read: %s", name, exc)
        return 1
    return found if found in _TURNS else 1


def _has_turned_size(image: Image.Image) -> bool:
    """Pillow turns a TIFF upright by itself, and by its own tag its size before its pixels."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return image.tag_v2.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)


def _split_alpha(
    image: Image.Image, data: bytes, name: str
) -> tuple[Image.Image, Image.Image | None]:
    """The colours in a mode without alpha, and the alpha channel if any pixel is transparent."""
    if image.mode.startswith(HIGH_RANGE_MODES):
        return split_high_range(image, name)
    if not image.has_transparency_data:
        return image, None
    is_grey = image.mode in ("LA", "La")
    if image.format == "PNG":
        depth, colour_type = data[24], data[25]
        # Pillow gives grey with alpha in 16 bits as RGBA.
        is_grey = is_grey or colour_type == _PNG_GREY_ALPHA
        if image.mode in ("L", "RGB"):
            image.info["transparency"] = _in_8_bits(image.info["transparency"], depth)
    rgba = image.convert("RGBA")
    # A grey picture stays one, since its colour profile would not fit three channels.
    colour = rgba.convert("L" if is_grey else "RGB")
    alpha = rgba.getchannel("A")
    is_opaque = alpha.getextrema() == (255, 255) or has_empty_alpha(image)
    return colour, None if is_opaque else alpha


def has_empty_alpha(image: Image.Image) -> bool:
    """Whether it is a bitmap of a program that knows nothing of an alpha, whose bytes are then zero."""
    is_bitmap = image.format == "BMP" and image.mode == "RGBA"
    return is_bitmap and image.getchannel("A").getextrema() == (0, 0)


_PNG_GREY_ALPHA = 4


def _in_8_bits(key: Any, depth: int) -> Any:
    """The transparent colour of a PNG as its pixels are after decoding; Pillow leaves it as stored.

    In 16 bits what differs from it in the low bytes alone becomes transparent with it, since the
    pixels have lost them.
    """
    if isinstance(key, tuple):
        return tuple(_in_8_bits(value, depth) for value in key)
    return key >> 8 if depth == 16 else (key & (1 << depth) - 1) * 255 // ((1 << depth) - 1)


def split_high_range(image: Image.Image, name: str) -> tuple[Image.Image, Image.Image | None]:
    """16 and 32 bit integers and floats -> L by their range, which `convert` would clip to white."""
    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ImageError(f"{name}: expected finite numbers for pixels, found NaN or infinity")
    key = image.info.get("transparency")
    alpha = None
    if isinstance(key, int) and (values == key).any():
        alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))
    white = _white(image, float(values.max(initial=0)))
    if _is_white_zero(image):
        values = white - values
    grey = Image.fromarray(_to_8_bit(values / white))
    grey.info["icc_profile"] = image.info.get("icc_profile")
    return grey, alpha


# Filters that sharpen or resize overshoot a white edge by less than as much again; and of a larger range,
# so low a maximum would leave a picture black.
_OVERSHOOT = 2


def is_as_in_png(image: Image.Image) -> bool:
    """Whether a picture of 16 bits counts from black to white, and up to all of them."""
    return _white_of_16_bits(image) == 65535 and not _is_white_zero(image)


def _white(image: Image.Image, top: float) -> float:
    """The number that is white in a picture of one channel whose largest is `top`; what is above is too."""
    if image.mode.startswith("I;16"):
        return _white_of_16_bits(image)
    if image.mode == "F":
        for white in (1.0, 255.0):
            if top < _OVERSHOOT * white:
                return white
    return 255.0 if top <= 255 else max(65535.0, top)


def _white_of_16_bits(image: Image.Image) -> float:
    """A TIFF may have 12 bits, of cameras and scanners; Pillow gives those 16 and leaves the numbers."""
    bits = 16
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (bits,))[0]
    return float(2**bits - 1)


def _is_white_zero(image: Image.Image) -> bool:
    """A TIFF may count from white to black; Pillow turns that round in 8 bits and fewer only."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


def _to_srgb(image: Image.Image, name: str | None) -> Image.Image:
    """Any mode of 8 bits -> RGB in sRGB, by the embedded profile if it is usable.

    If not, there is a warning with the `name`, unless it is None.
    """
    profile = image.info.get("icc_profile")
    if image.mode == "LAB":
        return _converted(image, ImageCms.createProfile("LAB"))
    if image.mode in ("1", "P", "PA"):
        image = image.convert("RGB")
    if profile is not None:
        image = _as_profiled(image, profile)
        try:
            return _converted(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError) as exc:
            if name is not None:
                _log.warning("%s: taken as sRGB, its colour profile cannot be used: %s", name, exc)
    return image.convert("RGB")


def _as_profiled(image: Image.Image, profile: bytes) -> Image.Image:
    """The picture in one channel if its profile is one of grey, and so are its pixels."""
    # A grey PNG with a transparent colour, one of 1 bit and a grey AVIF have three by now.
    if profile[16:20] == b"GRAY" and image.mode == "RGB":
        red, green, blue = (channel.tobytes() for channel in image.split())
        if red == green == blue:
            return image.getchannel(0)
    return image


def _converted(image: Image.Image, profile: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # None only comes of inPlace
    return converted


def _warn_of_what_is_not_read(
    image: Image.Image, data: bytes, told: color_spaces.Told, name: str
) -> None:
    """Warn of colours that are told otherwise than by a profile, and of a page that is a small copy."""
    if image.format == "PNG":
        for left_out in parts.without_excess(data).left_out:
            _log.warning("%s: %s", name, _without(left_out))
    found = None
    if not image.info.get("icc_profile"):
        found = _other_colours(image, data, told)
    if found is not None:
        _log.warning(
            "%s: taken as sRGB, its colours are %s; convert it to sRGB, or embed a profile",
            name,
            found,
        )
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _is_small_copy(image):
        _log.warning(
            "%s: its first page, which is used, says that it is a smaller copy of another page; if "
            "that is the picture, save it alone",
            name,
        )


def _other_colours(image: Image.Image, data: bytes, told: color_spaces.Told) -> str | None:
    try:
        return color_spaces.other_colours(data, image.format or "", told)
    except Exception:
        # Tags of other types than they should have.
        return None


def _without(left_out: str) -> str:
    return f"read without {left_out}, which unpacks to more than {parts.MAX_UNPACKED} bytes"


def _told_by(image: Image.Image) -> color_spaces.Told:
    try:
        exif = Image.Image.getexif(image)
        camera, other = (exif.get_ifd(tag) for tag in (ExifTags.IFD.Exif, ExifTags.IFD.Interop))
        return color_spaces.Told(image.info, dict(exif), dict(camera), dict(other))
    except Exception:
        # As for how it lies: good pixels need no good Exif.
        return color_spaces.Told(image.info, {}, {}, {})


def _is_small_copy(image: TiffImagePlugin.TiffImageFile) -> bool:
    tags = image.tag_v2
    return bool(tags.get(_SUBFILE_TYPE, 0) & 1) or tags.get(_OLD_SUBFILE_TYPE) == 2


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """The picture with only its header read. Any exception within becomes an ImageError."""
    with _guarded(data, name), _opened_as(_checked_format(data, name), data, name) as image:
        yield image


@contextmanager
def _opened_as(found: str, data: bytes, name: str) -> Iterator[Image.Image]:
    """A picture in the format `found`; of a PNG without what would be unpacked beside its pixels."""
    _set_pillow_up()
    if found == "PNG":
        data = parts.without_excess(data).data
    # Only the one reader that it is for, so that no other can be led to it.
    with Image.open(io.BytesIO(data), formats=[found]) as image:
        _check_pixels(image, name)
        yield image


@contextmanager
def _guarded(data: bytes, name: str) -> Iterator[None]:
    """Any exception within, where foreign bytes are looked at, becomes an ImageError.

    Pillow's readers raise nearly anything on bad bytes: SyntaxError for a PNG, RuntimeError for an
    AVIF, OverflowError for an offset.
    """
    try:
        yield
    except ImageError:
        raise
    except Exception as exc:
        raise _error_of(exc, data, name) from exc


def _error_of(exc: Exception, data: bytes, name: str) -> ImageError:
    found = formats.format_of(data)
    kind = found.name if found else "readable"
    if isinstance(exc, Image.DecompressionBombError):
        return _too_large(name, str(exc))
    if kind == "AVIF" and formats.avif_pixels(data) > MAX_PIXELS:
        return _too_large(name, f"{formats.avif_pixels(data)} pixels")
    said = str(exc) or type(exc).__name__
    if isinstance(exc, UnidentifiedImageError):
        said = "its header cannot be read"
    if "truncated" in said.lower() or formats.is_cut_short(data, kind):
        return ImageError(
            f"{name}: expected a whole {kind} picture, found one cut short at {len(data)} bytes "
            f"({said}); copy it again",
            reason="image_truncated",
        )
    return ImageError(
        f"{name}: expected a sound {kind} picture, found one that cannot be decoded: {said}"
    )


def _checked_format(data: bytes, name: str) -> str:
    """The format of readable bytes. Raises ImageError for others, and for a damaged PNG."""
    if len(data) > MAX_BYTES:
        raise _too_large(name, f"{len(data)} bytes")
    found = formats.format_of(data)
    if found is None or found.reason is not None:
        what = f"{len(data)} bytes that begin with {data[:8]!r}" if found is None else found.name
        raise ImageError(
            f"{name}: expected a picture in one of {', '.join(formats.READ)}, found {what}",
            reason="not_an_image" if found is None else found.reason or "not_an_image",
        )
    if found.name in ("AVIF", "WEBP") and not features.check(found.name.lower()):
        raise ImageError(
            f"{name}: expected a picture that this machine's Pillow can read, found "
            f"{found.name}; install a Pillow that is built with it",
            reason="image_unsupported",
        )
    excess = parts.excess(data, found.name)
    if excess is not None:
        raise ImageError(
            f"{name}: expected a {found.name} picture of fewer parts, found {excess}; open it and "
            "save it again",
            reason="image_too_large",
        )
    if found.name == "PNG":
        _check_png(data, name)
    return found.name


def _check_png(data: bytes, name: str) -> None:
    """Raises ImageError for an incomplete or damaged PNG, of which Pillow checks only the header."""
    kind = b""
    for chunk in formats.png_chunks(data):
        kind = chunk.kind
        # A capital letter marks what the pixels need.
        if kind[:1].isupper() and not chunk.is_sound:
            raise ImageError(
                f"{name}: expected a sound PNG picture, found a wrong checksum of its "
                f"{kind.decode('latin-1')} chunk; copy it again"
            )
    if kind != b"IEND":
        raise ImageError(
            f"{name}: expected a whole PNG picture, found one cut short at {len(data)} bytes; "
            "copy it again",
            reason="image_truncated",
        )


def _check_holes(image: Image.Image, data: bytes, name: str) -> None:
    """Raises ImageError if zeros are where a picture's data should be, of which Pillow says nothing."""
    kind = formats.format_of(data)
    hole = holes.hole_in(data, kind.name if kind else "", is_readable=_is_readable)
    if hole is not None:
        raise ImageError(
            f"{name}: expected a whole {image.format} picture, found {hole.length} zeros "
            f"{'at the end' if hole.is_at_end else 'in the middle'} of its data, from byte {hole.at} "
            "on, as an interrupted download leaves them; copy it again",
            reason="image_truncated" if hole.is_at_end else "image_unreadable",
        )


def _is_readable(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP", "JPEG"]) as image:
            image.load()
    except Exception:
        return False
    return True


def _set_pillow_up() -> None:
    """Set Pillow's global switches, which any other package in the process may have changed."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    # What it warns of is an ImageError here or does no harm.
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _check_pixels(image: Image.Image, name: str) -> None:
    """Raises ImageError if the header announces too many pixels, or only the preview of a raw."""
    width, height = image.size
    if not (width and height):
        raise ImageError(
            f"{name}: expected a picture of at least one pixel, found {height} x {width} (height x "
            "width); copy it again"
        )
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{height} x {width} (height x width)")
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    tags = image.tag_v2
    # Decoded whole, even if the picture needs little of it.
    tile = (tags.get(TiffImagePlugin.TILEWIDTH, 1), tags.get(TiffImagePlugin.TILELENGTH, 1))
    if tile[0] * tile[1] > MAX_PIXELS:
        raise _too_large(name, f"tiles of {tile[1]} x {tile[0]} (height x width)")
    is_preview = tags.get(_SUBFILE_TYPE, 0) & 1 and ExifTags.Base.SubIFDs in tags
    if _DNG_VERSION in tags or is_preview:
        raise ImageError(
            f"{name}: expected a picture in one of {', '.join(formats.READ)}, found a camera's raw "
            "(DNG, NEF or ARW); convert it to one of these first",
            reason="image_unsupported",
        )


# The old one counts: 1 is a picture, 2 a smaller copy, 3 a page.
_SUBFILE_TYPE, _OLD_SUBFILE_TYPE = 254, 255
_DNG_VERSION = 50706


def _too_large(name: str, found: str) -> ImageError:
    return ImageError(
        f"{name}: expected a picture of at most {MAX_PIXELS} pixels and {MAX_BYTES} bytes, found "
        f"{found}; make it smaller first",
        reason="image_too_large",
    )
