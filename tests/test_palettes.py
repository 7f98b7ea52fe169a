from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from nst.painting import colors, palettes, regions
from nst.painting.colors import as_grey
from nst.painting.palettes import (
    Palette,
    chroma,
    chroma_loss,
    chroma_loss_and_gradient,
    palette_of,
)
from tests.helpers import picture_tensor, with_threads

SIZE = (24, 32)


def batch(*seeds: int, size: tuple[int, int] = SIZE) -> Tensor:
    return torch.stack([picture_tensor(*size, seed=seed) for seed in seeds])


def palette(
    *styles: Tensor,
    alphas: Sequence[Tensor | None] = (),
    guides: Tensor | None = None,
    blend: Sequence[float] = (),
    recolored: float = 1.0,
    content: Tensor | None = None,
) -> Palette:
    return palette_of(
        batch(9) if content is None else content,
        styles,
        alphas or [None] * len(styles),
        guides=guides,
        blend=blend or [1.0] * len(styles),
        recolored=recolored,
    )


def halves() -> Tensor:
    """Guides [1,2,24,32] of a left and a right region."""
    right = torch.zeros(1, 1, *SIZE)
    right[..., 16:] = 1
    return torch.cat([1 - right, right], dim=1)


def muted(images: Tensor, share: float) -> Tensor:
    """With so much less chroma around its own mean."""
    return torch.lerp(images, images.mean(dim=(2, 3), keepdim=True), share)


def same_chroma(found: Palette, expected: Palette) -> None:
    torch.testing.assert_close(found.means, expected.means, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.inverses, expected.inverses, rtol=1e-4, atol=1e-4)


def test_chroma_is_nothing_for_a_grey_and_else_the_length_of_what_is_not_grey() -> None:
    pictures = batch(1, 2)
    torch.testing.assert_close(chroma(as_grey(pictures)), torch.zeros(2, 2, *SIZE))
    apart = pictures - pictures.mean(dim=1, keepdim=True)
    torch.testing.assert_close(chroma(pictures).norm(dim=1), apart.norm(dim=1))


def test_a_style_is_within_its_own_palette_and_so_is_it_with_less_chroma() -> None:
    style = batch(1)
    for same in (style, muted(style, 0.5), style.transpose(2, 3)):
        loss, gradient = chroma_loss_and_gradient(same, palette(style))
        assert loss.item() == 0
        assert not gradient.any()


def test_twice_the_chroma_is_nearly_one_deviation_too_much() -> None:
    """The palette may have the least deviation besides; its own variance is 1/48 along any axis."""
    colours = torch.rand(1, 3, 200, 300, generator=torch.Generator().manual_seed(0))
    expected = ((4 / (1 + 48 * 0.02**2)) ** 0.5 - 1) ** 2
    found = chroma_loss(colours, palette(muted(colours, 0.5)))
    assert found.item() == pytest.approx(expected, rel=0.01)


def test_light_and_shade_cost_nothing_and_another_hue_does() -> None:
    style = batch(1) * torch.tensor([0.8, 0.2, 0.2])[:, None, None]
    shade = torch.linspace(-0.2, 0.2, 32)
    assert chroma_loss((style + shade).clamp(0, 1) * 0.9, palette(style)).item() == 0
    assert chroma_loss(style.flip(1), palette(style)).item() > 0.5


def test_any_colour_is_too_much_for_a_grey_style_and_grey_too_little_for_a_tinted_one() -> None:
    grey = as_grey(batch(1))
    assert chroma_loss(as_grey(batch(2)), palette(grey)).item() == 0
    assert chroma_loss(batch(1), palette(grey)).item() > 1
    sepia = grey * 0.5 + torch.tensor([0.3, 0.2, 0.1])[:, None, None]
    assert chroma_loss(grey, palette(sepia)).item() > 1


@pytest.mark.parametrize("num_regions", [0, 1, 2])
def test_the_gradient_is_that_of_the_loss(num_regions: int) -> None:
    guides = halves()[:, :num_regions] * 0.8 if num_regions else None
    styles = [muted(batch(n), 0.7) for n in range(2, 2 + max(1, num_regions))]
    images = batch(1).double().requires_grad_(True)
    found = palette(*styles, guides=guides)
    loss, gradient = chroma_loss_and_gradient(images.detach(), found)
    own = chroma_loss(images, found)
    assert own.item() == loss.item() > 0.01
    torch.testing.assert_close(gradient, torch.autograd.grad(own.sum(), images)[0])


def test_each_region_has_a_palette_of_its_own() -> None:
    coloured, grey = batch(1), as_grey(batch(1))
    right = halves()[:, 1:] > 0
    fitting, other = torch.where(right, grey, coloured), torch.where(right, coloured, grey)
    both = palette(coloured, grey, guides=halves())
    assert both.shares.tolist() == [[0.5, 0.5]]
    assert chroma_loss(fitting, both).item() < 0.05
    assert chroma_loss(other, both).item() > 1
    # Where no style paints, colours are the content's own.
    alone = palette(grey, guides=halves()[:, 1:])
    assert chroma_loss(torch.where(right, grey, coloured.flip(1)), alone).item() == 0
    assert chroma_loss(other, alone).item() > 1


@pytest.mark.parametrize("grey", [0.2, 0.5, "a ramp", "a soft edge"])
@pytest.mark.parametrize("num_styles", [1, 2])
def test_where_a_mask_is_grey_the_start_is_within_its_palette(
    grey: float | str, num_styles: int
) -> None:
    content = batch(1)[0]
    styles = (as_grey(batch(2))[0], picture_tensor(20, 30, seed=3))[:num_styles]
    mask = torch.linspace(0, 1, 32).expand(1, *SIZE)
    if grey == "a soft edge":
        mask = ((mask - 0.4) * 5).clamp(0, 1)
    elif isinstance(grey, float):
        mask = torch.full((1, *SIZE), grey)
    guides = regions.guides(mask, num_styles)
    start = colors.recolored(content, styles, (None,) * num_styles, share=1, guides=guides)
    found = palette(*(s[None] for s in styles), guides=guides[None], content=content[None])
    assert chroma_loss(start[None], found).item() < 0.02
    assert chroma_loss(picture_tensor(*SIZE, seed=4).flip(0)[None] * 1.5, found).item() > 0.1


def test_a_region_that_no_pixel_takes_costs_nothing() -> None:
    some, none = halves()[:, 1:], torch.zeros(1, 1, *SIZE)
    both = palette(batch(1), batch(3), guides=torch.cat([some, none], dim=1))
    alone = palette(batch(1), guides=some)
    torch.testing.assert_close(chroma_loss(batch(2), both), chroma_loss(batch(2), alone))
    assert chroma_loss(batch(2), palette(batch(1), guides=none)).item() == 0


def test_what_is_transparent_has_no_colours() -> None:
    coloured, grey = batch(1), as_grey(batch(1))
    right = halves()[:, 1:]
    style = torch.where(right > 0, grey, coloured)
    same_chroma(palette(style, alphas=[right * 0.5]), palette(grey[..., 16:]))


def test_a_blend_has_the_chroma_of_all_pixels_by_its_shares_whatever_their_number() -> None:
    one, other = batch(1), batch(2)
    expected = palette(torch.cat([one, one, one, other], dim=3))
    same_chroma(palette(one, other, blend=[6.0, 2.0]), expected)
    same_chroma(palette(one.repeat(1, 1, 2, 2), other, blend=[6.0, 2.0]), expected)
    same_chroma(palette(one, other, blend=[1.0, 0.0]), palette(one))


def test_a_picture_may_have_what_its_start_keeps_of_the_contents_colours() -> None:
    content, style = batch(1), as_grey(batch(2))
    expected = palette(torch.cat([content, content, content, style], dim=3))
    same_chroma(palette(style, content=content, recolored=0.25), expected)
    masked = palette(style, content=content, recolored=0.25, guides=halves()[:, 1:])
    right = content[..., 16:]
    same_chroma(masked, palette(torch.cat([right] * 6 + [style], dim=3)))


def test_palettes_of_a_batch_are_those_of_its_items() -> None:
    alone = [
        palette(muted(batch(n), 0.8), batch(n + 1), guides=halves().roll(n, dims=3)) for n in (1, 3)
    ]
    painted = batch(5, 6)
    found = [chroma_loss_and_gradient(painted[n : n + 1], alone[n]) for n in range(2)]
    loss, gradient = chroma_loss_and_gradient(painted, palettes.stacked(alone))
    assert torch.equal(loss, torch.cat([each for each, _ in found]))
    assert torch.equal(gradient, torch.cat([each for _, each in found]))
    assert loss.min() > 0


def test_colours_that_are_no_numbers_have_a_palette_that_nothing_fits() -> None:
    unfit = palette(torch.full((1, 3, 4, 5), torch.nan))
    assert chroma_loss(batch(1), unfit).isnan().all()


def test_the_number_of_threads_changes_no_bit() -> None:
    style, images = (batch(n, size=(301, 401)) for n in (1, 2))

    def found() -> tuple[Tensor, Tensor]:
        return chroma_loss_and_gradient(images, palette(as_grey(style)))

    first, *others = (with_threads(number, found) for number in (1, 2, 5))
    for other in others:
        assert torch.equal(other[0], first[0])
        assert torch.equal(other[1], first[1])
