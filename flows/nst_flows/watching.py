"""Who watches a flow run in this process, what paints for it here, and where its manifest is.

No parameters of the flow and its tasks: neither could be sent by a deployment, nor to a node.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from nst.running import Listener, NoListener, RunReport, Session

_Told = TypeVar("_Told", bound=Listener)


# Prefect copies the context into the threads of its tasks, so these reach them; other processes have
# none of it.
_listener: ContextVar[Listener] = ContextVar("listener")
_session: ContextVar[Session] = ContextVar("session")
_draft: ContextVar[str | None] = ContextVar("draft")


@dataclass(slots=True)
class End:
    """How a flow ended, also where Prefect could not tell its server: by a report or an error."""

    report: RunReport | None = None
    error: Exception | None = None


_end: ContextVar[End] = ContextVar("end")


def end_of_flow() -> End:
    """What the flow that runs here fills in at its end."""
    return _end.get(End())


@contextmanager
def awaiting_end() -> Iterator[End]:
    """A flow that runs within fills it in."""
    token = _end.set(End())
    try:
        yield _end.get()
    finally:
        _end.reset(token)


def current_listener() -> Listener:
    """The listener of this run, or one that wants to know nothing."""
    return _listener.get(NoListener())


def session_here() -> Session | None:
    """What runs the groups of this run, where that is this process."""
    return _session.get(None)


@contextmanager
def listening(listener: _Told) -> Iterator[_Told]:
    """Flows that run within tell `listener` how they get on."""
    token = _listener.set(listener)
    try:
        yield listener
    finally:
        _listener.reset(token)


def draft_here() -> str | None:
    """Where the manifest of this run can be read until the run keeps it; None where it is kept already."""
    return _draft.get(None)


@contextmanager
def drafting(draft: str | None) -> Iterator[None]:
    """Flows that run within read their manifest there, and put it where it is to be kept."""
    token = _draft.set(draft)
    try:
        yield
    finally:
        _draft.reset(token)


@contextmanager
def painting(session: Session) -> Iterator[None]:
    """Tasks that are submitted within run their groups in `session`."""
    token = _session.set(session)
    try:
        yield
    finally:
        _session.reset(token)
