import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from nst import audit, output, pipeline, storage
from nst.errors import (
    ConfigError,
    CorruptTransferError,
    ManifestError,
    NSTError,
    RunEndedError,
    StorageError,
)
from nst.job import ENGINE_VERSION
from nst.output import records
from nst.output.metadata import Outcome
from nst.running import batch, lease, runs, writing
from nst.running.lease import Lease
from nst.settings import Precision, RunSettings
from tests.helpers import row, write_project

ROWS = [row(id="one", size=48, steps=1)]


def settings(folder: Path, **values: object) -> RunSettings:
    return RunSettings(output=str(folder / "out"), isolate=False, **values)  # type: ignore[arg-type]


def run(
    folder: Path,
    overrides: dict[str, Any] | None = None,
    *,
    rows: Sequence[Mapping[str, object]] = ROWS,
    **values: object,
) -> dict[str, Any]:
    manifest = write_project(folder / "in", rows)
    pipeline.run_manifest(str(manifest), settings(folder, **values), overrides)
    return account(folder)


def account(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out/run.json").read_text())
    return found


def test_a_run_tells_of_itself(tmp_path: Path) -> None:
    told = run(tmp_path, {"seed": "3"})
    assert told["state"] == "finished"
    assert told["overrides"] == {"seed": 3}
    assert told["schema_version"] == runs.SCHEMA_VERSION
    assert (told["num_rows"], told["num_ok"], told["failed_by_reason"]) == (1, 1, {})
    assert len(told["manifest_digest"]) == 64
    assert {"nst", "engine", "python", "torch"} <= told["versions"].keys()
    assert told["started_at"] <= told["ended_at"]


@pytest.mark.parametrize("store", ["disk", "s3"])
def test_a_page_of_somebody_else_stays_and_nothing_is_run(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    parent = str(tmp_path) if store == "disk" else request.getfixturevalue("bucket")
    url = storage.join(parent, "out")
    manifest = write_project(tmp_path / "in", ROWS)
    storage.write_bytes(storage.join(url, "index.html"), b"my own page")
    with pytest.raises(ConfigError, match=r"found an index\.html that no gallery has written"):
        pipeline.run_manifest(str(manifest), RunSettings(output=url, isolate=False))
    assert storage.read_bytes(storage.join(url, "index.html")) == b"my own page"
    assert storage.list_tree(url).keys() == {"index.html"}


def test_other_settings_on_the_same_output_are_refused_unless_told_to(tmp_path: Path) -> None:
    run(tmp_path, {"seed": "3"})
    with pytest.raises(
        ConfigError, match=r"found --set seed=3 before and --set seed=4 now.*--replace"
    ):
        run(tmp_path, {"seed": "4"})
    with pytest.raises(ConfigError, match="found --format png before and --format webp now"):
        run(tmp_path, {"seed": "3"}, image_format="webp")
    assert account(tmp_path)["overrides"] == {"seed": 3}
    assert run(tmp_path, {"seed": "4"}, replace=True)["overrides"] == {"seed": 4}
    # The same, however it is written.
    run(tmp_path, {"seed": 4})
    with pytest.raises(ConfigError, match="found --set seed=4 before and --set size=content now"):
        run(tmp_path, {"size": "content"})


@pytest.mark.parametrize("why", ["refused", "interrupted", "killed", "nothing to paint"])
def test_a_run_that_changes_no_picture_leaves_the_settings_that_bind_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    run(tmp_path, {"seed": "3"}, precision="float32")
    ends: dict[str, BaseException] = {
        "refused": ManifestError("its ids are taken"),
        "interrupted": KeyboardInterrupt(),
        "killed": KeyboardInterrupt(),
    }
    other: dict[str, Any] = {"replace": True, "image_format": "webp", "precision": "bfloat16"}
    if why in ends:

        def plan_rows(*_: object) -> None:
            raise ends[why]

        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "plan_rows", plan_rows)
            if why == "killed":
                patch.setattr(runs, "_write_if_possible", lambda *_: None)
            with pytest.raises(type(ends[why])):
                run(tmp_path, {"seed": "4"}, **other)
        assert account(tmp_path)["state"] == {
            "refused": "stopped",
            "killed": "running",
        }.get(why, why)
    else:
        told = run(tmp_path, {"seed": "4"}, rows=[row("no.png", id="one")], **other)
        assert (told["state"], told["num_ok"]) == ("finished", 0)
    told = account(tmp_path)
    assert [told[name] for name in ("overrides", "image_format", "precision")] == [
        {"seed": 3},
        "png",
        "float32",
    ]
    assert pipeline.as_before(settings(tmp_path)).precision == "float32"
    assert run(tmp_path, {"seed": "3"})["num_done_before"] == 1


def test_the_settings_of_a_run_bind_the_output_before_its_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, {"seed": "3"}, precision="float32")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nst.running.batch.run_group", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, {"seed": "4"}, replace=True, precision="bfloat16")
    told = account(tmp_path)
    assert (told["overrides"], told["precision"]) == ({"seed": 4}, "bfloat16")
    with pytest.raises(ConfigError, match="found --set seed=4 before and --set seed=3 now"):
        run(tmp_path, {"seed": "3"}, precision="bfloat16")
    # It encodes what is there, which changes the pictures too.
    run(tmp_path, {"seed": "4"})
    monkeypatch.setattr("nst.running.encode_stored", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, {"seed": "4"}, replace=True, image_format="webp")
    assert account(tmp_path)["image_format"] == "webp"


def made_by_an_engine_with_one_method(tmp_path: Path) -> None:
    """An output with its pictures, whose account names no method."""
    run(tmp_path, {"method": "gatys"})
    path = tmp_path / "out/run.json"
    told = account(tmp_path)
    told["overrides"] = {}
    told["versions"]["engine"] = "3"
    path.write_text(json.dumps(told))


def test_an_engine_with_one_method_is_told_until_a_run_paints_with_todays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by_an_engine_with_one_method(tmp_path)

    def refused(*_: object) -> None:
        raise ManifestError("its ids are taken")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "plan_rows", refused)
        for overrides in ({}, {"method": "gatys"}):
            with pytest.raises(ManifestError):
                run(tmp_path, overrides)
    assert run(tmp_path, {"method": "gatys"}, rows=MORE)["num_done_before"] == 1
    assert account(tmp_path)["versions"]["engine"] == str(ENGINE_VERSION)


def on_hardware_for(monkeypatch: pytest.MonkeyPatch, precision: Precision) -> None:
    """A machine that `auto` takes this precision on."""
    monkeypatch.setattr("nst.painting.precision.has_units", lambda _: precision == "bfloat16")
    # Without what was loaded on other hardware, and for this test alone.
    monkeypatch.setattr(batch, "_backbone", lru_cache(batch._backbone.__wrapped__))


def precisions(folder: Path) -> dict[str, str | None]:
    return {job_id: each.precision for job_id, each in records.read(f"{folder}/out").made.items()}


MORE = [*ROWS, row("b.png", id="two", size=48, steps=1)]


@pytest.mark.parametrize("first", ["float32", "bfloat16"])
def test_auto_goes_on_in_what_the_pictures_were_made_in_on_any_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Precision
) -> None:
    on_hardware_for(monkeypatch, first)
    told = run(tmp_path)
    assert (told["precision"], told["settings"]["precision"]) == (first, "auto")
    on_hardware_for(monkeypatch, "float32" if first == "bfloat16" else "bfloat16")
    told = run(tmp_path, rows=MORE)
    assert (told["precision"], told["num_done_before"]) == (first, 1)
    assert precisions(tmp_path) == {"one": first, "two": first}
    # An output of its own goes by the hardware.
    assert run(tmp_path / "another")["precision"] != first


def test_another_precision_is_refused_unless_told_to_and_then_all_is_made_anew(
    tmp_path: Path,
) -> None:
    rows = [each | {"steps": 4} for each in MORE]
    run(tmp_path, precision="bfloat16", rows=rows[:1])
    before = (tmp_path / "out/images/one.png").read_bytes()
    with pytest.raises(
        ConfigError, match=r"--precision bfloat16 before and --precision float32 now.*--replace"
    ):
        run(tmp_path, precision="float32", rows=rows)
    assert account(tmp_path)["precision"] == "bfloat16"
    told = run(tmp_path, precision="float32", rows=rows, replace=True)
    assert (told["precision"], told["num_ok"], told["num_done_before"]) == ("float32", 2, 0)
    assert precisions(tmp_path) == {"one": "float32", "two": "float32"}
    assert (tmp_path / "out/images/one.png").read_bytes() != before
    assert run(tmp_path, precision="float32", rows=rows)["num_done_before"] == 2


def test_the_precision_is_put_down_before_the_first_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_hardware_for(monkeypatch, "bfloat16")
    seen: list[dict[str, Any]] = []

    def killed(*_: object) -> None:
        seen.append(account(tmp_path))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("nst.running.batch.run_group", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert [told["precision"] for told in seen] == ["bfloat16"]
    # It made no picture, and so binds nobody.
    on_hardware_for(monkeypatch, "float32")
    assert run(tmp_path)["precision"] == "float32"


def of_the_last_release(folder: Path) -> None:
    """The account of a run of an output as nst 0.2.0 wrote it."""
    path = folder / "out/run.json"
    told = json.loads(path.read_text())
    del told["precision"]
    path.write_text(json.dumps(told))


def test_an_output_of_the_last_release_goes_on_in_what_its_records_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, precision="bfloat16")
    of_the_last_release(tmp_path)
    on_hardware_for(monkeypatch, "float32")
    with pytest.raises(
        ConfigError, match="--precision bfloat16 before and --precision float32 now"
    ):
        run(tmp_path, precision="float32")
    told = run(tmp_path, rows=MORE)
    assert (told["precision"], told["num_done_before"]) == ("bfloat16", 1)
    # Without any account it is the same.
    (tmp_path / "out/run.json").unlink()
    assert run(tmp_path, rows=MORE)["precision"] == "bfloat16"


def test_an_output_of_an_engine_with_one_method_goes_on_when_that_is_named(tmp_path: Path) -> None:
    made_by_an_engine_with_one_method(tmp_path)
    assert run(tmp_path, {"method": "gatys"}, rows=MORE)["num_done_before"] == 1
    # What it was made with is put down now, and another method is another setting.
    with pytest.raises(ConfigError, match="found --set method=gatys before and no --set now"):
        run(tmp_path)


def test_an_output_of_an_engine_with_several_methods_is_one_of_its_default(tmp_path: Path) -> None:
    run(tmp_path, {"method": "gatys"})
    path = tmp_path / "out/run.json"
    told = account(tmp_path)
    told["overrides"] = {}
    for engine in ("4", str(ENGINE_VERSION - 1)):
        told["versions"]["engine"] = engine
        path.write_text(json.dumps(told))
        with pytest.raises(ConfigError, match="found no --set before and --set method=gatys now"):
            run(tmp_path, {"method": "gatys"}, rows=MORE)


def test_an_output_of_two_precisions_goes_on_in_that_of_most_and_keeps_all(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last release may have left one, since it chose for each process anew."""
    rows = [row(id=f"n{n}", size=48, steps=1, seed=n) for n in range(4)]
    run(tmp_path, rows=rows[:1], precision="float32")
    of_the_last_release(tmp_path)
    # As where there are no pictures yet, whose precision would be kept.
    aside = (tmp_path / "out/images").rename(tmp_path / "aside")
    run(tmp_path, rows=rows[1:3], precision="bfloat16")
    (aside / "n0.png").rename(tmp_path / "out/images/n0.png")
    of_the_last_release(tmp_path)
    told = run(tmp_path, rows=rows)
    assert (told["precision"], told["num_done_before"]) == ("bfloat16", 3)
    assert precisions(tmp_path)["n0"] == "float32"
    assert "1 finished pictures stay as they are" in caplog.text
    assert run(tmp_path, rows=rows, replace=True)["num_done_before"] == 3
    assert set(precisions(tmp_path).values()) == {"bfloat16"}


def test_a_plan_is_made_with_what_the_pictures_were_made_in(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    assert pipeline.as_before(chosen) == chosen
    run(tmp_path, precision="bfloat16")
    assert pipeline.as_before(chosen).precision == "bfloat16"
    asked = settings(tmp_path, precision="float32")
    assert pipeline.as_before(asked) == asked


def test_a_run_with_nothing_to_make_asks_no_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(_: str) -> None:
        raise AssertionError

    monkeypatch.setattr("nst.painting.devices.resolve_devices", asked)
    assert run(tmp_path, rows=[row("no.png", id="one")])["precision"] == "auto"


def test_settings_that_made_no_picture_bind_nobody(tmp_path: Path) -> None:
    rows = [row("no.png", id="one")]
    manifest = write_project(tmp_path / "in", rows)
    pipeline.run_manifest(str(manifest), settings(tmp_path), {"seed": "3"})
    assert run(tmp_path, {"seed": "4"})["num_ok"] == 1


def test_a_manifest_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(backbone="vgg61")])
    with pytest.raises(ManifestError):
        pipeline.run_manifest(str(manifest), settings(tmp_path))
    assert not (tmp_path / "out").exists()


def test_what_stopped_a_run_is_told_and_undone_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = storage.write_bytes

    def full(uri: str, data: bytes) -> None:
        if uri.endswith("one.png"):
            raise StorageError("no space left")
        write(uri, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", full)
        with pytest.raises(StorageError):
            run(tmp_path)
    assert account(tmp_path)["state"] == "stopped"
    assert "no space left" in account(tmp_path)["error"]
    assert run(tmp_path)["state"] == "finished"


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (RuntimeError("a bug"), "stopped"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(), "interrupted"),
    ],
)
def test_however_a_run_ends_it_tells_so(tmp_path: Path, error: BaseException, state: str) -> None:
    manifest = write_project(tmp_path / "in", ROWS)
    with pytest.raises(type(error)), runs.opened(str(manifest), settings(tmp_path), {}):
        raise error
    assert account(tmp_path)["state"] == state
    assert list((tmp_path / "out/locks").iterdir()) == []


def test_a_run_that_lost_its_lease_writes_no_metadata(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", ROWS)
    plan = pipeline.make_plan(str(manifest), settings(tmp_path))
    calls: list[None] = []

    def check() -> None:
        calls.append(None)
        if len(calls) == 2:
            raise NSTError("another run took over")

    with pytest.raises(NSTError, match="another run took over"):
        pipeline.run(plan, settings(tmp_path), check=check)
    assert not (tmp_path / "out/metadata.parquet").exists()


def files_of(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in (folder / "out").rglob("*")
        if path.is_file()
    }


def falls_asleep_at(
    monkeypatch: pytest.MonkeyPatch, number: int, meanwhile: Callable[[], object]
) -> list[Lease]:
    """At its check of that number a run sleeps, and `meanwhile` all of another happens.

    Its leases that checked are in the list.
    """
    checked: list[Lease] = []
    check = Lease.check
    monkeypatch.setattr(lease, "PATIENCE_S", 0.2)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.05)
    # As on a machine of which the other knows nothing.
    monkeypatch.setattr(lease, "_processes", lambda: "")
    monkeypatch.setattr(Lease, "_beat", lambda self: None)

    def slow(held: Lease) -> None:
        checked.append(held)
        is_first = held is checked[0]
        if is_first and len(checked) == number:
            time.sleep(lease.PATIENCE_S)
            meanwhile()
        check(held)

    monkeypatch.setattr(Lease, "check", slow)
    return checked


@pytest.mark.parametrize("number", [2, 5, 30])
def test_a_run_that_slept_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    checked = falls_asleep_at(monkeypatch, number, lambda: None)
    assert run(tmp_path, rows=MORE)["state"] == "finished"
    assert len(checked) > 30


@pytest.mark.parametrize("number", [1, 2, 3, 5, 7, 9, 30])
def test_a_run_that_was_taken_over_in_its_sleep_changes_nothing_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    left: dict[str, tuple[int, bytes]] = {}

    def another() -> None:
        run(tmp_path, rows=MORE[::-1])
        left.update(files_of(tmp_path))

    falls_asleep_at(monkeypatch, number, another)
    with pytest.raises(RunEndedError, match="another run took over"):
        run(tmp_path, rows=MORE)
    assert left["out/run.json"]
    assert files_of(tmp_path) == left


def test_a_run_that_was_taken_over_while_it_painted_leaves_whole_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: dict[str, tuple[int, bytes]] = {}
    falls_asleep_at(monkeypatch, 10**6, lambda: None)
    real = writing.write_picture

    def slow(*arguments: Any) -> Outcome:
        monkeypatch.setattr(writing, "write_picture", real)
        time.sleep(lease.PATIENCE_S)
        run(tmp_path, rows=MORE)
        left.update(files_of(tmp_path))
        return real(*arguments)

    monkeypatch.setattr(writing, "write_picture", slow)
    with pytest.raises(RunEndedError, match="another run took over"):
        run(tmp_path, rows=MORE)
    found = files_of(tmp_path)
    changed = {path for path, was in left.items() if found[path] != was}
    assert changed <= {f"out/images/{name}.png" for name in ("one", "two")} | {
        path for path in left if path.startswith("out/thumbs/")
    }
    # The same inputs, parameters and machine: the same bytes.
    assert all(found[path][1] == left[path][1] for path in changed)
    assert run(tmp_path, rows=MORE)["num_done_before"] == 2
    assert not audit.verify(str(tmp_path / "out")).findings


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"num_ok": {}, "precision": []}'])
def test_an_account_that_is_none_stops_nothing(tmp_path: Path, text: str) -> None:
    run(tmp_path)
    (tmp_path / "out/run.json").write_text(text)
    assert run(tmp_path)["num_done_before"] == 1


def test_an_account_that_a_store_finds_damaged_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path)

    def damaged(uri: str) -> bytes:
        raise CorruptTransferError(f"cannot read {uri}: expected another MD5")

    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_bytes", damaged)
        assert output.read_account(str(tmp_path / "out")) is None
    assert "run.json: expected the account of a run, ignoring" in caplog.text


def test_a_list_without_the_records_of_an_earlier_run_is_no_fresh_start(tmp_path: Path) -> None:
    run(tmp_path)
    shutil.rmtree(tmp_path / "out/records")
    with pytest.raises(StorageError, match=r"expected the records of 1 pictures.*run\.json"):
        run(tmp_path)
    (tmp_path / "out/run.json").unlink()
    assert run(tmp_path)["num_ok"] == 1


@pytest.mark.parametrize("has_lost", [True, False])
def test_what_lost_processes_leave_is_removed_when_the_run_ends(
    tmp_path: Path, has_lost: bool
) -> None:
    run(tmp_path)
    left = tmp_path / "out/images/.0123456789abcdef.tmp"
    with runs.opened(str(tmp_path / "in/manifest.csv"), settings(tmp_path), {}) as this:
        left.touch()
        this.has_lost_processes = has_lost
    assert left.exists() is not has_lost
    assert (tmp_path / "out/images/one.png").exists()
