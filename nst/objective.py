"""What a batch of images is measured by: the weighted, unitless loss and its gradient.

- A Gram is G = F' F / (H W) (Gatys et al., 2015, eq. 3, there undivided): divided by the number of
  positions it does not depend on the picture's size, so that a style of one size is the target of a
  picture of another.
- The style loss of a layer is ||G - A||^2 / ||A||^2: 0 at the style's Gram A, 1 without features. It
  departs from Gatys et al. (2016, eq. 4), whose 1 / (4 N^2 M^2) leaves a loss that varies a
  thousandfold between styles; dividing by the target is after Cheng et al. (CVPR 2021).
- The content loss is ||F - P||^2 / ||P - mean(P)||^2: 0 at the content, 1 where the features are
  flat. Theirs (eq. 1) grows with the picture's size and the square of the features' scale.

No loss goes through autograd. What each pulls the features towards is known as soon as the features
are, so the way back through the network picks it up as it passes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nst import losses, reductions
from nst.backbones import Backbone
from nst.targets import (
    LOSS_NAMES,
    Item,
    Losses,
    Part,
    StyleMemo,
    feature_maps,
    gram_sums,
    map_losses,
    part_of,
    seen_of,
    stacked,
)
from nst.tiles import Tile


class Objective:
    """The weighted loss of a batch and its gradient; what does not change is computed once."""

    def __init__(self, parts: Sequence["Part"], backbone: Backbone) -> None:
        self._parts = parts
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
        """Items share one size of content, layers, a number of styles and whether there is a mask.

        With `tile_px` a picture goes through the network in tiles of that side, one after the
        other: less memory, more work, the same loss. `memo` holds what is known of styles.
        """
        program = items[0].params
        shares = backbone.profile.shares(program.content_layers, program.style_layers)
        memo = {} if memo is None else memo
        with torch.no_grad():
            parts = [part_of(item, shares, backbone, memo, tile_px) for item in items]
            if len(parts) > 1 and runs_items_together(backbone.device, tile_px):
                parts = [stacked(parts)]
        return cls(parts, backbone)

    def __call__(
        self, images: Tensor, running: Sequence[bool] | None = None
    ) -> tuple[Losses, Tensor]:
        """The losses [B] of images [B,3,H,W] and the gradient of each item's total, [B,3,H,W].

        Parts of which no item is `running` are not looked at, and have zeros for both.
        """
        found = []
        for part, own, some_run in self._split(images, running):
            if some_run:
                evaluate = _evaluate if len(part.tiles) == 1 else _evaluate_by_tiles
                found.append(evaluate(own, part, self._backbone))
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
            for part, own, _ in self._split(images, None):
                sums, _ = _measure(own, part, self._backbone)
                for layer, target in part.styles.items():
                    loss, _ = target.pull(sums[layer], part.weights.style)
                    found.setdefault(layer, []).append(loss / target.share)
        return {layer: torch.cat(columns) for layer, columns in found.items()}

    def _split(
        self, images: Tensor, running: Sequence[bool] | None
    ) -> Iterator[tuple["Part", Tensor, bool]]:
        start = 0
        for part in self._parts:
            stop = start + part.num_items
            yield part, images[start:stop], running is None or any(running[start:stop])
            start = stop


def runs_items_together(device: torch.device, tile_px: int | None) -> bool:
    """Whether a batch goes through the network in one pass.

    On a CPU it does not: one item at a time is as fast, needs one item's memory, and rounds the
    same way whoever its batch-mates are. That matters, since the optimisation blows a last bit up
    to whole grey levels within some tens of steps. Nor do pictures so large that they are tiled.
    """
    return device.type != "cpu" and tile_px is None


def _evaluate(images: Tensor, part: Part, backbone: Backbone) -> tuple[Losses, Tensor]:
    """Losses and gradient in one pass there and back."""
    images = images.detach().requires_grad_(True)
    content = torch.zeros_like(part.weights.content)
    style = torch.zeros_like(part.weights.style)

    def tap(layer: str, features: Tensor) -> Tensor:
        nonlocal content, style
        temperature = part.temperatures.get(layer)
        raw = features.detach().requires_grad_(temperature is not None)
        seen = seen_of(raw, temperature)
        pulls: list[_Pull] = []
        with torch.no_grad():
            if layer in part.styles:
                target = part.styles[layer]
                loss, matrices = target.pull(gram_sums(seen, target.guides), part.weights.style)
                style = style + loss
                pulls.append(_style_pull(matrices, target.guides))
            if layer in part.contents:
                coefficient = part.content_coefficients[layer]
                difference = seen.float() - part.contents[layer].float()
                content = content + coefficient * reductions.total(difference.square())
                slope = 2 * part.weights.content * coefficient
                pulls.append(_constant_pull(difference.mul_(slope[:, None, None, None])))
        if temperature is not None:
            pulled = torch.zeros_like(seen)
            for pull in pulls:
                pulled = pull(pulled, seen)
            pulls = [_constant_pull(torch.autograd.grad(seen, raw, pulled)[0])]
        return _pulled(features, pulls)

    deepest = backbone.through(images, tap)
    (gradient,) = torch.autograd.grad(deepest, images, torch.zeros_like(deepest))
    return _with_image_losses(images, content, style, gradient, part)


def _evaluate_by_tiles(images: Tensor, part: Part, backbone: Backbone) -> tuple[Losses, Tensor]:
    """The same in two passes: the first finds the statistics of the whole, the second the gradient."""
    images = images.detach()
    with torch.no_grad():
        sums, content = _measure(images, part, backbone)
    style = torch.zeros_like(part.weights.style)
    matrices = {}
    for layer, target in part.styles.items():
        loss, matrices[layer] = target.pull(sums[layer], part.weights.style)
        style = style + loss
    gradient = torch.zeros_like(images)
    for tile in part.tiles:
        own = images[:, :, tile.rows, tile.columns].requires_grad_(True)

        def tap(layer: str, features: Tensor, tile: Tile = tile) -> Tensor:
            pulls = []
            core, place = tile.at(backbone.profile.stride(layer), features)
            if layer in part.styles:
                guides = part.styles[layer].guides
                shape = (len(features), 1, *features.shape[2:])
                inside = torch.zeros(shape, device=features.device)
                inside[core] = 1
                if guides is not None:
                    inside = inside.expand(-1, guides.shape[1], -1, -1).clone()
                    inside[core] = guides[place]
                pulls.append(_style_pull(matrices[layer], inside))
            if layer in part.contents:
                slope = 2 * part.weights.content * part.content_coefficients[layer]
                pull = torch.zeros_like(features)
                pull[core] = slope[:, None, None, None] * (
                    features.detach()[core] - part.contents[layer][place]
                )
                pulls.append(_constant_pull(pull))
            return _pulled(features, pulls)

        deepest = backbone.through(own, tap)
        (pull,) = torch.autograd.grad(deepest, own, torch.zeros_like(deepest))
        gradient[:, :, tile.rows, tile.columns] += pull
    return _with_image_losses(images.requires_grad_(True), content, style, gradient, part)


def _with_image_losses(
    images: Tensor, content: Tensor, style: Tensor, gradient: Tensor, part: Part
) -> tuple[Losses, Tensor]:
    """Add the losses that look at the pixels themselves."""
    weights = part.weights
    with torch.set_grad_enabled(part.looks_at_pixels):
        tv = losses.total_variation_loss(images)
        detail = losses.detail_loss(images, part.edges, part.edge_scale)
        pixels = weights.tv * tv + weights.detail * detail
    if part.looks_at_pixels:
        gradient = gradient + torch.autograd.grad(pixels.sum(), images)[0]
    total = weights.content * content + weights.style * style + pixels.detach()
    return (
        Losses(content=content, style=style, tv=tv.detach(), detail=detail.detach(), total=total),
        gradient,
    )


def _measure(images: Tensor, part: Part, backbone: Backbone) -> tuple[dict[str, Tensor], Tensor]:
    """The undivided Grams of each style layer, [B,K,C,C], and the content loss, [B]."""
    sums: dict[str, Tensor] = {}
    content = torch.zeros_like(part.weights.content)
    for layer, features, place in feature_maps(images, part.tiles, backbone):
        temperature = part.temperatures.get(layer)
        seen = seen_of(features, temperature)
        if layer in part.styles:
            guides = part.styles[layer].guides
            found = gram_sums(seen, None if guides is None else guides[place])
            sums[layer] = sums[layer] + found if layer in sums else found
        if layer in part.contents:
            difference = seen.float() - part.contents[layer][place].float()
            loss = reductions.total(difference.square())
            content = content + part.content_coefficients[layer] * loss
    return sums, content


# Adds what a loss pulls features to, given the gradient so far and the features, both [B,C,h,w].
_Pull = Callable[[Tensor, Tensor], Tensor]


def _style_pull(matrices: Tensor, guides: Tensor | None) -> _Pull:
    """Adds the gradient that the style loss has at the features."""

    def pull(gradient: Tensor, features: Tensor) -> Tensor:
        flat = losses.positions(features)
        pulled = losses.positions(gradient)
        if guides is None:
            pulled = torch.baddbmm(pulled, flat, matrices[:, 0])
        else:
            for k in range(matrices.shape[1]):
                weights = guides[:, k].flatten(1)[..., None].square()
                pulled = pulled + (flat @ matrices[:, k]) * weights
        return _as_map(pulled, features)

    return pull


def _constant_pull(pulled: Tensor) -> _Pull:
    return lambda gradient, _: gradient + pulled.to(gradient.dtype)


def _as_map(table: Tensor, like: Tensor) -> Tensor:
    """[B,H*W,C] -> [B,C,H,W] in the kind of number of `like`."""
    batch, channels, height, width = like.shape
    return table.view(batch, height, width, channels).permute(0, 3, 1, 2).to(like.dtype)


def _pulled(features: Tensor, pulls: Sequence[_Pull]) -> Tensor:
    for pull in pulls:
        features = _Pulled.apply(features, pull)
    return features


class _Pulled(Function):
    """Features as they are; on the way back, the gradient with what pulls at them added."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, pull: _Pull) -> Tensor:
        ctx.pull = pull
        ctx.save_for_backward(features)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        return ctx.pull(gradients[0], features), None
