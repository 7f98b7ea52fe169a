from collections.abc import Mapping
from copy import deepcopy

import pytest
import torch
from torch import nn

from nst.painting import load_backbone, load_state, obtain
from nst.painting.backbones import RoundedConv2d, frozen_conv
from nst.painting.precision import DTYPES, multiplied_in, resolve_precision
from nst.painting.winograd import WinogradConv2d
from nst.settings import Precision
from tests.helpers import vgg16

CPU = torch.device("cpu")
AMX = {"amx_bf16": True, "amx_tile": True, "avx512_bf16": True}


def with_cpu(
    monkeypatch: pytest.MonkeyPatch, has: Mapping[str, bool], *, lets: bool = True
) -> None:
    """A CPU with these capabilities, whose system lets processes have its tiles or not."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has, raising=False)
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: lets, raising=False)


def with_gpus(monkeypatch: pytest.MonkeyPatch, *capabilities: tuple[int, int]) -> None:
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: capabilities[device.index or 0]
    )


@pytest.mark.parametrize("choice", ["float32", "bfloat16"])
@pytest.mark.parametrize("has", [AMX, {}])
def test_what_was_said_is_taken_whatever_the_device_has(
    monkeypatch: pytest.MonkeyPatch, choice: Precision, has: Mapping[str, bool]
) -> None:
    with_cpu(monkeypatch, has)
    assert resolve_precision(choice, CPU) == choice


@pytest.mark.parametrize(
    ("has", "lets", "expected"),
    [
        (AMX, True, "bfloat16"),
        (AMX, False, "float32"),
        ({"avx512_bf16": True, "avx512_f": True}, True, "float32"),
        ({"amx_tile": True, "amx_int8": True}, True, "float32"),
        # Of an Arm.
        ({"neon": True, "bf16": True, "sve_bf16": True}, False, "float32"),
        ({}, False, "float32"),
    ],
)
def test_auto_is_bfloat16_on_a_cpu_with_tiles_of_it_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, has: Mapping[str, bool], lets: bool, expected: str
) -> None:
    with_cpu(monkeypatch, has, lets=lets)
    assert resolve_precision("auto", CPU) == expected


def test_auto_is_float32_where_pytorch_cannot_use_the_tiles(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_cpu(monkeypatch, AMX)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert resolve_precision("auto", CPU) == "float32"


@pytest.mark.parametrize(("has_tiles", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_asks_an_earlier_pytorch_as_that_can_be_asked(
    monkeypatch: pytest.MonkeyPatch, has_tiles: bool, expected: str
) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_tiles)
    monkeypatch.delattr(torch.cpu, "_init_amx")
    assert resolve_precision("auto", CPU) == expected


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 1), "float32"),
        ((7, 5), "float32"),
        ((8, 0), "bfloat16"),
        ((8, 9), "bfloat16"),
        ((9, 0), "bfloat16"),
        ((12, 0), "bfloat16"),
    ],
)
def test_auto_goes_by_the_generation_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: str
) -> None:
    with_gpus(monkeypatch, capability)
    assert resolve_precision("auto", torch.device("cuda:0")) == expected


def test_auto_of_several_devices_is_what_all_of_them_have_units_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gpus(monkeypatch, (9, 0), (7, 5), (8, 0))
    first, second, third = (torch.device(f"cuda:{n}") for n in range(3))
    assert resolve_precision("auto", first, third) == "bfloat16"
    assert resolve_precision("auto", first, second, third) == "float32"


def test_auto_is_float32_on_other_kinds_of_device() -> None:
    assert resolve_precision("auto", torch.device("mps")) == "float32"


def test_auto_is_something_that_this_machine_can_compute_in() -> None:
    precision = resolve_precision("auto", CPU)
    features = vgg16(precision=precision)(torch.full((1, 3, 32, 32), 0.5))
    assert all(found.isfinite().all() for found in features.values())


def test_a_convolution_takes_the_form_that_suits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wide, narrow = (nn.Conv2d(c, 128, 3, padding=1) for c in (64, 3))
    assert isinstance(frozen_conv(wide, CPU, "float32"), WinogradConv2d)
    plain = frozen_conv(narrow, CPU, "float32")
    assert isinstance(plain, nn.Conv2d)
    assert plain.weight.dtype == torch.float32
    with_cpu(monkeypatch, AMX)
    half = frozen_conv(wide, CPU, "bfloat16")
    assert isinstance(half, nn.Conv2d)
    assert half.weight.dtype == torch.bfloat16
    with_cpu(monkeypatch, {})
    small = frozen_conv(nn.Conv2d(64, 128, 3, padding=1), CPU, "bfloat16", compact=True)
    assert isinstance(small, nn.Conv2d)
    assert small.weight.dtype == torch.bfloat16
    assert not any(p.requires_grad for p in (*plain.parameters(), *half.parameters()))


@pytest.mark.parametrize(
    ("before", "after", "size", "stride"),
    [(64, 128, 3, 1), (3, 64, 3, 1), (32, 64, 1, 1), (32, 64, 1, 2), (16, 24, 3, 2)],
)
def test_without_hardware_for_it_bfloat16_is_multiplied_in_float32(
    monkeypatch: pytest.MonkeyPatch, before: int, after: int, size: int, stride: int
) -> None:
    """Features and their gradient are what they are in double, rounded: nothing else is lost."""
    with_cpu(monkeypatch, {})
    generator = torch.Generator().manual_seed(1)
    conv = nn.Conv2d(before, after, size, stride, padding=size // 2)
    with torch.no_grad():
        for each in conv.parameters():
            each.copy_(torch.randn(each.shape, generator=generator))
    x = torch.randn(2, before, 18, 22, generator=generator).bfloat16()
    exact = deepcopy(conv).bfloat16().double()
    module = frozen_conv(conv, CPU, "bfloat16")
    assert isinstance(module, RoundedConv2d)
    assert not any(each.requires_grad for each in module.parameters())
    expected_of, found_of = x.double(), x.clone(memory_format=torch.channels_last)
    expected, found = exact(expected_of.requires_grad_(True)), module(found_of.requires_grad_(True))
    assert found.is_contiguous(memory_format=torch.channels_last)
    pull = torch.randn(found.shape, generator=generator).bfloat16()
    (expected_slope,) = torch.autograd.grad(expected, expected_of, pull.double())
    (slope,) = torch.autograd.grad(found, found_of, pull)
    for rounded, plain in ((found, expected), (slope, expected_slope)):
        assert rounded.dtype == torch.bfloat16
        plain = plain.detach()
        # Of 8 bits, half of the last; sums that come to next to nothing are off by those of float32.
        least = 1e-2 * plain.std()
        assert (
            (rounded.detach() - plain).abs() <= 1.2 * 2**-8 * plain.abs().clamp_min(least)
        ).all()


def test_the_format_of_products_is_that_of_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, (7, 5), (9, 0))
    for has, expected in ((AMX, "bfloat16"), ({}, "float32")):
        with_cpu(monkeypatch, has)
        assert multiplied_in("bfloat16", CPU) == expected
        assert multiplied_in("float32", CPU) == "float32"
        network = load_backbone(
            "vgg16", load_state(obtain("vgg16")), ("relu1_1",), device=CPU, precision="bfloat16"
        )
        assert (network.dtype, network.product_dtype) == (torch.bfloat16, DTYPES[expected])
        assert network.multiplied_in == expected
    with_cpu(monkeypatch, {})
    small = load_backbone(
        "vgg16",
        load_state(obtain("vgg16")),
        ("relu1_1",),
        device=CPU,
        precision="bfloat16",
        compact=True,
    )
    assert small.product_dtype == torch.bfloat16
    # A GPU's library does what is best there.
    assert multiplied_in("bfloat16", torch.device("cuda", 0)) == "bfloat16"
    assert multiplied_in("float32", torch.device("cuda", 1)) == "float32"
