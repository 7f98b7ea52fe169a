"""Sums whose last bits depend neither on the number of threads nor on other items; pure.

PyTorch divides a sum between its threads, and MKL a product of matrices along a long inner side, so
their last bits depend on the number of threads. The optimisation amplifies a last bit to whole grey
levels within some tens of steps. Here sums are divided into pieces of a fixed length.
"""

import torch
from torch import Tensor
from torch.nn import functional

# Numbers that are added up in one piece. PyTorch cuts a sum up from 32768 on.
_ROW = 4096
# Rows of a table that are multiplied in one piece: as many as it has columns, within these bounds, so
# that the pieces' products are no larger than the table. MKL was seen to cut up a product of 128
# columns from 384 rows on with 12 threads, and one of 1024 columns from 1024 rows on with 48.
_MIN_BLOCK, _MAX_BLOCK = 256, 512
# The inner side of a product that is multiplied in one piece, so that no library divides that sum between
# its threads.
INNER = 256
# Rows that are added up in one piece: too few for MKL to cut the piece up.
_ROWS = 256
# A product of few columns and very many rows is one piece of work, for one of a GPU's hundred and more
# processors. In blocks of at least so many rows it is one for each, and the sum of the blocks is small.
_GPU_BLOCK = 512


def total(values: Tensor, *, kept: int = 1) -> Tensor:
    """The sums over all but the first `kept` dimensions: [B,...] -> [B]."""
    if values.device.type != "cpu" and values.ndim > kept:
        # In one launch, in whatever order it lies: a GPU's own sum does not depend on threads.
        return values.sum(dim=tuple(range(kept, values.ndim)))
    flat = values.reshape(*values.shape[:kept], -1)
    padding = -flat.shape[-1] % _ROW
    if padding:
        flat = functional.pad(flat, (0, padding))
    return flat.view(*flat.shape[:-1], -1, _ROW).sum(dim=-1).sum(dim=-1)


def mean(values: Tensor, *, kept: int = 1) -> Tensor:
    """The means over all but the first `kept` dimensions: [B,...] -> [B]."""
    return total(values, kept=kept) / values.shape[kept:].numel()


def sum_of_rows(table: Tensor) -> Tensor:
    """The sums of the columns of tables of N rows, in float32 at least: [B,N,C] -> [B,C]."""
    if table.device.type != "cpu":
        return table.sum(dim=1, dtype=torch.promote_types(table.dtype, torch.float32))
    if table.dtype == torch.bfloat16:
        table = table.float()
    while table.shape[1] > 1:
        batch, rows, columns = table.shape
        whole = rows // _ROWS * _ROWS
        # By products with a row of ones: PyTorch's own sum cuts the columns up between its threads, and
        # adds those up in another order that are left over beside whole vectors.
        pieces = [table.new_ones(1, rows - whole) @ table[:, whole:]] if rows > whole else []
        if whole:
            blocks = table[:, :whole].reshape(batch, -1, _ROWS, columns)
            pieces.insert(0, (table.new_ones(1, _ROWS) @ blocks)[:, :, 0])
        table = torch.cat(pieces, dim=1)
    return table[:, 0]


def square_of(table: Tensor) -> Tensor:
    """T' T of tables of N rows and C columns, in float32 at least: [B,N,C] -> [B,C,C].

    A GPU multiplies bfloat16 as it is; products are added up in float32, and stay so.
    """
    if has_units(table):
        return _square_in_float32(table)
    if table.dtype == torch.bfloat16:
        table = table.float()
    if table.device.type != "cpu":
        # No threads of ours, and a batch whose blocks would have to be copied.
        return table.transpose(1, 2) @ table
    batch, rows, columns = table.shape
    block = min(max(_MIN_BLOCK, columns), _MAX_BLOCK)
    whole = rows // block * block
    rest = table[:, whole:]
    product = rest.transpose(1, 2) @ rest
    if whole:
        blocks = table[:, :whole].view(batch, -1, block, columns)
        product = product + (blocks.transpose(2, 3) @ blocks).sum(dim=1)
    return product


def plus_product(
    sum_so_far: Tensor,
    table: Tensor,
    matrices: Tensor,
    *,
    centres: Tensor | None = None,
    offsets: Tensor | None = None,
) -> Tensor:
    """S + (T - c) M + o of tables of N rows, [B,N,C], [B,N,C], [B,C,C] and [B,C] twice -> [B,N,C].

    A GPU multiplies bfloat16 as it is, adds up in float32, and rounds the sum once, or twice with
    offsets; elsewhere it is float32, as `matrices` are. Without centres and offsets it is S + T M.
    """
    is_as_it_is = has_units(table)
    factors = matrices.to(table.dtype) if is_as_it_is else matrices
    rows = None
    if centres is not None and offsets is not None:
        # By the factors as they are rounded: T M and c M are to cancel.
        rows = offsets[:, None] - centres[:, None] @ factors.float()
    if is_as_it_is:
        if rows is not None:
            sum_so_far = sum_so_far + rows.to(table.dtype)
        return torch.baddbmm(sum_so_far, table, factors)
    found = torch.baddbmm(sum_so_far.float(), table.float(), factors)
    return found if rows is None else found.add_(rows)


def has_units(table: Tensor) -> bool:
    """Whether a table is multiplied as it is, by a GPU's units for bfloat16, and added up in float32."""
    return table.device.type == "cuda" and table.dtype == torch.bfloat16


def _square_in_float32(table: Tensor) -> Tensor:
    """T' T of bfloat16 tables, in float32, many blocks of rows side by side."""
    batch, rows, columns = table.shape
    blocks = table.reshape(batch * _num_blocks(rows), -1, columns)
    products = _product_in_float32(blocks.transpose(1, 2), blocks)
    return products.view(batch, -1, columns, columns).sum(dim=1)


def _product_in_float32(a: Tensor, b: Tensor) -> Tensor:
    """The products of bfloat16 matrices in float32, never rounded to bfloat16."""
    return torch.bmm(a, b, out_dtype=torch.float32)


def _num_blocks(rows: int) -> int:
    """How many equal blocks a table of so many rows is cut into, each of _GPU_BLOCK rows or more."""
    return next(n for n in range(max(1, rows // _GPU_BLOCK), 0, -1) if rows % n == 0)
