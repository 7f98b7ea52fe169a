"""The exception tree. Every message names what was expected, what was found, where, and the fix.

NSTError
├── ManifestError      the manifest or a --set value is refused; nothing has run
├── ConfigError        the run was asked for in a way that cannot work: device, weights, output
├── AccessError        a URL of a scheme or a place that this run may not read
├── ImageError         one picture cannot be used
├── MemoryLimitError   one picture does not fit the device
├── WorkerError        what painted a picture died of it or hung
├── CredentialError    a gallery would show what opens a store; all else is written
├── TableError         bytes that are not a Parquet table; lives in tables.py
├── WeightsError       a backbone's weights cannot be had or do not fit
└── StorageError       a store refused or did not answer; `scope` says whose fault it is
    ├── NotFoundError        the store answered that there is no such object
    ├── ForbiddenError       the store answered that this object is not for us
    ├── TooLargeError        the object has more bytes than are read
    └── CorruptTransferError what arrived is not what the store says it has
"""

from collections.abc import Mapping
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
    "bad_row": "The row is wrong; only with `--keep-going`, since the whole manifest is refused without it.",
    "path_not_allowed": "An input lies where this run may not read.",
    "input_not_found": "An input does not exist.",
    "input_forbidden": "The store does not let us read an input.",
    "input_changed": "An input is no longer what it was when the run began.",
    "corrupt_transfer": "An input arrived damaged each time that it was asked for.",
    "not_an_image": "An input's bytes are no picture at all.",
    "image_unsupported": "An input is a picture of a format that is not read.",
    "image_truncated": "An input ends before its picture does.",
    "image_unreadable": "An input is a picture that cannot be decoded whole.",
    "image_too_small": "Resized, its short side is below what the backbone can see.",
    "image_too_large": "An input has more bytes or pixels than are read.",
    "weights_unavailable": "The backbone has no usable weights here.",
    "diverged": "The loss of this picture stopped being a finite number.",
    "out_of_memory": "The device could not hold the picture.",
    "worker_died": "The process that painted it ended without an answer, as when it is killed.",
    "timed_out": "The process that painted it gave no sign of life for `--timeout` seconds.",
    "storage": "A store refused or did not answer.",
    "group_failed": "Its group was ended by something that has nothing to do with the row; run again.",
}


class NSTError(Exception):
    """Base of every error that a user can act on."""

    reason: Reason = "group_failed"


class RunEndedError(NSTError):
    """A run is over, whatever its groups are at: another has taken over, or it is being stopped."""


class TooManyFailedError(RunEndedError):
    """More rows have failed than the run was to go on with."""


class ManifestError(NSTError):
    """The manifest is refused before any work; the message lists every problem."""


class ConfigError(NSTError):
    """What was asked of the run cannot be done on this machine."""


class RunnerError(NSTError):
    """A cluster that groups were to be made on does not answer, or has nobody who makes them."""


class AccessError(NSTError):
    """A URL is not among those that this run may read; only the rows that name it fail."""

    reason: Reason = "path_not_allowed"


class CredentialError(NSTError):
    """What everybody is to read holds a credential; the message does not quote it."""


class ImageError(NSTError):
    """A picture cannot be used; only the rows that name it fail."""

    def __init__(self, message: str, *, reason: Reason = "image_unreadable") -> None:
        super().__init__(message)
        self.reason = reason


class MemoryLimitError(NSTError):
    """A picture does not fit the device's memory even alone."""

    reason: Reason = "out_of_memory"


class WorkerError(NSTError):
    """A picture killed or hung the process that painted it, now `attempts` times in a row."""

    def __init__(self, message: str, *, reason: Reason, attempts: int) -> None:
        super().__init__(message)
        self.reason = reason
        self.attempts = attempts


class WeightsError(NSTError):
    """A backbone's weights cannot be had; only the rows of that backbone fail."""

    reason: Reason = "weights_unavailable"


class StorageError(NSTError):
    """A store refused or did not answer, after as many tries as make sense.

    `ends_the_run` where nothing else would fare better: the store does not answer or does not know
    us, the bucket is not there, the disk is full. Otherwise it is one object's own fault.
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
    """The store answered that we may not have this object, or not write it."""

    reason: Reason = "input_forbidden"

    def __init__(self, message: str) -> None:
        super().__init__(message, ends_the_run=False)


class TooLargeError(StorageError):
    """The store says that an object has more bytes than its reader takes; it was not read."""

    reason: Reason = "image_too_large"

    def __init__(self, message: str) -> None:
        super().__init__(message, ends_the_run=False)


class CorruptTransferError(StorageError):
    """What arrived differs in length or digest from what the store says it has, at every try."""

    reason: Reason = "corrupt_transfer"

    def __init__(self, message: str) -> None:
        super().__init__(message, ends_the_run=False)


def ends_the_run(error: BaseException) -> bool:
    """Whether a store is out of order, so that going on would only fail everything else."""
    return isinstance(error, StorageError) and error.ends_the_run
