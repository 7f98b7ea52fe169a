import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nst.storage import tables
from nst.storage.tables import Column, ColumnReader, Table


def parquet(values: dict[str, Any], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(values), sink, **options)
    return sink.getvalue()


def told(column: tables.Coded) -> list[Any]:
    values = list(column.values)
    return [values[code] if code >= 0 else None for code in column.codes.tolist()]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["b", None, "a", "b"]), ["b", None, "a", "b"]),
        (pa.array(["b", None, "a"]).dictionary_encode(), ["b", None, "a"]),
        (pa.array([1, None, 2**62]), [1, None, 2**62]),
        (pa.array([1.5, None, 0.1], pa.float32()), [1.5, None, float(np.float32(0.1))]),
        (pa.array([True, None, False]), ["yes", None, "no"]),
        (pa.array([["a", "b"], None, [], ["c"]]), ["a b", None, "", "c"]),
        (pa.array([[0.5, 2.0], None, [1 / 3]]), ["0.5 2", None, "0.3333"]),
        (
            pa.array(
                [datetime(2026, 1, 2, 3, 4, 5, 999000, tzinfo=UTC), None],
                pa.timestamp("ms", "UTC"),
            ),
            ["2026-01-02T03:04:05Z", None],
        ),
        (pa.nulls(2), [None, None]),
        (pa.nulls(2, pa.float32()), [None, None]),
        (pa.array([], pa.string()), []),
    ],
    ids=str,
)
def test_columns_are_told_by_their_distinct_values(column: Any, expected: list[Any]) -> None:
    found = ColumnReader(io.BytesIO(parquet({"x": column}))).read("x")
    assert found is not None
    assert told(found) == expected
    assert len(set(map(repr, found.values))) == len(found.values)


def test_columns_of_several_row_groups_are_one() -> None:
    texts = [f"t{n % 7}" if n % 5 else None for n in range(40)]
    data = parquet({"x": texts, "y": list(range(40))}, row_group_size=3)
    columns = ColumnReader(io.BytesIO(data))
    found = columns.read("x")
    assert found is not None
    assert told(found) == texts
    assert columns.names == ("x", "y")
    assert columns.read("z") is None


CURVES: list[list[dict[str, Any]] | None] = [
    [{"n": 1, "loss": 0.5, "layer": "a"}, {"n": 2, "loss": None, "layer": None}],
    None,
    [],
    [{"n": 3, "loss": math.inf, "layer": "b"}],
] * 5


@pytest.mark.parametrize("num_rows", [1, 2, 3, 7, 20, 100])
@pytest.mark.parametrize("group_size", [1, 3, 4, 100])
def test_lists_come_flat_and_so_many_rows_at_a_time(num_rows: int, group_size: int) -> None:
    kind = pa.list_(pa.struct([("n", pa.int32()), ("loss", pa.float32()), ("layer", pa.string())]))
    data = io.BytesIO(parquet({"curve": pa.array(CURVES, kind)}, row_group_size=group_size))
    lengths, seen = [], []
    for part in tables.nested_columns(data, ["curve", "other"], num_rows):
        assert list(part) == ["curve"]
        nested = part["curve"]
        lengths.append(len(nested.offsets) - 1)
        numbers, losses, layers = (nested.items[name] for name in ("n", "loss", "layer"))
        assert isinstance(layers, tables.Coded)
        assert not isinstance(numbers, tables.Coded)
        assert not isinstance(losses, tables.Coded)
        flat = list(zip(numbers.tolist(), losses.tolist(), told(layers), strict=True))
        bounds = nested.offsets.tolist()
        seen += [flat[a:b] for a, b in pairwise(bounds)]
    assert all(length == num_rows for length in lengths[:-1])
    assert sum(lengths) == 20
    expected = [[(p["n"], p["loss"], p["layer"]) for p in curve or ()] for curve in CURVES]
    assert [[(n, None if math.isnan(x) else x, t) for n, x, t in row] for row in seen] == expected


def test_damaged_files_are_told_as_such() -> None:
    data = bytearray(parquet({"x": ["a" * 1000] * 50}))
    with pytest.raises(tables.TableError, match="11 bytes"):
        ColumnReader(io.BytesIO(b"not parquet"))
    data[20:40] = bytes(20)
    columns = ColumnReader(io.BytesIO(data))
    with pytest.raises(tables.TableError):
        columns.read("x")


COLUMNS = (
    Column("id", tables.TEXT, "An id."),
    Column("size", tables.INT64, "A size."),
    Column("loss", tables.FLOAT64, "A loss."),
)


def table(ids: str, sizes: list[int | None]) -> Table:
    rows = ({"id": name, "size": size, "loss": 0.5} for name, size in zip(ids, sizes, strict=True))
    return tables.table_of(rows, COLUMNS)


def test_texts_are_found_where_they_stand_first() -> None:
    rows = tables.joined([table("ab", [1, 2]), table("", []), table("ca", [None, 4])])
    assert tables.find(iter("cxb"), rows["id"]).tolist() == [2, -1, 1]
    assert tables.find(["a"], table("", [])["id"]).tolist() == [-1]
    assert tables.find([], rows["id"]).tolist() == []
    assert tables.find("bx", iter("abb")).tolist() == [1, -1]
    assert tables.find("bx", iter(())).tolist() == [-1, -1]


def test_values_are_told_and_compared_by_their_positions() -> None:
    rows = tables.joined([table("ab", [1, 2]), table("ca", [None, 4])])
    assert tables.values_at(rows, "size", np.array([3, -1, 0])) == [4, None, 1]
    same = tables.are_equal(rows, "size", np.array([0, 1, 2]), [1, 3, None])
    assert same.tolist() == [True, False, False]
    changed = tables.with_texts(rows, "id", {2: "x", 0: "y"})
    assert changed["id"].to_pylist() == ["y", "b", "x", "a"]


def test_of_rows_with_one_text_the_last_is_kept_where_it_stands() -> None:
    rows = tables.last_of_each(table("abacb", [1, 2, 3, 4, 5]), "id")
    assert (rows["id"].to_pylist(), rows["size"].to_pylist()) == (["a", "c", "b"], [3, 4, 5])
    assert tables.last_of_each(table("", []), "id").num_rows == 0
    assert tables.rows_with(rows, "id", "c")["size"].to_pylist() == [4]


def test_some_columns_of_a_file_are_read_and_those_that_it_lacks_are_empty() -> None:
    data = parquet({"id": ["a", "b"], "size": [1, 2], "other": [0, 0]})
    found = tables.read_columns(io.BytesIO(data), COLUMNS, ["id", "loss"])
    assert found.to_pylist() == [{"id": "a", "loss": None}, {"id": "b", "loss": None}]
    with pytest.raises(tables.TableError, match="no column loss"):
        tables.read_columns(io.BytesIO(data), COLUMNS, ["id"], needed=["id", "loss"])
    with pytest.raises(tables.TableError, match="other types"):
        tables.read_columns(io.BytesIO(parquet({"id": ["a"], "size": [1.5]})), COLUMNS, ["id"])


def test_a_column_that_is_not_kept_is_looked_at_all_the_same() -> None:
    data = bytearray(parquet({"id": ["a" * 50] * 9, "size": list(range(9))}, compression="zstd"))
    for where in range(4, len(data) - 200):
        data[where] ^= 255
    with pytest.raises(tables.TableError):
        tables.read_columns(io.BytesIO(data), COLUMNS, ["size"])


@pytest.mark.parametrize("group_size", [1, 3, 100])
def test_rows_of_a_file_are_read_by_their_numbers(group_size: int) -> None:
    sizes = list(range(20))
    data = parquet({"id": [f"n{n}" for n in sizes], "size": sizes}, row_group_size=group_size)
    rows = tables.RowReader(io.BytesIO(data), COLUMNS)
    for numbers in ([], [0], [19], [2, 2, 3, 11, 19], sizes):
        found = rows.take(np.array(numbers, np.int64))
        assert found["size"].to_pylist() == numbers
        assert found["id"].to_pylist() == [f"n{n}" for n in numbers]
        assert found["loss"].to_pylist() == [None] * len(numbers)


@pytest.mark.parametrize(("group_rows", "lengths"), [(3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_tables_are_written_in_groups_of_one_length(group_rows: int, lengths: list[int]) -> None:
    parts = [table("ab", [1, 2]), table("", []), table("cdef", [3, 4, 5, 6]), table("g", [7])]
    sink = io.BytesIO()
    tables.write_parquet(sink, parts, COLUMNS, notes={}, group_rows=group_rows)
    found = pq.ParquetFile(sink)
    assert [found.metadata.row_group(n).num_rows for n in range(found.num_row_groups)] == lengths
    assert found.read()["size"].to_pylist() == [1, 2, 3, 4, 5, 6, 7]
    empty = io.BytesIO()
    tables.write_parquet(empty, [], COLUMNS, notes={}, group_rows=group_rows)
    assert pq.ParquetFile(empty).read().num_rows == 0


def coded(value: Any, kind: Any = None) -> pa.Array:
    """The value in a hundred rows, of which a file has it once."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * 100, pa.int32()), pa.array([value], kind))


def in_lists(items: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(range(len(items) + 1), pa.int32()), items)


LONG = "a" * 1_000_000
EVERY_ROW = {
    "text": coded(LONG),
    "large text": coded(LONG, pa.large_string()),
    "bytes": coded(LONG.encode(), pa.binary()),
    "lists": in_lists(coded(LONG)),
    "lists of lists": in_lists(in_lists(coded(LONG))),
    "records": pa.StructArray.from_arrays([coded(LONG)], ["x"]),
    "fixed": pa.array([LONG.encode()] * 100, pa.binary(1_000_000)),
}
WRITTEN: dict[str, dict[str, Any]] = {
    "as usual": {},
    "in groups of rows": {"row_group_size": 10},
    "without the types of Arrow": {"store_schema": False},
    "by what is new in each": {
        "use_dictionary": False,
        "column_encoding": {"x": "DELTA_BYTE_ARRAY"},
    },
    "by lengths": {"use_dictionary": False, "column_encoding": {"x": "DELTA_LENGTH_BYTE_ARRAY"}},
}


# What is in one of them must go before it does.
_POOLS: list[Any] = []


@contextmanager
def counted_memory() -> Iterator[Any]:
    """A pool that says how many bytes Arrow had in it at most."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    _POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)


@pytest.mark.parametrize("written", ["as usual", "without the types of Arrow"])
@pytest.mark.parametrize("kind", EVERY_ROW)
def test_a_text_that_stands_in_many_rows_is_refused_before_it_is_unpacked(
    kind: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_BYTES_IN_ARROW", 8_000_000)
    data = parquet({"x": EVERY_ROW[kind]}, compression="brotli", **WRITTEN[written])
    assert len(data) < 10_000
    with (
        counted_memory() as pool,
        pytest.raises(tables.TableError, match=r"row 1 has 1,000,000 bytes .* and may have 5,000"),
    ):
        list(tables.parquet_rows(data, max_cell_bytes=5000))
    # Of a hundred megabytes.
    assert pool.max_memory() < 50_000_000


def test_a_text_that_is_stored_by_its_difference_is_refused_likewise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "_BYTES_IN_ARROW", 8_000_000)
    options = WRITTEN["by what is new in each"]
    data = parquet({"x": [LONG] * 100}, compression="brotli", **options)
    assert len(data) < 10_000
    with counted_memory() as pool, pytest.raises(tables.TableError, match="row 1 has 1,000,000"):
        list(tables.parquet_rows(data, max_cell_bytes=5000))
    assert pool.max_memory() < 50_000_000


def test_rows_are_few_at_a_time_where_they_are_large() -> None:
    batch = pa.RecordBatch.from_arrays([coded(LONG), in_lists(coded("b" * 100_000))], ["x", "y"])
    parts = list(tables._small_parts(batch, 0, None))
    assert [part.num_rows for part in parts] == [15] * 6 + [10]
    assert [row["x"] for part in parts for row in part.to_pylist()] == [LONG] * 100
    small = pa.RecordBatch.from_arrays([pa.array(range(600))], ["x"])
    assert [part.num_rows for part in tables._small_parts(small, 0, None)] == [256, 256, 88]


VALUES: dict[str, Any] = {
    "texts": ["b", None, "a", "b", ""],
    "coded": pa.array(["b", None, "a", "b", None]).dictionary_encode(),
    "numbers": [1, None, 3, -4, 5],
    "lists": [["a", None], [], None, ["b"], ["a", "b"]],
    "large lists": pa.array([["a"], [], None, ["b"], ["c"]], pa.large_list(pa.large_string())),
    "fixed lists": pa.array([["a", "b"], None, ["c", "d"], ["e", None], ["f", "g"]]).cast(
        pa.list_(pa.string(), 2)
    ),
    "records": [{"n": 1, "t": "x"}, None, {"n": None, "t": None}, {"n": 2, "t": "y"}, None],
    "lists of records": [[{"n": 1, "t": "x"}], [], None, [{"n": 2, "t": None}] * 2, []],
    "maps": pa.array([[("k", 1)], [], None, [("l", 2)], []], pa.map_(pa.string(), pa.int32())),
    "times": pa.array([1, None, 3, 4, 5], pa.timestamp("s")),
    "nothing": pa.nulls(5),
    "bytes": [b"a", b"", None, b"b", b"c"],
    "views": pa.array(["a", None, "b", "c", "d" * 100], pa.string_view()),
}


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("kind", VALUES)
def test_rows_of_every_type_and_encoding_are_those_that_were_written(
    kind: str, written: str
) -> None:
    options = dict(WRITTEN[written])
    if "column_encoding" in options and kind not in ("texts", "bytes"):
        return
    table = pa.table({"x": VALUES[kind], "n": range(5)})
    if kind == "views" and not options.get("store_schema", True):
        table = table.cast(pa.schema([("x", pa.string()), ("n", pa.int64())]))
    data = parquet({name: table[name] for name in table.column_names}, **options)
    expected = table.to_pylist()
    for row in expected if kind == "bytes" else ():
        # Text may be stored without saying so.
        row["x"] = None if row["x"] is None else row["x"].decode()
    assert list(tables.parquet_rows(data, max_cell_bytes=5000)) == expected


def test_an_outline_counts_the_items_of_lists() -> None:
    data = parquet({"x": [["a", "b"], [], None], "y": ["a", "b", "c"]})
    # An empty list and none take a place each.
    assert tables.parquet_outline(data).num_items == 4


def test_the_rows_of_a_table_are_counted_before_they_are_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = pa.RunEndEncodedArray.from_arrays([2, 5], ["a", "b" * 100])
    table = pa.table({"x": runs, "y": coded("c", None).slice(0, 5)})
    assert tables._cell_bytes(runs).tolist() == [1, 1, 100, 100, 100]
    assert tables._cell_bytes(runs.slice(1, 2)).tolist() == [1, 100]
    assert tables.rows_of_table(table) == table.to_pylist()
    monkeypatch.setattr(tables, "_MAX_BYTES", 306)
    with pytest.raises(tables.TableError, match="at most 306 bytes, found 307 once unpacked"):
        tables.rows_of_table(table)


def test_a_long_text_in_every_row_is_once_in_memory_as_a_column_is_read() -> None:
    codes = pa.array([0, 1] * 3000, pa.int32())
    texts = pa.DictionaryArray.from_arrays(codes, pa.array(["a" * 100_000, "b"]))
    data = io.BytesIO(parquet({"x": texts}, store_schema=False, row_group_size=1000))
    with counted_memory() as pool:
        found = ColumnReader(data).read("x")
    assert found is not None
    assert found.values == ["a" * 100_000, "b"]
    assert found.codes.tolist() == [0, 1] * 3000
    # Of three hundred megabytes.
    assert pool.max_memory() < 20_000_000


@pytest.mark.parametrize("written", WRITTEN)
def test_a_column_of_any_encoding_is_told_by_its_distinct_values(written: str) -> None:
    data = io.BytesIO(parquet({"x": ["b", None, "a", "b"] * 5}, **WRITTEN[written]))
    found = ColumnReader(data).read("x")
    assert found is not None
    assert found.values == ["b", "a"]
    assert found.codes.tolist() == [0, -1, 1, 0] * 5
