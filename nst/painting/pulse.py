"""Signs of life between evaluations, of which one of a very large picture takes ten minutes."""

from collections.abc import Callable

_listener: Callable[[], None] | None = None


def listen(listener: Callable[[], None] | None) -> None:
    """Have `listener` called whenever a part of an evaluation is done, from the thread that did it.

    There is one for the whole process, and it must take no time.
    """
    global _listener
    _listener = listener


def beat() -> None:
    """Tell that something was computed."""
    if _listener is not None:
        _listener()
