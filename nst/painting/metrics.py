"""Measures of pictures by their pixels: pure functions of a batch, one value per item, [B].

Images are float32 sRGB in [0, 1], [B,3,H,W]. An item with a NaN has NaN measures and is not flat; it
does not affect the other items. `nst.painting.perceptual` has the measures by features.
"""

from math import exp, pi

import torch
from torch import Tensor
from torch.nn import functional

from nst.painting import reductions
from nst.painting.colors import luminance

# One grey level of 8 bits, as a standard deviation: below it a written picture is all but one or
# two neighbouring levels, and what differs more covers too little to be seen as a picture.
FLAT_SPREAD = 1 / 255
# That of white noise of a quarter of a grey level, a little less than what rounding to 8 bits adds:
# a style with less has no grain that could be told from none.
MIN_FINE_ENERGY = (0.25 / 255) ** 2

# The window and the two constants of Wang et al. (2004), for a range of 1.
_WINDOW_PX = 11
_WINDOW_SIGMA_PX = 1.5
_C1 = 0.01**2
_C2 = 0.03**2
# The parameters of Afifi et al. (2021): bins to a side, the logarithms that they span, the width of
# the kernel, and what keeps a logarithm of black finite.
_BINS = 64
_BIN_RANGE = 3.0
_BIN_WIDTH = 0.02
_COLOR_EPS = 1e-6
# Pixels that are put into bins together: the kernels of more do not fit the caches of a CPU, which
# takes almost three times as long. A GPU takes few large pieces in place of many small ones.
_PIXELS_AT_ONCE = 1 << 11
_PIXELS_AT_ONCE_ON_A_GPU = 1 << 16
# The edge of what is visible, a few periods of the highest octave wide.
_EDGE_PX = 17
# The highest octave of frequencies, in cycles per pixel.
_OCTAVE = (0.25, 0.5)


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
    """Whether a picture is nearly one tone: [B,3,H,W] -> [B] bool.

    That is so if the standard deviation of its luma is below FLAT_SPREAD; colours of equal luma
    count as one tone.
    """
    return _luma(images).std(dim=(1, 2), correction=0) < FLAT_SPREAD


def color_distance(a: Tensor, b: Tensor) -> Tensor:
    """The distance of two pictures' colours: `color_histograms` twice -> [B] in [0, 1], 0 if equal.

    The Hellinger distance ||sqrt(a) - sqrt(b)|| / sqrt(2), which Afifi et al. ("HistoGAN", CVPR 2021)
    have for a loss, and the code of Chung et al. ("StyleID", CVPR 2024) for a measure.
    """
    return ((a.sqrt() - b.sqrt()).square().sum(dim=(1, 2, 3)) / 2).sqrt()


def color_histograms(images: Tensor, visible: Tensor | None = None) -> Tensor:
    """RGB-uv histograms, [B,3,H,W] -> [B,3,64,64], each item's sum 1: of colours, whatever their light.

    Pixels count by `visible` [B,1,H,W], or all alike.

    Afifi et al. ("HistoGAN", CVPR 2021), with the parameters of the code of Chung et al. ("StyleID",
    CVPR 2024): each channel has a plane of the logarithms of its quotients with the other two, into
    which a pixel goes by an inverse quadratic kernel, weighted by its brightness. That code first
    resizes what is larger than 256 px to a square of that side; here the caller scales down, and
    the shape stays.
    """
    pixels = images.clamp(0, 1).flatten(2)  # [B,3,N]
    planes = images.new_zeros(len(images), 3, _BINS, _BINS)
    on_cpu = images.device.type == "cpu"
    at_once = _PIXELS_AT_ONCE if on_cpu else _PIXELS_AT_ONCE_ON_A_GPU
    for start in range(0, pixels.shape[2], at_once):
        some = slice(start, start + at_once)
        weights = None if visible is None else visible.flatten(2)[..., some]
        planes += _color_planes(pixels[..., some], weights)
    return planes / (planes.sum(dim=(1, 2, 3), keepdim=True) + _COLOR_EPS)


def relative_noise(energy: Tensor, style_energy: Tensor) -> Tensor:
    """Energy in the highest octave over the style's: `fine_energy` twice -> [B], 1 as much as it.

    The style's energy is taken to be at least that of white noise of a quarter of a grey level, to avoid
    a division by zero: relative to a flat style, white noise of one grey level has 16.
    """
    ratio: Tensor = energy / style_energy.clamp_min(MIN_FINE_ENERGY)
    return ratio


def fine_energy(images: Tensor, visible: Tensor | None = None) -> Tensor:
    """Mean power spectral density of a picture's highest octave, [B,3,H,W] -> [B], of any size.

    That is over the frequencies f with 0.25 <= |f| <= 0.5 cycles per pixel, and over the channels;
    white noise of variance v has v. The mean is taken off, and a Hann window keeps the borders,
    where one side meets the other, out of the spectrum (a periodogram as of Welch, 1967, of one
    segment, divided by the window's energy). It takes some 50 bytes of memory per pixel. Of pictures
    of which only some is `visible` [1,1,H,W], the window falls off to the edges of that too.
    """
    height, width = images.shape[2:]
    window = _hann(height, images)[:, None] * _hann(width, images)
    if visible is not None:
        window = window * _inside(visible)[0, 0]
    mean = reductions.total(images * window, kept=2) / reductions.total(window, kept=0)
    spectrum = torch.fft.rfft2((images - mean[..., None, None]) * window)  # [B,3,H,W/2+1]
    power = (spectrum.real.square() + spectrum.imag.square()).mean(dim=1)
    weights = _octave_weights(height, width, images)
    num_frequencies = reductions.total(weights, kept=0).clamp_min(1)
    energy = reductions.total(power * weights)
    return energy / (num_frequencies * reductions.total(window.square(), kept=0))


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


def _color_planes(pixels: Tensor, weights: Tensor | None) -> Tensor:
    """The histograms before their division, of pixels [B,3,N] by weights [B,1,N] -> [B,3,64,64]."""
    red, green, blue = (pixels + _COLOR_EPS).log().unbind(dim=1)
    brightness = (pixels.square().sum(dim=1) + _COLOR_EPS).sqrt()[:, None]
    if weights is not None:
        brightness = brightness * weights
    red_green, red_blue, green_blue = (
        _kernels(quotient) for quotient in (red - green, red - blue, green - blue)
    )
    # A quotient the other way round has its kernels in reverse, since the bins lie about 0.
    by_brightness = brightness * red_green
    return torch.stack(
        [
            by_brightness @ red_blue.mT,
            by_brightness.flip(1) @ green_blue.mT,
            (brightness * red_blue).flip(1) @ green_blue.flip(1).mT,
        ],
        dim=1,
    )


def _kernels(logarithms: Tensor) -> Tensor:
    """How much each bin takes of each pixel: [B,N] -> [B,64,N]."""
    bins = torch.linspace(-_BIN_RANGE, _BIN_RANGE, _BINS, device=logarithms.device)
    offsets = (logarithms[:, None] - bins[:, None]) / _BIN_WIDTH
    return offsets.square_().add_(1).reciprocal_()


def _inside(visible: Tensor) -> Tensor:
    """How far inside of what is visible each pixel is: [1,1,H,W] -> [1,1,H,W], 0 at its edges.

    Of what is too thin to have an inside, how visible it is.
    """
    means = functional.avg_pool2d(
        visible, _EDGE_PX, stride=1, padding=_EDGE_PX // 2, count_include_pad=False
    )
    inside = (2 * means - 1).clamp_min(0)
    return inside if bool(inside.any()) else visible


def _hann(length: int, like: Tensor) -> Tensor:
    """A Hann window between the samples' outer edges, so that even one sample has a weight."""
    places = torch.arange(length, device=like.device) + 0.5
    return (places * (pi / length)).sin().square()


def _octave_weights(height: int, width: int, like: Tensor) -> Tensor:
    """How often a frequency of `rfft2` counts for `fine_energy`, [H,W/2+1]: 0, 1 or 2.

    A real picture's spectrum has all but the first and, of an even width, the last column twice.
    """
    down = torch.fft.fftfreq(height, device=like.device)[:, None]
    across = torch.fft.rfftfreq(width, device=like.device)
    radius = (down.square() + across.square()).sqrt()
    low, high = _OCTAVE
    is_twice = (across > 0) & (across < high)
    weights: Tensor = ((radius >= low) & (radius <= high)) * (1 + is_twice.float())
    return weights
