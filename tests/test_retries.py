from collections.abc import Callable
from itertools import islice

import pytest

from nst.storage.retries import Patience, delays, persistently


class Clock:
    """Time that passes only by sleeping, and by `work` at each try."""

    def __init__(self, *, work_s: float = 0) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.work_s = work_s
        self.num_tries = 0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def tried(self, attempt: Callable[[], str], patience: Patience) -> str:
        def counted() -> str:
            self.num_tries += 1
            self.now += self.work_s
            return attempt()

        return persistently(
            counted,
            may_pass=lambda error: isinstance(error, ConnectionError),
            patience=patience,
            sleep=self.sleep,
            clock=lambda: self.now,
            uniform=lambda low, high: high,
        )


def failing(times: int, error: type[Exception] = ConnectionError) -> Callable[[], str]:
    errors = [error("no")] * times

    def attempt() -> str:
        if errors:
            raise errors.pop()
        return "yes"

    return attempt


def test_delays_double_up_to_a_limit_and_are_drawn_from_all_below() -> None:
    patience = Patience(first_delay_s=1, max_delay_s=6)
    highest = delays(patience, lambda low, high: high)
    assert list(islice(highest, 5)) == [1, 2, 4, 6, 6]
    assert list(islice(delays(patience, lambda low, high: low), 3)) == [0, 0, 0]


def test_what_passes_is_tried_until_it_has() -> None:
    clock = Clock()
    assert clock.tried(failing(3), Patience(first_delay_s=1)) == "yes"
    assert (clock.num_tries, clock.slept) == (4, [1, 2, 4])


def test_what_does_not_pass_is_tried_once() -> None:
    clock = Clock()
    with pytest.raises(PermissionError):
        clock.tried(failing(1, PermissionError), Patience())
    assert (clock.num_tries, clock.slept) == (1, [])


def test_tries_are_bounded() -> None:
    clock = Clock()
    with pytest.raises(ConnectionError):
        clock.tried(failing(100), Patience(max_tries=4))
    assert (clock.num_tries, len(clock.slept)) == (4, 3)


def test_no_try_begins_too_late() -> None:
    clock = Clock(work_s=10)
    with pytest.raises(ConnectionError):
        clock.tried(failing(100), Patience(max_tries=100, max_seconds=40))
    assert clock.slept == [1, 2, 4]
    assert clock.now <= 40 + 10


def test_a_try_during_which_the_machine_slept_is_made_again() -> None:
    clock = Clock()

    def attempt() -> str:
        if clock.num_tries == 1:
            clock.now += 3600
            raise ConnectionError
        return "yes"

    assert clock.tried(attempt, Patience(max_seconds=40)) == "yes"


def test_the_usual_patience_outlasts_a_short_outage_and_ends_in_time() -> None:
    patience = Patience()
    longest = sum(islice(delays(patience, lambda low, high: high), patience.max_tries - 1))
    assert 15 < longest < patience.max_seconds
