import numpy as np
import pytest
import torch

from nst import losses


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_gram_equals_a_sum_over_positions() -> None:
    features = random_features(2, 3, 4, 5)
    expected = np.zeros((2, 3, 3))
    for b in range(2):
        for y in range(4):
            for x in range(5):
                column = features[b, :, y, x].double().numpy()
                expected[b] += np.outer(column, column) / 20
    np.testing.assert_allclose(losses.gram(features).numpy(), expected, rtol=1e-5)


def test_gram_does_not_depend_on_the_size_of_a_repeating_picture() -> None:
    features = random_features(1, 3, 4, 4)
    torch.testing.assert_close(losses.gram(features.repeat(1, 1, 2, 3)), losses.gram(features))


def test_gram_of_ones_is_ones() -> None:
    torch.testing.assert_close(losses.gram(torch.ones(1, 2, 3, 3)), torch.ones(1, 2, 2))


def test_style_loss_is_0_at_the_style_and_1_without_features() -> None:
    target = losses.gram(random_features(2, 3, 4, 4))
    scale = losses.gram_scale(target)
    same = losses.style_layer_loss(random_features(2, 3, 4, 4), target, scale)
    none = losses.style_layer_loss(torch.zeros(2, 3, 4, 4), target, scale)
    torch.testing.assert_close(same, torch.zeros(2))
    torch.testing.assert_close(none, torch.ones(2))


def test_content_loss_is_0_at_the_content_and_1_without_structure() -> None:
    target = random_features(2, 3, 4, 4)
    scale = losses.content_scale(target)
    flat = target.mean(dim=(2, 3), keepdim=True).expand_as(target)
    torch.testing.assert_close(losses.content_layer_loss(target, target, scale), torch.zeros(2))
    torch.testing.assert_close(losses.content_layer_loss(flat, target, scale), torch.ones(2))


@pytest.mark.parametrize("factor", [1e-2, 1e3])
def test_losses_have_no_unit(factor: float) -> None:
    features, target = random_features(1, 3, 4, 4), random_features(1, 3, 4, 4, seed=1)

    def both(scale: float) -> tuple[torch.Tensor, torch.Tensor]:
        f, t = features * scale, target * scale
        g = losses.gram(t)
        return (
            losses.content_layer_loss(f, t, losses.content_scale(t)),
            losses.style_layer_loss(f, g, losses.gram_scale(g)),
        )

    torch.testing.assert_close(both(factor), both(1.0))


def test_a_flat_content_gives_a_finite_loss() -> None:
    flat = torch.full((1, 3, 4, 4), 0.5)
    loss = losses.content_layer_loss(torch.zeros(1, 3, 4, 4), flat, losses.content_scale(flat))
    assert loss.isfinite().all()
    nothing = torch.zeros(1, 3, 4, 4)
    assert losses.content_layer_loss(flat, nothing, losses.content_scale(nothing)).isfinite().all()


def test_total_variation_equals_a_loop_over_neighbours() -> None:
    images = random_features(1, 3, 4, 5)
    values = images[0].double().numpy()
    down = np.mean([(values[:, y + 1] - values[:, y]) ** 2 for y in range(3)])
    across = np.mean([(values[:, :, x + 1] - values[:, :, x]) ** 2 for x in range(4)])
    np.testing.assert_allclose(losses.total_variation_loss(images), [down + across], rtol=1e-5)
