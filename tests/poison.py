"""A painting process in which some seeds are poison: what it does is told by the seed."""

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from nst.painting import pulse
from nst.painting.engine import Stylized, stylize
from nst.painting.targets import Item
from nst.running import batch, worker

KILLS, HANGS, EXITS, FAILS, IS_SLOW = 666, 667, 668, 669, 670
SLOW_S = 15


def main(fd: int) -> None:
    """As `nst.running.worker.main`."""
    batch.stylize = _stylize  # type: ignore[attr-defined]
    worker.main(fd)


def _stylize(items: Sequence[Item], *arguments: Any, **options: Any) -> Stylized:
    seeds = {item.params.seed for item in items}
    if KILLS in seeds:
        os.kill(os.getpid(), signal.SIGKILL)
    if HANGS in seeds:
        time.sleep(3600)
    if IS_SLOW in seeds:
        until = time.monotonic() + SLOW_S
        while time.monotonic() < until:
            time.sleep(0.5)
            pulse.beat()
    if EXITS in seeds:
        os._exit(7)
    if FAILS in seeds:
        raise RuntimeError("the device fell off")
    return stylize(items, *arguments, **options)
