"""What a command prints, on whatever stdout and stderr are."""

import io
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from nst import cli, pipeline
from nst.cli.entry import _not_raised
from nst.streams import Guarded, guarded
from tests.helpers import PATIENCE_S, nst, row, write_project


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


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--help"], 1), (["plan", "/no.csv", "--json"], 2)]
)
def test_a_full_disk_behind_stdout_exits_1_in_place_of_0_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(SystemExit) as ended:
        cli.app(arguments, prog_name="nst")
    assert ended.value.code == status
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("nst: stdout could not take all that was to be printed: [Errno 28]")


EVIL = "x\n6 of 6 rows ok\x1b[31m\u202e.png"
SHOWN = "x\\u000a6 of 6 rows ok\\u001b[31m\\u202e.png"


def test_a_name_forges_no_line_and_no_colour(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one"), row(EVIL, id="two")])
    out = tmp_path / "out"
    done = nst("run", manifest, "--output", out, "--no-isolate")
    assert f"/in/{SHOWN}: there is no such file" in done.stdout
    assert "6 of 6 rows ok" not in done.stdout.splitlines()


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


def test_an_unexpected_error_is_told_with_where_it_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_signal_that_came_where_nothing_is_raised_comes_again() -> None:
    what: Any = SimpleNamespace(exc_value=KeyboardInterrupt())
    _not_raised(what)
    with pytest.raises(KeyboardInterrupt):
        threading.Event().wait(PATIENCE_S)
