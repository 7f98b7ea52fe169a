"""The catalogue of bad input and bad luck; `pytest -k 'n31'` runs the cases of 31."""

from pathlib import Path

import pytest

from tests.catalogue import Bench, Case, images, manifests, processes, rows, stores, weights

CASES: tuple[Case, ...] = (
    *manifests.CASES,
    *rows.CASES,
    *images.CASES,
    *weights.CASES,
    *stores.CASES,
    *processes.CASES,
)
NUM_CASES = 94


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"n{case.number} {case.name}")
def test_case(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert case.observe(Bench(tmp_path, monkeypatch)) == case.letter


def test_every_number_has_a_case() -> None:
    numbers = {case.number for case in CASES}
    assert numbers == set(range(1, NUM_CASES + 1))
