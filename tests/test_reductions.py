import pytest
import torch
from torch import Tensor

from nst.painting import reductions
from tests.helpers import with_threads

# More than there are cores too: how work is shared out depends on their number alone.
THREADS = (2, 3, 8)


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("shape", "kept"),
    [((2, 3, 5, 7), 1), ((1, 4096), 1), ((3, 2, 100, 50), 2), ((4, 5), 0), ((1, 8, 96, 128), 1)],
)
def test_totals_and_means_are_over_all_but_the_first_dimensions(
    shape: tuple[int, ...], kept: int
) -> None:
    values = random(*shape)
    dims = tuple(range(kept, len(shape)))
    expected = values.double().sum(dim=dims).float()
    torch.testing.assert_close(reductions.total(values, kept=kept), expected)
    expected = values.double().mean(dim=dims).float()
    torch.testing.assert_close(reductions.mean(values, kept=kept), expected)


def test_a_total_has_the_gradient_of_a_sum() -> None:
    values = random(2, 3, 50, 60).requires_grad_(True)
    (gradient,) = torch.autograd.grad(reductions.total(values.square()).sum(), values)
    torch.testing.assert_close(gradient, 2 * values.detach())


# Less than a block of rows, some blocks, and some with rows left over.
TABLES = [(1, 12, 512), (1, 500, 64), (1, 1024, 64), (2, 1300, 128), (1, 3072, 256), (1, 700, 600)]


@pytest.mark.parametrize("shape", TABLES)
def test_a_square_is_the_product_of_a_table_with_itself(shape: tuple[int, int, int]) -> None:
    table = random(*shape)
    exact = table.double().transpose(1, 2) @ table.double()
    torch.testing.assert_close(reductions.square_of(table), exact.float())


@pytest.mark.parametrize("shape", TABLES)
def test_no_bit_depends_on_the_number_of_threads(shape: tuple[int, int, int]) -> None:
    table = random(*shape)
    alone = with_threads(1, lambda: (reductions.square_of(table), reductions.total(table)))
    for number in THREADS:
        found = with_threads(number, lambda: (reductions.square_of(table), reductions.total(table)))
        assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True)), number
