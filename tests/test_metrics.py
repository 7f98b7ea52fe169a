from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nst.painting.metrics import (
    MIN_FINE_ENERGY,
    color_distance,
    color_histograms,
    fine_energy,
    is_flat,
    luminance_ssim,
    relative_noise,
)
from tests.helpers import noise, picture_tensor, pictures


def slow_ssim(a: Tensor, b: Tensor, length_down: int, length_across: int) -> float:
    """Wang et al. (2004, eq. 13) of two pictures [3,H,W], window by window in double precision."""
    x, y = (np.tensordot([0.299, 0.587, 0.114], image.double().numpy(), 1) for image in (a, b))
    down, across = (np.arange(n) - n // 2 for n in (length_down, length_across))
    window = np.exp(-(down[:, None] ** 2 + across[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for top in range(x.shape[0] - length_down + 1):
        for left in range(x.shape[1] - length_across + 1):
            place = np.s_[top : top + length_down, left : left + length_across]
            mean_x, mean_y = (window * x[place]).sum(), (window * y[place]).sum()
            variance_x = (window * (x[place] - mean_x) ** 2).sum()
            variance_y = (window * (y[place] - mean_y) ** 2).sum()
            covariance = (window * (x[place] - mean_x) * (y[place] - mean_y)).sum()
            values.append(
                (2 * mean_x * mean_y + 0.01**2)
                * (2 * covariance + 0.03**2)
                / (mean_x**2 + mean_y**2 + 0.01**2)
                / (variance_x + variance_y + 0.03**2)
            )
    return float(np.mean(values))


def slow_histograms(picture: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The histograms of a picture [3,H,W], pixel by pixel and channel by channel, in double precision."""
    bins = np.linspace(-3, 3, 64)
    planes: np.ndarray[Any, np.dtype[np.float64]] = np.zeros((3, 64, 64))
    for pixel in picture.double().flatten(1).T.numpy():
        light = np.sqrt((pixel**2).sum() + 1e-6)
        for channel, others in enumerate(((1, 2), (0, 2), (0, 1))):
            u, v = (np.log(pixel[channel] + 1e-6) - np.log(pixel[n] + 1e-6) for n in others)
            down, across = (1 / (1 + ((x - bins) / 0.02) ** 2) for x in (u, v))
            planes[channel] += light * np.outer(down, across)
    planes /= planes.sum() + 1e-6
    return planes


def slow_fine_energy(picture: Tensor) -> float:
    """The mean power of a picture [3,H,W] in its highest octave, frequency by frequency."""
    pixels = picture.double().numpy()
    height, width = pixels.shape[1:]
    rows, columns = np.arange(height), np.arange(width)
    window = np.outer(
        np.sin(np.pi * (rows + 0.5) / height) ** 2, np.sin(np.pi * (columns + 0.5) / width) ** 2
    )
    powers = []
    for channel in pixels:
        windowed = window * (channel - (window * channel).sum() / window.sum())
        for down in np.arange(-(height // 2), (height + 1) // 2) / height:
            for across in np.arange(-(width // 2), (width + 1) // 2) / width:
                if 0.25 <= np.hypot(down, across) <= 0.5:
                    wave = np.exp(-2j * np.pi * np.add.outer(down * rows, across * columns))
                    powers.append(abs((windowed * wave).sum()) ** 2)
    return float(np.mean(powers) / (window**2).sum())


@pytest.mark.parametrize(
    ("height", "width", "length_down", "length_across"),
    [
        (24, 31, 11, 11),
        (11, 12, 11, 11),
        (10, 10, 9, 9),
        (6, 20, 5, 11),
        (20, 7, 11, 7),
        (2, 1, 1, 1),
        (1, 1, 1, 1),
    ],
)
def test_ssim_equals_a_loop_over_windows(
    height: int, width: int, length_down: int, length_across: int
) -> None:
    a, b = pictures(height, width), pictures(height, width, first_seed=3)
    b[1] = (a[1] + 0.05 * noise(a[1])).clamp(0, 1)
    expected = [slow_ssim(x, y, length_down, length_across) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(luminance_ssim(a, b), expected, atol=2e-6)


@pytest.mark.parametrize("level", [0.0, 0.5, 0.95])
def test_ssim_of_faint_structure_keeps_its_precision(level: float) -> None:
    faint = level + 0.005 * picture_tensor(20, 20)
    fainter = faint + 0.001 * noise(faint)
    found = luminance_ssim(faint[None], fainter[None])
    np.testing.assert_allclose(found, [slow_ssim(faint, fainter, 11, 11)], atol=1e-5)


@pytest.mark.parametrize("size", [(40, 30), (5, 5), (1, 1)])
def test_ssim_of_a_picture_with_itself_is_1(size: tuple[int, int]) -> None:
    assert torch.equal(luminance_ssim(pictures(*size), pictures(*size)), torch.ones(3))
    black = torch.zeros(1, 3, *size)
    assert torch.equal(luminance_ssim(black, black), torch.ones(1))


def test_ssim_of_flat_pictures_is_that_of_their_levels() -> None:
    a, b = torch.full((1, 3, 16, 16), 0.25), torch.full((1, 3, 16, 16), 0.75)
    expected = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    torch.testing.assert_close(luminance_ssim(a, b), torch.tensor([expected]))


def test_ssim_of_a_negative_is_negative() -> None:
    picture = pictures(32, 32)
    assert (luminance_ssim(picture, 1 - picture) < -0.5).all()


def test_ssim_does_not_see_colours_of_equal_luma() -> None:
    grey = torch.full((1, 3, 16, 16), 0.5)
    tinted = grey + torch.tensor([0.3, 0.0, -0.3 * 0.299 / 0.114]).view(1, 3, 1, 1) / 4
    torch.testing.assert_close(luminance_ssim(grey, tinted), torch.ones(1))


def test_noise_lowers_ssim_step_by_step() -> None:
    picture = pictures(48, 48)
    noisy = [(picture + level * noise(picture)).clamp(0, 1) for level in (0.01, 0.05, 0.2, 0.8)]
    similarities = torch.stack([luminance_ssim(picture, n) for n in noisy])
    assert (similarities.diff(dim=0) < 0).all()


def test_ssim_is_symmetric() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    torch.testing.assert_close(luminance_ssim(a, b), luminance_ssim(b, a))


def test_a_batch_gives_what_its_items_give_alone() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    a[2] = 0.5
    for metric in (luminance_ssim, colors_apart):
        alone = torch.cat([metric(a[i : i + 1], b[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(metric(a, b), alone)
    alone = torch.cat([fine_energy(a[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(fine_energy(a), alone)
    assert is_flat(a).tolist() == [is_flat(a[i : i + 1]).item() for i in range(3)]
    assert is_flat(a).tolist() == [False, False, True]


def test_a_nan_is_its_items_own() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    a[2] = 0.5
    whole = luminance_ssim(a, b), colors_apart(a, b), fine_energy(a)
    a[1, 0, 3, 4] = torch.nan
    for found, before in zip(
        (luminance_ssim(a, b), colors_apart(a, b), fine_energy(a)), whole, strict=True
    ):
        assert found.isnan().tolist() == [False, True, False]
        torch.testing.assert_close(found[[0, 2]], before[[0, 2]])
    assert is_flat(a).tolist() == [False, False, True]


def test_histograms_equal_a_loop_over_pixels() -> None:
    # More pixels than go into the bins at once, and colours without one channel or two.
    images = pictures(48, 50)
    images[1, :, :5] = 0
    images[1, 0, 5:10] = 0
    expected = [slow_histograms(picture) for picture in images]
    np.testing.assert_allclose(color_histograms(images), expected, rtol=1e-3, atol=1e-9)


def colors_apart(a: Tensor, b: Tensor) -> Tensor:
    return color_distance(color_histograms(a), color_histograms(b))


def test_colours_are_as_far_apart_as_hellinger_has_it() -> None:
    a, b = pictures(20, 24), pictures(30, 20, first_seed=3)
    expected = [
        np.sqrt(1 - np.sqrt(slow_histograms(x) * slow_histograms(y)).sum())
        for x, y in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(colors_apart(a, b), expected, rtol=1e-4)
    torch.testing.assert_close(colors_apart(a, b), colors_apart(b, a))


def test_a_picture_has_the_colours_of_itself_wherever_they_are_and_however_often() -> None:
    images = pictures(24, 30)
    shuffled = images.flatten(2)[:, :, torch.randperm(720, generator=torch.Generator())]
    for same in (images, shuffled.view_as(images), images.flip(3).repeat(1, 1, 2, 1)):
        assert (colors_apart(images, same) < 1e-3).all()
    assert (color_histograms(images).sum(dim=(1, 2, 3)) - 1).abs().max() < 1e-4


def test_colours_apart_are_told_and_nothing_is_farther_than_1() -> None:
    red, green, blue = torch.eye(3).view(3, 1, 3, 1, 1).expand(3, 1, 3, 8, 8) * 0.8 + 0.1
    distances = torch.cat([colors_apart(red, other) for other in (red, green, blue)])
    assert distances[0] == 0
    assert ((distances[1:] > 0.5) & (distances[1:] <= 1)).all()
    tints = [0.5 + level * torch.tensor([1.0, 0, -1]).view(1, 3, 1, 1) for level in (0, 0.1, 0.2)]
    apart = torch.cat([colors_apart(tints[0].expand_as(red), t.expand_as(red)) for t in tints])
    assert (apart.diff() > 0).all()


def test_light_does_not_change_the_colours() -> None:
    images = 0.2 + 0.8 * pictures(24, 24)
    assert (colors_apart(images, 0.5 * images) < 1e-2).all()


@pytest.mark.parametrize("size", [(16, 16), (15, 12), (7, 1), (1, 6), (3, 4), (2, 2), (1, 2)])
def test_fine_energy_equals_a_loop_over_frequencies(size: tuple[int, int]) -> None:
    images = (pictures(*size) + 0.2 * noise(pictures(*size))).clamp(0, 1)
    expected = [slow_fine_energy(picture) for picture in images]
    np.testing.assert_allclose(fine_energy(images), expected, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize("size", [(96, 96), (64, 255), (301, 200)])
def test_white_noise_has_its_variance_for_fine_energy_at_any_size(size: tuple[int, int]) -> None:
    white = 0.3 * noise(torch.empty(3, 3, *size))
    torch.testing.assert_close(fine_energy(white), torch.full((3,), 0.09), rtol=0.1, atol=0)


def test_noise_raises_fine_energy_by_its_variance_step_by_step() -> None:
    images = pictures(64, 64)
    levels = torch.tensor([0, 0.01, 0.03, 0.1, 0.3])
    added = [fine_energy(images + level * noise(images)) for level in levels.tolist()]
    assert (torch.stack(added).diff(dim=0) > 0).all()
    torch.testing.assert_close(added[-1], levels[-1].square().expand(3), rtol=0.1, atol=0)


def test_what_is_coarse_has_no_fine_energy() -> None:
    """Neither a tone, nor a slope whose opposite borders differ, nor waves of 10 px."""
    slope = torch.linspace(0, 1, 64).view(1, 1, 1, 64).expand(1, 3, 64, 64)
    wave = torch.sin(torch.arange(64) * (2 * np.pi / 10)).view(1, 1, 64, 1).expand(1, 3, 64, 64)
    for coarse in (torch.full((1, 3, 64, 64), 0.7), slope, slope.mT, wave):
        assert fine_energy(coarse) < 1e-3 * coarse.square().mean()
    fine = torch.sin(torch.arange(64) * (2 * np.pi / 3)).view(1, 1, 64, 1).expand(1, 3, 64, 64)
    assert fine_energy(fine) > fine.var()


def test_fine_energy_is_the_same_turned_mirrored_and_in_another_channel() -> None:
    images = (pictures(31, 44) + 0.1 * noise(pictures(31, 44))).clamp(0, 1)
    for same in (images.mT, images.flip(2), images.rot90(2, (2, 3)), images.roll(1, 1), 1 - images):
        torch.testing.assert_close(fine_energy(same), fine_energy(images), rtol=1e-3, atol=1e-9)


def test_noise_is_relative_to_the_style_and_finite_beside_a_flat_one() -> None:
    energy = torch.tensor([0.02, 0.02, 0.0, 16 * MIN_FINE_ENERGY])
    style = torch.tensor([0.02, 0.005, 0.01, 0.0])
    torch.testing.assert_close(relative_noise(energy, style), torch.tensor([1.0, 4, 0, 16]))
    grey_level = noise(torch.empty(1, 3, 128, 128)) / 255
    flat = fine_energy(torch.full((1, 3, 10, 1), 0.5))
    torch.testing.assert_close(
        relative_noise(fine_energy(0.5 + grey_level), flat), torch.tensor([16.0]), rtol=0.1, atol=0
    )


def test_a_picture_of_one_pixel_has_no_fine_energy() -> None:
    assert torch.equal(fine_energy(pictures(1, 1)), torch.zeros(3))


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (300, 200)])
@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.1, 0.7, 0.3)])
def test_one_colour_is_flat(size: tuple[int, int], colour: tuple[float, float, float]) -> None:
    assert is_flat(torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, *size)).all()


def test_flat_ends_at_one_grey_level() -> None:
    noisy = noise(torch.empty(1, 1, 64, 64)).expand(1, 3, 64, 64)
    unit = (noisy - noisy.mean()) / noisy.std(correction=0)
    assert is_flat(0.5 + 0.99 / 255 * unit).all()
    assert not is_flat(0.5 + 1.01 / 255 * unit).any()


def test_a_picture_of_two_neighbouring_levels_is_flat() -> None:
    checks = torch.arange(64).view(1, 1, 8, 8).expand(1, 3, 8, 8) % 2
    assert is_flat((127 + checks) / 255).all()


def test_pictures_are_not_flat() -> None:
    assert not is_flat(pictures(48, 64)).any()
    faint = 0.5 + 0.05 * (pictures(48, 64) - 0.5)
    assert not is_flat(faint).any()
    small_square = torch.full((1, 3, 64, 64), 1.0)
    small_square[..., :4, :4] = 0.5
    assert not is_flat(small_square).any()


def test_colours_are_those_of_what_is_visible() -> None:
    one, other = picture_tensor(40, 30, seed=1)[None], picture_tensor(40, 34, seed=2)[None]
    both = torch.cat([one, other], dim=3)
    visible = torch.zeros(1, 1, 40, 64)
    visible[..., :30] = 1
    torch.testing.assert_close(color_histograms(both, visible), color_histograms(one))


def test_grain_is_that_of_what_is_visible() -> None:
    """Of white noise of a known variance beside what is flat and beside what is stronger."""
    generator = torch.Generator().manual_seed(0)
    grain = 0.02 * torch.randn(1, 3, 96, 128, generator=generator)
    picture = 0.5 + grain
    picture[..., 64:] = 0.5
    visible = torch.zeros(1, 1, 96, 128)
    visible[..., :64] = 1
    assert fine_energy(picture, visible).item() == pytest.approx(0.02**2, rel=0.1)
    # Its edges are no grain, however much darker it is than what it is on.
    flat = torch.full((1, 3, 96, 128), 0.1)
    flat[..., 64:] = 0.9
    assert fine_energy(flat, visible).item() < 1e-6
    assert fine_energy(flat).item() > 1e-6


def test_what_is_too_thin_to_have_an_inside_has_grain_all_the_same() -> None:
    visible = torch.zeros(1, 1, 40, 40)
    visible[..., 20] = 1
    assert fine_energy(picture_tensor(40, 40)[None], visible).isfinite().all()
