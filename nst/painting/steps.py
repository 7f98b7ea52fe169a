"""The steps of an optimisation: each evaluates images, keeps the best, and moves on."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from nst.painting.optimizers import Optimizer
from nst.painting.targets import LOSS_NAMES, Losses, map_losses

# The losses [B] of images [B,3,H,W] and their gradient, of items of which some may have ended.
Evaluate = Callable[[Tensor, Sequence[bool]], tuple[Losses, Tensor]]


class Best:
    """Each item's evaluated image with the lowest total loss, while its numbers are finite.

    Its tensors stay where they are.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images.clone()
        columns = {name: images.new_full((len(images),), torch.inf) for name in LOSS_NAMES}
        self.losses = Losses(**columns)
        self.is_finite = torch.ones(len(images), dtype=torch.bool, device=images.device)

    def update(self, images: Tensor, losses: Losses, gradient: Tensor, is_running: Tensor) -> None:
        """Check the running items; stopped ones are ignored."""
        is_finite = losses.total.isfinite() & gradient.flatten(1).isfinite().all(dim=1)
        self.is_finite &= is_finite | ~is_running
        is_better = self.is_finite & is_running & (losses.total < self.losses.total)
        torch.where(is_better[:, None, None, None], images, self.images, out=self.images)
        map_losses(lambda new, old: torch.where(is_better, new, old, out=old), losses, self.losses)

    def begin(self, images: Tensor) -> None:
        """Forget what was the best."""
        self.images.copy_(images)
        map_losses(lambda column: column.fill_(torch.inf), self.losses)
        self.is_finite.fill_(True)

    def copy(self) -> "Best":
        """What is the best now, whatever the next steps do."""
        made = Best(self.images)
        made.losses = map_losses(torch.clone, self.losses)
        made.is_finite = self.is_finite.clone()
        return made


class Steps(Protocol):
    """The steps of a batch at one size, one after the other."""

    @property
    def best(self) -> Best:
        """The best of the images that were evaluated, as it goes on."""

    def evaluate(self, running: Sequence[bool], is_running: Tensor) -> Losses:
        """The losses [B] of the images of now, of those that are running; [B] twice."""

    def move(self) -> None:
        """Go to the next images, by the gradient of the last evaluation."""


class PlainSteps:
    """Steps whose operations are given to the device one by one."""

    def __init__(self, evaluate: Evaluate, optimizer: Optimizer, images: Tensor) -> None:
        self._evaluate = evaluate
        self._optimizer = optimizer
        self._images = images
        self.best = Best(images)
        self._gradient: Tensor | None = None

    def evaluate(self, running: Sequence[bool], is_running: Tensor) -> Losses:
        losses, self._gradient = self._evaluate(self._images, running)
        self.best.update(self._images, losses, self._gradient, is_running)
        return losses

    def move(self) -> None:
        assert self._gradient is not None
        self._images = self._optimizer.step(self._gradient)
