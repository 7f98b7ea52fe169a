"""What a picture says of its colours where it has no profile, and whether that is sRGB; converts nothing.

By the formats themselves (gAMA, cHRM and cICP of PNG, nclx of AVIF, the header of a bitmap), and by
Exif, whose ColorSpace and interoperability index are how cameras tell Adobe RGB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nst.pictures import formats


@dataclass(frozen=True, slots=True)
class Told:
    """What is told in a picture's header: `info` as Pillow names it, and the tags of its Exif.

    `camera` and `interoperability` are the tags of the directories of these names in the Exif.
    """

    info: Mapping[Any, Any]
    exif: Mapping[int, Any]
    camera: Mapping[int, Any]
    interoperability: Mapping[int, Any]


def other_colours(data: bytes, name: str, told: Told) -> str | None:
    """In which colours other than sRGB a picture in the format `name` is, in words; None if in none."""
    code = formats.colour_code(data, name)
    if code is not None:
        if code.is_like_srgb:
            return None
        return f"coded as primaries {code.primaries} and transfer {code.transfer} of ITU-T H.273"
    if name == "PNG":
        return None if "srgb" in told.info else _by_png(told.info) or _by_exif(told)
    if name == "BMP" and data[14:15] in _LONG_BMP and data[70:74] in _BMP_PROFILES:
        return "those of a profile in a bitmap, which is not read"
    return _by_exif(told)


# https://www.w3.org/TR/png-3/, 11.3.2: what writers round counts as sRGB. White, red, green and blue.
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
_SRGB_GAMMA = 1 / 2.2
_MAX_APART = 0.01
_MAX_GAMMA_APART = 0.03
# Of the headers with a colour space, whose name is one of these, in the order of their bytes.
_LONG_BMP = (b"\x6c", b"\x7c")
_BMP_PROFILES = (b"DEBM", b"KNIL")
_WHITE_POINT, _PRIMARIES = 318, 319
_COLOR_SPACE, _GAMMA, _INTEROPERABILITY = 0xA001, 0xA500, 1
_ADOBE_RGB = 2


def _by_png(info: Mapping[Any, Any]) -> str | None:
    gamma, chromaticities = info.get("gamma"), info.get("chromaticity")
    if gamma is not None and abs(gamma - _SRGB_GAMMA) > _MAX_GAMMA_APART:
        return f"those of gAMA {gamma:g}, where sRGB has {_SRGB_GAMMA:.5f}"
    if chromaticities is not None and not _are_srgb(chromaticities, _SRGB):
        return f"those of cHRM {_listed(chromaticities)}, where sRGB has {_listed(_SRGB)}"
    return None


def _by_exif(told: Told) -> str | None:
    index = str(told.interoperability.get(_INTEROPERABILITY, "")).strip("\0 ")
    if told.camera.get(_COLOR_SPACE) == _ADOBE_RGB or index == "R03":
        return "Adobe RGB by its Exif"
    for tag, name, srgb in (
        (_WHITE_POINT, "WhitePoint", _SRGB[:2]),
        (_PRIMARIES, "PrimaryChromaticities", _SRGB[2:]),
    ):
        found = told.exif.get(tag)
        if found is not None and not _are_srgb(found, srgb):
            return f"those of {name} {_listed(found)}, where sRGB has {_listed(srgb)}"
    gamma = told.camera.get(_GAMMA)
    if gamma is not None and abs(float(gamma) - 1 / _SRGB_GAMMA) > 0.1:
        return f"those of gamma {float(gamma):g} by its Exif, where sRGB has 2.2"
    return None


def _are_srgb(found: Sequence[Any], srgb: Sequence[float]) -> bool:
    return len(found) == len(srgb) and all(
        abs(float(a) - b) <= _MAX_APART for a, b in zip(found, srgb, strict=True)
    )


def _listed(values: Sequence[Any]) -> str:
    return " ".join(f"{float(value):.4g}" for value in values)
