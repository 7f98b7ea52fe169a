"""Peak memory of one picture's optimisation against what `nst.painting.memory` forecasts: `python -m bench.memory`.

Each size runs in a process of its own, on seeded random weights, since memory does not depend on
what they are.
"""

import argparse
import sys

import torch

from bench.pairs import ROOT
from bench.process import measured
from nst.painting.memory import TILE_PX, bytes_per_picture
from nst.profiles import PROFILES
from nst.wording import shown_bytes

_STEPS = 3
_SMALL_PX = 64


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=__doc__)
    parser.add_argument("--backbone", action="append", choices=list(PROFILES))
    parser.add_argument("--size", action="append", type=int, help="side in pixels; repeatable")
    parser.add_argument("--tiles", action="store_true", help="as a picture too large for one pass")
    parser.add_argument(
        "--one", nargs=3, metavar=("BACKBONE", "SIZE", "TILES"), help=argparse.SUPPRESS
    )
    arguments = parser.parse_args()
    if arguments.one:
        name, size, tiles = arguments.one
        _optimise(name, int(size), TILE_PX if tiles == "True" else None)
        return
    tile = TILE_PX if arguments.tiles else None
    sys.stdout.write(
        "| backbone | size | peak above start | forecast |\n| --- | --- | --- | --- |\n"
    )
    for name in arguments.backbone or PROFILES:
        # What a small picture takes is the program, the weights and the libraries.
        start = _peak_bytes(name, _SMALL_PX, tiles=False)
        for size in arguments.size or (512, 1024):
            peak = _peak_bytes(name, size, tiles=arguments.tiles) - start
            forecast = bytes_per_picture(size, size, PROFILES[name], "float32", tile)
            sys.stdout.write(
                f"| {name} | {size} x {size} | {shown_bytes(peak)} | {shown_bytes(forecast)} |\n"
            )
            sys.stdout.flush()


def _peak_bytes(name: str, size: int, *, tiles: bool) -> int:
    usage = measured(
        [sys.executable, "-m", "bench.memory", "--one", name, str(size), str(tiles)], cwd=ROOT
    )
    return int(usage.peak_mb * 1e6)


def _optimise(name: str, size: int, tile_px: int | None) -> None:
    from torchvision import models

    from nst.job import PictureParams
    from nst.painting.backbones import load_backbone
    from nst.painting.engine import stylize
    from nst.painting.targets import Item

    state = {k: v for k, v in getattr(models, name)().state_dict().items() if "classifier" not in k}
    params = PictureParams(size=size, steps=_STEPS, init="content")
    layers = PROFILES[name].shares(None, None).layers
    backbone = load_backbone(name, state, layers, device=torch.device("cpu"))
    pixels = torch.rand(3, size, size)
    item = Item(content=pixels, styles=(torch.rand(3, size, size),), params=params)
    stylize([item], backbone, tile_px=tile_px)


if __name__ == "__main__":
    main()
