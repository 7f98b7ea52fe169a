from nst.running.silence import Silence


def test_seconds_count_from_when_something_was_heard() -> None:
    now = [100.0]
    silence = Silence(1, lambda: now[0])
    for expected in (1, 2, 3):
        now[0] += 1
        assert silence.seconds() == expected
    silence.heard()
    assert silence.seconds() == 0


def test_a_time_in_which_nobody_asked_hardly_counts() -> None:
    now = [0.0]
    silence = Silence(1, lambda: now[0])
    now[0] += 1.5
    assert silence.seconds() == 1.5
    now[0] += 3600
    assert silence.seconds() == 3.5
    now[0] += 1
    assert silence.seconds() == 4.5
