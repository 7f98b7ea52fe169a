from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nst.painting import nearest
from nst.painting.engine import stylize
from nst.painting.nearest import Candidates, NeighbourTarget
from nst.painting.objective import Objective
from nst.painting.tiles import Slices
from tests.helpers import item, picture_tensor, vgg16, with_threads

WHOLE = (slice(None), slice(None))


def features(height: int, width: int, *, channels: int = 8, seed: int = 0) -> Tensor:
    """Each position has its own number in its first channel."""
    found = torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))
    found[0, 0] = torch.arange(1.0, height * width + 1).view(height, width)
    return found


def where_it_is(height: int, width: int) -> Tensor:
    """Each position says in which row and column it is, and does so as a direction, too."""
    found = torch.ones(1, 3, height, width)
    found[0, 0] = torch.arange(height)[:, None] + 1.0
    found[0, 1] = torch.arange(width) + 1.0
    return found


def told(found: Candidates, axis: int) -> Tensor:
    """The rows, or the columns, of candidates of such a map."""
    table = found.directions
    return (table[:, axis] / table[:, 2]).round() - 1


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
    places = where_it_is(height, width)
    chosen = whole(places)
    rows, columns = told(chosen, 0), told(chosen, 1)
    assert 250 <= len(rows) <= 256
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


def chosen_numbers(found: Tensor, table: Tensor) -> list[int]:
    """Which positions a table is of, by their number in `features`."""
    units = functional.normalize(found[0].flatten(1), dim=0)
    return sorted(int(found[0, 0].flatten()[(units.T @ each).argmax()]) for each in table)


@pytest.mark.parametrize("visible", [1.0, 0.3], ids=["well", "hardly"])
def test_what_is_transparent_is_no_candidate(visible: float) -> None:
    """A style of thin lines has nothing that is quite visible, and is painted all the same."""
    found, alpha = features(6, 8), torch.zeros(1, 1, 6, 8)
    alpha[..., 1:3, 2:6] = visible
    table = whole(found, alpha, num_visible=8 * visible**2).directions
    expected = found[0, 0, 1:3, 2:6].flatten().int().tolist()
    assert chosen_numbers(found, table) == sorted(expected)


def test_what_is_more_visible_is_chosen_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the square, as in moments; and one opaque spot does not take over a style of lines."""
    monkeypatch.setattr(nearest, "MAX_CANDIDATES", 300)
    height, width = 60, 100
    places = where_it_is(height, width)
    alpha = torch.full((1, 1, height, width), 0.5)
    alpha[..., :5, :] = 1
    num_visible = alpha.square().sum().item()

    def rows_of(found: Candidates) -> list[float]:
        return sorted(told(found, 0).tolist())

    rows = rows_of(whole(places, alpha, num_visible))
    assert len(rows) == pytest.approx(300, abs=8)
    opaque = sum(row < 5 for row in rows)
    assert opaque == pytest.approx(300 * 500 / num_visible, rel=0.15)
    # A piece keeps what the whole takes of it, and no more.
    part = slice(20, 60), slice(0, 100)
    piece = nearest.candidates(
        places[:, :, part[0], part[1]], at(*part), alpha[:, :, part[0], part[1]], num_visible
    )
    assert rows_of(piece) == [row for row in rows if row >= 20]


def test_a_single_pixel_that_can_be_seen_gives_the_style() -> None:
    style, alpha = picture_tensor(64, 64, seed=5), torch.zeros(1, 64, 64)
    alpha[:, 20, 30] = 1 / 255
    one = replace(item(), styles=(style,), style_alphas=(alpha,))
    targets = Objective.of([one], vgg16()).targets[0]
    assert [targets.neighbours[layer].tables.shape[2] for layer in ("relu3_1", "relu4_1")] == [1, 1]


def test_a_blend_has_of_each_style_its_share() -> None:
    first, second = whole(features(10, 10, seed=1)), whole(features(6, 5, seed=2))
    blend = nearest.blended([first, second], [1, 3])
    assert torch.equal(blend[:25], first.directions[:25])
    assert torch.equal(blend[25:], second.directions[:22])
    assert torch.equal(nearest.blended([first, second], [1, 0]), first.directions)
    # Of however few positions, a style that has a weight has one.
    one = whole(features(1, 1))
    assert len(nearest.blended([one, one], [1, 1])) == 2


def test_a_blend_of_large_styles_has_no_more_candidates_than_one() -> None:
    full = Candidates(torch.rand(2048, 4), np.arange(2048.0))
    for weights in ([0.9, 0.1], [1, 1], [1, 2, 4], [1e-9, 1]):
        assert len(nearest.blended([full] * len(weights), weights)) <= nearest.MAX_CANDIDATES


@pytest.mark.parametrize(
    ("sizes", "length"), [((2043, 2048, 1500), 2048), ((300, 257, 511), 512), ((1,), 1)]
)
def test_on_a_gpu_styles_of_many_sizes_have_one_shape(sizes: tuple[int, ...], length: int) -> None:
    """What is recorded for it is repeated for each of them."""
    for n in sizes:
        table = torch.empty(n, 4, device="meta")
        made = nearest.neighbour_target([table], None, (4, 4), 1.0)
        assert made.tables.shape == (1, 1, length, 4)


class OnMetal(Tensor):
    """Stands in for a tensor of a device that has no numbers of 64 bits."""

    def double(self, *_: Any, **__: Any) -> Tensor:
        raise TypeError("the MPS framework doesn't support float64")

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        return self.as_subclass(Tensor)


def test_a_device_without_64_bits_has_the_candidates_of_others() -> None:
    found, guide = (
        features(6, 8),
        torch.rand(1, 1, 6, 8, generator=torch.Generator().manual_seed(1)),
    )
    there, here = (whole(found, g, 20.0) for g in (guide.as_subclass(OnMetal), guide))
    assert np.array_equal(there.ranks, here.ranks)
    assert torch.equal(there.directions, here.directions)


def target(*tables: Tensor, guides: Tensor | None = None, size: tuple[int, int]) -> NeighbourTarget:
    return nearest.neighbour_target(tables, guides, size, 1.0)


def test_the_loss_is_the_mean_of_1_minus_the_highest_cosine() -> None:
    found = features(3, 4, seed=3)
    units = found / found.norm(dim=1, keepdim=True)
    table = whole(features(5, 5, seed=4)).directions
    loss, _ = target(table, size=(3, 4)).differences(units, None, torch.float32)
    cosines = torch.einsum("nc,bchw->bnhw", table.double(), units.double()).amax(dim=1)
    assert loss.item() == pytest.approx((1 - cosines).mean().item(), rel=1e-4)


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


def test_each_region_has_the_neighbours_of_its_own_style() -> None:
    units = features(4, 6, seed=7)
    units = units / units.norm(dim=1, keepdim=True)
    guides = torch.rand(1, 2, 4, 6, generator=torch.Generator().manual_seed(1))
    tables = [whole(features(n, 3, seed=n)).directions for n in (2, 5)]
    loss, pulled = target(*tables, guides=guides, size=(4, 6)).differences(
        units, guides, torch.float32
    )
    expected, total = torch.zeros_like(units), 0.0
    for k, table in enumerate(tables):
        alone, own = target(table, size=(4, 6)).differences(units, None, torch.float32)
        expected += guides[:, k : k + 1] * own
        total += (guides[:, k] * own.square().sum(dim=1)).sum().item() / 2
        assert alone.item() == pytest.approx(own.square().sum().item() / 2 / 24, rel=1e-5)
    torch.testing.assert_close(pulled, expected)
    assert loss.item() == pytest.approx(total / guides.sum().item(), rel=1e-5)


def test_no_neighbour_depends_on_the_number_of_threads() -> None:
    """With whole blocks and a short one, and with channels of two pieces."""
    generator = torch.Generator().manual_seed(2)
    units = functional.normalize(torch.rand(1, 512, 50, 47, generator=generator), dim=1)
    tables = functional.normalize(torch.rand(1, 1, 700, 512, generator=generator), dim=3)
    made = NeighbourTarget(tables, None, torch.ones(1))
    alone = with_threads(1, lambda: made.differences(units, None, torch.float32))
    for number in (2, 3, 8):
        found = with_threads(number, lambda: made.differences(units, None, torch.float32))
        assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True)), number


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


def test_neighbours_count_by_the_share_of_their_layer() -> None:
    """A layer that is hardly asked for has neighbours that are hardly asked for."""
    weights = {}
    for named in ("relu1_1:1 relu3_1:1", "relu1_1:499 relu3_1:1"):
        one = item(style_layers=named)
        targets = Objective.of([one], vgg16(style_layers=one.params.style_layers)).targets[0]
        weights[named] = targets.neighbours["relu3_1"].coefficients.item()
    first, second = weights.values()
    assert second == pytest.approx(first / 250, rel=1e-5)


def test_a_pyramid_looks_for_neighbours_at_its_last_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[int, ...], bool]] = []
    of = Objective.of.__func__  # type: ignore[attr-defined]

    def noted(cls: type[Objective], items: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append((tuple(items[0].content.shape[1:]), kwargs["is_finest"]))
        return of(cls, items, *args, **kwargs)

    monkeypatch.setattr(Objective, "of", classmethod(noted))
    layers: dict[str, Any] = {"content_layers": "relu1_1", "style_layers": "relu1_1"}
    stylize([item(size=(192, 256), steps=2, **layers)], vgg16(**layers))
    assert [is_finest for _, is_finest in asked] == [False] * (len(asked) - 1) + [True]
    assert len(asked) > 1
    assert asked[-1][0] == (192, 256)


def test_a_picture_that_is_its_style_has_no_loss_of_neighbours() -> None:
    one = item()
    same = replace(one, styles=(one.content,))
    found, _ = Objective.of([same], vgg16())(one.content[None])
    assert found.style.item() == pytest.approx(0, abs=1e-8)
    other, _ = Objective.of([same], vgg16())(picture_tensor(48, 64, seed=8)[None])
    assert other.style.item() > 0.1
