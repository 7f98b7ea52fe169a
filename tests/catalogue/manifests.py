"""Manifest files (1 to 19)."""

import gzip
import hashlib
import io
import json
import os
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from typer.testing import CliRunner

from nst import pipeline
from nst.cli import app
from nst.manifest import packing, parsing, reading, rows
from nst.manifest.access import Access
from nst.settings import RunSettings
from tests.catalogue import Bench, Case, Letter, Seen, bad, good
from tests.helpers import csv_bytes

HEADER = b"id,content,style,backbone,size,steps\n"
LINE = b"%s,a.png,s.png,vgg16,48,1\n"


def file_case(
    number: int, letter: Letter, name: str, file: str, data: bytes, *said: str, keep: bool = False
) -> Case:
    """`nst run` on a manifest file of these bytes, which prints all that is `said`."""

    def observe(bench: Bench) -> Letter:
        seen = bench.run_file(file, data, *(["--keep-going"] if keep else []))
        assert all(text in seen.printed for text in said), seen.printed
        return seen.letter

    return Case(number, letter, name, observe)


def jsonl(*lines: object) -> bytes:
    """The rows, or a line as it is, between two rows that have nothing wrong with them."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    last = good() | {"id": "last"}
    return "\n".join([json.dumps(good()), *texts, json.dumps(last)]).encode()


def parquet(table: Sequence[dict[str, Any]], **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(table)), sink, **options)
    return sink.getvalue()


def broken_line(number: int, name: str, line: str, *said: str) -> tuple[Case, Case]:
    """A line of JSON that is no row: refused with the file, or by itself if the run may go on."""

    def observe(bench: Bench) -> Letter:
        seen = bench.run_file("m.jsonl", jsonl(line), "--keep-going")
        assert [record.row for record in seen.records] == [1, 2, 3]
        failed = seen.records[1].outcome
        assert failed.status == "failed"
        assert failed.reason == "bad_row"
        assert failed.id.startswith("row-2-")
        assert all(text in seen.printed for text in ("line 2", *said)), seen.printed
        return seen.letter

    return (
        file_case(number, "A", name, "m.jsonl", jsonl(line), "line 2", *said),
        Case(number, "R", f"{name}, and the others go on", observe),
    )


# 1


def missing(bench: Bench) -> Letter:
    seen = bench.nst("run", str(bench.inputs / "none.csv"), "--output", str(bench.output))
    assert "expected a manifest" in seen.printed
    return seen.letter


def folder(bench: Bench) -> Letter:
    (bench.inputs / "m.csv").mkdir(parents=True)
    seen = bench.nst("run", str(bench.inputs / "m.csv"), "--output", str(bench.output))
    assert "found a folder" in seen.printed
    return seen.letter


def forbidden(bench: Bench) -> Letter:
    path = bench.inputs / "m.csv"
    # First with what the command imports as it goes: another user may not read where that lies.
    assert bench.run_file("m.csv", HEADER).letter == "OK"
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        other = str(bench.folder / "other")
        done = CliRunner().invoke(app, ["run", str(path), "--output", other, "--no-isolate"])
    finally:
        os.seteuid(user)
    assert "Permission denied" in done.output
    assert not (bench.folder / "other").exists()
    return Seen(done.exit_code, done.output, []).letter


# 2


def no_rows(file: str, data: bytes) -> Callable[[Bench], Letter]:
    def observe(bench: Bench) -> Letter:
        seen = bench.run_file(file, data)
        assert "0 of 0 rows ok" in seen.printed
        assert (bench.output / "metadata.parquet").exists()
        assert "The manifest has no rows" in (bench.output / "index.html").read_text()
        return seen.letter

    return observe


def parquet_header() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([good()]).slice(0, 0), sink)
    return sink.getvalue()


# 3


def spectrum(bench: Bench) -> Letter:
    text = (
        '\ufeffid,content,style,backbone,size,steps,label_note\r\n'
        'good,a.png,s.png,vgg16,48,1,"one, two"\r\n\r\n'
        'second,"b.png","s.png","vgg16","48",1,"two\r\nlines, ""quoted"""\r\n'
    )  # fmt: skip
    seen = bench.run_file("m.csv", text.encode())
    notes = [record.labels["note"] for record in seen.records]
    assert notes == ["one, two", 'two\r\nlines, "quoted"']
    return seen.letter


# 8


def utf_16(bench: Bench) -> Letter:
    text = (HEADER + LINE % b"good").decode().replace(",", "\t")
    seen = bench.run_file("m.csv", text.encode("utf-16"))
    assert [record.outcome.id for record in seen.records] == ["good"]
    return seen.letter


# 4


def cells(line: bytes, num_cells: int) -> Callable[[Bench], Letter]:
    def observe(bench: Bench) -> Letter:
        seen = bench.run_file("m.csv", HEADER + LINE % b"good" + line, "--keep-going")
        assert f"line 3: expected 6 cells as in the header; found {num_cells}" in seen.printed
        assert seen.reason() == "bad_row"
        return seen.letter

    return observe


# 12


def last_line_without_its_end(bench: Bench) -> Letter:
    seen = bench.run_file("m.jsonl", json.dumps(good()).encode())
    assert len(seen.records) == 1
    return seen.letter


def last_line_cut(bench: Bench) -> Letter:
    seen = bench.run_file("m.jsonl", jsonl()[:-5], "--keep-going")
    assert [record.outcome.status for record in seen.records] == ["ok", "failed"]
    assert "line 2: expected a JSON object" in seen.printed
    return seen.letter


# 13, 14


def encrypted() -> bytes:
    class Kms(pe.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key: bytes, _: str) -> bytes:
            return key.hex().encode()

        def unwrap_key(self, key: bytes, _: str) -> bytes:
            return bytes.fromhex(key.decode())

    setup = pe.EncryptionConfiguration(footer_key="k", column_keys={"k": ["content"]})
    factory = pe.CryptoFactory(lambda _: Kms())
    keys = factory.file_encryption_properties(pe.KmsConnectionConfig(), setup)
    return parquet([good()], encryption_properties=keys)


PAGES: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    "write_page_checksum": True,
}


def one_byte_off() -> bytes:
    data = parquet([good() | {"label_note": "x" * 50}], **PAGES)
    at = data.index(b"x" * 50)
    return data[:at] + b"y" + data[at + 1 :]


def bad_pages() -> bytes:
    data = parquet([good() | {"label_note": "x" * 50}], **(PAGES | {"compression": "zstd"}))
    return data[:20] + b"\xff" * 40 + data[60:]


# 17


def unpacked_too_large(bench: Bench) -> Letter:
    table = [bad(id=f"{i}", label_x="x" * 10_000) for i in range(200)]
    data = parquet(table)
    assert len(data) < 20_000
    bench.monkeypatch.setattr(rows, "MAX_BYTES", 100_000)
    seen = bench.run_file("m.parquet", data)
    assert "expected at most 100000 characters once unpacked" in seen.printed
    return seen.letter


def packed(bench: Bench) -> Letter:
    seen = bench.run_file("m.csv.gz", gzip.compress(HEADER + LINE % b"good"))
    assert [record.outcome.id for record in seen.records] == ["good"]
    return seen.letter


def packed_too_large(bench: Bench) -> Letter:
    bench.monkeypatch.setattr(packing, "MAX_UNPACKED_BYTES", 100_000)
    data = gzip.compress(HEADER + (LINE % b"good") * 10_000)
    assert len(data) < 10_000
    seen = bench.run_file("m.csv.gz", data)
    assert "expected at most 100000 bytes once unpacked" in seen.printed
    return seen.letter


def too_large(bench: Bench) -> Letter:
    bench.monkeypatch.setattr(rows, "MAX_BYTES", 100)
    seen = bench.run_file("m.csv", HEADER + (LINE % b"good") * 10)
    assert "expected at most 100 bytes" in seen.printed
    return seen.letter


# 18


def very_many_rows(bench: Bench) -> Letter:
    """What a row takes in memory, from few enough rows to wait for: a million are a million times it."""
    count = 5000
    lines = (f"photos/{i}.jpg,styles/{i % 7}.jpg,vgg16,{i}\n" for i in range(count))
    data = ("content,style,backbone,seed\n" + "".join(lines)).encode()
    tracemalloc.start()
    try:
        places = parsing.Places(
            resolve=lambda reference: f"{bench.inputs}/{reference}",
            full_pattern=lambda pattern: pattern,
            glob=lambda pattern: [pattern],
            access=Access(("file",), (str(bench.inputs),)),
        )
        parsed = parsing.parse("m.csv", data, places)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(parsed.jobs) == count
    assert peak / count < 3000, f"{peak / count:.0f} bytes for each row"
    return "OK"


# 19


def changed_during_the_run(bench: Bench) -> Letter:
    """Another manifest is put under the name as soon as the first was read."""
    first, other = HEADER + LINE % b"good" + LINE % b"second", HEADER + LINE % b"other"
    path = bench.inputs / "m.csv"
    parse = parsing.parse

    def parse_late(*arguments: Any, **options: Any) -> parsing.Parsed:
        path.write_bytes(other)
        return parse(*arguments, **options)

    bench.monkeypatch.setattr(reading, "parse", parse_late)
    seen = bench.run_file("m.csv", first)
    assert path.read_bytes() == other
    assert [record.outcome.id for record in seen.records] == ["good", "second"]
    path.write_bytes(first)
    plan = pipeline.make_plan(str(path), RunSettings(output=str(bench.output)))
    assert plan.manifest_digest == hashlib.sha256(first).hexdigest()
    return seen.letter


KNOWN = HEADER.rstrip() + b",colour\n"
NESTED = good() | {"content": {"path": "a.png"}}
NUMBERS = good() | {"content": 7}
LIST_OF_LISTS = good() | {"style": [["s.png"]]}

CASES: tuple[Case, ...] = (
    Case(1, "A", "no such manifest", missing),
    Case(1, "A", "a folder for a manifest", folder),
    Case(1, "A", "a manifest that may not be read", forbidden),
    Case(2, "OK", "an empty file", no_rows("m.csv", b"")),
    Case(2, "OK", "an empty file of lines", no_rows("m.jsonl", b"\n \n")),
    Case(2, "OK", "a header and nothing else", no_rows("m.csv", HEADER)),
    Case(2, "OK", "a matrix of nothing", no_rows("m.yaml", b"{}")),
    Case(2, "OK", "a table without rows", no_rows("m.parquet", parquet_header())),
    Case(3, "OK", "a spreadsheet's CSV", spectrum),
    file_case(4, "A", "a row with too few cells", "m.csv", HEADER + b"a.png,s.png\n", "line 2", "found 2"),
    Case(4, "R", "a row with too few cells, and the others go on", cells(b"bad,b.png,s.png\n", 3)),
    Case(4, "R", "a row with too many cells, and the others go on", cells(b"bad,b.png,s.png,vgg16,48,1,x\n", 7)),
    file_case(4, "A", "a header that is short", "m.csv", b"id,content,backbone\n", "'style'", keep=True),
    file_case(5, "A", "an unknown column", "m.csv", KNOWN, "line 1, column 'colour'", "'label_colour'", keep=True),
    file_case(5, "A", "a misspelt column", "m.csv", HEADER.replace(b"style", b"stile"), "did you mean 'style'?"),
    file_case(6, "A", "a column twice", "m.csv", HEADER.replace(b"steps", b"size"), "column 'size'", keep=True),
    file_case(7, "A", "a NUL byte", "m.csv", HEADER + b"x\0,a.png,s.png,vgg16,48,1\n", "line 2", "0x00 at 38"),
    file_case(7, "A", "a cell of 200,000 characters", "m.csv", HEADER + LINE % (b"x" * 200_000), "line 2", "131072"),
    file_case(8, "A", "Latin-1", "m.csv", HEADER + b"x,caf\xe9.png,s.png,vgg16,48,1\n", "the byte 0xe9 at 42"),
    Case(8, "OK", "UTF-16, as Excel's Unicode text", utf_16),
    file_case(8, "A", "UTF-16 without its mark", "m.csv", HEADER.decode().encode("utf-16-le"), "as in UTF-16"),
    *broken_line(9, "a broken line", '{"content": "a.p', "expected a JSON object"),
    *broken_line(10, "NaN", json.dumps(bad(style_weight=float("nan"))), "NaN, which is no JSON"),
    *broken_line(10, "a key twice", '{"content": "a", "content": "b"}', "the key 'content' twice"),
    *broken_line(10, "an array", '["a.png", "s.png", "vgg16"]', "found list"),
    *broken_line(10, "a number", "7", "found int"),
    *broken_line(11, "nested brackets", "[" * 100_000, "expected a JSON object"),
    *broken_line(11, "nested brackets in a cell", '{"content": %s}' % ("[" * 900 + "]" * 900), "found list"),
    Case(12, "OK", "no end of line after the last", last_line_without_its_end),
    Case(12, "R", "the last line cut", last_line_cut),
    file_case(13, "A", "a truncated table", "m.parquet", parquet([good()])[:-20], "expected a Parquet file"),
    file_case(13, "A", "an encrypted table", "m.parquet", encrypted(), "expected a Parquet file", keep=True),
    file_case(13, "A", "a table with corrupt pages", "m.parquet", bad_pages(), "expected a Parquet file", keep=True),
    file_case(14, "A", "a page with a wrong checksum", "m.parquet", one_byte_off(), "checksum", keep=True),
    file_case(15, "A", "a table of something else", "m.parquet", parquet([{"x": 1}]), "'content' and 'style' among them; found 'x'"),
    file_case(15, "A", "a column of structs", "m.parquet", parquet([NESTED]), "found struct<path: string>", keep=True),
    file_case(15, "A", "a column of numbers", "m.parquet", parquet([NUMBERS]), "a column of text; found int64"),
    file_case(15, "A", "a column of lists of lists", "m.parquet", parquet([LIST_OF_LISTS]), "column 'style'"),
    file_case(16, "A", "a table called CSV", "m.csv", parquet([good()]), "found a Parquet file"),
    file_case(16, "A", "CSV called a table", "m.parquet", csv_bytes([good()]), "expected a Parquet file"),
    file_case(16, "A", "a ZIP called CSV", "m.csv", b"PK\x03\x04" + bytes(40), "found a ZIP file"),
    Case(17, "OK", "a packed manifest", packed),
    Case(17, "A", "a packed manifest much larger than it looks", packed_too_large),
    file_case(17, "A", "a packed manifest called CSV", "m.csv", gzip.compress(bytes(10**8)), "name end in .gz"),
    Case(17, "A", "a table much larger than it looks", unpacked_too_large),
    Case(17, "A", "a file that is too large", too_large),
    Case(18, "OK", "very many rows", very_many_rows),
    Case(19, "OK", "a manifest that changes during the run", changed_during_the_run),
)  # fmt: skip
