"""Makers that several tests share: pictures, manifests, weights, jobs."""

import csv
import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nst.backbones import Backbone, load_backbone
from nst.job import Job, PictureParams
from nst.profiles import PROFILES
from nst.weights import load_state, obtain

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "manifests/samples"


def picture(height: int, width: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth coloured shapes, [H,W,3], unlike for unlike seeds."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [
        np.sin(generator.uniform(5, 30) * (np.cos(a) * x + np.sin(a) * y) + generator.uniform(0, 6))
        for a in generator.uniform(0, np.pi, 3)
    ]
    return np.round((np.stack(waves, axis=2) + 1) * 127.5).astype(np.uint8)


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    """The bytes of a Pillow image."""
    sink = io.BytesIO()
    image.save(sink, image_format, **options)
    return sink.getvalue()


def picture_bytes(height: int, width: int, *, seed: int = 0) -> bytes:
    """A PNG of `picture`."""
    return encoded(Image.fromarray(picture(height, width, seed=seed)))


def picture_tensor(height: int, width: int, *, seed: int = 0) -> Tensor:
    """`picture` as float32 [3,H,W] in [0, 1]."""
    return torch.from_numpy(picture(height, width, seed=seed)).permute(2, 0, 1).float() / 255


def csv_bytes(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Rows as CSV, with the columns that any of them has."""
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def write_project(folder: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A manifest in `folder` beside two contents, a.png and b.png, and two styles, s.png and t.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, size) in enumerate(
        {"a": (48, 64), "b": (48, 64), "s": (64, 64), "t": (40, 80)}.items()
    ):
        (folder / f"{name}.png").write_bytes(picture_bytes(*size, seed=seed))
    manifest = folder / "manifest.csv"
    manifest.write_bytes(csv_bytes(rows))
    return manifest


def row(content: str = "a.png", style: str = "s.png", **cells: object) -> dict[str, object]:
    """A row that is quick to make."""
    return {"content": content, "style": style, "backbone": "vgg16", "size": 64, "steps": 3} | cells


def job(**values: Any) -> Job:
    """A job that says little."""
    defaults: dict[str, Any] = {
        "row": 1,
        "id": "one",
        "content": "/in/a.png",
        "style": "/in/s.png",
        "content_name": "a.png",
        "style_name": "s.png",
        "backbone": "vgg16",
        "params": PictureParams(),
        "labels": {},
    }
    return Job(**defaults | values)


@cache
def vgg16(**params: Any) -> Backbone:
    """The embedded VGG-16 on the CPU, with the layers that the parameters name."""
    chosen = PictureParams(**params)
    shares = PROFILES["vgg16"].shares(chosen.content_layers, chosen.style_layers)
    state = load_state(obtain("vgg16"))
    return load_backbone("vgg16", state, shares.layers, device=torch.device("cpu"))


def random_state(backbone: str, *, seed: int = 0) -> dict[str, Tensor]:
    """Seeded random weights under torchvision's own keys, without the classifier.

    The scales keep activations of one size through the layers (He et al., 2015).
    """
    from torchvision import models

    with torch.device("meta"):
        model = getattr(models, backbone)()
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in model.state_dict().items():
        if key.startswith(("classifier", "fc")):
            continue
        if value.ndim == 4:
            fan_in = value[0].numel()
            state[key] = torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5
        elif key.endswith(("running_var", "weight")):
            state[key] = torch.ones(value.shape)
        else:
            state[key] = torch.zeros(value.shape, dtype=value.dtype)
    return state
