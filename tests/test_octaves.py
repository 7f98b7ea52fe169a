import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nst.job import MAX_SIZE, PictureParams
from nst.painting.objective import Objective
from nst.painting.octaves import Octaves, Resampling, at_scale, details, resized, shrinks_on_the_cpu
from nst.painting.targets import Item
from nst.scales import Scale, scales_of
from tests.helpers import item, mask_tensor, picture_tensor, vgg16, with_threads

LAYERS: dict[str, Any] = {"content_layers": "relu3_1", "style_layers": "relu1_1 relu2_1 relu3_1"}


def scale(height: int, width: int) -> Scale:
    return Scale(height=height, width=width, steps=1, pixels=height * width)


def octaves_of(one: Item, *scales: Scale) -> Octaves:
    objectives = [Objective.of([at_scale(one, each)], vgg16(**LAYERS)) for each in scales]
    return Octaves(objectives, scales, torch.device("cpu"))


def test_resampling_keeps_means_and_flat_pictures() -> None:
    resample = Resampling((64, 48), (32, 24), torch.device("cpu"))
    picture = picture_tensor(64, 48, seed=1)[None]
    torch.testing.assert_close(resample(torch.ones_like(picture)), torch.ones(1, 3, 32, 24))
    means = picture.mean(dim=(2, 3))
    torch.testing.assert_close(resample(picture).mean(dim=(2, 3)), means, atol=5e-3, rtol=0)


@pytest.mark.parametrize("batch", [1, 4])
def test_resampling_gives_the_same_bits_with_any_number_of_threads(batch: int) -> None:
    """Of products as small as these MKL divides the sums from 24 threads on."""
    for before, after in (((256, 170), (128, 85)), ((512, 341), (256, 170))):
        images = torch.rand(batch, 3, *before, generator=torch.Generator().manual_seed(1))

        def down_and_up(
            images: Tensor = images,
            before: tuple[int, int] = before,
            after: tuple[int, int] = after,
        ) -> Tensor:
            resample = Resampling(before, after, torch.device("cpu"))
            return resample.gradient(resample(images))

        alone = with_threads(1, down_and_up)
        for number in (2, 16, 17, 24, 48):
            assert torch.equal(with_threads(number, down_and_up), alone), number


def test_resampling_removes_what_the_smaller_size_cannot_hold() -> None:
    stripes = torch.tensor([0.0, 1.0]).repeat(32).expand(1, 3, 64, 64)
    small = Resampling((64, 64), (16, 16), torch.device("cpu"))(stripes)
    inside = small[..., 2:-2]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.5), atol=0.02, rtol=0)


def test_the_gradient_of_resampling_is_its_transpose() -> None:
    resample = Resampling((31, 47), (13, 20), torch.device("cpu"))
    x, y = picture_tensor(31, 47, seed=1)[None], picture_tensor(13, 20, seed=2)[None]
    there = (resample(x) * y).sum().item()
    assert there == pytest.approx((x * resample.gradient(y)).sum().item(), rel=1e-5)


def test_one_size_is_the_objective_itself_to_the_bit() -> None:
    one = item(size=(48, 64), **LAYERS)
    image = picture_tensor(48, 64, seed=5)[None]
    alone = Objective.of([one], vgg16(**LAYERS))(image, [True])
    octaves = octaves_of(one, scale(48, 64))(image, [True])
    assert torch.equal(alone[1], octaves[1])
    assert torch.equal(alone[0].total, octaves[0].total)


def test_the_gradient_of_several_sizes_is_that_of_their_total() -> None:
    one = item(size=(96, 128), **LAYERS)
    octaves = octaves_of(one, scale(48, 64), scale(96, 128))
    image = picture_tensor(96, 128, seed=7)[None]
    found, gradient = octaves(image, [True])
    step = 1e-3 * gradient / gradient.norm()
    ahead, behind = (octaves(image + sign * step, [True])[0].total for sign in (1, -1))
    assert (ahead - behind).item() / 2e-3 == pytest.approx(gradient.norm().item(), rel=0.02)
    # The coarser size counts half as much as the finer one.
    fine = Objective.of([one], vgg16(**LAYERS))(image)[0].total
    small = resized(image[0], (48, 64))[None]
    coarse = Objective.of([at_scale(one, scale(48, 64))], vgg16(**LAYERS))(small)[0].total
    assert found.total.item() == pytest.approx((2 * fine + coarse).item() / 3, rel=0.05)


def test_an_item_at_a_scale_has_all_its_pictures_in_proportion() -> None:
    one = item(size=(96, 128), num_styles=2, **LAYERS)

    one = replace(
        one,
        mask=mask_tensor(96, 128),
        start=picture_tensor(96, 128, seed=3),
        style_alphas=(None, torch.ones(1, *one.styles[1].shape[1:])),
    )
    small = at_scale(one, scale(72, 96))
    assert small.content.shape == small.start.shape == (3, 72, 96)  # type: ignore[union-attr]
    assert small.mask is not None
    assert small.mask.shape == (1, 72, 96)
    for before, after in zip(one.styles, small.styles, strict=True):
        assert after.shape[1] == round(before.shape[1] * 0.75)
    assert small.style_alphas[0] is None
    assert small.style_alphas[1] is not None
    assert small.style_alphas[1].shape[1:] == small.styles[1].shape[1:]


def test_no_style_becomes_too_small_to_be_seen() -> None:
    one = item(size=(512, 512), **LAYERS)
    assert min(at_scale(one, scale(32, 32)).styles[0].shape[1:]) >= 32


def test_details_are_what_the_coarser_size_loses() -> None:
    picture = picture_tensor(64, 64, seed=4)
    lost = details(picture, (32, 32))
    torch.testing.assert_close(resized(resized(picture, (32, 32)), (64, 64)) + lost, picture)
    assert lost.mean().abs() < 1e-3


def test_a_gpu_shrinks_no_picture_further_than_its_memory_allows() -> None:
    """PyTorch's kernel for antialiasing has 48 kB for a block of 32 pixels, 4 bytes for each weight."""

    def shared_bytes(factor: float) -> float:
        weights = 2 * math.ceil(2 * factor) + 1
        return 4 * weights * (32 + 33)

    largest = (MAX_SIZE, MAX_SIZE)
    for scale in scales_of(*largest, PictureParams(size=MAX_SIZE)):
        factor = MAX_SIZE / scale.height
        stays = not shrinks_on_the_cpu(largest, (scale.height, scale.width))
        assert stays == (factor < 32)
        assert not stays or shared_bytes(factor) <= 48 * 1024
    assert shared_bytes(73) > 48 * 1024
