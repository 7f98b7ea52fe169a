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


@pytest.mark.parametrize("shape", [*TABLES, (1, 1, 8), (1, 70_000, 3)])
def test_a_sum_of_rows_is_one_for_each_column(shape: tuple[int, int, int]) -> None:
    table = random(*shape)
    exact = table.double().sum(dim=1).float()
    torch.testing.assert_close(reductions.sum_of_rows(table), exact, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("shape", TABLES)
def test_no_bit_depends_on_the_number_of_threads(shape: tuple[int, int, int]) -> None:
    table = random(*shape)

    def sums() -> tuple[Tensor, ...]:
        return reductions.square_of(table), reductions.total(table), reductions.sum_of_rows(table)

    alone = with_threads(1, sums)
    for number in THREADS:
        found = with_threads(number, sums)
        assert all(torch.equal(a, b) for a, b in zip(alone, found, strict=True)), number


# Of a whole map, of a prime number of positions, and of fewer than a block.
GPU_TABLES = [(2, 4096, 8), (1, 1536 * 3, 16), (2, 1031, 4), (1, 40, 32)]


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 tables go the way of a GPU, whose product of bfloat16 in float32 a CPU lacks."""
    monkeypatch.setattr(reductions, "has_units", lambda table: table.dtype == torch.bfloat16)
    monkeypatch.setattr(reductions, "_product_in_float32", lambda a, b: a.float() @ b.float())


@pytest.mark.usefixtures("like_a_gpu")
@pytest.mark.parametrize("shape", GPU_TABLES)
def test_a_gpus_square_of_bfloat16_is_in_float32(shape: tuple[int, int, int]) -> None:
    table = random(*shape).bfloat16()
    found = reductions.square_of(table)
    exact = table.double().transpose(1, 2) @ table.double()
    assert found.dtype == torch.float32
    # What sums of float32 lose depends on the CPU; bfloat16 would lose a thousand times as much.
    torch.testing.assert_close(found, exact.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("like_a_gpu")
def test_a_gpus_sum_with_a_product_is_rounded_once() -> None:
    before, table, matrices = random(2, 300, 8).bfloat16(), random(2, 300, 8), random(2, 8, 8)
    found = reductions.plus_product(before, table.bfloat16(), matrices)
    exact = before.double() + table.bfloat16().double() @ matrices.bfloat16().double()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=0)


@pytest.mark.usefixtures("like_a_gpu")
def test_on_a_gpu_a_table_that_is_its_centre_is_pulled_by_the_offsets_alone() -> None:
    """The products cancel although their factors are rounded."""
    matrices, offsets = random(1, 64, 64) - 0.5, random(1, 64) / 1000
    centres = random(1, 64).bfloat16().float()
    table = centres[:, None].expand(1, 300, 64).bfloat16()
    found = reductions.plus_product(
        torch.zeros_like(table), table, matrices, centres=centres, offsets=offsets
    )
    # As well as a number in bfloat16 can cancel another one.
    product = (centres[:, None] @ matrices.bfloat16().float()).abs().max().item()
    torch.testing.assert_close(
        found.float(), offsets[:, None].expand_as(found), rtol=0.01, atol=2**-8 * product
    )


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_product_about_a_centre_is_that_of_the_differences(kind: torch.dtype) -> None:
    before, table = (random(2, 300, 8).to(kind) for _ in range(2))
    matrices, centres, offsets = random(2, 8, 8), random(2, 8), random(2, 8)
    kept = before.clone()
    found = reductions.plus_product(before, table, matrices, centres=centres, offsets=offsets)
    exact = (
        before.double()
        + (table.double() - centres[:, None].double()) @ matrices.double()
        + offsets[:, None].double()
    )
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
    assert torch.equal(before, kept)


@pytest.mark.parametrize("rows", [1, 511, 1023, 1024, 1031, 166500, 512 * 384])
def test_blocks_are_equal_and_not_small(rows: int) -> None:
    number = reductions._num_blocks(rows)
    assert rows % number == 0
    assert number == 1 or rows // number >= 512
    if rows == 512 * 384:
        assert number == 384
