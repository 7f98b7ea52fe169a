"""The command `nst`, also as `python -m nst`: a signal ends it without a traceback at any moment."""

import os
import signal
import sys
import threading
import time
import traceback
from types import FrameType

# How long libraries may take to end: Prefect has much to tell to a server that is gone.
_LAST_S = 30


def main() -> None:
    """Run the command that was typed."""
    _leave_on_signals()
    try:
        # They take a second to import, and nothing is under way by then that would have to be ended.
        from nst import streams

        streams.open_closed()
        try:
            from nst.cli import main as command
        except Exception as exc:
            sys.exit(_not_loaded(exc))
        command()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except SystemExit as exc:
        _leave_in(_LAST_S, exc.code if isinstance(exc.code, int) else 0)
        raise
    finally:
        # Python ends its threads, which may take a while, and everything has been said.
        _leave_on_signals()


def _not_loaded(error: Exception) -> int:
    traceback.print_exception(error)
    sys.stderr.write(
        f"nst: expected all that nst needs in this environment, found: {error}; nothing was run; "
        "install nst again, or take a file that has a library's name off PYTHONPATH\n"
    )
    return 2


def _leave_on_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # A process in the background is to ignore Ctrl-C.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)


def _leave(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def _leave_in(seconds: float, status: int) -> None:
    def leave() -> None:
        time.sleep(seconds)
        os._exit(status)

    threading.Thread(target=leave, daemon=True).start()


if __name__ == "__main__":
    main()
