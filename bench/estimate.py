"""What evaluations take against what `nst.planning.estimates` says: `python -m bench.estimate [--runs]`.

Each size and backbone is measured on seeded random weights right after a probe, as `nst plan` makes
one, so that a machine which is busier at times is so for both. `cost` is what a backbone's row of
`nst.profiles` should have. `--runs` compares with whole runs of the sample pictures.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.pairs import ROOT
from nst.painting.backbones import Backbone, load_backbone
from nst.painting.memory import TILE_PX
from nst.planning.estimates import Probe
from nst.profiles import PROFILES
from nst.running.speed import probe, seconds_per_evaluation

_SIZES_PX = (96, 128, 192, 256, 384, 512)
_RUN_SIZES_PX = (128, 256)
_CONTENTS = ("chelsea", "coffee", "rocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Seconds of an evaluation as measured, and as the probe right before has them for VGG-16."""

    side_px: int
    measured_s: float
    vgg16_s: float

    @property
    def ratio(self) -> float:
        return self.measured_s / self.vgg16_s


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.estimate", description=__doc__)
    parser.add_argument("--backbone", action="append", choices=list(PROFILES))
    parser.add_argument("--size", action="append", type=int, help="side in pixels; repeatable")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiles", action="store_true", help="as a picture too large for one pass")
    parser.add_argument("--runs", action="store_true", help="compare with whole runs instead")
    parser.add_argument("--steps", type=int, default=50, help="of the pictures of --runs")
    arguments = parser.parse_args()
    if arguments.runs:
        _compare_runs(arguments.steps)
        return
    for name in arguments.backbone or PROFILES:
        tile = TILE_PX if arguments.tiles else None
        points = _measure(
            name, arguments.size or _SIZES_PX, arguments.rounds, arguments.device, tile
        )
        sys.stdout.write(to_markdown(name, points))
        sys.stdout.flush()


def fitted_cost(points: Sequence[Point]) -> float:
    """The factor by which all estimates are off least: that of the mean logarithm."""
    return math.exp(sum(math.log(point.ratio) for point in points) / len(points))


def mean_error(points: Sequence[Point], cost: float) -> float:
    """How far estimates with this cost are off, as a factor less one, on average."""
    return math.exp(sum(abs(math.log(p.ratio / cost)) for p in points) / len(points)) - 1


def to_markdown(name: str, points: Sequence[Point]) -> str:
    """The measurements of a backbone, the cost that fits them, and how far off it and the present one are."""
    cost, present = fitted_cost(points), PROFILES[name].cost
    lines = ["| backbone | size | measured ms | estimated ms | estimate / measured |"]
    lines.append("| --- | --- | --- | --- | --- |")
    lines += [
        f"| {name} | {p.side_px} | {1e3 * p.measured_s:.1f} | {1e3 * present * p.vgg16_s:.1f} | "
        f"{present / p.ratio:.2f} |"
        for p in points
    ]
    lines.append(
        f"\n{name}: cost {cost:.2f} fits, mean error {mean_error(points, cost):.0%}; "
        f"{present:g} is used, mean error {mean_error(points, present):.0%}\n"
    )
    return "\n".join(lines) + "\n"


def _measure(
    name: str, sizes_px: Sequence[int], rounds: int, device: str, tile_px: int | None
) -> list[Point]:
    backbone = _random_backbone(name, device)
    points = []
    for side_px in sizes_px:
        for _ in range(rounds):
            found = probe(device, "float32")
            measured_s = seconds_per_evaluation(backbone, side_px, tile_px=tile_px)
            points.append(
                Point(side_px=side_px, measured_s=measured_s, vgg16_s=_vgg16_s(found, side_px))
            )
    return points


def _vgg16_s(found: Probe, side_px: int) -> float:
    return found.evaluation_s + found.pixel_s * side_px**2


def _random_backbone(name: str, device: str) -> Backbone:
    from torchvision import models

    torch.manual_seed(0)
    state = getattr(models, name)().state_dict()
    layers = PROFILES[name].shares(None, None).layers
    return load_backbone(name, state, layers, device=torch.device(device))


def _compare_runs(steps: int) -> None:
    """Estimate and what `nst run` took with three rows of the samples, one size after the other.

    On one thread, where the seconds of the processor tell what a run takes on an idle machine,
    however busy this one is.
    """
    sys.stdout.write(
        "| size | estimated s | processor s | wall s | estimate / processor |\n"
        "| --- | --- | --- | --- | --- |\n"
    )
    for size_px in _RUN_SIZES_PX:
        with tempfile.TemporaryDirectory() as folder:
            manifest = Path(folder) / "manifest.csv"
            samples = ROOT / "manifests/samples"
            rows = [
                f"{samples}/content/{name}.jpg,{samples}/style/starry-night.jpg,vgg16,{size_px}"
                for name in _CONTENTS
            ]
            manifest.write_text("\n".join(["content,style,backbone,size", *rows, ""]))
            options = [str(manifest), "--device", "cpu", "--set", f"steps={steps}"]
            options += ["--precision", "float32"]
            estimated_s = json.loads(_nst("plan", *options, "--json"))["estimate"]["seconds"]
            started, before_s = time.monotonic(), _processor_s()
            _nst("run", *options, "--output", f"{folder}/out")
            wall_s, processor_s = time.monotonic() - started, _processor_s() - before_s
        sys.stdout.write(
            f"| {size_px} | {estimated_s:.1f} | {processor_s:.1f} | {wall_s:.1f} | "
            f"{estimated_s / processor_s:.2f} |\n"
        )
        sys.stdout.flush()


def _processor_s() -> float:
    """Of all processes that this one has started and seen end, and those below them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _nst(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nst", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    main()
