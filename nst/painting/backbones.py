"""Name and weights -> a frozen network that returns features by layer name; the only torchvision.

Pictures come in as sRGB in [0, 1]; the backbone normalises them itself.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nst.errors import WeightsError
from nst.job import Pooling
from nst.painting import convolutions, pulse, winograd
from nst.painting.precision import DTYPES, multiplied_in
from nst.profiles import PROFILES, BackboneProfile, Topology
from nst.settings import Precision

# torchvision imports torch's compiler, which takes longer than torch itself, in every process that
# paints. A VGG needs none of it.
if TYPE_CHECKING:
    from torchvision.models.resnet import Bottleneck

# Told a layer's name and features; what it returns goes on to the next layer.
Tap = Callable[[str, Tensor], Tensor]

# The mean and standard deviation of ImageNet, per channel, that all torchvision weights expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A frozen network, cut after the deepest layer it was loaded for.

    Called with images [B,3,H,W] in [0, 1] it returns {layer: features [B,C,H',W']}, in the number
    format `dtype`. `product_dtype` is the one that convolutions and the search for neighbours multiply
    in: float32 on a CPU without hardware for `dtype`, unless the network is compact.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        profile: BackboneProfile,
        stages: Mapping[str, nn.Module],
        layers: Sequence[str],
        dtype: torch.dtype = torch.float32,
        product_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.profile = profile
        self.layers = tuple(layers)
        self.dtype = dtype
        self.product_dtype = product_dtype or dtype
        self._names = tuple(stages)
        self._stages = nn.ModuleList(stages.values())
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def multiplied_in(self) -> Precision:
        """The name of `product_dtype`."""
        return "float32" if self.product_dtype == torch.float32 else "bfloat16"

    @property
    def is_independent_of_threads(self) -> bool:
        """Whether no bit of what a CPU computes depends on the number of threads."""
        is_in_float32 = self.multiplied_in == "float32"
        return is_in_float32 or not self.profile.depends_on_threads_in_bfloat16

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = {}

        def keep(layer: str, found: Tensor) -> Tensor:
            features[layer] = found
            return found

        self.through(images, keep)
        return features

    def through(self, images: Tensor, tap: Tap) -> Tensor:
        """Send images [B,3,H,W] through, with `tap` at each layer; returns the deepest features."""
        x = ((images - self.mean) / self.std).to(self.dtype)
        # Channels last is how convolutions and Grams both want them.
        x = x.contiguous(memory_format=torch.channels_last)
        for name, stage in zip(self._names, self._stages, strict=True):
            x = stage(x)
            if name in self.layers:
                x = tap(name, x)
            pulse.beat()
        return x


def load_backbone(
    name: str,
    state: Mapping[str, Tensor],
    layers: Sequence[str],
    *,
    device: torch.device,
    precision: Precision = "float32",
    pooling: Pooling = "max",
    topology: Topology | None = None,
    compact: bool = False,
) -> Backbone:
    """The backbone `name` with torchvision's own keys from `state`, cut after the deepest of `layers`.

    `precision` is its number format; `pooling` may replace its max pooling; `topology` is one of the
    profile's, or its usual one if None; `compact` saves memory, and not time, for a network that is used
    little. Raises WeightsError if keys are missing, shapes differ or values are not finite.
    """
    profile = PROFILES[name]
    stages = loaded_stages(name, state, layers, topology)
    if pooling == "avg":
        stages = {n: _averaging(stage) for n, stage in stages.items()}

    def moved(conv: nn.Conv2d) -> nn.Module:
        return frozen_conv(conv, device, precision, compact=compact)

    stages = {n: _with_convs(stage, moved) for n, stage in _folded(stages).items()}
    products = _multiplied_in(precision, device, compact=compact)
    backbone = Backbone(profile, stages, layers, DTYPES[precision], DTYPES[products])
    backbone.mean, backbone.std = backbone.mean.to(device), backbone.std.to(device)
    return backbone.requires_grad_(False).eval()


def _with_convs(stage: nn.Module, moved: Callable[[nn.Conv2d], nn.Module]) -> nn.Module:
    """The stage with each of its convolutions replaced by `moved`."""
    if isinstance(stage, nn.Conv2d):
        return moved(stage)
    for name, child in stage.named_children():
        setattr(stage, name, _with_convs(child, moved))
    return stage


def loaded_stages(
    name: str,
    state: Mapping[str, Tensor],
    layers: Sequence[str],
    topology: Topology | None = None,
) -> dict[str, nn.Module]:
    """The stages down to the deepest of `layers`, filled from `state`; see `load_backbone`.

    Deeper ones are not needed: a file may end there.
    """
    profile = PROFILES[name]
    architecture = _ARCHITECTURES[name]
    # Built without memory: a VGG's unused classifier alone would take 500 MB and a second.
    with torch.device("meta"):
        model = architecture.build(topology)
    stages = architecture.stages(model)
    deepest = max(profile.layers.index(layer) for layer in layers)
    names = list(stages)[: list(stages).index(profile.layers[deepest]) + 1]
    _load_state(model, {n: stages[n] for n in names}, state, name)
    return {n: stages[n].eval() for n in names}


def _averaging(stage: nn.Module) -> nn.Module:
    """Average pooling of the same shape instead of max pooling, as Gatys et al. (2016) prefer."""
    if not isinstance(stage, nn.MaxPool2d):
        return stage
    return nn.AvgPool2d(
        stage.kernel_size, stage.stride, stage.padding, stage.ceil_mode, count_include_pad=False
    )


def _folded(stages: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """A convolution that includes the frozen batch normalisation after it."""
    folded: dict[str, nn.Module] = {}
    for name, stage in stages.items():
        before = next(reversed(folded), None)
        if isinstance(stage, nn.BatchNorm2d) and before is not None:
            folded[before] = _fused(folded[before], stage)
            folded[name] = nn.Identity()
        else:
            if hasattr(stage, "downsample"):
                _fold_block(stage)
            folded[name] = stage
    return folded


def _fold_block(block: "Bottleneck") -> None:
    for number in ("1", "2", "3"):
        conv, norm = getattr(block, f"conv{number}"), getattr(block, f"bn{number}")
        setattr(block, f"conv{number}", _fused(conv, norm))
        setattr(block, f"bn{number}", nn.Identity())
    if block.downsample is not None:
        block.downsample = _fused(block.downsample[0], block.downsample[1])


def _fused(conv: nn.Module, norm: nn.Module) -> nn.Module:
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    return fuse_conv_bn_eval(conv, norm)


def _load_state(
    model: nn.Module, used: dict[str, nn.Module], state: Mapping[str, Tensor], name: str
) -> None:
    """Fill the parameters of the `used` stages of `model`, checking each against what it expects."""
    prefix_of = {module: prefix for prefix, module in model.named_modules()}
    deepest = next(reversed(used))
    for stage in used.values():
        prefix = prefix_of[stage]
        expected = {f"{prefix}.{key}": tensor for key, tensor in stage.state_dict().items()}
        values = {}
        for key, tensor in expected.items():
            # Only training counts batches, and some files leave the counter out.
            default = torch.tensor(0) if key.endswith("num_batches_tracked") else None
            value = state.get(key, default)
            if value is None:
                raise WeightsError(
                    f"weights of {name}: expected the key {key!r} of torchvision's {name}, found "
                    f"{_some_keys(state)}; give a state dict with torchvision's own keys down to "
                    f"{deepest}, the deepest layer in use"
                )
            if value.shape != tensor.shape:
                raise WeightsError(
                    f"weights of {name}: expected {key!r} of shape {tuple(tensor.shape)}, found "
                    f"{tuple(value.shape)}; is the file for another network?"
                )
            _check_kind(name, key, value, is_float=tensor.is_floating_point())
            value = value.to(tensor.dtype)
            if not torch.isfinite(value).all():
                raise WeightsError(f"weights of {name}: {key!r} holds values that are not finite")
            if key.endswith("running_var") and (value < 0).any():
                raise WeightsError(f"weights of {name}: {key!r} holds variances below zero")
            values[key.removeprefix(f"{prefix}.")] = value
        stage.load_state_dict(values, assign=True)


def _check_kind(name: str, key: str, value: Tensor, *, is_float: bool) -> None:
    """Raises WeightsError for what cannot be a weight: no floats, sparse, or without values."""
    is_dense = value.layout == torch.strided and value.device.type == "cpu"
    if not is_dense or (is_float and not value.is_floating_point()):
        raise WeightsError(
            f"weights of {name}: expected {key!r} as a dense tensor of floating-point numbers, "
            f"found {value.dtype} ({value.layout}, on {value.device}); save the weights in float32"
        )


def _some_keys(state: Mapping[str, Tensor]) -> str:
    keys = sorted(state)
    return f"{len(keys)} other keys ({', '.join(keys[:3])}, ...)" if keys else "no keys at all"


@dataclass(frozen=True, slots=True)
class _Architecture:
    """How a network is built with torchvision's keys, and its modules in order under our names."""

    build: Callable[[Topology | None], nn.Module]
    stages: Callable[[nn.Module], dict[str, nn.Module]]


def _vgg(num_convs: Sequence[int]) -> nn.Module:
    """The features of a VGG with these numbers of convolutions in its blocks."""
    modules: list[nn.Module] = []
    before = 3
    for channels, number in zip((64, 128, 256, 512, 512), num_convs, strict=True):
        for _ in range(number):
            modules += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
            before = channels
        modules.append(nn.MaxPool2d(2, 2))
    return nn.ModuleDict({"features": nn.Sequential(*modules)})


def _vgg_stages(model: nn.Module) -> dict[str, nn.Module]:
    """conv1_1, relu1_1, conv1_2, ..., pool1, conv2_1, ..., as Simonyan and Zisserman count them."""
    stages: dict[str, nn.Module] = {}
    block, conv = 1, 0
    for module in model.get_submodule("features").children():
        match module:
            case nn.Conv2d():
                conv += 1
                stages[f"conv{block}_{conv}"] = module
            case nn.ReLU():
                stages[f"relu{block}_{conv}"] = module
            case nn.MaxPool2d():
                stages[f"pool{block}"] = module
                block, conv = block + 1, 0
    return stages


def _resnet50(topology: Topology | None) -> nn.Module:
    from torchvision import models

    network: Any = models.resnet50()
    if topology == "caffe":
        # Caffe's poolings end with a window that reaches over the edge.
        network.maxpool = nn.MaxPool2d(3, 2, ceil_mode=True)
        for stage in (network.layer2, network.layer3, network.layer4):
            stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
    module: nn.Module = network
    return module


def _resnet_stages(model: Any) -> dict[str, nn.Module]:
    """conv1, bn1, relu1, pool1, then each residual block as layer<stage>.<block>."""
    stages: dict[str, nn.Module] = {
        "conv1": model.conv1,
        "bn1": model.bn1,
        "relu1": model.relu,
        "pool1": model.maxpool,
    }
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        for i, block in enumerate(getattr(model, stage)):
            stages[f"{stage}.{i}"] = block
    return stages


_ARCHITECTURES: dict[str, _Architecture] = {
    "vgg16": _Architecture(lambda _: _vgg((2, 2, 3, 3, 3)), _vgg_stages),
    "vgg19": _Architecture(lambda _: _vgg((2, 2, 4, 4, 4)), _vgg_stages),
    "resnet50": _Architecture(_resnet50, _resnet_stages),
}


# A GPU's units for bfloat16 take so many channels at once, which lie side by side in memory.
_CHANNELS_AT_ONCE = 8


class PaddedConv2d(nn.Module):
    """`conv` with zeros for further channels, up to a multiple of 8; the result is the same.

    A network's first convolution has 3 channels, with which a GPU cannot use its units for bfloat16.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self._missing = -conv.in_channels % _CHANNELS_AT_ONCE
        self.conv = conv
        conv.in_channels += self._missing
        conv.weight = nn.Parameter(self._padded(conv.weight.detach()))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self._padded(x))
        return y

    def _padded(self, x: Tensor) -> Tensor:
        """[B,C,H,W] with zeros behind the C channels."""
        return functional.pad(x, (0, 0, 0, 0, 0, self._missing))


class RoundedConv2d(nn.Module):
    """`conv`, which computes in float32, of features in bfloat16: [B,C,H,W] -> [B,K,h,w], rounded once.

    That is what units for bfloat16 do, which add up in float32, for CPUs that have none. A library's own
    for these takes several times as long.
    """

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x.float()).to(x.dtype)
        return y


def arranged(conv: nn.Conv2d, device: torch.device, precision: Precision) -> nn.Module:
    """`conv`, with more channels if this device computes faster so."""
    has_units = device.type == "cuda" and precision == "bfloat16"
    return PaddedConv2d(conv) if has_units and conv.in_channels % _CHANNELS_AT_ONCE else conv


def _multiplied_in(precision: Precision, device: torch.device, *, compact: bool) -> Precision:
    """As `multiplied_in`; convolutions in another format would take more memory."""
    return precision if compact else multiplied_in(precision, device)


def frozen_conv(
    conv: nn.Conv2d, device: torch.device, precision: Precision, *, compact: bool = False
) -> nn.Module:
    """`conv` in the form that this device computes fastest, its parameters frozen.

    Its filters may be eight times as large, or in another format than `precision`; `compact` avoids both,
    for a network that is used little.
    """
    if _multiplied_in(precision, device, compact=compact) != precision:
        # By the parameters as they are in that format.
        rounded = conv.to(DTYPES[precision]).float()
        return RoundedConv2d(frozen_conv(rounded, device, "float32"))
    if device.type == "cpu" and precision == "float32":
        if not compact and winograd.suits(conv):
            return winograd.WinogradConv2d(conv)
        module = convolutions.independent_of_threads(conv)
    else:
        module = arranged(conv, device, precision)
    moved = module.to(device, DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen: nn.Module = moved.requires_grad_(False)
    return frozen
