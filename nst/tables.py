"""Rows <-> Parquet bytes; the only pyarrow."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Coded:
    """A column as its distinct values and, for each row, which of them it has; -1 for none.

    Values are texts or numbers. A truth value is the text yes or no, a time is ISO 8601 to the
    second with Z, a list is its items as text apart by spaces. NaN counts as none.
    """

    values: list[str] | NDArray[np.float64] | NDArray[np.int64]
    codes: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Nested:
    """A column of lists of records, flat: those of row i are `offsets[i]` to `offsets[i + 1]`."""

    offsets: NDArray[np.int64]
    items: Mapping[str, Coded | NDArray[Any]]


class CodedColumns(Mapping[str, Coded]):
    """The columns of a file by name, each read when it is asked for, and then not held.

    Raises TableError for a file that is damaged, also when a column is read.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        with _translated(data):
            self._file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
            self._names = dict.fromkeys(self._file.schema_arrow.names)

    def __getitem__(self, name: str) -> Coded:
        if name not in self._names:
            raise KeyError(name)
        with _translated(self._data):
            coded = _coded(self._file.read([name], use_threads=False).column(0).combine_chunks())
        # Else it is kept for the next column, which is of another size.
        pa.default_memory_pool().release_unused()
        return coded

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def nested_texts(data: bytes, name: str, item: str) -> list[str]:
    """The distinct texts that `item` of the records in a column has, in no order."""
    with _translated(data):
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        if name not in file.schema_arrow.names:
            return []
        found: set[str] = set()
        for batch in file.iter_batches(_NESTED_ROWS, columns=[name], use_threads=False):
            lists = batch.column(0)
            found.update(pc.unique(lists.flatten().field(item).cast(TEXT)).to_pylist())
        return [text for text in found if text is not None]


def nested_columns(data: bytes, names: Sequence[str], num_rows: int) -> Iterator[dict[str, Nested]]:
    """The lists in those of the columns that the file has, of `num_rows` rows at a time.

    Only these are held in memory. Raises TableError for a file that is damaged, once it gets there.
    """
    with _translated(data):
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        known = [name for name in names if name in file.schema_arrow.names]
        # More than are asked for, since each batch has a cost of its own.
        batches = file.iter_batches(max(num_rows, _NESTED_ROWS), columns=known, use_threads=False)
        for table in _of_length(batches, num_rows):
            yield {name: _nested(table.column(name).combine_chunks()) for name in known}


_NESTED_ROWS = 1000


def _of_length(batches: Iterable[Any], num_rows: int) -> Iterator[Any]:
    """The rows of the batches as tables of `num_rows`, the last of what is left."""
    rest: Any = None
    for batch in batches:
        table = pa.Table.from_batches([batch])
        rest = table if rest is None else pa.concat_tables([rest, table])
        while rest.num_rows >= num_rows:
            yield rest.slice(0, num_rows)
            rest = rest.slice(num_rows)
    if rest is not None and rest.num_rows:
        yield rest


def _nested(lists: Any) -> Nested:
    offsets = lists.offsets.to_numpy().astype(np.int64)
    # A slice of lists keeps the records of all.
    records = lists.values.slice(offsets[0], offsets[-1] - offsets[0])
    items = {
        each.name: _flat(records.field(index)) for index, each in enumerate(records.type.fields)
    }
    return Nested(offsets - offsets[0], items)


def _flat(values: Any) -> Coded | NDArray[Any]:
    if pa.types.is_floating(values.type):
        found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return found
    if pa.types.is_integer(values.type):
        found = values.fill_null(0).to_numpy()
        return found
    return _coded(values)


def _coded(column: Any) -> Coded:
    found = column.type
    if pa.types.is_list(found) or pa.types.is_large_list(found):
        column = _joined(column)
    elif pa.types.is_timestamp(found):
        column = column.cast(pa.timestamp("s", found.tz), safe=False)
    encoded = column if pa.types.is_dictionary(found) else column.dictionary_encode()
    codes = encoded.indices.cast(pa.int32()).fill_null(-1).to_numpy()
    distinct = encoded.dictionary
    # The values are there twice for a moment, and need not be three times.
    del column, encoded
    return Coded(_values(distinct), codes)


def _joined(lists: Any) -> Any:
    """Lists as texts, each item as `_values` tells it."""
    items = _coded(lists.flatten())
    if isinstance(items.values, list):
        shown = items.values
    else:
        shown = [f"{value:.4g}" for value in items.values.tolist()]
    texts = pa.array([*shown, "none"], TEXT).take(pa.array(items.codes % (len(shown) + 1)))
    offsets = pc.list_value_length(lists).fill_null(0).to_numpy(zero_copy_only=False).cumsum()
    rebuilt = pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], offsets]), pa.int32()), texts, mask=lists.is_null()
    )
    return pc.binary_join(rebuilt, " ")


def _values(distinct: Any) -> list[str] | NDArray[np.float64] | NDArray[np.int64]:
    found = distinct.type
    if pa.types.is_floating(found) or pa.types.is_decimal(found):
        numbers: NDArray[np.float64] = distinct.cast(pa.float64()).to_numpy()
        return numbers
    if pa.types.is_integer(found):
        whole: NDArray[np.int64] = distinct.cast(pa.int64()).to_numpy()
        return whole
    if pa.types.is_boolean(found):
        return ["yes" if value else "no" for value in distinct.to_pylist()]
    if pa.types.is_timestamp(found):
        seconds = distinct.cast(pa.int64()).to_numpy().astype("datetime64[s]")
        return [f"{text}Z" for text in np.datetime_as_string(seconds).tolist()]
    texts: list[str] = distinct.cast(TEXT).to_pylist()
    return texts


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
