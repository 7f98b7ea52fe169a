from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nst.painting.convolutions import (
    PointwiseConv2d,
    StridedConv2d,
    independent_of_threads,
    is_independent_of_threads,
)


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def conv_of(
    in_channels: int, out_channels: int, side: int, *, stride: int = 1, bias: bool = True
) -> nn.Conv2d:
    """With seeded weights, and as much padding as keeps the size where it has no stride."""
    conv = nn.Conv2d(in_channels, out_channels, side, stride, side // 2, bias=bias)
    conv = conv.requires_grad_(False)
    conv.weight.copy_(random(*conv.weight.shape) / (side**2 * in_channels) ** 0.5)
    if conv.bias is not None:
        conv.bias.copy_(random(out_channels, seed=1))
    return conv


def there_and_back(module: nn.Module, x: Tensor, seed: int = 3) -> tuple[Tensor, Tensor]:
    """What a convolution makes of a map [B,C,H,W], and the gradient of a seeded sum of that."""
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_(True)
    y: Tensor = module(x)
    (gradient,) = torch.autograd.grad(y, x, random(*y.shape, seed=seed))
    return y.detach(), gradient


def exact(conv: nn.Conv2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """torch's own in double precision."""
    x = x.double().requires_grad_(True)
    bias = None if conv.bias is None else conv.bias.double()
    y = functional.conv2d(x, conv.weight.double(), bias, conv.stride, conv.padding)
    (gradient,) = torch.autograd.grad(y, x, random(*y.shape, seed=3).double())
    return y.detach(), gradient


# As ResNet-50 has them, with either topology: 1 x 1, also with a stride, 3 x 3 and 7 x 7 with one. Of
# the channels some are more than a piece, and no multiple of it.
CONVS = [
    (16, 64, 1, 1),
    (300, 32, 1, 1),
    (600, 96, 1, 2),
    (3, 64, 7, 2),
    (64, 32, 3, 2),
    (32, 288, 3, 2),
]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 10), (16, 16), (18, 33)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("channels", "made", "side", "stride"), CONVS)
def test_equals_the_convolution_there_and_back(
    channels: int, made: int, side: int, stride: int, batch: int, bias: bool, size: tuple[int, int]
) -> None:
    conv = conv_of(channels, made, side, stride=stride, bias=bias)
    x = random(batch, channels, *size, seed=2)
    expected = exact(conv, x)
    module = independent_of_threads(conv)
    assert isinstance(module, PointwiseConv2d if side == 1 else StridedConv2d)
    for found, wanted in zip(there_and_back(module, x), expected, strict=True):
        assert found.shape == wanted.shape
        assert found.dtype == torch.float32
        assert (found.double() - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("size", [(5, 7), (9, 14), (43, 64)])
@pytest.mark.parametrize(
    ("channels", "made", "side", "stride"),
    [(64, 256, 1, 1), (1024, 256, 1, 1), (256, 512, 1, 2), (3, 64, 7, 2), (128, 128, 3, 2)],
)
def test_the_number_of_threads_changes_no_bit(
    channels: int, made: int, side: int, stride: int, size: tuple[int, int]
) -> None:
    module = independent_of_threads(conv_of(channels, made, side, stride=stride))
    x = random(1, channels, *size)
    torch.set_num_threads(1)
    alone = there_and_back(module, x)
    for number in (2, 3, 5, 16):
        torch.set_num_threads(number)
        for one, other in zip(there_and_back(module, x), alone, strict=True):
            assert torch.equal(one, other), number


def test_a_convolution_that_depends_on_no_threads_stays_as_it_is() -> None:
    conv = conv_of(16, 8, 3)
    assert is_independent_of_threads(conv)
    assert independent_of_threads(conv) is conv


def test_what_it_makes_may_be_changed_in_place() -> None:
    """As a network does that has its activations so, with the gradient that it would have otherwise."""
    for side, stride in ((1, 1), (3, 2)):
        conv = conv_of(8, 16, side, stride=stride)
        x = random(1, 8, 6, 5).requires_grad_(True)
        gradients = []
        for module in (conv, independent_of_threads(conv)):
            y = functional.relu(module(x), inplace=True)
            gradients.append(torch.autograd.grad(y, x, torch.ones_like(y))[0])
        one, other = gradients
        assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("side", [1, 3])
def test_another_kind_of_number_is_refused(side: int) -> None:
    module = independent_of_threads(conv_of(8, 8, side, stride=2))
    with pytest.raises(TypeError, match=r"expected float32, found torch\.bfloat16"):
        module(random(1, 8, 4, 4).bfloat16())
