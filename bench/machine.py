"""The machine that something was measured on, and what it can do."""

import os
import platform
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

_MATRIX_SIZE = 2048
_NUM_PRODUCTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where and with what it was measured; matrix products in 1e9 operations a second."""

    processor: str
    num_cores: int
    num_threads: int
    device: str
    torch_version: str
    commit: str
    date: str
    float32_gflops: float
    bfloat16_gflops: float


def look_at(device: torch.device) -> Machine:
    """This machine, its matrix products measured."""
    return Machine(
        processor=processor(),
        num_cores=os.cpu_count() or 1,
        num_threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        torch_version=torch.__version__,
        commit=commit(),
        date=datetime.now(UTC).date().isoformat(),
        float32_gflops=_matrix_gflops(torch.float32, device),
        bfloat16_gflops=_matrix_gflops(torch.bfloat16, device),
    )


def _matrix_gflops(dtype: torch.dtype, device: torch.device) -> float:
    """The best of some products of two square matrices: a multiplication and an addition each."""
    left, right = torch.rand(2, _MATRIX_SIZE, _MATRIX_SIZE, device=device).to(dtype)
    seconds = []
    for _ in range(_NUM_PRODUCTS):
        started = time.perf_counter()
        left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return 2 * _MATRIX_SIZE**3 / min(seconds) / 1e9


def processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
