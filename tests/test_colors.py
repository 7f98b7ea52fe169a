from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst.painting import colors
from tests.helpers import picture_tensor, with_threads

TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)


def flat(*colour: float, height: int = 3, width: int = 4) -> Tensor:
    return torch.tensor(colour)[:, None, None].repeat(1, height, width)


def muted(height: int, width: int, *, seed: int) -> Tensor:
    """Colours well within [0, 1], whose channels have unlike means and are correlated."""
    mixing = torch.tensor([[0.3, 0.1, 0.0], [0.05, 0.2, 0.05], [0.1, 0.0, 0.15]])
    mixed = torch.einsum("ij,jhw->ihw", mixing, picture_tensor(height, width, seed=seed))
    return mixed + torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(seed)) * 0.2 + 0.2


def columns(picture: Tensor) -> NDArray[np.float64]:
    return picture.double().flatten(1).numpy()


def covariance(picture: Tensor) -> NDArray[np.float64]:
    return np.cov(columns(picture), ddof=0)


def monge_kantorovich(picture: Tensor, target: Tensor) -> NDArray[np.float64]:
    """The transfer by another formula for its matrix, C_x^-1 (C_x C_t)^1/2, without any eps."""
    values, vectors = np.linalg.eig(covariance(picture) @ covariance(target))
    root = vectors @ np.diag(np.sqrt(values)) @ np.linalg.inv(vectors)
    matrix = np.linalg.inv(covariance(picture)) @ root
    mean, target_mean = (columns(p).mean(axis=1, keepdims=True) for p in (picture, target))
    matched: NDArray[np.float64] = matrix @ (columns(picture) - mean) + target_mean
    return matched


def pictures_without_much_colour() -> list[Tensor]:
    grey = picture_tensor(6, 8)[:1].repeat(3, 1, 1)
    on_white = picture_tensor(6, 8)
    on_white[:, :, 1:] = 1
    one_channel = picture_tensor(6, 8) * torch.tensor(RED)[:, None, None]
    return [
        grey,
        on_white,
        one_channel,
        flat(*BLACK),
        flat(*WHITE),
        flat(0.2, 0.5, 0.7),
        flat(*RED),
    ]


def one_pixel() -> Tensor:
    return flat(0.2, 0.5, 0.7, height=1, width=1)


def left_and_right(height: int, width: int) -> Tensor:
    right = torch.zeros(1, height, width)
    right[..., width // 2 :] = 1
    return torch.cat([1 - right, right])


def test_each_region_is_recoloured_to_its_own_style() -> None:
    content = muted(20, 30, seed=1)
    styles = (muted(10, 12, seed=2), muted(14, 9, seed=3))
    found = colors.recolored(content, styles, (None, None), share=1, guides=left_and_right(20, 30))
    for region, style in ((slice(0, 15), styles[0]), (slice(15, 30), styles[1])):
        np.testing.assert_allclose(
            columns(found[..., region]).mean(axis=1), columns(style).mean(axis=1), atol=1e-3
        )
        np.testing.assert_allclose(covariance(found[..., region]), covariance(style), atol=1e-3)


def test_where_no_style_paints_colours_stay_those_of_the_content() -> None:
    content, style = muted(20, 30, seed=1), muted(10, 12, seed=2)
    guides = left_and_right(20, 30)[1:]
    found = colors.recolored(content, (style,), (None,), share=1, guides=guides)
    assert torch.equal(found[..., :15], content[..., :15])
    assert not torch.allclose(found[..., 15:], content[..., 15:], atol=0.05)
    none = colors.recolored(content, (style,), (None,), share=1, guides=torch.zeros(1, 20, 30))
    assert torch.equal(none, content)
    half = colors.recolored(content, (style,), (None,), share=0.5, guides=guides)
    torch.testing.assert_close(half, (content + found) / 2)


def test_the_styles_of_a_blend_count_by_its_shares_and_by_what_is_visible() -> None:
    content, one, other = muted(20, 30, seed=1), muted(40, 50, seed=2), muted(6, 7, seed=3)
    visible = torch.zeros(1, 6, 7)
    visible[..., :4] = 1
    found = colors.recolored(content, (one, other), (None, visible), share=1, blend=[3.0, 1.0])
    # 2000 pixels of one, and the 24 of the other as often as a third of that.
    table = torch.cat([one.flatten(1).repeat(1, 36), other[..., :4].flatten(1).repeat(1, 1000)], 1)
    torch.testing.assert_close(
        found, colors.match_colors(content, table[:, None]), atol=1e-4, rtol=0
    )


def test_luminance_is_that_of_yiq_for_any_batch() -> None:
    pictures = torch.stack([picture_tensor(4, 5), picture_tensor(4, 5, seed=1)])[None]
    luma = colors.luminance(pictures)
    assert luma.shape == (1, 2, 1, 4, 5)
    assert luma.dtype == torch.float32
    expected = np.einsum("c,nbchw->nbhw", TO_YIQ[0], pictures.double().numpy())[:, :, None]
    np.testing.assert_allclose(luma.numpy(), expected, atol=1e-6)


def test_white_has_a_luminance_of_exactly_1() -> None:
    assert torch.equal(colors.luminance(flat(*WHITE)), torch.ones(1, 3, 4))


def test_grey_has_one_value_in_all_channels_and_stays_as_it_is() -> None:
    picture = picture_tensor(4, 5)
    grey = colors.as_grey(picture)
    assert grey.shape == picture.shape
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(grey[0], grey[2])
    torch.testing.assert_close(grey[:1], colors.luminance(picture))
    torch.testing.assert_close(colors.as_grey(grey), grey)


def test_matched_colours_have_the_mean_and_covariance_of_the_target() -> None:
    picture, target = muted(24, 32, seed=0), muted(20, 20, seed=1)
    matched = colors.match_colors(picture, target)
    assert matched.min() > 0
    assert matched.max() < 1
    np.testing.assert_allclose(columns(matched).mean(axis=1), columns(target).mean(axis=1), 1e-5)
    np.testing.assert_allclose(covariance(matched), covariance(target), atol=1e-5)
    # What is compared differs by much more than the tolerance to begin with.
    assert np.abs(covariance(picture) - covariance(target)).max() > 1e-3


def test_matched_colours_equal_a_reference() -> None:
    picture, target = muted(24, 32, seed=0), muted(20, 20, seed=1)
    matched = colors.match_colors(picture, target)
    assert matched.dtype == torch.float32
    np.testing.assert_allclose(columns(matched), monge_kantorovich(picture, target), atol=1e-3)


@pytest.mark.parametrize("match", [colors.match_colors, colors.match_luminance])
def test_a_match_is_clamped(match: Callable[[Tensor, Tensor], Tensor]) -> None:
    spots = flat(0.5, 0.5, 0.5, height=8, width=8)
    spots[:, 0, 0], spots[:, 0, 1] = 0.0, 1.0
    matched = match(spots, picture_tensor(8, 8))
    assert matched.min() == 0
    assert matched.max() == 1


def test_colours_matched_to_themselves_stay() -> None:
    for picture in (picture_tensor(6, 8), one_pixel(), *pictures_without_much_colour()):
        torch.testing.assert_close(
            colors.match_colors(picture, picture), picture, rtol=0, atol=1e-6
        )


def test_pictures_without_much_colour_can_be_matched_and_be_targets() -> None:
    colourful = picture_tensor(6, 8, seed=1)
    for poor in (one_pixel(), *pictures_without_much_colour()):
        for picture, target in ((poor, colourful), (colourful, poor)):
            for match in (colors.match_colors, colors.match_luminance):
                matched = match(picture, target)
                assert matched.shape == picture.shape
                assert matched.isfinite().all()
                assert matched.min() >= 0
                assert matched.max() <= 1


def test_a_flat_picture_becomes_the_mean_of_its_target() -> None:
    target = picture_tensor(6, 8)
    mean = target.mean(dim=(1, 2))
    for picture in (flat(*RED), flat(*WHITE), one_pixel()):
        expected = mean[:, None, None].expand_as(picture)
        torch.testing.assert_close(colors.match_colors(picture, target), expected)
        luma = colors.luminance(target).mean().expand_as(picture)
        torch.testing.assert_close(colors.match_luminance(picture, target), luma)


def test_a_flat_target_leaves_nothing_but_its_colour() -> None:
    matched = colors.match_colors(picture_tensor(6, 8), flat(0.2, 0.5, 0.7))
    offsets = matched - flat(0.2, 0.5, 0.7, height=6, width=8)
    assert offsets.square().mean().sqrt() < 1 / 255


def test_the_noise_of_a_nearly_flat_picture_is_not_blown_up_to_the_target() -> None:
    noise = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    target = picture_tensor(8, 8)
    matched = colors.match_colors(0.5 + noise / 255, target)
    assert matched.std() < target.std() / 2


def test_a_grey_picture_takes_the_colours_of_a_line_through_those_of_the_target() -> None:
    grey = (picture_tensor(6, 8)[:1] * 0.2 + 0.4).repeat(3, 1, 1)
    matched = columns(colors.match_colors(grey, muted(8, 8, seed=1)))
    values = np.linalg.svd(matched - matched.mean(axis=1, keepdims=True), compute_uv=False)
    assert values[0] > 0.1
    assert values[1] < 1e-5


def test_matched_luminance_is_grey_and_has_the_mean_and_deviation_of_the_target() -> None:
    picture, target = muted(24, 32, seed=0), muted(20, 20, seed=1) * 0.6
    matched = colors.match_luminance(picture, target)
    assert matched.dtype == torch.float32
    assert torch.equal(matched[0], matched[1])
    assert torch.equal(matched[0], matched[2])
    luma = TO_YIQ[0] @ columns(target)
    np.testing.assert_allclose(columns(matched)[0].mean(), luma.mean(), rtol=1e-5)
    np.testing.assert_allclose(columns(matched)[0].std(), luma.std(), rtol=2e-3)
    shape = np.corrcoef(columns(matched)[0], TO_YIQ[0] @ columns(picture))
    np.testing.assert_allclose(shape, 1, atol=1e-6)


def test_luminance_matched_to_itself_stays() -> None:
    picture = picture_tensor(6, 8)
    torch.testing.assert_close(colors.match_luminance(picture, picture), colors.as_grey(picture))


def saturated() -> Tensor:
    """Every colour whose channels are 0, 1/2 or 1, [3,9,3]."""
    levels = torch.tensor([0.0, 0.5, 1.0])
    return torch.cartesian_prod(levels, levels, levels).T.reshape(3, 9, 3)


def painted_and_contents() -> list[tuple[Tensor, Tensor]]:
    return [
        (picture_tensor(9, 3), picture_tensor(9, 3, seed=1)),
        *((picture_tensor(9, 3, seed=seed), saturated()) for seed in range(3)),
        *((flat(level, level, level, height=9, width=3), saturated()) for level in (0, 0.4, 1)),
        *((saturated(), flat(*colour, height=9, width=3)) for colour in (RED, BLUE, WHITE, BLACK)),
    ]


def test_colours_of_the_content_leave_the_painted_luma() -> None:
    for painted, content in painted_and_contents():
        mixed = colors.with_colors_of(painted, content)
        assert mixed.dtype == torch.float32
        assert mixed.min() >= 0
        assert mixed.max() <= 1
        luma = TO_YIQ[0] @ columns(painted)
        np.testing.assert_allclose(TO_YIQ[0] @ columns(mixed), luma, rtol=0, atol=1e-5)


def test_colours_of_the_content_keep_their_direction_and_are_as_strong_as_fits() -> None:
    num_weakened = 0
    for painted, content in painted_and_contents():
        luma = TO_YIQ[0] @ columns(painted)
        chroma = columns(content) - TO_YIQ[0] @ columns(content)
        mixed = columns(colors.with_colors_of(painted, content))
        for y, offset, colour in zip(luma, chroma.T, mixed.T, strict=True):
            shares = np.linspace(0, 1, 2001)
            tried = y + shares[:, None] * offset
            fits = ((tried > -1e-6) & (tried < 1 + 1e-6)).all(axis=1)
            expected = TO_YIQ @ tried[fits][-1]
            np.testing.assert_allclose(TO_YIQ @ colour, expected, rtol=0, atol=1e-3)
            num_weakened += not fits[-1]
    assert num_weakened > 50


def test_colours_that_fit_are_those_of_the_content_in_full() -> None:
    painted, content = muted(6, 8, seed=0), muted(6, 8, seed=1)
    mixed = TO_YIQ @ columns(colors.with_colors_of(painted, content))
    np.testing.assert_allclose(mixed[1:], (TO_YIQ @ columns(content))[1:], atol=1e-6)


def test_a_content_painted_with_its_own_colours_stays() -> None:
    for content in (picture_tensor(6, 8), *pictures_without_much_colour()):
        torch.testing.assert_close(
            colors.with_colors_of(content, content), content, rtol=0, atol=1e-6
        )


def test_a_grey_content_makes_it_grey() -> None:
    painted = picture_tensor(3, 4)
    mixed = colors.with_colors_of(painted, flat(0.3, 0.3, 0.3))
    torch.testing.assert_close(mixed, colors.as_grey(painted), rtol=0, atol=1e-6)


def test_colours_of_a_batch_are_those_of_its_items() -> None:
    pairs = painted_and_contents()
    batch = colors.with_colors_of(
        torch.stack([p for p, _ in pairs]), torch.stack([c for _, c in pairs])
    )
    for mixed, (painted, content) in zip(batch, pairs, strict=True):
        assert torch.equal(mixed, colors.with_colors_of(painted, content))


@pytest.mark.parametrize("kind", ["colours", "luma"])
def test_the_number_of_threads_changes_no_bit(kind: str) -> None:
    """Of pictures whose positions threads would share out between them."""
    one, other = picture_tensor(300, 400, seed=0), picture_tensor(400, 300, seed=1)
    match = colors.match_colors if kind == "colours" else colors.match_luminance
    seen = one if kind == "colours" else colors.luminance(one)

    def found() -> tuple[Tensor, Tensor, Tensor]:
        # The moments too: a match is rounded, and tells of their last bits only now and then.
        return match(one, other), *colors._moments(seen)

    alone = with_threads(1, found)
    for number in (2, 3, 8):
        again = with_threads(number, found)
        assert all(torch.equal(a, b) for a, b in zip(again, alone, strict=True)), number


def half_visible(height: int = 40, width: int = 50) -> tuple[Tensor, Tensor]:
    """A picture of which the left half is white and transparent, and its alpha."""
    picture, alpha = picture_tensor(height, width, seed=2).clone(), torch.ones(1, height, width)
    picture[:, :, : width // 2] = 1
    alpha[:, :, : width // 2] = 0
    return picture, alpha


@pytest.mark.parametrize("match", [colors.match_colors, colors.match_luminance])
def test_what_is_transparent_has_no_part_in_the_colours(match: Callable[..., Tensor]) -> None:
    """Against a picture of the visible half alone."""
    style, alpha = half_visible()
    content = picture_tensor(48, 64)
    alone = style[:, :, 25:]
    torch.testing.assert_close(
        match(style, content, weights=alpha)[:, :, 25:], match(alone, content)
    )


def test_a_target_counts_as_far_as_it_is_visible() -> None:
    style, alpha = half_visible()
    content = picture_tensor(48, 64)
    found = colors.match_colors(content, style, target_weights=alpha)
    torch.testing.assert_close(found, colors.match_colors(content, style[:, :, 25:]))
    half = torch.full_like(alpha, 0.5)
    even = colors.match_colors(content, style, target_weights=half)
    torch.testing.assert_close(even, colors.match_colors(content, style))


def test_a_picture_is_put_on_the_mean_of_what_is_visible() -> None:
    style, alpha = half_visible()
    found = colors.on_own_mean(style, alpha)
    torch.testing.assert_close(found[:, :, 25:], style[:, :, 25:])
    mean = style[:, :, 25:].mean(dim=(1, 2))
    torch.testing.assert_close(found[:, 3, 3], mean)
    # A quarter of black on white is a quarter of black on black.
    faint = torch.full((3, 8, 8), 0.75)
    torch.testing.assert_close(
        colors.on_own_mean(faint, torch.full((1, 8, 8), 0.25)), torch.zeros(3, 8, 8)
    )


def test_styles_are_prepared_by_what_is_visible_of_them() -> None:
    style, alpha = half_visible()
    content = picture_tensor(48, 64)
    for mode in ("match", "luminance"):
        _, (clear,) = colors.prepared(content, (style,), (alpha,), mode)
        _, (alone,) = colors.prepared(content, (style[:, :, 25:],), (None,), mode)
        torch.testing.assert_close(clear[:, :, 25:], alone)
