"""Outcomes, curves and small pictures that nobody painted, for outputs of a million rows."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from nst.output import LayerLoss, Outcome

_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_NUM_POINTS = 64


def digest(text: object) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()


def outcome(number: int, **values: Any) -> Outcome:
    """A picture that was made: `values`, and the same measurements for the same number."""
    a, b, c = np.random.default_rng([7, number]).random(3).tolist()
    own = values.get("picture_digest") or digest(number)
    made: dict[str, Any] = {
        "status": "ok",
        "picture_digest": own,
        "picture_bytes": int(200_000 + c * 400_000),
        "thumbnail": f"thumbs/{own[:2]}/{own[:16]}",
        "color": f"#{own[16:22]}",
        "height": 384,
        "width": 512,
        "content_digest": digest("content"),
        "style_digest": digest("style"),
        "weights_digest": digest("weights"),
        "weights_origin": "embedded",
        "nst_version": "0.2.0",
        "torch_version": "2.10.0",
        "device": "cuda:0",
        "precision": "float32",
        "seconds": 0.4 + c,
        "finished_at": _START + timedelta(seconds=1.7 * number),
        "evaluations": 50 - int(3 * c),
        "content_loss": 0.2 + 0.3 * a,
        "style_loss": 0.02 + 0.2 * b**2,
        "tv_loss": 0.01 * c,
        "detail_loss": 0.0,
        "total_loss": 0.1 + 0.2 * b,
        "loss_ratio": 0.05 + 0.1 * b,
        "style_layer_losses": tuple(
            LayerLoss(layer=layer, loss=b * (n + 1) / 10) for n, layer in enumerate(_LAYERS)
        ),
        "ssim": 0.3 + 0.5 * a,
        "lpips": float("nan") if number % 997 == 0 else 0.3 + 0.4 * c,
        "is_flat": number % 5003 == 0,
    }
    return Outcome(**made | values)


def with_curves(table: pa.Table, *, seed: int) -> pa.Table:
    """With a loss curve for each picture: made as arrays, since objects would take minutes."""
    index = table.column_names.index("loss_curve")
    kind = table.schema.field(index).type
    is_ok = np.array(table.column("status").to_pylist(), object) == "ok"
    parts = []
    for first in range(0, len(is_ok), 10_000):
        part = is_ok[first : first + 10_000]
        points = _points(np.random.default_rng([seed, first]), int(part.sum()))
        structs = pa.StructArray.from_arrays(
            [pa.array(points[field.name], field.type) for field in kind.value_type.fields],
            fields=kind.value_type.fields,
        )
        counts = np.where(part, _NUM_POINTS, 0)
        offsets = pa.array(np.concatenate([[0], counts.cumsum()]), pa.int32())
        parts.append(pa.ListArray.from_arrays(offsets, structs, type=kind))
    return table.set_column(index, table.schema.field(index), pa.chunked_array(parts, kind))


def _points(generator: np.random.Generator, number: int) -> dict[str, Any]:
    decay = np.exp(-np.arange(_NUM_POINTS) / generator.uniform(3, 20, (number, 1)))
    noise = 1 + 0.02 * generator.standard_normal((number, _NUM_POINTS))
    style, content = (0.05 + decay) * noise, 0.4 * (1 - decay) + 0.01 * np.abs(noise)
    evaluations = np.round(np.linspace(1, 150, _NUM_POINTS)).astype(np.int32)
    return {
        "evaluation": np.tile(evaluations, number),
        "content": content.ravel(),
        "style": style.ravel(),
        "tv": np.full(number * _NUM_POINTS, 0.01),
        "detail": np.zeros(number * _NUM_POINTS),
        "total": (style + 0.05 * content).ravel(),
    }


def picture_files(folder: Path, number: int) -> Mapping[str, Path]:
    """A small smooth picture, as each of the files that a run writes of one, by their suffixes."""
    folder.mkdir(parents=True, exist_ok=True)
    coarse = Image.fromarray(np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8))
    files = {}
    for suffix, size in (
        (".png", (128, 96)),
        (".jpg", (128, 96)),
        ("-256.webp", (256, 192)),
        ("-512.webp", (512, 384)),
    ):
        files[suffix] = folder / f"{number}{suffix}"
        coarse.resize(size, Image.Resampling.BICUBIC).save(files[suffix], quality=75)
    return files


def link(original: Path, path: Path) -> None:
    """Another name for a file, in place of what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        os.link(original, path)
    except OSError:
        # A file system without links, or one that has as many of this file as it can.
        shutil.copyfile(original, path)
