"""Values of tables as cells: what is nothing, what stops no file, and labels as a person writes them."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nst.api import _rows
from nst.manifest.cells import cell_of, label_of
from tests.test_parsing import jsonl, parse, parsed, refusal

SOME_UUID = UUID("12345678-1234-5678-1234-567812345678")
NS = 1_700_000_000_123_456_789


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (False, "false"),
        (2024.0, "2024"),
        (-0.5, "-0.5"),
        (1e300, "1e+300"),
        (2024, "2024"),
        (["a", 1.0, None, False], "a, 1, false"),
        ([], ""),
        (float("nan"), None),
        (None, None),
        (np.float64("nan"), None),
        (np.array([1.0, 2.5]), "1, 2.5"),
        (np.datetime64("NaT"), None),
        (Decimal("1.50"), "1.5"),
        (Decimal("NaN"), None),
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02 03:04:05"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (timedelta(days=1, seconds=2), "1 day, 0:00:02"),
        (SOME_UUID, "12345678-1234-5678-1234-567812345678"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff\x00", "ff00"),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        (PurePosixPath("a/b"), "a/b"),
        (" as it is ", " as it is "),
    ],
)
def test_a_label_is_written_as_a_person_would(value: Any, text: str | None) -> None:
    assert label_of(value) == text


def test_other_cells_stay_numbers() -> None:
    assert cell_of("size", np.float64(64)) == 64
    assert cell_of("style_weight", Decimal("0.5")) == 0.5
    assert cell_of("seed", Decimal(2**62 + 1)) == 2**62 + 1
    assert cell_of("style_blend", (1.0, float("nan"))) == [1.0, None]
    assert cell_of("size", True) is True


# As Arrow has them, by what a label of each must say.
COLUMNS: dict[str, tuple[Any, str | None]] = {
    "label_ns": (pa.array([NS], pa.timestamp("ns")), "2023-11-14 22:13:20.123456789"),
    "label_s": (pa.array([1_700_000_000], pa.timestamp("s")), "2023-11-14 22:13:20"),
    "label_time": (pa.array([1_000_000_001], pa.time64("ns")), "00:00:01.000000001"),
    "label_times": (pa.array([[NS]], pa.list_(pa.timestamp("ns"))), "2023-11-14 22:13:20.123456789"),
    "label_far": (pa.array([2**50], pa.timestamp("ms")), f"<value out of range: {2**50}>"),
    "label_took": (pa.array([1500], pa.duration("ms")), "0:00:01.500000"),
    "label_uuid": (pa.array([SOME_UUID.bytes], pa.binary(16)), str(SOME_UUID)),
    "label_uuid_too": (pa.array([SOME_UUID.bytes], pa.uuid()), str(SOME_UUID)),
    "label_text": (pa.array([b"x"], pa.binary()), "x"),
    "label_bytes": (pa.array([b"\xff"], pa.large_binary()), "ff"),
    "label_struct": (pa.array([{"a": 1}]), '{"a": 1}'),
    "label_map": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "a, 1"),
    "label_lists": (pa.array([[["a"], ["b"]]]), "a, b"),
    "label_yes": (pa.array([True]), "true"),
    "label_year": (pa.array([2024.0]), "2024"),
    "label_nan": (pa.array([float("nan")]), None),
    "label_kind": (pa.array(["k"]).dictionary_encode(), "k"),
    "label_price": (pa.array([Decimal("1.50")]), "1.5"),
    "label_none": (pa.nulls(1), None),
}  # fmt: skip
TABLE = pa.table(
    {
        "content": pa.array([b"a.png"]),
        "style": pa.array(["s.png"], pa.large_string()),
        "size": pa.array([64.0]),
        "steps": pa.array([float("nan")]),
        **{name: array for name, (array, _) in COLUMNS.items()},
    }
)
LABELS = {
    name.removeprefix("label_"): text for name, (_, text) in COLUMNS.items() if text is not None
}


def parquet_of(table: pa.Table) -> bytes:
    sink = BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_no_type_of_a_label_stops_a_table() -> None:
    (job,) = parse("m.parquet", parquet_of(TABLE))
    assert (job.content_name, job.params.size, job.params.steps) == ("a.png", 64, 50)
    assert job.labels == LABELS


def test_the_rows_of_a_table_in_memory_say_the_same() -> None:
    table = TABLE.set_column(0, "content", pa.array(["/a.png"]))
    (row,) = _rows(table)
    (job,) = parse("m.jsonl", jsonl([row]))
    assert job.labels == LABELS
    assert (job.params.size, job.params.steps) == (64, 50)


def test_what_a_label_says_is_the_same_in_every_format() -> None:
    row = {"content": "a", "style": "s", "label_a": True, "label_b": [1.0, "x"], "label_c": 3.0}
    expected = {"a": "true", "b": "1, x", "c": "3"}
    assert parse("m.jsonl", jsonl([row]))[0].labels == expected
    mixed = pa.Table.from_pylist([row | {"label_b": ["1", "x"]}])
    assert parse("m.parquet", parquet_of(mixed))[0].labels == expected
    text = "content: a\nstyle: s\nlabel_a: true\nlabel_b: [[1, x]]\nlabel_c: 3\n"
    assert parse("m.yaml", text)[0].labels == expected


def test_rows_and_the_index_of_a_data_frame_that_say_nothing_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cells = {"content": ["/a.png", None], "style": ["/s.png", None], "size": [64.0, float("nan")]}
    table = pa.table({**cells, "__index_level_0__": [7, 8]})
    found = parsed("m.parquet", parquet_of(table))
    assert [job.content for job in found.jobs] == ["/a.png"]
    note = "the column '__index_level_0__' is left out, as the index of a data frame"
    assert found.notes == (note,)
    assert _rows(table) == [{"content": "/a.png", "style": ["/s.png"], "size": 64}]
    assert caplog.messages == [f"manifest: {note}"]


def test_a_column_that_is_no_label_must_still_be_of_its_type() -> None:
    table = pa.table({"content": pa.array([b"\xff.png"]), "style": ["s"], "steps": [date.today()]})
    problems = refusal("m.parquet", parquet_of(table))
    assert problems[0].startswith("line 1, column 'content': expected the path or URL of a picture")
    assert "column 'steps'" in problems[1]
