"""What a command prints, on whatever stdout and stderr are."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from nst.streams import Guarded, guarded
from tests.helpers import ROOT, nst, row, write_project


class Full(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "größe 猫 \\udce9".encode()),
        ("cp1252", b"gr\xf6\xdfe \\u732b \\udce9"),
        ("ascii", b"gr\\xf6\\xdfe \\u732b \\udce9"),
    ],
)
def test_what_a_stream_cannot_encode_is_shown_as_its_number(encoding: str, expected: bytes) -> None:
    sink = io.BytesIO()
    stream = Guarded(io.TextIOWrapper(sink, encoding))
    print("größe 猫 \udce9", end="", file=stream, flush=True)
    assert sink.getvalue() == expected
    assert not stream.has_lost_output


def test_what_cannot_be_written_fails_nobody_and_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    monkeypatch.setattr(sys, "stderr", Full())
    with guarded() as out:
        sys.stdout.write("one\n")
        sys.stderr.write("two\n")
    assert out.has_lost_output
    assert "No space left" in str(out.error)


def test_who_closes_a_pipe_has_read_enough() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        stream = Guarded(pipe)
        print("one", file=stream, flush=True)
        assert isinstance(stream.error, BrokenPipeError)
        assert not stream.has_lost_output


def test_a_closed_stream_takes_anything() -> None:
    stream = Guarded(None)
    print("one", file=stream, flush=True)
    assert stream.error is None
    assert not stream.isatty()


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
def test_a_full_disk_behind_stdout_exits_1_and_says_that_the_work_is_done(manifest: Path) -> None:
    done = shell(f"{PLAN} > /dev/full", manifest)
    assert done.returncode == 1
    assert done.stderr.startswith("nst: all is done, but stdout could not take all")
    assert done.stderr.count("\n") == 1
    assert shell("nst --help > /dev/full").returncode == 1
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


EVIL = "x\n6 of 6 rows ok\x1b[31m\u202e.png"
SHOWN = "x\\u000a6 of 6 rows ok\\u001b[31m\\u202e.png"


def test_a_name_forges_no_line_and_no_colour(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one"), row(EVIL, id="two")])
    out = tmp_path / "out"
    done = nst("run", manifest, "--output", out, "--no-isolate")
    assert f"/in/{SHOWN}: there is no such file" in done.stdout
    assert "6 of 6 rows ok" not in done.stdout.splitlines()
    (out / "images" / EVIL).write_bytes(b"")
    done = nst("clean", out)
    assert done.stdout == f"  images/{SHOWN}\n1 file removed\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", EVIL),
        ("plan", "m.csv", f"--{EVIL}"),
        (EVIL,),
        ("gallery", "out", "--port", EVIL),
        ("plan", "m.csv", "--device", EVIL),
        ("plan", "m.csv", "--set", EVIL),
        ("run", "m.csv", "--output", "o", "--runner", EVIL),
        ("verify", EVIL),
    ],
)
def test_an_error_shows_what_was_typed_as_text(tmp_path: Path, arguments: Sequence[str]) -> None:
    done = nst(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    said = done.stdout + done.stderr
    assert not any(line.startswith("6 of 6") for line in said.splitlines())
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_ctrl_c_while_modules_are_loaded_exits_130_without_a_word(tmp_path: Path) -> None:
    # One that sends the signal while the command line imports it.
    (tmp_path / "typer.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    )
    done = shell("nst --help", PYTHONPATH=f"{tmp_path}:{ROOT}:{ROOT}/flows")
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "")


def test_an_unexpected_error_is_told_with_where_it_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from nst import cli, pipeline

    def fails(*_: object, **__: object) -> None:
        raise KeyError("s3://user:secret-of-mine@host/\x1b")

    monkeypatch.setattr(pipeline, "make_plan", fails)
    done = CliRunner().invoke(cli.app, ["plan", "m.csv", "--json"])
    assert done.exit_code == 1
    *where, said, more = done.stderr.splitlines()
    assert where[0] == "Traceback (most recent call last):"
    assert said == "nst: an unexpected error ended nst plan: KeyError: 's3://***@host/\\x1b'"
    assert more.startswith("  What is finished is kept; run the same again to go on.")
    assert "secret-of-mine" not in done.stderr + done.stdout
    assert '"exit_status": 1' in done.stdout
