"""Many items some at a time, and many at once."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

_S = TypeVar("_S")
_T = TypeVar("_T")

_NUM_REQUESTS = 16
# What is under way for each item takes more memory than most results.
ITEMS_AT_ONCE = 10_000


def in_chunks(items: Iterable[_T], length: int) -> Iterator[list[_T]]:
    """The items so many at a time, the last of them what is left; nothing of none."""
    rest = iter(items)
    while chunk := list(itertools.islice(rest, length)):
        yield chunk


def in_parallel(
    function: Callable[[_S], _T], items: Sequence[_S], *, check: Callable[[], None] = lambda: None
) -> list[_T]:
    """`function` of each item, in their order: stores answer many at once.

    `check` is called right before each. Raises the first error that either raises, and begins no
    more of them then; on an interrupt it does not wait for those that are under way.
    """

    def checked(item: _S) -> _T:
        check()
        return function(item)

    pool = ThreadPoolExecutor(_NUM_REQUESTS)
    found: list[_T] = []
    try:
        for start in range(0, len(items), ITEMS_AT_ONCE):
            some = items[start : start + ITEMS_AT_ONCE]
            futures = [pool.submit(checked, item) for item in some]
            done = wait(futures, return_when=FIRST_EXCEPTION).done
            for future in futures:
                if future in done:
                    future.result()
            found += [future.result() for future in futures]
    except BaseException as exc:
        pool.shutdown(wait=isinstance(exc, Exception), cancel_futures=True)
        raise
    pool.shutdown()
    return found
