import pytest
import torch
from torch import Tensor

from nst.painting import palettes
from nst.painting.colors import as_grey, chroma
from nst.painting.palettes import Palette, chroma_loss, chroma_of, palette_of
from tests.helpers import picture_tensor, with_threads


def batch(*seeds: int, size: tuple[int, int] = (24, 32)) -> Tensor:
    return torch.stack([picture_tensor(*size, seed=seed) for seed in seeds])


def of_whole(images: Tensor) -> Palette:
    return palette_of(chroma_of(images), None)


def halves() -> Tensor:
    """Guides [1,2,24,32] of a left and a right region."""
    right = torch.zeros(1, 1, 24, 32)
    right[..., 16:] = 1
    return torch.cat([1 - right, right], dim=1)


def loss_of(images: Tensor, palette: Palette) -> Tensor:
    return chroma_loss(images, palette)[0]


def muted(images: Tensor, share: float) -> Tensor:
    """With so much less chroma around its own mean."""
    return torch.lerp(images, images.mean(dim=(2, 3), keepdim=True), share)


def test_a_picture_is_within_its_own_palette_and_so_is_one_with_less_chroma() -> None:
    images = batch(1, 2)
    palette = of_whole(images)
    for same in (images, muted(images, 0.5), images.transpose(2, 3)):
        loss, gradient = chroma_loss(same, palette)
        assert loss.tolist() == [0, 0]
        assert not gradient.any()


def test_twice_the_chroma_is_nearly_one_deviation_too_much() -> None:
    """The palette may have the least deviation besides; its own variance is 1/48 along any axis."""
    colours = torch.rand(1, 3, 200, 300, generator=torch.Generator().manual_seed(0))
    palette = of_whole(muted(colours, 0.5))
    expected = ((4 / (1 + 48 * 0.02**2)) ** 0.5 - 1) ** 2
    assert loss_of(colours, palette).item() == pytest.approx(expected, rel=0.01)


def test_light_and_shade_cost_nothing_and_another_hue_does() -> None:
    images = batch(1) * torch.tensor([0.8, 0.2, 0.2])[:, None, None]
    palette = of_whole(images)
    shade = torch.linspace(-0.2, 0.2, 32)
    torch.testing.assert_close(chroma(images + shade), chroma(images), atol=1e-6, rtol=0)
    assert loss_of((images + shade).clamp(0, 1) * 0.9, palette).item() == 0
    assert loss_of(images.flip(1), palette).item() > 0.5


def test_any_colour_is_too_much_for_a_grey_palette() -> None:
    palette = of_whole(as_grey(batch(1)))
    assert loss_of(as_grey(batch(2)), palette).item() == 0
    assert loss_of(batch(1), palette).item() > 1


@pytest.mark.parametrize("num_regions", [0, 1, 2])
def test_the_gradient_is_that_of_the_loss(num_regions: int) -> None:
    """Beside slow.py, which has one of the whole objective."""
    guides = halves()[:, :num_regions] if num_regions else None
    images = batch(1).double()
    styles = [chroma_of(muted(batch(n), 0.7)) for n in range(2, 2 + max(1, num_regions))]
    palette = palette_of(palettes.side_by_side(styles), guides)
    loss, gradient = chroma_loss(images, palette)
    step = gradient / gradient.norm() * 1e-3
    ahead, behind = loss_of(images + step, palette), loss_of(images - step, palette)
    assert loss.item() > 0.01
    assert (ahead - behind).item() / 2e-3 == pytest.approx(gradient.norm().item(), rel=1e-3)


def test_each_region_has_a_palette_of_its_own() -> None:
    coloured, grey = batch(1), as_grey(batch(1))
    both = palettes.side_by_side([chroma_of(coloured), chroma_of(grey)])
    palette = palette_of(both, halves())
    assert palette.shares.tolist() == [[0.5, 0.5]]
    right = halves()[:, 1:] > 0
    fitting, other = torch.where(right, grey, coloured), torch.where(right, coloured, grey)
    assert loss_of(fitting, palette).item() < 0.05
    assert loss_of(other, palette).item() > 1
    # Where no style paints, colours are the content's own.
    palette = palette_of(chroma_of(grey), halves()[:, 1:])
    assert loss_of(torch.where(right, grey, coloured.flip(1)), palette).item() == 0
    assert loss_of(other, palette).item() > 1


def test_a_region_that_no_pixel_takes_costs_nothing() -> None:
    some, none = halves()[:, 1:], torch.zeros(1, 1, 24, 32)
    one = chroma_of(batch(1))
    palette = palette_of(palettes.side_by_side([one, one]), torch.cat([some, none], dim=1))
    alone = palette_of(one, some)
    torch.testing.assert_close(loss_of(batch(2), palette), loss_of(batch(2), alone))
    assert loss_of(batch(2), palette_of(one, none)).item() == 0


def test_what_is_transparent_has_no_colours() -> None:
    coloured, grey = batch(1), as_grey(batch(1))
    right = halves()[:, 1:]
    style = torch.where(right > 0, grey, coloured)
    seen, same = chroma_of(style, right), chroma_of(grey[..., 16:])
    torch.testing.assert_close(seen.means, same.means)
    torch.testing.assert_close(seen.products, same.products, atol=1e-7, rtol=0)


def test_a_mixture_has_the_moments_of_all_its_pixels_by_their_shares() -> None:
    one, other = batch(1), batch(2)
    found = palettes.mixed([chroma_of(one), chroma_of(other)], [6.0, 2.0])
    expected = chroma_of(torch.cat([one, one, one, other], dim=3))
    torch.testing.assert_close(found.means, expected.means)
    torch.testing.assert_close(found.products, expected.products)
    alone = palettes.mixed([chroma_of(one), chroma_of(other)], [1.0, 0.0])
    assert torch.equal(alone.products, chroma_of(one).products)


def test_palettes_of_a_batch_are_those_of_its_items() -> None:
    guides = torch.cat([halves(), halves().flip(1)])
    of_styles = [chroma_of(muted(batch(n, n + 1), 0.8)) for n in (1, 3)]
    palette = palette_of(palettes.side_by_side(of_styles), guides)
    alone = [
        Palette(
            means=palette.means[n : n + 1],
            inverses=palette.inverses[n : n + 1],
            guides=palette.guides[n : n + 1],
            shares=palette.shares[n : n + 1],
        )
        for n in range(2)
    ]
    painted = batch(3, 4)
    found = [chroma_loss(painted[n : n + 1], alone[n]) for n in range(2)]
    for together in (palette, palettes.stacked(alone)):
        loss, gradient = chroma_loss(painted, together)
        assert torch.equal(loss, torch.cat([each for each, _ in found]))
        assert torch.equal(gradient, torch.cat([each for _, each in found]))
    assert loss.min() > 0


def test_colours_that_are_no_numbers_have_a_palette_that_nothing_fits() -> None:
    palette = of_whole(torch.full((1, 3, 4, 5), torch.nan))
    assert loss_of(batch(1), palette).isnan().all()


def test_the_number_of_threads_changes_no_bit() -> None:
    start, images = (batch(n, size=(301, 401)) for n in (1, 2))

    def found() -> tuple[Tensor, Tensor]:
        return chroma_loss(images, of_whole(as_grey(start)))

    first, *others = (with_threads(number, found) for number in (1, 2, 5))
    for other in others:
        assert torch.equal(other[0], first[0])
        assert torch.equal(other[1], first[1])
