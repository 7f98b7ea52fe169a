import math

import numpy as np
import pytest
import torch
from torch import Tensor

from nst.painting import regions


def random_mask(height: int, width: int) -> Tensor:
    return torch.rand(1, height, width, generator=torch.Generator().manual_seed(0))


def weights_of(level: float, num_styles: int) -> list[float]:
    """The weight of each style where a mask has this level."""
    guides = regions.guides(torch.full((1, 2, 3), level), num_styles)
    assert guides.shape == (num_styles, 2, 3)
    return guides[:, 1, 2].tolist()


def test_the_guide_of_one_style_is_the_mask() -> None:
    mask = random_mask(4, 5)
    assert torch.equal(regions.guides(mask, 1), mask)


@pytest.mark.parametrize("num_styles", [2, 3, 4, 7])
def test_the_guides_of_several_styles_sum_to_1(num_styles: int) -> None:
    guides = regions.guides(random_mask(30, 40), num_styles)
    assert guides.shape == (num_styles, 30, 40)
    assert guides.dtype == torch.float32
    assert guides.min() >= 0
    assert guides.max() <= 1
    torch.testing.assert_close(guides.sum(dim=0), torch.ones(30, 40))
    assert (guides > 0).sum(dim=0).max() <= 2


@pytest.mark.parametrize("num_styles", [2, 3, 4, 6])
def test_evenly_spaced_greys_take_the_styles_in_order(num_styles: int) -> None:
    for i in range(num_styles):
        expected = [float(k == i) for k in range(num_styles)]
        assert weights_of(i / (num_styles - 1), num_styles) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0.0, [1, 0, 0]),
        (0.25, [0.5, 0.5, 0]),
        (0.4, [0.2, 0.8, 0]),
        (0.5, [0, 1, 0]),
        (0.9, [0, 0.2, 0.8]),
        (1.0, [0, 0, 1]),
    ],
)
def test_a_grey_between_two_styles_blends_them(level: float, expected: list[float]) -> None:
    assert weights_of(level, 3) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(12, 18), (6, 9), (4, 2), (1, 1)])
def test_a_layer_keeps_the_share_of_each_style(height: int, width: int) -> None:
    guides = regions.guides(random_mask(12, 18), 3)
    at_layer = regions.at_layer(guides, height, width)
    assert at_layer.shape == (3, height, width)
    assert at_layer.dtype == torch.float32
    torch.testing.assert_close(at_layer.mean(dim=(1, 2)), guides.mean(dim=(1, 2)))


@pytest.mark.parametrize(("height", "width"), [(5, 7), (3, 13), (11, 1)])
def test_sizes_that_do_not_divide_average_what_a_cell_touches(height: int, width: int) -> None:
    guides = regions.guides(random_mask(12, 18), 3)
    values = guides.double().numpy()
    expected = np.zeros((3, height, width))
    for y in range(height):
        for x in range(width):
            rows = slice(y * 12 // height, math.ceil((y + 1) * 12 / height))
            cells = slice(x * 18 // width, math.ceil((x + 1) * 18 / width))
            expected[:, y, x] = values[:, rows, cells].mean(axis=(1, 2))
    at_layer = regions.at_layer(guides, height, width)
    np.testing.assert_allclose(at_layer.numpy(), expected, atol=1e-6)
    torch.testing.assert_close(at_layer.sum(dim=0), torch.ones(height, width))


def test_a_hard_edge_is_soft_at_a_layer_that_it_crosses() -> None:
    mask = torch.zeros(1, 2, 8)
    mask[:, :, 3:] = 1
    at_layer = regions.at_layer(regions.guides(mask, 2), 1, 4)
    assert at_layer[:, 0].tolist() == [[1, 0.5, 0, 0], [0, 0.5, 1, 1]]
