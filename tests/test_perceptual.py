import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from nst.painting.backbones import Backbone
from nst.painting.perceptual import (
    CFSD_LAYER,
    LPIPS_LAYERS,
    MIN_SIDE_PX,
    STYLE_LAYERS,
    cfsd,
    grams,
    lpips,
    style_distance,
)
from nst.painting.weights import load_state, obtain
from tests.helpers import ROOT, noise, pictures, vgg16

HEADS_FILE = ROOT / "nst/painting/data/lpips-vgg16-heads.safetensors"


def network() -> Backbone:
    return vgg16(content_layers=LPIPS_LAYERS, style_layers=STYLE_LAYERS)


@cache
def heads() -> tuple[Tensor, ...]:
    state = safetensors.torch.load_file(HEADS_FILE)
    return tuple(state[f"lin{i}"] for i in range(5))


def lpips_of(a: Tensor, b: Tensor) -> Tensor:
    return lpips(network()(a), network()(b), heads())


def structure_of(images: Tensor) -> Tensor:
    """What `cfsd` looks at, of a network whose pixels are as large as the original's."""
    features: Tensor = network()(images)[CFSD_LAYER]
    return 255 * 0.225 * features


def structures_apart(a: Tensor, b: Tensor) -> Tensor:
    return cfsd(structure_of(a), structure_of(b))


def styles_apart(a: Tensor, b: Tensor) -> Tensor:
    return style_distance(grams(network()(a)), grams(network()(b)))


def slow_cfsd(content: Tensor, picture: Tensor) -> float:
    """The distance of features [C,h,w], position by position, in double precision."""

    def shares(features: Tensor) -> Iterator[np.ndarray[Any, np.dtype[np.float64]]]:
        table = features.double().flatten(1).T.numpy() / len(features) / (255 * 0.225)
        for position in table:
            likeness = np.array([position @ other for other in table])
            yield np.exp(likeness) / np.exp(likeness).sum()

    divergences = [
        (p * np.log(p / q)).sum() for p, q in zip(shares(content), shares(picture), strict=True)
    ]
    return float(np.mean(divergences) * 4096)


def slow_style_distance(picture: Tensor, style: Tensor) -> float:
    """Of pictures [3,H,W], from Grams summed position by position in double precision."""
    distances = []
    for layer in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"):
        g, a = (
            np.mean([np.outer(p, p) for p in network()(x[None])[layer][0].double().flatten(1).T], 0)
            for x in (picture, style)
        )
        distances.append(((g - a) ** 2).sum() / (a**2).sum())
    return float(np.mean(distances))


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


def test_lpips_equals_the_authors_formula_on_a_network_of_its_own() -> None:
    a, b = pictures(32, 38), pictures(32, 38, first_seed=3)
    b[1] = (a[1] + 0.05 * noise(a[1])).clamp(0, 1)
    expected = [slow_lpips(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(lpips_of(a, b), expected, rtol=1e-4)


def test_lpips_without_features_is_finite() -> None:
    shapes = zip(LPIPS_LAYERS, heads(), strict=True)
    nothing = {layer: torch.zeros(3, len(head), 2, 2) for layer, head in shapes}
    assert torch.equal(lpips(nothing, nothing, heads()), torch.zeros(3))


def test_lpips_wants_a_head_for_each_layer() -> None:
    with pytest.raises(ValueError, match="shorter"):
        lpips(network()(pictures(16, 16)), network()(pictures(16, 16)), heads()[:4])


def test_lpips_has_a_smallest_size() -> None:
    smallest = lpips_of(
        pictures(MIN_SIDE_PX, MIN_SIDE_PX), pictures(MIN_SIDE_PX, MIN_SIDE_PX, first_seed=3)
    )
    assert (smallest > 0).all()
    with pytest.raises(RuntimeError, match="too small"):
        lpips_of(pictures(MIN_SIDE_PX - 1, 40), pictures(MIN_SIDE_PX - 1, 40))


def test_lpips_is_symmetric() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    torch.testing.assert_close(lpips_of(a, b), lpips_of(b, a))


def test_structure_equals_the_formula_position_by_position() -> None:
    # More positions than are compared at once, and a number that theirs is no multiple of.
    a, b = structure_of(pictures(40, 44)), structure_of(pictures(40, 44, first_seed=3))
    b[1] = a[1] + 0.001 * b[1]
    expected = [slow_cfsd(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(cfsd(a, b), expected, rtol=1e-3)
    assert expected[1] < 1e-3 * min(expected[0], expected[2])


def test_structure_of_features_far_apart_is_the_formulas_too() -> None:
    """Where a position is like few others, and no difference is small."""
    a, b = 4 * structure_of(pictures(24, 32)), 4 * structure_of(pictures(24, 32, first_seed=3))
    expected = [slow_cfsd(x, y) for x, y in zip(a, b, strict=True)]
    assert min(expected) > 100
    np.testing.assert_allclose(cfsd(a, b), expected, rtol=1e-3)
    assert cfsd(20 * a, 20 * b).isfinite().all()


def test_structure_is_where_things_are_and_no_matter_in_which_channel() -> None:
    a, b = structure_of(pictures(24, 32)), structure_of(pictures(24, 32, first_seed=3))
    order = torch.randperm(a.shape[1], generator=torch.Generator())
    torch.testing.assert_close(cfsd(a[:, order], b), cfsd(a, b), rtol=1e-4, atol=0)
    torch.testing.assert_close(cfsd(a.flip(3), b.flip(3)), cfsd(a, b), rtol=1e-4, atol=0)
    assert (cfsd(a, a.flip(3)) > 0.1 * cfsd(a, b)).all()


def test_structure_does_not_grow_with_the_picture() -> None:
    a, b = structure_of(pictures(24, 32)), structure_of(pictures(24, 32, first_seed=3))
    torch.testing.assert_close(
        cfsd(a.repeat(1, 1, 2, 1), b.repeat(1, 1, 2, 1)), cfsd(a, b), rtol=1e-4, atol=0
    )


def test_style_distance_equals_a_sum_over_positions() -> None:
    a, b = pictures(32, 38), pictures(40, 32, first_seed=3)
    expected = [slow_style_distance(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(styles_apart(a, b), expected, rtol=1e-3)


def test_style_distance_is_0_wherever_the_style_is_and_1_without_features() -> None:
    features = network()(pictures(32, 48))
    moved = {
        layer: found.flatten(2).flip(2).view_as(found).repeat(1, 1, 2, 1)
        for layer, found in features.items()
    }
    style = grams(features)
    assert (style_distance(grams(moved), style) < 1e-9).all()
    nothing = {layer: torch.zeros_like(gram) for layer, gram in style.items()}
    torch.testing.assert_close(style_distance(nothing, style), torch.ones(3))
    assert style_distance(style, nothing).isfinite().all()


@pytest.mark.parametrize("measure", [lpips_of, structures_apart, styles_apart])
def test_a_picture_is_not_away_from_itself_and_noise_leads_away_step_by_step(
    measure: Callable[[Tensor, Tensor], Tensor],
) -> None:
    images = pictures(48, 48)
    assert torch.equal(measure(images, images), torch.zeros(3))
    noisy = [(images + level * noise(images)).clamp(0, 1) for level in (0.01, 0.05, 0.2, 0.8)]
    distances = torch.stack([measure(images, each) for each in noisy])
    assert (distances[0] > 0).all()
    assert (distances.diff(dim=0) > 0).all()


@pytest.mark.parametrize("measure", [lpips_of, structures_apart, styles_apart])
def test_a_batch_gives_what_its_items_give_alone(
    measure: Callable[[Tensor, Tensor], Tensor],
) -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    alone = torch.cat([measure(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(measure(a, b), alone, rtol=1e-4, atol=0)


@pytest.mark.parametrize("measure", [lpips_of, structures_apart, styles_apart])
def test_a_nan_is_its_items_own(measure: Callable[[Tensor, Tensor], Tensor]) -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    whole = measure(a, b)
    a[1, 0, 3, 4] = torch.nan
    found = measure(a, b)
    assert found.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]])


def test_the_heads_are_those_of_their_notice() -> None:
    notice = (HEADS_FILE.parent / "SOURCES.md").read_text()
    assert hashlib.sha256(HEADS_FILE.read_bytes()).hexdigest() in notice
    assert [head.shape for head in heads()] == [(64,), (128,), (256,), (512,), (512,)]
    assert all(head.dtype == torch.float32 and (head > 0).all() for head in heads())
