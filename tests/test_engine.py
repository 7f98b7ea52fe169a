from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from nst.job import PictureParams
from nst.painting import engine
from nst.painting.colors import as_grey, match_colors
from nst.painting.engine import STALL_WINDOW, Stylized, stylize
from nst.painting.objective import Objective
from nst.painting.octaves import resized
from nst.painting.palettes import chroma
from nst.painting.steps import Best
from nst.painting.targets import LOSS_NAMES, Item, Losses
from nst.profiles import PROFILES
from nst.settings import Precision
from tests import helpers
from tests.helpers import mask_tensor, picture_tensor, resnet50, vgg16, with_threads
from tests.slow import slow_losses, slow_total

pytestmark = pytest.mark.usefixtures("two_threads")

# The loop is the same whichever the layers, and these are quick to reach.
LAYERS: dict[str, Any] = {
    "content_layers": "relu3_1",
    "style_layers": "relu1_1 relu2_1 relu3_1",
}


def item(
    pictures: int = 0, *, size: tuple[int, int] = (48, 64), num_styles: int = 1, **params: Any
) -> Item:
    # The made-up pictures are so smooth that the grain of a few steps would be most of their loss.
    values = {"noise_weight": 0.0} | LAYERS | params
    return helpers.item(pictures, size=size, num_styles=num_styles, **values)


def run(*items: Item) -> Stylized:
    return stylize(items, vgg16(**LAYERS))


@pytest.mark.parametrize("kind", ["plain", "a mask"])
def test_gradient_is_that_of_the_total(kind: str) -> None:
    one = item(num_styles=2, tv_weight=1.0, detail_weight=1.0)
    if kind == "a mask":
        one = replace(one, mask=mask_tensor(48, 64))
    objective = Objective.of([one], vgg16(**LAYERS))
    image = picture_tensor(48, 64, seed=7)[None]
    losses_here, gradient = objective(image)
    step = 1e-3 * gradient / gradient.norm()
    ahead, _ = objective(image + step)
    behind, _ = objective(image - step)
    slope = (ahead.total - behind.total).item() / 2e-3
    assert slope == pytest.approx(gradient.norm().item(), rel=0.02)
    assert losses_here.total.item() > 0


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_losses_are_those_of_the_images_that_are_returned(optimizer: str) -> None:
    one = item(steps=12, optimizer=optimizer, tv_weight=1.0, detail_weight=0.5, noise_weight=0.1)
    made = run(one)
    expected = slow_losses(made.images[0], one)
    for name in LOSS_NAMES:
        loss = getattr(made.losses, name).item()
        assert loss == pytest.approx(expected[name].item(), rel=1e-4), name
    assert made.losses.total.item() == pytest.approx(made.curve.total.min().item())
    assert made.num_evaluations.tolist() == [12]


def test_shares_of_the_style_by_layer_sum_to_the_style_loss() -> None:
    made = run(item(0, steps=6), item(1, steps=6))
    assert set(made.style_by_layer) == {"relu1_1", "relu2_1", "relu3_1"}
    total = torch.stack(list(made.style_by_layer.values())).sum(dim=0) / 3
    torch.testing.assert_close(total, made.losses.style, rtol=1e-5, atol=0)


def large(pictures: int = 0, **params: Any) -> Item:
    """An item of three sizes."""
    return item(pictures, size=(288, 384), **params)


def test_a_pyramid_paints_from_coarse_to_fine_and_tells_how_far_it_is() -> None:
    seen: list[tuple[float, int]] = []
    made = stylize(
        [large(steps=4)],
        vgg16(**LAYERS),
        on_step=lambda share, losses: seen.append((share, len(losses.total))),
    )
    assert made.num_evaluations.tolist() == [7]
    assert len(made.curve.total) == 7
    shares = [share for share, _ in seen]
    assert shares == sorted(shares)
    # The four evaluations at the coarsest size are a small part of the work, and the last is its end.
    assert shares[3] < 0.4
    assert shares[-1] == pytest.approx(1)
    assert made.images.shape == (1, 3, 288, 384)
    total = torch.stack(list(made.style_by_layer.values())).sum(dim=0) / 3
    torch.testing.assert_close(total, made.losses.style, rtol=1e-5, atol=0)


def test_items_of_a_pyramid_do_not_affect_each_other_wherever_they_end() -> None:
    # From the content and with no weight on anything but it, the first cannot get better.
    nothing: dict[str, Any] = {"tolerance": 0.1, "content_weight": 1, "style_weight": 0}
    several = [item(0, size=(144, 192), steps=24, **nothing), item(1, size=(144, 192), steps=24)]
    together = run(*several)
    for n, one in enumerate(several):
        alone = run(one)
        assert torch.equal(together.images[n], alone.images[0])
        end = int(alone.num_evaluations[0])
        assert int(together.num_evaluations[n]) == end
        assert torch.equal(together.curve.total[:end, n], alone.curve.total[:end, 0])
    assert together.num_evaluations.tolist() == [20 + 12, 24 + 12]


def test_a_coarse_size_leaves_the_contents_details_where_nothing_else_is_asked_for() -> None:
    """With no weight on the style, the picture is the content, through all sizes."""
    one = large(steps=4, content_weight=1, style_weight=0)
    torch.testing.assert_close(run(one).images[0], one.content, atol=0.03, rtol=0)


def test_the_shapes_of_a_large_picture_are_those_of_its_preview() -> None:
    """Shrunk to a half, what is painted large is what is painted small; one size alone is not."""

    def far_apart(method: str) -> float:
        small = item(size=(96, 128), method=method, steps=8)
        big = replace(
            small,
            content=resized(small.content, (192, 256)),
            styles=tuple(resized(s, (2 * s.shape[1], 2 * s.shape[2])) for s in small.styles),
        )
        preview, picture = (run(each).images[0] for each in (small, big))
        return (resized(picture, (96, 128)) - preview).square().mean().sqrt().item()

    assert far_apart("pyramid") < 0.7 * far_apart("gatys")


def test_layers_count_by_the_weights_that_they_are_named_with() -> None:
    named = item(steps=2, style_layers="relu1_1:3 relu3_1")
    made = run(named)
    by_layer = made.style_by_layer
    weighted = (3 * by_layer["relu1_1"] + by_layer["relu3_1"]) / 4
    torch.testing.assert_close(weighted, made.losses.style, rtol=1e-5, atol=0)


def test_strength_goes_from_the_content_to_the_style() -> None:
    base = item(steps=8, init="recolored")
    made = {
        strength: run(replace(base, params=replace(base.params, strength=strength)))
        for strength in (0.0, 0.3, 0.5, 0.7, 1.0)
    }
    torch.testing.assert_close(made[0.0].images[0], base.content)
    assert torch.equal(made[0.5].images, run(base).images)
    far = [(one.images[0] - base.content).square().mean().item() for one in made.values()]
    assert far == sorted(far)
    styles = [one.losses.style.item() for one in made.values()]
    # Beyond that it has few steps to tell one strength from another.
    assert styles[:4] == sorted(styles[:4], reverse=True)
    assert styles[4] < styles[2]


def test_the_backbones_own_layers_have_its_own_shares() -> None:
    made = stylize([helpers.item(steps=2)], vgg16())
    shares = PROFILES["vgg16"].style_shares
    assert set(made.style_by_layer) == set(shares)
    total = sum(share * made.style_by_layer[layer].item() for layer, share in shares.items())
    assert total == pytest.approx(made.losses.style.item(), rel=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_loss_falls_and_the_images_stay_pictures(optimizer: str) -> None:
    made = run(item(steps=25, optimizer=optimizer))
    assert made.losses.total.item() < 0.5 * made.curve.total[0].item()
    assert made.images.shape == (1, 3, 48, 64)
    assert made.images.min() >= 0
    assert made.images.max() <= 1


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_items_do_not_affect_each_other(optimizer: str) -> None:
    """Alone and in a batch, with unlike weights, seeds, inits and sizes of style."""
    items = [
        item(0, steps=12, optimizer=optimizer),
        item(1, steps=12, optimizer=optimizer, content_weight=1.0, tv_weight=2.0),
        item(2, steps=12, optimizer=optimizer, init="noise", seed=5, detail_weight=1.0),
    ]
    together = run(*items)
    for i, one in enumerate(items):
        alone = run(one)
        assert torch.equal(alone.images[0], together.images[i])
        assert torch.equal(alone.curve.total[:, 0], together.curve.total[:, i])


def test_masked_items_of_several_styles_do_not_affect_each_other() -> None:
    items = [
        replace(item(0, num_styles=2, steps=12), mask=mask_tensor(48, 64)),
        replace(item(1, num_styles=2, steps=12), mask=1 - mask_tensor(48, 64)),
    ]
    together = run(*items)
    for i, one in enumerate(items):
        assert torch.equal(run(one).images[0], together.images[i])


def test_each_item_of_a_batch_has_weights_of_its_own() -> None:
    items = [
        item(style_weight=1.0, content_weight=0.0),
        item(style_weight=3.0, content_weight=0.2, tv_weight=5.0),
        item(style_weight=0.5, content_weight=2.0, detail_weight=4.0),
    ]
    made = run(*items).curve
    for i, params in enumerate(each.params for each in items):
        expected = torch.stack(
            [
                slow_total({name: getattr(made, name)[e, i] for name in LOSS_NAMES}, params)
                for e in range(len(made.total))
            ]
        )
        torch.testing.assert_close(made.total[:, i], expected, rtol=1e-5, atol=0)
    # They begin alike, but for what is made of it.
    assert torch.equal(made.style[0], made.style[0, :1].expand(3))
    assert len(set(made.style[-1].tolist())) == 3


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_same_again_is_the_same_to_the_bit(optimizer: str) -> None:
    items = [
        replace(item(n, num_styles=2, steps=12, optimizer=optimizer), mask=mask_tensor(48, 64))
        for n in range(2)
    ]
    first, second = run(*items), run(*items)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.curve.total, second.curve.total)


@pytest.mark.parametrize(
    ("backbone", "precision", "size"),
    [
        ("vgg16", "float32", (96, 128)),
        # Smaller ones have one thread alone.
        ("vgg16", "float32", (48, 64)),
        ("vgg16", "float32", (50, 67)),
        ("vgg16", "bfloat16", (48, 64)),
        ("vgg16", "bfloat16", (96, 128)),
        ("resnet50", "float32", (75, 112)),
        # Its styles are smaller than it.
        ("resnet50", "float32", (224, 300)),
        ("resnet50", "bfloat16", (75, 112)),
    ],
)
def test_the_number_of_threads_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch, backbone: str, precision: Precision, size: tuple[int, int]
) -> None:
    if backbone == "resnet50":
        # Where the hardware multiplies bfloat16, its bits do depend on it.
        monkeypatch.setattr("nst.painting.precision.has_units", lambda _: False)
        network = resnet50(precision=precision)
    else:
        network = vgg16(precision=precision)
    cases = [
        helpers.item(size=size, steps=4),
        replace(
            helpers.item(size=size, num_styles=2, steps=4, detail_weight=2.0, tv_weight=9.0),
            mask=mask_tensor(*size),
        ),
    ]
    for one in cases:
        paint = partial(stylize, [one], network)
        alone = with_threads(1, paint)
        for number in (2, 5):
            found = with_threads(number, paint)
            assert torch.equal(found.images, alone.images), number
            assert torch.equal(found.curve.total, alone.curve.total), number


def test_the_same_seed_gives_the_same_noise_and_another_another() -> None:
    a, b, c = (run(item(steps=2, init="noise", seed=s)).images for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_starts_from_the_content() -> None:
    one = item(steps=1, init="content")
    made = run(one)
    assert torch.equal(made.images[0], one.content)
    assert made.losses.content.item() == 0
    assert made.losses.detail.item() == 0


@pytest.mark.parametrize("init", ["recolored", "content", "noise"])
def test_a_coarser_picture_goes_on_where_it_is_with_items_that_are_elsewhere(init: str) -> None:
    """As on a GPU that is none of CUDA; this device computes shapes and refuses others' numbers."""
    coarser = torch.empty(1, 3, 24, 32, device="meta")
    start = engine._start([item(init=init)], coarser)
    assert (start.device.type, start.shape) == ("meta", (1, 3, 48, 64))


def test_starts_from_the_content_in_the_colours_of_all_the_styles() -> None:
    one = item(steps=1, num_styles=2, init="recolored")
    # Alike in size, so that each counts as much in the table of all their pixels.
    one = replace(one, styles=(one.styles[0], one.styles[1][..., :50]))
    made = run(one)
    palette = torch.cat([style.flatten(1) for style in one.styles], dim=1)[:, None]
    torch.testing.assert_close(made.images[0], match_colors(one.content, palette))
    for statistic in (torch.mean, torch.std):
        found = statistic(made.images[0], dim=(1, 2))
        torch.testing.assert_close(found, statistic(palette, dim=(1, 2)), atol=0.05, rtol=0)
    assert not torch.allclose(made.images[0], one.content, atol=0.1)


@pytest.mark.parametrize("num_styles", [1, 2])
def test_starts_with_each_region_in_the_colours_of_its_own_style(num_styles: int) -> None:
    mask = torch.zeros(1, 48, 64)
    mask[..., 32:] = 1
    one = replace(item(steps=1, num_styles=num_styles, init="recolored"), mask=mask)
    start = run(one).images[0]
    alone = [match_colors(one.content, one.styles[-1], weights=mask)]
    alone.insert(0, match_colors(one.content, one.styles[0], weights=1 - mask))
    left = alone[0] if num_styles == 2 else one.content
    torch.testing.assert_close(start[..., :32], left[..., :32])
    torch.testing.assert_close(start[..., 32:], alone[1][..., 32:])


def test_at_one_size_the_start_is_in_the_colours_of_all_styles_whatever_the_mask_says() -> None:
    one = item(steps=1, num_styles=2, init="recolored", method="gatys")
    by_mask = replace(one, mask=mask_tensor(48, 64))
    assert torch.equal(run(by_mask).images, run(one).images)


def test_a_start_has_the_colours_of_a_blend_in_its_shares() -> None:
    alone = item(steps=1, init="recolored")
    other = item(steps=1, num_styles=2, init="recolored", style_blend=(0.0, 1.0))
    both = replace(other, params=replace(other.params, style_blend=(1.0, 0.0)))
    torch.testing.assert_close(run(both).images, run(alone).images, atol=1e-5, rtol=0)
    means = [
        run(replace(each, style_alphas=alphas)).images.mean(dim=(0, 2, 3))
        for each in (other, replace(other, styles=other.styles[1:] * 2))
        for alphas in ((), (None, torch.ones(1, *other.styles[1].shape[1:])))
    ]
    for mean in means[1:]:
        torch.testing.assert_close(mean, means[0], atol=1e-4, rtol=0)


def test_a_style_without_colours_leaves_none_and_chroma_weight_0_lets_them_be() -> None:
    def energy_of(**params: Any) -> float:
        one = item(steps=20, content_weight=0.001, **params)
        made = run(replace(one, styles=(as_grey(one.styles[0]),)))
        return chroma(made.images).square().mean().item()

    held, loose = energy_of(), energy_of(chroma_weight=0)
    assert held < 0.1 * loose
    # The paper has no such loss.
    assert energy_of(method="gatys") == energy_of(method="gatys", chroma_weight=0)


def test_starts_from_the_picture_that_is_given() -> None:
    one = replace(item(steps=1, init="picture"), start=picture_tensor(48, 64, seed=7))
    assert one.start is not None
    assert torch.equal(run(one).images[0], one.start)


def test_no_style_weight_leaves_the_content_and_more_of_it_nears_the_style() -> None:
    none, weak, strong = (
        run(item(steps=20, style_weight=w, content_weight=1.0)) for w in (0.0, 0.1, 10.0)
    )
    assert torch.equal(none.images[0], item().content)
    assert strong.losses.style.item() < weak.losses.style.item()
    assert strong.losses.content.item() > weak.losses.content.item()


def test_tv_weight_smooths() -> None:
    rough, smooth = (run(item(steps=20, tv_weight=w)) for w in (0.0, 100.0))
    assert smooth.losses.tv.item() < 0.5 * rough.losses.tv.item()


def test_detail_weight_holds_on_to_the_edges_of_the_content() -> None:
    loose, held = (run(item(steps=20, detail_weight=w)) for w in (0.0, 10.0))
    assert held.losses.detail.item() < 0.1 * loose.losses.detail.item()


def test_a_mask_keeps_the_content_where_it_is_black() -> None:
    mask = torch.zeros(1, 48, 96)
    mask[..., 48:] = 1
    one = replace(item(size=(48, 96), steps=15, content_weight=0.2), mask=mask)
    change = (run(one).images[0] - one.content).abs().mean(dim=(0, 1))
    # Apart from the seam, where features see both sides.
    assert change[:24].mean() < 0.3 * change[72:].mean()


def test_named_layers_are_the_ones_that_are_used_in_equal_shares() -> None:
    params = PictureParams(content_layers="relu3_1", style_layers="relu1_1 relu2_1")  # type: ignore[arg-type]
    shares = PROFILES["vgg16"].shares(params.content_layers, params.style_layers)
    assert shares.content == {"relu3_1": 1.0}
    assert shares.style == {"relu1_1": 0.5, "relu2_1": 0.5}
    assert shares.layers == ("relu3_1", "relu1_1", "relu2_1")


def test_an_item_that_is_not_finite_fails_alone() -> None:
    bad = item(0, steps=6)
    bad.content[0, 0, 0] = float("nan")
    good = item(1, steps=6)
    made = run(bad, good)
    assert made.is_finite.tolist() == [False, True]
    assert torch.equal(made.images[1], run(good).images[0])


def losses_of(*totals: float) -> Losses:
    return Losses(**dict.fromkeys(LOSS_NAMES, torch.tensor(totals)))


def test_the_best_image_is_kept_when_the_loss_rises_again() -> None:
    images = [torch.full((2, 3, 2, 2), value) for value in (0.1, 0.2, 0.3)]
    best = Best(images[0])
    for image, totals in zip(images, ((3.0, 1.0), (1.0, 2.0), (2.0, 3.0)), strict=True):
        best.update(image, losses_of(*totals), torch.zeros_like(image), torch.tensor([True, True]))
    assert best.images[:, 0, 0, 0].tolist() == pytest.approx([0.2, 0.1])
    assert best.losses.total.tolist() == [1.0, 1.0]


def test_what_becomes_of_an_item_that_has_ended_is_not_looked_at() -> None:
    images = [torch.full((2, 3, 2, 2), value) for value in (0.1, 0.2, 0.3)]
    best = Best(images[0])
    best.update(
        images[0], losses_of(3.0, 3.0), torch.zeros_like(images[0]), torch.tensor([True, True])
    )
    best.update(
        images[1], losses_of(1.0, 1.0), torch.zeros_like(images[0]), torch.tensor([False, True])
    )
    best.update(
        images[2],
        losses_of(torch.nan, 2.0),
        torch.zeros_like(images[0]),
        torch.tensor([False, True]),
    )
    assert best.images[:, 0, 0, 0].tolist() == pytest.approx([0.1, 0.2])
    assert best.losses.total.tolist() == [3.0, 1.0]
    assert best.is_finite.tolist() == [True, True]


def stall(totals: Tensor, tolerance: float) -> int:
    """After how many of these losses, [E], an item is to stop."""
    ends = range(2 * STALL_WINDOW, len(totals), STALL_WINDOW)
    for end in ends if tolerance > 0 else ():
        before, now = totals[: end - STALL_WINDOW].min(), totals[:end].min()
        if before - now < tolerance * now:
            return end
    return len(totals)


TOLERANCES = (0.5, 0.0, 0.2)


def tolerant(n: int, tolerance: float, steps: int = 50) -> Item:
    return item(n, steps=steps, tolerance=tolerance)


def test_each_item_stops_when_it_has_stalled_and_leaves_the_others_alone() -> None:
    """The one that ends early is the picture of a run that was to end there."""
    pictures = (2, 1, 0)
    untiring = run(*(tolerant(n, 0.0) for n in pictures))
    expected = [
        stall(untiring.curve.total[:, n], tolerance) for n, tolerance in enumerate(TOLERANCES)
    ]
    assert len(set(expected)) == 3
    made = run(*(tolerant(n, t) for n, t in zip(pictures, TOLERANCES, strict=True)))
    assert made.num_evaluations.tolist() == expected
    for n, end in enumerate(expected):
        cut = run(tolerant(pictures[n], 0.0, end))
        assert torch.equal(made.images[n], cut.images[0])
        assert torch.equal(made.curve.total[:end, n], cut.curve.total[:, 0])
        for name in LOSS_NAMES:
            assert torch.equal(getattr(made.losses, name)[n], getattr(cut.losses, name)[0]), name
        for layer, loss in made.style_by_layer.items():
            assert torch.equal(loss[n], cut.style_by_layer[layer][0])


def test_an_item_that_cannot_get_better_stops() -> None:
    """From the content, with no weight on anything but it: the loss is 0 from the start."""
    made = run(item(steps=40, tolerance=0.1, content_weight=1, style_weight=0))
    assert made.num_evaluations.tolist() == [20]


def test_items_that_go_through_the_network_together_end_apart_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The way of a GPU: an item that has ended is still looked at, and is as it was all the same."""
    monkeypatch.setattr("nst.painting.objective.runs_items_together", lambda device, tile_px: True)
    made = run(tolerant(2, 0.5), tolerant(1, 0.0))
    end = int(made.num_evaluations[0])
    assert end < 50
    best = made.curve.total[:end, 0].min().item()
    assert made.losses.total[0].item() == pytest.approx(best, rel=1e-6)


def test_the_run_ends_when_all_items_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst.painting.objective.runs_items_together", lambda device, tile_px: True)
    seen: list[float] = []
    made = stylize(
        [tolerant(2, 0.4), tolerant(2, 0.35)],
        vgg16(**LAYERS),
        on_step=lambda share, losses: seen.append(share),
    )
    assert made.num_evaluations.tolist() == [30, 30]
    assert seen == pytest.approx([n / 50 for n in range(1, 31)])
    assert len(made.curve.total) == 30


def test_each_step_is_reported_once_with_its_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst.painting.objective.runs_items_together", lambda device, tile_px: True)
    seen: list[tuple[float, float]] = []

    def on_step(share: float, losses: Losses) -> None:
        seen.append((share, losses.total.sum().item()))

    made = stylize([item(0), item(1)], vgg16(**LAYERS), on_step=on_step)
    assert [share for share, _ in seen] == [0.25, 0.5, 0.75, 1]
    assert [total for _, total in seen] == pytest.approx(made.curve.total.sum(dim=1).tolist())


def test_tiles_make_the_same_picture() -> None:
    one = item(size=(45, 349), steps=3)
    whole, in_tiles = run(one), stylize([one], vgg16(**LAYERS), tile_px=112)
    torch.testing.assert_close(in_tiles.images, whole.images, atol=0.01, rtol=0)
    torch.testing.assert_close(in_tiles.losses.total, whole.losses.total, rtol=1e-3, atol=0)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    run(item())
    assert capfd.readouterr() == ("", "")
