"""The kernels that take most of the device's time, by PyTorch's profiler."""

from dataclasses import dataclass
from typing import Any

from torch.profiler import ProfilerActivity, profile

from bench.gpu.given import Found, Given, item, network, waited
from bench.measuring import table
from nst.painting import resolve_precision, stylize

_NUM_SHOWN = 10
_MAX_NAME = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """How often a kernel ran, and in how many seconds of the device altogether."""

    name: str
    calls: int
    seconds: float


def measure(given: Given, found: Found) -> None:
    """Those of painting a batch, after one that warms up."""
    device = given.on
    side_px, batch, steps = given.or_toy((512, 8, 10), (64, 1, 1))
    precision = resolve_precision("auto", device)
    backbone = network("vgg19", given, device=device, precision=precision)
    items = [item(n, side_px, method="gatys", steps=steps) for n in range(batch)]
    stylize(items, backbone)
    waited(device)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if given.has_gpu else [])]
    with profile(activities=activities) as profiler:
        stylize(items, backbone)
        waited(device)
    kernels = _kernels(profiler.key_averages(), has_gpu=given.has_gpu)
    found["what"] = f"{steps} evaluations of {batch} pictures at {side_px} px, VGG-19, {precision}"
    found["total_s"] = sum(each.seconds for each in kernels)
    found["kernels"] = sorted(kernels, key=lambda each: -each.seconds)[:_NUM_SHOWN]
    for each in found["kernels"]:
        given.say(f"{1e3 * each.seconds:9.3f} ms {each.calls:5} x {each.name[:_MAX_NAME]}")


def _kernels(events: Any, *, has_gpu: bool) -> list[Kernel]:
    """On a GPU those that ran there, without the operations of the CPU that started them."""
    on_gpu = [each for each in events if str(each.device_type).endswith("CUDA")]
    if has_gpu:
        return [_kernel(each, each.self_device_time_total) for each in on_gpu]
    return [_kernel(each, each.self_cpu_time_total) for each in events]


def _kernel(event: Any, microseconds: float) -> Kernel:
    return Kernel(name=str(event.key), calls=int(event.count), seconds=microseconds / 1e6)


def to_markdown(found: Found) -> str:
    """The dearest first."""
    total_s = max(found["total_s"], 1e-9)
    rows = [
        [
            f"`{each.name[:_MAX_NAME]}`",
            each.calls,
            f"{1e3 * each.seconds:.2f}",
            f"{each.seconds / total_s:.1%}",
        ]
        for each in found["kernels"]
    ]
    shown = table(["kernel", "calls", "ms", "of all"], rows)
    return f"{found['what']}; all kernels together took {1e3 * total_s:.1f} ms.\n\n{shown}"
