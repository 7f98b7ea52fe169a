"""Pictures that are painted at the same time on a CPU, each by its share of the threads.

Threads that paint one picture wait for each other many times in an evaluation, and the smaller it is the
more of the time: at 256 px two are hardly one and a half times as fast as one. Two pictures on a thread
each wait for nothing.
"""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from nst.painting import objective
from nst.painting.backbones import Backbone

_T = TypeVar("_T")


def num_side_by_side(backbone: Backbone) -> int:
    """How many pictures are worth painting at a time, apart from memory, where one pass is not for all.

    1 where a picture's last bits would depend on how many threads it has.
    """
    if backbone.device.type != "cpu" or not backbone.is_independent_of_threads:
        return 1
    return torch.get_num_threads()


def suits(num_items: int, backbone: Backbone, tile_px: int | None) -> bool:
    """Whether items are to be painted side by side."""
    in_one_pass = objective.runs_items_together(backbone.device, tile_px)
    is_on_a_cpu = backbone.device.type == "cpu"
    return num_items > 1 and is_on_a_cpu and backbone.is_independent_of_threads and not in_one_pass


class AbandonedError(Exception):
    """Ends what goes on beside something that has failed."""


def side_by_side(paint: Callable[[int, Callable[[], None]], _T], number: int) -> list[_T]:
    """What `paint` returns for each number below `number`, at the same time, as far as there are threads.

    Its second argument is to be called now and then, and raises AbandonedError once another has failed.
    Raises what the first in order that failed has raised, once all have ended.
    """
    num_threads = torch.get_num_threads()
    at_once = min(number, num_threads)
    is_over = threading.Event()

    def take_share() -> None:
        # Of the thread that calls it, and of those that first compute after it.
        torch.set_num_threads(num_threads // at_once)

    def check() -> None:
        if is_over.is_set():
            raise AbandonedError

    try:
        with ThreadPoolExecutor(at_once, "paint", initializer=take_share) as pool:
            futures = [pool.submit(paint, n, check) for n in range(number)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                # Where all have ended well there is nothing left to end.
                is_over.set()
                pool.shutdown(cancel_futures=True)
    finally:
        torch.set_num_threads(num_threads)
    errors = [future.exception() for future in futures if not future.cancelled()]
    found = [each for each in errors if each and not isinstance(each, AbandonedError)]
    if found:
        error = found[0]
        try:
            raise error
        finally:
            # The error's traceback has this frame, and the frame's errors all that was computed.
            del error, errors, found, futures
    return [future.result() for future in futures]
