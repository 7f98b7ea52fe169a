"""Who watches a flow run in this process, and what paints for it.

No parameters of the flow and its tasks: neither could be sent by a deployment.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from nst.pipeline import Painter
from nst.reports import Listener, NoListener

_Told = TypeVar("_Told", bound=Listener)

# Prefect copies the context into the threads of its tasks, so these reach them.
_listener: ContextVar[Listener] = ContextVar("listener")
_painter: ContextVar[Painter] = ContextVar("painter")


def current_listener() -> Listener:
    """The listener of this run, or one that wants to know nothing."""
    return _listener.get(NoListener())


def current_painter() -> Painter | None:
    """What runs the groups of this run, where it is set."""
    return _painter.get(None)


@contextmanager
def listening(listener: _Told) -> Iterator[_Told]:
    """Flows that run within tell `listener` how they get on."""
    token = _listener.set(listener)
    try:
        yield listener
    finally:
        _listener.reset(token)


@contextmanager
def painting(by: Painter) -> Iterator[None]:
    """Tasks that run within have their groups run by `by`."""
    token = _painter.set(by)
    try:
        yield
    finally:
        _painter.reset(token)
