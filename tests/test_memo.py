from nst.painting.memo import Memo


def test_what_was_told_first_is_forgotten_beyond_the_limit() -> None:
    memo: Memo[str, int] = Memo(2)
    for number, key in enumerate("aba"):
        memo[key] = number
    assert memo == {"a": 2, "b": 1}
    memo["c"] = 3
    assert memo == {"b": 1, "c": 3}
