"""`nst run --prefect` as a user types it, in a process of its own."""

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.helpers import PATIENCE_S, ROOT, row, started, write_project


def typed(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    with started(*arguments, cwd=cwd) as running:
        printed, said = running.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess([*map(str, arguments)], running.returncode, printed, said)


def test_run_as_the_prefect_flow(tmp_path: Path) -> None:
    """Without a server set: Prefect starts one of its own."""
    manifest = write_project(tmp_path / "in", [row(id="one"), row("no.png", id="two")])
    # What most Prefect projects call the folder of their own flows.
    others = tmp_path / "project" / "flows"
    others.mkdir(parents=True)
    (others / "__init__.py").write_text("")
    done = typed("run", manifest, "--output", tmp_path / "out", "--prefect", cwd=others.parent)
    assert done.returncode == 3, done.stderr
    assert "1 of 2 rows ok" in done.stdout
    assert (tmp_path / "out/images/one.png").exists()
    bad = typed("run", manifest, "--output", tmp_path / "bad", "--prefect", "--set", "size=9")
    assert bad.returncode == 2
    assert "column 'size'" in bad.stderr
    assert not (tmp_path / "bad").exists()


def test_a_fault_of_the_store_is_no_fault_of_the_user_and_exits_1(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    (tmp_path / "out/metadata.parquet").mkdir(parents=True)
    done = typed("run", manifest, "--output", tmp_path / "out", "--prefect")
    assert done.returncode == 1
    assert "metadata.parquet" in done.stderr
    assert (tmp_path / "out/images/one.png").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_temporary_server_ends_with_a_run_that_is_killed(tmp_path: Path, number: int) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one", steps=5000)])
    until = time.monotonic() + PATIENCE_S
    with started("run", manifest, "--output", tmp_path / "out", "--prefect") as running:
        begun: list[psutil.Process] = []
        # While it starts, too.
        while not any("uvicorn" in each.cmdline() for each in begun) or len(begun) < 3:
            assert time.monotonic() < until, "no server"
            time.sleep(0.1)
            begun = psutil.Process(running.pid).children()
        running.send_signal(number)
        running.communicate(timeout=PATIENCE_S)
    _, alive = psutil.wait_procs(begun, PATIENCE_S)
    assert alive == []


def test_a_run_that_comes_to_nothing_leaves_no_process(tmp_path: Path) -> None:
    """Although the one that would have painted is started before anything is known of the run."""
    with started("run", tmp_path / "none.csv", "--output", tmp_path / "out") as running:
        others = children_until(running, lambda _: running.poll() is not None)
        assert running.returncode == 2
    assert others
    assert not [each for each in others if each.is_running()]
    with started("run", tmp_path / "none.csv", "--output", tmp_path / "out") as running:
        others = children_until(running, bool)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 130
    assert "Traceback" not in said
    assert not [each for each in others if each.is_running()]


def children_until(
    running: "subprocess.Popen[str]", is_enough: Callable[[set[psutil.Process]], bool]
) -> set[psutil.Process]:
    """The processes that one has started by then."""
    found: set[psutil.Process] = set()
    while not is_enough(found):
        with suppress(psutil.Error):
            found |= {*psutil.Process(running.pid).children(recursive=True)}
        time.sleep(0.01)
    return found
