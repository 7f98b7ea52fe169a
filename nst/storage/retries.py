"""How long to go on asking a store that may yet answer."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often, how long and at what distances one thing is tried."""

    max_tries: int = 6
    max_seconds: float = 40
    first_delay_s: float = 1
    max_delay_s: float = 16


def delays(patience: Patience, uniform: Callable[[float, float], float]) -> Iterator[float]:
    """The seconds to wait before the second try, the third and so on, without end.

    Exponential backoff with full jitter (Brooker, 2015, "Exponential Backoff And Jitter"): many
    that failed at one moment do not come back at one moment.
    """
    for number in count():
        yield uniform(0, min(patience.max_delay_s, patience.first_delay_s * 2**number))


def persistently(
    attempt: Callable[[], _T],
    *,
    may_pass: Callable[[Exception], bool],
    patience: Patience,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    uniform: Callable[[float, float], float] = random.uniform,
) -> _T:
    """What `attempt` returns, tried again while what it raises `may_pass`.

    Raises the last error once the tries are used up, or once the next one would begin too late. A
    try counts for no more than half of that time: this process may have been suspended in it, and
    then nothing says that the store is out of order.
    """
    waits = delays(patience, uniform)
    num_tries = 0
    spent_s = 0.0
    while True:
        num_tries += 1
        started = clock()
        try:
            return attempt()
        except Exception as exc:
            delay_s = next(waits)
            spent_s += min(clock() - started, patience.max_seconds / 2) + delay_s
            is_late = spent_s > patience.max_seconds
            if num_tries == patience.max_tries or is_late or not may_pass(exc):
                raise
        sleep(delay_s)
