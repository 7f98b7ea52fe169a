import hashlib
from functools import cache

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from nst.backbones import Backbone
from nst.perceptual import LPIPS_LAYERS, MIN_SIDE_PX, lpips
from nst.weights import load_state, obtain
from tests.helpers import ROOT, noise, pictures, vgg16

HEADS_FILE = ROOT / "nst/data/lpips-vgg16-heads.safetensors"


def network() -> Backbone:
    return vgg16(content_layers=LPIPS_LAYERS, style_layers=LPIPS_LAYERS)


@cache
def heads() -> tuple[Tensor, ...]:
    state = safetensors.torch.load_file(HEADS_FILE)
    return tuple(state[f"lin{i}"] for i in range(5))


def lpips_of(a: Tensor, b: Tensor) -> Tensor:
    return lpips(network()(a), network()(b), heads())


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


def test_lpips_of_a_picture_with_itself_is_0() -> None:
    assert torch.equal(lpips_of(pictures(32, 32), pictures(32, 32)), torch.zeros(3))


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


def test_noise_raises_lpips_step_by_step() -> None:
    picture = pictures(48, 48)
    noisy = [(picture + level * noise(picture)).clamp(0, 1) for level in (0.01, 0.05, 0.2, 0.8)]
    distances = torch.stack([lpips_of(picture, n) for n in noisy])
    assert (distances.diff(dim=0) > 0).all()


def test_lpips_is_symmetric() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    torch.testing.assert_close(lpips_of(a, b), lpips_of(b, a))


def test_a_batch_gives_what_its_items_give_alone() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    alone = torch.cat([lpips_of(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(lpips_of(a, b), alone)


def test_a_nan_is_its_items_own() -> None:
    a, b = pictures(24, 32), pictures(24, 32, first_seed=3)
    whole = lpips_of(a, b)
    a[1, 0, 3, 4] = torch.nan
    found = lpips_of(a, b)
    assert found.isnan().tolist() == [False, True, False]
    torch.testing.assert_close(found[[0, 2]], whole[[0, 2]])


def test_the_heads_are_those_of_their_notice() -> None:
    notice = (HEADS_FILE.parent / "SOURCES.md").read_text()
    assert hashlib.sha256(HEADS_FILE.read_bytes()).hexdigest() in notice
    assert [head.shape for head in heads()] == [(64,), (128,), (256,), (512,), (512,)]
    assert all(head.dtype == torch.float32 and (head > 0).all() for head in heads())
