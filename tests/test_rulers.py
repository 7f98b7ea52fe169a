from dataclasses import asdict, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nst.painting import metrics, perceptual
from nst.painting.backbones import Backbone, load_backbone
from nst.painting.colors import as_grey, on_own_mean
from nst.painting.rulers import Rulers, Sources
from nst.painting.weights import load_lpips_heads, load_state, obtain
from nst.profiles import PROFILES
from tests.helpers import noise, picture_tensor

CPU = torch.device("cpu")
BY_FEATURES = ("lpips", "lpips_grey", "cfsd", "style_distance")


@cache
def network(name: str) -> Backbone:
    """All layers of an embedded network."""
    return load_backbone(
        name, load_state(obtain(name)), PROFILES[name].layers, device=CPU, compact=True
    )


def sources(*styles: Tensor, content: Tensor, **values: Any) -> Sources:
    defaults: dict[str, Any] = {
        "content": content,
        "content_key": "content",
        "styles": styles,
        "style_keys": tuple(f"style {n}" for n in range(len(styles))),
        "shares": (1 / len(styles),) * len(styles),
    }
    return Sources(**defaults | values)


PICTURE, CONTENT = picture_tensor(48, 64, seed=1), picture_tensor(48, 64)
STYLES = picture_tensor(50, 40, seed=2), picture_tensor(40, 72, seed=3)


def at_most_256(image: Tensor) -> Tensor:
    height, width = image.shape[1:]
    scale = min(1, 256 / max(height, width))
    size = (round(height * scale), round(width * scale))
    return functional.adaptive_avg_pool2d(image, size)[None]


@pytest.mark.parametrize(("painter", "judge"), [("vgg16", "vgg19"), ("resnet50", "vgg16")])
def test_every_measure_is_what_its_function_says_of_the_pictures(painter: str, judge: str) -> None:
    picture, content = picture_tensor(60, 300, seed=1), picture_tensor(60, 300)
    style = (picture_tensor(280, 50, seed=2) + 0.1 * noise(torch.empty(3, 280, 50))).clamp(0, 1)
    found = Rulers(CPU).measure(picture, sources(style, content=content), painter)
    a, b, s = (at_most_256(each) for each in (picture, content, style))
    vgg16, vgg19, heads = network("vgg16"), network("vgg19"), load_lpips_heads()
    grams = [perceptual.grams(network(judge)(each)) for each in (a, s)]
    histograms = [metrics.color_histograms(each) for each in (a, s)]
    energies = [metrics.fine_energy(each[None]) for each in (picture, style)]
    expected = {
        "ssim": metrics.luminance_ssim(picture[None], content[None]),
        "lpips": perceptual.lpips(vgg16(a), vgg16(b), heads),
        "lpips_grey": perceptual.lpips(vgg16(as_grey(a)), vgg16(as_grey(b)), heads),
        "cfsd": perceptual.cfsd(vgg19(b)["relu3_1"], vgg19(a)["relu3_1"]),
        "style_distance": perceptual.style_distance(*grams),
        "color_distance": metrics.color_distance(*histograms),
        "noise": metrics.relative_noise(*energies),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value.item(), rel=1e-3), name
    assert found.is_flat is False


def test_the_content_is_no_distance_from_itself_nor_the_style_from_itself() -> None:
    found = Rulers(CPU).measure(CONTENT, sources(CONTENT, content=CONTENT), "vgg19")
    for name in (*BY_FEATURES, "color_distance"):
        assert getattr(found, name) == pytest.approx(0, abs=1e-6), name
    assert (found.ssim, found.noise) == pytest.approx((1, 1))


def test_what_is_known_of_a_content_and_a_style_is_used_again() -> None:
    rulers = Rulers(CPU)
    known = sources(*STYLES, content=CONTENT)
    before = rulers.measure(PICTURE, known, "vgg16")
    others = replace(known, content=1 - CONTENT, styles=(1 - STYLES[0], 1 - STYLES[1]))
    again = rulers.measure(PICTURE, others, "vgg16")
    assert replace(again, ssim=before.ssim) == before
    new = replace(others, content_key="other", style_keys=("other 0", "other 1"))
    found = rulers.measure(PICTURE, new, "vgg16")
    for name in (*BY_FEATURES, "color_distance"):
        assert getattr(found, name) != pytest.approx(getattr(before, name), rel=1e-3), name


def test_what_was_measured_before_changes_no_measure() -> None:
    rulers = Rulers(CPU)
    fresh = {}
    for painter in ("vgg16", "vgg19"):
        for number in range(4):
            of = sources(STYLES[number % 2], content=picture_tensor(48, 64, seed=10 + number))
            of = replace(of, content_key=str(number), style_keys=(str(number % 2),))
            fresh[painter, number] = Rulers(CPU).measure(PICTURE, of, painter)
            assert rulers.measure(PICTURE, of, painter) == fresh[painter, number]
    assert len({each.style_distance for each in fresh.values()}) == 4
    assert len({each.cfsd for each in fresh.values()}) == 4


def test_several_styles_count_as_their_mixture() -> None:
    def measured(*shares: float) -> Any:
        of = sources(*STYLES, content=CONTENT, shares=shares)
        return Rulers(CPU).measure(PICTURE, of, "vgg19")

    alone = [
        Rulers(CPU).measure(PICTURE, sources(style, content=CONTENT), "vgg19") for style in STYLES
    ]
    for name in ("style_distance", "color_distance", "noise"):
        ends = [getattr(measured(1.0, 0.0), name), getattr(measured(0.0, 1.0), name)]
        assert ends == pytest.approx([getattr(each, name) for each in alone]), name
    energies = torch.stack([metrics.fine_energy(style[None]) for style in STYLES])
    own = metrics.fine_energy(PICTURE[None])
    mixed = measured(0.25, 0.75)
    assert mixed.noise == pytest.approx((own / (0.25 * energies[0] + 0.75 * energies[1])).item())
    grams = [perceptual.grams(network("vgg16")(style[None])) for style in STYLES]
    blend = {layer: 0.25 * gram + 0.75 * grams[1][layer] for layer, gram in grams[0].items()}
    distance = perceptual.style_distance(perceptual.grams(network("vgg16")(PICTURE[None])), blend)
    assert mixed.style_distance == pytest.approx(distance.item(), rel=1e-3)


def test_what_is_too_thin_for_a_network_is_measured_by_its_pixels_alone() -> None:
    thin = picture_tensor(15, 64)
    found = Rulers(CPU).measure(thin, sources(*STYLES, content=thin), "vgg16")
    assert [getattr(found, name) for name in BY_FEATURES] == [None] * 4
    assert (found.ssim, found.color_distance > 0, found.noise > 0) == (1, True, True)
    beside_thin = Rulers(CPU).measure(PICTURE, sources(STYLES[0], thin, content=CONTENT), "vgg16")
    assert beside_thin.style_distance is None
    assert beside_thin.lpips is not None
    assert beside_thin.cfsd is not None


def test_a_flat_style_of_one_pixel_divides_nothing_by_zero() -> None:
    dot = torch.full((3, 1, 1), 0.5)
    found = Rulers(CPU).measure(PICTURE, sources(dot, content=CONTENT), "vgg16")
    expected = metrics.fine_energy(PICTURE[None]) / metrics.MIN_FINE_ENERGY
    assert found.noise == pytest.approx(expected.item())
    assert 0 < found.color_distance < 1


def test_a_transparent_style_is_measured_as_what_is_visible_of_it() -> None:
    """A picture that is its visible half is at no distance, however it is grounded."""
    visible, content = picture_tensor(64, 64, seed=3), picture_tensor(64, 64)
    on_white = torch.cat([torch.ones(3, 64, 64), visible], dim=2)
    alpha = torch.cat([torch.zeros(1, 64, 64), torch.ones(1, 64, 64)], dim=2)
    grounded = on_own_mean(on_white, alpha)
    plain = Rulers(CPU).measure(visible, sources(on_white, content=content), "vgg19")
    values = {"style_alphas": (alpha,)}
    found = Rulers(CPU).measure(visible, sources(grounded, content=content, **values), "vgg19")
    assert found.color_distance == pytest.approx(0, abs=1e-3)
    assert found.style_distance is not None
    assert plain.style_distance is not None
    assert found.style_distance < 0.25 * plain.style_distance
    assert abs(found.noise - 1) < abs(plain.noise - 1)


def test_pictures_that_are_measured_together_have_the_measures_of_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The way of a GPU; the second picture's style is too elongated for a network."""
    pictures = [picture_tensor(48, 64, seed=seed) for seed in (1, 4, 5)]
    contents = [picture_tensor(48, 64, seed=seed) for seed in (0, 6, 0)]
    styles = [STYLES[0], picture_tensor(300, 8, seed=7), STYLES[1]]
    of = [
        sources(style, content=content, content_key=f"content {n}", style_keys=(f"style {n}",))
        for n, (style, content) in enumerate(zip(styles, contents, strict=True))
    ]
    alone = Rulers(CPU).measure_all(pictures, of, "vgg16")
    assert alone == [Rulers(CPU).measure(*each, "vgg16") for each in zip(pictures, of, strict=True)]
    monkeypatch.setattr("nst.painting.rulers.measures_together", lambda device: True)
    together = Rulers(CPU).measure_all(pictures, of, "vgg16")
    assert [each.style_distance is None for each in together] == [False, True, False]
    for found, expected in zip(together, alone, strict=True):
        known = {name: value for name, value in asdict(expected).items() if value is not None}
        assert {name: asdict(found)[name] for name in known} == pytest.approx(known, rel=1e-3)
