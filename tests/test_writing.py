import threading
from types import SimpleNamespace
from typing import Any

import pytest

from nst.running import writing
from tests.helpers import PATIENCE_S


def test_several_pictures_are_encoded_at_once_and_recorded_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three threads have to be at it together before any goes on."""
    together = threading.Barrier(3, timeout=PATIENCE_S)
    threads: set[str] = set()

    def write_picture(painted: Any, _: Any) -> str:
        threads.add(threading.current_thread().name)
        together.wait()
        return f"written {painted}"

    recorded: list[Any] = []
    order: Any = SimpleNamespace(record=recorded.append)
    monkeypatch.setattr(writing, "write_picture", write_picture)
    painted: Any = range(6)
    failed: Any = ["failed"]
    made = writing.write_all(painted, failed, order, num_threads=3)
    assert made == recorded == ["failed", *(f"written {n}" for n in range(6))]
    assert len(threads) == 3


@pytest.mark.parametrize(
    ("cores", "gpus", "expected"), [(16, 1, 8), (16, 4, 4), (2, 8, 1), (6, 0, 6)]
)
def test_the_threads_that_encode_share_the_cores_of_all_gpus(
    monkeypatch: pytest.MonkeyPatch, cores: int, gpus: int, expected: int
) -> None:
    monkeypatch.setattr(writing, "num_cores", lambda: cores)
    assert writing.num_threads_beside(gpus) == expected
