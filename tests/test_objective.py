from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nst.painting import nearest
from nst.painting.backbones import Backbone
from nst.painting.colors import as_grey
from nst.painting.objective import Balance, Objective, balanced
from nst.painting.targets import LOSS_NAMES, Item, StyleMemo, Targets
from tests.helpers import item, mask_tensor, picture_tensor, resnet50, vgg16
from tests.slow import slow_gradient, slow_losses

pytestmark = pytest.mark.usefixtures("two_threads")

WEIGHTS: dict[str, Any] = {"content_weight": 0.3, "style_weight": 2.0}


def image(height: int = 48, width: int = 64) -> Tensor:
    """Neither a content nor a style, and none at which some ReLU is about to turn."""
    return picture_tensor(height, width, seed=8)


def masked(num_styles: int, *, size: tuple[int, int] = (48, 64), **params: Any) -> Item:
    return replace(item(size=size, num_styles=num_styles, **params), mask=mask_tensor(*size))


def greyed(one: Item) -> Item:
    """With a first style that has no colours, which the image is far from."""
    return replace(one, styles=(as_grey(one.styles[0]), *one.styles[1:]))


def greyed_content(one: Item) -> Item:
    return replace(one, content=as_grey(one.content))


def relative(found: Tensor, expected: Tensor) -> float:
    """The length of the difference, as a share of what was expected."""
    expected = expected.double()
    return float((found.double() - expected).norm() / expected.norm())


CASES: dict[str, Callable[[], Item]] = {
    "plain": lambda: item(**WEIGHTS),
    "one size": lambda: item(method="gatys", **WEIGHTS),
    "content alone": lambda: item(style_weight=0.0, content_weight=1.0),
    "style alone": lambda: item(content_weight=0.0),
    "two styles": lambda: item(num_styles=2, **WEIGHTS),
    "two blended styles": lambda: item(num_styles=2, style_blend=(3.0, 1.0), **WEIGHTS),
    "a mask, one style": lambda: masked(1, **WEIGHTS),
    "a mask, two styles": lambda: masked(2, **WEIGHTS),
    "a mask, three styles": lambda: masked(3, **WEIGHTS),
    "total variation": lambda: item(tv_weight=30.0, **WEIGHTS),
    "detail": lambda: item(detail_weight=3.0, **WEIGHTS),
    "detail and total variation, masked": lambda: masked(2, detail_weight=3.0, tv_weight=30.0),
    "odd sizes, masked": lambda: masked(2, size=(45, 61), detail_weight=3.0, tv_weight=30.0),
    "a grey style": lambda: greyed(item(chroma_weight=3.0, **WEIGHTS)),
    "a grey style, masked": lambda: greyed(masked(1, chroma_weight=3.0, **WEIGHTS)),
    "a grey style of two, masked": lambda: greyed(masked(2, chroma_weight=3.0, **WEIGHTS)),
    "a grey style at one size": lambda: greyed(item(method="gatys", chroma_weight=3.0)),
    "a grey style at one size, masked": lambda: greyed(
        masked(2, method="gatys", chroma_weight=3.0)
    ),
    "a grey style in a blend": lambda: greyed(
        item(num_styles=2, style_blend=(3.0, 1.0), chroma_weight=3.0, **WEIGHTS)
    ),
    "a grey content": lambda: greyed_content(item(chroma_weight=3.0, **WEIGHTS)),
    "average pooling": lambda: item(pooling="avg", **WEIGHTS),
    "named layers": lambda: item(
        content_layers="relu3_1 relu2_2", style_layers="relu1_1 relu3_1", **WEIGHTS
    ),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_losses_and_gradient_equal_a_slow_reference(case: str) -> None:
    one = CASES[case]()
    params = one.params
    backbone = vgg16(
        pooling=params.pooling,
        content_layers=params.content_layers,
        style_layers=params.style_layers,
    )
    here = image(*one.content.shape[1:])
    found, gradient = Objective.of([one], backbone)(here[None])
    for name, expected in slow_losses(here, one).items():
        # Close to its limit, the square of an excess is a small difference of large numbers.
        assert getattr(found, name)[0].item() == pytest.approx(
            expected.item(), rel=1e-4, abs=1e-6
        ), name
    assert relative(gradient[0], slow_gradient(here, one)) < 1e-3


@pytest.mark.parametrize("kind", ["plain", "a mask", "a blend"])
def test_a_resnet_equals_a_slow_reference(kind: str) -> None:
    one = {
        "plain": item(**WEIGHTS),
        "a mask": masked(2, **WEIGHTS),
        "a blend": item(num_styles=2, style_blend=(1.0, 2.0), **WEIGHTS),
    }[kind]
    found, gradient = Objective.of([one], resnet50())(image()[None])
    expected = slow_losses(image(), one, name="resnet50")
    for name in LOSS_NAMES:
        loss = getattr(found, name)[0].item()
        assert loss == pytest.approx(expected[name].item(), rel=1e-3), name
    assert relative(gradient[0], slow_gradient(image(), one, name="resnet50")) < 1e-3


@pytest.mark.parametrize("kind", ["plain", "a mask"])
def test_bfloat16_is_close_to_float32(kind: str) -> None:
    one = item(**WEIGHTS) if kind == "plain" else masked(2, **WEIGHTS)
    exact, exact_gradient = Objective.of([one], vgg16())(image()[None])
    close, gradient = Objective.of([one], vgg16(precision="bfloat16"))(image()[None])
    for name in ("content", "style", "total"):
        assert getattr(close, name).item() == pytest.approx(getattr(exact, name).item(), rel=0.03)
    assert gradient.dtype == torch.float32
    # Half the digits turn some ReLUs and maxima, which the way back through them feels.
    assert torch.cosine_similarity(gradient.flatten(), exact_gradient.flatten(), dim=0) > 0.9


@pytest.mark.parametrize("tile_px", [None, 32])
def test_neighbours_are_searched_for_in_what_the_network_multiplies_in(
    monkeypatch: pytest.MonkeyPatch, tile_px: int | None
) -> None:
    network = vgg16(precision="bfloat16")
    kinds: set[torch.dtype] = set()
    search = nearest._nearest

    def seen(table: Tensor, candidates: Tensor) -> Tensor:
        kinds.update((table.dtype, candidates.dtype))
        return search(table.float(), candidates.float())

    monkeypatch.setattr(nearest, "_nearest", seen)
    objective = Objective.of([item(**WEIGHTS)], network, tile_px=tile_px)
    for kind in (torch.float32, torch.bfloat16):
        kinds.clear()
        monkeypatch.setattr(network, "product_dtype", kind)
        objective(image()[None])
        assert kinds == {kind}


def test_losses_are_nothing_at_their_targets() -> None:
    """The content is its own style, and has a little more grain than costs nothing."""
    one = item(detail_weight=1.0, noise_weight=0.0)
    same = replace(one, styles=(one.content,))
    found, gradient = Objective.of([same], vgg16())(one.content[None])
    for name in ("content", "style", "detail", "contrast"):
        assert getattr(found, name).item() == pytest.approx(0, abs=1e-8), name
    assert gradient.abs().max() < 1e-6


def test_a_blend_is_of_shares_and_all_of_one_style_is_that_style() -> None:
    def style_loss(**params: Any) -> float:
        found, _ = Objective.of([item(num_styles=2, **params)], vgg16())(image()[None])
        return found.style.item()

    assert style_loss() == pytest.approx(style_loss(style_blend=(2.0, 2.0)), rel=1e-6)
    first, _ = Objective.of([item()], vgg16())(image()[None])
    assert style_loss(style_blend=(1.0, 0.0)) == pytest.approx(first.style.item(), rel=1e-6)
    assert style_loss() != pytest.approx(first.style.item(), rel=0.01)


def test_a_mask_that_is_white_is_none_and_one_that_is_black_leaves_the_style_out() -> None:
    plain, plain_gradient = Objective.of([item()], vgg16())(image()[None])
    white = replace(item(), mask=torch.ones(1, 48, 64))
    found, gradient = Objective.of([white], vgg16())(image()[None])
    assert found.style.item() == pytest.approx(plain.style.item(), rel=1e-5)
    assert relative(gradient, plain_gradient) < 1e-4
    black = replace(item(content_weight=0.0, noise_weight=0.0), mask=torch.zeros(1, 48, 64))
    found, gradient = Objective.of([black], vgg16())(image()[None])
    assert found.total.item() == 0
    assert gradient.abs().max() == 0


def test_a_region_that_no_pixel_takes_draws_nothing() -> None:
    """Of three styles, the one in the middle."""
    mask = torch.zeros(1, 48, 64)
    mask[..., 32:] = 1
    three = replace(item(num_styles=3), mask=mask)
    two = replace(three, styles=(three.styles[0], three.styles[2]))
    a, a_gradient = Objective.of([three], vgg16())(image()[None])
    b, b_gradient = Objective.of([two], vgg16())(image()[None])
    assert a.total.item() == pytest.approx(b.total.item(), rel=1e-5)
    assert relative(a_gradient, b_gradient) < 1e-4


@pytest.mark.parametrize("kind", ["plain", "a mask"])
def test_items_that_go_through_the_network_together_have_the_same_losses(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The way of a GPU, where rounding may differ but nothing else."""
    items = [
        item(0, num_styles=2),
        item(1, num_styles=2, content_weight=1.0, detail_weight=1.0, style_blend=(1.0, 3.0)),
        item(2, num_styles=2, tv_weight=1.0),
    ]
    if kind == "a mask":
        masks = [mask_tensor(48, 64), mask_tensor(48, 64).flip(2), 1 - mask_tensor(48, 64)]
        items = [replace(one, mask=mask) for one, mask in zip(items, masks, strict=True)]
    images = torch.stack([picture_tensor(48, 64, seed=s) for s in (8, 5, 9)])
    one_by_one = Objective.of(items, vgg16())
    monkeypatch.setattr("nst.painting.objective.runs_items_together", lambda device, tile_px: True)
    together = Objective.of(items, vgg16())
    apart, apart_gradient = one_by_one(images)
    joint, joint_gradient = together(images)
    for name in LOSS_NAMES:
        torch.testing.assert_close(getattr(joint, name), getattr(apart, name), rtol=1e-4, atol=1e-9)
    assert relative(joint_gradient, apart_gradient) < 1e-3
    layers = one_by_one.style_by_layer(images)
    for layer, found in together.style_by_layer(images).items():
        torch.testing.assert_close(found, layers[layer], rtol=1e-4, atol=0)


def test_shares_of_the_style_by_layer_sum_to_the_style_loss() -> None:
    one = masked(2)
    objective = Objective.of([one], vgg16())
    by_layer = objective.style_by_layer(image()[None])
    shares = vgg16().profile.style_shares
    assert set(by_layer) == set(shares)
    found, _ = objective(image()[None])
    total = sum(share * by_layer[layer].item() for layer, share in shares.items())
    assert total == pytest.approx(found.style.item(), rel=1e-5)


def test_items_that_do_not_run_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [item(0), item(1)]
    objective = Objective.of(items, vgg16())
    images = torch.stack([image(), image()])
    both, both_gradient = objective(images)
    calls = count_passes(monkeypatch)
    found, gradient = objective(images, [False, True])
    assert len(calls) == 1
    assert found.total[0].item() == 0
    assert found.total[1] == both.total[1]
    assert gradient[0].abs().max() == 0
    assert torch.equal(gradient[1], both_gradient[1])


def test_the_images_are_left_as_they_are() -> None:
    images = image()[None]
    before = images.clone()
    Objective.of([item(tv_weight=1.0)], vgg16())(images)
    assert torch.equal(images, before)
    assert not images.requires_grad


def count_passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The sizes of what goes through any backbone from here on."""
    sizes: list[tuple[int, ...]] = []
    through = Backbone.through

    def counted(self: Backbone, images: Tensor, tap: Callable[[str, Tensor], Tensor]) -> Tensor:
        sizes.append(tuple(images.shape[2:]))
        return through(self, images, tap)

    monkeypatch.setattr(Backbone, "through", counted)
    return sizes


@pytest.mark.parametrize("network", ["vgg16", "resnet50"])
def test_a_style_under_a_key_goes_through_the_network_once(
    monkeypatch: pytest.MonkeyPatch, network: str
) -> None:
    backbone = vgg16() if network == "vgg16" else resnet50()
    first = replace(item(0, num_styles=2), style_keys=("one", "two"))
    other_content = replace(first, content=item(3).content)
    memo: StyleMemo = {}
    sizes = count_passes(monkeypatch)
    Objective.of([first], backbone, memo=memo)
    assert {(64, 50), (64, 57)} < set(sizes)
    sizes.clear()
    recalled = Objective.of([other_content], backbone, memo=memo)
    assert sizes == [(48, 64)]
    afresh = Objective.of([other_content], backbone)
    sizes.clear()
    found, gradient = recalled(image()[None])
    expected, expected_gradient = afresh(image()[None])
    assert torch.equal(found.total, expected.total)
    assert torch.equal(gradient, expected_gradient)


def test_items_of_one_batch_share_a_style_too(monkeypatch: pytest.MonkeyPatch) -> None:
    first = replace(item(0), style_keys=("one",))
    second = replace(item(1), styles=first.styles, style_keys=("one",))
    sizes = count_passes(monkeypatch)
    Objective.of([first, second], vgg16())
    assert sizes.count((64, 50)) == 1


@pytest.mark.parametrize("kind", ["size", "layers", "key"])
def test_a_style_of_another_size_layer_or_key_is_looked_at_again(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    first = replace(item(0), style_keys=("one",))
    other = {
        "size": replace(first, styles=(first.styles[0][:, :, :-1],)),
        "layers": replace(item(0, style_layers="relu1_1 relu2_1"), style_keys=("one",)),
        "key": replace(first, style_keys=("two",)),
    }[kind]
    memo: StyleMemo = {}
    Objective.of([first], vgg16(), memo=memo)
    sizes = count_passes(monkeypatch)
    Objective.of([other], vgg16(), memo=memo)
    assert tuple(other.styles[0].shape[1:]) in sizes
    assert len(sizes) == 2


def test_what_is_remembered_of_a_style_depends_on_no_picture_before() -> None:
    """Which pictures a process has made before is a matter of lanes, of chance and of resuming."""
    style = picture_tensor(45, 349, seed=100)
    one = replace(item(0, **WEIGHTS), styles=(style,), style_keys=("one",))
    memo: StyleMemo = {}
    # A picture that went through the network in tiles, and its style with it.
    Objective.of([one], vgg16(), memo=memo, tile_px=112)
    found, gradient = Objective.of([one], vgg16(), memo=memo)(image()[None])
    expected, expected_gradient = Objective.of([one], vgg16())(image()[None])
    assert torch.equal(found.total, expected.total)
    assert torch.equal(gradient, expected_gradient)


def test_styles_without_keys_are_never_taken_for_each_other() -> None:
    memo: StyleMemo = {}
    first = item(0)
    second = replace(first, styles=(first.styles[0].flip(0),))
    Objective.of([first], vgg16(), memo=memo)
    found, _ = Objective.of([second], vgg16(), memo=memo)(image()[None])
    expected, _ = Objective.of([second], vgg16())(image()[None])
    assert torch.equal(found.total, expected.total)
    assert not memo


def test_a_faint_style_is_measured_in_a_share_of_the_content() -> None:
    """Else the least light and shade in a picture would be a loss beyond measure."""
    one = item()
    faint = replace(one, styles=(0.01 * one.styles[0],))
    losses, _ = Objective.of([faint], vgg16())(one.content[None])
    # All of a content's features are at most 1 / 0.5^2 times what it is measured in.
    assert 1 < losses.style.item() < 4.1
    plain, _ = Objective.of([one], vgg16())(one.content[None])
    assert losses.style.item() > plain.style.item()


def targets_of_item(**params: Any) -> Targets:
    return Objective.of([item(**params)], vgg16()).targets[0]


def balance_of(content: float, style: float, **params: Any) -> Balance:
    return balanced(torch.tensor([content]), torch.tensor([style]), targets_of_item(**params))


def test_losses_weigh_more_the_higher_they_are() -> None:
    low, high = balance_of(0.6, 0.01), balance_of(1.2, 0.04)
    assert high.content.item() == pytest.approx(2**7 * low.content.item(), rel=1e-4)
    assert high.style.item() == pytest.approx(2 * low.style.item(), rel=1e-4)


def test_what_a_loss_weighs_is_the_slope_of_the_total() -> None:
    content = torch.tensor([0.5, 1.1, 3.4, 9.0], dtype=torch.float64, requires_grad=True)
    style = torch.tensor([0.01, 0.1, 1.0, 30.0], dtype=torch.float64, requires_grad=True)
    found = balanced(content, style, targets_of_item())
    slopes = torch.autograd.grad(found.total.sum(), [content, style])
    torch.testing.assert_close(slopes[0], found.content)
    torch.testing.assert_close(slopes[1], found.style)


def test_the_balance_hangs_on_the_ratio_of_the_weights() -> None:
    once, twice = balance_of(1.0, 0.05), balance_of(1.0, 0.05, content_weight=0.1, style_weight=2.0)
    assert twice.content.item() == pytest.approx(2 * once.content.item(), rel=1e-5)
    assert twice.style.item() == pytest.approx(2 * once.style.item(), rel=1e-5)
    # With more style the content is let go further before it pulls as hard.
    strong = balance_of(1.0, 0.05, style_weight=10.0)
    assert strong.content.item() < 0.1 * once.content.item()


@pytest.mark.parametrize("weights", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (1e6, 1e-6), (1e-6, 1e6)])
def test_extreme_weights_give_finite_numbers(weights: tuple[float, float]) -> None:
    found = balance_of(50.0, 100.0, content_weight=weights[0], style_weight=weights[1])
    for name in ("total", "content", "style"):
        assert getattr(found, name).isfinite().all(), name


@pytest.mark.parametrize("method", ["pyramid", "gatys"])
@pytest.mark.parametrize("tile_px", [None, 32])
def test_what_is_transparent_of_a_style_has_no_part_in_its_statistics(
    tile_px: int | None, method: str
) -> None:
    """Against the sums over the visible positions, one by one: Gatys et al. (2017, section 4)."""
    style, alpha = picture_tensor(64, 96, seed=5), torch.zeros(1, 64, 96)
    alpha[:, 16:48, 32:64] = 1
    alpha[:, 16:48, 64:80] = 0.5
    one = replace(item(method=method), styles=(style,), style_alphas=(alpha,))
    backbone = vgg16()
    targets = Objective.of([one], backbone, tile_px=tile_px).targets[0]
    features = backbone(style[None])
    for layer, target in targets.styles.items():
        found = features[layer][0].double()
        guide = functional.adaptive_avg_pool2d(alpha, found.shape[1:])[0].double()
        where = guide.nonzero().tolist()
        mean = torch.zeros(len(found), dtype=torch.float64)
        if method == "pyramid":
            for y, x in where:
                mean += found[:, y, x] * guide[y, x] ** 2 / guide.square().sum()
            assert target.moments.means is not None
            assert relative(target.moments.means[0, 0].double(), mean) < 1e-3
        expected = torch.zeros(len(found), len(found), dtype=torch.float64)
        for y, x in where:
            guided = found[:, y, x] * guide[y, x]
            expected += guided[:, None] * guided
        expected /= guide.square().sum()
        assert relative(target.moments.grams[0, 0].double(), expected) < 1e-3


def test_an_alpha_of_1_everywhere_is_none() -> None:
    opaque = replace(item(), style_alphas=(torch.ones(1, *item().styles[0].shape[1:]),))
    one, other = (Objective.of([each], vgg16()).targets[0] for each in (item(), opaque))
    for layer, target in one.styles.items():
        assert relative(other.styles[layer].moments.grams, target.moments.grams) < 1e-5


@pytest.mark.parametrize("num_items", [1, 2])
def test_algorithms_are_tried_at_the_first_look_at_what_is_painted_alone(
    num_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And at no style; items that go through the network together have another shape there."""
    tries = False
    looks: list[tuple[tuple[int, ...], bool]] = []

    @contextmanager
    def trying(_: torch.device) -> Iterator[None]:
        nonlocal tries
        tries = True
        yield
        tries = False

    def look(network: Backbone, images: Tensor) -> Any:
        looks.append((tuple(images.shape), tries))
        return forward(network, images)

    forward = Backbone.forward
    monkeypatch.setattr(Backbone, "forward", look)
    monkeypatch.setattr("nst.painting.targets.same_shapes", trying)
    monkeypatch.setattr("nst.painting.objective.runs_items_together", lambda *_: True)
    layers: dict[str, Any] = {"content_layers": "relu1_1", "style_layers": "relu1_1"}
    one = replace(item(**layers), styles=(picture_tensor(32, 40, seed=5),))
    Objective.of([one] * num_items, vgg16(**layers))
    is_alone = num_items == 1
    assert looks == [((1, 3, 48, 64), is_alone), ((1, 3, 32, 40), False)] * num_items
