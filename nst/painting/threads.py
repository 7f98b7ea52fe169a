"""How many threads PyTorch computes with, where that is not all there are."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import prod

import torch

# Of the gradient of a first convolution, and of a Fourier transform, the last bits were seen to depend on
# how many threads there are: with 70 x 96 pixels and fewer, and with none of 112 x 64 and more.
_SMALL_PX = 112 * 64
# From 24 threads on MKL was seen to divide the sums of products of small matrices, up to 16 of none.
_MAX_THREADS = 16


def one_thread() -> AbstractContextManager[None]:
    """Within this, PyTorch computes on this thread alone.

    So does a thread that first computes meanwhile, for good: it takes the number over.
    """
    return _threads(1)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def same_with_any_number(size: Sequence[int], device: torch.device) -> AbstractContextManager[None]:
    """Within this, what is computed of a picture [height, width] has the same bits with any number of threads.

    A small one has one thread alone on a CPU; what is made of larger ones cares for it by itself.
    """
    is_small = device.type == "cpu" and prod(size) < _SMALL_PX
    return one_thread() if is_small else nullcontext()


def same_products_with_any_number(device: torch.device) -> AbstractContextManager[None]:
    """Within this, products of matrices as large as pictures have the same bits with any number of threads.

    Cut into pieces along their inner side they would not: MKL divides those of 256 as well.
    """
    has_many = device.type == "cpu" and torch.get_num_threads() > _MAX_THREADS
    return _threads(_MAX_THREADS) if has_many else nullcontext()
