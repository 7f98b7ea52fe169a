"""Measures within seconds how long an evaluation takes on a device, for `nst.planning.estimates`."""

import itertools
import statistics
import time
from collections.abc import Callable

import torch

from nst.job import PictureParams
from nst.painting import (
    OPTIMIZERS,
    Backbone,
    Item,
    Objective,
    device_name,
    load_backbone,
    load_state,
    memory_of,
    obtain,
    one_thread,
    resolve_devices,
    resolve_precision,
    runs_items_together,
)
from nst.planning import THREADS_POWER, Probe
from nst.profiles import PROFILES
from nst.settings import PrecisionChoice

# The one backbone whose weights are always here, which the costs of the others are relative to.
_BACKBONE = "vgg16"
_SMALL_PX = 64
# What takes a CPU a tenth of a second, and what does not leave most of a GPU idle.
_LARGE_PX = {"cpu": 192}
_LARGE_ELSEWHERE_PX = 512
_MAX_EVALUATIONS = 10
_BUDGET_S = 0.4


def probe(device_choice: str, precision_choice: PrecisionChoice) -> Probe:
    """The memory and speed of the chosen device, or the first of several, at this moment.

    Raises ConfigError if there is no such device.
    """
    devices = resolve_devices(device_choice)
    device = devices[0]
    precision = resolve_precision(precision_choice, *devices)
    backbone = load_backbone(
        _BACKBONE,
        load_state(obtain(_BACKBONE)),
        PROFILES[_BACKBONE].shares(None, None).layers,
        device=device,
        precision=precision,
    )
    large_px = _LARGE_PX.get(device.type, _LARGE_ELSEWHERE_PX)
    small_s = seconds_per_evaluation(backbone, _SMALL_PX)
    large_s = seconds_per_evaluation(backbone, large_px)
    evaluation_s, pixel_s = line_through(_SMALL_PX**2, small_s, large_px**2, large_s)
    return Probe(
        device=device.type,
        name=device_name(device_choice.partition(",")[0]),
        precision=precision,
        multiplied_in=backbone.multiplied_in,
        evaluation_s=evaluation_s,
        pixel_s=pixel_s,
        memory=memory_of(device),
        together=runs_items_together(device, None),
        threads=torch.get_num_threads() if device.type == "cpu" else 1,
    )


def line_through(x1: float, y1: float, x2: float, y2: float) -> tuple[float, float]:
    """Intercept and slope of the line through two points; never below 0, whatever the noise."""
    begins = min(y2, max(0.0, y1 - max(0.0, y2 - y1) / (x2 - x1) * x1))
    return begins, (y2 - begins) / x2


def seconds_per_evaluation(
    backbone: Backbone, side_px: int, *, tile_px: int | None = None
) -> float:
    """The time of one evaluation of a square picture and the step after it; the median of several.

    On a CPU it is the time on a machine where nothing else runs: the time of one thread's own clock,
    divided by the assumed speed-up of several threads.
    """
    generator = torch.Generator().manual_seed(0)
    content, style = torch.rand(2, 3, side_px, side_px, generator=generator)
    item = Item(content=content, styles=(style,), params=PictureParams(size=side_px))
    if backbone.device.type != "cpu":
        return _median_s(item, backbone, tile_px, time.perf_counter)
    speedup: float = torch.get_num_threads() ** THREADS_POWER
    # So that its clock measures everything.
    with one_thread():
        return _median_s(item, backbone, tile_px, time.thread_time) / speedup


def _median_s(
    item: Item, backbone: Backbone, tile_px: int | None, clock: Callable[[], float]
) -> float:
    objective = Objective.of([item], backbone, tile_px=tile_px)
    images = item.content[None].to(backbone.device)
    optimizer = OPTIMIZERS[item.params.optimizer](images)
    times: list[float] = []
    # The first evaluation warms up, and the time after it is the first that is compared with.
    while len(times) < 3 or (len(times) <= _MAX_EVALUATIONS and times[-1] - times[0] < _BUDGET_S):
        _, gradient = objective(images)
        images = optimizer.step(gradient)
        # A GPU is done no sooner than it can tell the numbers.
        images.sum().item()
        times.append(clock())
    return statistics.median(b - a for a, b in itertools.pairwise(times))
