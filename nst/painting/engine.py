"""The style transfer: a batch of contents and styles -> stylized images and their losses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nst.painting.backbones import Backbone
from nst.painting.colors import match_colors
from nst.painting.objective import Objective
from nst.painting.optimizers import OPTIMIZERS
from nst.painting.targets import LOSS_NAMES, Item, Losses, StyleMemo, map_losses

# How often the loop looks whether pictures have stopped moving, which has to wait for the device.
STALL_WINDOW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Stylized:
    """`images` [B,3,H,W] in [0, 1] on the CPU: for each item, the best image that was evaluated.

    `losses` are those of exactly these images, `style_by_layer` their style loss layer by layer.
    `curve` has the losses of every evaluation, [E,B]; those of an item end after its
    `num_evaluations` [B]. `is_finite` [B] is False for an item with a loss or gradient that was not
    finite; its image is then the best one before that.
    """

    images: Tensor
    losses: Losses
    style_by_layer: Mapping[str, Tensor]
    is_finite: Tensor
    num_evaluations: Tensor
    curve: Losses


OnStep = Callable[[int, Losses], None]


def stylize(
    items: Sequence[Item],
    backbone: Backbone,
    *,
    on_step: OnStep | None = None,
    memo: StyleMemo | None = None,
    tile_px: int | None = None,
) -> Stylized:
    """Gatys' optimisation of a batch, each item as if it were alone.

    All items must have the same size of content, steps, optimizer, layers and number of styles, and all
    or none have a mask: they share a tensor program. Weights, seeds, inits and styles (of any size)
    may differ. `on_step` is called with the number of evaluations so far, from 1, and
    their losses, still on the device. `memo` and `tile_px` are as in `Objective.of`.
    """
    program = items[0].params
    objective = Objective.of(items, backbone, memo=memo, tile_px=tile_px)
    images = torch.stack([_initial(item) for item in items]).to(backbone.device)
    optimizer = OPTIMIZERS[program.optimizer](images)
    best = _Best(images)
    stalls = _Stalls([item.params.tolerance for item in items], images.device)
    curve = []
    for evaluation in range(1, program.steps + 1):
        losses, gradient = objective(images, stalls.running)
        best.update(images, losses, gradient, stalls.is_running)
        curve.append(losses)
        if on_step is not None:
            on_step(evaluation, losses)
        if evaluation % STALL_WINDOW == 0:
            stalls.look(evaluation, best.losses.total)
        if evaluation == program.steps or not any(stalls.running):
            break
        images = optimizer.step(gradient)
    return Stylized(
        images=best.images.cpu(),
        losses=map_losses(lambda column: column.cpu(), best.losses),
        style_by_layer={k: v.cpu() for k, v in objective.style_by_layer(best.images).items()},
        is_finite=best.is_finite.cpu(),
        num_evaluations=torch.tensor([end or len(curve) for end in stalls.ends]),
        curve=map_losses(lambda *columns: torch.stack(columns).cpu(), *curve),
    )


def _initial(item: Item) -> Tensor:
    match item.params.init:
        case "recolored":
            # The strokes are what takes steps; the colours can be had at once.
            palette = torch.cat([style.flatten(1) for style in item.styles], dim=1)
            weights = None
            if any(alpha is not None for alpha in item.alphas):
                weights = torch.cat(
                    [
                        torch.ones_like(style[0].flatten()) if alpha is None else alpha.flatten()
                        for style, alpha in zip(item.styles, item.alphas, strict=True)
                    ]
                )[None, None]
            return match_colors(item.content, palette[:, None], target_weights=weights)
        case "content":
            return item.content
        case "noise":
            # On the CPU whatever the device is, so that a seed means the same everywhere.
            generator = torch.Generator().manual_seed(item.params.seed)
            return torch.rand(item.content.shape, generator=generator)
        case "picture":
            assert item.start is not None
            return item.start


class _Best:
    """Each item's evaluated image with the lowest total loss, while its numbers are finite."""

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        nothing = images.new_full((len(images),), torch.inf)
        self.losses = Losses(**dict.fromkeys(LOSS_NAMES, nothing))
        self.is_finite = torch.ones(len(images), dtype=torch.bool, device=images.device)

    def update(self, images: Tensor, losses: Losses, gradient: Tensor, is_running: Tensor) -> None:
        """Check the running items; stopped ones are ignored."""
        is_finite = losses.total.isfinite() & gradient.flatten(1).isfinite().all(dim=1)
        self.is_finite = self.is_finite & (is_finite | ~is_running)
        is_better = self.is_finite & is_running & (losses.total < self.losses.total)
        self.images = torch.where(is_better[:, None, None, None], images, self.images)
        self.losses = map_losses(
            lambda new, old: torch.where(is_better, new, old), losses, self.losses
        )


class _Stalls:
    """Which items still improve, by how much their best loss has fallen since the last check.

    `is_running` [B] stays on the device, since reading it at each step would slow the loop down.
    """

    def __init__(self, tolerances: Sequence[float], device: torch.device) -> None:
        self.is_running = torch.ones(len(tolerances), dtype=torch.bool, device=device)
        self._tolerances = tolerances
        self._last: Sequence[float] = [torch.inf] * len(tolerances)
        self.ends: list[int | None] = [None] * len(tolerances)

    @property
    def running(self) -> list[bool]:
        return [end is None for end in self.ends]

    def look(self, evaluation: int, best: Tensor) -> None:
        if not any(self._tolerances):
            return
        totals = best.tolist()
        for i, (before, now) in enumerate(zip(self._last, totals, strict=True)):
            tolerance = self._tolerances[i]
            if self.ends[i] is None and tolerance > 0 and before - now <= tolerance * now:
                self.ends[i] = evaluation
                self.is_running[i] = False
        self._last = totals
