"""Rows <-> Parquet bytes; the only pyarrow."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from nst.errors import NSTError

Type: TypeAlias = "pa.DataType"
TEXT: Type = pa.string()
BOOL: Type = pa.bool_()
INT32: Type = pa.int32()
INT64: Type = pa.int64()
FLOAT32: Type = pa.float32()
FLOAT64: Type = pa.float64()
INSTANT: Type = pa.timestamp("ms", "UTC")


def list_of(item: Type) -> Type:
    """The type of a list."""
    made: Type = pa.list_(item)
    return made


def struct_of(**items: Type) -> Type:
    """The type of a record with named items."""
    made: Type = pa.struct(list(items.items()))
    return made


_ROWS_AT_ONCE = 1000


class TableError(NSTError):
    """Bytes that are not a Parquet table."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table that we write: its name, its type and what it means."""

    name: str
    type: Type
    description: str


def write_parquet(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, notes: Mapping[str, str]
) -> bytes:
    """The rows as one Parquet file, each column with its description, `notes` beside the schema.

    Only some of the rows are held in memory at a time.
    """
    schema = pa.schema(
        [pa.field(c.name, c.type, metadata={"description": c.description}) for c in columns],
        metadata=dict(notes),
    )
    sink = pa.BufferOutputStream()
    rest = iter(rows)
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        while chunk := list(itertools.islice(rest, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
    data: bytes = sink.getvalue().to_pybytes()
    return data


def read_parquet(data: bytes) -> list[dict[str, Any]]:
    """The rows of a Parquet file. Raises TableError where it is none."""
    with _translated(data):
        # One thread: a small file read whole is all there is to gain from.
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def parquet_columns(data: bytes) -> list[str]:
    """The column names, those of an empty table too. Raises TableError where it is none."""
    with _translated(data):
        return list(pq.read_schema(pa.BufferReader(data)).names)


@contextmanager
def _translated(data: bytes) -> Iterator[None]:
    """Turn what pyarrow raises into TableError; of values Python cannot hold, it is nearly anything."""
    try:
        yield
    except Exception as exc:
        raise TableError(f"{len(data)} bytes that cannot be read as one: {exc}") from exc
