"""Encoded pictures <-> float arrays; the only PIL.

Arrays are float32 sRGB in [0, 1], [3,H,W]; PIL's (width, height) is turned round in here.
"""

import io
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from nst.errors import ImageError
from nst.settings import ImageFormat

SUFFIXES: Mapping[ImageFormat, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}

_log = logging.getLogger(__name__)
_WHITE = 1.0
# 16 and 32 bit integers and floats, one channel each.
_HIGH_RANGE_MODES = ("I", "F")


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture: `pixels` float32 [3,H,W] in [0, 1] and, where it has one, `alpha` [H,W].

    Where it is transparent, `pixels` shows it on white.
    """

    pixels: NDArray[np.float32]
    alpha: NDArray[np.float32] | None


def probe_size(data: bytes, *, name: str) -> tuple[int, int]:
    """(height, width) in pixels as it is meant to be seen, from the header alone.

    `name` is what an ImageError calls the picture.
    """
    with _translated(data, name), Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        # Pillow turns a TIFF upright by itself, its size included.
        is_turned = orientation in (5, 6, 7, 8) and image.format != "TIFF"
    return (width, height) if is_turned else (height, width)


def fitted_size(height: int, width: int, long_edge_px: int) -> tuple[int, int]:
    """(height, width) with the long edge as asked and the aspect kept, at least one pixel each."""
    scale = long_edge_px / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def decode(data: bytes, *, long_edge_px: int, name: str, upscale: bool = True) -> Picture:
    """The first frame, upright, in sRGB, resized to `long_edge_px`; raises ImageError.

    Without `upscale` a smaller picture keeps its size. `name` is what errors and warnings call it.
    """
    with _translated(data, name), Image.open(io.BytesIO(data)) as image:
        image.load()
        upright = ImageOps.exif_transpose(image)
        colour, alpha = _split_alpha(upright)
        colour = _to_srgb(colour, name)
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
    """The picture at another size, its aspect with it."""
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
    """The picture as a file that carries `parameters` as JSON, with nothing that varies by run.

    PNG and WebP give the alpha back; JPEG has none and shows the picture on white.
    """
    colour = _to_8_bit(picture.pixels.transpose(1, 2, 0))
    if picture.alpha is None:
        image = Image.fromarray(colour)
    elif image_format == "jpeg":
        alpha = picture.alpha[..., None]
        flat = picture.pixels.transpose(1, 2, 0) * alpha + _WHITE * (1 - alpha)
        image = Image.fromarray(_to_8_bit(flat))
    else:
        image = Image.fromarray(np.dstack([colour, _to_8_bit(picture.alpha)]))
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


def encode_preview(data: bytes, *, long_edge_px: int, name: str) -> bytes:
    """An input as a JPEG of at most `long_edge_px`, for showing beside what was made of it."""
    decoded = decode(data, long_edge_px=long_edge_px, name=name, upscale=False)
    # It is on white already.
    return encode(Picture(decoded.pixels, None), "jpeg", {})


def _exif(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = text
    return exif


def _to_float(image: Image.Image) -> NDArray[np.float32]:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _to_8_bit(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(values.clip(0, 1) * 255).astype(np.uint8)
    return rounded


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """The colours, in a mode without alpha, and the alpha channel where something shows through."""
    if not image.has_transparency_data or image.mode.startswith(_HIGH_RANGE_MODES):
        return image, None
    rgba = image.convert("RGBA")
    # A grey picture stays one, since its colour profile would not fit three channels.
    colour = image.convert("L") if image.mode in ("LA", "La") else rgba.convert("RGB")
    alpha = rgba.getchannel("A")
    return colour, None if alpha.getextrema() == (255, 255) else alpha


def _to_srgb(image: Image.Image, name: str) -> Image.Image:
    """Any mode -> RGB in sRGB, by the embedded profile where there is a usable one."""
    if image.mode.startswith(_HIGH_RANGE_MODES):
        return _high_range_to_rgb(image)
    profile = image.info.get("icc_profile")
    if image.mode == "LAB":
        return _converted(image, ImageCms.createProfile("LAB"))
    if image.mode in ("1", "P", "PA"):
        image = image.convert("RGB")
    if profile is not None:
        try:
            return _converted(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError) as exc:
            _log.warning("%s: taken as sRGB, its colour profile cannot be used: %s", name, exc)
    return image.convert("RGB")


def _converted(image: Image.Image, profile: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # None only comes of inPlace
    return converted


def _high_range_to_rgb(image: Image.Image) -> Image.Image:
    """16 and 32 bit integers and floats -> RGB by their range, which `convert` would clip to white."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32))
    top = float(values.max(initial=0))
    if image.mode.startswith("I;16"):
        white = 65535.0
    elif image.mode == "F" and top <= 1:
        white = 1.0
    else:
        white = 255.0 if top <= 255 else max(65535.0, top)
    return Image.fromarray(_to_8_bit(values / white)).convert("RGB")


@contextmanager
def _translated(data: bytes, name: str) -> Iterator[None]:
    """Turn what Pillow raises on bad bytes into ImageError.

    Its readers raise nearly anything: SyntaxError for a PNG, RuntimeError for an AVIF.
    """
    try:
        yield
    except UnidentifiedImageError as exc:
        raise ImageError(
            f"{name}: expected a picture such as PNG, JPEG, WebP or TIFF, found {len(data)} bytes "
            f"that begin with {data[:8]!r}"
        ) from exc
    except Image.DecompressionBombError as exc:
        raise ImageError(
            f"{name}: expected a picture of a sane size, found too many pixels: {exc}"
        ) from exc
    except Exception as exc:
        raise ImageError(
            f"{name}: expected a whole picture, found one that cannot be decoded: {exc}"
        ) from exc
