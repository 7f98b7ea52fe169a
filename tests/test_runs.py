import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nst import pipeline, runs, storage
from nst.errors import ConfigError, ManifestError, NSTError, StorageError
from nst.settings import RunSettings
from tests.helpers import row, write_project

ROWS = [row(id="one", size=48, steps=1)]


def settings(folder: Path, **values: object) -> RunSettings:
    return RunSettings(output=str(folder / "out"), isolate=False, **values)  # type: ignore[arg-type]


def run(folder: Path, overrides: dict[str, Any] | None = None, **values: object) -> dict[str, Any]:
    manifest = write_project(folder / "in", ROWS)
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


def test_other_settings_on_the_same_output_are_refused_unless_told_to(tmp_path: Path) -> None:
    run(tmp_path, {"seed": "3"})
    with pytest.raises(ConfigError, match=r"--set seed=3 before and --set seed=4 now.*--replace"):
        run(tmp_path, {"seed": "4"})
    with pytest.raises(ConfigError, match="image_format png before and webp now"):
        run(tmp_path, {"seed": "3"}, image_format="webp")
    assert account(tmp_path)["overrides"] == {"seed": 3}
    assert run(tmp_path, {"seed": "4"}, replace=True)["overrides"] == {"seed": 4}
    # The same, however it is written.
    run(tmp_path, {"seed": 4})


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


def test_an_account_that_is_none_stops_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "out/run.json").write_text("{")
    assert run(tmp_path)["num_done_before"] == 1


def test_a_list_without_the_records_of_an_earlier_run_is_no_fresh_start(tmp_path: Path) -> None:
    run(tmp_path)
    shutil.rmtree(tmp_path / "out/records")
    with pytest.raises(StorageError, match=r"expected the records of 1 pictures.*run\.json"):
        run(tmp_path)
    (tmp_path / "out/run.json").unlink()
    assert run(tmp_path)["num_ok"] == 1
