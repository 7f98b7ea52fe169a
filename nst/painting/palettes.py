"""The colours that a picture may have: no more chroma than its style has.

A network hardly tells a tint from grey, so that features of a style of ink are met by rainbows too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nst.painting import losses, reductions
from nst.painting.colors import chroma, from_chroma

# The deviation that chroma may have in a direction in which a palette has none: some five grey levels.
MIN_DEVIATION = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The chroma of pictures, or of K regions of each: its means and the inverses of its covariances.

    `means` are [B,K,2] and `inverses` [B,K,2,2]. `guides` [B,K,H,W] say how much each pixel counts for
    a region, 1 in the mean, or 0 for a region that no pixel takes; without regions they are a single 1,
    [B,1,1,1]. `shares` [B,K] are those of the regions in the loss; they sum to 1 if any has a pixel.
    """

    means: Tensor
    inverses: Tensor
    guides: Tensor
    shares: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Chroma:
    """The moments of pictures' chroma, of K regions each: its means, and those of its products with itself.

    `means` are [B,K,2] and `products` [B,K,2,2].
    """

    means: Tensor
    products: Tensor


def chroma_of(images: Tensor, weights: Tensor | None = None) -> Chroma:
    """The moments of the chroma of images [B,3,H,W], once for each of their weights, [B,K,H,W].

    Without weights all pixels count alike, and K is 1.
    """
    if weights is None:
        weights = images.new_ones(len(images), 1, 1, 1)
    weights = (
        weights / reductions.mean(weights, kept=2).clamp_min(losses.MIN_SCALE)[..., None, None]
    )
    a, b = chroma(images)[:, None].unbind(dim=2)

    def mean(values: Tensor) -> Tensor:
        return reductions.mean(weights * values, kept=2)

    both = mean(a * b)
    products = torch.stack([mean(a.square()), both, both, mean(b.square())], dim=-1)
    return Chroma(
        means=torch.stack([mean(a), mean(b)], dim=-1), products=products.view(*both.shape, 2, 2)
    )


def mixed(several: Sequence[Chroma], shares: Sequence[float]) -> Chroma:
    """The moments of a mixture of pictures, by their `shares`, in any unit."""
    total = sum(shares)

    def mix(tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack([s / total * t for s, t in zip(shares, tensors, strict=True)]).sum(dim=0)

    return Chroma(
        means=mix([each.means for each in several]),
        products=mix([each.products for each in several]),
    )


def side_by_side(several: Sequence[Chroma]) -> Chroma:
    """The moments of pictures [B,1,...], each as a region of its own: [B,K,...]."""
    return Chroma(
        means=torch.cat([each.means for each in several], dim=1),
        products=torch.cat([each.products for each in several], dim=1),
    )


def palette_of(found: Chroma, guides: Tensor | None) -> Palette:
    """The palette of these moments; with guides [B,K,H,W] they are each region's."""
    if guides is None:
        guides = found.means.new_ones(len(found.means), 1, 1, 1)
    areas = reductions.mean(guides, kept=2)
    floor = MIN_DEVIATION**2 * torch.eye(2, device=guides.device)
    covariances = found.products - found.means[..., :, None] * found.means[..., None, :] + floor
    along, across = covariances[..., 0, 0], covariances[..., 1, 1]
    both = covariances[..., 0, 1]
    # By the formula for two rows, which has a result for pictures that are no numbers too.
    adjugates = torch.stack([across, -both, -both, along], dim=-1).view_as(covariances)
    return Palette(
        means=found.means,
        inverses=adjugates / (along * across - both.square())[..., None, None],
        guides=guides / areas.clamp_min(losses.MIN_SCALE)[..., None, None],
        shares=areas / areas.sum(dim=1, keepdim=True).clamp_min(losses.MIN_SCALE),
    )


def stacked(several: Sequence[Palette]) -> Palette:
    """The palettes of several pictures as one, which have as many regions."""
    return Palette(
        **{f.name: torch.cat([getattr(one, f.name) for one in several]) for f in fields(Palette)}
    )


def chroma_loss(images: Tensor, palette: Palette) -> tuple[Tensor, Tensor]:
    """How far the chroma of images [B,3,H,W] exceeds a palette, [B], and the gradient there, [B,3,H,W].

    E, half the mean of the squared Mahalanobis distance d' C^-1 d, is 1 for the palette's own picture.
    The loss of a region is `losses.excess`, (sqrt(E) - 1)^2, and 0 below 1. The gradient is
    (1 - 1 / sqrt(E)) C^-1 d for each pixel, divided by their number; autograd would keep some maps of the
    picture's size for each region.
    """
    own = chroma(images)
    loss, slope = images.new_zeros(len(images)), torch.zeros_like(own)
    for region in range(palette.shares.shape[1]):
        guide = palette.guides[:, region, None]
        share = palette.shares[:, region]
        apart = own - palette.means[:, region, :, None, None]
        rows = palette.inverses[:, region, :, :, None, None].unbind(dim=1)
        scaled = guide * torch.stack([(row * apart).sum(dim=1) for row in rows], dim=1)
        energy = reductions.mean((apart * scaled).sum(dim=1)) / 2
        loss = loss + share * losses.excess(energy, torch.ones_like(energy))
        steepness = share * (1 - energy.clamp_min(1).rsqrt())
        slope = slope + steepness[:, None, None, None] * scaled
    return loss, from_chroma(slope) / own[0, 0].numel()
