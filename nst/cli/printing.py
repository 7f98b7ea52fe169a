"""What commands print: lines for people, in which no name can look like another line."""

import shutil
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from typing import Any

from nst.starting import Named, Start
from nst.wording import counted, message, visible, wrapped

_MAX_LISTED = 50
_MAX_NAMED = 8


def print_line(line: str) -> None:
    """Print a line for people, in which no name can look like another line."""
    print(in_columns(visible(line), sys.stdout))


def print_next(steps: Sequence[str]) -> None:
    """Print what may be typed next."""
    for step in steps:
        line = visible(f"Next, {step}")
        if in_columns(line, sys.stdout) == line:
            print(line)
        else:
            # In a line of its own, which a terminal lets be copied in one piece.
            reason, _, command = line.partition(": ")
            print(f"{reason}:\n  {command}")


def print_error(said: str) -> None:
    print(in_columns(f"nst: {message(said)}", sys.stderr), file=sys.stderr)


def in_columns(text: str, stream: Any) -> str:
    """The text with whole words in each line of a terminal; as it is for whatever else reads it."""
    is_terminal = stream is not None and stream.isatty()
    return wrapped(text, shutil.get_terminal_size().columns) if is_terminal else text


def human(is_json: bool) -> AbstractContextManager[object]:
    """What is printed within is for people, which with `--json` stdout is not."""
    return redirect_stdout(sys.stderr) if is_json else nullcontext()


def print_rows(rows: Sequence[tuple[int, str, str]], what: str) -> None:
    """Rows under the reason that they share, so that forty rows do not say one thing forty times."""
    by_reason: dict[str, list[tuple[int, str]]] = {}
    for row, job_id, reason in rows:
        by_reason.setdefault(reason, []).append((row, job_id))
    for reason, members in by_reason.items():
        print_line(f"{counted(len(members), 'row')} {what}: {reason}")
        for row, job_id in members[:_MAX_LISTED]:
            print_line(f"    row {row}, {job_id}")
        if len(members) > _MAX_LISTED:
            print_line(f"    and {len(members) - _MAX_LISTED} more, all of them in the metadata")


def print_start(start: Start, *, is_kept: bool) -> None:
    """The matrix that is made of the pictures that were named, and where it is kept."""
    if start.named is None:
        return
    for line in _matrix_lines(start.named):
        print_line(line)
    if is_kept:
        print_line(f"Manifest: {start.manifest}")


def _matrix_lines(named: Named) -> Iterator[str]:
    axes = named.matrix.axes
    lengths = [counted(len(values), name) for name, values in axes.items()]
    others = f" ({counted(named.num_others, 'other file')} left out)" if named.num_others else ""
    yield f"{' x '.join(lengths)} = {counted(named.matrix.num_rows, 'picture')}{others}"
    for name, values in axes.items():
        names = [each.rpartition("/")[2] for each in values[:_MAX_NAMED]]
        more = f" and {len(values) - _MAX_NAMED} more" if len(values) > _MAX_NAMED else ""
        yield f"  {name}: {', '.join(names)}{more}"


def open_page(url: str) -> None:
    """Show a page or a picture in a browser. Where there is none, its URL has been printed."""
    if not url.startswith(("file:", "http:", "https:")):
        print_error(f"no browser opens {url}; nst gallery OUTPUT --serve shows an output")
    elif not webbrowser.open(url):
        print_error(f"no browser opened; open {url} in one")
