"""What the process that paints tells of, and how often."""

from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, cast

import pytest

from nst.planning.plan import Group
from nst.running import worker
from nst.running.worker import ADVANCED_EVERY_S, Advanced

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
