"""The exception tree. Every message names what was expected, what was found, where, and the fix.

NSTError
├── ManifestError      the manifest or a --set value is refused; nothing has run
├── ConfigError        the run was asked for in a way that cannot work: device, weights, output
├── ImageError         one picture cannot be used
├── MemoryLimitError   one picture does not fit the device
├── TableError         bytes that are not a Parquet table; lives in tables.py
├── WeightsError       a backbone's weights cannot be had or do not fit
└── StorageError       a store refused or did not answer; worth another try if `is_transient`
    └── NotFoundError  the store answered that there is no such object
"""

from typing import Literal

Reason = Literal[
    "input_not_found",  # the content or the style does not exist
    "image_unreadable",  # its bytes are not a picture that can be decoded whole
    "image_too_small",  # resized, its short side is below what the backbone can see
    "weights_unavailable",  # the backbone has no usable weights here
    "diverged",  # the loss of this picture stopped being a finite number
    "out_of_memory",  # the device could not hold the batch
    "storage",  # a store refused or did not answer
    "group_failed",  # what ended its group was not of its own making
]


class NSTError(Exception):
    """Base of every error that a user can act on."""

    reason: Reason = "group_failed"


class ManifestError(NSTError):
    """The manifest is refused before any work; the message lists every problem."""


class ConfigError(NSTError):
    """What was asked of the run cannot be done on this machine."""


class ImageError(NSTError):
    """A picture cannot be used; only the rows that name it fail."""

    def __init__(self, message: str, *, reason: Reason = "image_unreadable") -> None:
        super().__init__(message)
        self.reason = reason


class MemoryLimitError(NSTError):
    """A picture does not fit the device's memory even alone."""

    reason: Reason = "out_of_memory"


class WeightsError(NSTError):
    """A backbone's weights cannot be had; only the rows of that backbone fail."""

    reason: Reason = "weights_unavailable"


class StorageError(NSTError):
    """A store refused or did not answer."""

    reason: Reason = "storage"

    def __init__(self, message: str, *, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class NotFoundError(StorageError):
    """The store answered that there is no such object."""

    reason: Reason = "input_not_found"


def is_transient(error: BaseException) -> bool:
    """Whether the same call may pass at another time."""
    return isinstance(error, StorageError) and error.is_transient
