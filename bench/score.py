"""Picture -> how close it is to its content and to its style, in code that the engine has no part in.

Losses and network are written out once more, so that no fault of the engine can flatter it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst.weights import load_state, obtain

CONTENT_LAYER = "relu4_2"
STYLE_LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))

_CONVS_PER_BLOCK = (2, 2, 3, 3, 3)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Score:
    """Unitless losses: `content` 0 at the content, `style` 0 at the style, both 1 without features."""

    content: float
    style: float

    def is_as_good_as(self, other: "Score") -> bool:
        """Whether neither of the two is worse."""
        return self.content <= other.content and self.style <= other.style


@dataclass(frozen=True, slots=True)
class Targets:
    """What a pair asks for: `content` [1,C,H,W] of the content layer, `grams` [C,C] by style layer."""

    content: Tensor
    grams: Mapping[str, Tensor]


def load_weights() -> dict[str, Tensor]:
    """The embedded VGG-16 in float32, under torchvision's keys."""
    return {key: value.float() for key, value in load_state(obtain("vgg16")).items()}


def load_picture(path: Path) -> Tensor:
    """A picture file as float32 sRGB [1,3,H,W] in [0, 1]."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def features(images: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """VGG-16 (Simonyan and Zisserman) down to the last style layer: [B,3,H,W] in [0, 1] -> by layer."""
    normalised = (images - images.new_tensor(_MEAN)[:, None, None]) / images.new_tensor(_STD)[
        :, None, None
    ]
    found = {}
    for layer, activations in _layers(normalised, weights):
        found[layer] = activations
        if layer == STYLE_LAYERS[-1]:
            break
    return found


def _layers(x: Tensor, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    index = 0
    for block, num_convs in enumerate(_CONVS_PER_BLOCK, start=1):
        for conv in range(1, num_convs + 1):
            key = f"features.{index}"
            x = F.relu(F.conv2d(x, weights[f"{key}.weight"], weights[f"{key}.bias"], padding=1))
            yield f"relu{block}_{conv}", x
            index += 2  # the convolution and its ReLU
        x = F.max_pool2d(x, 2)
        index += 1


def targets(content: Tensor, style: Tensor, weights: Mapping[str, Tensor]) -> Targets:
    """Of a content and a style, [1,3,H,W] and [1,3,h,w] in [0, 1]."""
    with torch.no_grad():
        of_style = features(style, weights)
        return Targets(
            content=features(content, weights)[CONTENT_LAYER],
            grams={layer: _gram(of_style[layer]) for layer in STYLE_LAYERS},
        )


def losses(image: Tensor, target: Targets, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Content and style loss of [1,3,H,W]: ||F-P||^2 / ||P-mean(P)||^2, mean of ||G-A||^2 / ||A||^2.

    The mean of P is over positions; the mean of the style is over its layers.
    """
    found = features(image, weights)
    spread = target.content - target.content.mean(dim=(2, 3), keepdim=True)
    content = _energy(found[CONTENT_LAYER] - target.content) / _energy(spread)
    style = [
        _energy(_gram(found[layer]) - gram) / _energy(gram) for layer, gram in target.grams.items()
    ]
    return content, torch.stack(style).mean()


def score(image: Tensor, target: Targets, weights: Mapping[str, Tensor]) -> Score:
    """The losses of an image [1,3,H,W] as numbers."""
    with torch.no_grad():
        content, style = losses(image, target, weights)
    return Score(content.item(), style.item())


def _gram(activations: Tensor) -> Tensor:
    """[1,C,H,W] -> [C,C], divided by H*W."""
    flat = activations[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


def _energy(values: Tensor) -> Tensor:
    return values.square().sum()
