"""Optimisers of a batch of images, each item as if it were alone.

An optimizer receives the gradient at its last images and returns the next images to evaluate. So one
evaluation of the loss is one step with every optimizer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nst.painting import reductions
from nst.painting.threads import same_with_any_number

# A frequency is along an axis up to some such angle from it, and the more so the finer it is: from the
# first of these, in cycles a pixel, to the second.
_AXIS_DEGREES = 12.0
_AXIS_FROM, _AXIS_TO = 0.05, 0.15


class Frequencies(Protocol):
    """How much each frequency of `rfft2` of a picture weighs: [height, width // 2 + 1]."""

    def __call__(self, height: int, width: int, *, device: torch.device) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class InverseFrequencies:
    """1 / f for each frequency, of mean 1; below one period per picture f is that.

    Fine structure along the picture's rows and columns weighs `axis_trust` times as much.
    """

    axis_trust: float = 1.0

    def __call__(self, height: int, width: int, *, device: torch.device) -> Tensor:
        down = torch.fft.fftfreq(height, device=device)[:, None]
        across = torch.fft.rfftfreq(width, device=device)
        length = (down.square() + across.square()).sqrt()
        weights: Tensor = 1 / length.clamp_min(1 / max(height, width))
        weights = weights / reductions.mean(weights, kept=0)
        if self.axis_trust == 1:
            return weights
        angle = torch.rad2deg(torch.atan2(down.abs(), across))
        near = torch.exp(-(torch.minimum(angle, 90 - angle) / _AXIS_DEGREES).square())
        fine = ((length - _AXIS_FROM) / (_AXIS_TO - _AXIS_FROM)).clamp(0, 1)
        trusted: Tensor = weights * (1 - (1 - self.axis_trust) * near * fine)
        return trusted


class Optimizer(Protocol):
    """Moves images [B,...]; no item affects another."""

    def step(self, gradient: Tensor) -> Tensor:
        """The next images to evaluate, given the gradient [B,...] at the last ones."""


class Adam:
    """Adam (Kingma and Ba, 2015) on the pixels, kept in [0, 1] by clamping.

    It is elementwise, so the library's own serves a batch. The settings are those of
    crowsonkb/style-transfer-pytorch, whose shorter second memory suits a few hundred steps.
    """

    def __init__(self, images: Tensor, *, frequencies: Frequencies | None = None) -> None:
        """`frequencies` are nothing to it: it divides each pixel's gradient by its own past."""
        self.images = images.clone()
        self._adam = torch.optim.Adam([self.images], lr=0.02, betas=(0.9, 0.99))

    def step(self, gradient: Tensor) -> Tensor:
        self.images.grad = gradient
        self._adam.step()
        self.images.clamp_(0, 1)
        return self.images


class LBFGS:
    """Limited-memory BFGS (Nocedal and Wright, 2006, algorithm 7.4), a history per item, in [0, 1].

    `torch.optim.LBFGS` sees a batch as one long vector, whose single curvature history would couple
    the items; here each dot product is a column [B]. As there, no line search and whole steps.
    Departs from it in four ways, each measured to lower the loss of the picture that is delivered:

    - The inverse Hessian that the recursion starts from is not the identity but `_smoothed`, which
      trusts coarse structure more than fine. It is what optimising in a Fourier basis scaled by
      f^-1/2 would do (Olah et al., "Feature Visualization", Distill 2017), written so that the
      pixels stay the variables, and it halves the evaluations.
    - The first step has a set length, and no step is longer than `MAX_STEP_RMS`.
    - The pixels are kept within [0, 1] by projection (Bertsekas, 1982: those at a bound that the
      gradient pushes outward take no part in the step), since clamping at the end alone doubles the
      style loss.
    """

    HISTORY = 10
    # About five grey levels, as large as Adam's first.
    FIRST_STEP_RMS = 0.02
    # A whole step that would repaint the picture comes of a curvature estimate gone bad, which a
    # line search would catch at the cost of further evaluations; it is shortened instead.
    MAX_STEP_RMS = 0.1

    def __init__(self, images: Tensor, *, frequencies: Frequencies | None = None) -> None:
        self._shape = images.shape
        filter_of = frequencies or InverseFrequencies()
        self._filter = filter_of(*images.shape[-2:], device=images.device)
        self._z: Tensor = images.flatten(1)
        batch, size = self._z.shape
        self._steps = self._z.new_zeros(self.HISTORY, batch, size)
        self._changes = self._z.new_zeros(self.HISTORY, batch, size)
        self._rho = self._z.new_zeros(self.HISTORY, batch)
        self._gamma = self._z.new_ones(batch)
        self._gradient: Tensor | None = None
        self._last_step = torch.zeros_like(self._z)
        self._num_pairs = 0

    def step(self, gradient: Tensor) -> Tensor:
        g, is_free = self._projected(gradient)
        if self._gradient is None:
            step = -self._smoothed(g) * is_free
            step = (
                step
                * (self.FIRST_STEP_RMS / _rms(step).clamp_min(torch.finfo(g.dtype).tiny))[:, None]
            )
        else:
            self._remember(self._last_step, g - self._gradient)
            step = -self._inverse_hessian_times(g) * is_free
            step = step * (self.MAX_STEP_RMS / _rms(step).clamp_min(self.MAX_STEP_RMS))[:, None]
        before, self._z = self._z, (self._z + step).clamp(0, 1)
        self._gradient, self._last_step = g, self._z - before
        return self._z.view(self._shape)

    def _projected(self, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient of the pixels that are free to move, [B,N], and which these are."""
        g = gradient.flatten(1)
        is_free = ~(((self._z <= 0) & (g > 0)) | ((self._z >= 1) & (g < 0)))
        return g * is_free, is_free

    def _smoothed(self, vectors: Tensor) -> Tensor:
        """The filter applied to each channel of each item: [B,N] -> [B,N]."""
        return _filtered(vectors.view(self._shape), self._filter).flatten(1)

    def _remember(self, step: Tensor, change: Tensor) -> None:
        """Add a curvature pair; its weight is 0 for items without positive curvature."""
        slot = self._new_slot()
        curvature = _dot(change, step)
        is_usable = curvature > 1e-10
        safe = torch.where(is_usable, curvature, 1)
        self._rho[slot] = torch.where(is_usable, 1 / safe, 0)
        size = _dot(change, self._smoothed(change)).clamp_min(torch.finfo(change.dtype).tiny)
        self._gamma.copy_(torch.where(is_usable, curvature / size, self._gamma))
        self._steps[slot], self._changes[slot] = step, change

    def _new_slot(self) -> int:
        """Where the next pair is kept, in place of the oldest."""
        self._num_pairs += 1
        return (self._num_pairs - 1) % self.HISTORY

    def _newest_first(self) -> Sequence[int]:
        """Where the pairs are that there are."""
        oldest = max(self._num_pairs - self.HISTORY, 0)
        return [n % self.HISTORY for n in range(self._num_pairs - 1, oldest - 1, -1)]

    def _inverse_hessian_times(self, gradient: Tensor) -> Tensor:
        """The two-loop recursion, on all items at once."""
        newest_first = self._newest_first()
        q = gradient
        alphas = {}
        for i in newest_first:
            alphas[i] = self._rho[i] * _dot(self._steps[i], q)
            q = q - alphas[i][:, None] * self._changes[i]
        q = self._gamma[:, None] * self._smoothed(q)
        for i in reversed(newest_first):
            beta = self._rho[i] * _dot(self._changes[i], q)
            q = q + (alphas[i] - beta)[:, None] * self._steps[i]
        return q


class FixedLBFGS(LBFGS):
    """`LBFGS` as a fixed sequence of operations on tensors that stay where they are.

    So it can be recorded once and repeated. The newest pair is always the first of the history, and
    pairs that are not there yet have the weight 0: each step goes through a whole history.
    """

    def __init__(self, images: Tensor, *, frequencies: Frequencies | None = None) -> None:
        # Contiguous, so that the pixels as vectors are a view of it.
        self.images = images.clone(memory_format=torch.contiguous_format)
        super().__init__(self.images, frequencies=frequencies)
        self._gradient: Tensor = torch.zeros_like(self._z)
        self._is_first = torch.ones_like(self._gamma, dtype=torch.bool)

    def begin(self, images: Tensor) -> None:
        """Begin anew at other images."""
        self.images.copy_(images)
        for each in (self._steps, self._changes, self._rho, self._gradient, self._last_step):
            each.zero_()
        self._gamma.fill_(1)
        self._is_first.fill_(True)

    def step(self, gradient: Tensor) -> Tensor:
        g, is_free = self._projected(gradient)
        # Before the first step the last one is 0, which is no usable pair.
        self._remember(self._last_step, g - self._gradient)
        step = -self._inverse_hessian_times(g) * is_free
        length = _rms(step)
        tiny = torch.finfo(g.dtype).tiny
        factor = torch.where(
            self._is_first,
            self.FIRST_STEP_RMS / length.clamp_min(tiny),
            self.MAX_STEP_RMS / length.clamp_min(self.MAX_STEP_RMS),
        )
        moved = (self._z + step * factor[:, None]).clamp(0, 1)
        self._last_step.copy_(moved - self._z)
        self._z.copy_(moved)
        self._gradient.copy_(g)
        self._is_first.fill_(False)
        return self.images

    def _new_slot(self) -> int:
        for history in (self._steps, self._changes, self._rho):
            for slot in range(self.HISTORY - 1, 0, -1):
                history[slot].copy_(history[slot - 1])
        return 0

    def _newest_first(self) -> list[int]:
        return list(range(self.HISTORY))


def _filtered(images: Tensor, weights: Tensor) -> Tensor:
    """Each channel of images [B,C,H,W] with its frequencies weighted, [H,W/2+1]."""
    size = images.shape[-2:]
    if images.device.type != "cpu":
        together: Tensor = torch.fft.irfft2(torch.fft.rfft2(images) * weights, s=size)
        return together
    # Item by item, since the transform's last bits may depend on how many it is given at once.
    with same_with_any_number(size, images.device):
        return torch.stack(
            [torch.fft.irfft2(torch.fft.rfft2(each) * weights, s=size) for each in images.unbind()]
        )


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Dot products per item: [B,N], [B,N] -> [B], the same to the bit whatever B is on a CPU."""
    return reductions.total(a * b)


def _rms(a: Tensor) -> Tensor:
    """Root mean square per item: [B,N] -> [B]."""
    return (_dot(a, a) / a.shape[1]).sqrt()


class _Begins(Protocol):
    """An optimizer that begins at images [B,3,H,W]."""

    def __call__(self, images: Tensor, *, frequencies: Frequencies | None = None) -> Optimizer: ...


OPTIMIZERS: Mapping[str, _Begins] = {"adam": Adam, "lbfgs": LBFGS}
