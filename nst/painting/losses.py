"""Pure functions of a batch, the parts of the objective; losses are returned per item, [B]."""

import torch
from torch import Tensor
from torch.nn import functional

from nst.painting import reductions
from nst.painting.colors import luminance

# A target without structure (a flat picture) has a scale of nearly nothing; its loss is then
# measured against this share of the target's whole energy instead of being divided by zero.
MIN_SCALE_SHARE = 0.2
# A target whose features are all zero has no scale; this one keeps its loss a finite number.
MIN_SCALE = 1e-12
# Keeps a position without features from being divided by zero.
MIN_LENGTH = 1e-6
# Detail is told on means of this many pixels a side: finer, it would hold on to grain, not form.
DETAIL_CELL_PX = 4
# Light and shade are told on so many cells along the long edge: a cell is wider than a stroke.
SHADE_CELLS = 32


def positions(features: Tensor) -> Tensor:
    """A feature map as a table of positions by channels, float32: [B,C,H,W] -> [B,H*W,C].

    It is a view if the map is float32 and channels last, as a backbone's maps are.
    """
    return positions_as_they_are(features).float()


def positions_as_they_are(features: Tensor) -> Tensor:
    """As `positions`, in the kind of number of the map, so that it is a view of a bfloat16 map too."""
    batch, channels = features.shape[:2]
    return features.permute(0, 2, 3, 1).reshape(batch, -1, channels)


def squared_norm(target: Tensor, *, kept: int) -> Tensor:
    """The squared norm over all but the first `kept` dimensions, above 0: a style loss is divided by it."""
    return reductions.total(target.square(), kept=kept).clamp_min(MIN_SCALE)


def directions(features: Tensor) -> tuple[Tensor, Tensor]:
    """Each position's features at length 1, [B,C,H,W], and their lengths, [B,1,H,W]; float32.

    Directions say which features are present, not how strong they are: a style with little contrast
    weakens all features alike. LPIPS compares features so (Zhang et al., 2018, eq. 1).
    """
    features = features.float()
    lengths = features.square().sum(dim=1, keepdim=True).sqrt().clamp_min(MIN_LENGTH)
    return features / lengths, lengths


def presence(lengths: Tensor) -> Tensor:
    """How much each position counts in a content loss, 1 in the mean: by its features' length, [B,1,H,W].

    Directions alone hold on to an empty sky as they do to a face, so that no stroke forms there.
    """
    return lengths / reductions.mean(lengths)[..., None, None, None]


def weighed(difference: Tensor, presence: Tensor | None) -> Tensor:
    """Differences of directions [B,C,H,W], each position's times its presence; as they are for None."""
    return difference if presence is None else presence * difference


def content_scale(target: Tensor, presence: Tensor | None) -> Tensor:
    """The divisor of a content loss: ||P - mean(P)||^2, the mean over positions, -> [B].

    `target` are the directions of the content's features. With a presence, each position counts by it.
    """
    apart = target - reductions.mean(target, kept=2)[..., None, None]
    energy = reductions.total(weighed(target, presence) * target)
    spread = reductions.total(weighed(apart, presence) * apart)
    return torch.maximum(spread, MIN_SCALE_SHARE * energy).clamp_min(MIN_SCALE)


def content_slope(difference: Tensor, found: Tensor, lengths: Tensor) -> Tensor:
    """Half the gradient of ||u - p||^2 at the features f: [B,C,H,W].

    u = f / |f| is `found`, and u - p is `difference`, weighed or not. The gradient is the difference without its
    component along u, divided by |f|: only a rotation of a position's features changes their direction.
    """
    along = (difference * found).sum(dim=1, keepdim=True)
    return (difference - along * found) / lengths


def total_variation_loss(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, down plus across: [B,3,H,W] -> [B].

    It is a mean, since the usual sum would grow with the picture and outweigh the other losses.
    """
    down = reductions.mean((images[:, :, 1:, :] - images[:, :, :-1, :]).square())
    across = reductions.mean((images[:, :, :, 1:] - images[:, :, :, :-1]).square())
    return down + across


def shade(images: Tensor) -> Tensor:
    """Light and shade of a picture: the mean luma of square cells minus the overall mean, -> [B,1,h,w].

    The long edge has SHADE_CELLS cells, but no more than it has pixels.
    """
    cell_px = max(1, round(max(images.shape[2:]) / SHADE_CELLS))
    cells = functional.avg_pool2d(luminance(images), cell_px, ceil_mode=True)
    return cells - reductions.mean(cells)[:, None, None, None]


def shade_scale(target: Tensor) -> Tensor:
    """The divisor of a contrast loss: the squared norm of the content's light and shade, -> [B].

    At least a grey level in each cell; otherwise a flat content could not be painted.
    """
    least = target[0].numel() / 255**2
    return reductions.total(target.square()).clamp_min(least)


def contrast_loss(images: Tensor, target: Tensor, scale: Tensor, floor: Tensor) -> Tensor:
    """How far light and shade fall short of the `floor` [B] that is kept of the content's: -> [B].

    A cell is sufficient if it is on the same side of the mean as the content's, and at least `floor`
    times as far from it. The loss is 0 if all cells are, and 1 without any light and shade.
    """
    floor = floor[:, None, None, None]
    missing = floor * target.abs() - shade(images) * target.sign()
    shortfall = reductions.total(missing.clamp_min(0).square())
    return shortfall / (scale * floor.square().flatten().clamp_min(MIN_SCALE))


def excess(energy: Tensor, limit: Tensor) -> Tensor:
    """How far energies are above a `limit`, of one shape: (sqrt(energy / limit) - 1)^2, 0 below it.

    It uses amplitudes, not energies, so that it stays quadratic in the pixels.
    """
    # Clamped inside, where the root's slope is still a finite number.
    return ((energy / limit).clamp_min(1).sqrt() - 1).square()


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
    """The divisor of a detail loss: the squared norm of the content's edges, -> [B].

    At least edges of one grey level everywhere; otherwise a flat content could not be painted.
    """
    least = target[0].numel() / 255**2
    return reductions.total(target.square()).clamp_min(least)


def detail_loss(images: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """||L(x) - L(c)||^2 / ||L(c)||^2 per item: 0 with the content's edges, 1 with none at all."""
    return reductions.total((laplacian(images) - target).square()) / scale
