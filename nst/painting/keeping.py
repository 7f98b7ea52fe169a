"""Intermediate pictures of a batch, handed on while it is painted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from nst.painting.octaves import resized

# Told which item, after how many of its evaluations, from 1, and its picture then: [3,H,W] in [0, 1] on
# the CPU, as large as the item's content, and its own, whatever the next evaluations do.
OnKept = Callable[[int, int, Tensor], None]


@dataclass(slots=True, kw_only=True)
class Keeping:
    """Hands on the best picture of each item after `every` of its evaluations; with 0 none.

    Those of coarser sizes are enlarged to the picture's own [height, width].
    """

    every: int
    on_kept: OnKept
    size: tuple[int, int]
    _before: Sequence[int] = field(default=())

    def evaluated(self, evaluation: int, images: Tensor, running: Sequence[bool]) -> None:
        """Look at the images [B,3,h,w] of a size after one of its evaluations, counted from 1."""
        if not self.every:
            return
        before = self._before or [0] * len(running)
        for item, is_running in enumerate(running):
            number = before[item] + evaluation
            if is_running and number % self.every == 0:
                # A copy on a CPU too: what is the best is written over while this one is encoded.
                own = images[item].to("cpu", copy=True)
                self.on_kept(item, number, resized(own, self.size))

    def ended(self, evaluations: Sequence[int]) -> None:
        """A size is through, with so many evaluations of each item."""
        before = self._before or [0] * len(evaluations)
        self._before = [sum(each) for each in zip(before, evaluations, strict=True)]
