import pytest
import torch
from torch import Tensor

from nst import losses
from nst.engine import Item, Losses, Objective, Stylized, _Best, stylize
from nst.job import PictureParams
from nst.profiles import PROFILES
from tests.helpers import picture_tensor, vgg16


def item(pictures: int = 0, **params: object) -> Item:
    """The n-th content and style, the latter of a size of its own."""
    values = {"size": 64, "steps": 4} | params
    return Item(
        content=picture_tensor(48, 64, seed=pictures),
        style=picture_tensor(64, 50 + pictures, seed=100 + pictures),
        params=PictureParams(**values),  # type: ignore[arg-type]
    )


def run(*items: Item) -> Stylized:
    return stylize(items, vgg16())


def slow_losses(image: Tensor, one: Item) -> dict[str, float]:
    """The loss as the papers write it, layer by layer, in double precision where it can be."""
    network = vgg16()
    shares = PROFILES["vgg16"].shares(one.params.content_layers, one.params.style_layers)
    with torch.no_grad():
        features = {k: v[0].double() for k, v in network(image[None]).items()}
        contents = {k: v[0].double() for k, v in network(one.content[None]).items()}
        styles = {k: v[0].double() for k, v in network(one.style[None]).items()}
    content = 0.0
    for layer, share in shares.content.items():
        p = contents[layer]
        spread = ((p - p.mean(dim=(1, 2), keepdim=True)) ** 2).sum()
        content += share * float(((features[layer] - p) ** 2).sum() / spread)
    style = 0.0
    for layer, share in shares.style.items():
        g, a = (
            torch.einsum("chw,dhw->cd", f, f) / f[0].numel()
            for f in (features[layer], styles[layer])
        )
        style += share * float(((g - a) ** 2).sum() / (a**2).sum())
    tv = float(losses.total_variation_loss(image[None])[0])
    params = one.params
    total = params.content_weight * content + params.style_weight * style + params.tv_weight * tv
    return {"content": content, "style": style, "tv": tv, "total": total}


def test_losses_equal_a_slow_reference() -> None:
    one = item(content_weight=0.3, style_weight=2.0, tv_weight=1.5)
    image = picture_tensor(48, 64, seed=7)
    found, _ = Objective.of([one], vgg16())(image[None])
    for name, expected in slow_losses(image, one).items():
        assert getattr(found, name)[0].item() == pytest.approx(expected, rel=1e-4), name


def test_gradient_is_that_of_the_total() -> None:
    one = item(tv_weight=1.0)
    objective = Objective.of([one], vgg16())
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
    one = item(steps=12, optimizer=optimizer)
    made = run(one)
    expected = slow_losses(made.images[0], one)
    assert made.losses.total.item() == pytest.approx(expected["total"], rel=1e-4)
    assert made.losses.total.item() == pytest.approx(made.curve.total.min().item())


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
        item(0, steps=15, optimizer=optimizer),
        item(1, steps=15, optimizer=optimizer, content_weight=1.0, tv_weight=2.0),
        item(2, steps=15, optimizer=optimizer, init="noise", seed=5),
    ]
    together = run(*items)
    for i, one in enumerate(items):
        alone = run(one)
        assert torch.equal(alone.images[0], together.images[i])
        assert torch.equal(alone.curve.total[:, 0], together.curve.total[:, i])


def test_items_that_go_through_the_network_together_have_the_same_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The way of a GPU, where rounding may differ but nothing else."""
    items = [item(0), item(1, content_weight=1.0), item(2, init="noise")]
    images = torch.stack([picture_tensor(48, 64, seed=s) for s in (7, 8, 9)])
    apart, apart_gradient = Objective.of(items, vgg16())(images)
    monkeypatch.setattr("nst.engine._runs_items_together", lambda device: True)
    joint, joint_gradient = Objective.of(items, vgg16())(images)
    torch.testing.assert_close(joint.total, apart.total, rtol=1e-4, atol=0)
    torch.testing.assert_close(joint_gradient, apart_gradient, rtol=0.01, atol=1e-6)


def test_the_same_seed_gives_the_same_noise_and_another_another() -> None:
    a, b, c = (run(item(steps=2, init="noise", seed=s)).images for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_starts_from_the_content() -> None:
    one = item(steps=1)
    made = run(one)
    assert torch.equal(made.images[0], one.content)
    assert made.losses.content.item() == 0


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


def test_the_best_image_is_kept_when_the_loss_rises_again() -> None:
    def losses_of(*totals: float) -> Losses:
        column = torch.tensor(totals)
        return Losses(content=column, style=column, tv=column, total=column)

    images = [torch.full((2, 3, 2, 2), value) for value in (0.1, 0.2, 0.3)]
    best = _Best(images[0])
    for image, totals in zip(images, ((3.0, 1.0), (1.0, 2.0), (2.0, 3.0)), strict=True):
        best.update(image, losses_of(*totals), torch.zeros_like(image))
    assert best.images[:, 0, 0, 0].tolist() == pytest.approx([0.2, 0.1])
    assert best.losses.total.tolist() == [1.0, 1.0]


def test_each_step_is_reported_once_with_its_losses() -> None:
    seen: list[tuple[int, float]] = []

    def on_step(evaluation: int, losses: Losses) -> None:
        seen.append((evaluation, losses.total.sum().item()))

    made = stylize([item(0), item(1)], vgg16(), on_step=on_step)
    assert [evaluation for evaluation, _ in seen] == [1, 2, 3, 4]
    assert [total for _, total in seen] == pytest.approx(made.curve.total.sum(dim=1).tolist())


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    run(item())
    assert capfd.readouterr() == ("", "")
