"""What a picture came out like by its pixels: pure functions of a batch, one value per item, [B].

Images are float32 sRGB in [0, 1], [B,3,H,W]. An item with a NaN has NaN for its measures, and is
not flat; it leaves its batch-mates' values alone. `nst.perceptual` has what looks at features.
"""

from math import exp

import torch
from torch import Tensor

from nst.colors import luminance

# One grey level of 8 bits, as a standard deviation: below it a written picture is all but one or
# two neighbouring levels, and what differs more covers too little to be seen as a picture.
FLAT_SPREAD = 1 / 255

# The window and the two constants of Wang et al. (2004), for a range of 1.
_WINDOW_PX = 11
_WINDOW_SIGMA_PX = 1.5
_C1 = 0.01**2
_C2 = 0.03**2


def luminance_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity of the luma: [B,3,H,W] twice -> [B] in [-1, 1], 1 for equal pictures.

    Wang et al. (2004, eq. 13), with their Gaussian window, averaged over the positions where it
    lies inside the picture. On a side shorter than its 11 px the window has the largest odd length
    that fits, its sigma as it was. Unlike the authors' later code, which first reduces a picture to
    about 256 px, it takes the pixels as they are: compare values at one size. It takes some 50
    bytes of memory per pixel of `a`.
    """
    # About the middle of the range, where the difference of squares below loses least to rounding.
    x, y = _luma(a) - 0.5, _luma(b) - 0.5
    mean_x, mean_y = _window_mean(x), _window_mean(y)
    variances = _window_mean(x.square() + y.square()) - (mean_x.square() + mean_y.square())
    covariance = _window_mean(x * y) - mean_x * mean_y
    structure = (2 * covariance + _C2) / (variances + _C2)
    mean_x, mean_y = mean_x + 0.5, mean_y + 0.5
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    return (luminance * structure).mean(dim=(1, 2))


def is_flat(images: Tensor) -> Tensor:
    """Whether a picture has come out as one tone, or nearly: [B,3,H,W] -> [B] bool.

    It has where the standard deviation of its luma is below FLAT_SPREAD; colours of equal luma
    count as one tone.
    """
    return _luma(images).std(dim=(1, 2), correction=0) < FLAT_SPREAD


def _luma(images: Tensor) -> Tensor:
    """[B,3,H,W] -> [B,H,W] in [0, 1]."""
    return luminance(images).squeeze(1)


def _window_mean(values: Tensor) -> Tensor:
    """Gaussian means of all windows inside the picture, side by side: [B,H,W] -> [B,H',W']."""
    # Not convolutions, which take five times as long on a CPU, more memory, and by CUDA's default
    # not the whole precision of float32.
    for dim in (1, 2):
        weights = _window_weights(values.shape[dim])
        num_positions = values.shape[dim] - len(weights) + 1
        means = torch.zeros_like(values.narrow(dim, 0, num_positions))
        for offset, weight in enumerate(weights):
            means += weight * values.narrow(dim, offset, num_positions)
        values = means
    return values


def _window_weights(side_px: int) -> list[float]:
    """The window along a side: an odd number of weights, at most `side_px`, which sum to 1."""
    radius = min(_WINDOW_PX, side_px - (side_px + 1) % 2) // 2
    weights = [exp(-(x**2) / (2 * _WINDOW_SIGMA_PX**2)) for x in range(-radius, radius + 1)]
    return [weight / sum(weights) for weight in weights]
