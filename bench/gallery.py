"""A gallery of 100,000 pictures, none of them painted: `python -m bench.gallery`.

`make FOLDER` writes an output as a run leaves it, with thumbnails: made-up measurements, thirty
small pictures under as many names as are needed. `build FOLDER` builds its gallery and prints what
that took.
"""

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from bench.process import measured
from nst.errors import Reason
from nst.job import PictureParams
from nst.output.metadata import LayerLoss, Outcome, Record
from tests.tables import metadata_to_parquet

_BACKBONES = ("vgg16", "vgg19", "resnet50")
_STYLE_WEIGHTS = (0.5, 1.0, 2.0)
_NUM_PICTURES = 30
_NUM_POINTS = 64
_SHARE_FAILED = 0.02
_SHARE_UNMATCHED = 0.01
_SIZES = ((384, 512), (512, 384), (512, 512), (200, 240))
_FAILURES: tuple[tuple[Reason, str], ...] = (
    ("input_not_found", "cannot read /home/user/pictures/{}: there is no such file or object"),
    ("image_truncated", "{}: expected a whole picture, found one that ends too early"),
    ("diverged", "the loss stopped being a finite number after 7 evaluations; lower style_weight"),
    ("out_of_memory", "expected 6.1 GB for the picture, found 5.2 GB; use a smaller size"),
)
_LAYERS = {
    "vgg16": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    "vgg19": ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"),
    "resnet50": ("relu1", "layer1.2", "layer2.3", "layer3.5"),
}
_ROOT = Path(__file__).parent.parent
# In a process that loads nothing else.
_ONCE = """
import json, resource, sys, time
started = time.perf_counter()
from nst import pipeline
imported = time.perf_counter()
pipeline.rebuild_gallery(sys.argv[1:])
print(json.dumps({
    "seconds": round(time.perf_counter() - imported, 2),
    "seconds_with_imports": round(time.perf_counter() - started, 2),
    "cpu_seconds": round(time.process_time(), 2),
    "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
}))
"""
_START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gallery", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make", help="write a made-up output")
    making.add_argument("folder", type=Path)
    making.add_argument("--rows", type=int, default=100_000)
    making.add_argument("--runs", type=int, default=1, help="several, in folders run-1 and so on")
    building = commands.add_parser("build", help="build its gallery, and print what it took")
    building.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    match arguments.command:
        case "make":
            make(arguments.folder, arguments.rows, arguments.runs)
        case "build":
            json.dump(measure(_outputs(arguments.folder)), sys.stdout, indent=1)
            sys.stdout.write("\n")


def make(folder: Path, num_rows: int, num_runs: int = 1) -> None:
    """Write outputs of `num_rows` rows each; the same at every call."""
    for run in range(num_runs):
        output = folder / f"run-{run + 1}" if num_runs > 1 else folder
        output.mkdir(parents=True, exist_ok=True)
        pictures = _pictures(output)
        data = metadata_to_parquet(_records(num_rows, run, num_runs), ["series", "note"])
        table = with_curves(_with_thumbnails(pq.read_table(io.BytesIO(data))), seed=run)
        pq.write_table(table, output / "metadata.parquet", compression="zstd", row_group_size=1000)
        _link(output, table.select(["picture", "thumbnail", "height", "width"]), pictures)
        _link_inputs(output, table.select(["content_digest", "style_digest"]), pictures)
        shutil.rmtree(output / "originals")


def measure(outputs: Sequence[Path]) -> dict[str, Any]:
    """What building a gallery anew took, again from nothing, and once more for nothing."""
    place = outputs[0] if len(outputs) == 1 else outputs[0] / "compare"
    digests, usages = [], []
    for again in (False, False, True):
        if not again:
            for path in _gallery_files(place):
                path.unlink()
        usages.append(
            measured([sys.executable, "-c", _ONCE, *map(os.path.abspath, outputs)], cwd=_ROOT)
        )
        digests.append(_digests(place))
    first, _, no_op = (json.loads(usage.lines[-1].text) for usage in usages)
    return {
        **first,
        "is_byte_identical": digests[0] == digests[1] == digests[2],
        "no_op_seconds": no_op["seconds"],
        "no_op_seconds_with_imports": no_op["seconds_with_imports"],
        "num_files": len(digests[0]),
        "bytes": sum(path.stat().st_size for path in _gallery_files(place)),
        "index_bytes": (place / "index.html").stat().st_size,
        "spine_bytes": sum(p.stat().st_size for p in place.glob("data/spine.*.js")),
    }


def _outputs(folder: Path) -> list[Path]:
    runs = sorted(folder.glob("run-*"), key=lambda path: int(path.name.removeprefix("run-")))
    return runs or [folder]


def _gallery_files(place: Path) -> list[Path]:
    found = [path for name in ("data", "assets", "pages") for path in (place / name).glob("*")]
    return [*found, *place.glob("index.html")]


def _digests(place: Path) -> dict[str, str]:
    return {
        str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in _gallery_files(place)
    }


def _records(num_rows: int, run: int, num_runs: int) -> Iterator[Record]:
    """The rows of a run: contents x styles x backbones x style weights, without loss curves."""
    generator = np.random.default_rng([7, run])
    lost = np.random.default_rng([8, run]).random(num_rows) < _SHARE_UNMATCHED * (num_runs > 1)
    per_pair = len(_BACKBONES) * len(_STYLE_WEIGHTS)
    num_pairs = -(-num_rows // per_pair)
    num_contents = max(1, round(num_pairs**0.5))
    for index in range(num_rows):
        pair, rest = divmod(index, per_pair)
        backbone = _BACKBONES[rest % len(_BACKBONES)]
        weight = _STYLE_WEIGHTS[rest // len(_BACKBONES)]
        content, style = pair % num_contents, pair // num_contents
        if lost[index]:
            continue
        yield Record(
            row=index + 1,
            content=f"contents/summer-palace-{content + 1}.jpg",
            style=f"styles/great_wave_{style + 1}.jpg",
            backbone=backbone,
            labels={"series": "ab"[content % 2], "note": "second try"}
            if index % 1000 < 500
            else {"series": "ab"[content % 2]},
            params=PictureParams(style_weight=weight, tv_weight=float(run), size=512),
            outcome=_outcome(generator, index, content, style, backbone, run),
        )


def _outcome(
    generator: np.random.Generator, index: int, content: int, style: int, backbone: str, run: int
) -> Outcome:
    name = f"summer-palace-{content + 1}-great-wave-{style + 1}-{backbone}-{index:016x}"
    digest = hashlib.sha256(f"{name} {run}".encode()).hexdigest()
    content_loss, style_loss, rest, other = generator.random(4).tolist()
    shared: dict[str, Any] = {
        "id": name,
        "key": digest,
        "finished_at": _START + timedelta(seconds=index * 1.7 + run * 1e6),
    }
    if other < _SHARE_FAILED:
        reason, error = _FAILURES[index % len(_FAILURES)]
        error = error.format(f"contents/summer-palace-{content + 1}.jpg")
        return Outcome(**shared, status="failed", reason=reason, error=error)
    height, width = _SIZES[content % len(_SIZES)]
    return Outcome(
        **shared,
        status="ok",
        picture=f"images/{name}.png",
        picture_digest=digest,
        picture_bytes=int(200_000 + rest * 400_000),
        picture_version=str(1_767_000_000_000_000_000 + index),
        height=height,
        width=width,
        content_digest=_digest("content", content),
        style_digest=_digest("style", style),
        weights_digest=_digest("weights", _BACKBONES.index(backbone)),
        weights_origin="torchvision",
        nst_version="0.1.0",
        torch_version="2.10.0",
        device="cuda:0",
        precision="float32",
        seconds=0.4 + rest,
        evaluations=50 - int(rest * 3),
        content_loss=0.2 + 0.3 * content_loss,
        style_loss=float(0.02 + 0.2 * style_loss**2),
        tv_loss=rest * 0.01,
        detail_loss=0.0,
        total_loss=0.1 + 0.2 * style_loss,
        loss_ratio=0.05 + 0.1 * style_loss,
        style_layer_losses=tuple(
            LayerLoss(layer=layer, loss=float(style_loss * (n + 1) / 10))
            for n, layer in enumerate(_LAYERS[backbone])
        ),
        ssim=0.3 + 0.5 * content_loss,
        lpips=float("nan") if index % 997 == 0 else 0.3 + 0.4 * rest,
        is_flat=index % 5003 == 0,
    )


def _digest(kind: str, number: int) -> str:
    return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()


def _with_thumbnails(table: Any) -> Any:
    """With the columns that tell of thumbnails, where the metadata has none of its own."""
    digests = table.column("picture_digest").to_pylist()
    values = {
        "thumbnail": [f"thumbs/{d[:2]}/{d[:16]}" if d else None for d in digests],
        "color": [f"#{d[16:22]}" if d else None for d in digests],
    }
    for name, texts in values.items():
        column = pa.array(texts, pa.string())
        if name in {field.name for field in fields(Outcome)}:
            table = table.set_column(table.column_names.index(name), name, column)
        else:
            table = table.append_column(name, column)
    return table


def with_curves(table: Any, *, seed: int) -> Any:
    """With a loss curve for each picture: made as arrays, since objects would take minutes."""
    index = table.column_names.index("loss_curve")
    kind = table.schema.field(index).type
    is_ok = np.array(table.column("status").to_pylist(), object) == "ok"
    parts = []
    for first in range(0, len(is_ok), 10_000):
        part = is_ok[first : first + 10_000]
        counts = np.where(part, _NUM_POINTS, 0)
        generator = np.random.default_rng([seed, first])
        points = _points(generator, int(part.sum()))
        structs = pa.StructArray.from_arrays(
            [pa.array(points[field.name], field.type) for field in kind.value_type.fields],
            fields=kind.value_type.fields,
        )
        offsets = pa.array(np.concatenate([[0], counts.cumsum()]), pa.int32())
        parts.append(pa.ListArray.from_arrays(offsets, structs, type=kind))
    return table.set_column(index, table.schema.field(index), pa.chunked_array(parts, kind))


def _points(generator: np.random.Generator, number: int) -> dict[str, NDArray[Any]]:
    steps = np.arange(_NUM_POINTS)
    decay = np.exp(-steps / generator.uniform(3, 20, (number, 1)))
    noise = 1 + 0.02 * generator.standard_normal((number, _NUM_POINTS))
    style = (0.05 + decay) * noise
    content = 0.4 * (1 - decay) + 0.01 * np.abs(noise)
    return {
        "evaluation": np.tile(np.round(np.linspace(1, 150, _NUM_POINTS)), number).astype(np.int32),
        "content": content.ravel(),
        "style": style.ravel(),
        "tv": np.full(number * _NUM_POINTS, 0.01),
        "detail": np.zeros(number * _NUM_POINTS),
        "total": (style + 0.05 * content).ravel(),
    }


def _pictures(output: Path) -> list[dict[str, Path]]:
    """Thirty small pictures, each as what a run writes of it, under the suffixes of those files."""
    folder = output / "originals"
    folder.mkdir()
    made = []
    for number in range(_NUM_PICTURES):
        generator = np.random.default_rng(number)
        coarse = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8))
        files = {}
        for suffix, size, kind, options in (
            (".png", (128, 96), "PNG", {}),
            (".jpg", (128, 96), "JPEG", {"quality": 80}),
            ("-256.webp", (256, 192), "WEBP", {"quality": 70}),
            ("-512.webp", (512, 384), "WEBP", {"quality": 70}),
        ):
            files[suffix] = folder / f"{number}{suffix}"
            coarse.resize(size, Image.Resampling.BICUBIC).save(files[suffix], kind, **options)
        made.append(files)
    return made


def _link(output: Path, table: Any, pictures: Sequence[dict[str, Path]]) -> None:
    for folder in ("images", *(f"thumbs/{n:02x}" for n in range(256))):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for index, row in enumerate(table.to_pylist()):
        if row["picture"] is None:
            continue
        files = pictures[index % len(pictures)]
        _link_one(files[".png"], output / row["picture"])
        _link_one(files["-256.webp"], output / f"{row['thumbnail']}-256.webp")
        if max(row["height"], row["width"]) > 256:
            _link_one(files["-512.webp"], output / f"{row['thumbnail']}-512.webp")


def _link_inputs(output: Path, table: Any, pictures: Sequence[dict[str, Path]]) -> None:
    (output / "inputs").mkdir(exist_ok=True)
    digests = {each for name in table.column_names for each in table.column(name).to_pylist()}
    for index, digest in enumerate(sorted(digests - {None})):
        files = pictures[index % len(pictures)]
        for suffix in (".jpg", "-256.webp"):
            _link_one(files[suffix], output / "inputs" / f"{digest[:16]}{suffix}")


def _link_one(original: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    try:
        os.link(original, path)
    except OSError:
        # A file system without links, or one that has as many of this file as it can.
        shutil.copyfile(original, path)


if __name__ == "__main__":
    main()
