"""`nst` on the streams, the locale and the folder that a shell gives it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT, row, write_project


def shell(line: str, *arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """A line of a shell, in which `nst` is the command and `$1` the first argument."""
    script = f'nst() {{ "$PYTHON" -m nst "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", script, "bash", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """One good row, and one whose file is not there and has a name that not every stream can have."""
    return write_project(tmp_path / "in", [row(id="one"), row("猫.png", id="two")])


PLAN = 'nst plan "$1" --no-estimate'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="found no /dev/full")
def test_a_full_disk_behind_stdout_exits_1_and_says_so(manifest: Path) -> None:
    done = shell(f"{PLAN} > /dev/full", manifest)
    assert done.returncode == 1
    assert done.stderr.startswith("nst: stdout could not take all that was to be printed")
    assert done.stderr.count("\n") == 1
    assert shell("nst --help > /dev/full").returncode == 1
    # An exit status that says more stays.
    assert shell("nst plan /no.csv --json > /dev/full").returncode == 2
    # stderr has only what may be missed.
    assert shell(f"{PLAN} 2> /dev/full", manifest).returncode == 0


@pytest.mark.parametrize(
    "line", [f"{PLAN} >&-", f"{PLAN} >&- 2>&-", f"{PLAN} | true; exit ${{PIPESTATUS[0]}}"]
)
def test_a_stdout_that_nobody_reads_changes_nothing(manifest: Path, line: str) -> None:
    done = shell(line, manifest)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stream_of_another_encoding_has_every_line(manifest: Path) -> None:
    done = shell(PLAN, manifest, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "/in/\\u732b.png: there is no such file" in done.stdout


def test_a_locale_without_such_file_names_is_named(manifest: Path) -> None:
    c = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = shell(PLAN, manifest, **c)
    assert done.returncode == 2
    assert done.stderr == (
        "nst: expected a locale whose file names can have '\\u732b', found one of ascii; set "
        "LC_ALL=C.UTF-8 or PYTHONUTF8=1, and run it again\n"
    )


def test_a_working_folder_that_was_deleted_is_named(manifest: Path, tmp_path: Path) -> None:
    line = f'mkdir "$2"; cd "$2"; rmdir "$2"; {PLAN}'
    done = shell(line, manifest, tmp_path / "gone", PYTHONPATH=f"{ROOT}:{ROOT}/flows")
    assert done.returncode == 2
    assert "expected a working folder that exists, found none" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ctrl_c_while_modules_are_loaded_exits_130_without_a_word(tmp_path: Path) -> None:
    # One that sends the signal while the command line imports it.
    (tmp_path / "typer.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    )
    done = shell("nst --help", PYTHONPATH=f"{tmp_path}:{ROOT}:{ROOT}/flows")
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


def test_a_file_that_hides_a_library_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("from typing import nothing_of_the_kind\n")
    done = shell("nst --help", PYTHONPATH=f"{tmp_path}:{ROOT}:{ROOT}/flows")
    assert done.returncode == 2
    *where, said = done.stderr.splitlines()
    assert where[0] == "Traceback (most recent call last):"
    assert said.startswith("nst: expected all that nst needs in this environment, found: ")
    assert any(f"{tmp_path}/typer.py" in line for line in where)
