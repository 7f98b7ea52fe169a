"""The command `nst`, also as `python -m nst`: a signal ends it without a traceback at any moment."""

import gc
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from types import FrameType

# With one of them `nst run` paints in no process of its own, in several, or not at all.
_PAINTS_OTHERWISE = ("--help", "-h", "--no-isolate", "--prefect", "--lanes")
# How long libraries may take to end: Prefect has much to tell to a server that is gone.
_LAST_S = 30


def main() -> None:
    """Run the command that was typed."""
    _leave_on_signals()
    try:
        from nst import streams

        streams.open_closed()
        # It would look through all that is imported, again and again.
        gc.disable()
        try:
            if paints_apart(sys.argv[1:]):
                from nst.running import spawning

                spawning.start_early()
            # It takes a second, and all that is under way by then is the process that is to paint.
            from nst.cli import main as command
        except Exception as exc:
            sys.exit(_not_loaded(exc))
        gc.freeze()
        gc.enable()
        command()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except SystemExit as exc:
        _leave_in(_LAST_S, exc.code if isinstance(exc.code, int) else 0)
        raise
    finally:
        _end_early()
        # Python ends its threads, which may take a while, and everything has been said.
        _leave_on_signals()


def paints_apart(arguments: Sequence[str]) -> bool:
    """Whether a command will paint in one process of its own, as far as its words tell."""
    names = {each.partition("=")[0] for each in arguments}
    return arguments[:1] == ["run"] and len(arguments) > 1 and names.isdisjoint(_PAINTS_OTHERWISE)


def _end_early() -> None:
    """End the process that was started to paint, where the command has not come so far."""
    # A signal may come while that module is imported.
    end = getattr(sys.modules.get("nst.running.spawning"), "end_early", None)
    if end is not None:
        end()


def _not_loaded(error: Exception) -> int:
    traceback.print_exception(error)
    sys.stderr.write(
        f"nst: expected all that nst needs in this environment, found: {error}; nothing was run; "
        "install nst again, or take a file that has a library's name off PYTHONPATH\n"
    )
    return 2


def _leave_on_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A process in the background is to ignore Ctrl-C, and one of nohup the end of its terminal.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, _: FrameType | None) -> None:
    _end_early()
    os._exit(128 + number)


def _leave_in(seconds: float, status: int) -> None:
    def leave() -> None:
        time.sleep(seconds)
        os._exit(status)

    threading.Thread(target=leave, daemon=True).start()


if __name__ == "__main__":
    main()
