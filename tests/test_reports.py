"""What a run tells of how it ended."""

from nst.running.reports import max_failed


def test_a_share_of_rows_may_fail_to_the_last_one() -> None:
    for percent in range(101):
        assert max_failed(f"{percent}%", 100) == percent
        assert max_failed(f"{percent}.{percent % 10}%", 1000) == 10 * percent + percent % 10
    # What is not reached is not allowed.
    assert [max_failed("34%", num_rows) for num_rows in (0, 1, 2, 3)] == [0, 0, 0, 1]


def test_a_number_of_rows_may_fail_whatever_there_are() -> None:
    assert [max_failed(fail_over, 3) for fail_over in ("", "0", "20")] == [None, 0, 20]
