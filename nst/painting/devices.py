"""Devices by name, checked to exist; their names for people; errors of full memory."""

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
    """Use full float32 and deterministic algorithms; cuDNN's defaults use neither."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True


def device_name(name: str) -> str:
    """The name of a device in the metadata: for a GPU, its model."""
    device = resolve_device(name)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that a device's memory is full; only CUDA has a class for it."""
    said = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "DefaultCPUAllocator" in said
        or "MPS backend out of memory" in said
        or "CUBLAS_STATUS_ALLOC_FAILED" in said
    )


def free_memory(device: torch.device) -> None:
    """Return the memory that PyTorch has cached for a failed attempt."""
    match device.type:
        case "cuda":
            torch.cuda.empty_cache()
        case "mps":
            torch.mps.empty_cache()
