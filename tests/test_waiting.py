"""The loop of the optimisation never waits for its device, nor sends it anything.

It runs on PyTorch's `meta` device here, whose tensors have a shape and no values: whoever reads one,
by `.item()`, `.tolist()`, `.cpu()`, an `if` or by picking what is true, gets an error.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from nst.painting import graphs
from nst.painting.backbones import Backbone, load_backbone
from nst.painting.engine import _descend, _Progress
from nst.painting.keeping import Keeping
from nst.painting.objective import Objective
from nst.painting.octaves import Octaves, at_scale
from nst.painting.optimizers import OPTIMIZERS
from nst.painting.steps import PlainSteps, Steps
from nst.painting.tiles import work_of
from nst.painting.weights import load_state, obtain
from nst.scales import Scale
from tests.helpers import item, mask_tensor

META = torch.device("meta")
LAYERS: dict[str, Any] = {"content_layers": "relu2_1", "style_layers": "relu1_1 relu3_1"}
# Every loss of the pixels, too.
PIXELS: dict[str, Any] = {"tv_weight": 1.0, "detail_weight": 1.0, "noise_weight": 0.1}
SIZES = [(24, 32), (48, 64)]
MADE_OF_NUMBERS = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
INDEXING = (Tensor.__getitem__, Tensor.__setitem__)


class Transfers(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what goes from one device to another."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        devices = {each.device for each in (*args, made) if isinstance(each, Tensor)}
        if name in ("_to_copy", "copy_") and len(devices) > 1:
            self.found.append(name)
        return made


class Numbers(TorchFunctionMode):
    """Adds the tensors of a device that are made of Python's numbers."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self._found = found

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if func in MADE_OF_NUMBERS and made.device.type != "cpu":
            self._found.append(func.__name__)
        if func in INDEXING and args[0].device.type != "cpu" and _lists_numbers(args[1]):
            self._found.append("an index of numbers")
        return made


def _lists_numbers(index: Any) -> bool:
    """Whether an index lists places, of which PyTorch makes a tensor without a word."""
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, list | tuple) for part in parts)


@contextmanager
def watched() -> Iterator[list[str]]:
    """What is sent meanwhile."""
    with Transfers() as mode, Numbers(mode.found):
        yield mode.found


@cache
def on_meta() -> Backbone:
    return load_backbone(
        "vgg16", load_state(obtain("vgg16")), ("relu1_1", "relu2_1", "relu3_1"), device=META
    )


def plain(octaves: Octaves, optimizer: str, start: Tensor) -> Steps:
    return PlainSteps(octaves, OPTIMIZERS[optimizer](start), start)


def recorded(octaves: Octaves, _: str, start: Tensor) -> Steps:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "record", lambda step, device: step)
        return graphs.RecordedSteps(octaves, start)


Make = Callable[[Octaves, str, Tensor], Steps]


def sent(*, steps: int, optimizer: str = "lbfgs", make: Make = plain, **params: Any) -> list[str]:
    """What the loop over two sizes sends in so many evaluations. Raises RuntimeError if it waits."""
    values = LAYERS | PIXELS | params
    one = item(num_styles=2, optimizer=optimizer, **values)
    items = [replace(one, mask=mask_tensor(*SIZES[-1]))] * 2
    scales = [Scale(height=h, width=w, steps=steps, pixels=h * w) for h, w in SIZES]
    scaled = [[at_scale(one, scale) for one in items] for scale in scales]
    octaves = Octaves([Objective.of(some, on_meta()) for some in scaled], scales, META)
    start = torch.empty(len(items), 3, *SIZES[-1], device=META)
    some = make(octaves, optimizer, start)
    with watched() as found:
        keeping = Keeping(every=0, on_kept=lambda *_: None, size=SIZES[-1])
        progress = _Progress(scales, work_of(scales, None, None), None)
        made = _descend(items, some, META, scales[-1], progress, keeping)
    assert len(made.curve) == steps
    return found


@pytest.mark.parametrize(
    ("optimizer", "make"), [("lbfgs", plain), ("adam", plain), ("lbfgs", recorded)]
)
def test_an_evaluation_neither_waits_nor_sends(optimizer: str, make: Make) -> None:
    assert sent(steps=3, optimizer=optimizer, make=make) == []


def test_losses_are_read_only_to_see_whether_pictures_have_stalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reading is an error here, so that the loop ends with the first look."""
    monkeypatch.setattr("nst.painting.engine.STALL_WINDOW", 2)
    assert sent(steps=1, tolerance=0.1) == []
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        sent(steps=2, tolerance=0.1)


def test_whatever_is_sent_is_seen() -> None:
    with watched() as found:
        torch.zeros(2).to(META)
        torch.empty(2, device=META).copy_(torch.zeros(2))
        torch.tensor([1.0], device=META)
        torch.empty(2, device=META).new_tensor([1.0])
        torch.empty(2, 3, device=META)[:, (0, 2), None]
        torch.empty(2, 3, device=META)[[0, 1]] = 0
        torch.empty(2, 3, device=META)[..., 1:, None]
    assert found == ["_to_copy", "copy_", "tensor", "new_tensor", *2 * ["an index of numbers"]]
