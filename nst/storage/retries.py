"""How long to retry a request to a store."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a request is retried, and the pauses between its tries.

    A store that is out of order for less than `max_seconds` is waited for. A try counts for no more
    than `max_try_seconds` of them: this process may have been suspended in it, and then nothing says
    that the store is out of order.
    """

    max_seconds: float = 40
    max_try_seconds: float = 20
    first_delay_s: float = 1
    max_delay_s: float = 16


def delays(patience: Patience, uniform: Callable[[float, float], float]) -> Iterator[float]:
    """The seconds to wait before the second try, the third and so on, without end.

    Exponential backoff with equal jitter (Brooker, 2015, "Exponential Backoff And Jitter"): many that
    failed at one moment do not come back at one moment, and no request is tried very often.
    """
    for number in count():
        longest = min(patience.max_delay_s, patience.first_delay_s * 2**number)
        yield uniform(longest / 2, longest)


def persistently(
    attempt: Callable[[], _T],
    *,
    may_pass: Callable[[Exception], bool],
    patience: Callable[[], Patience],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    uniform: Callable[[float, float], float] = random.uniform,
) -> _T:
    """What `attempt` returns, after retries while its error `may_pass`.

    The last try begins when the time of `patience` is over, neither earlier nor later, and its error
    is raised. `patience` is asked after each of them.
    """
    waits: Iterator[float] | None = None
    spent_s = 0.0
    while True:
        started = clock()
        try:
            return attempt()
        except Exception as exc:
            if not may_pass(exc):
                raise
            limit = patience()
            spent_s += min(clock() - started, limit.max_try_seconds)
            if spent_s >= limit.max_seconds:
                raise
        waits = waits or delays(limit, uniform)
        delay_s = min(next(waits), limit.max_seconds - spent_s)
        spent_s += delay_s
        sleep(delay_s)
