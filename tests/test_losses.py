import numpy as np
import pytest
import torch

from nst import losses


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_a_contents_scale_is_its_spread_around_its_mean_channel_by_channel() -> None:
    target = random_features(2, 3, 4, 4)
    values = target.double().numpy()
    expected = [((item - item.mean(axis=(1, 2), keepdims=True)) ** 2).sum() for item in values]
    np.testing.assert_allclose(losses.content_scale(target), expected, rtol=1e-5)


def test_a_flat_content_has_a_scale_to_divide_by() -> None:
    flat = torch.full((1, 3, 4, 4), 0.5)
    assert losses.content_scale(flat).item() == pytest.approx(0.01 * 48 * 0.25)
    assert losses.content_scale(torch.zeros(1, 3, 4, 4)).item() > 0
    assert losses.gram_scale(torch.zeros(1, 3, 3)).item() > 0


def test_a_grams_scale_is_its_squared_norm() -> None:
    gram = random_features(2, 5, 3, 3)
    np.testing.assert_allclose(
        losses.gram_scale(gram), (gram.double() ** 2).sum(dim=(2, 3)), rtol=1e-5
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


def test_smoothed_features_are_a_softmax_of_mean_1() -> None:
    features = random_features(2, 3, 4, 5) * 30
    heat = torch.tensor([10.0, 3.0])
    found = losses.smoothed(features, heat)
    for item, temperature in enumerate(heat.tolist()):
        exponentials = np.exp(features[item].double().numpy() / temperature)
        np.testing.assert_allclose(found[item], exponentials / exponentials.mean(), rtol=1e-4)
    torch.testing.assert_close(found.mean(dim=(1, 2, 3)), torch.ones(2))


def test_smoothing_evens_out_a_peak_at_its_own_temperature() -> None:
    features = random_features(1, 3, 4, 5)
    features[0, 1, 2, 3] = 1000.0
    heat = losses.temperature(features)
    assert heat.tolist() == [1000.0]
    found = losses.smoothed(features, heat)
    assert found.max() / found.min() < 3
    assert losses.temperature(torch.zeros(1, 2, 3, 3)) > 0


def test_smoothed_features_are_float32_whatever_they_were() -> None:
    features = random_features(1, 3, 4, 5).bfloat16()
    assert losses.smoothed(features, losses.temperature(features)).dtype == torch.float32
