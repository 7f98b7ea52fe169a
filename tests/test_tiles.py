import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nst.painting import memory
from nst.painting.backbones import Backbone
from nst.painting.objective import Objective
from nst.painting.targets import LOSS_NAMES, Item
from nst.painting.tiles import Work, cut, work_of
from nst.profiles import PROFILES
from nst.scales import Scale
from tests.helpers import item, mask_tensor, picture_tensor, vgg16

pytestmark = pytest.mark.usefixtures("two_threads")

MARGIN = 32
# Of the whole VGG-16, which a tile cannot be smaller than.
FULL_MARGIN = PROFILES["vgg16"].margin_px or 0
SIZES = [(64, 96), (97, 200), (161, 130), (300, 33), (31, 129), (257, 321)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile_px", [1, 32, 64, 100, 1000])
def test_cores_cover_every_pixel_once(size: tuple[int, int], tile_px: int) -> None:
    covered = torch.zeros(size)
    for tile in cut(*size, tile_px, MARGIN):
        covered[tile.core_rows, tile.core_columns] += 1
    assert torch.equal(covered, torch.ones(size))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile_px", [1, 32, 64, 100, 1000])
def test_each_core_has_its_margin_as_far_as_the_picture_goes(
    size: tuple[int, int], tile_px: int
) -> None:
    for tile in cut(*size, tile_px, MARGIN):
        for outer, core, length in (
            (tile.rows, tile.core_rows, size[0]),
            (tile.columns, tile.core_columns, size[1]),
        ):
            assert outer.start == max(0, core.start - MARGIN)
            assert outer.stop == min(length, core.stop + MARGIN)
            assert core.start % MARGIN == 0
            assert core.stop % MARGIN == 0 or core.stop == length
            # No longer than it was to be and a sliver, and never a sliver itself.
            assert core.stop - core.start <= max(MARGIN, tile_px) + MARGIN
            assert core.stop - core.start > min(MARGIN - 1, length - 1)


def test_work_counts_each_tile_with_its_margin_and_twice() -> None:
    small = Scale(height=64, width=96, steps=4, pixels=64 * 96)
    large = Scale(height=96, width=320, steps=2, pixels=64 * 96 + 96 * 320)
    assert work_of([small, large], None, 32) == (Work(1, small.pixels), Work(2, large.pixels))
    # Two tiles of 192 and of 128 pixels, each with a margin of 32 to one side.
    tiled = round(96 * (192 + 32 + 128 + 32) * 4 / 3)
    assert work_of([small, large], 192, 32) == (
        Work(1, small.pixels),
        Work(5, small.pixels + tiled),
    )


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (64, [(0, 64)]),
        (96, [(0, 96)]),
        (97, [(0, 64), (64, 97)]),
        (128, [(0, 64), (64, 128)]),
        (160, [(0, 64), (64, 160)]),
        (161, [(0, 64), (64, 128), (128, 161)]),
    ],
)
def test_a_sliver_goes_with_the_tile_before_it(
    length: int, expected: list[tuple[int, int]]
) -> None:
    found = [(t.core_rows.start, t.core_rows.stop) for t in cut(length, 20, 64, MARGIN)]
    assert found == expected


def test_without_a_size_a_picture_is_one_tile_whatever_its_margin() -> None:
    for margin in (MARGIN, None):
        (tile,) = cut(300, 200, None, margin)
        assert tile.rows == tile.core_rows == slice(0, 300)
        assert tile.columns == tile.core_columns == slice(0, 200)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("num_poolings", [0, 1, 4])
def test_a_cores_features_are_found_in_the_tile_and_in_the_whole(
    size: tuple[int, int], num_poolings: int
) -> None:
    """Told by the number of each pixel, of which poolings keep the last in their window."""

    def pooled(x: Tensor) -> Tensor:
        for _ in range(num_poolings):
            x = functional.max_pool2d(x, 2)
        return x

    pixels = torch.arange(size[0] * size[1], dtype=torch.float64).view(1, 1, *size)
    whole = pooled(pixels)
    covered = torch.zeros_like(whole)
    for tile in cut(*size, 64, MARGIN):
        own = pooled(pixels[:, :, tile.rows, tile.columns])
        core, place = tile.at(2**num_poolings, own)
        assert torch.equal(own[core], whole[place])
        covered[place] += 1
    assert torch.equal(covered, torch.ones_like(whole))


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_the_margin_of_a_profile_is_a_multiple_of_every_stride(name: str) -> None:
    profile = PROFILES[name]
    assert profile.margin_px is not None
    assert all(profile.margin_px % stride == 0 for stride in profile.layer_strides)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def tiled(kind: str, size: tuple[int, int], **params: Any) -> Item:
    match kind:
        case "plain":
            return item(size=size, content_weight=0.3, **params)
        case "two blended styles":
            return item(size=size, num_styles=2, style_blend=(2.0, 1.0), **params)
        case _:
            one = item(size=size, num_styles=2, detail_weight=1.0, tv_weight=10.0, **params)
            return replace(one, mask=mask_tensor(*size))


def assert_tiles_lose_nothing(one: Item, backbone: Backbone, tile_px: int) -> None:
    """Nor is there a seam where tiles meet."""
    size = (one.content.shape[1], one.content.shape[2])
    images = picture_tensor(*size, seed=8)[None]
    whole, whole_gradient = Objective.of([one], backbone)(images)
    found, gradient = Objective.of([one], backbone, tile_px=tile_px)(images)
    for name in LOSS_NAMES:
        loss = getattr(found, name)[0].item()
        assert loss == pytest.approx(getattr(whole, name)[0].item(), rel=1e-4), name
    assert relative(gradient, whole_gradient) < 1e-4
    assert (gradient - whole_gradient).abs().max() < 1e-3 * whole_gradient.abs().max()


KINDS = ["plain", "two blended styles", "a mask"]


@pytest.mark.parametrize(
    ("kind", "size"), [*((kind, (45, 349)) for kind in KINDS), ("a mask", (349, 45))]
)
def test_losses_and_gradient_in_tiles_are_those_of_the_whole(
    kind: str, size: tuple[int, int]
) -> None:
    assert len(cut(*size, FULL_MARGIN, FULL_MARGIN)) == 3
    assert_tiles_lose_nothing(tiled(kind, size), vgg16(), FULL_MARGIN)


def shallow_vgg16() -> Backbone:
    """Looks less far around itself, so that small pictures can be cut both ways."""
    backbone = vgg16(**SHALLOW)
    shallow = copy.copy(backbone)
    shallow.profile = replace(backbone.profile, margin_px=16)
    return shallow


SHALLOW: dict[str, Any] = {"content_layers": ("relu2_2",), "style_layers": ("relu1_1", "relu3_1")}


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_below_and_beside_each_other_lose_nothing_either(kind: str) -> None:
    size = (61, 83)
    assert len(cut(*size, 32, 16)) == 6
    assert_tiles_lose_nothing(tiled(kind, size, **SHALLOW), shallow_vgg16(), 32)


def test_a_style_in_tiles_has_the_gram_of_the_whole() -> None:
    one = replace(item(), styles=(picture_tensor(40, 349, seed=3),))
    images = picture_tensor(48, 64, seed=8)[None]
    whole, _ = Objective.of([one], vgg16())(images)
    found, _ = Objective.of([one], vgg16(), tile_px=FULL_MARGIN)(images)
    assert found.style.item() == pytest.approx(whole.style.item(), rel=1e-4)


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_style_is_cut_by_its_own_size_where_its_picture_is_whole(
    monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    monkeypatch.setattr(memory, "TILE_PX", FULL_MARGIN)
    style = picture_tensor(40, 349, seed=3)
    one = replace(item(), styles=(style,))
    images = picture_tensor(48, 64, seed=8)[None]
    limit = 40 * 349 - (not is_whole)
    found, gradient = Objective.of([one], vgg16(), whole_style_px=limit)(images)
    whole, whole_gradient = Objective.of([one], vgg16())(images)
    assert torch.equal(gradient, whole_gradient) == is_whole
    assert found.style.item() == pytest.approx(whole.style.item(), rel=1e-4)
    cut_up, cut_up_gradient = Objective.of([one], vgg16(), tile_px=FULL_MARGIN)(images)
    assert torch.equal(gradient, whole_gradient if is_whole else cut_up_gradient)
    assert torch.equal(found.total, whole.total if is_whole else cut_up.total)


def test_style_by_layer_in_tiles_is_that_of_the_whole() -> None:
    one = item(size=(61, 83), **SHALLOW)
    images = picture_tensor(61, 83, seed=8)[None]
    whole = Objective.of([one], shallow_vgg16()).style_by_layer(images)
    found = Objective.of([one], shallow_vgg16(), tile_px=32).style_by_layer(images)
    assert set(found) == set(whole)
    for layer, loss in found.items():
        torch.testing.assert_close(loss, whole[layer], rtol=1e-4, atol=0)


def test_bfloat16_in_tiles_is_close_to_the_whole() -> None:
    size = (48, 349)
    one = tiled("a mask", size)
    images = picture_tensor(*size, seed=8)[None]
    backbone = vgg16(precision="bfloat16")
    whole, whole_gradient = Objective.of([one], backbone)(images)
    found, gradient = Objective.of([one], backbone, tile_px=FULL_MARGIN)(images)
    assert found.total.item() == pytest.approx(whole.total.item(), rel=0.01)
    assert gradient.dtype == torch.float32
    assert torch.cosine_similarity(gradient.flatten(), whole_gradient.flatten(), dim=0) > 0.95
