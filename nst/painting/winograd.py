"""3 x 3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's minimal filtering F(4 x 4, 3 x 3) as of Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks" (CVPR 2016, section 4.3): tiles of 6 x 6 inputs give 4 x 4 outputs by
36 multiplications where the sum over the filter takes 144. The transforms are exact in theory, and
cost about two more decimal digits of float32 than the sum.
"""

import threading
from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

_TILE = 4
_PATCH = 6
_PADDING = 1
_TAPS = 3

# B^T, G and A^T of the paper.
_INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_FILTER = torch.tensor(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    dtype=torch.float64,
)
_OUTPUT = torch.tensor(
    [
        [1.0, 1, 1, 1, 1, 0],
        [0, 1, -1, 2, -2, 0],
        [0, 1, 1, 4, 4, 0],
        [0, 1, -1, 8, -8, 1],
    ]
)
# Both axes in one product: a matrix product is what the machine does best.
_INPUT_2D = torch.kron(_INPUT, _INPUT)
_OUTPUT_2D = torch.kron(_OUTPUT, _OUTPUT)

# Below this many products of channels the transforms cost what the multiplications save.
_MIN_CHANNEL_PRODUCT = 64 * 128
# Of what lies between the steps of a block, as measured on a CPU with a cache of 32 MB. Smaller blocks
# cost more calls than they save; of larger ones, two steps after each other are in no cache. In between,
# the filters are the less often read again the larger a block is.
_MIN_BLOCK_BYTES = 8 << 20
_MAX_BLOCK_BYTES = 40 << 20
# Whose transforms are some MB in float64.
_FILTERS_AT_ONCE = 1 << 14


def suits(conv: nn.Conv2d) -> bool:
    """Whether `conv` is 3 x 3 with padding 1 and stride 1, and has enough channels to be faster."""
    return (
        conv.kernel_size == (3, 3)
        and conv.padding == (1, 1)
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.in_channels * conv.out_channels >= _MIN_CHANNEL_PRODUCT
    )


class WinogradConv2d(nn.Module):
    """A frozen convolution that `suits`: [B,C,H,W] -> [B,K,H,W], float32, stored channels last.

    Its backward pass computes only the gradient of the input, which has no gradient of its own. Raises
    TypeError for another kind of number.
    """

    forward_filter: Tensor
    backward_filter: Tensor
    bias: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        weight = conv.weight.detach()
        self.register_buffer("forward_filter", _transformed(weight))
        # The gradient of a convolution's input is one with the filter turned by half a circle.
        self.register_buffer("backward_filter", _transformed(weight.transpose(0, 1).flip(2, 3)))
        bias = weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias.detach()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError(f"expected float32, found {x.dtype}")
        y: Tensor = _Convolution.apply(x, self.forward_filter, self.backward_filter, self.bias)
        return y


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, forward_filter: Tensor, backward_filter: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.backward_filter = backward_filter
        return _convolved(x, forward_filter, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        return _convolved(gradients[0], ctx.backward_filter), None, None, None


def _transformed(weight: Tensor) -> Tensor:
    """[K,C,3,3] -> [36,C,K]."""
    made, channels = weight.shape[:2]
    taps = weight.permute(2, 3, 1, 0).reshape(_TAPS, _TAPS, -1)
    spread = weight.new_empty((_PATCH, _PATCH, channels * made))
    # In float64, a part at a time that stays in the cache: the whole would go to memory and back.
    parts = (torch.split(each, _FILTERS_AT_ONCE, dim=2) for each in (taps, spread))
    for part, found in zip(*parts, strict=True):
        down = (_FILTER @ part.double().reshape(_TAPS, -1)).view(_PATCH, _TAPS, -1)
        for taps_across, target in zip(_FILTER.tolist(), found.unbind(dim=1), strict=True):
            target.copy_(sum(tap * down[:, n] for n, tap in enumerate(taps_across)))
    return spread.view(_PATCH**2, channels, made)


def _convolved(x: Tensor, filters: Tensor, bias: Tensor | None = None) -> Tensor:
    """[B,C,H,W] -> [B,K,H,W], stored channels last; a tensor of its own.

    A view would be copied back and forth by autograd, where a ReLU works on it in place.
    """
    batch, _, height, width = x.shape
    down, across = -(-height // _TILE), -(-width // _TILE)
    shape = (batch, filters.shape[2], height, width)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    rows, columns = block_tiles(down, across, filters)
    for image, found in zip(x.permute(0, 2, 3, 1), y.permute(0, 2, 3, 1), strict=True):
        for top in range(0, height, _TILE * rows):
            for left in range(0, width, _TILE * columns):
                part = found[top : top + _TILE * rows, left : left + _TILE * columns]
                _convolve_block(image, top - _PADDING, left - _PADDING, filters, bias, part)
    return y


def block_tiles(down: int, across: int, filters: Tensor) -> tuple[int, int]:
    """How many tiles of so many, down and across, go through the steps at a time, by `filters` [36,C,K].

    For a whole picture, what lies between two steps would go to memory and back.
    """
    _, channels, made = filters.shape
    each = filters.element_size() * (2 * _PATCH**2 * channels + (_PATCH**2 + _TILE**2) * made)
    fitting = min(max(4 * filters.nbytes, _MIN_BLOCK_BYTES), _MAX_BLOCK_BYTES) // each
    columns = _evenly(across, fitting)
    return _evenly(down, fitting // columns), columns


def _evenly(whole: int, at_most: int) -> int:
    """The size of the parts of a whole, as few as can be; the last may be smaller."""
    parts = -(-whole // max(1, at_most))
    return -(-whole // parts)


class _Scratch(threading.local):
    """Memory of a thread for the block that it is at, some 50 MB at most, kept from one to the next.

    The system takes longer to give it anew for each convolution than a small one takes.
    """

    def __init__(self) -> None:
        self._all = torch.empty(0)

    def parts(self, sizes: Sequence[int]) -> tuple[Tensor, ...]:
        """Parts of so many values, float32, each with whatever is in it."""
        if sum(sizes) > len(self._all):
            # Not both at once.
            self._all = torch.empty(0)
            # Made in inference mode, it could be used in no other.
            with torch.inference_mode(False):
                self._all = torch.empty(sum(sizes), dtype=torch.float32, device="cpu")
        return torch.split(self._all[: sum(sizes)], list(sizes))


_scratch = _Scratch()


def _convolve_block(
    image: Tensor, top: int, left: int, filters: Tensor, bias: Tensor | None, found: Tensor
) -> None:
    """Fill `found` [h,w,K] from `image` [H,W,C], in which it lies, with its padding, at `top` and `left`."""
    height, width, made = found.shape
    channels = image.shape[2]
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    whole = (_TILE * rows, _TILE * columns)
    shape = (whole[0] + 2 * _PADDING, whole[1] + 2 * _PADDING, channels)
    tiles = rows * columns
    sizes = [_PATCH**2 * tiles * size for size in (channels, channels, made)]
    own, patches, spread, products, outputs = _scratch.parts(
        [prod(shape), *sizes, _TILE**2 * tiles * made]
    )
    padded = own.view(shape)
    _cut(image, top, left, padded)
    row, column, _ = padded.stride()
    patches.view(_PATCH, _PATCH, rows, columns, channels).copy_(
        padded.as_strided(
            (_PATCH, _PATCH, rows, columns, channels),
            (row, column, _TILE * row, _TILE * column, 1),
        )
    )
    torch.mm(_INPUT_2D, patches.view(_PATCH**2, -1), out=spread.view(_PATCH**2, -1))
    torch.bmm(
        spread.view(_PATCH**2, tiles, channels),
        filters,
        out=products.view(_PATCH**2, tiles, made),
    )
    torch.mm(_OUTPUT_2D, products.view(_PATCH**2, -1), out=outputs.view(_TILE**2, -1))
    placed = outputs.view(_TILE, _TILE, rows, columns, made).permute(2, 0, 3, 1, 4)
    if (height, width) == whole:
        target = found.view(rows, _TILE, columns, _TILE, made)
    else:
        # Whole tiles go beyond the picture here. The products are needed no more.
        beyond = products[: len(outputs)]
        beyond.view(rows, _TILE, columns, _TILE, made).copy_(placed)
        placed = beyond.view(*whole, made)[:height, :width]
        target = found
    if bias is None:
        target.copy_(placed)
    else:
        torch.add(placed, bias, out=target)


def _cut(image: Tensor, top: int, left: int, part: Tensor) -> None:
    """Copy into `part` [h,w,C] what `image` [H,W,C] has from `top` and `left` on; zeros outside."""
    (first, last), (begin, end) = (
        (max(0, -start), min(size, whole - start))
        for start, size, whole in zip((top, left), part.shape[:2], image.shape[:2], strict=True)
    )
    for outside in (part[:first], part[last:], part[:, :begin], part[:, end:]):
        outside.zero_()
    part[first:last, begin:end] = image[top + first : top + last, left + begin : left + end]
