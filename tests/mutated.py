"""Pictures of every format that is read, damaged by chance, decoded in a process of their own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.helpers import ROOT, encoded, picture

# Some 90 million pixels of a header that was damaged into them; the process itself takes 50 MB.
MAX_RSS_BYTES = 1 << 30
_SIZE = 64
_TIMEOUT_S = 1200


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a damaged picture: the reason of its error, or None where it is a picture."""

    number: int
    what: str
    reason: str | None


def decode_mutated(folder: Path, count: int, *, seed: int) -> list[Decoded]:
    """What became of each of `count` damaged pictures. Raises AssertionError where one did harm.

    The sound ones are left in `folder`.
    """
    for name, data in originals().items():
        (folder / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-m", "tests.decode_mutated", str(folder), str(count), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    last = lines[-1] if lines else None
    assert done.returncode == 0, f"after {last} it ended with {done.returncode}: {done.stderr}"
    *results, peak = lines
    assert peak["rss_bytes"] < MAX_RSS_BYTES, peak
    return [Decoded(**line) for line in results if "reason" in line]


def originals() -> dict[str, bytes]:
    """Sound pictures by what they are, of every format that is read and of most kinds of it."""
    colour = Image.fromarray(picture(48, _SIZE))
    other = Image.fromarray(picture(48, _SIZE, seed=1))
    grey16 = Image.fromarray(np.asarray(colour.convert("L"), dtype=np.uint16) * 257)
    clear = colour.convert("RGBA")
    clear.putalpha(other.convert("L"))
    exif = Image.Exif()
    exif[274] = 6
    return {
        "PNG": encoded(colour, exif=exif),
        "PNG 16 bit": encoded(grey16),
        "PNG alpha": encoded(clear),
        "PNG palette": encoded(colour.quantize(16)),
        "PNG animated": _film(),
        "JPEG": encoded(colour, "JPEG", exif=exif),
        "JPEG progressive": encoded(colour, "JPEG", progressive=True),
        "JPEG CMYK": encoded(colour.convert("CMYK"), "JPEG"),
        "JPEG restarts": encoded(colour, "JPEG", restart_marker_blocks=4),
        "MPO": _film("MPO"),
        "WEBP": encoded(colour, "WEBP"),
        "WEBP lossless alpha": encoded(clear, "WEBP", lossless=True),
        "WEBP animated": _film("WEBP"),
        "TIFF": encoded(colour, "TIFF"),
        "TIFF float": encoded(colour.convert("F"), "TIFF"),
        "TIFF LZW": encoded(colour, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": encoded(grey16, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF packbits": encoded(colour, "TIFF", compression="packbits"),
        "TIFF JPEG": encoded(colour, "TIFF", compression="jpeg"),
        "TIFF fax": encoded(colour.convert("1"), "TIFF", compression="group4"),
        "TIFF pages": _film("TIFF"),
        "TIFF big": encoded(colour, "TIFF", big_tiff=True),
        "BMP": encoded(colour, "BMP"),
        "BMP palette": encoded(colour.quantize(16), "BMP"),
        "GIF": encoded(colour, "GIF"),
        "GIF animated": _film("GIF"),
        "AVIF": encoded(colour, "AVIF"),
        "AVIF alpha": encoded(clear, "AVIF"),
    }


def _film(image_format: str = "PNG") -> bytes:
    """Two frames; of pictures of their own, since Pillow keeps the last format's options on them."""
    first, second = (Image.fromarray(picture(48, _SIZE, seed=seed)) for seed in (0, 1))
    return encoded(first, image_format, save_all=True, append_images=[second])
