import hashlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from nst.backbones import Backbone
from nst.metrics import LPIPS_LAYERS, is_flat, lpips, luminance_ssim
from nst.weights import load_state, obtain
from tests.helpers import ROOT, picture_tensor, vgg16

HEADS_FILE = ROOT / "nst/data/lpips-vgg16-heads.safetensors"


def pictures(height: int, width: int, *, first_seed: int = 0) -> Tensor:
    """Three pictures, [3,3,H,W], unlike for unlike seeds."""
    seeds = range(first_seed, first_seed + 3)
    return torch.stack([picture_tensor(height, width, seed=seed) for seed in seeds])


def noise(like: Tensor, *, seed: int = 0) -> Tensor:
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))


def network() -> Backbone:
    return vgg16(content_layers=LPIPS_LAYERS, style_layers=LPIPS_LAYERS)


@cache
def heads() -> tuple[Tensor, ...]:
    state = safetensors.torch.load_file(HEADS_FILE)
    return tuple(state[f"lin{i}"] for i in range(5))


def lpips_of(a: Tensor, b: Tensor) -> Tensor:
    return lpips(a, b, network(), heads())


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


def slow_lpips(a: Tensor, b: Tensor) -> float:
    """LPIPS of two pictures [3,H,W] as its authors' code has it, in double precision.

    From their scaling of [-1, 1] through each convolution of VGG-16 to a loop over positions.
    """
    state = load_state(obtain("vgg16"))
    shift = torch.tensor([-0.030, -0.088, -0.188]).double().view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).double().view(3, 1, 1)
    x, y = (((2 * image.double() - 1 - shift) / scale)[None] for image in (a, b))
    convolutions = iter(sorted({int(key.split(".")[1]) for key in state}))
    distance = 0.0
    for block, (num_convolutions, head) in enumerate(zip((2, 2, 3, 3, 3), heads(), strict=True)):
        if block > 0:
            x, y = functional.max_pool2d(x, 2), functional.max_pool2d(y, 2)
        for _ in range(num_convolutions):
            i = next(convolutions)
            weight = state[f"features.{i}.weight"].double()
            bias = state[f"features.{i}.bias"].double()
            x = functional.conv2d(x, weight, bias, padding=1).relu()
            y = functional.conv2d(y, weight, bias, padding=1).relu()
        columns = zip(
            x[0].flatten(start_dim=1).T.numpy(), y[0].flatten(start_dim=1).T.numpy(), strict=True
        )
        distance += np.mean(
            [
                head.double().numpy()
                @ (p / (np.linalg.norm(p) + 1e-10) - q / (np.linalg.norm(q) + 1e-10)) ** 2
                for p, q in columns
            ]
        )
    return distance


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


def test_noise_lowers_ssim_and_raises_lpips_step_by_step() -> None:
    picture = pictures(48, 48)
    noisy = [(picture + level * noise(picture)).clamp(0, 1) for level in (0.01, 0.05, 0.2, 0.8)]
    similarities = torch.stack([luminance_ssim(picture, n) for n in noisy])
    distances = torch.stack([lpips_of(picture, n) for n in noisy])
    assert (similarities.diff(dim=0) < 0).all()
    assert (distances.diff(dim=0) > 0).all()


@pytest.mark.parametrize("metric", [luminance_ssim, lpips_of])
def test_the_order_of_the_two_does_not_matter(metric: Callable[[Tensor, Tensor], Tensor]) -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    torch.testing.assert_close(metric(a, b), metric(b, a))


def test_lpips_equals_the_authors_formula_on_a_network_of_its_own() -> None:
    a, b = pictures(32, 38), pictures(32, 38, first_seed=3)
    b[1] = (a[1] + 0.05 * noise(a[1])).clamp(0, 1)
    expected = [slow_lpips(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(lpips_of(a, b), expected, rtol=1e-4)


def test_lpips_of_a_picture_with_itself_is_0() -> None:
    assert torch.equal(lpips_of(pictures(32, 32), pictures(32, 32)), torch.zeros(3))


def test_lpips_without_features_is_finite() -> None:
    class Blind(torch.nn.Module):
        def forward(self, images: Tensor) -> dict[str, Tensor]:
            shapes = zip(LPIPS_LAYERS, heads(), strict=True)
            return {layer: torch.zeros(len(images), len(head), 2, 2) for layer, head in shapes}

    found = lpips(pictures(32, 32), pictures(32, 32), Blind(), heads())  # type: ignore[arg-type]
    assert torch.equal(found, torch.zeros(3))


def test_lpips_wants_a_head_for_each_layer() -> None:
    with pytest.raises(ValueError, match="shorter"):
        lpips(pictures(16, 16), pictures(16, 16), network(), heads()[:4])


def test_lpips_has_a_smallest_size() -> None:
    smallest = lpips_of(pictures(16, 16), pictures(16, 16, first_seed=3))
    assert (smallest > 0).all()
    with pytest.raises(RuntimeError, match="too small"):
        lpips_of(pictures(15, 40), pictures(15, 40))


def test_a_batch_gives_what_its_items_give_alone() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    a[2] = 0.5
    for metric in (luminance_ssim, lpips_of):
        alone = torch.cat([metric(a[i : i + 1], b[i : i + 1]) for i in range(3)])
        torch.testing.assert_close(metric(a, b), alone)
    assert is_flat(a).tolist() == [is_flat(a[i : i + 1]).item() for i in range(3)]
    assert is_flat(a).tolist() == [False, False, True]


def test_a_nan_is_its_items_own() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    a[2] = 0.5
    whole = luminance_ssim(a, b), lpips_of(a, b)
    a[1, 0, 3, 4] = torch.nan
    for found, before in zip((luminance_ssim(a, b), lpips_of(a, b)), whole, strict=True):
        assert found.isnan().tolist() == [False, True, False]
        torch.testing.assert_close(found[[0, 2]], before[[0, 2]])
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


def test_the_heads_are_those_of_their_notice() -> None:
    notice = (HEADS_FILE.parent / "SOURCES.md").read_text()
    assert hashlib.sha256(HEADS_FILE.read_bytes()).hexdigest() in notice
    assert [head.shape for head in heads()] == [(64,), (128,), (256,), (512,), (512,)]
    assert all(head.dtype == torch.float32 and (head > 0).all() for head in heads())
