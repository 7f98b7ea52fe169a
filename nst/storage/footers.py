"""What the footer of a Parquet file says of each column of each group of rows.

pyarrow says it too, but a damaged or an encrypted column ends the whole process there. The footer is
a structure of Thrift's compact protocol (parquet.thrift of the Parquet format).
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

# Without any of these a value is in its page as it is, or by its number in a list of distinct ones.
_PLAIN_OR_CODED = frozenset({0, 2, 3, 4, 8})


@dataclass(frozen=True, slots=True)
class Chunk:
    """A column in one group of rows: its path, and the values and bytes that it has unpacked.

    A value that stands in many rows can be counted once in `num_bytes`.
    """

    path: str
    num_values: int
    num_bytes: int
    is_plain_or_coded: bool


def chunks_of(file: IO[bytes]) -> list[list[Chunk]]:
    """The columns of each group of a Parquet file. Raises ValueError or IndexError where they are damaged."""
    end = file.seek(-8, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(end - length, 0))
    footer, _ = _structure(file.read(length), 0)
    return [[_chunk(each) for each in group[1]] for group in footer.get(4, [])]


def _chunk(column: Mapping[int, Any]) -> Chunk:
    found = column.get(3)
    # 8 and 9 are of encrypted columns.
    if found is None or 8 in column or 9 in column:
        raise ValueError("a column that is damaged or encrypted")
    return Chunk(
        path=".".join(name.decode() for name in found[3]),
        num_values=found[5],
        num_bytes=found[6],
        is_plain_or_coded=_PLAIN_OR_CODED.issuperset(found[2]),
    )


def _structure(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """The fields of a structure by their numbers, and where it ends."""
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        step, kind = divmod(data[at], 16)
        at += 1
        if step:
            number += step
        else:
            number, at = _whole(data, at)
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        else:
            fields[number], at = _READERS[kind](data, at)
    return fields, at + 1


_TRUE, _FALSE = 1, 2


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first."""
    value = shift = 0
    while data[at] >= 0x80:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if shift > _MAX_BITS:
            raise ValueError("a number of too many bytes")
    return value | data[at] << shift, at + 1


_MAX_BITS = 63


def _whole(data: bytes, at: int) -> tuple[int, int]:
    value, at = _number(data, at)
    return (value >> 1) ^ -(value & 1), at


def _binary(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = _number(data, at)
    if at + length > len(data):
        raise ValueError("a text that goes beyond the end")
    return data[at : at + length], at + length


def _items(data: bytes, at: int) -> tuple[list[Any], int]:
    length, kind = divmod(data[at], 16)
    at += 1
    if length == _LONG:
        length, at = _number(data, at)
    found = []
    for _ in range(length):
        item, at = _READERS[kind](data, at)
        found.append(item)
    return found, at


_LONG = 15


def _byte(data: bytes, at: int) -> tuple[int, int]:
    return data[at], at + 1


def _double(data: bytes, at: int) -> tuple[bytes, int]:
    return data[at : at + 8], at + 8


# A map is in no footer.
_READERS: Mapping[int, Callable[[bytes, int], tuple[Any, int]]] = {
    _TRUE: _byte,
    _FALSE: _byte,
    3: _byte,
    4: _whole,
    5: _whole,
    6: _whole,
    7: _double,
    8: _binary,
    9: _items,
    10: _items,
    12: _structure,
}
