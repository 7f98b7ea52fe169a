"""Values of tables and of Python -> cells, and labels as a person would write them."""

import json
import os
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from nst.job import LABEL_PREFIX

_LARGEST_WHOLE = 2.0**53


def cell_of(column: str, value: Any) -> Any:
    """A value as JSON has it: text, a number, a truth value, a list of them, or None for nothing.

    A label is its text. A value of another type is returned as it is, for the reader of the column.
    """
    return label_of(value) if column.startswith(LABEL_PREFIX) else _plain(value)


def label_of(value: Any) -> str | None:
    """The text of a label, whatever its type; None if it says nothing."""
    return value if isinstance(value, str) else _text(_plain(value))


def _plain(value: Any) -> Any:
    """NaN and what else says of itself that it is nothing become None, in a list too."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if hasattr(value, "tolist"):
        # A number of NumPy, or an array of them.
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if type(value).__name__ == "NAType" or (_is_comparable(value) and value != value):
        return None
    match value:
        case os.PathLike():
            return os.fspath(value)
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case datetime():
            return value.isoformat(" ")
        case date() | time():
            return value.isoformat()
        case UUID() | timedelta():
            return str(value)
    return value


def _is_comparable(value: Any) -> bool:
    """Whether a value is a number or a time, of which one is unlike itself."""
    return isinstance(value, float | Decimal | date | timedelta)


def _text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < _LARGEST_WHOLE:
            return str(int(value))
        case bytes():
            return _text_of_bytes(value)
        case list():
            return ", ".join(text for each in value if (text := _text(each)) is not None)
        case Mapping():
            return json.dumps(dict(value), default=_text, ensure_ascii=False)
    return str(value)


def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()
