"""Killed at any write, a run that is made again ends as if nothing had happened."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT, row, write_project


def sweep(folder: Path, output: str, kind: str, every: int) -> int:
    """Kill runs at every so many writes; how many were killed."""
    rows = [
        row(id="one", size=48, steps=1),
        row("b.png", id="two", size=48, steps=1),
        row("no.png", id="three"),
    ]
    manifest = write_project(folder / "in", rows)
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill_sweep", str(manifest), output, kind, str(every)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[0])


@pytest.mark.parametrize("kind", ["before", "during", "after"])
def test_some_writes_on_a_disk(tmp_path: Path, kind: str) -> None:
    assert sweep(tmp_path, str(tmp_path / "out"), kind, every=7) >= 3


def test_some_writes_on_s3(tmp_path: Path, bucket: str) -> None:
    assert sweep(tmp_path, f"{bucket}/out", "after", every=7) >= 3


@pytest.mark.long
@pytest.mark.parametrize("kind", ["before", "during", "after"])
def test_every_write_on_a_disk(tmp_path: Path, kind: str) -> None:
    assert sweep(tmp_path, str(tmp_path / "out"), kind, every=1) >= 12


@pytest.mark.long
@pytest.mark.parametrize("kind", ["before", "after"])
def test_every_write_on_s3(tmp_path: Path, bucket: str, kind: str) -> None:
    assert sweep(tmp_path, f"{bucket}/out", kind, every=1) >= 12
