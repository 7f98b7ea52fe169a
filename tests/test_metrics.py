import numpy as np
import pytest
import torch
from torch import Tensor

from nst.metrics import is_flat, luminance_ssim
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
    alone = torch.cat([luminance_ssim(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(luminance_ssim(a, b), alone)
    assert is_flat(a).tolist() == [is_flat(a[i : i + 1]).item() for i in range(3)]
    assert is_flat(a).tolist() == [False, False, True]


def test_a_nan_is_its_items_own() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    a[2] = 0.5
    whole = luminance_ssim(a, b)
    a[1, 0, 3, 4] = torch.nan
    found = luminance_ssim(a, b)
    assert found.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]])
    assert is_flat(a).tolist() == [False, False, True]


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
