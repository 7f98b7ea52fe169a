"""A dictionary of bounded size."""

import threading
from typing import Generic, TypeVar

_K = TypeVar("_K")
_V = TypeVar("_V")


class Memo(dict[_K, _V], Generic[_K, _V]):
    """Keeps at most `limit` values and forgets the oldest, so that its memory stays bounded.

    Several threads may set values at a time.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._lock = threading.Lock()

    def __setitem__(self, key: _K, value: _V) -> None:
        with self._lock:
            super().__setitem__(key, value)
            while len(self) > self._limit:
                del self[next(iter(self))]
