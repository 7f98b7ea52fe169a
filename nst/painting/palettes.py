"""The colours that a picture may have: no more chroma than the content has in the style's colours.

A network hardly tells a tint from grey, so that features of a style of ink are met by rainbows too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nst.painting import losses, reductions
from nst.painting.colors import chroma

# The deviation that chroma may have in a direction in which a palette has none: some five grey levels.
MIN_DEVIATION = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The chroma of pictures, or of K regions of each: their means and the inverses of their covariances.

    `means` are [B,K,2] and `inverses` [B,K,2,2]. `guides` [B,K,H,W] say how much each pixel counts for
    a region, 1 in the mean; without regions they are a single 1, [B,1,1,1]. `shares` [B,K] are those
    of the regions in the loss, and sum to 1.
    """

    means: Tensor
    inverses: Tensor
    guides: Tensor
    shares: Tensor


def palette_of(images: Tensor, guides: Tensor | None) -> Palette:
    """The palette of images [B,3,H,W], of each region by itself if there are guides [B,K,H,W]."""
    if guides is None:
        guides = images.new_ones(len(images), 1, 1, 1)
    areas = reductions.mean(guides, kept=2)
    guides = guides / areas.clamp_min(losses.MIN_SCALE)[..., None, None]
    own = chroma(images)[:, None]
    means = reductions.mean(guides[:, :, None] * own, kept=3)
    first, second = (own - means[..., None, None]).unbind(dim=2)
    along = reductions.mean(guides * first.square(), kept=2) + MIN_DEVIATION**2
    across = reductions.mean(guides * second.square(), kept=2) + MIN_DEVIATION**2
    both = reductions.mean(guides * first * second, kept=2)
    # By the formula for two rows, which has a result for pictures that are no numbers too.
    adjugate = torch.stack([across, -both, -both, along], dim=-1).view(*along.shape, 2, 2)
    return Palette(
        means=means,
        inverses=adjugate / (along * across - both.square())[..., None, None],
        guides=guides,
        shares=areas / areas.sum(dim=1, keepdim=True).clamp_min(losses.MIN_SCALE),
    )


def stacked(several: Sequence[Palette]) -> Palette:
    """The palettes of several pictures as one, which have as many regions."""
    return Palette(
        **{f.name: torch.cat([getattr(one, f.name) for one in several]) for f in fields(Palette)}
    )


def chroma_loss(images: Tensor, palette: Palette) -> Tensor:
    """How far the chroma of images exceeds a palette, in its deviations: [B,3,H,W] -> [B].

    Half the mean squared Mahalanobis distance, d' C^-1 d, is 1 for the palette's own picture; what is
    above that is told by `losses.excess`.
    """
    apart = chroma(images)[:, None] - palette.means[..., None, None]
    first, second = apart.unbind(dim=2)
    along, both, across = palette.inverses.flatten(2)[:, :, (0, 1, 3), None, None].unbind(dim=2)
    squares = along * first.square() + 2 * both * first * second + across * second.square()
    energy = reductions.mean(palette.guides * squares, kept=2) / 2
    return (palette.shares * losses.excess(energy, torch.ones_like(energy))).sum(dim=1)
