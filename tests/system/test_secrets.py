"""Credentials are used, and are nowhere to be found afterwards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.canaries import files_of, lines_with_canaries, with_canaries
from tests.helpers import ROOT


@pytest.mark.parametrize("arguments", [[], ["--prefect"]])
def test_no_output_no_message_and_no_database_has_them(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    manifest, outputs = with_canaries(bucket, monkeypatch)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    for output, status in outputs:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "nst",
                "run",
                manifest,
                "--output",
                output,
                "--keep-going",
                *arguments,
            ],
            cwd=ROOT,
            env=os.environ,
            capture_output=True,
            check=False,
        )
        assert done.returncode == status, done.stderr.decode()
        assert lines_with_canaries(done.stdout + done.stderr) == []
    left = files_of(bucket)
    left |= {str(p): p.read_bytes() for p in (tmp_path / "prefect").rglob("*") if p.is_file()}
    assert any(path.endswith("metadata.parquet") for path in left)
    assert bool(arguments) == any(path.endswith(".db") for path in left)
    assert [path for path, data in left.items() if lines_with_canaries(data)] == []
