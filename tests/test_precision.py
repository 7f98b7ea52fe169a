from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from nst import precision
from nst.precision import frozen_conv, resolve_precision
from nst.settings import Precision
from nst.winograd import WinogradConv2d

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _untried() -> Iterator[None]:
    """No test finds what another, or the machine, had to say of a device."""
    precision._fastest.cache_clear()
    yield
    precision._fastest.cache_clear()


def with_times(
    monkeypatch: pytest.MonkeyPatch, times: dict[Precision, list[float]]
) -> list[Precision]:
    """Trials take these seconds, one after the other and then again; returns which were begun."""
    begun: list[Precision] = []

    def trial(device: torch.device, kind: Precision) -> Callable[[], float]:
        begun.append(kind)
        queue = list(times[kind])

        def run() -> float:
            queue.append(queue.pop(0))
            return queue[-1]

        return run

    monkeypatch.setattr(precision, "_trial", trial)
    return begun


@pytest.mark.parametrize("choice", ["float32", "bfloat16"])
def test_what_was_said_is_taken_without_a_trial(
    monkeypatch: pytest.MonkeyPatch, choice: Precision
) -> None:
    begun = with_times(monkeypatch, {"float32": [1.0], "bfloat16": [1.0]})
    assert resolve_precision(choice, CPU) == choice
    assert not begun


@pytest.mark.parametrize(
    ("float32", "bfloat16", "expected"),
    [
        ([1.0], [0.2], "bfloat16"),
        ([1.0], [0.6], "bfloat16"),
        ([1.35], [1.0], "float32"),
        ([1.0], [1.0], "float32"),
        ([1.0], [5.0], "float32"),
        # One slow trial among several is the machine's noise.
        ([9.0, 1.0], [1.0, 1.0], "float32"),
        ([1.0, 1.0], [9.0, 0.2], "bfloat16"),
    ],
)
def test_auto_takes_half_the_digits_only_where_they_are_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, float32: list[float], bfloat16: list[float], expected: str
) -> None:
    with_times(monkeypatch, {"float32": float32, "bfloat16": bfloat16})
    assert resolve_precision("auto", CPU) == expected


def test_a_device_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = with_times(monkeypatch, {"float32": [1.0], "bfloat16": [0.1]})
    assert [resolve_precision("auto", CPU) for _ in range(3)] == ["bfloat16"] * 3
    assert sorted(begun) == ["bfloat16", "float32"]


def test_a_device_without_bfloat16_gets_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    def trial(device: torch.device, kind: Precision) -> Callable[[], float]:
        if kind == "bfloat16":
            raise RuntimeError("bfloat16 is not supported on this device")
        return lambda: 1.0

    monkeypatch.setattr(precision, "_trial", trial)
    assert resolve_precision("auto", CPU) == "float32"


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_a_trial_takes_some_time(kind: Precision) -> None:
    assert precision._trial(CPU, kind)() > 0


def test_auto_finds_one_of_the_two_here() -> None:
    assert resolve_precision("auto", CPU) in ("float32", "bfloat16")


def test_a_convolution_takes_the_form_that_suits_it() -> None:
    wide, narrow = (nn.Conv2d(c, 128, 3, padding=1) for c in (64, 3))
    assert isinstance(frozen_conv(wide, CPU, "float32"), WinogradConv2d)
    plain = frozen_conv(narrow, CPU, "float32")
    assert isinstance(plain, nn.Conv2d)
    assert plain.weight.dtype == torch.float32
    half = frozen_conv(wide, CPU, "bfloat16")
    assert isinstance(half, nn.Conv2d)
    assert half.weight.dtype == torch.bfloat16
    assert not any(p.requires_grad for p in (*plain.parameters(), *half.parameters()))
