"""Who watches a flow run in this process; not a parameter, since a deployment could not send it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from nst.reports import Listener, NoListener

# Prefect copies the context into the threads of its tasks, so this reaches them.
_listener: ContextVar[Listener] = ContextVar("listener")


def current_listener() -> Listener:
    """The listener of this run, or one that wants to know nothing."""
    return _listener.get(NoListener())


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Flows that run within tell `listener` how they get on."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
