"""What a plan reads of inputs, and what it makes of what it does not read: on a disk and on S3."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst import pipeline, storage
from nst.errors import StorageError, WorkerError
from nst.job import job_key
from nst.output import metadata, records
from nst.output.metadata import Outcome
from nst.planning.plan import Plan, failure_of
from nst.running.reports import RunReport
from nst.settings import RunSettings
from nst.storage import files, listings
from nst.storage.files import Found
from tests import servers
from tests.buckets import Bucket, bucket_behind
from tests.faults import Fault, FaultProxy, Request, Status, lists
from tests.helpers import csv_bytes, encoded, picture, picture_bytes, row, write_project
from tests.tables import outcomes_to_parquet

ROWS = [row(id="one", steps=1), row("b.png", "t.png", id="two", steps=1)]


@dataclass(slots=True)
class Desk:
    """A project on a disk with an output, and what was read of its inputs since it was last told."""

    folder: Path
    whole: list[str] = field(default_factory=list)
    starts: list[str] = field(default_factory=list)

    @property
    def settings(self) -> RunSettings:
        return RunSettings(output=str(self.folder / "out"))

    def input(self, name: str) -> Path:
        return self.folder / "in" / name

    def plan(self, **values: Any) -> Plan:
        self.whole.clear()
        self.starts.clear()
        chosen = replace(self.settings, **values)
        return pipeline.make_plan(str(self.input("manifest.csv")), chosen)

    def run(self) -> RunReport:
        return pipeline.run(self.plan(), self.settings)

    def to_make(self, **values: Any) -> list[str]:
        return [one.job.id for group in self.plan(**values).groups for one in group.jobs]

    def record(self, job_id: str = "one") -> Outcome:
        return records.read(self.settings.output).made[job_id]

    def rewrite(self, **values: Any) -> None:
        """All records with other values, as if they had been written so."""
        ledger = records.read(self.settings.output)
        outcomes = [replace(outcome, **values) for outcome in ledger.made.values()]
        for path in (self.folder / "out/records").glob("part-*"):
            path.unlink()
        part = self.folder / "out/records/part-000001.parquet"
        part.write_bytes(outcomes_to_parquet(outcomes))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Files have settled as soon as they are written."""
    monkeypatch.setattr(files, "TICK_NS", 0)
    write_project(tmp_path / "in", ROWS)
    made = Desk(tmp_path)
    note(monkeypatch, made)
    return made


def note(monkeypatch: pytest.MonkeyPatch, made: Desk) -> None:
    read, read_start = storage.read_input, storage.read_start

    def noted(uri: str, **options: Any) -> Found:
        if "/in/" in uri and uri.endswith(".png"):
            made.whole.append(uri.rpartition("/")[2])
        return read(uri, **options)

    def noted_start(uri: str, *arguments: Any, **options: Any) -> Found:
        made.starts.append(uri.rpartition("/")[2])
        return read_start(uri, *arguments, **options)

    monkeypatch.setattr(storage, "read_input", noted)
    monkeypatch.setattr(storage, "read_start", noted_start)


def read_by_plan(desk: Desk) -> list[str]:
    return sorted([*desk.whole, *desk.starts])


def test_of_what_is_done_nothing_is_read(desk: Desk) -> None:
    assert desk.run().num_ok == 2
    report = desk.run()
    assert (report.num_ok, report.num_done_before) == (2, 2)
    assert read_by_plan(desk) == []
    # Of a new row, its own inputs alone.
    rows = [*ROWS, row("b.png", "s.png", id="three", steps=1)]
    desk.input("manifest.csv").write_bytes(csv_bytes(rows))
    assert desk.to_make() == ["three"]
    assert read_by_plan(desk) == ["b.png", "s.png"]


def test_other_bytes_of_the_same_size_and_time_are_noticed(desk: Desk) -> None:
    data = encoded(Image.new("L", (64, 48), 10), "BMP")
    desk.input("a.png").write_bytes(data)
    desk.run()
    found = os.stat(desk.input("a.png"))
    other = data[:-9] + bytes(9)
    assert len(other) == len(data)
    desk.input("a.png").write_bytes(other)
    os.utime(desk.input("a.png"), ns=(found.st_atime_ns, found.st_mtime_ns))
    assert desk.to_make() == ["one"]


def test_what_was_only_touched_is_read_once_and_then_known(desk: Desk) -> None:
    desk.run()
    before = desk.record()
    os.utime(desk.input("a.png"), (1_600_000_000, 1_600_000_000))
    for _ in range(2):
        # A plan alone writes nothing down.
        assert desk.to_make() == []
        assert read_by_plan(desk) == ["a.png", "s.png"]
    report = desk.run()
    assert (report.num_ok, report.num_done_before) == (2, 2)
    assert read_by_plan(desk) == ["a.png", "s.png"]
    assert desk.to_make() == []
    assert read_by_plan(desk) == []
    learned = desk.record()
    assert learned.inputs_key != before.inputs_key
    assert replace(learned, inputs_key=before.inputs_key) == before
    (shown, _) = metadata.metadata_from_parquet((desk.folder / "out/metadata.parquet").read_bytes())
    assert shown.outcome == learned


@pytest.mark.parametrize("are_inputs_touched", [False, True])
def test_the_pictures_of_an_output_that_was_copied_are_read_once_and_then_known(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, are_inputs_touched: bool
) -> None:
    """As of one that was restored: its files have other times."""
    desk.run()
    before = desk.record()
    (desk.folder / "out").rename(desk.folder / "old")
    shutil.copytree(desk.folder / "old", desk.folder / "out", copy_function=shutil.copyfile)
    if are_inputs_touched:
        os.utime(desk.input("a.png"), (1_600_000_000, 1_600_000_000))
    read = read_pictures(monkeypatch)
    for _ in range(2):
        # A plan alone writes nothing down.
        assert desk.to_make() == []
        assert sorted(read) == ["one.png", "two.png"]
        read.clear()
    assert desk.run().num_done_before == 2
    read.clear()
    assert desk.run().num_done_before == 2
    assert read == []
    learned = desk.record()
    assert learned.picture_version not in (None, before.picture_version)
    kept: dict[str, Any] = {
        "picture_version": before.picture_version,
        "inputs_key": before.inputs_key,
    }
    assert replace(learned, **kept) == before
    (shown, _) = metadata.metadata_from_parquet((desk.folder / "out/metadata.parquet").read_bytes())
    assert shown.outcome == learned


def test_a_damaged_picture_of_a_copy_is_made_again_and_not_known_by_its_version(
    desk: Desk,
) -> None:
    desk.run()
    picture = desk.folder / "out/images/one.png"
    data = bytearray(picture.read_bytes())
    data[len(data) // 2] ^= 1
    picture.write_bytes(data)
    assert desk.to_make() == ["one"]
    assert desk.run().num_done_before == 1
    assert desk.to_make() == []


def read_pictures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are read from an output from now on."""
    read: list[str] = []
    read_bytes = storage.read_bytes

    def noted(uri: str, **options: Any) -> bytes:
        if "/out/images/" in uri:
            read.append(uri.rpartition("/")[2])
        return read_bytes(uri, **options)

    monkeypatch.setattr(storage, "read_bytes", noted)
    return read


def test_what_was_changed_and_changed_back_is_done(desk: Desk) -> None:
    desk.run()
    data = desk.input("a.png").read_bytes()
    desk.input("a.png").write_bytes(desk.input("b.png").read_bytes())
    assert desk.to_make() == ["one"]
    desk.input("a.png").write_bytes(data)
    assert desk.to_make() == []
    desk.input("a.png").write_bytes(desk.input("b.png").read_bytes())
    desk.run()
    desk.input("a.png").write_bytes(data)
    # By now the picture is another one.
    assert desk.to_make() == ["one"]


def test_records_of_earlier_releases_learn_versions(desk: Desk) -> None:
    desk.run()
    desk.rewrite(inputs_key=None)
    assert desk.run().num_done_before == 2
    assert read_by_plan(desk) == ["a.png", "b.png", "s.png", "t.png"]
    assert desk.record().inputs_key is not None
    assert desk.run().num_done_before == 2
    assert read_by_plan(desk) == []
    desk.rewrite(inputs_key=None, key="another")
    assert desk.to_make() == ["one", "two"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_what_was_made_before_transparent_styles_had_keys_of_their_own_is_read_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """Then only what has such a style is made again."""
    desk.input("manifest.csv").write_bytes(csv_bytes(ROWS[:1]))
    style = Image.fromarray(picture(48, 64, seed=5)).convert(mode)
    desk.input("s.png").write_bytes(encoded(style))
    with monkeypatch.context() as before:
        before.setattr("nst.job._READING", "")
        (group,) = desk.plan().groups
    (planned,) = group.jobs
    desk.run()
    digests = {
        each.uri: hashlib.sha256(Path(each.uri).read_bytes()).hexdigest() for each in planned.inputs
    }
    file = group.weights
    key = job_key(planned.job, digests=digests, weights_digest=file.digest, topology=file.topology)
    desk.rewrite(inputs_key=planned.inputs_key, key=key)
    made = desk.to_make()
    assert read_by_plan(desk) == ["a.png", "s.png"]
    assert made == (["one"] if mode == "RGBA" else [])
    desk.run()
    assert desk.to_make() == []
    assert read_by_plan(desk) == []


def test_many_parts_are_made_one_with_what_was_learned(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.run()
    os.utime(desk.input("a.png"), (1_600_000_000, 1_600_000_000))
    monkeypatch.setattr(records, "MAX_PARTS", 1)
    desk.run()
    assert len(list((desk.folder / "out/records").glob("part-*"))) == 1
    assert desk.to_make() == []
    assert read_by_plan(desk) == []


def test_other_parameters_are_told_without_reading_all_bytes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst.planning.inputs.START_BYTES", 100)
    desk.run()
    os.utime(desk.input("a.png"), (1_600_000_000, 1_600_000_000))
    rows = [{**each, "steps": 2} for each in ROWS]
    desk.input("manifest.csv").write_bytes(csv_bytes(rows))
    assert desk.to_make() == ["one", "two"]
    assert desk.whole == []
    assert sorted(desk.starts) == ["a.png", "b.png", "s.png", "t.png"]


def test_a_file_that_was_just_written_is_read_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What might be written once more in the same tick of the clock has no version."""
    monkeypatch.setattr(files, "TICK_NS", 10**12)
    desk.run()
    assert desk.record().inputs_key is None
    for _ in range(2):
        assert desk.run().num_done_before == 2
        assert read_by_plan(desk) == ["a.png", "b.png", "s.png", "t.png"]
    monkeypatch.setattr(files, "TICK_NS", 0)
    assert desk.run().num_done_before == 2
    assert read_by_plan(desk) == ["a.png", "b.png", "s.png", "t.png"]
    assert desk.to_make() == []
    assert read_by_plan(desk) == []


@pytest.mark.parametrize("start_bytes", [100, 1 << 16])
def test_a_file_that_is_replaced_after_the_plan_fails_its_row_and_is_made_next_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, start_bytes: int
) -> None:
    monkeypatch.setattr("nst.planning.inputs.START_BYTES", start_bytes)
    plan = desk.plan()
    data = picture_bytes(48, 64, seed=7)
    desk.input("a.png").write_bytes(data)
    (failed,) = pipeline.run(plan, desk.settings).failed
    assert (failed.outcome.id, failed.outcome.reason) == ("one", "input_changed")
    assert desk.to_make(skip_failed=True) == ["one"]
    assert desk.run().num_ok == 2
    assert desk.record().content_digest == hashlib.sha256(data).hexdigest()
    assert desk.to_make() == []


def test_what_is_recorded_is_of_the_bytes_that_were_painted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size and time as those of the plan, so that only the time of their inode tells."""
    monkeypatch.setattr("nst.planning.inputs.START_BYTES", 200)
    first, second = (encoded(Image.new("RGB", (64, 48), (c, 90, 9)), "BMP") for c in (1, 2))
    assert len(first) == len(second)
    desk.input("a.png").write_bytes(first)
    os.utime(desk.input("a.png"), (1_600_000_000, 1_600_000_000))
    plan = desk.plan()
    desk.input("a.png").write_bytes(second)
    os.utime(desk.input("a.png"), (1_600_000_000, 1_600_000_000))
    assert pipeline.run(plan, desk.settings).num_ok == 2
    assert desk.record().content_digest == hashlib.sha256(second).hexdigest()
    assert desk.to_make() == []
    desk.input("a.png").write_bytes(first)
    os.utime(desk.input("a.png"), (1_600_000_000, 1_600_000_000))
    assert desk.to_make() == ["one"]


def test_what_no_list_has_is_asked_for_before_its_row_fails(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = listings.versions
    monkeypatch.setattr(
        listings,
        "versions",
        lambda uris: {u: v for u, v in versions(uris).items() if not u.endswith("a.png")},
    )
    assert desk.run().num_ok == 2
    assert desk.run().num_done_before == 2
    desk.input("a.png").unlink()
    (failed,) = desk.plan().failed
    assert (failed.id, failed.reason) == ("one", "input_not_found")


def test_a_done_row_fails_where_its_input_is_gone(desk: Desk) -> None:
    desk.run()
    desk.input("s.png").unlink()
    plan = desk.plan()
    assert [(each.id, each.reason) for each in plan.failed] == [("one", "input_not_found")]
    assert plan.done == ("two",)
    assert plan.failed[0].content_digest == desk.record().content_digest


def test_what_is_broken_behind_its_start_is_known_for_what_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row fails when it is loaded, and is left alone for as long as the file stays the same."""
    monkeypatch.setattr("nst.planning.inputs.START_BYTES", 1000)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG")
    desk.input("a.png").write_bytes(data[: len(data) // 2])
    (failed,) = desk.run().failed
    assert (failed.outcome.id, failed.outcome.reason) == ("one", "image_truncated")
    style = hashlib.sha256(desk.input("s.png").read_bytes()).hexdigest()
    assert failed.outcome.style_digest == style
    assert failed.outcome.key is not None
    assert desk.to_make(skip_failed=True) == []
    assert desk.to_make() == ["one"]
    os.utime(desk.input("a.png"), (1_600_000_000, 1_600_000_000))
    assert desk.to_make(skip_failed=True) == []
    desk.input("a.png").write_bytes(data)
    assert desk.to_make(skip_failed=True) == ["one"]


def test_a_quarantine_is_of_the_inputs_that_were_there(desk: Desk) -> None:
    (group,) = desk.plan().groups
    error = WorkerError("it died", reason="worker_died", attempts=2)
    for one in group.jobs:
        records.write(desk.settings.output, failure_of(one, error))
    assert desk.to_make() == []
    assert desk.to_make(retry_quarantined=True) == ["one", "two"]
    desk.input("a.png").write_bytes(picture_bytes(48, 64, seed=7))
    assert desk.to_make() == ["one"]


def test_unusable_weights_have_no_input_read(desk: Desk) -> None:
    rows = [{**each, "backbone": "resnet50"} for each in ROWS]
    desk.input("manifest.csv").write_bytes(csv_bytes(rows))
    plan = pipeline.make_plan(str(desk.input("manifest.csv")), desk.settings, download=False)
    if plan.groups:
        pytest.skip("this machine has the weights of a ResNet-50")
    assert {each.reason for each in plan.failed} == {"weights_unavailable"}
    assert read_by_plan(desk) == []


class Shop(Bucket):
    """The same project in a bucket, and a proxy before it that counts."""

    @property
    def settings(self) -> RunSettings:
        return RunSettings(output=f"{self.url}/out")

    def plan(self) -> Plan:
        self.proxy.counts.clear()
        return pipeline.make_plan(f"{self.url}/in/manifest.csv", self.settings)

    def put(self, name: str, data: bytes) -> None:
        self.direct.put_object(Bucket=self.bucket, Key=f"in/{name}", Body=data)

    def to_make(self) -> list[str]:
        return [one.job.id for group in self.plan().groups for one in group.jobs]

    def asked(self) -> list[tuple[str, str]]:
        """The requests for pictures of the project, one by one."""
        return [
            (method, path.rpartition("/")[2])
            for (method, path), count in sorted(self.proxy.counts.items())
            if "/in/" in path and path.endswith(".png")
            for _ in range(count)
        ]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    write_project(tmp_path / "in", ROWS)
    stored = {f"in/{path.name}": path.read_bytes() for path in (tmp_path / "in").iterdir()}
    with FaultProxy(servers.moto_url()) as proxy:
        yield Shop(proxy, bucket_behind(proxy, stored, monkeypatch))


NAMES = ["a.png", "b.png", "s.png", "t.png"]


def test_in_a_bucket_what_is_done_takes_a_list_and_no_look_at_any_input(shop: Shop) -> None:
    plan = shop.plan()
    # One request for each, which is all of it here.
    assert shop.asked() == [("GET", name) for name in NAMES]
    assert pipeline.run(plan, shop.settings).num_ok == 2
    assert shop.to_make() == []
    assert shop.asked() == []
    assert shop.proxy.num_of("GET", f"/{shop.bucket}") < 12
    # The same bytes anew, and others of the same size.
    data = picture_bytes(48, 64)
    shop.put("a.png", data)
    assert shop.to_make() == []
    assert shop.asked() == []
    noise = picture_bytes(48, 64, seed=3)
    shop.put("a.png", noise)
    assert shop.to_make() == ["one"]
    assert pipeline.run(shop.plan(), shop.settings).num_ok == 2
    assert records.read(shop.settings.output).made["one"].content_digest == (
        hashlib.sha256(noise).hexdigest()
    )
    assert shop.to_make() == []


def test_of_large_objects_only_the_start_is_read_for_the_plan(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst.planning.inputs.START_BYTES", 100)
    ranges: list[str | None] = []

    def note_ranges(request: Request) -> Fault | None:
        if request.key.startswith("in/") and request.key.endswith(".png"):
            ranges.append({k.lower(): v for k, v in request.headers.items()}.get("range"))
        return None

    shop.proxy.rules.append(note_ranges)
    plan = shop.plan()
    assert ranges == ["bytes=0-99"] * 4
    assert shop.asked() == [("GET", name) for name in NAMES]
    # As by all of their bytes.
    assert [(g.height, g.width) for g in plan.groups] == [(48, 64)]
    shop.put("a.png", picture_bytes(48, 64, seed=3))
    report = pipeline.run(plan, shop.settings)
    assert [each.outcome.reason for each in report.failed] == ["input_changed"]


def test_who_may_not_list_the_inputs_is_served_all_the_same(shop: Shop) -> None:
    pipeline.run(shop.plan(), shop.settings)

    def refuse(request: Request) -> Fault | None:
        is_of_inputs = request.is_list and "out" not in request.query
        return Status(403, "AccessDenied") if is_of_inputs else None

    shop.proxy.rules.append(refuse)
    assert shop.to_make() == []
    assert shop.asked() == [("HEAD", name) for name in NAMES]


def test_a_list_that_is_out_of_order_fails_no_row(shop: Shop, desk: Desk) -> None:
    names: Sequence[str] = [f"{shop.url}/in/{name}" for name in NAMES]
    rows = [row(name, "s.png", id=f"r{n}", steps=1) for n, name in enumerate(names)]
    desk.input("manifest.csv").write_bytes(csv_bytes(rows))
    shop.proxy.rules.append(lists(Status(400, "ExpiredToken")))
    with pytest.raises(StorageError, match="ExpiredToken"):
        desk.plan()
