"""Credentials are used, and are nowhere to be found afterwards."""

import pytest

from tests.canaries import files_of, lines_with_canaries, with_canaries
from tests.helpers import nst


def test_no_output_and_no_message_has_them(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    manifest, outputs = with_canaries(bucket, monkeypatch)
    for output, status in outputs:
        done = nst("run", manifest, "--output", output, "--no-isolate", "--keep-going")
        assert done.returncode == status, done.stderr
        assert lines_with_canaries((done.stdout + done.stderr + caplog.text).encode()) == []
    left = files_of(bucket)
    assert any(path.endswith("metadata.parquet") for path in left)
    assert [path for path, data in left.items() if lines_with_canaries(data)] == []
