"""What an evaluation takes with one of the engine's choices for GPUs undone, beside all of them."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from bench.gpu.given import Found, Given, deterministic, network
from bench.gpu.speed import evaluation_of
from bench.measuring import table
from nst.painting import resolve_precision

_BACKBONE = "vgg19"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """An evaluation of a batch in seconds, with a choice undone."""

    undone: str
    batch: int
    evaluation_s: float


def _unpadded(conv: Any, *_: Any) -> Any:
    return conv


@contextmanager
def _untried(_: torch.device) -> Iterator[None]:
    """In place of `same_shapes`: no algorithm is tried, and none that was tried before is taken.

    PyTorch keeps the algorithm that it has for a shape and these flags, tried or not. With a flag that
    means nothing to bfloat16 turned round it has none yet.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32
    cudnn.allow_tf32 = not before
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


@dataclass(frozen=True, slots=True)
class _Replaced:
    """A choice that is a function of the product: what takes its place, in a module by its name."""

    module: str
    name: str
    by: Any

    @property
    def is_there(self) -> bool:
        return hasattr(importlib.import_module(self.module), self.name)

    def __call__(self) -> AbstractContextManager[object]:
        return mock.patch(f"{self.module}.{self.name}", self.by)


class _WithoutGraphs:
    """No step is recorded."""

    @property
    def is_there(self) -> bool:
        return importlib.util.find_spec("nst.painting.graphs") is not None

    def __call__(self) -> AbstractContextManager[object]:
        return mock.patch.dict(os.environ, {"NST_CUDA_GRAPHS": "off"})


# By what is undone; "nothing" comes first, and what this version of nst does not have is left out.
SWITCHES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "nothing": nullcontext,
    "CUDA graphs": _WithoutGraphs(),
    "algorithms that may vary: only deterministic ones": deterministic,
    "trials of cuDNN's algorithms": _Replaced("nst.painting.engine", "same_shapes", _untried),
    "8 channels in the first convolution, not 3": _Replaced(
        "nst.painting.backbones", "arranged", _unpadded
    ),
}


def available() -> list[str]:
    """Those that this version of nst has."""
    return [
        name
        for name, switch in SWITCHES.items()
        if not isinstance(switch, _Replaced | _WithoutGraphs) or switch.is_there
    ]


def measure(given: Given, found: Found) -> None:
    """Each at one picture and at a batch, VGG-19 at 512 px."""
    found["timed"] = []
    precision = resolve_precision("auto", given.on)
    size_px = given.or_toy(512, 64)
    last_s = 0.0
    for undone in available():
        # The network is loaded anew, since some choices are about how that is done.
        with SWITCHES[undone]():
            backbone = network(_BACKBONE, given, device=given.on, precision=precision)
            for batch in given.or_toy((1, 8), (1,)):
                if not given.has(last_s):
                    return
                took = evaluation_of(backbone, size_px, batch, given)
                timed = Timed(undone=undone, batch=batch, evaluation_s=took.evaluation_s)
                found["timed"].append(timed)
                last_s = 20 * took.evaluation_s
                given.say(f"without {undone}: batch {batch}, {1e3 * timed.evaluation_s:.2f} ms")


def to_markdown(found: Found) -> str:
    """A line for each, with how many times as long it takes as with nothing undone."""
    timed: Sequence[Timed] = found["timed"]
    whole = {each.batch: each.evaluation_s for each in timed if each.undone == "nothing"}
    rows = [
        [
            *(each.undone, each.batch, f"{1e3 * each.evaluation_s:.2f}"),
            f"{each.evaluation_s / whole[each.batch]:.2f}",
        ]
        for each in timed
    ]
    shown = table(["undone", "batch", "evaluation ms", "times as long"], rows)
    return f"One evaluation of a batch with VGG-19 at 512 px, with one choice of the engine for GPUs undone at a time.\n\n{shown}"
