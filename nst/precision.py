"""What kind of number a device's convolutions run in: told by a trial, not by a list of devices."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import nn

from nst import winograd
from nst.settings import Precision, PrecisionChoice

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# How much faster half the digits must be to be taken, so that no machine's noise decides. CPUs with
# AVX-512's bfloat16 are found 1.2 to 1.35 times as fast from trial to trial, those with units of
# their own for it several times.
_MIN_GAIN = 1.5
_NUM_TRIALS = 5
_CHANNELS = 128
_SIDE_PX = 32


def resolve_precision(choice: PrecisionChoice, device: torch.device) -> Precision:
    """`auto` is bfloat16 where this device convolves clearly faster in it; it is tried once.

    Gram matrices, losses and the optimisation are in float32 whichever it is.
    """
    return _fastest(device) if choice == "auto" else choice


def frozen_conv(
    conv: nn.Conv2d, device: torch.device, precision: Precision, *, compact: bool = False
) -> nn.Module:
    """`conv` in the form that this device computes fastest, its parameters frozen.

    That may be filters of eight times the size; `compact` is for a network that is used little.
    """
    if not compact and device.type == "cpu" and precision == "float32" and winograd.suits(conv):
        return winograd.WinogradConv2d(conv)
    moved = conv.to(device, DTYPES[precision], memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen: nn.Module = moved.requires_grad_(False)
    return frozen


@lru_cache
def _fastest(device: torch.device) -> Precision:
    with one_thread():
        try:
            runs = {precision: _trial(device, precision) for precision in DTYPES}
        except RuntimeError:
            # Some devices have no bfloat16 at all.
            return "float32"
        # In turn, so that what else the machine does meets both.
        seconds = [{name: run() for name, run in runs.items()} for _ in range(_NUM_TRIALS)]
    best = {precision: min(each[precision] for each in seconds) for precision in DTYPES}
    return "bfloat16" if best["float32"] > _MIN_GAIN * best["bfloat16"] else "float32"


def _trial(device: torch.device, precision: Precision) -> Callable[[], float]:
    """A function that takes the seconds of one convolution there and back."""
    conv = nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1)
    module = frozen_conv(conv, device, precision)
    shape = (1, _CHANNELS, _SIDE_PX, _SIDE_PX)
    features = torch.ones(shape, device=device, dtype=DTYPES[precision])
    features = features.contiguous(memory_format=torch.channels_last).requires_grad_(True)

    # A CPU's time is this thread's own: on a busy machine the clock on the wall would tell what
    # else goes on, and the same machine would paint another picture the next day.
    now = time.thread_time if device.type == "cpu" else time.perf_counter

    def run() -> float:
        _wait_for(device)
        start = now()
        out = module(features)
        torch.autograd.grad(out, features, out.detach())
        _wait_for(device)
        return now() - start

    run()
    return run


@contextmanager
def one_thread() -> Iterator[None]:
    """What is computed within runs on this thread alone, whose own clock then tells all of it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _wait_for(device: torch.device) -> None:
    match device.type:
        case "cuda":
            torch.cuda.synchronize(device)
        case "mps":
            torch.mps.synchronize()
