"""How long the texts of a manifest may be: strangers write them, and each is looked at many times."""

from collections.abc import Mapping
from typing import Any

MAX_NAME = 200
MAX_CELL = 10_000
# What Python's reader of CSV takes; a file with more in a cell is none.
MAX_BYTES_IN_FILE = 131_072
# Each is a column of the metadata, for every row.
MAX_LABELS = 1000
# Linux opens no longer path, and no key of S3 is as long.
MAX_REFERENCE = 4096


def too_long(cells: Mapping[str, Any]) -> dict[str, int]:
    """The characters of each cell that has more than MAX_CELL; each item of a list counts as one more."""
    return {
        column: length
        for column, value in cells.items()
        if isinstance(value, str | list) and (length := _length(value)) > MAX_CELL
    }


def num_characters(cells: Mapping[str, Any]) -> int:
    """The characters of all cells, counted likewise."""
    return sum(_length(value) for value in cells.values() if isinstance(value, str | list))


def _length(value: str | list[Any]) -> int:
    if isinstance(value, str):
        return len(value)
    return len(value) + sum(len(each) for each in value if isinstance(each, str))
