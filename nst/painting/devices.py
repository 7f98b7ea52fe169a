"""Devices by name, checked to exist; their names for people; errors of full memory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nst.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """`auto` is the first of cuda, mps and cpu that this machine has. Raises ConfigError."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    kind, _, index = name.partition(":")
    # Counted before PyTorch is asked, which takes large indexes modulo 256.
    if kind == "cuda" and int(index or 0) >= torch.cuda.device_count():
        found = f"{torch.cuda.device_count()} CUDA devices that PyTorch can use"
    elif kind == "mps" and not _has_mps():
        found = "no Metal device that PyTorch can use"
    else:
        device = torch.device(name)
        if device.type == "cuda":
            _keep_full_precision()
        return device
    raise ConfigError(f"--device {name}: found {found}; use --device cpu, or --device auto")


def resolve_devices(names: str) -> tuple[torch.device, ...]:
    """The chosen devices: for `auto` every GPU, or else mps or cpu; for a list, each of the list.

    Raises ConfigError for a device that this machine does not have.
    """
    if names == "auto" and num_gpus() > 1:
        return tuple(resolve_device(f"cuda:{n}") for n in range(num_gpus()))
    return tuple(map(resolve_device, names.split(",")))


def num_gpus() -> int:
    """How many CUDA devices PyTorch can use."""
    return torch.cuda.device_count()


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def _keep_full_precision() -> None:
    """Use full float32, and add up in it what bfloat16 is multiplied to; the defaults do neither."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def choose_algorithms(device: torch.device, *, deterministic: bool) -> None:
    """On a GPU, take whatever algorithms are fastest, or only those that give the same bits each time.

    It holds for this process. A CPU is left as it is: it always gives the same bits.
    """
    if device.type != "cuda":
        return
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        # Without it products of matrices may differ where several streams share a workspace. cuBLAS
        # reads it when it multiplies for the first time.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Where PyTorch knows no such algorithm it warns, and goes on.
    wanted = 1 if deterministic else 0
    # To set it imports PyTorch's compiler, which takes seconds.
    if torch.get_deterministic_debug_mode() != wanted:
        torch.set_deterministic_debug_mode(wanted)


@contextmanager
def same_shapes(device: torch.device) -> Iterator[None]:
    """Meanwhile a GPU tries out which algorithm is the fastest for a shape, and keeps to it.

    Only for shapes that come again and again: the trial takes as long as some evaluations. Where
    algorithms are to be deterministic there is none, since it may end differently each time.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark
    cudnn.benchmark = before or (device.type == "cuda" and not cudnn.deterministic)
    try:
        yield
    finally:
        cudnn.benchmark = before


def device_name(name: str) -> str:
    """The name of a device in the metadata: for a GPU, its model."""
    device = resolve_device(name)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


# What says that a device's memory is full without PyTorch's class for it: allocators of other devices,
# and CUDA and its libraries, which take memory of their own. Of a convolution PyTorch tries one
# algorithm after the other, and where none finds room for its workspace it says only that there is none.
_SAYS_OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "unable to find an engine to execute this computation",
)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that a device's memory is full."""
    said = str(error)
    return isinstance(error, torch.OutOfMemoryError) or any(
        text in said for text in _SAYS_OUT_OF_MEMORY
    )


def free_memory(device: torch.device) -> None:
    """Return the memory that PyTorch has cached for a failed attempt."""
    match device.type:
        case "cuda":
            torch.cuda.empty_cache()
        case "mps":
            torch.mps.empty_cache()
