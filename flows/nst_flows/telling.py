"""What the Prefect server is told beside what Prefect tells it: by a thread that nobody waits for."""

import logging
import threading
from collections.abc import Callable
from contextvars import Context, copy_context

from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

_log = logging.getLogger(__name__)


class Teller:
    """Calls functions that ask the server for something, one after the other, in a thread.

    One that fails is not tried again, since Prefect's client would wait for a minute, and the first
    to fail is warned of. The caller's context, and with it the flow run, is that of the function.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Callable[[], object], Context]] = {}
        self._changed = threading.Condition()
        self._is_at_work = False
        self._has_warned = False

    def tell(self, subject: str, call: Callable[[], object]) -> None:
        """Have it called soon, in place of what has not been told yet of the same subject."""
        with self._changed:
            self._waiting[subject] = call, copy_context()
            if not self._is_at_work:
                self._is_at_work = True
                threading.Thread(target=self._work, name="tell", daemon=True).start()

    def wait(self, seconds: float) -> None:
        """Return when all is told, or after so many seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: not self._is_at_work, seconds):
                self._warn(TimeoutError(f"no answer within {seconds:g} s"))

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._is_at_work = False
                    self._changed.notify_all()
                    return
                call, context = self._waiting.pop(next(iter(self._waiting)))
            context.run(self._try, call)

    def _try(self, call: Callable[[], object]) -> None:
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                call()
        except Exception as exc:
            # Whatever it is, it costs the run nothing.
            self._warn(exc)

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning(
                "the progress cannot be shown, the Prefect server said: %s; the run goes on", error
            )
