"""What all parts share: what they are given, the pictures and networks, how a device is timed."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.measuring import ROOT
from nst.job import PictureParams
from nst.painting import Backbone, Item, load_backbone, load_state, obtain, resolve_device
from nst.pictures import images
from nst.profiles import PROFILES
from nst.settings import Precision

SAMPLES = ROOT / "manifests/samples"
CONTENTS = ("chelsea", "coffee", "rocket", "summer-palace")
STYLES = ("great-wave", "night-cafe", "shipwreck", "starry-night", "the-scream")

# What a part has found so far, by name, as it goes into the JSON; dataclasses are written by field.
Found = dict[str, Any]


class MissingError(Exception):
    """A part needs something that is not on this machine; the text says what, and how to get it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a part is given: where it computes, where its files go, until when, and what is carried.

    `ends_s` is a time of `time.monotonic`. With `is_toy` all is as small as it can be. `resnet50`
    is a weights file, `peer_path` a folder or wheel of the peer; None where there is none. `before`
    is what the parts before it have found. `say` prints a line at once, and keeps what was found.
    """

    device: str
    is_toy: bool
    folder: Path
    ends_s: float
    resnet50: str | None
    peer_path: Path | None
    say: Callable[[str], None]
    before: Mapping[str, Found] = field(default_factory=dict)

    @property
    def on(self) -> torch.device:
        return resolve_device(self.device)

    @property
    def has_gpu(self) -> bool:
        return self.on.type == "cuda"

    def has(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return time.monotonic() + seconds <= self.ends_s

    def or_toy(self, full: Any, toy: Any) -> Any:
        """The first, or in a toy run the second."""
        return toy if self.is_toy else full


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What was to be reached, what was measured, and whether that is enough; None where unknown."""

    what: str
    wanted: str
    measured: str = "not measured"
    is_reached: bool | None = None


@contextmanager
def deterministic() -> Iterator[None]:
    """Meanwhile only algorithms that give the same bits each time, as a run may ask for them."""
    cudnn, before = torch.backends.cudnn, torch.backends.cudnn.deterministic
    cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        cudnn.deterministic = before
        torch.use_deterministic_algorithms(False)


def waited(device: torch.device) -> None:
    """Return once a device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """What some work takes, to its end on the device."""
    waited(device)
    begun = time.perf_counter()
    work()
    waited(device)
    return time.perf_counter() - begun


@cache
def sample(name: str, side_px: int) -> Tensor:
    """A content or style of the samples as a square picture [3,side,side] in [0, 1]."""
    kind = "content" if name in CONTENTS else "style"
    data = (SAMPLES / kind / f"{name}.jpg").read_bytes()
    decoded = images.decode(data, long_edge_px=side_px, name=name)
    return torch.from_numpy(images.resized(decoded, side_px, side_px).pixels)


def item(number: int, side_px: int, **params: Any) -> Item:
    """One of many pictures to make, no two alike: a sample, mirrored and turned by its number."""
    content = sample(CONTENTS[number % len(CONTENTS)], side_px)
    turned = torch.rot90(content, number // len(CONTENTS) % 4, (1, 2))
    style = STYLES[number // (4 * len(CONTENTS)) % len(STYLES)]
    return Item(
        content=turned.contiguous(),
        styles=(sample(style, side_px),),
        style_keys=(style,),
        params=PictureParams(size=side_px, **params),
    )


def network(name: str, given: Given, *, device: torch.device, precision: Precision) -> Backbone:
    """A backbone with its weights; ResNet-50 without a file has random ones, which count for speed."""
    layers = PROFILES[name].shares(None, None).layers
    choice = given.resnet50 if name == "resnet50" else None
    is_random = name == "resnet50" and choice is None
    file = None if is_random else obtain(name, choice)
    return load_backbone(
        name,
        random_resnet50() if file is None else load_state(file),
        layers,
        device=device,
        precision=precision,
        topology=file.topology if file else None,
    )


@cache
def random_resnet50() -> dict[str, Tensor]:
    """Seeded weights of the right shapes."""
    from torchvision import models

    with torch.random.fork_rng():
        torch.manual_seed(0)
        state: dict[str, Tensor] = models.resnet50().state_dict()
    return state


def grey_levels_apart(one: Tensor, other: Tensor) -> float:
    """The mean distance of two pictures of the same size, in levels of which white is 255."""
    return 255 * float((one - other).abs().mean())
