import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from nst.storage import tables
from nst.storage.footers import chunks_of

TABLE = {
    "text": ["a", None, "b"] * 50,
    "n": list(range(150)),
    "list": [["a", "b"], [], None] * 50,
    "record": [{"x": "c", "y": 1.5}] * 150,
}


def parquet(**options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(TABLE), sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 40},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"store_schema": False, "compression": "none", "write_statistics": False},
        {"version": "1.0", "data_page_version": "2.0", "write_page_index": True},
        {"sorting_columns": [pq.SortingColumn(1)]},
    ],
)
def test_a_footer_says_what_pyarrow_reads_in_it(options: dict[str, Any]) -> None:
    data = parquet(**options)
    metadata = pq.read_metadata(io.BytesIO(data))
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    expected = [[group.column(i) for i in range(metadata.num_columns)] for group in groups]
    assert [
        [(c.path, c.num_values, c.num_bytes) for c in group]
        for group in chunks_of(io.BytesIO(data))
    ] == [
        [(c.path_in_schema, c.num_values, c.total_uncompressed_size) for c in group]
        for group in expected
    ]
    assert [[c.is_plain_or_coded for c in group] for group in chunks_of(io.BytesIO(data))] == [
        [not any("DELTA" in encoding for encoding in c.encodings) for c in group]
        for group in expected
    ]


class Keys(pe.KmsClient):  # type: ignore[misc]
    """Wraps no key, which is enough to write with."""

    def __init__(self, _: Any) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, _: str) -> bytes:
        return key.hex().encode()

    def unwrap_key(self, key: bytes, _: str) -> bytes:
        return bytes.fromhex(bytes(key).decode())


def test_an_encrypted_column_is_told_and_the_process_goes_on() -> None:
    """pyarrow ends it where it is asked what the footer says of such a column."""
    keys = pe.CryptoFactory(Keys)
    chosen = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["text"]}, plaintext_footer=True
    )
    sink = io.BytesIO()
    table = pa.table({"text": ["a"], "n": [1]})
    with pq.ParquetWriter(
        sink,
        table.schema,
        encryption_properties=keys.file_encryption_properties(pe.KmsConnectionConfig(), chosen),
    ) as writer:
        writer.write_table(table)
    for read in (tables.parquet_outline, lambda data: list(tables.parquet_rows(data))):
        with pytest.raises(tables.TableError, match="a column that is damaged or encrypted"):
            read(sink.getvalue())


def test_damage_anywhere_is_told_or_harmless() -> None:
    data = parquet(row_group_size=100, store_schema=False)
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for at in range(start, len(data), 5):
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        try:
            tables.parquet_outline(bytes(damaged))
            list(tables.parquet_rows(bytes(damaged), max_cell_bytes=5000))
        except (tables.TableError, MemoryError):
            continue
