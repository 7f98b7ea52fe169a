"""The number format of a device's convolutions, chosen by its hardware, never by a timing."""

import torch

from nst.settings import Precision, PrecisionChoice

DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# NVIDIA's Ampere, the first of its GPUs with units for bfloat16.
_MIN_CAPABILITY = (8, 0)


def resolve_precision(choice: PrecisionChoice, *devices: torch.device) -> Precision:
    """`auto` is bfloat16 if each of the devices has hardware for it, and float32 otherwise.

    A machine always chooses the same, so that the same run makes the same pictures. Sums of Gram
    matrices, losses and the optimisation are in float32 whichever it is.
    """
    if choice != "auto":
        return choice
    return "bfloat16" if all(map(has_units, devices)) else "float32"


def multiplied_in(precision: Precision, device: torch.device) -> Precision:
    """The number format that convolutions of features in `precision` multiply in.

    On a CPU without hardware for it bfloat16 is multiplied in float32, and the result rounded. PyTorch's
    own convolutions of bfloat16 take many times as long there, and add up their gradients in bfloat16.
    """
    is_on_a_cpu = precision == "bfloat16" and device.type == "cpu"
    return "float32" if is_on_a_cpu and not has_units(device) else precision


def has_units(device: torch.device) -> bool:
    """Whether a device has hardware for products of bfloat16 matrices.

    By those of a Xeon, AMX, an evaluation of VGG-16 at 128 to 512 px is 1.5 to 2.9 times as fast as
    in float32 on one thread. By PyTorch's own convolutions of bfloat16 and with AMX switched off it takes
    2.2 times as long as in float32 by the instructions of AVX512_BF16, and 5.7 times without these, so
    that `multiplied_in` avoids them. Of mps and of Arm nothing was measured.
    """
    match device.type:
        case "cpu":
            return _has_amx()
        case "cuda":
            return torch.cuda.get_device_capability(device) >= _MIN_CAPABILITY
        case _:
            return False


def _has_amx() -> bool:
    """Whether PyTorch may use the tiles of bfloat16 of a CPU that has them."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    # Not there in PyTorch 2.10, which tells of tiles alone: no CPU has them without bfloat16.
    told = getattr(torch.cpu, "get_capabilities", None)
    has_tiles = told().get("amx_bf16", False) if told else torch.cpu._is_amx_tile_supported()
    # A sandbox may show the CPU as it is and not let a process have the tiles, which only asking
    # for them tells; there is no public function for it.
    ask = getattr(torch.cpu, "_init_amx", None)
    return bool(has_tiles) and not (ask and ask() is False)
