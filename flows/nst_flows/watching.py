"""Who watches a flow run in this process, and what paints for it here.

No parameters of the flow and its tasks: neither could be sent by a deployment, nor to a node.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from nst.pipeline import Painter
from nst.running import Listener, NoListener

_Told = TypeVar("_Told", bound=Listener)


@dataclass(frozen=True, slots=True)
class Here:
    """What runs the groups of a run in this process, who hears of it, and what is called before each."""

    by: Painter
    listener: Listener
    check: Callable[[], None]


# Prefect copies the context into the threads of its tasks, so these reach them; other processes have
# none of it.
_listener: ContextVar[Listener] = ContextVar("listener")
_here: ContextVar[Here] = ContextVar("here")


def current_listener() -> Listener:
    """The listener of this run, or one that wants to know nothing."""
    return _listener.get(NoListener())


def here() -> Here | None:
    """What runs the groups of this run, where that is this process."""
    return _here.get(None)


@contextmanager
def listening(listener: _Told) -> Iterator[_Told]:
    """Flows that run within tell `listener` how they get on."""
    token = _listener.set(listener)
    try:
        yield listener
    finally:
        _listener.reset(token)


@contextmanager
def painting(this: Here) -> Iterator[None]:
    """Tasks that are submitted within run their groups by `this`."""
    token = _here.set(this)
    try:
        yield
    finally:
        _here.reset(token)
