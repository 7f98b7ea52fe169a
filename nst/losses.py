"""Pure functions of a batch that the objective is made of; what measures an item returns [B]."""

import torch
from torch import Tensor
from torch.nn import functional

from nst import reductions

# A target without structure (a flat picture) has a scale of nearly nothing; its loss is then
# measured against this share of the target's whole energy instead of being divided by zero.
MIN_SCALE_SHARE = 0.01
# A target whose features are all zero has no scale; this one keeps its loss a finite number.
MIN_SCALE = 1e-12
# Detail is told on means of this many pixels a side: finer, it would hold on to grain, not form.
DETAIL_CELL_PX = 4


def positions(features: Tensor) -> Tensor:
    """A feature map as a table of positions by channels, float32: [B,C,H,W] -> [B,H*W,C].

    A view where the map is float32 and lies channels last, as those of a backbone do.
    """
    batch, channels = features.shape[:2]
    return features.permute(0, 2, 3, 1).reshape(batch, -1, channels).float()


def gram_scale(target: Tensor) -> Tensor:
    """What a style loss is measured in: the target Gram's squared norm, [...,C,C] -> [...]."""
    return reductions.total(target.square(), kept=target.ndim - 2).clamp_min(MIN_SCALE)


def content_scale(target: Tensor) -> Tensor:
    """What a content loss is measured in: ||P - mean(P)||^2, the mean over positions, -> [B]."""
    target = target.float()
    energy = reductions.total(target.square())
    spread = reductions.total((target - target.mean(dim=(2, 3), keepdim=True)).square())
    return torch.maximum(spread, MIN_SCALE_SHARE * energy).clamp_min(MIN_SCALE)


def total_variation_loss(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, down plus across: [B,3,H,W] -> [B].

    A mean and not the usual sum, whose pull against the other losses grows with the picture.
    """
    down = reductions.mean((images[:, :, 1:, :] - images[:, :, :-1, :]).square())
    across = reductions.mean((images[:, :, :, 1:] - images[:, :, :, :-1]).square())
    return down + across


def laplacian(images: Tensor) -> Tensor:
    """Edges of all channels together, on means of 4 x 4 pixels: [B,3,H,W] -> [B,1,H/4,W/4].

    Li et al., "Laplacian-Steered Neural Style Transfer" (2017).
    """
    means = functional.avg_pool2d(images, DETAIL_CELL_PX, ceil_mode=True).sum(dim=1, keepdim=True)
    # Not `pad`, whose gradient PyTorch sums on a GPU in whatever order its threads come by.
    down = torch.cat([means[..., :1, :], means, means[..., -1:, :]], dim=-2)
    across = torch.cat([means[..., :1], means, means[..., -1:]], dim=-1)
    neighbours = down[..., :-2, :] + down[..., 2:, :] + across[..., :-2] + across[..., 2:]
    return 4 * means - neighbours


def detail_scale(target: Tensor) -> Tensor:
    """What a detail loss is measured in: the squared norm of the content's edges, -> [B].

    No less than edges of one grey level everywhere, or a flat content could not be painted at all.
    """
    least = target[0].numel() / 255**2
    return reductions.total(target.square()).clamp_min(least)


def detail_loss(images: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """||L(x) - L(c)||^2 / ||L(c)||^2 per item: 0 with the content's edges, 1 with none at all."""
    return reductions.total((laplacian(images) - target).square()) / scale


def temperature(features: Tensor) -> Tensor:
    """Of the features of a style, for `smoothed`: [1,C,H,W] -> [1]."""
    return features.float().amax(dim=(1, 2, 3)).clamp_min(MIN_SCALE)


def smoothed(features: Tensor, temperature: Tensor) -> Tensor:
    """Softmax over all channels and positions at `temperature` [B], of mean 1: like -> like, float32.

    Stylization With Activation smoothinG (Wang, Li and Vasconcelos, CVPR 2021, eq. 9): the peaks of
    a residual network's features, which are what its Grams would otherwise hold, are evened out.
    """
    logits = features.float() / temperature[:, None, None, None]
    return torch.softmax(logits.flatten(1), dim=1).view_as(features) * features[0].numel()
