"""The transfer itself: a batch of contents and styles in, stylized images and their losses out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nst.backbones import Backbone
from nst.job import PictureParams
from nst.losses import (
    content_layer_loss,
    content_scale,
    gram,
    gram_scale,
    style_layer_loss,
    total_variation_loss,
)
from nst.optimizers import OPTIMIZERS
from nst.profiles import Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One picture to make: `content` [3,H,W] and `style` [3,h,w], float32 sRGB in [0, 1]."""

    content: Tensor
    style: Tensor
    params: PictureParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The unitless losses of a batch, [B] each; `total` is their weighted sum.

    In `Stylized.curve` they carry a leading axis, one entry per evaluation: [E,B].
    """

    content: Tensor
    style: Tensor
    tv: Tensor
    total: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Stylized:
    """`images` [B,3,H,W] in [0, 1] on the CPU, the best of each item's evaluated iterates.

    `losses` are those of exactly these images. `is_finite` [B] is False for an item of which some
    loss or gradient was not; its image then is the best one before that.
    """

    images: Tensor
    losses: Losses
    is_finite: Tensor
    curve: Losses


OnStep = Callable[[int, Losses], None]


def stylize(
    items: Sequence[Item], backbone: Backbone, *, on_step: OnStep | None = None
) -> Stylized:
    """Gatys' optimisation of a batch, each item as if it were alone.

    All items have contents of one size, and equal steps, optimizer and layers, which make up the
    tensor program; weights, seeds, inits and styles of any size are each item's own. `on_step` is
    called with the number of evaluations so far, from 1, and their losses, still on the device.
    """
    program = items[0].params
    device = backbone.mean.device
    objective = Objective.of(items, backbone)
    images = torch.stack([_initial(item) for item in items]).to(device)
    optimizer = OPTIMIZERS[program.optimizer](images)
    best = _Best(images)
    curve = []
    for evaluation in range(1, program.steps + 1):
        losses, gradient = objective(images)
        best.update(images, losses, gradient)
        curve.append(losses)
        if on_step is not None:
            on_step(evaluation, losses)
        if evaluation < program.steps:
            images = optimizer.step(gradient)
    return Stylized(
        images=best.images.cpu(),
        losses=_map_losses(lambda columns: columns[0].cpu(), [best.losses]),
        is_finite=best.is_finite.cpu(),
        curve=_map_losses(lambda columns: torch.stack(columns).cpu(), curve),
    )


def _initial(item: Item) -> Tensor:
    match item.params.init:
        case "content":
            return item.content
        case "noise":
            # On the CPU whatever the device is, so that a seed means the same everywhere.
            generator = torch.Generator().manual_seed(item.params.seed)
            return torch.rand(item.content.shape, generator=generator)


class Objective:
    """The weighted loss of a batch and its gradient; what does not change is computed once."""

    def __init__(
        self, targets: Sequence["_Target"], weights: Losses, shares: Shares, backbone: Backbone
    ) -> None:
        self._targets = targets
        self._weights = weights
        self._shares = shares
        self._backbone = backbone

    @classmethod
    def of(cls, items: Sequence[Item], backbone: Backbone) -> "Objective":
        device = backbone.mean.device
        program = items[0].params
        shares = backbone.profile.shares(program.content_layers, program.style_layers)

        def column(name: str) -> Tensor:
            return torch.tensor([getattr(item.params, name) for item in items], device=device)

        weights = Losses(
            content=column("content_weight"),
            style=column("style_weight"),
            tv=column("tv_weight"),
            total=torch.ones(len(items), device=device),
        )
        # A style picture that several items share is looked at once.
        grams: dict[int, dict[str, Tensor]] = {}
        with torch.no_grad():
            for item in items:
                if id(item.style) not in grams:
                    grams[id(item.style)] = _grams(item.style.to(device), backbone, shares)
            targets = [
                _target(item.content.to(device), grams[id(item.style)], backbone, shares)
                for item in items
            ]
        if _runs_items_together(device):
            targets = [_stacked(targets)]
        return cls(targets, weights, shares, backbone)

    def __call__(self, images: Tensor) -> tuple[Losses, Tensor]:
        """The losses [B] of images [B,3,H,W] and the gradient of each item's total, [B,3,H,W]."""
        parts = []
        gradients = []
        start = 0
        for target in self._targets:
            stop = start + target.num_items
            part = images[start:stop].detach().requires_grad_(True)
            weights = _map_losses(lambda w: w[0][start:stop], [self._weights])  # noqa: B023
            losses = self._evaluate(part, target, weights)
            # The sum, not the mean: its gradient for an item does not know how many others there are.
            (gradient,) = torch.autograd.grad(losses.total.sum(), part)
            parts.append(_map_losses(lambda columns: columns[0].detach(), [losses]))
            gradients.append(gradient)
            start = stop
        return _map_losses(torch.cat, parts), torch.cat(gradients)

    def _evaluate(self, images: Tensor, target: "_Target", weights: Losses) -> Losses:
        features = self._backbone(images)
        content = torch.zeros_like(weights.content)
        for layer, share in self._shares.content.items():
            loss = content_layer_loss(
                features[layer], target.content[layer], target.content_scales[layer]
            )
            content = content + share * loss
        style = torch.zeros_like(weights.style)
        for layer, share in self._shares.style.items():
            loss = style_layer_loss(features[layer], target.grams[layer], target.gram_scales[layer])
            style = style + share * loss
        tv = total_variation_loss(images)
        total = weights.content * content + weights.style * style + weights.tv * tv
        return Losses(content=content, style=style, tv=tv, total=total)


@dataclass(frozen=True, slots=True)
class _Target:
    """What a few items are drawn to: features and Grams by layer, and the scales of their losses."""

    content: Mapping[str, Tensor]
    content_scales: Mapping[str, Tensor]
    grams: Mapping[str, Tensor]
    gram_scales: Mapping[str, Tensor]

    @property
    def num_items(self) -> int:
        return len(next(iter(self.gram_scales.values())))


def _runs_items_together(device: torch.device) -> bool:
    """Whether a batch goes through the network in one pass.

    On a CPU it does not: one item at a time is as fast, needs one item's memory, and rounds the
    same way whoever its batch-mates are. That matters, since the optimisation blows a last bit up
    to whole grey levels within some tens of steps.
    """
    return device.type != "cpu"


def _grams(style: Tensor, backbone: Backbone, shares: Shares) -> dict[str, Tensor]:
    features = backbone(style[None])
    return {layer: gram(features[layer]) for layer in shares.style}


def _target(
    content: Tensor, grams: Mapping[str, Tensor], backbone: Backbone, shares: Shares
) -> _Target:
    features = backbone(content[None])
    targets = {layer: features[layer] for layer in shares.content}
    return _Target(
        content=targets,
        content_scales={layer: content_scale(f) for layer, f in targets.items()},
        grams=grams,
        gram_scales={layer: gram_scale(g) for layer, g in grams.items()},
    )


def _stacked(targets: Sequence[_Target]) -> _Target:
    def cat(field: str) -> dict[str, Tensor]:
        layers = getattr(targets[0], field)
        return {layer: torch.cat([getattr(t, field)[layer] for t in targets]) for layer in layers}

    return _Target(cat("content"), cat("content_scales"), cat("grams"), cat("gram_scales"))


class _Best:
    """Each item's evaluated image of least total loss, as long as its numbers were finite."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        nothing = images.new_full((len(images),), torch.inf)
        self.losses = Losses(content=nothing, style=nothing, tv=nothing, total=nothing)
        self.is_finite = torch.ones(len(images), dtype=torch.bool, device=images.device)

    def update(self, images: Tensor, losses: Losses, gradient: Tensor) -> None:
        finite_gradient = gradient.flatten(1).isfinite().all(dim=1)
        self.is_finite = self.is_finite & losses.total.isfinite() & finite_gradient
        is_better = self.is_finite & (losses.total < self.losses.total)
        self.images = torch.where(is_better[:, None, None, None], images, self.images)
        self.losses = _map_losses(
            lambda columns: torch.where(is_better, columns[0], columns[1]), [losses, self.losses]
        )


def _map_losses(function: Callable[[list[Tensor]], Tensor], losses: Sequence[Losses]) -> Losses:
    """One `Losses` whose every field is `function` of the list of that field of all `losses`."""
    return Losses(
        content=function([each.content for each in losses]),
        style=function([each.style for each in losses]),
        tv=function([each.tv for each in losses]),
        total=function([each.total for each in losses]),
    )
