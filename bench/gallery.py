"""A gallery of 100,000 pictures, none of them painted: `python -m bench.gallery`.

`make FOLDER` writes an output as a run leaves it, with thumbnails: made-up measurements, thirty
small pictures under as many names as are needed. `build FOLDER` builds its gallery and prints what
that took.
"""

import argparse
import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.made_up import digest, link, outcome, picture_files, with_curves
from bench.measuring import measured
from nst.errors import Reason
from nst.job import PictureParams
from nst.output import Outcome, Record
from tests.tables import metadata_to_parquet

_BACKBONES = ("vgg16", "vgg19", "resnet50")
_STYLE_WEIGHTS = (0.5, 1.0, 2.0)
_NUM_PICTURES = 30
_SIZES = ((384, 512), (512, 384), (512, 512), (200, 240))
_FAILURES: tuple[tuple[Reason, str], ...] = (
    ("input_not_found", "cannot read /home/user/pictures/{}: there is no such file or object"),
    ("image_truncated", "{}: expected a whole picture, found one that ends too early"),
    ("diverged", "the loss stopped being a finite number after 7 evaluations; lower style_weight"),
    ("out_of_memory", "expected 6.1 GB for the picture, found 5.2 GB; use a smaller size"),
)
# In a process that loads nothing else.
_BUILD = """
import json, sys, time
from bench.measuring import peak_mb
from nst import pipeline
started = time.perf_counter()
pipeline.rebuild_gallery(sys.argv[1:])
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "cpu_seconds": time.process_time(), "peak_mb": peak_mb()}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gallery", description=__doc__)
    parser.add_argument("command", choices=("make", "build"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=100_000, help="to make")
    arguments = parser.parse_args()
    if arguments.command == "make":
        make(arguments.folder, arguments.rows)
    else:
        sys.stdout.write(json.dumps(measure(arguments.folder), indent=1) + "\n")


def make(output: Path, num_rows: int) -> None:
    """Write an output of `num_rows` rows; the same at every call."""
    output.mkdir(parents=True, exist_ok=True)
    data = metadata_to_parquet(_records(num_rows), ["series", "note"])
    table = with_curves(pq.read_table(io.BytesIO(data)), seed=0)
    pq.write_table(table, output / "metadata.parquet", compression="zstd", row_group_size=1000)
    columns = ["picture", "thumbnail", "height", "width", "content_digest", "style_digest"]
    # Beside the names, which are links and so must be on the same file system.
    with tempfile.TemporaryDirectory(dir=output) as folder:
        pictures = [picture_files(Path(folder), number) for number in range(_NUM_PICTURES)]
        inputs = set()
        for index, row in enumerate(table.select(columns).to_pylist()):
            if row["picture"] is None:
                continue
            files = pictures[index % _NUM_PICTURES]
            link(files[".png"], output / row["picture"])
            link(files["-256.webp"], output / f"{row['thumbnail']}-256.webp")
            if max(row["height"], row["width"]) > 256:
                link(files["-512.webp"], output / f"{row['thumbnail']}-512.webp")
            inputs |= {row["content_digest"], row["style_digest"]}
        for index, name in enumerate(sorted(inputs)):
            for suffix in (".jpg", "-256.webp"):
                files = pictures[index % _NUM_PICTURES]
                link(files[suffix], output / "inputs" / f"{name[:16]}{suffix}")


def _records(num_rows: int) -> Iterator[Record]:
    """Contents x styles x backbones x style weights, without loss curves."""
    per_pair = len(_BACKBONES) * len(_STYLE_WEIGHTS)
    num_contents = max(1, round((-(-num_rows // per_pair)) ** 0.5))
    for index in range(num_rows):
        pair, rest = divmod(index, per_pair)
        style, content = divmod(pair, num_contents)
        weight, backbone = divmod(rest, len(_BACKBONES))
        labels = {"series": "ab"[content % 2]}
        yield Record(
            row=index + 1,
            content=f"contents/summer-palace-{content + 1}.jpg",
            style=f"styles/great_wave_{style + 1}.jpg",
            backbone=_BACKBONES[backbone],
            labels=labels | ({"note": "second try"} if index % 1000 < 500 else {}),
            params=PictureParams(style_weight=_STYLE_WEIGHTS[weight], size=512),
            outcome=_outcome(index, content, style, _BACKBONES[backbone]),
        )


def _outcome(index: int, content: int, style: int, backbone: str) -> Outcome:
    name = f"summer-palace-{content + 1}-great-wave-{style + 1}-{backbone}-{index:016x}"
    if index % 50 == 7:
        reason, error = _FAILURES[index // 50 % len(_FAILURES)]
        error = error.format(f"contents/summer-palace-{content + 1}.jpg")
        return Outcome(id=name, key=digest(name), status="failed", reason=reason, error=error)
    height, width = _SIZES[content % len(_SIZES)]
    return outcome(
        index,
        id=name,
        key=digest(name),
        picture=f"images/{name}.png",
        picture_digest=digest(name),
        height=height,
        width=width,
        content_digest=digest(f"content {content}"),
        style_digest=digest(f"style {style}"),
        weights_digest=digest(backbone),
    )


def measure(output: Path) -> dict[str, Any]:
    """What building a gallery anew took, again from nothing, and once more for nothing."""
    digests, found = [], []
    for again in (False, False, True):
        for path in [] if again else _gallery_files(output):
            path.unlink()
        usage = measured([sys.executable, "-c", _BUILD, output.resolve()])
        found.append(json.loads(usage.lines[-1][1]) | {"process_seconds": usage.process_s})
        digests.append(
            {path: hashlib.sha256(path.read_bytes()).digest() for path in _gallery_files(output)}
        )
    return {
        **found[0],
        "is_byte_identical": digests[0] == digests[1] == digests[2],
        "no_op_seconds": found[2]["seconds"],
        "no_op_process_seconds": found[2]["process_seconds"],
        "num_files": len(digests[0]),
        "bytes": sum(path.stat().st_size for path in digests[0]),
        "index_bytes": (output / "index.html").stat().st_size,
        "spine_bytes": sum(path.stat().st_size for path in output.glob("data/spine.*.js")),
    }


def _gallery_files(output: Path) -> list[Path]:
    found = [path for name in ("data", "assets", "pages") for path in (output / name).glob("*")]
    return [*found, *output.glob("index.html")]


if __name__ == "__main__":
    main()
