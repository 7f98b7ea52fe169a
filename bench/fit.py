"""What a backbone takes, for its row of `nst.profiles`: `python -m bench.fit --backbone NAME`.

`bytes_per_px` is fitted to the peak memory of pictures, each painted in a process of its own, above
what that has once it has painted a small one: the program, the weights, the libraries. `cost` is fitted to evaluations
that are timed right after a probe, as `nst plan` makes one, so that a machine which is busier at times
is so for both. Both on seeded random weights, of which neither depends. `--measuring` tells what
measuring a picture takes beside painting it, with its content and style known to the rulers and with
both new to them; in seconds of one thread of the processor, painting reckoned from a few evaluations.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch

from bench.compare import PAIRS, SAMPLES, Pair
from bench.measuring import measured, peak_mb, python, table
from nst.job import PictureParams
from nst.painting import (
    Backbone,
    Item,
    Rulers,
    Sources,
    load_backbone,
    load_state,
    memory,
    obtain,
    one_thread,
    stylize,
)
from nst.pictures import images
from nst.profiles import PROFILES
from nst.running import probe
from nst.running.speed import seconds_per_evaluation
from nst.storage import release_memory
from nst.wording import shown_bytes

_CPU = torch.device("cpu")
_STEPS = 3
_SMALL_PX = 64
_EMBEDDED = ("vgg16", "vgg19")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.fit", description=__doc__)
    parser.add_argument("--backbone", nargs="+", choices=list(PROFILES), default=list(PROFILES))
    parser.add_argument("--memory-size", nargs="*", type=int, default=[512, 1024], metavar="PX")
    parser.add_argument(
        "--size", nargs="*", type=int, default=[96, 128, 192, 256, 384, 512], metavar="PX"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each size is timed")
    parser.add_argument("--device", default="cpu", help="on which it is timed")
    parser.add_argument("--tiles", action="store_true", help="as pictures too large for one pass")
    parser.add_argument("--measuring", nargs="*", type=int, default=[], metavar="PX")
    parser.add_argument("--paint", nargs=2, metavar=("BACKBONE", "PX"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    tile_px = memory.TILE_PX if arguments.tiles else None
    if arguments.paint:
        name, side_px = arguments.paint
        backbone = _random_backbone(name, "cpu")
        stylize([_item(_SMALL_PX)], backbone)
        release_memory()
        before_bytes = psutil.Process().memory_info().rss
        # From here on is the peak that Linux tells.
        Path("/proc/self/clear_refs").write_text("5")
        stylize([_item(int(side_px))], backbone, tile_px=tile_px)
        json.dump(1e6 * peak_mb() - before_bytes, sys.stdout)
        return
    for name in arguments.backbone:
        if arguments.memory_size:
            sys.stdout.write(fit_memory(name, arguments.memory_size, tile_px) + "\n\n")
        if arguments.size:
            ratios = time_sizes(name, arguments.size, arguments.rounds, arguments.device, tile_px)
            sys.stdout.write(fit_cost(name, ratios) + "\n\n")
        if name in _EMBEDDED and arguments.measuring:
            sys.stdout.write(time_measuring(name, arguments.measuring) + "\n\n")
        sys.stdout.flush()


def fit_memory(name: str, sides_px: Sequence[int], tile_px: int | None) -> str:
    """What pictures take, what is forecast, and the bytes_per_px that would fit."""
    profile, rows = PROFILES[name], []
    options = ["--tiles"] if tile_px else []
    for side_px in sides_px:
        usage = measured(python("bench.fit", "--paint", name, side_px, *options))
        peak = float(usage.lines[-1][1])
        forecast = memory.bytes_per_picture(side_px, side_px, profile, "float32", tile_px)
        fitting = profile.bytes_per_px + (peak - forecast) / side_px**2
        cells = (shown_bytes(int(peak)), shown_bytes(forecast))
        rows.append([name, side_px, *cells, "" if tile_px else f"{fitting:.0f}"])
    header = ["backbone", "px", "peak", "forecast", "bytes_per_px that fits"]
    return f"{table(header, rows)}\n\n{name}: {profile.bytes_per_px} bytes_per_px is used"


def time_sizes(
    name: str, sides_px: Sequence[int], rounds: int, device: str, tile_px: int | None
) -> list[tuple[int, float]]:
    """Side in pixels, and how long an evaluation takes relative to VGG-16's by the probe before it."""
    backbone, found = _random_backbone(name, device), []
    for side_px in (side_px for side_px in sides_px for _ in range(rounds)):
        by_probe = probe(device, "float32")
        measured_s = seconds_per_evaluation(backbone, side_px, tile_px=tile_px)
        vgg16_s = by_probe.evaluation_s + by_probe.pixel_s * side_px**2
        found.append((side_px, measured_s / vgg16_s))
    return found


def fit_cost(name: str, ratios: Sequence[tuple[int, float]]) -> str:
    """The measurements, and the cost by which all estimates are off least: their geometric mean."""
    present = PROFILES[name].cost
    cost = statistics.geometric_mean(ratio for _, ratio in ratios)
    rows = [[name, side, f"{ratio:.2f}", f"{present / ratio:.2f}"] for side, ratio in ratios]
    shown = table(["backbone", "px", "times VGG-16", "estimate / measured"], rows)
    errors = [
        statistics.geometric_mean(max(each / ratio, ratio / each) for _, ratio in ratios) - 1
        for each in (cost, present)
    ]
    return (
        f"{shown}\n\n{name}: cost {cost:.2f} fits, mean error {errors[0]:.0%}; "
        f"{present:g} is used, mean error {errors[1]:.0%}"
    )


def time_measuring(name: str, sizes_px: Sequence[int]) -> str:
    """Seconds of painting a picture and of measuring it, medians of the sample pairs."""
    layers = PROFILES[name].shares(None, None).layers
    backbone = load_backbone(name, load_state(obtain(name)), layers, device=_CPU)
    rows = []
    for size_px in sizes_px:
        with one_thread():
            times = [_painting_and_measuring(backbone, pair, size_px) for pair in PAIRS]
        painting, known, new = map(statistics.median, zip(*times, strict=True))
        shares = (f"{known:.2f}", f"{known / painting:.1%}", f"{new:.2f}", f"{new / painting:.1%}")
        rows.append([name, size_px, f"{painting:.1f}", *shares])
    header = ["backbone", "px", "painting s", "measuring s", "share", "all new s", "share"]
    return table(header, rows)


def _painting_and_measuring(
    backbone: Backbone, pair: Pair, size_px: int
) -> tuple[float, float, float]:
    paths = (SAMPLES / "content" / f"{pair[0]}.jpg", SAMPLES / "style" / f"{pair[1]}.jpg")
    content, style = (
        torch.from_numpy(images.decode(p.read_bytes(), long_edge_px=size_px, name=p.name).pixels)
        for p in paths
    )
    item = Item(content=content, styles=(style,), params=PictureParams(steps=_STEPS))
    painting = _timed(lambda: stylize([item], backbone)) / _STEPS * PictureParams().steps
    sources = Sources(
        content=content,
        content_key="content",
        styles=(style,),
        style_keys=("style",),
        shares=(1.0,),
    )
    painter = backbone.profile.name
    # The first of all loads the networks.
    Rulers(_CPU).measure(content, sources, painter)
    rulers = Rulers(_CPU)
    new, known = (_timed(lambda: rulers.measure(content, sources, painter)) for _ in range(2))
    return painting, known, new


def _timed(work: Callable[[], object]) -> float:
    before = time.thread_time()
    work()
    return time.thread_time() - before


def _item(side_px: int) -> Item:
    content, style = torch.rand(2, 3, side_px, side_px)
    params = PictureParams(size=side_px, steps=_STEPS, init="content")
    return Item(content=content, styles=(style,), params=params)


def _random_backbone(name: str, device: str) -> Backbone:
    from torchvision import models

    torch.manual_seed(0)
    state = getattr(models, name)().state_dict()
    layers = PROFILES[name].shares(None, None).layers
    return load_backbone(name, state, layers, device=torch.device(device))


if __name__ == "__main__":
    main()
