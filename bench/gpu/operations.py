"""What an evaluation computes and moves, counted on the CPU; the same on every device.

Operations are proportional to the pixels, so a small picture tells of all sizes; of the bytes some are
the same at every size, so two small pictures do.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from bench.gpu.given import random_resnet50
from nst.job import PictureParams
from nst.painting import (
    OPTIMIZERS,
    Backbone,
    Item,
    Objective,
    Rulers,
    Sources,
    load_backbone,
    load_state,
    obtain,
)
from nst.profiles import PROFILES

# So large that a picture is compared with as many positions of its style as ever.
_STYLE_SIDE_PX = 384
# Multiples of every stride, with two positions of the deepest layer or more.
_SIDES_PX = (64, 128)
_PRODUCTS = ("convolution", "mm", "bmm", "addmm", "baddbmm")
# They reserve memory, or say where it is, and move nothing.
_MOVE_NOTHING = ("empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided")
# As many steps as fill the history of L-BFGS, and one.
_STEPS = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One evaluation of a picture and the step after it, for each of its pixels.

    `flops` are the floating-point operations of convolutions and matrix products, of which a
    multiplication and an addition are two. The bytes are those that each operation reads and writes:
    `product_bytes` of convolutions and products, `fft_bytes` of transforms, `other_bytes` of all the
    rest, which computes next to nothing. `once_bytes` do not depend on the size: weights and Grams.
    """

    flops: float
    product_bytes: float
    fft_bytes: float
    other_bytes: float
    once_bytes: float


@cache
def work_of(name: str) -> Work:
    """That of a backbone with the default layers, in bfloat16, with a full history of L-BFGS."""
    small, large = (moved_by(name, side_px).bytes_by_kind for side_px in _SIDES_PX)
    small_px, large_px = (side_px**2 for side_px in _SIDES_PX)
    each = {kind: (large[kind] - small[kind]) / (large_px - small_px) for kind in KINDS}
    return Work(
        flops=flops_per_px(name),
        product_bytes=each["product"],
        fft_bytes=each["fft"],
        other_bytes=each["other"],
        once_bytes=sum(small[kind] - small_px * each[kind] for kind in KINDS),
    )


def moved_by(name: str, side_px: int) -> "Moved":
    """The bytes of one evaluation of a picture of that size, and of the step after it."""
    objective, images = _objective(name, side_px)
    optimizer = OPTIMIZERS[PictureParams().optimizer](images)
    gradient = objective(images)[1]
    for _ in range(_STEPS):
        images = optimizer.step(gradient)
        # The same gradient again would leave no curvature.
        gradient = gradient * 1.01
    moved = Moved()
    with moved:
        _, gradient = objective(images)
        optimizer.step(gradient)
    return moved


@cache
def flops_per_px(name: str) -> float:
    """The operations of one evaluation for each pixel, there and back, by PyTorch's counter."""
    side_px = _SIDES_PX[0]
    objective, images = _objective(name, side_px)
    with FlopCounterMode(display=False) as counter:
        objective(images)
    return float(counter.get_total_flops()) / side_px**2


@cache
def measuring_flops() -> int:
    """The operations of all measures of a picture of VGG-19, its content and style known already."""
    picture, content, style = torch.rand(3, 3, 256, 256)
    sources = Sources(
        content=content,
        content_key="content",
        styles=(style,),
        style_keys=("style",),
        shares=(1.0,),
    )
    rulers = Rulers(torch.device("cpu"))
    rulers.measure(picture, sources, "vgg19")
    with FlopCounterMode(display=False) as counter:
        rulers.measure(picture, sources, "vgg19")
    return int(counter.get_total_flops())


def _objective(name: str, side_px: int) -> tuple[Objective, Tensor]:
    generator = torch.Generator().manual_seed(0)
    content, style = (
        torch.rand(3, side, side, generator=generator) for side in (side_px, _STYLE_SIDE_PX)
    )
    item = Item(content=content, styles=(style,), params=PictureParams(size=side_px))
    return Objective.of([item], _backbone(name)), content[None].clone()


@cache
def _backbone(name: str) -> Backbone:
    """Plain convolutions in the format of a GPU: those of a CPU multiply less and move more."""
    state = random_resnet50() if name == "resnet50" else load_state(obtain(name))
    layers = PROFILES[name].shares(None, None).layers
    on = torch.device("cpu")
    return load_backbone(name, state, layers, device=on, precision="bfloat16", compact=True)


KINDS = ("product", "fft", "other")


class Moved(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes that operations read and write while it is entered: by kind, and by name."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes_by_kind = dict.fromkeys(KINDS, 0)
        self.bytes_by_name: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        read = list(_tensors((*args, *(kwargs or {}).values())))
        written = list(_tensors((found,)))
        if name in _MOVE_NOTHING or (not func._schema.is_mutable and _is_view(read, written)):
            return found
        num_bytes = sum(map(_bytes, [*read, *written]))
        is_product = name.removesuffix("_backward") in _PRODUCTS
        kind = "product" if is_product else "fft" if "fft" in name else "other"
        self.bytes_by_kind[kind] += num_bytes
        self.bytes_by_name[name] += num_bytes
        return found


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _is_view(read: Iterable[Tensor], written: Iterable[Tensor]) -> bool:
    """Whether what comes out is what went in, seen otherwise."""
    places = {each.untyped_storage().data_ptr() for each in read}
    return all(each.untyped_storage().data_ptr() in places for each in written)


def _bytes(tensor: Tensor) -> int:
    """What is in memory of it: of a number that is repeated, that one."""
    held = math.prod(
        size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride
    )
    return held * tensor.element_size()
