"""The weighted, unitless loss of a batch of images, and its gradient.

- A Gram is G = F' F / (H W) (Gatys et al., 2015, eq. 3, there undivided): divided by the number of
  positions it does not depend on the picture's size, so that a style of one size is the target of a
  picture of another.
- The style loss of a layer is ||G - A||^2 / ||A||^2: 0 at the style's Gram A, 1 without features. It
  departs from Gatys et al. (2016, eq. 4), whose 1 / (4 N^2 M^2) leaves a loss that varies a
  thousandfold between styles; dividing by the target is after Cheng et al. (CVPR 2021).
  Where a style is so dark or flat that its A is small beside the content's own Gram C, the loss is
  measured in STYLE_SCALE_FLOOR^2 ||C||^2.
- From coarse to fine, means and covariances are compared beside Grams, each in this way (`statistics`),
  and at the picture's own size each position with the style's nearest one (`nearest`).
- The content loss is ||U - P||^2 / ||P - mean(P)||^2, U and P the features of each position at length
  1: 0 at the content, 1 where every position is alike. From coarse to fine, each position counts by
  the length of the content's features there (`losses.presence`). Theirs (eq. 1) compares the features
  themselves, so that it asks a dark style for the content's contrast, and for nothing else once that
  is lost; which features lie where can be asked of any style.
- A contrast loss keeps a share of the content's light and shade, a noise loss holds the highest octave
  of frequencies down to the style's, and a chroma loss holds the colours to the style's (`palettes`);
  each is 0 for pictures that do not need it.
- The total is not a plain sum. The higher the content's or the style's loss is, the more it weighs
  (`balanced`), so that one default serves every pair: if a style overwhelms its content, the content
  gets more weight, and if a style is easily matched, the style gets less.

No loss of features uses autograd. Its gradient at the features is known as soon as the features are, so
it is added during the backward pass through the network.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nst.painting import losses, metrics, reductions
from nst.painting.backbones import Backbone
from nst.painting.palettes import chroma_loss, chroma_loss_and_gradient
from nst.painting.statistics import Moments, StylePull
from nst.painting.targets import (
    LOSS_NAMES,
    Item,
    Losses,
    StyleMemo,
    Targets,
    add_sums,
    feature_maps,
    map_losses,
    stacked,
    targets_of,
)
from nst.painting.threads import same_with_any_number
from nst.painting.tiles import EVERYWHERE, Slices, Tile

# The content weighs (loss / reach)^7: next to nothing below the loss that is in reach of the weights,
# and beyond it soon more than anything else.
CONTENT_POWER = 8.0
# Beyond this many times its reach the content loss weighs no more than there, 17 times its weight: a
# wall any steeper throws an optimiser back that takes whole steps.
MAX_EXCESS = 1.5
# The style weighs (loss / unit)^0.5.
STYLE_POWER = 1.5


class Objective:
    """The weighted loss of a batch and its gradient; everything constant is computed once."""

    def __init__(self, targets: Sequence["Targets"], backbone: Backbone) -> None:
        self.targets = targets
        self._backbone = backbone

    @classmethod
    def of(
        cls,
        items: Sequence[Item],
        backbone: Backbone,
        *,
        memo: StyleMemo | None = None,
        tile_px: int | None = None,
        whole_style_px: int | None = None,
        is_finest: bool = True,
    ) -> "Objective":
        """For items with the same size of content, layers and number of styles, all or none with a mask.

        `is_finest` says whether they are as large as the pictures are to be. With `tile_px` a picture
        goes through the network in tiles of that side, one after the other: less memory, more work, the
        same loss. So does a style of more than `whole_style_px` pixels where the picture does not.
        `memo` holds what is known of styles.
        """
        program = items[0].params
        shares = backbone.profile.shares(program.content_layers, program.style_layers)
        memo = {} if memo is None else memo
        size = items[0].content.shape[1:]
        with torch.no_grad(), same_with_any_number(size, backbone.device):
            together = len(items) > 1 and runs_items_together(backbone.device, tile_px)
            each = [
                targets_of(
                    item,
                    shares,
                    backbone,
                    memo,
                    tile_px,
                    whole_style_px,
                    is_alone=not together,
                    is_finest=is_finest,
                )
                for item in items
            ]
            if together:
                each = [stacked(each)]
        return cls(each, backbone)

    def __call__(
        self, images: Tensor, running: Sequence[bool] | None = None
    ) -> tuple[Losses, Tensor]:
        """The losses [B] of images [B,3,H,W] and the gradient of each item's total, [B,3,H,W].

        Items of which none is `running` are skipped and have zeros for both.
        """
        found = []
        for targets, own, some_run in self._split(images, running):
            if some_run:
                evaluate = _evaluate if len(targets.tiles) == 1 else _evaluate_by_tiles
                with same_with_any_number(own.shape[2:], own.device):
                    found.append(evaluate(own, targets, self._backbone))
            else:
                nothing = own.new_zeros(len(own))
                found.append((Losses(**dict.fromkeys(LOSS_NAMES, nothing)), torch.zeros_like(own)))
        return (
            map_losses(lambda *columns: torch.cat(columns), *(each for each, _ in found)),
            torch.cat([gradient for _, gradient in found]),
        )

    def style_by_layer(self, images: Tensor) -> dict[str, Tensor]:
        """The style loss of images [B,3,H,W] of each layer by itself, [B]: 0 the style.

        Without features it is 1, and more where neighbours are looked for. The layers' shares of these sum
        to the style loss.
        """
        found: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for targets, own, _ in self._split(images, None):
                sums, _, near = _measure(own, targets, self._backbone)
                for layer, target in targets.styles.items():
                    loss, _ = target.pull(sums[layer])
                    loss = loss + near.get(layer, 0)
                    found.setdefault(layer, []).append(loss / target.share)
        return {layer: torch.cat(columns) for layer, columns in found.items()}

    def _split(
        self, images: Tensor, running: Sequence[bool] | None
    ) -> Iterator[tuple["Targets", Tensor, bool]]:
        start = 0
        for targets in self.targets:
            stop = start + targets.num_items
            yield targets, images[start:stop], running is None or any(running[start:stop])
            start = stop


def runs_items_together(device: torch.device, tile_px: int | None) -> bool:
    """Whether a batch goes through the network in one pass.

    On a CPU it does not: each has a pass of its own (`side_by_side`), as it gains nothing by a common
    one and rounds independently of the other items. That matters, since the optimisation amplifies a
    last bit to whole grey levels within some tens of steps. Tiled pictures do not run together either.
    """
    return device.type != "cpu" and tile_px is None


@dataclass(frozen=True, slots=True)
class Balance:
    """The terms of content and style in the total, [B], and their derivatives, the weights."""

    total: Tensor
    content: Tensor
    style: Tensor


def balanced(content: Tensor, style: Tensor, targets: Targets) -> Balance:
    """The weighted powers of the losses of content and style, [B] each.

    w r (c / r)^p / p for the content, r being its reach, and w u (s / u)^q / q for the style, u its unit. The
    content's goes on as a straight line beyond MAX_EXCESS.
    """
    weights, reach, unit = targets.weights, targets.reach, targets.style_unit
    excess = content / reach
    inside = excess.clamp_max(MAX_EXCESS)
    content_slope = weights.content * inside ** (CONTENT_POWER - 1)
    content_term = content_slope * reach * (inside / CONTENT_POWER + excess - inside)
    style_slope = weights.style * (style / unit) ** (STYLE_POWER - 1)
    style_term = style_slope * style / STYLE_POWER
    return Balance(content_term + style_term, content_slope, style_slope)


@dataclass(slots=True)
class _Slopes:
    """The weights of content and style in the total, known once all features are computed."""

    content: Tensor
    style: Tensor


def _evaluate(images: Tensor, targets: Targets, backbone: Backbone) -> tuple[Losses, Tensor]:
    """Losses and gradient in one forward and backward pass."""
    images = images.detach().requires_grad_(True)
    content = torch.zeros_like(targets.weights.content)
    style = torch.zeros_like(targets.weights.style)
    slopes = _Slopes(content, style)

    def tap(layer: str, features: Tensor) -> Tensor:
        nonlocal content, style
        pulls: list[_Pull] = []
        with torch.no_grad():
            if layer in targets.styles:
                target = targets.styles[layer]
                loss, pull = target.pull(target.sums(features, target.guides))
                style = style + loss
                pulls.append(_style_pull(pull, target.guides, slopes))
            for found in _direction_losses(layer, features, EVERYWHERE, targets, backbone):
                if found.is_of_style:
                    style = style + found.loss
                else:
                    content = content + found.loss
                pulls.append(_direction_pull(found, found.slope(), slopes))
        return _pulled(features, pulls)

    deepest = backbone.through(images, tap)
    balance = balanced(content, style, targets)
    slopes.content, slopes.style = balance.content, balance.style
    (gradient,) = torch.autograd.grad(deepest, images, torch.zeros_like(deepest))
    return _with_pixel_losses(images, content, style, balance, gradient, targets)


def _evaluate_by_tiles(
    images: Tensor, targets: Targets, backbone: Backbone
) -> tuple[Losses, Tensor]:
    """As `_evaluate`, in two passes: the first for the statistics of the whole, the second for the gradient."""
    images = images.detach()
    with torch.no_grad():
        sums, content, near = _measure(images, targets, backbone)
    style = torch.zeros_like(content)
    style_pulls = {}
    for layer, target in targets.styles.items():
        loss, style_pulls[layer] = target.pull(sums[layer])
        style = style + loss + near.get(layer, 0)
    balance = balanced(content, style, targets)
    slopes = _Slopes(balance.content, balance.style)
    gradient = torch.zeros_like(images)
    for tile in targets.tiles:
        own = images[:, :, tile.rows, tile.columns].requires_grad_(True)

        def tap(layer: str, features: Tensor, tile: Tile = tile) -> Tensor:
            pulls = []
            core, slices = tile.at(backbone.profile.stride(layer), features)
            if layer in targets.styles:
                guides = targets.styles[layer].guides
                shape = (len(features), 1, *features.shape[2:])
                inside = torch.zeros(shape, device=features.device)
                inside[core] = 1
                if guides is not None:
                    inside = inside.expand(-1, guides.shape[1], -1, -1).clone()
                    inside[core] = guides[slices]
                pulls.append(_style_pull(style_pulls[layer], inside, slopes))
            own_features = features.detach()[core]
            for found in _direction_losses(layer, own_features, slices, targets, backbone):
                slope = torch.zeros(features.shape, device=features.device)
                slope[core] = found.slope()
                pulls.append(_direction_pull(found, slope, slopes))
            return _pulled(features, pulls)

        deepest = backbone.through(own, tap)
        (pull,) = torch.autograd.grad(deepest, own, torch.zeros_like(deepest))
        gradient[:, :, tile.rows, tile.columns] += pull
    return _with_pixel_losses(
        images.requires_grad_(True), content, style, balance, gradient, targets
    )


def _with_pixel_losses(
    images: Tensor,
    content: Tensor,
    style: Tensor,
    balance: Balance,
    gradient: Tensor,
    targets: Targets,
) -> tuple[Losses, Tensor]:
    """Add the losses of the pixels themselves."""
    weights, of_pixels = targets.weights, targets.pixels
    with torch.set_grad_enabled(targets.looks_at_pixels):
        tv = losses.total_variation_loss(images)
        detail = losses.detail_loss(images, of_pixels.edges, of_pixels.edge_scale)
        contrast = losses.contrast_loss(
            images, of_pixels.shade, of_pixels.shade_scale, of_pixels.contrast_floor
        )
        noise = losses.excess(metrics.fine_energy(images), of_pixels.noise_limit)
        pixels = (
            weights.tv * tv
            + weights.detail * detail
            + weights.contrast * contrast
            + weights.noise * noise
        )
    if targets.looks_at_pixels:
        gradient = gradient + torch.autograd.grad(pixels.sum(), images)[0]
    if targets.holds_chroma:
        chroma, slope = chroma_loss_and_gradient(images.detach(), targets.palette)
        gradient = gradient + weights.chroma[:, None, None, None] * slope
    else:
        chroma = chroma_loss(images.detach(), targets.palette)
    pixels = pixels.detach() + weights.chroma * chroma
    return (
        Losses(
            content=content,
            style=style,
            tv=tv.detach(),
            detail=detail.detach(),
            contrast=contrast.detach(),
            noise=noise.detach(),
            chroma=chroma,
            total=balance.total + pixels,
        ),
        gradient,
    )


def _measure(
    images: Tensor, targets: Targets, backbone: Backbone
) -> tuple[dict[str, Moments], Tensor, dict[str, Tensor]]:
    """The undivided moments of each style layer, the content loss [B], and layers' neighbour losses [B]."""
    sums: dict[str, Moments] = {}
    content = torch.zeros_like(targets.weights.content)
    near: dict[str, Tensor] = {}
    for layer, features, slices in feature_maps(images, targets.tiles, backbone):
        if layer in targets.styles:
            target = targets.styles[layer]
            add_sums(sums, layer, target.sums(features, _at(target.guides, slices)))
        for found in _direction_losses(layer, features, slices, targets, backbone):
            if found.is_of_style:
                near[layer] = near[layer] + found.loss if layer in near else found.loss
            else:
                content = content + found.loss
    return sums, content, near


def _at(whole: Tensor | None, slices: Slices) -> Tensor | None:
    return None if whole is None else whole[slices]


# Adds what a loss pulls features to, given the gradient so far and the features, both [B,C,h,w].
_Pull = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class _DirectionLoss:
    """A loss of the directions u of a map's features, or of a piece of it: the content's or the neighbours'.

    `loss` [B] is the layer's part of what the picture's content, or its style, is measured in. Its
    gradient at the features is `coefficient` [B] times `slope()` [B,C,h,w].
    """

    is_of_style: bool
    loss: Tensor
    coefficient: Tensor
    directions: Tensor
    lengths: Tensor
    # From what they are compared with, each position's by its weight.
    differences: Tensor

    def slope(self) -> Tensor:
        return losses.content_slope(self.differences, self.directions, self.lengths)


def _direction_losses(
    layer: str, features: Tensor, slices: Slices, targets: Targets, backbone: Backbone
) -> Iterator[_DirectionLoss]:
    """Those that a layer has, of its features [B,C,h,w], which lie at `slices` of the whole map."""
    if layer not in targets.contents and layer not in targets.neighbours:
        return
    found, lengths = losses.directions(features)
    if layer in targets.contents:
        coefficient = targets.content_coefficients[layer]
        difference = found - targets.contents[layer][slices]
        weighed = losses.weighed(difference, _at(targets.presence.get(layer), slices))
        yield _DirectionLoss(
            is_of_style=False,
            loss=coefficient * reductions.total(weighed * difference),
            coefficient=2 * coefficient,
            directions=found,
            lengths=lengths,
            differences=weighed,
        )
    if layer in targets.neighbours:
        matched = targets.neighbours[layer]
        guides = _at(matched.guides, slices)
        loss, difference = matched.differences(found, guides, backbone.product_dtype)
        yield _DirectionLoss(
            is_of_style=True,
            loss=loss,
            coefficient=matched.coefficients,
            directions=found,
            lengths=lengths,
            differences=difference,
        )


def _style_pull(of_layer: StylePull, guides: Tensor | None, slopes: _Slopes) -> _Pull:
    """Adds the gradient of the style loss at the features."""

    def pull(gradient: Tensor, features: Tensor) -> Tensor:
        weighted = slopes.style[:, None, None, None] * of_layer.matrices
        centres, offsets = of_layer.centres, of_layer.offsets
        if offsets is not None:
            offsets = slopes.style[:, None, None] * offsets
        if guides is None:
            before, table = map(losses.positions_as_they_are, (gradient, features))
            pulled = reductions.plus_product(
                before,
                table,
                weighted[:, 0],
                centres=None if centres is None else centres[:, 0],
                offsets=None if offsets is None else offsets[:, 0],
            )
            return _as_map(pulled, features)
        flat, pulled = losses.positions(features), losses.positions(gradient)
        for k in range(weighted.shape[1]):
            weights = guides[:, k].flatten(1)[..., None].square()
            found = flat @ weighted[:, k]
            if centres is not None and offsets is not None:
                found = found + (offsets[:, k : k + 1] - centres[:, k : k + 1] @ weighted[:, k])
            pulled = pulled + found * weights
        return _as_map(pulled, features)

    return pull


def _direction_pull(of_loss: _DirectionLoss, slope: Tensor, slopes: _Slopes) -> _Pull:
    """Adds the gradient of a loss of directions, of which `slope` [B,C,h,w] is the slope."""
    # Not the loss itself, whose maps would be kept until the pass back.
    is_of_style, coefficient = of_loss.is_of_style, of_loss.coefficient

    def pull(gradient: Tensor, _: Tensor) -> Tensor:
        weight = (slopes.style if is_of_style else slopes.content) * coefficient
        return gradient + (weight[:, None, None, None] * slope).to(gradient.dtype)

    return pull


def _as_map(table: Tensor, like: Tensor) -> Tensor:
    """[B,H*W,C] -> [B,C,H,W] in the kind of number of `like`."""
    batch, channels, height, width = like.shape
    return table.view(batch, height, width, channels).permute(0, 3, 1, 2).to(like.dtype)


def _pulled(features: Tensor, pulls: Sequence[_Pull]) -> Tensor:
    for pull in pulls:
        features = _Pulled.apply(features, pull)
    return features


class _Pulled(Function):
    """The identity; its backward pass adds the gradient of the losses at these features."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, pull: _Pull) -> Tensor:
        ctx.pull = pull
        ctx.save_for_backward(features)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        # A pull may hold a map as large as the features, and what the pass is through with would keep it.
        pull, ctx.pull = ctx.pull, None
        return pull(gradients[0], features), None
