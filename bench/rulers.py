"""What measuring a picture takes beside painting it: `python -m bench.rulers`.

In seconds of one thread of the processor, which tell the work however busy the machine is; medians
of three sample pairs. The painting is reckoned from a few of its evaluations. A picture is measured
with its content and its style known to the rulers, and with both new to them.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from bench.pairs import PAIRS, Pair
from nst.job import PictureParams
from nst.painting.backbones import Backbone, load_backbone
from nst.painting.engine import stylize
from nst.painting.rulers import Rulers, Sources
from nst.painting.targets import Item
from nst.painting.weights import load_state, obtain
from nst.pictures.images import decode
from nst.profiles import PROFILES
from nst.running.speed import one_thread

_CPU = torch.device("cpu")
_STEPS = 4
_LINE = "| {} | {} | {:.1f} | {:.2f} | {:.1%} | {:.2f} | {:.1%} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rulers", description=__doc__)
    parser.add_argument("--backbone", action="append", choices=list(PROFILES))
    parser.add_argument("--size", action="append", type=int, help="long edge in px; repeatable")
    arguments = parser.parse_args()
    titles = ("backbone", "size", "painting s", "measuring s", "share", "all new s", "share")
    sys.stdout.write(f"| {' | '.join(titles)} |\n|{' --- |' * len(titles)}\n")
    for name in arguments.backbone or ("vgg16", "vgg19"):
        layers = PROFILES[name].shares(None, None).layers
        backbone = load_backbone(name, load_state(obtain(name)), layers, device=_CPU)
        for size in arguments.size or (512, 256):
            with one_thread():
                found = [_seconds(backbone, pair, size) for pair in PAIRS]
            painting, known, new = map(statistics.median, zip(*found, strict=True))
            line = (name, size, painting, known, known / painting, new, new / painting)
            sys.stdout.write(_LINE.format(*line))
            sys.stdout.flush()


def _seconds(backbone: Backbone, pair: Pair, size: int) -> tuple[float, float, float]:
    """Of painting a picture, of measuring it with its sources known, and with them new."""
    content, style = (
        torch.from_numpy(decode(path.read_bytes(), long_edge_px=size, name=path.name).pixels)
        for path in (pair.content_source, pair.style_source)
    )
    item = Item(content=content, styles=(style,), params=PictureParams(size=size, steps=_STEPS))
    painting = _timed(lambda: stylize([item], backbone)) / _STEPS * PictureParams().steps
    keys: dict[str, Any] = {"content_key": "content", "style_keys": ("style",), "shares": (1.0,)}
    sources = Sources(content=content, styles=(style,), **keys)
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


if __name__ == "__main__":
    main()
