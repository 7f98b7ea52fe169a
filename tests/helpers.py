"""Makers that several tests share: pictures, manifests, weights, jobs."""

import csv
import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from nst import cli, storage
from nst.errors import CorruptTransferError
from nst.job import Job, PictureParams
from nst.painting.backbones import Backbone, load_backbone
from nst.painting.targets import Item
from nst.painting.weights import load_state, obtain
from nst.profiles import PROFILES
from nst.settings import Precision

_T = TypeVar("_T")

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "manifests/samples"


def modules_of(*folders: str) -> Iterator[Path]:
    """The Python files below folders of the project, but not what a program fetched into a hidden one."""
    for folder in folders:
        for path in (ROOT / folder).rglob("*.py"):
            if not any(part.startswith(".") for part in path.relative_to(ROOT).parts):
                yield path


# What is started ends, or has got somewhere, by then on a machine that has other work to do.
PATIENCE_S = 300
# A picture that is painted gives a sign of life by then, on such a machine too.
SILENCE_S = 10


def nst(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """What `nst` prints and its exit status, as typed in `cwd`, but in this process.

    Raises AssertionError for an unexpected error, which a user would see as one.
    """
    with chdir(cwd or ROOT):
        done = CliRunner().invoke(cli.app, [*map(str, arguments)], prog_name="nst")
    assert "an unexpected error ended nst" not in done.stderr, done.stderr
    return subprocess.CompletedProcess(
        [*map(str, arguments)], done.exit_code, done.stdout, done.stderr
    )


def refuse_looks(monkeypatch: pytest.MonkeyPatch, folder: Path | str) -> None:
    """Have the system refuse to look at what is in a folder, as where it is another user's.

    Tests may run as root, who may look at everything.
    """
    look = os.stat

    def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if not isinstance(path, int) and os.fsdecode(path).startswith(f"{folder}{os.sep}"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", stat)


def refuse_bytes(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the store report the objects of this name as damaged, which are read into a file."""
    read_into = storage.read_into

    def read(uri: str, file: IO[bytes]) -> None:
        if uri.endswith(f"/{name}"):
            raise CorruptTransferError(f"cannot read {uri}: expected its digest, received another")
        read_into(uri, file)

    monkeypatch.setattr(storage, "read_into", read)


@contextmanager
def started(*arguments: object, cwd: Path = ROOT) -> Iterator["subprocess.Popen[str]"]:
    """`nst` as a user types it, in a process that does not outlive the test, however that ends."""
    command = [sys.executable, "-m", "nst", *map(str, arguments)]
    with subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def with_threads(number: int, function: Callable[[], _T]) -> _T:
    """What `function` returns where PyTorch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        return function()
    finally:
        torch.set_num_threads(before)


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


def pictures(height: int, width: int, *, first_seed: int = 0) -> Tensor:
    """Three of `picture_tensor`, [3,3,H,W], unlike for unlike seeds."""
    seeds = range(first_seed, first_seed + 3)
    return torch.stack([picture_tensor(height, width, seed=seed) for seed in seeds])


def noise(like: Tensor, *, seed: int = 0) -> Tensor:
    """Gaussian, of the shape of `like` and a standard deviation of 1."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(word for word in self.words if word)


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
        "styles": ("/in/s.png",),
        "content_name": "a.png",
        "style_name": "s.png",
        "backbone": "vgg16",
        "params": PictureParams(),
        "labels": {},
    }
    return Job(**defaults | values)


def item(
    pictures: int = 0, *, size: tuple[int, int] = (48, 64), num_styles: int = 1, **params: Any
) -> Item:
    """The n-th content, [height, width], and styles of a size of their own, for a quick run."""
    values: dict[str, Any] = {"size": max(size), "steps": 4, "init": "content"} | params
    return Item(
        content=picture_tensor(*size, seed=pictures),
        styles=tuple(
            picture_tensor(64, 50 + pictures + 7 * n, seed=100 + pictures + 50 * n)
            for n in range(num_styles)
        ),
        params=PictureParams(**values),
    )


def mask_tensor(height: int, width: int) -> Tensor:
    """A mask [1,H,W] with everything from black to white."""
    return picture_tensor(height, width, seed=9)[:1]


@cache
def vgg16(*, precision: Precision = "float32", **params: Any) -> Backbone:
    """The embedded VGG-16 on the CPU, with the layers and the pooling that the parameters name."""
    chosen = PictureParams(**params)
    shares = PROFILES["vgg16"].shares(chosen.content_layers, chosen.style_layers)
    return load_backbone(
        "vgg16",
        load_state(obtain("vgg16")),
        shares.layers,
        device=torch.device("cpu"),
        precision=precision,
        pooling=chosen.pooling,
    )


def resnet50(*, precision: Precision = "float32") -> Backbone:
    """With seeded random weights, on the CPU."""
    return load_backbone(
        "resnet50",
        random_state("resnet50"),
        PROFILES["resnet50"].shares(None, None).layers,
        device=torch.device("cpu"),
        precision=precision,
    )


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


def with_random_norms(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with batch normalisations that do something: seeded statistics and affine maps."""
    generator = torch.Generator().manual_seed(1)

    def uniform(value: Tensor, low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(value.shape, generator=generator)

    norms = {key.removesuffix("running_var") for key in state if key.endswith("running_var")}
    changed = dict(state)
    for norm in sorted(norms):
        changed[norm + "running_mean"] = uniform(state[norm + "running_mean"], -0.3, 0.3)
        changed[norm + "running_var"] = uniform(state[norm + "running_var"], 0.5, 2.0)
        changed[norm + "weight"] = uniform(state[norm + "weight"], 0.3, 1.1)
        changed[norm + "bias"] = uniform(state[norm + "bias"], -0.3, 0.3)
    return changed
