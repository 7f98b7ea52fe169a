"""What decoding and encoding a picture takes: `python -m bench.encoding`.

In seconds of one thread's own clock, so that other programs count for little; and how many threads
that is at a rate of so many pictures a second. On pictures that were painted, if they are named.
"""

import argparse
import hashlib
import io
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from bench.measuring import ROOT, add_markdown_option, table, tell, where
from nst.output import thumbnail_paths
from nst.pictures import images

SECTION = "Decoding and encoding"
_SAMPLES = ROOT / "manifests/samples"
_DECODE, _THUMBNAILS = "decode, resize to this size", "thumbnails"
_PNG_LEVELS = (0, 1, 2, 3, 4, 6, 9)
# As the metadata of a picture is about.
_PARAMETERS = {f"parameter {number}": "x" * 24 for number in range(32)}

_Encode = Callable[[images.Picture], bytes]
# Of a file and its decoded picture.
_Work = Callable[[bytes, images.Picture], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of a thread for one picture, and the bytes that come of each pixel; 0 if none do."""

    what: str
    picture_s: float
    bytes_per_px: float

    def threads(self, pictures_per_s: float) -> int:
        """How many threads keep up with so many pictures a second."""
        return max(1, math.ceil(self.picture_s * pictures_per_s))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.encoding", description=__doc__)
    parser.add_argument("pictures", nargs="*", type=Path, help="else the samples")
    parser.add_argument("--size", type=int, default=512, help="long edge in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed")
    parser.add_argument("--rate", type=float, default=30, help="pictures a second to keep up with")
    add_markdown_option(parser)
    arguments = parser.parse_args()
    paths = arguments.pictures or sorted(_SAMPLES.rglob("*.jpg"))
    found = costs([path.read_bytes() for path in paths], arguments.size, arguments.rounds)
    what = "painted pictures" if arguments.pictures else "sample pictures"
    text = to_markdown(found, f"{len(paths)} {what}", arguments.size, arguments.rate)
    tell(text, arguments.markdown, SECTION)


def costs(files: Sequence[bytes], size_px: int, rounds: int) -> list[Cost]:
    """What each way takes for a picture of that long edge: the median over the pictures and rounds."""
    decoded = [_decoded(file, size_px) for file in files]

    def encoding(encode: _Encode) -> _Work:
        return lambda _, picture: encode(picture)

    ways: dict[str, _Work] = {
        _DECODE: lambda file, _: _decoded(file, size_px),
        **{what: encoding(encode) for what, encode in _encoders().items()},
    }
    return [_cost(what, files, decoded, rounds, work) for what, work in ways.items()]


def _encoders() -> Mapping[str, _Encode]:
    return {
        "PNG, as nst writes it": lambda picture: images.encode(picture, "png", _PARAMETERS),
        **{f"PNG, level {level}": _png(level) for level in _PNG_LEVELS},
        "JPEG, as nst writes it": lambda picture: images.encode(picture, "jpeg", _PARAMETERS),
        "WebP, as nst writes it": lambda picture: images.encode(picture, "webp", _PARAMETERS),
        _THUMBNAILS: _thumbnails,
    }


def _decoded(file: bytes, size_px: int) -> images.Picture:
    return images.decode(file, long_edge_px=size_px, name="picture")


def _png(level: int) -> _Encode:
    """As `images.encode`, with another effort of zlib and no parameters."""

    def encode(picture: images.Picture) -> bytes:
        sink = io.BytesIO()
        Image.fromarray(images.pixels_8_bit(picture)).save(sink, "PNG", compress_level=level)
        return sink.getvalue()

    return encode


def _thumbnails(picture: images.Picture) -> bytes:
    """All thumbnails of a picture one behind the other."""
    stem = hashlib.sha256().hexdigest()
    paths = thumbnail_paths(stem, *picture.pixels.shape[1:])
    return b"".join(images.thumbnails(picture, "png", paths).files.values())


def _cost(
    what: str,
    files: Sequence[bytes],
    decoded: Sequence[images.Picture],
    rounds: int,
    work: _Work,
) -> Cost:
    times, shares = [], []
    for file, picture in zip(files, decoded, strict=True):
        for _ in range(rounds):
            begun = time.thread_time()
            made = work(file, picture)
            times.append(time.thread_time() - begun)
        if isinstance(made, bytes):
            shares.append(len(made) / picture.pixels[0].size)
    return Cost(
        what=what,
        picture_s=statistics.median(times),
        bytes_per_px=statistics.fmean(shares) if shares else 0.0,
    )


def to_markdown(found: Sequence[Cost], of: str, size_px: int, rate: float) -> str:
    """The section: what each takes, and how many threads keep up with a rate."""
    rows = [
        [
            *(each.what, f"{1e3 * each.picture_s:.1f}", f"{1 / each.picture_s:.0f}"),
            *(each.threads(rate), f"{each.bytes_per_px:.2f}" if each.bytes_per_px else ""),
        ]
        for each in found
    ]
    for png in ("PNG, as nst writes it", "PNG, level 1"):
        rows.append(_together(found, png, rate))
    header = [
        "",
        "ms a picture",
        "pictures a second and thread",
        f"threads for {rate:g}",
        "bytes a pixel",
    ]
    return f"""{where()}.
By `python -m bench.encoding`, on {of} with a long edge of {size_px} px: the median time of one thread by its own clock, and how many such threads keep up with {rate:g} pictures a second.
Pillow lets other threads run while it compresses.

{table(header, rows)}
"""


def _together(found: Sequence[Cost], png: str, rate: float) -> list[object]:
    """The line of all that a picture takes beside painting and measuring it, with that kind of PNG."""
    by_what = {each.what: each.picture_s for each in found}
    picture_s = sum(by_what[what] for what in (_DECODE, png, _THUMBNAILS))
    both = Cost(what=f"decode, thumbnails and {png}", picture_s=picture_s, bytes_per_px=0)
    return [both.what, f"{1e3 * picture_s:.1f}", f"{1 / picture_s:.0f}", both.threads(rate), ""]


if __name__ == "__main__":
    main()
