"""Finds the topology of a ResNet-50's weights by the statistics that training has stored in them.

The first filters whose inputs differ between the topologies are the 3 x 3 of layer2.0: their neighbours
are at half or twice the distance. So the spread of their outputs differs, channel by channel, by some
13 %, and the batch normalisation after them has stored the spread of the training. It is compared with
the spread over photographs. In the layers before, each normalisation uses the photographs' own
statistics, as in training; otherwise the differences between these few photographs and a million others
would add up from layer to layer.

The position of the first pooling leaves no trace: shifted features have the same spread.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from nst.errors import WeightsError
from nst.painting.backbones import IMAGENET_MEAN, IMAGENET_STD, loaded_stages
from nst.painting.weights import WeightsFile
from nst.pictures import images
from nst.profiles import Topology

_BLOCK = "layer2.0"
_NORM = f"{_BLOCK}.bn2"
# Three photographs of 224 x 224 side by side; see data/SOURCES.md. By them He et al.'s weights are
# placed at 0.89, and their filters with statistics of torchvision's topology at 0.1 to 0.2. By noise
# of 1/f or scenes of generated shapes it would be 0.1 to 0.6, and -0.6 to -0.1.
_PHOTOS = Path(__file__).parent / "data/photos.jpg"
_NUM_PHOTOS = 3

# He et al.'s weights have 0.95, seeded random ones about 0. Their filters with statistics measured
# anew have 0.87 to 0.97 over other photographs and paintings, and less than this over one texture,
# a page of text or noise, where the position is often that of the wrong topology.
_MIN_CORRELATION = 0.85
# Positions in the middle third between the topologies count as neither.
_MAX_OFF = 1 / 3
# Of the median. Of channels that next to nothing comes out of, the spread is chance.
_MIN_SPREAD = 1e-3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How the stored spreads of the outputs of layer2.0's 3 x 3 agree with those over photographs.

    All in logarithms, channel by channel, and up to a factor that all channels share. `errors` are
    root mean squares for each topology, 0.06 for some 6 %. `position` is that of the stored
    spreads on the line from torchvision's (0) to Caffe's (1). `correlation` is with the nearer of them.
    """

    errors: Mapping[Topology, float]
    position: float
    correlation: float

    @property
    def topology(self) -> Topology | None:
        """The topology of the weights; None if it cannot be determined."""
        # Where all channels are stored as alike, neither figure is a number, and no comparison holds.
        if self.correlation >= _MIN_CORRELATION and self.position <= _MAX_OFF:
            return "torchvision"
        if self.correlation >= _MIN_CORRELATION and self.position >= 1 - _MAX_OFF:
            return "caffe"
        return None


def check_topology(file: WeightsFile, state: Mapping[str, Tensor]) -> None:
    """Raises WeightsError for a file whose statistics clearly contradict its topology.

    If the user has given the topology, it is used, with a warning.
    """
    if file.topology is None or file.origin != "file":
        return
    fit = fit_of(file.backbone, state)
    if fit is None or fit.topology in (None, file.topology):
        return
    error = WeightsError(_contradiction(file, fit, fit.topology))
    if file.topology_said_by != "user":
        raise error
    _log.warning("%s", error)


def fit_of(backbone: str, state: Mapping[str, Tensor]) -> Fit | None:
    """How a state dict's statistics agree with photographs; None if it ends before layer2.0."""
    try:
        stages = loaded_stages(backbone, state, (_BLOCK,))
    except WeightsError:
        return None
    stored = state[f"{_NORM}.running_var"].double().sqrt()
    measured = {name: std.double() for name, std in _spreads(stages).items()}
    is_alive = torch.stack(
        [each > _MIN_SPREAD * each.median() for each in (stored, *measured.values())]
    ).all(dim=0)
    file, torchvision, caffe = (
        _centred(each[is_alive].log())
        for each in (stored, measured["torchvision"], measured["caffe"])
    )
    direction = caffe - torchvision
    position = ((file - torchvision) @ direction / (direction @ direction)).item()
    nearer = caffe if position > 0.5 else torchvision
    return Fit(
        errors={
            "torchvision": (file - torchvision).square().mean().sqrt().item(),
            "caffe": (file - caffe).square().mean().sqrt().item(),
        },
        position=position,
        correlation=(file @ nearer / (file.norm() * nearer.norm())).item(),
    )


def _spreads(stages: Mapping[str, nn.Module]) -> dict[Topology, Tensor]:
    """The standard deviation [C] of the outputs of layer2.0's 3 x 3 in each topology."""
    for stage in stages.values():
        for module in stage.modules():
            if isinstance(module, nn.BatchNorm2d):
                # Without them it goes by those of its input.
                module.running_mean = module.running_var = None
    *before, block = stages.values()
    with torch.no_grad():
        x = _photos()
        for stage in before:
            x = stage(x)
        x = block.get_submodule("conv1")(x)
        norm, filters = block.get_submodule("bn1"), block.get_parameter("conv2.weight")
        outputs: dict[Topology, Tensor] = {
            "torchvision": conv2d(norm(x).relu(), filters, stride=2, padding=1),
            "caffe": conv2d(norm(x[:, :, ::2, ::2]).relu(), filters, padding=1),
        }
    return {name: out.std(dim=(0, 2, 3)) for name, out in outputs.items()}


@cache
def _photos() -> Tensor:
    """[B,3,224,224], normalised as weights expect it."""
    data = _PHOTOS.read_bytes()
    height, width = images.probe_size(data, name=_PHOTOS.name)
    picture = images.decode(data, long_edge_px=max(height, width), name=_PHOTOS.name)
    side_by_side = torch.from_numpy(picture.pixels)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    return (torch.stack(side_by_side.chunk(_NUM_PHOTOS, dim=2)) - mean) / std


def _centred(values: Tensor) -> Tensor:
    return values - values.mean()


def _contradiction(file: WeightsFile, fit: Fit, found: Topology) -> str:
    taken = file.topology
    why, what_to_do = {
        None: ("which says none", f"or #topology={taken} to paint with it all the same"),
        "file": ("as its metadata say", f"or #topology={taken} to paint with it all the same"),
        "user": (f"as #topology={taken} says", "if that is what it is of"),
    }[file.topology_said_by]
    off = " and ".join(f"{error:.0%} in {name}'s" for name, error in fit.errors.items())
    return (
        f"weights of {file.backbone}: expected the topology {taken} in {file.uri}, {why}, found "
        f"statistics of {found}'s: the standard deviations of {_NORM} are off those over "
        f"photographs by {off}; write #topology={found} behind the file, {what_to_do}"
    )
