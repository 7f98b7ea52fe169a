"""Outputs of runs that never ran, for the gallery to show: small pictures, records, all that goes wrong."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nst import output, pipeline
from nst.job import PictureParams
from nst.output.metadata import CurvePoint, LayerLoss, Outcome, Record
from tests.helpers import encoded, picture
from tests.tables import metadata_to_parquet

BACKBONES = ("vgg16", "vgg19", "resnet50")
CONTENTS = ("great-hall.jpg", "old_harbour.jpg", "sub/portrait 2.png", "portrait 10.png")
STYLES = ("wave.jpg", "starry-night.jpg", "nested/wave.jpg")
STYLE_WEIGHTS = (0.5, 1.0, 2.0)

_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_NUM_PICTURES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A row as a test asks for it. The number decides which picture it is and how good."""

    number: int
    content: str = CONTENTS[0]
    style: str = STYLES[0]
    backbone: str = BACKBONES[0]
    id: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    outcome: dict[str, Any] = field(default_factory=dict)
    curve: int = 12

    def record(self) -> Record:
        """The row with what became of it."""
        return Record(
            row=self.number + 1,
            content=self.content,
            style=self.style,
            backbone=self.backbone,
            labels=self.labels,
            params=PictureParams(**{"size": 96} | self.params),
            outcome=Outcome(**self._made() | self.outcome),
        )

    def failed(self, reason: str, error: str) -> "Sample":
        """The same row, with no picture."""
        nothing = {name: None for name in self._made() if name not in ("id", "finished_at")}
        empty = {"loss_curve": (), "style_layer_losses": ()}
        why = {"status": "failed", "reason": reason, "error": error}
        return replace(self, outcome=nothing | empty | why)

    def _made(self) -> dict[str, Any]:
        job_id = self.id or f"p{self.number:05}"
        one = painted(self.number % _NUM_PICTURES)
        random = np.random.default_rng(self.number)
        content, style, ssim = (float(each) for each in random.uniform(0.05, 0.95, 3))
        return {
            "id": job_id,
            "key": hashlib.sha256(job_id.encode()).hexdigest(),
            "status": "ok",
            "picture": f"{output.IMAGES}/{job_id}.png",
            "picture_digest": one.digest,
            "picture_bytes": len(one.png),
            "thumbnail": output.thumbnail_stem(one.digest),
            "color": one.color,
            "height": one.height,
            "width": one.width,
            "content_digest": hashlib.sha256(self.content.encode()).hexdigest(),
            "style_digest": hashlib.sha256(self.style.encode()).hexdigest(),
            "weights_digest": "1" * 64,
            "weights_origin": "embedded",
            "nst_version": "0.1.0",
            "torch_version": "2.10",
            "device": "cpu",
            "precision": "float32",
            "seconds": 1 + self.number % 7 / 4,
            "finished_at": _START + timedelta(seconds=self.number),
            "evaluations": 50,
            "content_loss": content,
            "style_loss": style,
            "tv_loss": 0.125,
            "detail_loss": 0.0,
            "total_loss": content + style,
            "loss_ratio": (content + style) / 4,
            "ssim": ssim,
            "lpips": 1 - ssim,
            "is_flat": False,
            "style_layer_losses": tuple(
                LayerLoss(layer=layer, loss=style / (1 + place))
                for place, layer in enumerate(_LAYERS)
            ),
            "loss_curve": tuple(_curve(content, style, self.curve)),
        }


def _curve(content: float, style: float, count: int) -> Iterator[CurvePoint]:
    for place in range(count):
        # Content rises from nothing as style falls from 1, both to where they ended.
        share = place / max(1, count - 1)
        yield CurvePoint(
            evaluation=1 + round(49 * share),
            content=content * share,
            style=1 + (style - 1) * share,
            tv=0.125,
            detail=0.0,
            total=content * share + 1 + (style - 1) * share,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """A picture as the files that an output has of it; the thumbnails by their paths in it."""

    png: bytes
    thumbs: dict[str, bytes]
    digest: str
    color: str
    height: int
    width: int


@cache
def painted(number: int, *, long_edge: int = 96) -> Painted:
    """The picture of this number, upright or not by turns."""
    sides = (long_edge, long_edge * 3 // 4) if number % 3 == 2 else (long_edge * 3 // 4, long_edge)
    array = picture(*sides, seed=number)
    image = Image.fromarray(array)
    png = encoded(image)
    digest = hashlib.sha256(png).hexdigest()
    red, green, blue = (int(each) for each in array.reshape(-1, 3).mean(axis=0))
    return Painted(
        png=png,
        thumbs={
            path: _webp(image, edge)
            for edge, path in output.thumbnail_paths(output.thumbnail_stem(digest), *sides).items()
        },
        digest=digest,
        color=f"#{red:02x}{green:02x}{blue:02x}",
        height=sides[0],
        width=sides[1],
    )


def _webp(image: Image.Image, edge: int) -> bytes:
    small = image.copy()
    small.thumbnail((edge, edge))
    sink = io.BytesIO()
    small.save(sink, "WEBP", quality=70)
    return sink.getvalue()


def usual() -> list[Sample]:
    """A batch of 108: every content, style, backbone and style weight, and some of it went wrong."""
    made = [
        Sample(
            number=number,
            content=f"pictures/{content}",
            style=f"styles/{style}",
            backbone=backbone,
            params={"style_weight": weight},
            labels={
                "series": ("dawn", "dusk")[number % 2],
                "note": ("", "see <b>here</b>")[number % 2],
            },
        )
        for number, (content, style, weight, backbone) in enumerate(
            product(CONTENTS, STYLES, STYLE_WEIGHTS, BACKBONES)
        )
    ]
    made[4] = made[4].failed(
        "diverged", "the loss became nan at evaluation 7; try a smaller weight"
    )
    made[40] = made[40].failed("input_not_found", "styles/nested/wave.jpg: there is no such file")
    gone = {"thumbnail": "thumbs/00/0000000000000000"}
    made[10] = replace(made[10], outcome=gone)
    made[11] = replace(made[11], outcome=gone)
    made[12] = replace(made[12], outcome={"thumbnail": None, "color": None})
    return made


# Of `usual`, the pictures whose files are gone, thumbnails and all or not, and those whose
# thumbnails alone are gone, or were never made.
GONE = (10,)
WITHOUT_THUMBNAIL = (11, 12)


def write(
    folder: Path,
    samples: Sequence[Sample],
    *,
    gone: Iterable[int] = (),
    previews: bool = True,
) -> Path:
    """An output in `folder` with the pictures, metadata and gallery of the samples; its page."""
    records = [sample.record() for sample in samples]
    missing = {f"p{number:05}" for number in gone}
    for sample, record in zip(samples, records, strict=True):
        outcome = record.outcome
        if outcome.picture is not None and outcome.id not in missing:
            one = painted(sample.number % _NUM_PICTURES)
            _link(folder / outcome.picture, one.png, folder / f".pool/{one.digest}.png")
            for path, data in one.thumbs.items():
                _once(folder / path, data)
    if previews:
        for place, reference in enumerate(
            dict.fromkeys(name for record in records for name in (record.content, record.style))
        ):
            image = Image.fromarray(picture(96, 128, seed=100 + place))
            digest = hashlib.sha256(reference.encode()).hexdigest()
            _once(folder / output.INPUTS / output.preview_name(digest), encoded(image, "JPEG"))
            _once(folder / output.INPUTS / output.small_preview_name(digest), _webp(image, 256))
    write_metadata(folder, records)
    pipeline.rebuild_gallery([str(folder)])
    return folder / output.GALLERY


def write_metadata(folder: Path, records: Sequence[Record]) -> None:
    """The table that a gallery is made from."""
    labels = list(dict.fromkeys(name for record in records for name in record.labels))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / output.METADATA).write_bytes(metadata_to_parquet(records, labels))


def _link(path: Path, data: bytes, pooled: Path) -> None:
    """A file that shares its bytes with all others like it."""
    _once(pooled, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        os.link(pooled, path)


def _once(path: Path, data: bytes) -> None:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
