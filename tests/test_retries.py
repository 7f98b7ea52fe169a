from collections.abc import Callable
from itertools import islice

import pytest

from nst.storage import s3
from nst.storage.retries import Patience, delays, persistently
from tests.helpers import ROOT


class Clock:
    """Time that passes only by sleeping, and by `work` at each try."""

    def __init__(self, *, work_s: float = 0, share: float = 1) -> None:
        self.now = 0.0
        self.share = share
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
            patience=lambda: patience,
            sleep=self.sleep,
            clock=lambda: self.now,
            uniform=lambda low, high: low + self.share * (high - low),
        )


def failing(times: int, error: type[Exception] = ConnectionError) -> Callable[[], str]:
    errors = [error("no")] * times

    def attempt() -> str:
        if errors:
            raise errors.pop()
        return "yes"

    return attempt


def until(clock: Clock, seconds: float) -> Callable[[], str]:
    """Fails before that time."""

    def attempt() -> str:
        if clock.now < seconds:
            raise ConnectionError
        return "yes"

    return attempt


def test_delays_double_up_to_a_limit_and_are_drawn_from_their_upper_halves() -> None:
    patience = Patience(first_delay_s=1, max_delay_s=6)
    highest = delays(patience, lambda low, high: high)
    assert list(islice(highest, 5)) == [1, 2, 4, 6, 6]
    assert list(islice(delays(patience, lambda low, high: low), 3)) == [0.5, 1, 2]


def test_what_passes_is_tried_until_it_has() -> None:
    clock = Clock()
    assert clock.tried(failing(3), Patience(first_delay_s=1)) == "yes"
    assert (clock.num_tries, clock.slept) == (4, [1, 2, 4])


def test_what_does_not_pass_is_tried_once() -> None:
    clock = Clock()
    with pytest.raises(PermissionError):
        clock.tried(failing(1, PermissionError), Patience())
    assert (clock.num_tries, clock.slept) == (1, [])


@pytest.mark.parametrize("share", [0, 0.3, 1])
def test_an_outage_is_outlasted_up_to_the_very_time_that_is_said(share: float) -> None:
    """However the delays are drawn, by no more tries than a store can bear."""
    for outage_s in (0, 1, 12, 25, 39.9, 40):
        clock = Clock(share=share)
        assert clock.tried(until(clock, outage_s), Patience()) == "yes"
        assert clock.now <= 40
    clock = Clock(share=share)
    with pytest.raises(ConnectionError):
        clock.tried(until(clock, 40.1), Patience())
    assert clock.now == pytest.approx(40)
    assert clock.num_tries <= 12


def test_tries_that_take_long_count_as_time() -> None:
    clock = Clock(work_s=10)
    with pytest.raises(ConnectionError):
        clock.tried(failing(100), Patience(max_seconds=40))
    assert clock.slept == [1, 2, 4]
    assert 40 <= clock.now <= 40 + 10


def test_a_try_during_which_the_machine_slept_is_made_again() -> None:
    clock = Clock()

    def attempt() -> str:
        if clock.num_tries == 1:
            clock.now += 3600
            raise ConnectionError
        return "yes"

    assert clock.tried(attempt, Patience(max_seconds=40)) == "yes"


def test_the_documents_say_the_time_that_requests_are_retried() -> None:
    for name in ("docs/OPERATE.md", "docs/TROUBLESHOOTING.md"):
        text = (ROOT / name).read_text()
        assert f"{s3.PATIENCE.max_seconds:g} seconds" in text
        assert f"{s3.BRIEF.max_seconds:g} seconds" in text
