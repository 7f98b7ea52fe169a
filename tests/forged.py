"""Files that no honest writer makes: PNG chunk by chunk, TIFF tag by tag, weights with code."""

import io
import os
import pickle
import struct
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)


def png(
    width: int,
    height: int,
    rows: bytes = b"",
    *chunks: bytes,
    depth: int = 8,
    colour_type: int = 2,
) -> bytes:
    """A PNG of these rows, each after the byte of its filter, with `chunks` before the pixels."""
    header = width.to_bytes(4) + height.to_bytes(4) + bytes([depth, colour_type, 0, 0, 0])
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            png_chunk(b"IHDR", header),
            *chunks,
            png_chunk(b"IDAT", zlib.compress(rows)),
            png_chunk(b"IEND", b""),
        ]
    )


def tiled_tiff(width: int, height: int, tile_px: int) -> bytes:
    """A grey TIFF in one black tile of `tile_px` by `tile_px`, however few of them it needs."""
    packer = zlib.compressobj(1)
    row = bytes(tile_px)
    tile = b"".join(packer.compress(row) for _ in range(tile_px)) + packer.flush()
    return tiff(
        {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile_px, 323: tile_px},
        tile,
        offset_tag=324,
        length_tag=325,
    )


def tiff(
    tags: Mapping[int, int], pixels: bytes, *, offset_tag: int = 273, length_tag: int = 279
) -> bytes:
    """A little-endian TIFF of one directory of 32 bit tags and one strip or tile."""
    start = 8 + 2 + 12 * (len(tags) + 2) + 4
    entries = {**tags, offset_tag: start, length_tag: len(pixels)}
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())
    )
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + pixels


class _Harmful:
    """What makes a folder as soon as it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, (str(self.canary),))


def harmful_weights(kind: str, canary: Path) -> bytes:
    """A state dict of the `kind` that makes the folder `canary` where its code is run."""
    state = {"a": _Harmful(canary)}
    sink = io.BytesIO()
    match kind:
        case "zip" | "legacy":
            torch.save(state, sink, _use_new_zipfile_serialization=kind == "zip")
            return sink.getvalue()
        case "tar":
            with tarfile.open(fileobj=sink, mode="w") as archive:
                for name in ("storages", "tensors", "pickle"):
                    data = pickle.dumps(state)
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
            return sink.getvalue()
    return pickle.dumps(state)


def bitmap(pixels: bytes, width: int) -> bytes:
    """A 32 bit BMP of BGRA pixels from top to bottom, whose header names a mask for each channel."""
    height = len(pixels) // 4 // width
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, -height, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header += masks + b"BGRs" + bytes(48)
    start = 14 + len(header)
    return struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start) + header + pixels
