import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from nst.errors import ConfigError
from nst.painting.devices import (
    choose_algorithms,
    is_out_of_memory,
    resolve_device,
    resolve_devices,
    same_shapes,
)
from nst.painting.memory import Memory, memory_of


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


@pytest.fixture
def flags(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch's own flags as they are in a new process, and afterwards as they were."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    monkeypatch.setattr(cudnn, "deterministic", False)
    monkeypatch.setattr(cudnn, "benchmark", False)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = matmul.allow_bf16_reduced_precision_reduction
    matmul.allow_bf16_reduced_precision_reduction = True
    yield
    matmul.allow_bf16_reduced_precision_reduction = before
    torch.set_deterministic_debug_mode("default")


CUDA = torch.device("cuda")


@pytest.mark.usefixtures("flags")
def test_a_gpu_computes_in_full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN is set up without being there."""
    with_devices(monkeypatch, cuda=1, mps=False)
    resolve_device("cuda")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction


def tries_out() -> bool:
    return bool(torch.backends.cudnn.benchmark)


@pytest.mark.usefixtures("flags")
def test_a_gpu_tries_algorithms_out_while_shapes_stay_the_same_and_not_otherwise() -> None:
    choose_algorithms(CUDA, deterministic=False)
    assert not tries_out()
    with same_shapes(CUDA):
        assert tries_out()
    assert not tries_out()
    with same_shapes(torch.device("cpu")):
        assert not tries_out()


@pytest.mark.usefixtures("flags")
def test_deterministic_algorithms_are_chosen_without_a_trial_until_they_are_not_asked_for() -> None:
    def chosen() -> tuple[bool, int]:
        return bool(torch.backends.cudnn.deterministic), torch.get_deterministic_debug_mode()

    choose_algorithms(CUDA, deterministic=True)
    # 1 is to warn of what is not.
    assert chosen() == (True, 1)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]
    with same_shapes(CUDA):
        assert not tries_out()
    choose_algorithms(CUDA, deterministic=False)
    assert chosen() == (False, 0)


@pytest.mark.usefixtures("flags")
def test_a_cpu_is_left_as_it_is() -> None:
    choose_algorithms(torch.device("cpu"), deterministic=True)
    assert not torch.backends.cudnn.deterministic
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'"), True),
        (RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("stack expects each tensor to be equal size"), False),
    ],
)
def test_what_is_a_lack_of_memory(error: RuntimeError, expected: bool) -> None:
    assert is_out_of_memory(error) == expected


def test_what_graphs_compute_in_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 bytes 40 are free; PyTorch has the others, and of these 20 are in use."""
    segments = [
        {"device": device, "segment_pool_id": pool, "total_size": size, "allocated_size": used}
        for device, pool, size, used in [
            (1, (0, 0), 30, 20),
            (1, (7, 0), 25, 0),
            (1, (0, 8), 5, 0),
            (0, (9, 0), 50, 0),
        ]
    ]
    for name, value in {
        "mem_get_info": lambda _: (40, 100),
        "memory_reserved": lambda _: 60,
        "memory_allocated": lambda _: 20,
        "memory_snapshot": lambda: segments,
        "get_allocator_backend": lambda: "native",
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    assert memory_of(torch.device("cuda:1")) == Memory(total=100, free=50)


def in_container(monkeypatch: pytest.MonkeyPatch, folder: Path, files: dict[str, str]) -> Memory:
    """The memory of a CPU of a machine with 64,000 bytes, 40,000 of them free, by files of cgroups."""
    machine = SimpleNamespace(total=64_000, available=40_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return memory_of(torch.device("cpu"), cgroup=folder)


def of_version(
    number: int, *, limit: str, used: int, cached: int, anonymous: int
) -> dict[str, str]:
    names = ("memory.max", "memory.current", "memory.stat")
    prefix, anon = "", "anon"
    if number == 1:
        folder = "memory/memory"
        names = (f"{folder}.limit_in_bytes", f"{folder}.usage_in_bytes", f"{folder}.stat")
        prefix, anon = "total_", "total_rss"
    stat = {
        anon: anonymous,
        "file": 9_999,
        f"{prefix}inactive_file": cached - 1_000,
        f"{prefix}active_file": 1_000,
    }
    lines = [f"{name} {value}\n" for name, value in stat.items()]
    return dict(zip(names, (f"{limit}\n", f"{used}\n", "".join(lines)), strict=True))


@pytest.mark.parametrize("version", [1, 2])
def test_what_a_container_has_read_and_can_forget_is_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int
) -> None:
    files = of_version(version, limit="16000", used=15_900, cached=12_000, anonymous=3_000)
    found = in_container(monkeypatch, tmp_path, files)
    assert found == Memory(total=16_000, free=12_100)


@pytest.mark.parametrize("version", [1, 2])
def test_what_programs_hold_in_a_container_is_never_free(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int
) -> None:
    """The files are read one after the other, so that their numbers may be of different moments."""
    files = of_version(version, limit="16000", used=9_000, cached=8_000, anonymous=5_000)
    assert in_container(monkeypatch, tmp_path, files).free == 11_000


@pytest.mark.parametrize(("version", "limit"), [(2, "max"), (1, "9223372036854771712")])
def test_a_container_without_a_limit_has_the_memory_of_its_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: int, limit: str
) -> None:
    files = of_version(version, limit=limit, used=50_000, cached=2_000, anonymous=3_000)
    assert in_container(monkeypatch, tmp_path, files) == Memory(total=64_000, free=40_000)


def test_a_container_that_tells_only_what_it_uses_has_the_rest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert in_container(monkeypatch, tmp_path, {}) == Memory(total=64_000, free=40_000)
    files = {"memory.max": "16000", "memory.current": "15000"}
    assert in_container(monkeypatch, tmp_path, files) == Memory(total=16_000, free=1_000)


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_what_is_not_there_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with_devices(monkeypatch, cuda=0, mps=False)
    with pytest.raises(ConfigError, match="use --device cpu, or --device auto"):
        resolve_device(name)
