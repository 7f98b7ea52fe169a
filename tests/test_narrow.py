"""What is printed on a terminal of 60 columns, in which no word is torn apart."""

import io
import sys

import pytest
import typer

from nst import cli
from nst.cli.printing import print_line, print_next
from nst.wording import wrapped

GROUP = typer.main.get_group(cli.app)


@pytest.mark.parametrize("name", ["", *GROUP.commands])
def test_help_is_whole_in_60_columns(name: str) -> None:
    command = GROUP.commands[name] if name else GROUP
    context = command.context_class(command, info_name=f"nst {name}".strip(), terminal_width=60)
    usage, *lines = command.get_help(context).splitlines()
    assert [line for line in (usage, *lines) if len(line) > 60] == []
    assert [line for line in lines if line.rstrip().endswith(("...", "…"))] == []


def test_lines_end_between_words_and_a_path_stays_whole() -> None:
    text = "  one cannot read /a/path/that/is-longer-than/the-line.png: it is gone"
    assert wrapped(text, 20).splitlines() == [
        "  one cannot read",
        "    /a/path/that/is-longer-than/the-line.png:",
        "    it is gone",
    ]
    assert wrapped("short\nlines", 20) == "short\nlines"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_gets_broken_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    for stream, lines in ((Terminal(), 3), (io.StringIO(), 1)):
        monkeypatch.setattr(sys, "stdout", stream)
        print_line("some words that are longer than twenty columns")
        assert len(stream.getvalue().splitlines()) == lines


def test_a_command_to_type_next_stays_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    print_next(["to make it: nst run rows.csv --output output"])
    assert stream.getvalue() == "Next, to make it:\n  nst run rows.csv --output output\n"
