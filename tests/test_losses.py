import numpy as np
import pytest
import torch
from torch import Tensor

from nst.painting import losses


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_a_contents_scale_is_its_spread_around_its_mean_channel_by_channel() -> None:
    target = random_features(2, 3, 4, 4)
    values = target.double().numpy()
    expected = [((item - item.mean(axis=(1, 2), keepdims=True)) ** 2).sum() for item in values]
    np.testing.assert_allclose(losses.content_scale(target, None), expected, rtol=1e-5)


def test_with_a_presence_each_position_counts_by_the_length_of_its_features() -> None:
    lengths = random_features(2, 1, 4, 4, seed=1)
    counts = losses.presence(lengths)
    torch.testing.assert_close(counts.mean(dim=(1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(
        counts[1, 0, 2, 3] / counts[1, 0, 0, 0], lengths[1, 0, 2, 3] / lengths[1, 0, 0, 0]
    )
    target = random_features(2, 3, 4, 4)
    apart = target - target.mean(dim=(2, 3), keepdim=True)
    expected = (counts * apart**2).sum(dim=(1, 2, 3))
    torch.testing.assert_close(losses.content_scale(target, counts), expected)


def test_where_a_content_has_no_features_at_all_all_positions_count_alike() -> None:
    nothing = losses.directions(torch.zeros(1, 3, 4, 4))[1]
    torch.testing.assert_close(losses.presence(nothing), torch.ones(1, 1, 4, 4))


def test_a_flat_content_has_a_scale_to_divide_by() -> None:
    flat = torch.full((1, 3, 4, 4), 0.5)
    assert losses.content_scale(flat, None).item() == pytest.approx(0.2 * 48 * 0.25)
    assert losses.content_scale(torch.zeros(1, 3, 4, 4), None).item() > 0
    assert losses.squared_norm(torch.zeros(1, 3, 3), kept=1).item() > 0


def test_a_grams_scale_is_its_squared_norm() -> None:
    gram = random_features(2, 5, 3, 3)
    np.testing.assert_allclose(
        losses.squared_norm(gram, kept=2), (gram.double() ** 2).sum(dim=(2, 3)), rtol=1e-5
    )


def test_total_variation_equals_a_loop_over_neighbours() -> None:
    images = random_features(1, 3, 4, 5)
    values = images[0].double().numpy()
    down = np.mean([(values[:, y + 1] - values[:, y]) ** 2 for y in range(3)])
    across = np.mean([(values[:, :, x + 1] - values[:, :, x]) ** 2 for x in range(4)])
    np.testing.assert_allclose(losses.total_variation_loss(images), [down + across], rtol=1e-5)


def test_positions_of_a_map_that_lies_channels_last_are_a_view_of_it() -> None:
    features = random_features(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    table = losses.positions(features)
    assert table.data_ptr() == features.data_ptr()
    assert torch.equal(table[1, 2 * 5 + 3], features[1, :, 2, 3])
    assert losses.positions(features.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("size", [(8, 12), (9, 14), (3, 2), (4, 5)])
def test_edges_equal_a_loop_over_cells_and_their_neighbours(size: tuple[int, int]) -> None:
    image = random_features(3, *size)
    values = image.double().numpy()
    down, across = -(-size[0] // 4), -(-size[1] // 4)
    cells = np.zeros((down, across))
    for y in range(down):
        for x in range(across):
            cells[y, x] = values[:, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].mean(axis=(1, 2)).sum()
    expected = np.zeros((down, across))
    for y in range(down):
        for x in range(across):
            for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                # Beyond the edge it goes on as it is.
                there = min(max(y + dy, 0), down - 1), min(max(x + dx, 0), across - 1)
                expected[y, x] += cells[y, x] - cells[there]
    np.testing.assert_allclose(losses.laplacian(image[None])[0, 0], expected, atol=1e-5)


def test_detail_loss_is_0_at_the_content_and_1_without_edges() -> None:
    content = random_features(2, 3, 16, 24)
    target = losses.laplacian(content)
    scale = losses.detail_scale(target)
    torch.testing.assert_close(losses.detail_loss(content, target, scale), torch.zeros(2))
    flat = torch.full_like(content, 0.3)
    torch.testing.assert_close(losses.detail_loss(flat, target, scale), torch.ones(2))
    # It looks at form, not at how light or dark everything is.
    lighter = losses.detail_loss(content + 0.2, target, scale)
    torch.testing.assert_close(lighter, torch.zeros(2), atol=1e-6, rtol=0)


def test_a_content_without_edges_has_a_finite_detail_loss() -> None:
    flat = torch.full((1, 3, 16, 24), 0.5)
    target = losses.laplacian(flat)
    loss = losses.detail_loss(random_features(1, 3, 16, 24), target, losses.detail_scale(target))
    assert loss.isfinite().all()
    assert loss.item() > 0


def test_directions_are_of_length_1_and_blind_to_how_strong_features_are() -> None:
    features = random_features(2, 3, 4, 5) + 0.1
    found, lengths = losses.directions(features)
    torch.testing.assert_close(found.square().sum(dim=1), torch.ones(2, 4, 5))
    torch.testing.assert_close(found * lengths, features)
    strength = torch.rand(2, 1, 4, 5) + 0.5
    torch.testing.assert_close(losses.directions(features * strength)[0], found)
    assert losses.directions(torch.zeros(1, 3, 2, 2))[0].isfinite().all()


def test_the_slope_of_a_content_loss_is_what_autograd_finds() -> None:
    features = (random_features(2, 3, 4, 5) + 0.1).requires_grad_(True)
    target, _ = losses.directions(random_features(2, 3, 4, 5).flip(3) + 0.1)
    found, lengths = losses.directions(features)
    (expected,) = torch.autograd.grad((found - target).square().sum() / 2, features)
    slope = losses.content_slope(found - target, found, lengths)
    torch.testing.assert_close(slope, expected)


def test_light_and_shade_equal_a_loop_over_cells() -> None:
    image = random_features(3, 48, 70)
    luma = (0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]).double().numpy()
    cells = np.array(
        [[luma[y : y + 2, x : x + 2].mean() for x in range(0, 70, 2)] for y in range(0, 48, 2)]
    )
    found = losses.shade(image[None])[0, 0]
    np.testing.assert_allclose(found, cells - cells.mean(), atol=1e-5)


def test_the_contrast_loss_asks_for_a_share_of_the_light_and_shade_and_no_more() -> None:
    content = random_features(1, 3, 16, 24)
    target = losses.shade(content)
    scale, floor = losses.shade_scale(target), torch.tensor([0.4])

    def loss(image: Tensor) -> float:
        return losses.contrast_loss(image, target, scale, floor).item()

    grey = torch.full_like(content, 0.5)
    assert loss(grey) == pytest.approx(1, rel=1e-4)
    assert loss(0.5 + 0.2 * (content - 0.5)) == pytest.approx(0.25, rel=1e-3)
    assert loss(0.1 + 0.4 * content) == pytest.approx(0, abs=1e-6)
    assert loss(content) == 0
    # Light for dark is worse than no light and shade at all.
    assert loss(1 - content) > 1
    assert losses.contrast_loss(grey, target, scale, torch.tensor([0.0])).item() == 0


def test_an_excess_counts_only_above_its_limit() -> None:
    energy = torch.tensor([0.0, 0.5, 1.0, 9.0], requires_grad=True)
    found = losses.excess(energy, torch.ones(4))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.0, 4.0]))
    (slope,) = torch.autograd.grad(found.sum(), energy)
    torch.testing.assert_close(slope, torch.tensor([0.0, 0.0, 0.0, 2 / 3]))
