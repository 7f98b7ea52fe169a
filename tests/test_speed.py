import pytest
import torch

from nst.errors import ConfigError
from nst.painting.precision import resolve_precision
from nst.running.speed import line_through, probe


def test_this_machine_is_probed() -> None:
    found = probe("cpu", "float32")
    assert (found.device, found.name, found.precision) == ("cpu", "cpu", "float32")
    assert not found.together
    assert found.evaluation_s >= 0
    assert found.pixel_s > 0
    assert 0 < found.memory.free <= found.memory.total


def test_the_format_that_is_multiplied_in_goes_by_the_hardware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nst.painting.precision.has_units", lambda _: False)
    found = probe("cpu", "bfloat16")
    assert (found.precision, found.multiplied_in) == ("bfloat16", "float32")


@pytest.mark.parametrize("device", ["cuda:99", "cuda:99,cuda:98"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="--device cuda:99"):
        probe(device, "float32")


def test_auto_is_what_a_run_would_take_here() -> None:
    assert probe("cpu", "auto").precision == resolve_precision("auto", torch.device("cpu"))


@pytest.mark.parametrize(
    ("small", "large", "expected"),
    [
        (3.0, 9.0, (1.0, 0.2)),
        # All of it grows with the pixels.
        (1.0, 8.0, (0.0, 0.2)),
        # A small picture that took longer than a large one: noise.
        (9.0, 8.0, (8.0, 0.0)),
    ],
)
def test_a_line_goes_through_both_points_and_never_below_zero(
    small: float, large: float, expected: tuple[float, float]
) -> None:
    assert line_through(10, small, 40, large) == pytest.approx(expected)
