"""Sums whose last bits depend neither on the number of threads nor on other items; pure.

PyTorch divides a sum between its threads, and MKL a product of matrices along a long inner side, so
their last bits depend on the number of threads. The optimisation amplifies a last bit to whole grey
levels within some tens of steps. Here sums are divided into pieces of a fixed length.
"""

from torch import Tensor
from torch.nn import functional

# Numbers that are added up in one piece. PyTorch cuts a sum up from 32768 on.
_ROW = 4096
# Rows of a table that are multiplied in one piece: as many as it has columns, within these bounds, so
# that the pieces' products are no larger than the table. MKL was seen to cut up a product of 128
# columns from 384 rows on with 12 threads, and one of 1024 columns from 1024 rows on with 48.
_MIN_BLOCK, _MAX_BLOCK = 256, 512


def total(values: Tensor, *, kept: int = 1) -> Tensor:
    """The sums over all but the first `kept` dimensions: [B,...] -> [B]."""
    flat = values.reshape(*values.shape[:kept], -1)
    padding = -flat.shape[-1] % _ROW
    if padding:
        flat = functional.pad(flat, (0, padding))
    return flat.view(*flat.shape[:-1], -1, _ROW).sum(dim=-1).sum(dim=-1)


def mean(values: Tensor, *, kept: int = 1) -> Tensor:
    """The means over all but the first `kept` dimensions: [B,...] -> [B]."""
    return total(values, kept=kept) / values.shape[kept:].numel()


def square_of(table: Tensor) -> Tensor:
    """T' T of tables of N rows and C columns: [B,N,C] -> [B,C,C]."""
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
