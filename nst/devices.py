"""The name of a device -> the device, checked to be there."""

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
        return torch.device(name)
    raise ConfigError(f"--device {name}: found {found}; use --device cpu, or auto for what is here")


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
