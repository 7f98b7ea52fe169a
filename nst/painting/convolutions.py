"""Convolutions whose last bits do not depend on the number of threads, for CPUs in float32.

A library divides a sum over channels, or over where the windows of a stride overlap, into as many parts
as its threads make convenient. Here they are products of matrices, cut up as in `reductions`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from nst.painting.reductions import INNER

# Rows and columns of a product come in multiples of these: MKL was seen to add up in another order at
# the edge of what a thread computes where that is no multiple of 4.
_ROWS = 16
_COLUMNS = 32


def is_independent_of_threads(conv: nn.Conv2d) -> bool:
    """Whether the library's own computes the same bits with any number of threads."""
    return conv.kernel_size != (1, 1) and conv.stride == (1, 1)


def independent_of_threads(conv: nn.Conv2d) -> nn.Module:
    """`conv`, frozen, in a form whose bits no number of threads changes."""
    if is_independent_of_threads(conv):
        return conv
    return PointwiseConv2d(conv) if conv.kernel_size == (1, 1) else StridedConv2d(conv)


class PointwiseConv2d(nn.Module):
    """A frozen 1 x 1 convolution: [B,C,H,W] -> [B,K,h,w], float32, stored channels last.

    Its backward pass computes only the gradient of the input, which has no gradient of its own. Raises
    TypeError for another kind of number.
    """

    matrix: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self._down, self._across = conv.stride
        self.register_buffer("matrix", conv.weight.detach().flatten(1).contiguous())
        self.register_buffer("bias", _bias_of(conv))

    def forward(self, x: Tensor) -> Tensor:
        _check(x)
        y: Tensor = _Pointwise.apply(
            x[:, :, :: self._down, :: self._across], self.matrix, self.bias
        )
        return y


class _Pointwise(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, bias: Tensor) -> Tensor:
        ctx.matrix = matrix
        return _mixed(x, matrix.T, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _mixed(gradients[0], ctx.matrix), None, None


class StridedConv2d(nn.Module):
    """A frozen convolution with a stride: [B,C,H,W] -> [B,K,h,w], float32, stored channels last.

    As `PointwiseConv2d`. Forward it is the library's own, whose bits depend on no number of threads.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self._stride, self._padding = conv.stride, conv.padding
        weight = conv.weight.detach().contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", _bias_of(conv))

    def forward(self, x: Tensor) -> Tensor:
        _check(x)
        y: Tensor = _Strided.apply(x, self.weight, self.bias, self._stride, self._padding)
        return y


class _Strided(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.weight, ctx.stride, ctx.padding, ctx.size = weight, stride, padding, x.shape[2:]
        return functional.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        taps = ctx.weight.flatten(1)
        num_taps = taps.shape[1]
        taps = functional.pad(taps, (0, -num_taps % _COLUMNS))
        # What each position says of the window that it looked at; windows are then added up in place.
        windows = _mixed(gradients[0], taps).flatten(2)[:, :num_taps]
        found = functional.fold(
            windows, ctx.size, ctx.weight.shape[2:], padding=ctx.padding, stride=ctx.stride
        )
        return found, None, None, None, None


def _bias_of(conv: nn.Conv2d) -> Tensor:
    return (conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias).detach()


def _check(x: Tensor) -> None:
    if x.dtype != torch.float32:
        raise TypeError(f"expected float32, found {x.dtype}")


def _mixed(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """The channels of each position of a map [B,C,H,W] times a matrix [C,K], plus a bias [K]."""
    batch, channels, height, width = x.shape
    found = torch.empty(
        (batch, matrix.shape[1], height, width), memory_format=torch.channels_last, device=x.device
    )
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    made = found.permute(0, 2, 3, 1).view(-1, matrix.shape[1])
    whole = len(table) // _ROWS * _ROWS
    _multiply(table[:whole], matrix, bias, out=made[:whole])
    if whole < len(table):
        rest = functional.pad(table[whole:], (0, 0, 0, _ROWS - len(table) + whole))
        last = made.new_empty(_ROWS, matrix.shape[1])
        _multiply(rest, matrix, bias, out=last)
        made[whole:] = last[: len(table) - whole]
    return found


def _multiply(table: Tensor, matrix: Tensor, bias: Tensor | None, *, out: Tensor) -> None:
    """Fill `out` [N,K] with a table [N,C] times a matrix [C,K], plus a bias [K] in each row."""
    pieces = zip(torch.split(table, INNER, dim=1), torch.split(matrix, INNER), strict=True)
    for number, piece in enumerate(pieces):
        if number:
            out.addmm_(*piece)
        elif bias is None:
            torch.mm(*piece, out=out)
        else:
            torch.addmm(bias, *piece, out=out)
