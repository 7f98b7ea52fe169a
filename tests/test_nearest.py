from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nst.painting import nearest
from nst.painting.nearest import Candidates, NeighbourTarget
from nst.painting.objective import Objective
from nst.painting.tiles import Slices
from tests.helpers import item, picture_tensor, vgg16

WHOLE = (slice(None), slice(None))


def features(height: int, width: int, *, channels: int = 8, seed: int = 0) -> Tensor:
    """Each position has its own number in its first channel."""
    found = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    found[0, 0] = torch.arange(1.0, height * width + 1).view(height, width)
    return found


def at(rows: slice, columns: slice) -> Slices:
    return (*WHOLE, rows, columns)


def whole(
    found: Tensor, guide: Tensor | None = None, num_visible: float | None = None
) -> Candidates:
    height, width = found.shape[2:]
    visible = height * width if num_visible is None else num_visible
    piece = nearest.candidates(found, at(slice(0, height), slice(0, width)), guide, visible)
    return nearest.joined([piece])


def direction(found: Tensor, row: int, column: int) -> Tensor:
    own: Tensor = found[0, :, row, column]
    return functional.normalize(own, dim=0)


def test_all_positions_of_a_small_style_are_candidates() -> None:
    found = features(5, 7)
    table = whole(found).directions
    assert table.shape == (35, 8)
    torch.testing.assert_close(table.norm(dim=1), torch.ones(35))
    for row, column in [(0, 0), (4, 6), (2, 3)]:
        own = direction(found, row, column)
        assert (table @ own).max().item() == pytest.approx(1, abs=1e-6)


def test_some_of_a_large_style_are_and_lie_evenly_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MAX_CANDIDATES", 256)
    height, width = 96, 128
    places = torch.zeros(1, 3, height, width)
    places[0, 0] = torch.arange(height)[:, None] + 1.0
    places[0, 1] = torch.arange(width) + 1.0
    places[0, 2] = 1
    table = whole(places).directions
    assert 250 <= len(table) <= 256
    rows, columns = ((table[:, n] / table[:, 2]).round() - 1 for n in (0, 1))
    # In each of 8 x 8 parts there are as many, or nearly so.
    counts = torch.zeros(8, 8)
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        counts[int(row) * 8 // height, int(column) * 8 // width] += 1
    assert counts.min() >= 2
    assert counts.max() <= 6
    # And so do the first of them, of which a blend takes as many as it needs.
    quarters = [
        (r >= height / 2, c >= width / 2) for r, c in zip(rows[:64], columns[:64], strict=True)
    ]
    assert all(12 <= quarters.count((a, b)) <= 20 for a in (True, False) for b in (True, False))


def test_pieces_have_the_candidates_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MAX_CANDIDATES", 100)
    found = features(24, 40)
    rows, columns = [slice(0, 10), slice(10, 24)], [slice(0, 16), slice(16, 40)]
    pieces = [
        nearest.candidates(found[:, :, r, c], at(r, c), None, 24 * 40)
        for r in rows
        for c in columns
    ]
    # Of a small piece of a large style there may be none.
    corner = nearest.candidates(found[:, :, :1, :1], at(slice(0, 1), slice(1, 2)), None, 1e9)
    assert corner.directions.shape == (0, 8)
    together, apart = whole(found), nearest.joined([*pieces, corner])
    torch.testing.assert_close(together.directions, apart.directions)
    assert together.ranks.tolist() == apart.ranks.tolist()


@pytest.mark.parametrize("visible", [1.0, 0.3], ids=["well", "hardly"])
def test_what_is_transparent_is_no_candidate(visible: float) -> None:
    """A style of thin lines has nothing that is quite visible, and is painted all the same."""
    found, alpha = features(6, 8), torch.zeros(1, 1, 6, 8)
    alpha[..., 1:3, 2:6] = visible
    if visible == 1:
        alpha[..., 5, :] = 0.2
    table = whole(found, alpha, num_visible=8).directions
    numbers = found[0, 0].flatten()
    units = found[0].flatten(1).T / found[0].flatten(1).norm(dim=0)[:, None]
    chosen = sorted(numbers[(units @ each).argmax()].item() for each in table)
    assert chosen == sorted(found[0, 0, 1:3, 2:6].flatten().tolist())


def test_a_style_without_anything_visible_has_candidates_still() -> None:
    assert len(whole(features(4, 4), torch.zeros(1, 1, 4, 4), num_visible=0).directions) == 16


def test_a_blend_has_of_each_style_its_share() -> None:
    first, second = whole(features(10, 10, seed=1)), whole(features(6, 5, seed=2))
    blend = nearest.blended([first, second], [1, 3])
    assert torch.equal(blend[:25], first.directions[:25])
    assert torch.equal(blend[25:], second.directions[:23])
    assert torch.equal(nearest.blended([first, second], [1, 0]), first.directions)
    # Of however few positions, a style that has a weight has one.
    one = whole(features(1, 1))
    assert len(nearest.blended([one, one], [1, 1])) == 2


def target(*tables: Tensor, guides: Tensor | None = None, size: tuple[int, int]) -> NeighbourTarget:
    return nearest.neighbour_target(tables, guides, size, 1.0)


def test_the_loss_is_the_share_of_the_mean_of_1_minus_the_highest_cosine() -> None:
    found = features(3, 4, seed=3)
    units = found / found.norm(dim=1, keepdim=True)
    table = whole(features(5, 5, seed=4)).directions
    loss, _ = target(table, size=(3, 4)).differences(units, None, torch.float32)
    cosines = torch.einsum("nc,bchw->bnhw", table.double(), units.double()).amax(dim=1)
    assert loss.item() == pytest.approx(nearest.SHARE * (1 - cosines).mean().item(), rel=1e-4)


def test_many_positions_and_channels_have_the_neighbours_of_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nearest, "_BLOCK", 50)
    found = torch.randn(2, 600, 9, 13, generator=torch.Generator().manual_seed(5))
    units = found / found.norm(dim=1, keepdim=True)
    tables = torch.randn(2, 1, 40, 600, generator=torch.Generator().manual_seed(6))
    tables = tables / tables.norm(dim=3, keepdim=True)
    made = NeighbourTarget(tables, None, torch.tensor([1.0, 2.0]))
    loss, pulled = made.differences(units, None, torch.float32)
    for b in range(2):
        total = 0.0
        for row in range(9):
            for column in range(13):
                own = units[b, :, row, column]
                expected = tables[b, 0, (tables[b, 0] @ own).argmax()]
                torch.testing.assert_close(pulled[b, :, row, column], own - expected)
                total += (own - expected).square().sum().item() / 2
        assert loss[b].item() == pytest.approx((1, 2)[b] * total, rel=1e-4)


def test_styles_of_other_sizes_go_together_as_they_are() -> None:
    """The shorter table is filled up with what it has."""
    units = features(4, 4, seed=7)
    units = units / units.norm(dim=1, keepdim=True)
    tables = [whole(features(n, 3, seed=n)).directions for n in (2, 5)]
    alone = [target(table, size=(4, 4)) for table in tables]
    together = nearest.stacked(alone)
    loss, pulled = together.differences(units.expand(2, -1, -1, -1), None, torch.float32)
    for n, one in enumerate(alone):
        expected, own = one.differences(units, None, torch.float32)
        assert loss[n].item() == pytest.approx(expected.item(), rel=1e-6)
        torch.testing.assert_close(pulled[n : n + 1], own)


def test_only_the_finest_size_of_a_pyramid_looks_for_neighbours() -> None:
    one = item()
    for is_finest, expected in ((True, ["relu3_1", "relu4_1"]), (False, [])):
        targets = Objective.of([one], vgg16(), is_finest=is_finest).targets[0]
        assert list(targets.neighbours) == expected
    assert not Objective.of([item(method="gatys")], vgg16()).targets[0].neighbours
    # Nobody asks for the style in the other.
    few = item(style_layers="relu1_1 relu3_1")
    layers = vgg16(style_layers=few.params.style_layers)
    assert list(Objective.of([few], layers).targets[0].neighbours) == ["relu3_1"]


def test_a_picture_that_is_its_style_has_no_loss_of_neighbours() -> None:
    one = item()
    same = replace(one, styles=(one.content,))
    found, _ = Objective.of([same], vgg16())(one.content[None])
    assert found.style.item() == pytest.approx(0, abs=1e-8)
    other, _ = Objective.of([same], vgg16())(picture_tensor(48, 64, seed=8)[None])
    assert other.style.item() > 0.1
