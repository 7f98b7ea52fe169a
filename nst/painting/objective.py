"""The weighted, unitless loss of a batch of images, and its gradient.

- A Gram is G = F' F / (H W) (Gatys et al., 2015, eq. 3, there undivided): divided by the number of
  positions it does not depend on the picture's size, so that a style of one size is the target of a
  picture of another.
- The style loss of a layer is ||G - A||^2 / ||A||^2: 0 at the style's Gram A, 1 without features. It
  departs from Gatys et al. (2016, eq. 4), whose 1 / (4 N^2 M^2) leaves a loss that varies a
  thousandfold between styles; dividing by the target is after Cheng et al. (CVPR 2021).
  Where a style is so dark or flat that its A is small beside the content's own Gram C, the loss is
  measured in STYLE_SCALE_FLOOR^2 ||C||^2.
- The content loss is ||U - P||^2 / ||P - mean(P)||^2, U and P the features of each position at length
  1: 0 at the content, 1 where every position is alike. From coarse to fine, each position counts by
  the length of the content's features there (`losses.presence`). Theirs (eq. 1) compares the features
  themselves, so that it asks a dark style for the content's contrast, and for nothing else once that
  is lost; which features lie where can be asked of any style.
- A contrast loss keeps a share of the content's light and shade, and a noise loss holds the highest
  octave of frequencies down to the style's; both are 0 for pictures that do not need them.
- The total is not a plain sum. The higher the content's or the style's loss is, the more it weighs
  (`balanced`), so that one default serves every pair: if a style overwhelms its content, the content
  gets more weight, and if a style is easily matched, the style gets less.

No loss uses autograd. The gradient of each loss at the features is known as soon as the features are,
so it is added during the backward pass through the network.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nst.painting import losses, metrics, reductions
from nst.painting.backbones import Backbone
from nst.painting.targets import (
    LOSS_NAMES,
    Item,
    Losses,
    StyleMemo,
    Targets,
    add_sums,
    feature_maps,
    gram_sums,
    map_losses,
    stacked,
    targets_of,
)
from nst.painting.tiles import Slices, Tile

# The content weighs (loss / reach)^7: next to nothing below the loss that is in reach of the weights,
# and beyond it soon more than anything else.
CONTENT_POWER = 8.0
# Beyond this many times its reach the content loss weighs no more than there, 17 times its weight: a
# wall any steeper throws an optimiser back that takes whole steps.
MAX_EXCESS = 1.5
# The style weighs (loss / unit)^0.5, the unit being what ordinary pairs come to.
STYLE_POWER = 1.5
STYLE_UNIT = 0.04


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
    ) -> "Objective":
        """For items with the same size of content, layers and number of styles, all or none with a mask.

        With `tile_px` a picture goes through the network in tiles of that side, one after the
        other: less memory, more work, the same loss. `memo` holds what is known of styles.
        """
        program = items[0].params
        shares = backbone.profile.shares(program.content_layers, program.style_layers)
        memo = {} if memo is None else memo
        with torch.no_grad():
            together = len(items) > 1 and runs_items_together(backbone.device, tile_px)
            each = [
                targets_of(item, shares, backbone, memo, tile_px, is_alone=not together)
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
                found.append(evaluate(own, targets, self._backbone))
            else:
                nothing = own.new_zeros(len(own))
                found.append((Losses(**dict.fromkeys(LOSS_NAMES, nothing)), torch.zeros_like(own)))
        return (
            map_losses(lambda *columns: torch.cat(columns), *(each for each, _ in found)),
            torch.cat([gradient for _, gradient in found]),
        )

    def style_by_layer(self, images: Tensor) -> dict[str, Tensor]:
        """The style loss of images [B,3,H,W] of each layer by itself, [B]: 0 the style, 1 nothing."""
        found: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for targets, own, _ in self._split(images, None):
                sums, _ = _measure(own, targets, self._backbone)
                for layer, target in targets.styles.items():
                    loss, _ = target.pull(sums[layer])
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

    On a CPU it does not: one item at a time is as fast, needs the memory of one item, and rounds
    independently of the other items. That matters, since the optimisation amplifies a last bit to
    whole grey levels within some tens of steps. Tiled pictures do not run together either.
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

    w r (c / r)^p / p for the content, r being its reach, and w u (s / u)^q / q for the style. The
    content's goes on as a straight line beyond MAX_EXCESS.
    """
    weights, reach = targets.weights, targets.reach
    excess = content / reach
    inside = excess.clamp_max(MAX_EXCESS)
    content_slope = weights.content * inside ** (CONTENT_POWER - 1)
    content_term = content_slope * reach * (inside / CONTENT_POWER + excess - inside)
    style_slope = weights.style * (style / STYLE_UNIT) ** (STYLE_POWER - 1)
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
                loss, matrices = target.pull(gram_sums(features, target.guides))
                style = style + loss
                pulls.append(_style_pull(matrices, target.guides, slopes))
            if layer in targets.contents:
                coefficient = targets.content_coefficients[layer]
                found, lengths = losses.directions(features)
                difference = found - targets.contents[layer]
                weighed = losses.weighed(difference, targets.presence.get(layer))
                content = content + coefficient * reductions.total(weighed * difference)
                slope = losses.content_slope(weighed, found, lengths)
                pulls.append(_content_pull(slope, 2 * coefficient, slopes))
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
        sums, content = _measure(images, targets, backbone)
    style = torch.zeros_like(targets.weights.style)
    matrices = {}
    for layer, target in targets.styles.items():
        loss, matrices[layer] = target.pull(sums[layer])
        style = style + loss
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
                pulls.append(_style_pull(matrices[layer], inside, slopes))
            if layer in targets.contents:
                found, lengths = losses.directions(features.detach()[core])
                difference = found - targets.contents[layer][slices]
                weighed = losses.weighed(difference, _presence(targets, layer, slices))
                slope = torch.zeros(features.shape, device=features.device)
                slope[core] = losses.content_slope(weighed, found, lengths)
                pulls.append(_content_pull(slope, 2 * targets.content_coefficients[layer], slopes))
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
    return (
        Losses(
            content=content,
            style=style,
            tv=tv.detach(),
            detail=detail.detach(),
            contrast=contrast.detach(),
            noise=noise.detach(),
            total=balance.total + pixels.detach(),
        ),
        gradient,
    )


def _measure(
    images: Tensor, targets: Targets, backbone: Backbone
) -> tuple[dict[str, Tensor], Tensor]:
    """The undivided Grams of each style layer, [B,K,C,C], and the content loss, [B]."""
    sums: dict[str, Tensor] = {}
    content = torch.zeros_like(targets.weights.content)
    for layer, features, slices in feature_maps(images, targets.tiles, backbone):
        if layer in targets.styles:
            guides = targets.styles[layer].guides
            add_sums(sums, layer, features, None if guides is None else guides[slices])
        if layer in targets.contents:
            difference = losses.directions(features)[0] - targets.contents[layer][slices]
            weighed = losses.weighed(difference, _presence(targets, layer, slices))
            loss = reductions.total(weighed * difference)
            content = content + targets.content_coefficients[layer] * loss
    return sums, content


def _presence(targets: Targets, layer: str, slices: Slices) -> Tensor | None:
    presence = targets.presence.get(layer)
    return None if presence is None else presence[slices]


# Adds what a loss pulls features to, given the gradient so far and the features, both [B,C,h,w].
_Pull = Callable[[Tensor, Tensor], Tensor]


def _style_pull(matrices: Tensor, guides: Tensor | None, slopes: _Slopes) -> _Pull:
    """Adds the gradient of the style loss at the features."""

    def pull(gradient: Tensor, features: Tensor) -> Tensor:
        weighted = slopes.style[:, None, None, None] * matrices
        if guides is None:
            before, table = map(losses.positions_as_they_are, (gradient, features))
            return _as_map(reductions.plus_product(before, table, weighted[:, 0]), features)
        flat, pulled = losses.positions(features), losses.positions(gradient)
        for k in range(weighted.shape[1]):
            weights = guides[:, k].flatten(1)[..., None].square()
            pulled = pulled + (flat @ weighted[:, k]) * weights
        return _as_map(pulled, features)

    return pull


def _content_pull(slope: Tensor, coefficient: Tensor, slopes: _Slopes) -> _Pull:
    """Adds the gradient of the content loss: `slope` [B,C,h,w] times a `coefficient` [B]."""

    def pull(gradient: Tensor, _: Tensor) -> Tensor:
        weight = (slopes.content * coefficient)[:, None, None, None]
        return gradient + (weight * slope).to(gradient.dtype)

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
        return ctx.pull(gradients[0], features), None
