"""Killed at some writes, a run that is made again ends as if nothing had happened."""

from pathlib import Path

import pytest

from tests.kill_sweep import sweep


@pytest.mark.parametrize("kind", ["before", "during", "after"])
def test_some_writes_on_a_disk(tmp_path: Path, kind: str) -> None:
    assert sweep(tmp_path, str(tmp_path / "out"), kind, every=7) >= 3


def test_some_writes_on_s3(tmp_path: Path, bucket: str) -> None:
    assert sweep(tmp_path, f"{bucket}/out", "after", every=7) >= 3
