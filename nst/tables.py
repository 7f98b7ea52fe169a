"""Rows <-> Parquet bytes; the only pyarrow."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

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


Kind = Literal["text", "texts", "value", "values", "none", "other"]


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    """A column of a file that someone else wrote: its name, of which kind it is, its very type.

    `value` is a number, a truth value or a time; `other` is what no cell of a CSV could say.
    """

    name: str
    kind: Kind
    type: str


@dataclass(frozen=True, slots=True)
class ParquetSize:
    """How many rows a file says that it has, and how many bytes they are once unpacked."""

    num_rows: int
    num_bytes: int


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
        table = pq.read_table(
            pa.BufferReader(data), use_threads=False, page_checksum_verification=True
        )
        rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def parquet_columns(data: bytes) -> list[ParquetColumn]:
    """The columns, those of an empty table too. Raises TableError where it is no Parquet file."""
    with _translated(data):
        schema = pq.read_schema(pa.BufferReader(data))
        return [ParquetColumn(each.name, _kind(each.type), str(each.type)) for each in schema]


def parquet_size(data: bytes) -> ParquetSize:
    """What the file says of its size. Raises TableError where it is no Parquet file."""
    with _translated(data):
        found = pq.read_metadata(pa.BufferReader(data))
        groups = (found.row_group(i) for i in range(found.num_row_groups))
        return ParquetSize(found.num_rows, sum(group.total_byte_size for group in groups))


def parquet_rows(data: bytes) -> Iterator[dict[str, Any]]:
    """The rows, some at a time. Raises TableError for a file that is damaged, once it gets there."""
    with _translated(data):
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            yield from batch.to_pylist()


_BATCH_ROWS = 256


def _kind(found: Type) -> Kind:
    types = pa.types
    if types.is_dictionary(found):
        return _kind(found.value_type)
    if types.is_string(found) or types.is_large_string(found) or types.is_string_view(found):
        return "text"
    if types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found):
        match _kind(found.value_type):
            case "text":
                return "texts"
            case "value":
                return "values"
            case _:
                return "other"
    if types.is_null(found):
        return "none"
    is_value = types.is_primitive(found) or types.is_decimal(found)
    return "value" if is_value else "other"


@contextmanager
def _translated(data: bytes) -> Iterator[None]:
    """Turn what pyarrow raises into TableError; of values Python cannot hold, it is nearly anything."""
    try:
        yield
    except Exception as exc:
        raise TableError(f"{len(data)} bytes that cannot be read as one: {exc}") from exc
