"""Ours: one picture by the engine, from files to a file; as a script, in a process of its own."""

import argparse
import sys
import time
from pathlib import Path

import torch

from bench.score import Score
from nst.backbones import Backbone, load_backbone
from nst.devices import resolve_device
from nst.engine import stylize
from nst.images import Picture, decode, encode
from nst.job import PictureParams
from nst.precision import resolve_precision
from nst.profiles import PROFILES
from nst.targets import Item
from nst.weights import load_state, obtain


def paint(
    content: Path, style: Path, output: Path, *, steps: int, content_weight: float, device: str
) -> float:
    """Write the picture of a pair; the seconds of its targets and its loop together.

    The peer's loop is timed without its targets, so this is the stricter of the two.
    """
    params = PictureParams(steps=steps, content_weight=content_weight)
    backbone = _backbone(params, device)
    item = Item(content=_load(content), styles=(_load(style),), params=params)
    started = time.monotonic()
    images = stylize([item], backbone).images
    paint_s = time.monotonic() - started
    output.write_bytes(encode(Picture(images[0].numpy(), None), "png", {}))
    return paint_s


def first_as_good(
    content: Path, style: Path, goal: Score, *, limit: int, content_weight: float, device: str
) -> int | None:
    """The steps after which the picture is as good as `goal` by its losses, None for `limit` or more.

    One run tells, since a run of fewer steps is the beginning of a longer one.
    """
    params = PictureParams(steps=limit, content_weight=content_weight)
    item = Item(content=_load(content), styles=(_load(style),), params=params)
    curve = stylize([item], _backbone(params, device)).curve
    best = torch.inf
    for step, total in enumerate(curve.total[:, 0].tolist()):
        if total < best:
            best = total
            found = Score(curve.content[step].item(), curve.style[step].item())
            if found.is_as_good_as(goal):
                return step + 1
    return None


def _backbone(params: PictureParams, device: str) -> Backbone:
    resolved = resolve_device(device)
    return load_backbone(
        "vgg16",
        load_state(obtain("vgg16")),
        PROFILES["vgg16"].shares(params.content_layers, params.style_layers).layers,
        device=resolved,
        precision=resolve_precision("auto", resolved),
    )


def _load(path: Path) -> torch.Tensor:
    # Files come at the size at which they are used.
    picture = decode(path.read_bytes(), long_edge_px=sys.maxsize, name=path.name, upscale=False)
    return torch.from_numpy(picture.pixels)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("content", "style", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--content-weight", type=float, required=True)
    parser.add_argument("--device", required=True)
    sys.stdout.write(f"{paint(**vars(parser.parse_args()))}\n")


if __name__ == "__main__":
    _main()
