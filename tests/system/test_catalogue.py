"""The catalogue's cases of processes that end, in processes of their own."""

from pathlib import Path

import pytest

from tests.catalogue import Bench, Case, processes


@pytest.mark.parametrize("case", processes.CASES, ids=lambda case: f"n{case.number} {case.name}")
def test_case(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.observe(Bench(tmp_path, monkeypatch)) == case.letter
