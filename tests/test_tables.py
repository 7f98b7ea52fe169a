import io
import math
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nst import tables
from nst.tables import CodedColumns


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
    found = CodedColumns(parquet({"x": column}))["x"]
    assert told(found) == expected
    assert len(set(map(repr, found.values))) == len(found.values)


def test_columns_of_several_row_groups_are_one() -> None:
    texts = [f"t{n % 7}" if n % 5 else None for n in range(40)]
    columns = CodedColumns(parquet({"x": texts, "y": list(range(40))}, row_group_size=3))
    assert told(columns["x"]) == texts
    assert list(columns) == ["x", "y"]
    assert "x" in columns
    assert "z" not in columns
    assert columns.get("z") is None


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
    data = parquet({"curve": pa.array(CURVES, kind)}, row_group_size=group_size)
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
    assert set(tables.nested_texts(data, "curve", "layer")) == {"a", "b"}
    assert tables.nested_texts(data, "other", "layer") == []


def test_damaged_files_are_told_as_such() -> None:
    data = bytearray(parquet({"x": ["a" * 1000] * 50}))
    with pytest.raises(tables.TableError, match="11 bytes"):
        CodedColumns(b"not parquet")
    data[20:40] = bytes(20)
    columns = CodedColumns(bytes(data))
    with pytest.raises(tables.TableError):
        columns["x"]
