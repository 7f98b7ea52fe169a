"""The objective of a picture at several sizes at once, and pictures from one size to another.

A Gram knows nothing of structures larger than its network's receptive field, of a VGG at relu5_1 132 or
156 pixels. So the statistics of a picture are also compared at smaller sizes, as Snelgrove
("High-Resolution Multi-Scale Neural Texture Synthesis", 2017) does for textures; here content and
style alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nst.painting.objective import Objective
from nst.painting.targets import Item, Losses, Targets, map_losses
from nst.painting.threads import same_products_with_any_number
from nst.scales import Scale

# How much a size counts beside the next larger one: what is coarse is settled by then.
_COARSER_SHARE = 0.5
# A GPU computes a pixel from those that it comes of in memory of a fixed size, which PyTorch fills
# from some 47 of them a side on: a picture of 8192 px on its way to the coarsest size has 73.
_MAX_FACTOR_ON_A_GPU = 32
# No style is made smaller than this on a side: the deepest layers would see nothing of it.
_MIN_STYLE_PX = 32


class Resampling:
    """Pictures [B,C,H,W] at the size of a scale, by area, and gradients there back at theirs.

    It is two products of matrices, whose sums have the same order on every device, where a GPU's own
    resampling adds gradients up in whatever order its threads come by.
    """

    def __init__(self, before: tuple[int, int], after: tuple[int, int], device: torch.device):
        self._down = _matrix(before[0], after[0]).to(device)
        self._across = _matrix(before[1], after[1]).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        with same_products_with_any_number(images.device):
            return self._down @ images @ self._across.T

    def gradient(self, gradient: Tensor) -> Tensor:
        """The gradient at the images, given that at the resampled ones."""
        with same_products_with_any_number(gradient.device):
            return self._down.T @ gradient @ self._across


class Octaves:
    """The weighted mean of the objectives of a batch at several sizes, as one objective."""

    def __init__(
        self, objectives: Sequence[Objective], scales: Sequence[Scale], device: torch.device
    ) -> None:
        """`objectives` are those at `scales`, of which the last is the largest."""
        *coarser, finest = scales
        self.sizes = tuple((scale.height, scale.width) for scale in scales)
        shares = [_COARSER_SHARE**n for n in range(len(coarser), -1, -1)]
        self._shares = [share / sum(shares) for share in shares]
        self._objectives = tuple(objectives)
        size = finest.height, finest.width
        self._resamplings = [
            Resampling(size, (scale.height, scale.width), device) for scale in coarser
        ]

    @property
    def targets(self) -> list[Sequence[Targets]]:
        """The targets of each size."""
        return [objective.targets for objective in self._objectives]

    @property
    def is_tiled(self) -> bool:
        """Whether pictures of any size go through the network in tiles."""
        return any(len(each.tiles) > 1 for targets in self.targets for each in targets)

    def __call__(self, images: Tensor, running: Sequence[bool] | None) -> tuple[Losses, Tensor]:
        """As `Objective`, of images [B,3,H,W] of the finest size."""
        found, gradient = self._objectives[-1](images, running)
        losses = map_losses(lambda column: self._shares[-1] * column, found)
        gradient = self._shares[-1] * gradient
        for share, resample, objective in self._coarser():
            found, slope = objective(resample(images), running)
            losses = map_losses(lambda a, b, share=share: a + share * b, losses, found)
            gradient = gradient + share * resample.gradient(slope)
        return losses, gradient

    def style_by_layer(self, images: Tensor) -> Mapping[str, Tensor]:
        """The style loss of images [B,3,H,W] of each layer by itself, [B], over all sizes."""
        found = self._objectives[-1].style_by_layer(images)
        by_layer = {layer: self._shares[-1] * loss for layer, loss in found.items()}
        for share, resample, objective in self._coarser():
            for layer, loss in objective.style_by_layer(resample(images)).items():
                by_layer[layer] = by_layer[layer] + share * loss
        return by_layer

    def _coarser(self) -> Iterator[tuple[float, Resampling, Objective]]:
        """The share of each coarser size, how a picture gets there, and its objective."""
        return zip(self._shares, self._resamplings, self._objectives, strict=False)


def at_scale(item: Item, scale: Scale) -> Item:
    """An item whose pictures are as large as a scale, its styles as much smaller as its content."""
    height, width = item.content.shape[1:]
    if (height, width) == (scale.height, scale.width):
        return item
    size = scale.height, scale.width
    factor = (scale.height * scale.width / (height * width)) ** 0.5
    return replace(
        item,
        content=resized(item.content, size),
        styles=tuple(_style_at(style, factor) for style in item.styles),
        mask=None if item.mask is None else resized(item.mask, size),
        start=None if item.start is None else resized(item.start, size),
        style_alphas=tuple(a if a is None else _style_at(a, factor) for a in item.style_alphas),
    )


def resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """A picture [C,H,W] at another size [C,h,w], bicubic, by area where it shrinks; in [0, 1]."""
    before = picture.shape[1], picture.shape[2]
    if before == size:
        return picture
    there = torch.device("cpu") if shrinks_on_the_cpu(before, size) else picture.device
    found: Tensor = interpolate(
        picture[None].to(there), size=size, mode="bicubic", antialias=True, align_corners=False
    )
    return found[0].clamp(0, 1).to(picture.device)


def shrinks_on_the_cpu(before: tuple[int, int], after: tuple[int, int]) -> bool:
    """Whether a picture is made so much smaller that a GPU cannot do it."""
    factor = max(a / b for a, b in zip(before, after, strict=True))
    return factor > _MAX_FACTOR_ON_A_GPU


def details(picture: Tensor, coarser: tuple[int, int]) -> Tensor:
    """What a picture [C,H,W] has and loses at a coarser size [h, w]."""
    size = picture.shape[1], picture.shape[2]
    return picture - resized(resized(picture, coarser), size)


def _style_at(style: Tensor, factor: float) -> Tensor:
    height, width = style.shape[1:]
    factor = min(1.0, max(factor, _MIN_STYLE_PX / min(height, width)))
    return resized(style, (round(height * factor), round(width * factor)))


def _matrix(before: int, after: int) -> Tensor:
    """The weights of `before` values in each of `after`, by the library's own filter: [after,before]."""
    identity = torch.eye(before)[None, None]
    found: Tensor = interpolate(
        identity, size=(after, before), mode="bilinear", antialias=True, align_corners=False
    )
    return found[0, 0]
