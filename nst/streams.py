"""stdout and stderr of a command, on which printing never fails: what it could not say is told at its end."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast


class Guarded:
    """A text stream that shows what it cannot encode as `\\u732b`, and drops what it cannot write.

    `error` is what the first failed write said; nothing is written after it.
    """

    def __init__(self, inner: TextIO | None) -> None:
        self._inner = inner
        self.error: OSError | ValueError | None = None

    @property
    def has_lost_output(self) -> bool:
        """Whether somebody may miss what was not written; one who closed a pipe has read enough."""
        return self.error is not None and getattr(self.error, "errno", None) != errno.EPIPE

    def write(self, text: str) -> int:
        if self._inner is not None and self.error is None:
            encoding = self._inner.encoding or "utf-8"
            with self._losing(self._inner):
                self._inner.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Any) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        if self._inner is not None and self.error is None:
            with self._losing(self._inner):
                self._inner.flush()

    def fileno(self) -> int:
        if self._inner is None:
            raise io.UnsupportedOperation("fileno")
        return self._inner.fileno()

    def isatty(self) -> bool:
        return self._inner is not None and not self._inner.closed and self._inner.isatty()

    @property
    def encoding(self) -> str:
        return self._inner.encoding if self._inner is not None else "utf-8"

    def __getattr__(self, name: str) -> Any:
        # Whoever writes bytes past this would be told of a full disk.
        if name == "buffer":
            raise AttributeError(name)
        return getattr(self._inner, name)

    @contextmanager
    def _losing(self, inner: TextIO) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as exc:
            self.error = exc
            # What is left in its buffer is written once more when Python ends, which must not fail.
            with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), inner.fileno())


@contextmanager
def guarded() -> Iterator[Guarded]:
    """stdout and stderr are guarded within; gives stdout, and writes all that is left at the end."""
    out, err = Guarded(sys.stdout), Guarded(sys.stderr)
    with redirect_stdout(cast(TextIO, out)), redirect_stderr(cast(TextIO, err)):
        try:
            yield out
        finally:
            out.flush()
            err.flush()


def open_closed() -> None:
    """Have what was closed of stdin, stdout and stderr lead nowhere.

    Otherwise the next files that are opened would take their numbers, and what another library or
    process prints would end up in a picture.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free, which is this one.
            os.open(os.devnull, os.O_RDWR)
