import pytest
import torch
from torch import Tensor

from nst.painting import palettes
from nst.painting.colors import as_grey, chroma
from nst.painting.palettes import chroma_loss, palette_of
from tests.helpers import picture_tensor, with_threads


def batch(*seeds: int, size: tuple[int, int] = (24, 32)) -> Tensor:
    return torch.stack([picture_tensor(*size, seed=seed) for seed in seeds])


def halves(size: tuple[int, int] = (24, 32)) -> Tensor:
    """Guides [1,2,H,W] of a left and a right region."""
    right = torch.zeros(1, 1, *size)
    right[..., size[1] // 2 :] = 1
    return torch.cat([1 - right, right], dim=1)


def muted(images: Tensor, share: float) -> Tensor:
    """With so much less chroma around its own mean."""
    return torch.lerp(images, images.mean(dim=(2, 3), keepdim=True), share)


def test_a_picture_is_within_its_own_palette_and_so_is_one_with_less_chroma() -> None:
    images = batch(1, 2)
    palette = palette_of(images, None)
    assert chroma_loss(images, palette).tolist() == [0, 0]
    assert chroma_loss(muted(images, 0.5), palette).tolist() == [0, 0]
    assert chroma_loss(images[:, :, :, ::2], palette_of(images[:, :, :, ::2], None)).sum() == 0


def test_twice_the_chroma_is_nearly_one_deviation_too_much() -> None:
    """The palette may have the least deviation besides; its own variance is 1/48 along any axis."""
    colours = torch.rand(1, 3, 200, 300, generator=torch.Generator().manual_seed(0))
    palette = palette_of(muted(colours, 0.5), None)
    expected = ((4 / (1 + 48 * 0.02**2)) ** 0.5 - 1) ** 2
    assert chroma_loss(colours, palette).item() == pytest.approx(expected, rel=0.01)


def test_light_and_shade_cost_nothing_and_another_hue_does() -> None:
    images = batch(1) * torch.tensor([0.8, 0.2, 0.2])[:, None, None]
    palette = palette_of(images, None)
    shade = torch.linspace(-0.2, 0.2, 32)
    torch.testing.assert_close(chroma(images + shade), chroma(images), atol=1e-6, rtol=0)
    assert chroma_loss((images + shade).clamp(0, 1) * 0.9, palette).item() == 0
    assert chroma_loss(images.flip(1), palette).item() > 0.5


def test_any_colour_is_too_much_for_a_grey_palette() -> None:
    images = batch(1)
    palette = palette_of(as_grey(images), None)
    assert chroma_loss(as_grey(batch(2)), palette).item() == 0
    assert chroma_loss(images, palette).item() > 1


def test_each_region_has_a_palette_of_its_own() -> None:
    coloured, grey = batch(1), as_grey(batch(1))
    start = torch.where(halves()[:, 1:] > 0, grey, coloured)
    palette = palette_of(start, halves())
    assert palette.shares.tolist() == [[0.5, 0.5]]
    assert chroma_loss(start, palette).item() == pytest.approx(0, abs=1e-6)
    elsewhere = torch.where(halves()[:, 1:] > 0, coloured, grey)
    by_itself = chroma_loss(coloured, palette_of(grey, None))
    assert chroma_loss(elsewhere, palette).item() == pytest.approx(by_itself.item() / 2, rel=0.3)
    # Where there is no style, colours are the content's own.
    palette = palette_of(start, halves()[:, 1:])
    assert chroma_loss(torch.where(halves()[:, 1:] > 0, grey, coloured.flip(1)), palette) == 0


def test_a_region_that_no_pixel_takes_costs_nothing() -> None:
    images = batch(1)
    some, none = halves()[:, 1:], torch.zeros(1, 1, 24, 32)
    palette = palette_of(images, torch.cat([some, none], dim=1))
    alone = palette_of(images, some)
    torch.testing.assert_close(chroma_loss(batch(2), palette), chroma_loss(batch(2), alone))
    assert chroma_loss(batch(2), palette_of(images, none)).item() == 0


def test_palettes_of_a_batch_are_those_of_its_items() -> None:
    images, guides = batch(1, 2), torch.cat([halves(), halves().flip(1)])
    palette = palette_of(images, guides)
    alone = [palette_of(images[n : n + 1], guides[n : n + 1]) for n in range(2)]
    painted = batch(3, 4)
    expected = torch.cat([chroma_loss(painted[n : n + 1], alone[n]) for n in range(2)])
    assert torch.equal(chroma_loss(painted, palette), expected)
    assert torch.equal(chroma_loss(painted, palettes.stacked(alone)), expected)


def test_colours_that_are_no_numbers_have_a_palette_that_nothing_fits() -> None:
    palette = palette_of(torch.full((1, 3, 4, 5), torch.nan), None)
    assert chroma_loss(batch(1), palette).isnan().all()


def test_the_number_of_threads_changes_no_bit() -> None:
    start, images = (batch(n, size=(301, 401)) for n in (1, 2))

    def found() -> tuple[Tensor, Tensor]:
        painted = images.clone().requires_grad_(True)
        loss = chroma_loss(painted, palette_of(as_grey(start), None))
        return loss.detach(), torch.autograd.grad(loss.sum(), painted)[0]

    first, *others = (with_threads(number, found) for number in (1, 2, 5))
    for other in others:
        assert torch.equal(other[0], first[0])
        assert torch.equal(other[1], first[1])
