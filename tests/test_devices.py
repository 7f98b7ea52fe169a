import pytest
import torch

from nst.errors import ConfigError
from nst.painting.devices import is_out_of_memory, resolve_device, resolve_devices


def with_devices(monkeypatch: pytest.MonkeyPatch, *, cuda: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(2, True, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_takes_the_first_that_is_there(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, expected: str
) -> None:
    with_devices(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == torch.device(expected)


def test_a_device_that_is_there_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with_devices(monkeypatch, cuda=2, mps=True)
    for name in ("cpu", "cuda", "cuda:1", "mps"):
        assert resolve_device(name) == torch.device(name)


@pytest.mark.parametrize(
    ("names", "cuda", "expected"),
    [
        ("auto", 0, ["cpu"]),
        ("auto", 1, ["cuda"]),
        ("auto", 3, ["cuda:0", "cuda:1", "cuda:2"]),
        ("cuda:2,cuda:0", 3, ["cuda:2", "cuda:0"]),
        ("cuda:1", 3, ["cuda:1"]),
        ("cpu", 3, ["cpu"]),
    ],
)
def test_a_choice_of_several_devices_is_all_of_them(
    monkeypatch: pytest.MonkeyPatch, names: str, cuda: int, expected: list[str]
) -> None:
    with_devices(monkeypatch, cuda=cuda, mps=False)
    assert resolve_devices(names) == tuple(map(torch.device, expected))


@pytest.mark.parametrize("name", ["cuda:2", "cuda:258", "cuda:99999999999"])
def test_a_device_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with_devices(monkeypatch, cuda=2, mps=False)
    with pytest.raises(ConfigError, match=f"--device {name}: found 2 CUDA devices"):
        resolve_device(name)


def test_a_gpu_computes_in_float32_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN is set up without being there."""
    with_devices(monkeypatch, cuda=1, mps=False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    resolve_device("cuda")
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("stack expects each tensor to be equal size"), False),
    ],
)
def test_what_is_a_lack_of_memory(error: RuntimeError, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_what_is_not_there_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with_devices(monkeypatch, cuda=0, mps=False)
    with pytest.raises(ConfigError, match="use --device cpu, or --device auto"):
        resolve_device(name)
