"""The unitless losses, each a pure function of a batch that returns one number per item, [B]."""

import torch
from torch import Tensor

# A target without structure (a flat picture) has a scale of nearly nothing; its loss is then
# measured against this share of the target's whole energy instead of being divided by zero.
MIN_SCALE_SHARE = 0.01
# A target whose features are all zero has no scale; this one keeps its loss a finite number.
MIN_SCALE = 1e-12


def gram(features: Tensor) -> Tensor:
    """Channel correlations of a feature map, per item: [B,C,H,W] -> [B,C,C], divided by H*W.

    Gatys et al. (2015) leave it undivided (eq. 3) and scale the loss (eq. 4); divided, it does not
    depend on the picture's size, so a style of one size is the target of a picture of another.
    """
    batch, channels, height, width = features.shape
    flat = features.reshape(batch, channels, height * width)
    return flat @ flat.transpose(1, 2) / (height * width)


def gram_scale(target: Tensor) -> Tensor:
    """What a style loss is measured in: the target Gram's squared norm, [B,C,C] -> [B]."""
    return target.square().sum(dim=(1, 2)).clamp_min(MIN_SCALE)


def style_layer_loss(features: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """||G - A||^2 / ||A||^2 per item: 0 at the style's Gram A, 1 where the features are all zero.

    Departs from Gatys et al. (2016, eq. 4), whose 1 / (4 N^2 M^2) leaves a loss whose size varies
    a thousandfold between styles; dividing by the target is after Cheng et al. (CVPR 2021).
    """
    return (gram(features) - target).square().sum(dim=(1, 2)) / scale


def content_scale(target: Tensor) -> Tensor:
    """What a content loss is measured in: ||P - mean(P)||^2, the mean over positions, -> [B]."""
    energy = target.square().sum(dim=(1, 2, 3))
    spread = (target - target.mean(dim=(2, 3), keepdim=True)).square().sum(dim=(1, 2, 3))
    return torch.maximum(spread, MIN_SCALE_SHARE * energy).clamp_min(MIN_SCALE)


def content_layer_loss(features: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """||F - P||^2 / ||P - mean(P)||^2 per item: 0 at the content, 1 where the features are flat.

    Departs from Gatys et al. (2016, eq. 1), whose 1/2 ||F - P||^2 grows with the picture's size
    and with the square of the features' scale.
    """
    return (features - target).square().sum(dim=(1, 2, 3)) / scale


def total_variation_loss(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, down plus across: [B,3,H,W] -> [B].

    A mean and not the usual sum, whose pull against the other losses grows with the picture.
    """
    down = (images[:, :, 1:, :] - images[:, :, :-1, :]).square().mean(dim=(1, 2, 3))
    across = (images[:, :, :, 1:] - images[:, :, :, :-1]).square().mean(dim=(1, 2, 3))
    return down + across
