"""How a command ends: what is said of an error, and the exit status that tells of it."""

import codecs
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from nst.cli.printing import human, print_error
from nst.documents import ErrorDocument, to_json
from nst.errors import ConfigError, ManifestError, NSTError
from nst.redaction import redacted
from nst.running import Interrupted
from nst.wording import message

EXIT_STOPPED = 1  # it was stopped by no fault of the user's; running it again goes on from there
EXIT_USAGE = 2  # bad usage or a bad manifest, and nothing was run
EXIT_SOME_FAILED = 3  # the run finished and some rows failed
EXIT_TOO_MANY_FAILED = 4  # more than --fail-over allows, and the rest was left
EXIT_STOPPED_ON_REQUEST = 128 + signal.SIGINT  # by nst stop, which is a Ctrl-C from elsewhere


@contextmanager
def errors(command: str, *, is_json: bool = False) -> Iterator[None]:
    """Print an error that a user can act on, and exit with what it means.

    With `--json` the error is a document too, and whatever is printed within goes to stderr.
    """
    try:
        with human(is_json):
            _check_working_folder()
            yield
    except typer.Exit:
        raise
    except BaseException as exc:
        said, status = told_of(f"nst {command}", exc)
        print_error(said)
        if is_json:
            print(to_json(ErrorDocument(command=command, error=said, exit_status=status)))
        raise typer.Exit(status) from exc


def _check_working_folder() -> None:
    """Raises ConfigError for one that is gone, in which PyTorch ends the process where it stands."""
    try:
        os.getcwd()
    except OSError as exc:
        raise ConfigError(
            f"expected a working folder that exists, found none ({exc.strerror}); cd to another one"
        ) from exc


def told_of(command: str, error: BaseException) -> tuple[str, int]:
    """What to say of an error that ended a command, and its exit status."""
    match error:
        case SystemExit():
            raise error
        case ConfigError() | ManifestError():
            return str(error), EXIT_USAGE
        case NSTError():
            return str(error), EXIT_STOPPED
        case KeyboardInterrupt() | Interrupted() | typer.Abort():
            said = "stopped; what is finished is kept, run the same again to go on"
            # What a shell reports of a process that a signal ended.
            return said, 128 + number_of(error)
        case UnicodeEncodeError(encoding=encoding) if _is_of_names(encoding):
            name = error.object[error.start : error.end]
            return (
                f"expected a locale whose file names can have {name!r}, found one of {encoding}; "
                "set LC_ALL=C.UTF-8 or PYTHONUTF8=1, and run it again"
            ), EXIT_USAGE
        case _:
            return _surprise(command, error), EXIT_STOPPED


def _is_of_names(encoding: str) -> bool:
    """Whether this locale encodes the names of files so, and cannot have all of them."""
    name = codecs.lookup(encoding).name
    return name != "utf-8" and name == codecs.lookup(sys.getfilesystemencoding()).name


def _surprise(command: str, error: BaseException) -> str:
    """What to say of an error that nobody has thought of, after where it happened is printed."""
    where = "".join(traceback.format_exception(error)).rstrip()
    print(message(redacted(where)), file=sys.stderr)
    return (
        f"an unexpected error ended {command}: {type(error).__name__}: {redacted(str(error))}\n"
        "What is finished is kept; run the same again to go on. The lines above say where it "
        "happened; if it happens again, report them"
    )


def number_of(error: BaseException) -> int:
    return error.number if isinstance(error, Interrupted) else signal.SIGINT
