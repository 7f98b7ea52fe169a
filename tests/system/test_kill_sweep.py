"""Killed at some writes, a run that is made again ends as if nothing had happened."""

from pathlib import Path

from tests.kill_sweep import sweep


def test_some_writes_on_a_disk(tmp_path: Path) -> None:
    assert sweep(tmp_path, str(tmp_path / "out"), "during", every=9) >= 3


def test_some_writes_on_s3(tmp_path: Path, bucket: str) -> None:
    assert sweep(tmp_path, f"{bucket}/out", "after", every=9) >= 3
