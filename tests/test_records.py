import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from nst import storage
from nst.errors import CorruptTransferError
from nst.output import records
from nst.output.metadata import LayerLoss, Outcome
from tests.tables import outcomes_to_parquet
from tests.test_metadata import FAILED, OK


def test_a_record_comes_back_whole(tmp_path: Path) -> None:
    outcome = replace(OK, style_layer_losses=(LayerLoss(layer="relu1_1", loss=0.5),))
    records.write(str(tmp_path), outcome)
    records.write(str(tmp_path), FAILED)
    ledger = records.read(str(tmp_path))
    assert dict(ledger.made) == {
        "one": replace(outcome, finished_at=ledger.made["one"].finished_at)
    }
    assert dict(ledger.failed) == {"two": FAILED}
    found, expected = ledger.made["one"].finished_at, OK.finished_at
    assert found is not None
    assert expected is not None
    assert abs((found - expected).total_seconds()) < 0.001


def test_a_picture_stays_proven_when_a_later_try_fails(tmp_path: Path) -> None:
    assert OK.finished_at is not None
    later = OK.finished_at + timedelta(hours=1)
    failed = replace(FAILED, id="one", key="another", finished_at=later)
    records.write(str(tmp_path), OK)
    records.write(str(tmp_path), failed)
    ledger = records.read(str(tmp_path))
    assert ledger.made["one"].key == OK.key
    assert ledger.failed["one"] == failed
    assert last_failure(ledger) is not None


def test_a_failure_is_over_once_the_picture_is_made(tmp_path: Path) -> None:
    assert OK.finished_at is not None
    earlier = OK.finished_at - timedelta(hours=1)
    records.write(str(tmp_path), replace(FAILED, id="one", finished_at=earlier))
    assert last_failure(records.read(str(tmp_path))) is not None
    records.write(str(tmp_path), OK)
    assert last_failure(records.read(str(tmp_path))) is None


def last_failure(ledger: records.Ledger) -> records.Brief | None:
    """How the picture `one` failed last, unless it was made after that."""
    (made,), (failed,) = (each.briefs(each.find(["one"])) for each in (ledger.made, ledger.failed))
    return records.last_failure(failed, made)


def test_no_two_ids_share_a_record(tmp_path: Path) -> None:
    url = str(tmp_path)
    records.write(url, replace(FAILED, id="x"))
    records.write(url, replace(OK, id="x.failed"))
    for _ in range(2):
        ledger = records.read(url)
        assert (set(ledger.failed), set(ledger.made)) == ({"x"}, {"x.failed"})
        records.compact(url, ledger)


def test_a_copy_among_the_parts_stops_nothing(tmp_path: Path) -> None:
    url = str(tmp_path)
    records.write(url, OK)
    records.compact(url, records.read(url))
    folder = tmp_path / "records"
    (folder / "part-copy.parquet").write_bytes((folder / "part-000001.parquet").read_bytes())
    records.write(url, replace(OK, id="two"))
    records.compact(url, records.read(url))
    assert set(records.read(url).made) == {"one", "two"}


def test_a_flipped_bit_in_a_part_is_no_reason_to_stop(tmp_path: Path) -> None:
    url = str(tmp_path)
    records.write(url, OK)
    records.compact(url, records.read(url))
    part = tmp_path / "records/part-000001.parquet"
    data = part.read_bytes()
    for where in range(0, len(data), 97):
        part.write_bytes(data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :])
        records.read(url)


def damaged(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A store that finds at every try that its copy of what has this name is damaged."""
    for function in ("read_bytes", "read_into"):
        real = getattr(storage, function)

        def read(uri: str, *arguments: Any, real: Any = real) -> Any:
            if name in uri:
                raise CorruptTransferError(f"cannot read {uri}: expected another MD5")
            return real(uri, *arguments)

        monkeypatch.setattr(storage, function, read)


def test_what_a_store_finds_damaged_is_left_alone_as_what_a_file_shows_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    url = str(tmp_path)
    for name in ("one", "two"):
        records.write(url, replace(OK, id=name))
        records.compact(url, records.read(url))
    for name in ("three", "four"):
        records.write(url, replace(OK, id=name))
    with monkeypatch.context() as patch:
        damaged(patch, "part-000001")
        damaged(patch, "three.json")
        ledger = records.read(url)
        assert set(ledger.made) == {"two", "four"}
        assert "part-000001.parquet: expected records, ignoring" in caplog.text
        assert "three.json: expected a record, ignoring" in caplog.text
        records.compact(url, ledger)
    # Neither is removed, and both are there again if the store is.
    assert set(records.read(url).made) == {"one", "two", "three", "four"}


def test_an_input_that_is_away_ends_no_quarantine(tmp_path: Path) -> None:
    url = str(tmp_path)
    records.write(url, replace(FAILED, key="k", reason="worker_died", attempts=2))
    records.compact(url, records.read(url), also=[FAILED])
    assert records.read(url).failed["two"].attempts == 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"schema_version": 99, "digest": "", "outcome": {}}',
        b'{"schema_version": 1, "digest": "0", "outcome": {"id": "one"}}',
    ],
)
def test_what_is_no_record_proves_nothing(
    tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / records.SINGLES
    folder.mkdir(parents=True)
    (folder / "one.json").write_bytes(data)
    assert dict(records.read(str(tmp_path)).made) == {}
    assert "one.json: expected a record" in caplog.text


def test_a_record_with_one_bit_flipped_proves_nothing(tmp_path: Path) -> None:
    records.write(str(tmp_path), OK)
    path = tmp_path / records.path("one", "ok")
    data = bytearray(path.read_bytes())
    where = data.index(b'"key": "k"') + 8
    data[where] ^= 1
    path.write_bytes(data)
    assert "one" not in records.read(str(tmp_path)).made


def test_compacted_they_say_the_same_and_are_one_file(tmp_path: Path) -> None:
    url = str(tmp_path)
    for n in range(5):
        records.write(url, replace(OK, id=f"n{n}"))
    records.write(url, FAILED)
    before = records.read(url)
    records.compact(url, before, also=[replace(FAILED, id="planned")])
    assert list((tmp_path / records.SINGLES).iterdir()) == []
    after = records.read(url)
    assert dict(after.made) == dict(before.made)
    assert set(after.failed) == {"two", "planned"}
    assert after.parts == ("part-000001.parquet",)
    # Nothing new: nothing is written.
    records.compact(url, after, also=[replace(FAILED, id="planned")])
    assert records.read(url).parts == after.parts


@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_is_merged_while_it_is_read_is_read_all_the_same(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the second list, after it, and after the first record."""
    output = str(tmp_path)
    records.write(output, OK)
    records.compact(output, records.read(output))
    for name in ("two", "three"):
        records.write(output, replace(OK, id=name))
    list_sizes, read_bytes = storage.list_sizes, storage.read_bytes
    done: list[None] = []

    def step() -> None:
        done.append(None)
        if len(done) == at:
            with monkeypatch.context() as quiet:
                quiet.setattr(storage, "list_sizes", list_sizes)
                quiet.setattr(storage, "read_bytes", read_bytes)
                quiet.setattr(records, "MAX_PARTS", 1)
                records.compact(output, records.read(output))

    def listed(uri: str) -> dict[str, int]:
        found = list_sizes(uri)
        step()
        return found

    def read(uri: str, **given: Any) -> bytes:
        found = read_bytes(uri, **given)
        step()
        return found

    monkeypatch.setattr(storage, "list_sizes", listed)
    monkeypatch.setattr(storage, "read_bytes", read)
    assert sorted(records.read(output).made) == ["one", "three", "two"]
    assert not list((tmp_path / "records/new").glob("*.json"))


def test_the_later_part_stands_over_the_earlier_and_a_single_over_both(tmp_path: Path) -> None:
    url = str(tmp_path)
    for key in ("first", "second"):
        records.write(url, replace(OK, key=key))
        records.compact(url, records.read(url))
    assert records.read(url).made["one"].key == "second"
    records.write(url, replace(OK, key="third"))
    assert records.read(url).made["one"].key == "third"


def test_many_parts_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_PARTS", 3)
    url = str(tmp_path)
    for n in range(4):
        records.write(url, replace(OK, id=f"n{n}"))
        records.compact(url, records.read(url))
    ledger = records.read(url)
    assert ledger.parts == ("part-000004.parquet",)
    assert set(ledger.made) == {"n0", "n1", "n2", "n3"}


def test_a_part_has_the_order_in_which_it_is_read_again(tmp_path: Path) -> None:
    url = str(tmp_path)
    for name in "abcde":
        records.write(url, replace(OK, id=name))
    records.compact(url, records.read(url), order=["d", "none", "b", "d", "a"])
    assert list(records.read(url).made) == ["d", "b", "a", "c", "e"]


def test_a_part_that_cannot_be_read_is_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path)
    for n in range(2):
        records.write(url, replace(OK, id=f"n{n}"))
        records.compact(url, records.read(url))
    strange = tmp_path / "records/part-000002.parquet"
    strange.write_bytes(b"of a later release")
    records.write(url, replace(OK, id="n2"))
    monkeypatch.setattr(records, "MAX_PARTS", 2)
    records.compact(url, records.read(url))
    assert strange.read_bytes() == b"of a later release"
    assert sorted(path.name for path in strange.parent.glob("*.parquet")) == [
        "part-000002.parquet",
        "part-000003.parquet",
    ]
    records.forget(url, records.read(url), ["n0"])
    assert strange.exists()
    assert set(records.read(url).made) == {"n2"}


def test_what_is_forgotten_is_gone_and_the_rest_stays(tmp_path: Path) -> None:
    url = str(tmp_path)
    for n in range(3):
        records.write(url, replace(OK, id=f"n{n}"))
    records.forget(url, records.read(url), ["n1"])
    assert set(records.read(url).made) == {"n0", "n2"}


def test_records_of_the_first_release_are_still_read(tmp_path: Path) -> None:
    """One Parquet file for each group, named by a digest, without the columns that came later."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path / "records"
    folder.mkdir()
    table = pq.read_table(pa.BufferReader(outcomes_to_parquet([OK])))
    late = ["attempts", "thumbnail", "color"]
    pq.write_table(table.drop_columns(late), folder / "0123456789abcdef.parquet")
    made = records.read(str(tmp_path)).made
    assert isinstance(made["one"], Outcome)
    assert [getattr(made["one"], name) for name in late] == [None, None, None]


def test_single_records_of_earlier_releases_are_still_read(tmp_path: Path) -> None:
    records.write(str(tmp_path), OK)
    path = tmp_path / records.path("one", "ok")
    outcome = json.loads(path.read_bytes())["outcome"]
    del outcome["thumbnail"], outcome["color"]
    digest = hashlib.sha256(json.dumps(outcome).encode()).hexdigest()
    path.write_text(json.dumps({"schema_version": 1, "digest": digest, "outcome": outcome}))
    made = records.read(str(tmp_path)).made["one"]
    assert (made.key, made.thumbnail, made.color) == (OK.key, None, None)


def test_outcomes_are_read_in_full_whatever_lies_where(tmp_path: Path) -> None:
    url = str(tmp_path)
    made = {f"n{n}": replace(OK, id=f"n{n}", evaluations=n) for n in range(9)}
    for n, outcome in enumerate(made.values()):
        records.write(url, outcome)
        # Three parts of two records each, and three single ones.
        if n % 2 and n < 6:
            records.compact(url, records.read(url))
    ledger = records.read(url)
    assert (len(ledger.parts), len(ledger.singles)) == (3, 3)
    wanted = ["n7", "n0", "n5", "n8", "n0", "n2"]
    at = ledger.made.find(wanted)
    found = [one for one in ledger.made.outcomes(at) if one is not None]
    assert [one.evaluations for one in found] == [7, 0, 5, 8, 0, 2]
    assert [one.loss_curve for one in found] == [OK.loss_curve] * 6
    briefs = ledger.made.briefs(ledger.made.find(["n7", "none", "n0"]))
    assert [one.id if one else None for one in briefs] == ["n7", None, "n0"]
    assert ledger.made.get("none") is None


def test_what_a_plan_failed_stands_over_what_failed_before(tmp_path: Path) -> None:
    url = str(tmp_path)
    records.write(url, FAILED)
    for again in (False, True):
        if again:
            records.compact(url, records.read(url))
        later = replace(FAILED, error=f"another {again}")
        records.compact(url, records.read(url), also=[later])
        ledger = records.read(url)
        assert dict(ledger.failed) == {"two": later}
        assert ledger.singles == ()
