"""A step as it is given to a GPU, of tensors that say they are there and have no numbers.

PyTorch has them for its compiler. To read a number of one is an error, as it would be in a CUDA graph;
the pass back through the network, for which PyTorch itself needs a GPU, is left out.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nst.job import PictureParams
from nst.painting import backbones, graphs, objective
from nst.painting.backbones import Backbone
from nst.painting.objective import Objective
from nst.painting.octaves import Octaves, at_scale
from nst.painting.precision import DTYPES
from nst.painting.targets import Item
from nst.profiles import PROFILES
from nst.scales import Scale
from nst.settings import Precision

GPU = torch.device("cuda:0")
LAYERS: dict[str, Any] = {"content_layers": "relu2_1", "style_layers": "relu1_1 relu3_1"}


class OnTheCPU(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations with a tensor of the CPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, made)) if isinstance(t, Tensor)]
        if any(tensor.device.type == "cpu" for tensor in tensors):
            self.found.append(str(func))
        return made


def network(precision: Precision) -> Backbone:
    """A VGG down to relu3_1, as `load_backbone` makes it for a GPU."""
    stages = backbones._vgg_stages(backbones._vgg((2, 2, 2, 2, 2)))
    stages = {name: stages[name] for name in list(stages)[: list(stages).index("relu3_1") + 1]}
    stages = {name: moved(stage, precision) for name, stage in stages.items()}
    found = Backbone(
        PROFILES["vgg16"], stages, ("relu1_1", "relu2_1", "relu3_1"), DTYPES[precision]
    )
    found.mean, found.std = found.mean.to(GPU), found.std.to(GPU)
    return found


def moved(stage: nn.Module, precision: Precision) -> nn.Module:
    if not isinstance(stage, nn.Conv2d):
        return stage
    module = backbones.arranged(stage, GPU, precision)
    for name in ("weight", "bias"):
        values = getattr(stage, name).detach().to(GPU, DTYPES[precision])
        setattr(stage, name, nn.Parameter(values, requires_grad=False))
    return module


@pytest.fixture
def pulls(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Where the pass back would be, what each layer's losses add to its gradient."""
    found: list[Callable[[], None]] = []

    def pulled(features: Tensor, own: Sequence[Any]) -> Tensor:
        def pull() -> None:
            gradient = torch.zeros_like(features)
            for each in own:
                gradient = each(gradient, features)
            assert (gradient.dtype, gradient.shape) == (features.dtype, features.shape)

        found.append(pull)
        return features

    def grad(_: Tensor, images: Tensor, *__: Tensor) -> tuple[Tensor]:
        while found:
            found.pop()()
        return (torch.zeros_like(images),)

    monkeypatch.setattr(objective, "_pulled", pulled)
    monkeypatch.setattr(torch.autograd, "grad", grad)
    monkeypatch.setattr(graphs, "record", lambda step, _: step)
    return found


@pytest.mark.parametrize(("precision", "is_masked"), [("bfloat16", False), ("float32", True)])
@pytest.mark.usefixtures("pulls")
def test_a_recorded_step_needs_nothing_of_the_cpu(precision: Precision, is_masked: bool) -> None:
    with FakeTensorMode():
        backbone = network(precision)
        params = PictureParams(size=64, tv_weight=1.0, detail_weight=1.0, **LAYERS)
        items = [
            Item(
                content=torch.rand(3, 48, 64, device=GPU),
                styles=(torch.rand(3, 40, 40, device=GPU),),
                mask=torch.rand(1, 48, 64, device=GPU) if is_masked else None,
                params=params,
            )
            for _ in range(2)
        ]
        scales = [Scale(height=h, width=w, steps=9, pixels=1) for h, w in ((24, 32), (48, 64))]
        objectives = [Objective.of([at_scale(one, s) for one in items], backbone) for s in scales]
        octaves = Octaves(objectives, scales, GPU)
        steps = graphs.RecordedSteps(octaves, torch.stack([one.content for one in items]))
        with OnTheCPU() as noted:
            steps._step()
        assert noted.found == []
        losses = steps.evaluate([True, True], torch.ones(2, dtype=torch.bool, device=GPU))
        assert losses.total.device == steps.best.images.device == GPU
