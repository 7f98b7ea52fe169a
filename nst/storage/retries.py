"""How often and how long to retry a request to a store."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The number of tries, their total time, and the pauses between them."""

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
    """What `attempt` returns, after retries while its error `may_pass`.

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
