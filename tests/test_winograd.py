from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nst.painting import winograd
from nst.painting.winograd import WinogradConv2d, suits

pytestmark = pytest.mark.usefixtures("two_threads")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def conv_of(in_channels: int, out_channels: int, *, bias: bool = True) -> nn.Conv2d:
    """A 3 x 3 convolution that keeps the size, with seeded weights."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias).requires_grad_(False)
    conv.weight.copy_(random(*conv.weight.shape) / (9 * in_channels) ** 0.5)
    if conv.bias is not None:
        conv.bias.copy_(random(out_channels, seed=1))
    return conv


def exact(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """torch's own in double precision."""
    bias = None if conv.bias is None else conv.bias.double()
    return functional.conv2d(x.double(), conv.weight.double(), bias, padding=1)


def assert_near(found: Tensor, expected: Tensor) -> None:
    """Within what float32 loses by the transforms, relative to the largest value."""
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    error = (found.double() - expected).abs().max() / expected.abs().max()
    assert error < 1e-5


SIZES = [(1, 1), (1, 9), (2, 3), (3, 2), (4, 4), (5, 9), (8, 13), (17, 31), (32, 20)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_the_convolution_there_and_back(
    size: tuple[int, int], bias: bool, batch: int
) -> None:
    conv = conv_of(5, 7, bias=bias)
    x = random(batch, 5, *size, seed=2).requires_grad_(True)
    pull = random(batch, 7, *size, seed=3)

    y = WinogradConv2d(conv)(x)
    (gradient,) = torch.autograd.grad(y, x, pull)

    double = x.detach().double().requires_grad_(True)
    expected = exact(conv, double)
    (expected_gradient,) = torch.autograd.grad(expected, double, pull.double())
    assert_near(y.detach(), expected.detach())
    assert_near(gradient, expected_gradient)


@pytest.mark.parametrize(("in_channels", "out_channels"), [(64, 128), (256, 256)])
def test_equals_the_convolution_at_the_widths_of_a_backbone(
    in_channels: int, out_channels: int
) -> None:
    conv = conv_of(in_channels, out_channels)
    x = random(1, in_channels, 18, 14, seed=2)
    assert_near(WinogradConv2d(conv)(x), exact(conv, x))


@pytest.mark.parametrize("fitting", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("size", [(8, 13), (17, 31), (32, 20)])
def test_the_size_of_a_block_makes_no_difference(
    size: tuple[int, int], fitting: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    conv = WinogradConv2d(conv_of(7, 7))
    x = random(2, 7, *size).requires_grad_(True)
    pull = random(2, 7, *size, seed=3)
    whole = conv(x)
    (gradient,) = torch.autograd.grad(whole, x, pull)
    assert winograd.block_tiles(9, 9, conv.forward_filter) == (9, 9)

    # Between its steps a tile has two patches of the inputs, one of the products and its outputs.
    monkeypatch.setattr(winograd, "_MAX_BLOCK_BYTES", fitting * 4 * (36 * (2 * 7 + 7) + 16 * 7))
    rows, columns = winograd.block_tiles(9, 9, conv.backward_filter)
    assert rows * columns <= fitting
    parts = conv(x)
    assert_near(parts.detach(), whole.detach().double())
    assert_near(torch.autograd.grad(parts, x, pull)[0], gradient.double())


def test_a_block_stays_in_the_cache_however_large_the_picture_is() -> None:
    filters = torch.empty((36, 128, 128), device="meta")
    rows, columns = winograd.block_tiles(1000, 2000, filters)
    assert 4 * rows * columns * (3 * 36 + 16) * 128 < 10e6
    assert winograd.block_tiles(7, 10, filters) == (7, 10)
    wide = torch.empty((36, 512, 512), device="meta")
    rows, columns = winograd.block_tiles(1000, 2000, wide)
    assert 30e6 < 4 * rows * columns * (3 * 36 + 16) * 512 < 42e6


def test_the_memory_of_a_block_serves_the_next() -> None:
    large, small = (WinogradConv2d(conv_of(*channels)) for channels in [(64, 64), (5, 7)])
    large(random(1, 64, 41, 33))
    kept = winograd._scratch.parts([1])[0].data_ptr()
    small(random(1, 5, 9, 9))
    large(random(1, 64, 41, 33))
    assert winograd._scratch.parts([1])[0].data_ptr() == kept


def test_inference_mode_leaves_nothing_that_training_cannot_use() -> None:
    conv = WinogradConv2d(conv_of(5, 7))
    x = random(1, 5, 10, 11)

    def paint() -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            first = conv(x).clone()
        return first.clone(), conv(x.requires_grad_(True)).detach()

    # In a thread that has no memory yet.
    with ThreadPoolExecutor(1) as threads:
        first, second = threads.submit(paint).result()
    assert torch.equal(first, second)


def test_another_kind_of_number_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected float32, found torch\.float64"):
        WinogradConv2d(conv_of(5, 7))(random(1, 5, 4, 4).double())


def test_threads_do_not_share_what_lies_between_the_steps() -> None:
    convs = [WinogradConv2d(conv_of(*channels)) for channels in [(5, 7), (64, 128), (3, 2)]]
    inputs = [random(1, conv.forward_filter.shape[1], 40, 33) for conv in convs]

    def paint(_: int) -> list[list[Tensor]]:
        return [[conv(x) for conv, x in zip(convs, inputs, strict=True)] for _ in range(5)]

    (expected, *_) = paint(0)
    with ThreadPoolExecutor(4) as threads:
        found = [round_ for rounds in threads.map(paint, range(4)) for round_ in rounds]
    for each in found:
        assert all(torch.equal(a, b) for a, b in zip(each, expected, strict=True))


def test_how_the_input_lies_in_memory_makes_no_difference() -> None:
    conv = WinogradConv2d(conv_of(5, 7))
    x = random(2, 5, 10, 11)
    assert torch.equal(conv(x), conv(x.contiguous(memory_format=torch.channels_last)))
    assert torch.equal(conv(x), conv(x.transpose(2, 3).contiguous().transpose(2, 3)))
    assert conv(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
def test_what_follows_may_work_in_place(bias: bool, size: tuple[int, int]) -> None:
    conv = conv_of(5, 7, bias=bias)
    x = random(2, 5, *size).requires_grad_(True)
    y = nn.Sequential(WinogradConv2d(conv), nn.ReLU(inplace=True))(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    double = x.detach().double().requires_grad_(True)
    (expected,) = torch.autograd.grad(exact(conv, double).relu().sum(), double)
    assert_near(gradient, expected)


def test_neither_the_input_nor_the_convolution_is_changed() -> None:
    conv = conv_of(5, 7)
    x = random(1, 5, 6, 6)
    before, weight = x.clone(), conv.weight.clone()
    WinogradConv2d(conv)(x)
    assert torch.equal(x, before)
    assert torch.equal(conv.weight, weight)


def test_has_nothing_to_train() -> None:
    assert not list(WinogradConv2d(conv_of(5, 7)).parameters())


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "options", "expected"),
    [
        (64, 128, {}, True),
        (128, 64, {}, True),
        (512, 512, {"bias": False}, True),
        (64, 64, {}, False),
        (3, 64, {}, False),
        (128, 128, {"stride": 2}, False),
        (128, 128, {"stride": (1, 2)}, False),
        (128, 128, {"dilation": 2, "padding": 2}, False),
        (128, 128, {"dilation": 2}, False),
        (128, 128, {"padding": 0}, False),
        (128, 128, {"groups": 2}, False),
        (128, 128, {"kernel_size": 1, "padding": 0}, False),
        (128, 128, {"kernel_size": 5, "padding": 2}, False),
        (128, 128, {"kernel_size": (3, 1)}, False),
    ],
)
def test_what_suits(
    in_channels: int, out_channels: int, options: dict[str, Any], expected: bool
) -> None:
    values = {"kernel_size": 3, "padding": 1} | options
    with torch.device("meta"):
        assert suits(nn.Conv2d(in_channels, out_channels, **values)) == expected
