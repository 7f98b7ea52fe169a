"""Processes that are suspended as by a closed lid, Ctrl-Z or `docker pause`, in earnest."""

import os
import signal
import time
from pathlib import Path

import pytest

from nst.output import read_metadata
from nst.running import lease
from tests.helpers import PATIENCE_S, SILENCE_S, row, started, write_project
from tests.system.test_supervisor import children, wait_for_pictures


@pytest.mark.parametrize("who", ["all", "the painter"])
def test_who_is_suspended_for_longer_than_it_is_waited_for(tmp_path: Path, who: str) -> None:
    """All of a run: it goes on as if nothing had been. Its painter alone: that is ended as silent."""
    rows = [row(id=f"n{n}", steps=150, seed=n, init="noise") for n in range(8)]
    manifest = write_project(tmp_path / "in", rows)
    with started(
        "run", manifest, "--output", tmp_path / "out", "--timeout", str(SILENCE_S)
    ) as running:
        wait_for_pictures(tmp_path, 1)
        painters = children(running.pid)
        stopped = [running.pid, *painters] if who == "all" else painters
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(max(lease.PATIENCE_S, 2 * SILENCE_S) + 7)
        if who == "all":
            for pid in reversed(stopped):
                os.kill(pid, signal.SIGCONT)
        _, said = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, said
    assert ("gave no sign of life" in said) == (who == "the painter")
    found = read_metadata(str(tmp_path / "out"))
    assert [record.outcome.status for record in found] == ["ok"] * 8
