"""What the process that paints tells of, and how often."""

from multiprocessing import Pipe
from multiprocessing.connection import Connection
from time import monotonic, sleep
from typing import Any, cast

import pytest

from nst.errors import StoppedError
from nst.output.metadata import Outcome
from nst.planning.plan import Group
from nst.running import worker
from nst.running.worker import ADVANCED_EVERY_S, Advanced, Begun, Recorded, Stop
from tests.helpers import PATIENCE_S

GROUP = cast(Group, None)


def told(connection: Connection) -> list[Any]:
    messages = []
    while connection.poll(0):
        messages.append(connection.recv())
    return messages


def test_evaluations_are_told_of_a_few_times_a_second_and_each_picture_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = Pipe()
    with ours, theirs:
        teller = worker._Teller(theirs)
        for number in range(1, 101):
            monkeypatch.setattr(worker, "monotonic", lambda now=number: now / 50)
            teller.advanced(GROUP, number, 0)
        teller.advanced(GROUP, 100, 1)
        found = told(ours)
    assert found[0] == Advanced(1, 0)
    assert found[-1] == Advanced(100, 1)
    assert 7 <= len(found) <= 2 / ADVANCED_EVERY_S + 2


def test_a_group_is_stopped_by_a_message_and_what_comes_after_it_is_left_to_be_read() -> None:
    ours, theirs = Pipe()
    with ours, theirs:
        teller = worker._Teller(theirs)
        with worker._listening(theirs, teller):
            teller.begun(GROUP, ["a"])
            ours.send(Stop("by me"))
            until = monotonic() + PATIENCE_S
            while teller.stopped is None:
                assert monotonic() < until, "the message is not read"
                sleep(0.01)
            with pytest.raises(StoppedError, match="by me"):
                teller.advanced(GROUP, 1, 0)
            with pytest.raises(StoppedError, match="by me"):
                teller.recorded(GROUP, Outcome(id="a", status="ok"))
        # What is told is told all the same.
        assert told(ours) == [Begun(("a",)), Recorded(Outcome(id="a", status="ok"))]
        ours.send("the next group")
        assert theirs.recv() == "the next group"
        with worker._listening(theirs, teller):
            teller.begun(GROUP, ["b"])
