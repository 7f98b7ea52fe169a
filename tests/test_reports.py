"""What a run tells of how it ended."""

from typing import Any

import pytest
from pydantic import ValidationError

from nst.errors import NSTError
from nst.output.metadata import failure
from nst.planning.plan import Plan
from nst.running.reports import Listeners, NoListener, max_failed
from nst.settings import RunSettings
from tests.test_progress import two_groups


def test_a_share_of_rows_may_fail_to_the_last_one() -> None:
    for percent in range(101):
        assert max_failed(f"{percent}%", 100) == percent
        assert max_failed(f"{percent}.{percent % 10}%", 1000) == 10 * percent + percent % 10
    # What is not reached is not allowed.
    assert [max_failed("34%", num_rows) for num_rows in (0, 1, 2, 3)] == [0, 0, 0, 1]


def test_a_number_of_rows_may_fail_whatever_there_are() -> None:
    assert [max_failed(fail_over, 3) for fail_over in ("", "0", "20")] == [None, 0, 20]


@pytest.mark.parametrize("fail_over", ["", "0", "20", "0%", "5%", "99.99%", "100%", "100.0%"])
def test_what_may_fail_is_a_number_or_a_share(fail_over: str) -> None:
    assert RunSettings(output="/out", fail_over=fail_over).fail_over == fail_over


@pytest.mark.parametrize("fail_over", ["200%", "100.1%", "101%", "1000%", "-1", "5.5", "%", "5 %"])
def test_no_more_than_all_rows_may_fail(fail_over: str) -> None:
    with pytest.raises(ValidationError):
        RunSettings(output="/out", fail_over=fail_over)


class Failing(NoListener):
    def fail(self, *_: Any, **__: Any) -> None:
        raise KeyError("no such label")

    begun = advanced = recorded = fail


class Counting(NoListener):
    num_told = 0

    def count(self, *_: Any, **__: Any) -> None:
        self.num_told += 1

    begun = advanced = recorded = count


def test_a_listener_that_raises_is_warned_of_once_and_keeps_nothing_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counting = Counting()
    listeners = Listeners(Failing(), counting)
    group = two_groups()[0]
    for _ in range(2):
        listeners.begun(group, ["a"])
        listeners.advanced(group, 1, 0)
        listeners.recorded(group, failure("a", NSTError("it was not to be")))
    assert counting.num_told == 6
    (record,) = caplog.records
    assert record.getMessage() == (
        "the listener Failing has failed, and the run goes on: KeyError: 'no such label'"
    )
    assert record.exc_info


def test_a_listener_may_end_a_run_by_the_plan_and_by_an_interrupt() -> None:
    class Ending(NoListener):
        def planned(self, plan: Plan) -> None:
            raise ValueError("too much to make")

        def begun(self, *_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

    listeners = Listeners(Ending())
    with pytest.raises(ValueError, match="too much to make"):
        listeners.planned(Plan(jobs=(), groups=(), done=(), failed=()))
    with pytest.raises(KeyboardInterrupt):
        listeners.begun(two_groups()[0], ["a"])
