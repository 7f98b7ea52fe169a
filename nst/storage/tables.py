"""Rows <-> Parquet files; the only pyarrow.

A file that may be large is one of ours that is open, of which only what is asked for is in memory.
"""

import io
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal, TypeAlias
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow.interchange import from_dataframe

from nst.errors import NSTError
from nst.iterables import in_chunks
from nst.storage.footers import Chunk, chunks_of, repeatable_bytes

Type: TypeAlias = "pa.DataType"
TEXT: Type = pa.string()
BOOL: Type = pa.bool_()
INT32: Type = pa.int32()
INT64: Type = pa.int64()
FLOAT32: Type = pa.float32()
FLOAT64: Type = pa.float64()
INSTANT: Type = pa.timestamp("ms", "UTC")

Table: TypeAlias = pa.Table
TableColumn: TypeAlias = pa.ChunkedArray


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
class ParquetOutline:
    """What a file says of itself: its columns, its rows, and how many bytes they are once unpacked.

    A text that stands in many rows is counted once. `num_items` are those of all lists. Bytes and items
    may be those of some columns alone.
    """

    columns: tuple[ParquetColumn, ...]
    num_rows: int
    num_bytes: int
    num_items: int


def parquet_outline(data: bytes, *, columns: Collection[str] | None = None) -> ParquetOutline:
    """What the file says of itself, its bytes and items those of `columns`, or of all if it is None.

    Raises TableError where it is no Parquet file.
    """
    with _translated(len(data)):
        file = pq.ParquetFile(pa.BufferReader(data))
        leaves = _leaves(file.schema, columns)
        groups = chunks_of(io.BytesIO(data))
        chunks = [chunk for group in groups for chunk in group if chunk.path in leaves]
        return ParquetOutline(
            tuple(ParquetColumn(f.name, _kind(f.type), str(f.type)) for f in file.schema_arrow),
            file.metadata.num_rows,
            sum(chunk.num_bytes for chunk in chunks),
            sum(chunk.num_values for chunk in chunks if leaves[chunk.path].max_repetition_level),
        )


def parquet_rows(
    data: bytes, *, max_cell_bytes: int | None = None, columns: Collection[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows, some at a time, of `columns` alone unless it is None.

    Raises TableError for a file that is damaged, once it gets there, and for a cell of more than
    `max_cell_bytes`, before the cell is unpacked: some bytes of a file can be one long text in many
    rows.
    """
    with _translated(len(data)):
        schema = pq.ParquetFile(pa.BufferReader(data)).schema
        leaves = _leaves(schema, columns)
        _check_widths(leaves.values(), max_cell_bytes)
        chunks = chunks_of(io.BytesIO(data))
        # In lists, since in one row there can be any number of a text.
        lists = {path for path, leaf in leaves.items() if leaf.max_repetition_level}
        coded = _codable(schema, chunks) & lists
        file = _parquet(pa.BufferReader(data), coded=coded)
        texts = _texts_of(schema) & leaves.keys() - coded
        # In the order of the file, which is the one that pyarrow is asked in.
        names = None if columns is None else [n for n in file.schema_arrow.names if n in columns]
        number = 0
        for group, each in enumerate(chunks):
            row_bytes = sum(leaf.length for leaf in leaves.values() if leaf.length > 0)
            row_bytes += sum(repeatable_bytes(data, c) for c in each if c.path in texts)
            rows = min(_ROWS_AS_OBJECTS, max(_BYTES_IN_ARROW // max(row_bytes, 1), 1))
            for batch in file.iter_batches(
                rows, row_groups=[group], columns=names, use_threads=False
            ):
                for part in _small_parts(batch, number, max_cell_bytes):
                    yield from rows_of(part)
                number += batch.num_rows


_ROWS_IN_ARROW = 10_000
_BYTES_IN_ARROW = 64 << 20
_ROWS_AS_OBJECTS = 256
_BYTES_AS_OBJECTS = 16 << 20


def _leaves(schema: Any, columns: Collection[str] | None) -> dict[str, Any]:
    """The columns as they are stored, by their paths: a list or a record is stored as those in it."""
    leaves = {leaf.path: leaf for leaf in map(schema.column, range(len(schema)))}
    if columns is None:
        return leaves
    return {path: leaf for path, leaf in leaves.items() if _is_of(path, columns)}


def _is_of(path: str, columns: Collection[str]) -> bool:
    """Whether a path is in one of the columns as pyarrow sees it, to which `a.b` may be b in a."""
    parts = path.split(".")
    return any(".".join(parts[:end]) in columns for end in range(1, len(parts) + 1))


def _check_widths(leaves: Iterable[Any], max_cell_bytes: int | None) -> None:
    for leaf in leaves:
        if max_cell_bytes is not None and leaf.length > max_cell_bytes:
            raise ValueError(
                f"row 1 has {leaf.length:,} bytes in the column {leaf.path[:80]!r}, and may have "
                f"{max_cell_bytes:,}"
            )


def _small_parts(batch: Any, first: int, max_cell_bytes: int | None) -> Iterator[Any]:
    """A batch in parts that are small as objects of Python; `first` rows came before it."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        of_column = _cell_bytes(column)
        sizes += of_column
        if max_cell_bytes is not None and of_column.max(initial=0) > max_cell_bytes:
            row = int(np.argmax(of_column > max_cell_bytes))
            raise ValueError(
                f"row {first + row + 1} has {of_column[row]:,} bytes in the column {name[:80]!r}, and "
                f"may have {max_cell_bytes:,}"
            )
    ends = np.cumsum(sizes)
    start = 0
    while start < batch.num_rows:
        before = ends[start - 1] if start else 0
        stop = int(np.searchsorted(ends, before + _BYTES_AS_OBJECTS, side="right"))
        stop = min(max(stop, start + 1), start + _ROWS_AS_OBJECTS)
        part = batch.slice(start, stop - start)
        yield pa.RecordBatch.from_arrays(list(map(_decoded, part.columns)), part.schema.names)
        start = stop


def _decoded(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _cell_bytes(array: Any) -> Any:
    """About how many bytes each cell takes by itself, as whole numbers; without unpacking any."""
    found, types = array.type, pa.types
    if types.is_dictionary(found):
        sizes = np.append(_cell_bytes(array.dictionary), 0)
        return sizes[array.indices.cast(pa.int64()).fill_null(-1).to_numpy()]
    if types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found):
        lengths = pc.list_value_length(array).cast(pa.int64()).fill_null(0).to_numpy()
        sums = np.append(0, np.cumsum(_cell_bytes(array.flatten())))
        ends = np.cumsum(lengths)
        return sums[ends] - sums[ends - lengths]
    if types.is_struct(found):
        return sum(map(_cell_bytes, array.flatten()), np.zeros(len(array), np.int64))
    if types.is_string(found) or types.is_large_string(found):
        return pc.binary_length(array).cast(pa.int64()).fill_null(0).to_numpy()
    if types.is_binary(found) or types.is_large_binary(found):
        return pc.binary_length(array).cast(pa.int64()).fill_null(0).to_numpy()
    if types.is_run_end_encoded(found):
        at = np.arange(array.offset, array.offset + len(array))
        return _cell_bytes(array.values)[np.searchsorted(array.run_ends, at, side="right")]
    # Numbers, and types whose texts have not been unpacked more than once.
    return np.full(len(array), -(-array.nbytes // max(len(array), 1)))


def rows_of(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows of a batch as values of Python, of which every type has some.

    A time that Python cannot hold is its text, binary text is text, and 16 bytes are a UUID.
    """
    names = batch.schema.names
    for values in zip(*map(_python_values, batch.columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _python_values(array: Any) -> list[Any]:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    try:
        values = array.to_pylist()
    except (ValueError, OverflowError):
        return [_without_zeros(value) for value in array.cast(_timeless(array.type)).to_pylist()]
    if pa.types.is_fixed_size_binary(array.type) and array.type.byte_width == _UUID_BYTES:
        return [value if value is None else UUID(bytes=value) for value in values]
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
        return [value if value is None else _text_if_any(value) for value in values]
    return list(values)


_UUID_BYTES = 16


def _timeless(found: Type) -> Type:
    """The type with texts in place of times, of which Python cannot hold all."""
    if pa.types.is_list(found) or pa.types.is_large_list(found):
        return list_of(_timeless(found.value_type))
    if pa.types.is_struct(found):
        return pa.struct([field.with_type(_timeless(field.type)) for field in found])
    if pa.types.is_duration(found):
        return INT64
    return TEXT if pa.types.is_temporal(found) else found


def _without_zeros(value: Any) -> Any:
    """The text of a time without a fraction that says nothing."""
    if isinstance(value, list):
        return [_without_zeros(each) for each in value]
    return re.sub(r"\.0+(?!\d)", "", value) if isinstance(value, str) else value


def _text_if_any(value: bytes) -> str | bytes:
    """Text that was written without saying so, as Spark and Impala can; else the bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def table_of(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    """A table of these cells; one that is not given is empty."""
    return pa.Table.from_pylist(list(rows), schema=_schema(columns))


def joined(tables: Sequence[Table]) -> Table:
    """All rows one after the other, of tables that have the same columns."""
    # In one piece, since taking rows out of many is slow.
    return pa.concat_tables(tables).combine_chunks()


def side_by_side(one: Table, other: Table) -> Table:
    """The columns of both, which have as many rows."""
    return pa.table([*one.columns, *other.columns], [*one.column_names, *other.column_names])


def write_parquet(
    file: IO[bytes],
    tables: Iterable[Table],
    columns: Sequence[Column],
    *,
    notes: Mapping[str, str],
    group_rows: int,
) -> None:
    """Write the rows of tables, which have just these columns in any order, into an open file.

    Each column gets its description, and the schema gets `notes`. Rows are written as soon as there
    are `group_rows` of them, as one group: small groups make rows quick to find, large ones make the
    file's directory short, which takes whoever opens it 60 kB a group.
    """
    schema = pa.schema(
        [pa.field(c.name, c.type, metadata={"description": c.description}) for c in columns],
        metadata=dict(notes),
    )
    with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as writer:
        for group in _of_length((t.select(schema.names).cast(schema) for t in tables), group_rows):
            writer.write_table(group)


def arrow_table(data: bytes) -> Any:
    """A Parquet file as the table that pyarrow has of it. Raises TableError where it is none."""
    with _translated(len(data)):
        return pq.read_table(pa.BufferReader(data), page_checksum_verification=True)


def rows_of_frame(frame: Any) -> list[dict[str, Any]]:
    """The rows of a table of any library that knows the DataFrame interchange protocol.

    Raises TableError as `rows_of_table`.
    """
    return rows_of_table(from_dataframe(frame))


def rows_of_table(table: Table) -> list[dict[str, Any]]:
    """The rows of a table of pyarrow.

    Raises TableError where they take more than 2 GiB as objects of Python, as a text that the table
    has once can in many rows.
    """
    batches = table.to_batches(_ROWS_IN_ARROW)
    num_bytes = sum(int(_cell_bytes(column).sum()) for batch in batches for column in batch.columns)
    if num_bytes > _MAX_BYTES:
        raise TableError(
            f"expected a table of at most {_MAX_BYTES:,} bytes, found {num_bytes:,} once unpacked; "
            "split it, or write it to a file"
        )
    parts = (part for batch in batches for part in _small_parts(batch, 0, None))
    return [row for part in parts for row in rows_of(part)]


_MAX_BYTES = 2 * 1024**3


def read_columns(
    file: IO[bytes], columns: Sequence[Column], names: Sequence[str], *, needed: Sequence[str] = ()
) -> Table:
    """The columns `names` of a file that has some of `columns`; those that it lacks are empty.

    All others are read too, to see that they are whole, but not kept. Raises TableError for a file
    that is damaged anywhere, one whose columns have other types, and one that lacks what is `needed`.
    """
    schema = _schema(columns)
    wanted = pa.schema([schema.field(name) for name in names])
    found = [wanted.empty_table()]
    with _translated(_size(file)):
        parquet = _parquet(file)
        known = [name for name in schema.names if name in parquet.schema_arrow.names]
        if missing := [name for name in needed if name not in known]:
            raise ValueError(f"no column {', '.join(missing)}")
        expected = pa.schema([schema.field(name) for name in known])
        for batch in _batches(parquet, _ROWS_AT_ONCE, known):
            batch.validate(full=True)
            table = pa.Table.from_batches([batch]).select(known)
            if not table.schema.equals(expected):
                raise ValueError(f"columns of other types: {table.schema}")
            found.append(_completed(table, wanted))
    return joined(found)


class RowReader:
    """Rows of a file by their numbers, for which only the row groups that they lie in are read.

    A pyarrow.dataset takes rows by their numbers too, but reads all that come before them. Raises
    TableError for a file that is damaged, also when rows are read.
    """

    def __init__(self, file: IO[bytes], columns: Sequence[Column]) -> None:
        self._size = _size(file)
        with _translated(self._size):
            self._file = _parquet(file)
            groups = range(self._file.num_row_groups)
            sizes = [self._file.metadata.row_group(group).num_rows for group in groups]
        self._ends = np.cumsum(sizes)
        self._schema = _schema(columns)

    def take(self, numbers: NDArray[np.int64]) -> Table:
        """The rows of these numbers, which go up, from 0; columns that the file lacks are empty."""
        groups = np.searchsorted(self._ends, numbers, side="right")
        found = [self._schema.empty_table()]
        with _translated(self._size):
            for group in np.unique(groups).tolist():
                known = [n for n in self._schema.names if n in self._file.schema_arrow.names]
                table = _completed(
                    self._file.read_row_group(group, known, use_threads=False), self._schema
                )
                start = int(self._ends[group]) - table.num_rows
                found.append(table.take(numbers[groups == group] - start))
            return joined(found)


def read_texts(file: IO[bytes], names: Sequence[str]) -> Table:
    """These columns of a file as texts, empty where it lacks one; no other is read.

    Raises TableError for a file that is damaged there.
    """
    with _translated(_size(file)):
        parquet = _parquet(file)
        known = [name for name in names if name in parquet.schema_arrow.names]
        table = parquet.read(known, use_threads=False)
        columns = [
            table[name].cast(TEXT) if name in known else pa.nulls(parquet.metadata.num_rows, TEXT)
            for name in names
        ]
        return pa.table(columns, pa.schema([(name, TEXT) for name in names])).combine_chunks()


def rows_in_order(file: IO[bytes], columns: Sequence[Column], num_rows: int) -> Iterator[Table]:
    """All rows, at most so many at a time; columns that the file lacks are empty.

    So is one of a type that cannot be made into its own. Raises TableError for a file that is
    damaged, once it gets there.
    """
    schema = _schema(columns)
    with _translated(_size(file)):
        parquet = _parquet(file)
        known = [name for name in schema.names if name in parquet.schema_arrow.names]
        for batch in _batches(parquet, num_rows, known):
            table = pa.Table.from_batches([batch])
            found = [_cast(table[n], schema.field(n).type) for n in table.column_names]
            yield _completed(pa.table(found, table.column_names), schema)


def _cast(column: Any, kind: Type) -> Any:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
        return pa.nulls(len(column), kind)


def column_names(file: IO[bytes]) -> tuple[str, ...]:
    """The names of a file's columns, in order. Raises TableError where it is no table."""
    with _translated(_size(file)):
        return tuple(dict.fromkeys(_parquet(file).schema_arrow.names))


def _completed(table: Table, schema: Any) -> Table:
    empty = pa.nulls(table.num_rows)
    columns = [
        table[field.name] if field.name in table.column_names else empty.cast(field.type)
        for field in schema
    ]
    return pa.table(columns, schema)


def _schema(columns: Sequence[Column]) -> Any:
    return pa.schema([(column.name, column.type) for column in columns])


def values_at(table: Table, column: str, at: NDArray[np.int64]) -> list[Any]:
    """The values of a column at these positions, None at -1."""
    values: list[Any] = table[column].take(pa.array(at, mask=at < 0)).to_pylist()
    return values


def are_equal(
    table: Table, column: str, at: NDArray[np.int64], values: Sequence[Any]
) -> NDArray[np.bool_]:
    """Whether the values at these positions, none of them -1, are those that are given."""
    found = table[column].take(pa.array(at)).combine_chunks()
    same: NDArray[np.bool_] = (
        pc.equal(found, pa.array(values, found.type))
        .fill_null(False)
        .to_numpy(zero_copy_only=False)
    )
    return same


def with_texts(table: Table, column: str, texts: Mapping[int, str]) -> Table:
    """With these texts in a column, by their positions."""
    mask = np.zeros(len(table), bool)
    mask[list(texts)] = True
    new = pa.array([texts[position] for position in sorted(texts)], TEXT)
    changed = pc.replace_with_mask(table[column].combine_chunks(), pa.array(mask), new)
    index = table.column_names.index(column)
    return table.set_column(index, table.schema.field(column), changed)


def with_column(table: Table, column: str, texts: Sequence[str | None]) -> Table:
    """With these texts as a column that it has, one for each row."""
    index = table.column_names.index(column)
    field = table.schema.field(column)
    return table.set_column(index, field, pa.chunked_array([pa.array(texts, field.type)]))


def rows_with(table: Table, column: str, text: str) -> Table:
    """The rows with this text."""
    is_one = pc.equal(table[column], text).fill_null(False)
    # A copy of all of them would be the most that is in memory at once.
    return table if pc.all(is_one).as_py() else table.filter(is_one).combine_chunks()


def last_of_each(table: Table, column: str) -> Table:
    """Of the rows with the same text the last, in order."""
    last = len(table) - 1
    backwards = table[column].take(pa.array(np.arange(last, -1, -1))).combine_chunks()
    first = pc.index_in(backwards, backwards).to_numpy(zero_copy_only=False)
    kept = (last - np.nonzero(first == np.arange(len(table)))[0])[::-1]
    del backwards
    found = table if len(kept) == len(table) else table.take(pa.array(kept)).combine_chunks()
    pa.default_memory_pool().release_unused()
    return found


def find(texts: Iterable[str], among: Iterable[str] | TableColumn) -> NDArray[np.int64]:
    """Where each of the texts stands first among others; -1 for one that does not."""
    others = among if isinstance(among, pa.ChunkedArray) else _texts(among)
    found = pc.index_in(_texts(texts), others)
    at: NDArray[np.int64] = found.cast(pa.int64()).fill_null(-1).to_numpy()
    # A table of a million texts was made for it, which would stay with the process.
    pa.default_memory_pool().release_unused()
    return at


def release_memory() -> None:
    """Give the system back what tables, and all else, took that is no longer there.

    Of a plan of a million rows that is a quarter of a gigabyte, and the C library keeps it.
    """
    pa.default_memory_pool().release_unused()
    pa.system_memory_pool().release_unused()


def _texts(texts: Iterable[str]) -> Any:
    return pa.chunked_array(
        [pa.array(chunk, TEXT) for chunk in in_chunks(texts, _TEXTS_AT_ONCE)], TEXT
    )


_TEXTS_AT_ONCE = 10_000


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


class ColumnReader:
    """The columns of a file, each read when it is asked for, and then not held.

    Raises TableError for a file that is damaged, also when a column is read.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._size = _size(file)
        with _translated(self._size):
            self._file = _parquet(file)
            coded = _codable(self._file.schema, chunks_of(file))
            # Of each text one, since all of a label that is long and in every row can be gigabytes.
            self._file = _parquet(file, coded=coded)
            self.names: tuple[str, ...] = tuple(dict.fromkeys(self._file.schema_arrow.names))

    def read(self, name: str) -> Coded | None:
        """A column, or None where there is no such."""
        if name not in self.names:
            return None
        with _translated(self._size):
            coded = _coded(self._file.read([name], use_threads=False).column(0).combine_chunks())
        # Else it is kept for the next column, which is of another size.
        pa.default_memory_pool().release_unused()
        return coded


def nested_columns(
    file: IO[bytes], names: Sequence[str], num_rows: int
) -> Iterator[dict[str, Nested]]:
    """The lists in those of the columns that the file has, of `num_rows` rows at a time.

    Only these are held in memory. Raises TableError for a file that is damaged, once it gets there.
    """
    with _translated(_size(file)):
        found = _parquet(file)
        known = [name for name in names if name in found.schema_arrow.names]
        # More than are asked for, since each batch has a cost of its own.
        batches = _batches(found, max(num_rows, _NESTED_ROWS), known)
        tables = (pa.Table.from_batches([batch]) for batch in batches)
        for table in _of_length(tables, num_rows):
            yield {name: _nested(table.column(name).combine_chunks()) for name in known}


_NESTED_ROWS = 1000


def _of_length(tables: Iterable[Any], num_rows: int) -> Iterator[Any]:
    """The rows of the tables as tables of `num_rows`, the last of what is left."""
    rest: Any = None
    for table in tables:
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
    if types.is_binary(found) or types.is_large_binary(found) or types.is_binary_view(found):
        return "text"
    if types.is_list(found) or types.is_large_list(found) or types.is_fixed_size_list(found):
        return _KINDS_OF_LISTS.get(_kind(found.value_type), "other")
    if types.is_null(found):
        return "none"
    return "value" if types.is_primitive(found) or types.is_decimal(found) else "other"


_KINDS_OF_LISTS: Mapping[Kind, Kind] = {"text": "texts", "value": "values"}


def _parquet(file: IO[bytes] | Any, *, coded: Collection[str] = ()) -> Any:
    """An open file, whose texts at the paths `coded` Arrow has once, in however many rows they stand."""
    return pq.ParquetFile(file, page_checksum_verification=True, read_dictionary=sorted(coded))


def _codable(schema: Any, chunks: Sequence[Sequence[Chunk]]) -> set[str]:
    """The paths of the texts, also in lists and records, that Arrow can read as each distinct one once."""
    return _texts_of(schema) - {c.path for each in chunks for c in each if not c.is_plain_or_coded}


def _texts_of(schema: Any) -> set[str]:
    leaves = map(schema.column, range(len(schema)))
    return {leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"}


def _batches(file: Any, num_rows: int, columns: Sequence[str]) -> Iterator[Any]:
    """The rows at most so many at a time, one group after the other.

    Asked for all groups at once, a file keeps something of each until the last is read: half a
    kilobyte a row.
    """
    for group in range(file.num_row_groups):
        yield from file.iter_batches(
            num_rows, row_groups=[group], columns=columns, use_threads=False
        )


def _size(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)


@contextmanager
def _translated(num_bytes: int) -> Iterator[None]:
    """Turn what pyarrow raises into TableError; of values Python cannot hold, it is nearly anything."""
    try:
        yield
    except MemoryError:
        # It says nothing of the bytes.
        raise
    except Exception as exc:
        raise TableError(f"{num_bytes} bytes that cannot be read as one: {exc}") from exc
