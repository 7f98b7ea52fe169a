"""Pictures that Python code hands over or gets: PIL images and arrays <-> encoded bytes."""

import io
from typing import get_args

import numpy as np
from PIL import Image

from nst import settings
from nst.errors import ImageError
from nst.pictures.images import (
    HIGH_RANGE_MODES,
    has_empty_alpha,
    is_as_in_png,
    split_high_range,
)

# What a PNG holds as it is; other modes become one of them first, RGB if nothing else is said here.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
_WITH_ALPHA = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA"}


def png_of(given: object, *, name: str) -> bytes | None:
    """A PIL image, or an array of H x W x 3 uint8, as a PNG; None for anything else.

    Raises ImageError for an array of another kind, which it calls `name`.
    """
    if isinstance(given, np.ndarray):
        if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or not given.size:
            raise ImageError(
                f"{name}: expected an array of H x W x 3 uint8, found {given.shape} {given.dtype}; "
                "floats in [0, 1] are (255 * array).round().astype('uint8')"
            )
        given = Image.fromarray(given)
    if not isinstance(given, Image.Image):
        return None
    try:
        return _encoded(given, name)
    except ImageError:
        raise
    except Exception as exc:
        # It may be of a file that is damaged, and whose pixels are only now read.
        raise ImageError(
            f"{name}: expected a sound picture, found one that cannot be decoded: "
            f"{str(exc) or type(exc).__name__}"
        ) from exc


def _encoded(given: Image.Image, name: str) -> bytes:
    image = _as_a_png_can(given, name)
    sink = io.BytesIO()
    # With how it lies and what its colours mean, as the file that it may be of.
    image.save(
        sink,
        "PNG",
        compress_level=1,
        exif=given.getexif(),
        icc_profile=image.info.get("icc_profile"),
    )
    return sink.getvalue()


def _as_a_png_can(image: Image.Image, name: str) -> Image.Image:
    if has_empty_alpha(image):
        return image.convert("RGB")
    if image.mode in _MODES and (image.mode != "I;16" or is_as_in_png(image)):
        return image
    if image.mode.startswith(HIGH_RANGE_MODES):
        grey, alpha = split_high_range(image, name)
        if alpha is not None:
            grey.putalpha(alpha)
        return grey
    found = image.convert(_WITH_ALPHA.get(image.mode, "RGB"))
    if image.mode not in _WITH_ALPHA:
        # Its profile is one of the other colours.
        found.info.pop("icc_profile", None)
    return found


# What runs write, by Pillow's names.
_WRITTEN = tuple(name.upper() for name in get_args(settings.ImageFormat))


def image_of(data: bytes, *, name: str) -> Image.Image:
    """A picture that a run has written, as a PIL image. Raises ImageError where it is damaged."""
    try:
        image = Image.open(io.BytesIO(data), formats=_WRITTEN)
        image.load()
    except Exception as exc:
        said = str(exc) or type(exc).__name__
        raise ImageError(f"{name}: expected a picture as a run wrote it, found {said}") from exc
    return image
