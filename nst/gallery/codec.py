"""Values and arrays <-> the files of data that the gallery's scripts load.

A file is one call in which everything is base64, so that nothing in it can be taken for code or
markup. Inside is gzip, and in that JSON whose typed arrays follow it as bytes.
"""

import base64
import binascii
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

CHUNK_ITEMS = 250

_TYPES = {"u1": "|u1", "u2": "<u2", "u4": "<u4", "i2": "<i2"}
_ALIGNMENT = 8
# Higher ones take several times as long for a hundredth of the size.
_LEVEL = 4
_GZIP = 31
_FILE = re.compile(rb'nstGallery\("([a-z0-9-]+)","([A-Za-z0-9+/=]*)"\);\n?')

# A loss as round(256 * log2(loss)): steps of 0.27%, so half that off at most.
_CURVE_SCALE = 256
_NO_VALUE = -(2**15)
CURVES = ("total", "content", "style", "tv", "detail")
_OPTIONAL_CURVES = ("tv", "detail")


def path_of(key: str, data: bytes) -> str:
    """Where a file of data lies, by a name that changes with what is in it."""
    return f"data/{key}.{hash8(data)}.js"


def hash8(data: bytes) -> str:
    """What tells one version of a file from another, in its name."""
    return hashlib.sha256(data).hexdigest()[:8]


def encoded(key: str, content: Mapping[str, Any]) -> bytes:
    """The file of data `key`: values that JSON has, and arrays of uint8, 16, 32 and int16."""
    packed = zlib.compress(_container(content), _LEVEL, wbits=_GZIP)
    text = binascii.b2a_base64(packed, newline=False)
    return b'nstGallery("%s","%s");\n' % (key.encode(), text)


def decoded(data: bytes) -> tuple[str, dict[str, Any]]:
    """The key and the content of a file of data. Raises ValueError for anything else."""
    found = _FILE.fullmatch(data)
    if found is None:
        raise ValueError("expected a file of the gallery's data, found something else")
    try:
        content = _contained(zlib.decompress(base64.b64decode(found[2], validate=True), _GZIP))
    except (zlib.error, KeyError, TypeError, IndexError) as exc:
        raise ValueError(
            f"expected a file of the gallery's data, found a damaged one: {exc}"
        ) from exc
    return found[1].decode(), content


def column(values: Sequence[Any], codes: Array) -> dict[str, Any]:
    """A dictionary-coded column; `len(values)` is the code of what is missing."""
    return {"values": values, "codes": smallest(codes, len(values))}


def column_of_some(values: Array, codes: Array) -> dict[str, Any]:
    """As `column`, of some items: with only those of the values, an array, that they have."""
    ordered = np.sort(codes)
    used = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
    known = used[: np.searchsorted(used, len(values))]
    return column(values[known].tolist(), np.searchsorted(used, codes))


def smallest(values: Array, largest: int) -> Array:
    """Whole numbers from 0 to `largest` in as few bytes as hold them."""
    for kind in (np.uint8, np.uint16):
        if largest <= np.iinfo(kind).max:
            return values.astype(kind)
    return values.astype(np.uint32)


def curves(offsets: Array, evaluations: Array, losses: Mapping[str, Array]) -> dict[str, Any]:
    """The loss curves of some items, whose points are `offsets[i]` to `offsets[i + 1]`."""
    shown = {
        name: _differences(_logarithms(values), offsets)
        for name, values in losses.items()
        if name not in _OPTIONAL_CURVES or np.any(values > 0)
    }
    counts = np.diff(offsets)
    return {
        "counts": smallest(counts, int(counts.max(initial=0))),
        "evaluations": evaluations.astype(np.uint32),
        "curves": shown,
    }


def _logarithms(values: Array) -> NDArray[np.int16]:
    with np.errstate(all="ignore"):
        scaled = np.rint(np.log2(values) * _CURVE_SCALE)
        is_known = np.isfinite(scaled)
        bounded = np.clip(np.where(is_known, scaled, 0), _NO_VALUE + 1, 2**15 - 1)
    return np.where(is_known, bounded, _NO_VALUE).astype(np.int16)


def _differences(whole: NDArray[np.int16], offsets: Array) -> NDArray[np.int16]:
    """Each value less the one before it of the same item, the first as it is; wrapping round."""
    result = whole.copy()
    result[1:] -= whole[:-1]
    firsts = offsets[:-1][np.diff(offsets) > 0]
    result[firsts] = whole[firsts]
    return result


def _container(content: Mapping[str, Any]) -> bytes:
    arrays: list[bytes] = []
    offset = 0

    def placed(array: object) -> dict[str, Any]:
        nonlocal offset
        if not isinstance(array, np.ndarray):
            raise TypeError(f"expected JSON or an array, found {type(array).__name__}")
        kind = f"{array.dtype.kind}{array.dtype.itemsize}"
        data = array.astype(_TYPES[kind], copy=False).tobytes()
        described = {"$": [kind, offset, len(array)]}
        arrays.append(_padded(data, len(data), b"\0"))
        offset += len(arrays[-1])
        return described

    text = json.dumps(
        content, default=placed, ensure_ascii=False, allow_nan=False, separators=(",", ":")
    ).encode()
    text = _padded(text, len(text) + 4, b" ")
    return b"".join([len(text).to_bytes(4, "little"), text, *arrays])


def _padded(data: bytes, length: int, filler: bytes) -> bytes:
    return data + filler * (-length % _ALIGNMENT)


def _contained(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:4], "little")
    arrays = data[4 + length :]

    def placed(found: dict[str, Any]) -> Any:
        if found.keys() != {"$"}:
            return found
        kind, offset, number = found["$"]
        dtype = np.dtype(_TYPES[kind])
        return np.frombuffer(arrays, dtype, number, offset)

    content = json.loads(data[4 : 4 + length], object_hook=placed)
    if not isinstance(content, dict):
        raise ValueError("expected a file of the gallery's data, found a damaged one")
    return content
