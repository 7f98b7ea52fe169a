"""The chroma loss: how far a picture's colours lie outside those of its styles.

A network hardly tells a tint from grey, so that features of a style of ink are met by rainbows too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nst.painting import losses, reductions

# The deviation that chroma may have in a direction in which a palette has none: some five grey levels.
MIN_DEVIATION = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Palette:
    """The chroma that B pictures may have in K regions each: its mean, and the inverse of its covariance.

    `means` are [B,K,2] and `inverses` [B,K,2,2]. `guides` [B,K,H,W] say how much each pixel counts for
    a region, 1 in the mean, or 0 for a region that no pixel takes; without regions they are a single 1,
    [B,1,1,1]. `shares` [B,K] are those of the regions in the loss; they sum to 1 if any has a pixel.
    """

    means: Tensor
    inverses: Tensor
    guides: Tensor
    shares: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moments:
    """Means of chroma, [B,K,2], and of its products with itself, [B,K,2,2]."""

    means: Tensor
    products: Tensor


def palette_of(
    content: Tensor,
    styles: Sequence[Tensor],
    alphas: Sequence[Tensor | None],
    *,
    guides: Tensor | None,
    blend: Sequence[float],
    recolored: float,
) -> Palette:
    """The palette of a picture of `content` [1,3,H,W] in `styles` [1,3,h,w], which have `alphas` [1,1,h,w].

    It is a mixture of the styles by `blend`, in any unit, or with `guides` [1,K,H,W], one for each style, by
    what lies under a region's: style j counts by the mean of g_k g_j, so that soft edges may have the
    colours of both sides. `recolored`, from 0 to 1, is how far a picture starts from its content towards
    them; what it keeps of the content's colours it may have too. Covariances get MIN_DEVIATION^2 on their
    diagonals.
    """
    regions = content.new_ones(1, 1, 1, 1) if guides is None else guides
    painted = regions.sum(dim=1, keepdim=True)
    areas = reductions.mean(regions, kept=2)
    regions = regions / areas.clamp_min(losses.MIN_SCALE)[..., None, None]
    if guides is None:
        style_shares = (content.new_tensor(blend) / sum(blend))[None, None]
    else:
        under = [reductions.mean(regions * each, kept=2) for each in torch.split(guides, 1, dim=1)]
        style_shares = torch.stack(under, dim=-1)  # [1,K,J]
    found = _moments(content, regions * (1 - recolored * painted))
    means, products = found.means, found.products
    for number, (style, alpha) in enumerate(zip(styles, alphas, strict=True)):
        visible = style.new_ones(1, 1, 1, 1) if alpha is None else alpha
        own = _moments(style, visible / reductions.mean(visible, kept=2)[..., None, None])
        share = recolored * style_shares[..., number]
        means = means + share[..., None] * own.means
        products = products + share[..., None, None] * own.products
    floor = MIN_DEVIATION**2 * torch.eye(2, device=content.device)
    covariances = products - means[..., :, None] * means[..., None, :] + floor
    return Palette(
        means=means,
        inverses=_inverse(covariances),
        guides=regions,
        shares=areas / areas.sum(dim=1, keepdim=True).clamp_min(losses.MIN_SCALE),
    )


def stacked(several: Sequence[Palette]) -> Palette:
    """The palettes of several pictures as one, which have as many regions."""
    return Palette(
        **{f.name: torch.cat([getattr(one, f.name) for one in several]) for f in fields(Palette)}
    )


def chroma_loss(images: Tensor, palette: Palette) -> Tensor:
    """How far the chroma of images lies outside a palette: [B,3,H,W] -> [B].

    E_k = mean(g_k d_k' C_k^-1 d_k) / 2 is half the mean squared distance of Mahalanobis (1936) from the
    palette of region k: d is a pixel's chroma without the palette's mean, C the palette's covariance and
    g the pixel's guide. It is 1, or a little less, for the palette's own pixels. The loss is
    `losses.excess` of it, (sqrt(E) - 1)^2 and 0 below 1, in the mean over the regions.
    """
    loss = images.new_zeros(len(images))
    for share, energy, _ in _distances(chroma(images), palette):
        loss = loss + share * _excess(energy)
    return loss


def chroma_loss_and_gradient(images: Tensor, palette: Palette) -> tuple[Tensor, Tensor]:
    """`chroma_loss`, [B], and its gradient at the images, [B,3,H,W].

    At the chroma it is the sum over k of s_k (1 - 1 / sqrt(E_k)) g_k C_k^-1 d_k / (H W), s being the
    regions' shares. Autograd would keep some maps of the picture's size for each region.
    """
    own = chroma(images)
    loss, slope = images.new_zeros(len(images)), torch.zeros_like(own)
    for share, energy, scaled in _distances(own, palette):
        loss = loss + share * _excess(energy)
        steepness = share * (1 - energy.clamp_min(1).rsqrt())
        slope = slope + steepness[:, None, None, None] * scaled
    first, second = (slope / own[0, 0].numel()).unbind(dim=1)
    first, second = first / 2**0.5, second / 6**0.5
    return loss, torch.stack([second + first, second - first, -2 * second], dim=1)


def chroma(images: Tensor) -> Tensor:
    """Colours beside grey along two opponent axes of length 1: [B,3,H,W] -> [B,2,H,W], 0 for a grey."""
    red, green, blue = images.unbind(dim=1)
    return torch.stack([(red - green) / 2**0.5, (red + green - 2 * blue) / 6**0.5], dim=1)


def _distances(own: Tensor, palette: Palette) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Of a chroma [B,2,H,W], region by region: its share and E, [B] each, and g C^-1 d, [B,2,H,W]."""
    for region in range(palette.shares.shape[1]):
        apart = own - palette.means[:, region, :, None, None]
        rows = palette.inverses[:, region, :, :, None, None].unbind(dim=1)
        scaled = palette.guides[:, region, None] * torch.stack(
            [(row * apart).sum(dim=1) for row in rows], dim=1
        )
        energy = reductions.mean((apart * scaled).sum(dim=1)) / 2
        yield palette.shares[:, region], energy, scaled


def _excess(energy: Tensor) -> Tensor:
    return losses.excess(energy, torch.ones_like(energy))


def _moments(images: Tensor, weights: Tensor) -> _Moments:
    """Of images [B,3,H,W], each pixel times its weight for each region, [B,K,H,W]."""
    first, second = chroma(images)[:, None].unbind(dim=2)

    def mean(values: Tensor) -> Tensor:
        return reductions.mean(weights * values, kept=2)

    both = mean(first * second)
    products = torch.stack([mean(first.square()), both, both, mean(second.square())], dim=-1)
    return _Moments(
        means=torch.stack([mean(first), mean(second)], dim=-1),
        products=products.view(*both.shape, 2, 2),
    )


def _inverse(matrices: Tensor) -> Tensor:
    """The inverses of symmetric [...,2,2]: the adjugate over the determinant, NaN where there is none.

    The library's function raises for pictures that are no numbers; whoever optimises them finds them out.
    """
    along, across, both = matrices[..., 0, 0], matrices[..., 1, 1], matrices[..., 0, 1]
    adjugates = torch.stack([across, -both, -both, along], dim=-1).view_as(matrices)
    return adjugates / (along * across - both.square())[..., None, None]
