"""The exception tree. Every message says what was expected, what was found, where, and the fix.

NSTError
├── ManifestError      the manifest or a --set value is invalid; nothing has run
├── ConfigError        the run's settings cannot work: device, weights, output
├── RunnerError        the cluster for the groups does not answer, or has no node that paints
├── RunEndedError      the run must end at once
│   └── TooManyFailedError   more rows have failed than `--fail-over` allows
├── StoppedError       somebody has asked the run to stop after its current pictures
├── AccessError        this run may not read a URL, by its scheme or its folder
├── ImageError         one picture cannot be used
├── MemoryLimitError   one picture alone does not fit the device
├── WorkerError        a picture crashed or hung its painting process
├── PainterError       the painting process ended before its first picture
│   └── NoPainterError       and so did those of other groups
├── TableError         bytes that are not a Parquet table; lives in storage/tables.py
├── WeightsError       a backbone's weights are missing or do not fit
└── StorageError       a store refused or did not answer; see `ends_the_run`
    ├── NotFoundError        the store answered that there is no such object
    ├── ForbiddenError       the store answered that we may not read this object
    ├── TooLargeError        the object has more bytes than its reader accepts
    └── CorruptTransferError what arrived differs from what the store says it has
"""

from collections.abc import Callable, Mapping
from typing import Literal

Reason = Literal[
    "bad_row",
    "path_not_allowed",
    "input_not_found",
    "input_forbidden",
    "input_changed",
    "corrupt_transfer",
    "not_an_image",
    "image_unsupported",
    "image_truncated",
    "image_unreadable",
    "image_too_small",
    "image_too_large",
    "image_mismatched",
    "weights_unavailable",
    "diverged",
    "out_of_memory",
    "worker_died",
    "timed_out",
    "storage",
    "group_failed",
]

# What each means, for the documentation.
REASONS: Mapping[Reason, str] = {
    "bad_row": "The row is invalid. Only seen with `--keep-going`; without it the whole manifest is refused.",
    "path_not_allowed": "This run may not read an input, by its scheme or its folder.",
    "input_not_found": "An input does not exist.",
    "input_forbidden": "The store does not allow reading an input.",
    "input_changed": "An input has changed since the run began.",
    "corrupt_transfer": "An input arrived damaged at every try.",
    "not_an_image": "An input is not a picture.",
    "image_unsupported": "An input is a picture in a format that is not supported.",
    "image_truncated": "An input is a picture that is cut short.",
    "image_unreadable": "An input is a picture that cannot be decoded completely.",
    "image_too_small": "After resizing, the short side of an input is too small for the backbone's layers.",
    "image_too_large": "An input has more bytes or pixels than the limit.",
    "image_mismatched": "A mask or a picture to start from has not the shape of its content, or a style's mask "
    "not that of its style.",
    "weights_unavailable": "The backbone's weights are missing or unusable.",
    "diverged": "The loss of this picture became infinite or not a number.",
    "out_of_memory": "The picture does not fit the device's memory, even alone.",
    "worker_died": "The painting process ended without an answer, for example because it was killed.",
    "timed_out": "The painting process gave no sign of life for `--timeout` seconds.",
    "storage": "A store refused a request or did not answer.",
    "group_failed": "The row's group stopped for a reason that has nothing to do with the row; run again.",
}


class NSTError(Exception):
    """Base of every error that a user can act on."""

    reason: Reason = "group_failed"


class RunEndedError(NSTError):
    """The run must end at once: another run has taken over, or this one is being stopped."""


class TooManyFailedError(RunEndedError):
    """More rows have failed than `--fail-over` allows."""


class StoppedError(NSTError):
    """Somebody has asked the run to stop after its current pictures; what is made is kept."""


class ManifestError(NSTError):
    """The manifest is refused before any work; the message lists every problem."""


class ConfigError(NSTError):
    """The run's settings cannot work, or cannot work on this machine."""


class RunnerError(NSTError):
    """The cluster for the groups does not answer, or has no node that paints."""


class AccessError(NSTError):
    """This run may not read a URL; only the rows that name it fail."""

    reason: Reason = "path_not_allowed"


class ImageError(NSTError):
    """A picture cannot be used; only the rows that name it fail."""

    def __init__(self, message: str, *, reason: Reason = "image_unreadable") -> None:
        super().__init__(message)
        self.reason = reason


class MemoryLimitError(NSTError):
    """A picture does not fit the device's memory even alone."""

    reason: Reason = "out_of_memory"


class WorkerError(NSTError):
    """A picture crashed or hung its painting process, now `attempts` times in a row."""

    def __init__(self, message: str, *, reason: Reason, attempts: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.attempts = attempts


class PainterError(NSTError):
    """The painting process of a group ended before its first picture, as often as it was started.

    `is_lost` if it died or hung, rather than told of an error that may be this group's own.
    """

    # With a default, since an error that comes from another process is made anew of its message.
    def __init__(self, message: str, *, is_lost: bool = False) -> None:
        super().__init__(message)
        self.is_lost = is_lost


class NoPainterError(PainterError):
    """No painting process gets as far as a picture, whatever the group; the run ends."""


class WeightsError(NSTError):
    """A backbone's weights are missing or unusable; only the rows of that backbone fail."""

    reason: Reason = "weights_unavailable"


class StorageError(NSTError):
    """A store refused or did not answer, after as many tries as make sense.

    `ends_the_run` is true if every other request would fail as well: the store does not answer or
    does not accept the credentials, the bucket is missing, the disk is full. Otherwise only one
    object is affected.
    """

    reason: Reason = "storage"

    def __init__(self, message: str, *, ends_the_run: bool = True) -> None:
        super().__init__(message)
        self.ends_the_run = ends_the_run


class NotFoundError(StorageError):
    """The store answered that there is no such object."""

    reason: Reason = "input_not_found"

    def __init__(self, message: str) -> None:
        super().__init__(message, ends_the_run=False)


class ForbiddenError(StorageError):
    """The store answered that we may not read or write this object."""

    reason: Reason = "input_forbidden"

    def __init__(self, message: str) -> None:
        super().__init__(message, ends_the_run=False)


class TooLargeError(StorageError):
    """An object has more bytes than its reader accepts; it was not read."""

    reason: Reason = "image_too_large"

    def __init__(self, message: str) -> None:
        super().__init__(message, ends_the_run=False)


class CorruptTransferError(StorageError):
    """What arrived differs in length or digest from what the store says it has, at every try."""

    reason: Reason = "corrupt_transfer"

    def __init__(self, message: str) -> None:
        super().__init__(message, ends_the_run=False)


def ends_the_run(error: BaseException) -> bool:
    """Whether a store itself has failed, so that continuing would only fail the other rows."""
    return isinstance(error, StorageError) and error.ends_the_run


_CLASSES: Mapping[Reason, Callable[[str], NSTError]] = {
    **{
        each.reason: each
        for each in (
            AccessError,
            CorruptTransferError,
            ForbiddenError,
            MemoryLimitError,
            NotFoundError,
            StorageError,
            WeightsError,
        )
    },
    **dict.fromkeys(
        (
            "input_changed",
            "not_an_image",
            "image_unsupported",
            "image_truncated",
            "image_unreadable",
            "image_too_small",
            "image_too_large",
            "image_mismatched",
        ),
        ImageError,
    ),
}


def error_of(reason: Reason, message: str) -> NSTError:
    """An error with this reason, of its class; an NSTError if no class is the reason's own."""
    error = _CLASSES.get(reason, NSTError)(message)
    error.reason = reason
    return error
