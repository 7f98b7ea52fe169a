from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from annotated_types import Le
from pydantic import Field

from nst.job import PARAM_FIELDS, PictureParams
from nst.output import metadata
from nst.output.metadata import CurvePoint, Outcome, Record
from nst.storage import tables
from tests.helpers import job
from tests.tables import metadata_to_parquet, outcomes_to_parquet

OK = Outcome(
    id="one",
    key="k",
    status="ok",
    picture="images/one.png",
    thumbnail="thumbs/01/0123456789abcdef",
    color="#c0ffee",
    height=48,
    width=64,
    content_digest="c",
    style_digest="s",
    weights_digest="w",
    weights_origin="embedded",
    nst_version="1",
    torch_version="2",
    device="cpu",
    seconds=1.5,
    finished_at=datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC),
    evaluations=3,
    content_loss=0.5,
    style_loss=0.25,
    tv_loss=0.125,
    total_loss=0.75,
    ssim=0.5,
    lpips=0.625,
    lpips_grey=0.375,
    cfsd=0.03125,
    style_distance=0.4375,
    color_distance=0.25,
    noise=1.5,
    is_flat=False,
    loss_curve=(CurvePoint(evaluation=1, content=0, style=1, tv=0.5, detail=0.25, total=1.5),),
)
FAILED = Outcome(id="two", status="failed", reason="input_not_found", error="no such file")


def test_outcomes_survive_parquet() -> None:
    rows = tables.parquet_rows(outcomes_to_parquet([OK, FAILED]))
    assert [metadata.outcome_of_row(row) for row in rows] == [OK, FAILED]


def test_records_survive_parquet_with_their_labels_and_parameters() -> None:
    jobs = [
        job(row=1, id="one", labels={"series": "x"}),
        job(row=2, id="two", params=PictureParams(style_layers=("relu1_1", "relu2_1"), seed=2**62)),
        job(row=3, id="one", labels={"note": "<b>"}),
    ]
    outcomes = {"one": OK, "two": FAILED}
    records = [metadata.record_of(each, outcomes[each.id]) for each in jobs]
    assert [record.outcome.id for record in records] == ["one", "two", "one"]
    assert (
        metadata.metadata_from_parquet(metadata_to_parquet(records, ["series", "note"])) == records
    )


def test_the_metadata_of_earlier_releases_is_read() -> None:
    """None was told of the columns that came with the fourth schema, or later."""
    made = replace(OK, weights_topology="torchvision")
    data = metadata_to_parquet([metadata.record_of(job(), made)], [])
    new = ["thumbnail", "color", "weights_topology"]
    new += ["lpips_grey", "cfsd", "style_distance", "color_distance", "noise"]
    new += ["contrast_loss", "noise_loss", "chroma_loss"]
    table = pq.read_table(pa.BufferReader(data)).drop_columns(new)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    (record,) = metadata.metadata_from_parquet(sink.getvalue().to_pybytes())
    unknown: dict[str, Any] = dict.fromkeys(new)
    assert record.outcome == replace(made, **unknown)


def test_an_empty_table_has_all_its_columns() -> None:
    data = metadata_to_parquet([], [])
    assert metadata.metadata_from_parquet(data) == []
    names = [column.name for column in tables.parquet_outline(data).columns]
    assert {f.name for f in fields(Outcome)} | set(PARAM_FIELDS) | {"row", "content"} <= set(names)


def test_every_column_says_what_it_means_and_the_file_says_which_schema() -> None:
    schema = pq.read_schema(pa.BufferReader(metadata_to_parquet([], [])))
    assert schema.metadata[b"schema_version"] == str(metadata.SCHEMA_VERSION).encode()
    assert all(field.metadata[b"description"] for field in schema)


def test_columns_are_the_fields_of_an_outcome() -> None:
    assert [c.name for c in metadata.OUTCOME_COLUMNS] == [f.name for f in fields(Outcome)]


def test_parameters_keep_the_types_that_readers_of_the_metadata_know() -> None:
    types = {column.name: str(column.type) for column in metadata.PARAM_COLUMNS}
    assert list(types) == list(PARAM_FIELDS)
    assert {name for name, kind in types.items() if kind == "int32"} == {
        "size", "steps", "content_size",
    }  # fmt: skip
    assert types["seed"] == "int64"
    assert types["style_weight"] == types["tolerance"] == "double"
    assert types["pooling"] == types["init"] == "string"
    assert types["style_layers"] == "list<item: string>"
    assert types["style_blend"] == "list<item: double>"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (bool, "bool"),
        (int, "int64"),
        (Annotated[int, Le(2**31 - 1)], "int32"),
        (Annotated[int, Le(2**31)], "int64"),
        (Annotated[int | None, Le(9)], "int32"),
        (tuple[Annotated[int, Le(9)], ...] | None, "list<item: int32>"),
        (tuple[Annotated[int, Field(ge=1, le=9)], ...], "list<item: int32>"),
        (Literal["a", "b"] | None, "string"),
    ],
)
def test_a_parameter_has_the_column_of_its_type(kind: Any, expected: str) -> None:
    assert str(metadata._type_of(kind)) == expected


def test_other_bytes_are_no_table() -> None:
    with pytest.raises(tables.TableError, match="11 bytes that cannot be read as one"):
        metadata.metadata_from_parquet(b"not parquet")


def test_a_record_keeps_the_names_as_written() -> None:
    record = metadata.record_of(job(content_name="../a.png"), OK)
    assert isinstance(record, Record)
    assert record.content == "../a.png"
