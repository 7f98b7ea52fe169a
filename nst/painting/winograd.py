"""3 x 3 convolutions with a quarter of the multiplications, for CPUs.

Winograd's minimal filtering F(4 x 4, 3 x 3) as of Lavin and Gray, "Fast Algorithms for
Convolutional Neural Networks" (CVPR 2016, section 4.3): tiles of 6 x 6 inputs give 4 x 4 outputs by
36 multiplications where the sum over the filter takes 144. The transforms are exact in theory, and
cost about two more decimal digits of float32 than the sum.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

_TILE = 4
_PATCH = 6

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

    Its backward pass computes only the gradient of the input.
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
        y: Tensor = _Convolution.apply(x, self.forward_filter, self.backward_filter, self.bias)
        return y


class _Convolution(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, forward_filter: Tensor, backward_filter: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.backward_filter = backward_filter
        found = _convolved(x.permute(0, 2, 3, 1), forward_filter)
        # A tensor of its own and no view, which the ReLU that works in place would make autograd
        # copy back and forth.
        batch, height, width, channels = found.shape
        shape = (batch, channels, height, width)
        y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
        torch.add(found, bias, out=y.permute(0, 2, 3, 1))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        found = _convolved(gradients[0].permute(0, 2, 3, 1), ctx.backward_filter)
        return found.contiguous().permute(0, 3, 1, 2), None, None, None


def _transformed(weight: Tensor) -> Tensor:
    """[K,C,3,3] -> [36,C,K]."""
    spread = torch.einsum("ia,kcab,jb->ijck", _FILTER, weight.double(), _FILTER)
    return spread.flatten(0, 1).to(weight.dtype).contiguous()


def _convolved(x: Tensor, filters: Tensor) -> Tensor:
    """[B,H,W,C] -> [B,H,W,K], without its bias; a view of whole tiles."""
    batch, height, width, channels = x.shape
    down, across = -(-height // _TILE), -(-width // _TILE)
    bottom, right = down * _TILE + 1 - height, across * _TILE + 1 - width
    padded = x.new_empty(batch, height + 1 + bottom, width + 1 + right, channels)
    padded[:, 1 : height + 1, 1 : width + 1] = x
    for border in (
        padded[:, :1],
        padded[:, height + 1 :],
        padded[:, :, :1],
        padded[:, :, width + 1 :],
    ):
        border.zero_()
    image, row, column, _ = padded.stride()
    patches = padded.as_strided(
        (_PATCH, _PATCH, batch, down, across, channels),
        (row, column, image, _TILE * row, _TILE * column, 1),
    ).reshape(_PATCH**2, -1)
    spread = (_INPUT_2D @ patches).view(_PATCH**2, -1, channels)
    del patches, padded
    products = torch.bmm(spread, filters).view(_PATCH**2, -1)
    del spread
    tiles = (_OUTPUT_2D @ products).view(_TILE, _TILE, batch, down, across, -1)
    y = tiles.permute(2, 3, 0, 4, 1, 5).reshape(batch, down * _TILE, across * _TILE, -1)
    return y[:, :height, :width]
