"""Picture -> how far it is from its content and from its style, by a network that painted neither.

Both programs optimise losses of VGG-19; these rulers look through VGG-16. The network and the style
distance are written out once more here, so that no fault of the engine can flatter it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import hypot, log
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst.painting.perceptual import lpips
from nst.painting.weights import load_lpips_heads, load_state, obtain

STYLE_LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))
# By how much one of the two may be worse in a picture that still counts as good.
TOLERANCE = 0.05

_CONVS_PER_BLOCK = (2, 2, 3, 3, 3)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
# LPIPS depends on the size of what it compares, so it gets one that is like what it was fitted to.
_MAX_LPIPS_PX = 256


@dataclass(frozen=True, slots=True)
class Score:
    """Unitless, the less the better: `lpips` is 0 at the content, `style` 0 at the style."""

    lpips: float
    style: float

    def is_as_good_as(self, other: "Score") -> bool:
        """Whether neither of the two is worse by more than TOLERANCE."""
        worst = 1 + TOLERANCE
        return self.lpips <= worst * other.lpips and self.style <= worst * other.style


def distance(pairs: Iterable[tuple[Score, Score]]) -> float:
    """How far apart two scores lie in LPIPS and the natural logarithm of style, in the mean."""
    return fmean(hypot(a.lpips - b.lpips, log(a.style) - log(b.style)) for a, b in pairs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruler:
    """The embedded VGG-16 in float32, under torchvision's keys, and the heads of LPIPS."""

    weights: Mapping[str, Tensor]
    heads: tuple[Tensor, ...]


def load_ruler() -> Ruler:
    weights = {key: value.float() for key, value in load_state(obtain("vgg16")).items()}
    return Ruler(weights=weights, heads=load_lpips_heads())


def load_picture(path: Path) -> Tensor:
    """A picture file as float32 sRGB [1,3,H,W] in [0, 1]."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()


def score(image: Tensor, content: Tensor, style: Tensor, ruler: Ruler) -> Score:
    """Of an image and its content [1,3,H,W], and its style [1,3,h,w], in [0, 1]."""
    with torch.no_grad():
        to_content = lpips(
            features(_at_lpips_size(image), ruler.weights),
            features(_at_lpips_size(content), ruler.weights),
            ruler.heads,
        )
        to_style = _style_distance(features(image, ruler.weights), features(style, ruler.weights))
    return Score(to_content.item(), to_style.item())


def features(images: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """VGG-16 (Simonyan and Zisserman): [B,3,H,W] in [0, 1] -> by layer, each ReLU."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
    return dict(_layers((images - mean) / std, weights))


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


def _at_lpips_size(images: Tensor) -> Tensor:
    """Images scaled down to a long edge of `_MAX_LPIPS_PX`, as they are where they are no larger."""
    scale = _MAX_LPIPS_PX / max(images.shape[2:])
    if scale >= 1:
        return images
    size = [max(1, round(side * scale)) for side in images.shape[2:]]
    return F.interpolate(images, size, mode="area")


def _style_distance(of_image: Mapping[str, Tensor], of_style: Mapping[str, Tensor]) -> Tensor:
    """Mean of ||G - A||^2 / ||A||^2 over STYLE_LAYERS, G and A the Grams of image and style."""
    distances = []
    for layer in STYLE_LAYERS:
        target = _gram(of_style[layer])
        distances.append(_energy(_gram(of_image[layer]) - target) / _energy(target))
    return torch.stack(distances).mean()


def _gram(activations: Tensor) -> Tensor:
    """[1,C,H,W] -> [C,C], divided by H*W."""
    flat = activations[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


def _energy(values: Tensor) -> Tensor:
    return values.square().sum()
