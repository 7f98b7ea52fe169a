"""The same run ten times, in fresh processes beside others that keep all cores busy."""

from pathlib import Path

import pytest

from tests.helpers import started
from tests.system.test_repeat import (
    BUSY_PATIENCE_S,
    ROWS,
    busy,
    files,
    finish,
    outcomes,
    write_rows,
)

_TIMES = 10


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_ten_runs_on_a_busy_machine_make_the_same_bytes(tmp_path: Path, precision: str) -> None:
    manifest = write_rows(tmp_path / "in")
    found = []
    for number in range(_TIMES):
        output = tmp_path / f"run-{number}"
        arguments = ("run", manifest, "--output", output, "--precision", precision)
        with busy(), started(*arguments) as running:
            finish(running, BUSY_PATIENCE_S)
        found.append((files(output), outcomes(output)))
    pictures = [name for name in found[0][0] if name.startswith("images/")]
    assert len(pictures) == len(ROWS)
    same = [each == found[0] for each in found]
    assert same == [True] * _TIMES
