"""The command `nst`: its commands, the signals and the warnings of its process."""

import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nst import __version__, streams
from nst.cli.audit import clean, verify
from nst.cli.exits import EXIT_STOPPED, number_of, told_of
from nst.cli.gallery import gallery, sheet
from nst.cli.plan import init, plan
from nst.cli.printing import in_columns, print_error, print_line
from nst.cli.run import run
from nst.cli.watch import status, stop
from nst.cli.weights import show_weights
from nst.running import Interrupted
from nst.wording import message, visible

_AGAIN_S = 0.05
# What Typer raises for bad usage, whether it has it of its own or from click.
_BadUsage: Any = typer.BadParameter.__mro__[2]


class _Commands(TyperGroup):
    """Ends each command by its exit status, whatever it came upon."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        command = partial(super().main, *args, **extra | {"standalone_mode": False})
        if not standalone_mode:
            return command()
        with streams.guarded() as out:
            status = _status(command)
            out.flush()
            if out.has_lost_output:
                print_error(
                    f"stdout could not take all that was to be printed: {out.error}; nothing else is "
                    "affected, and running the same again prints it"
                )
                status = status or EXIT_STOPPED
        sys.exit(status)


def _status(command: Callable[[], Any]) -> int:
    """The exit status of a command, after its error is printed."""
    try:
        return command() or 0
    except _BadUsage as exc:
        sink = io.StringIO()
        exc.show(sink)
        usage, label, said = sink.getvalue().rstrip("\n").partition("Error: ")
        print(f"{usage}{label}{visible(said)}", file=sys.stderr)
        return int(exc.exit_code)
    except BaseException as exc:
        said, status = told_of("nst", exc)
        print_error(said)
        return status


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The command `nst`, once its modules are loaded."""
    _show_warnings()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    # Of a terminal that is closed, or a connection that is lost; nohup has it ignored.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    sys.unraisablehook = _not_raised
    app(prog_name="nst")


def _interrupt(number: int, _: object) -> None:
    # A terminal that is closed tells it twice, by its shell and by itself; once is enough to end in order.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    raise Interrupted(number)


def _not_raised(what: Any) -> None:
    """Have a signal that came where Python raises nothing, as in a finalizer, come again soon."""
    if isinstance(what.exc_value, KeyboardInterrupt | Interrupted):
        number = number_of(what.exc_value)
        # To the process: a thread that sends it to itself does not wake the main thread, which may wait.
        again = threading.Timer(_AGAIN_S, os.kill, [os.getpid(), number])
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(what)


def _show_warnings() -> None:
    """Our own warnings on stderr. Not the root logger's: Prefect sets up logging of its own."""
    handler = _OnStderr()
    handler.setFormatter(_InOneMessage("%(levelname)s: %(message)s"))
    logger = logging.getLogger("nst")
    logger.addHandler(handler)
    # Prefect's would say it once more.
    logger.propagate = False


class _OnStderr(logging.StreamHandler[Any]):
    """On what stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _InOneMessage(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return in_columns(message(super().format(record)), sys.stderr)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Batch neural style transfer: repaint every content of a manifest in its style.

    Example: nst run manifests/demo.csv --output output/demo
    """
    if version:
        print_line(f"nst {__version__}")
        raise typer.Exit


app.command(short_help="Make the pictures of a manifest, or of two folders.")(run)
app.command(short_help="Say what a run would make, in what time and memory.")(plan)
app.command(short_help="Write an example of a manifest, to edit.")(init)
app.command(short_help="Say how far a run is, and who runs it.")(status)
app.command(short_help="Ask a run under way to stop after its current pictures.")(stop)
app.command(short_help="Rebuild the gallery of a run, or make one of several.")(gallery)
app.command(short_help="Make a contact sheet of an output.")(sheet)
app.command(short_help="Check every picture of a run against its record.")(verify)
app.command(short_help="Remove what no row of the metadata owns.")(clean)
app.command(name="weights", short_help="Say what weights there are, and how to get the others.")(
    show_weights
)
