import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nst import audit, pipeline, storage
from nst.errors import ConfigError, RunEndedError, StorageError
from nst.gallery import codec, site
from nst.output import metadata, records
from nst.output.metadata import Outcome
from nst.output.paths import list_output
from nst.output.reading import read_metadata
from nst.pictures import images
from nst.planning.plan import Plan
from nst.running import previews
from nst.running.lease import Lease
from nst.settings import RunSettings
from tests.helpers import csv_bytes, job, picture_bytes, refuse_bytes, row, write_project
from tests.tables import metadata_to_parquet

ROWS = [row(id="one", size=48, steps=1), row("b.png", id="two", size=48, steps=1)]


def run(folder: Path, rows: Sequence[dict[str, object]] = ROWS) -> str:
    manifest = write_project(folder / "in", rows)
    settings = RunSettings(output=str(folder / "out"), isolate=False)
    pipeline.run_manifest(str(manifest), settings)
    return settings.output


def test_all_is_as_recorded(tmp_path: Path) -> None:
    found = audit.verify(run(tmp_path, [*ROWS, row("no.png", id="three")]))
    assert found == audit.Audit(num_good=2, findings=(), redone=())


def test_a_missing_a_cut_and_a_flipped_picture_are_found_and_made_again(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        row(id="three", seed=2, size=48, steps=1),
        row(id="four", seed=1, size=48),
    ]
    output = run(tmp_path, rows)
    images = tmp_path / "out/images"
    before = {path.name: path.read_bytes() for path in images.iterdir()}
    (images / "one.png").unlink()
    (images / "two.png").write_bytes(before["two.png"][:-1])
    flipped = bytearray(before["three.png"])
    flipped[100] ^= 1
    (images / "three.png").write_bytes(flipped)
    found = audit.verify(output)
    assert found.num_good == 1
    assert found.redone == ("one", "two", "three")
    said = {finding.path: finding.said for finding in found.findings}
    assert "found none" in said["images/one.png"]
    assert "bytes by its record" in said["images/two.png"]
    assert "damaged" in said["images/three.png"]
    settings = RunSettings(output=output, isolate=False)
    plan = pipeline.make_plan(str(tmp_path / "in/manifest.csv"), settings)
    assert sorted(one.job.id for group in plan.groups for one in group.jobs) == [
        "one", "three", "two",
    ]  # fmt: skip
    run(tmp_path, rows)
    assert audit.verify(output).findings == ()
    assert {path.name: path.read_bytes() for path in images.iterdir()} == before


def test_an_output_that_was_moved_is_as_done_as_before(tmp_path: Path) -> None:
    """Its files have other times there, so that each is looked at once."""
    output = run(tmp_path)
    shutil.copytree(output, tmp_path / "moved", copy_function=shutil.copyfile)
    settings = RunSettings(output=str(tmp_path / "moved"))
    plan = pipeline.make_plan(str(tmp_path / "in/manifest.csv"), settings)
    assert plan.done == ("one", "two")


def test_a_gallery_that_shows_something_else_is_found(tmp_path: Path) -> None:
    output = run(tmp_path)
    (path,) = (tmp_path / "out/data").glob("rows-0000.*.js")
    key, content = codec.decoded(path.read_bytes())
    values = content["picture"]["values"]
    assert values == ["images/one.png", "images/two.png"]
    content["picture"]["values"] = ["images/other.png", "images/two.png"]
    path.write_bytes(codec.encoded(key, content))
    said = {finding.path: finding.said for finding in audit.verify(output).findings}
    assert "run nst gallery" in said[f"data/{path.name}"]
    assert "in no file of its data" in said["images/one.png"]
    assert "record of what the gallery shows" in said["images/other.png"]
    path.unlink()
    pipeline.rebuild_gallery([output])
    assert audit.verify(output).findings == ()


@pytest.mark.parametrize("name", ["rows-0000", "spine", "detail-0000", "col-"])
@pytest.mark.parametrize("damage", ["gone", "cut", "flipped"])
def test_a_file_of_the_gallery_that_is_gone_or_damaged_is_found_and_made_again(
    tmp_path: Path, name: str, damage: str
) -> None:
    output = run(tmp_path)
    path = min((tmp_path / "out/data").glob(f"{name}*"))
    before = path.read_bytes()
    match damage:
        case "gone":
            path.unlink()
        case "cut":
            path.write_bytes(before[:-5])
        case "flipped":
            path.write_bytes(before.replace(b'","', b'","A', 1)[:-1])
    findings = audit.verify(output).findings
    assert f"data/{path.name}" in {finding.path for finding in findings}
    assert all("nst gallery" in finding.said for finding in findings)
    path.unlink(missing_ok=True)
    pipeline.rebuild_gallery([output])
    assert path.read_bytes() == before
    assert audit.verify(output).findings == ()


def test_files_of_earlier_galleries_are_found_and_removed_and_no_others(tmp_path: Path) -> None:
    output = run(tmp_path)
    stale = ["data/rows-0007.0123abcd.js", "pages/9.html"]
    mine = ["data/mine.csv", "assets/logo.png", "assets/gallery.js", "pages/8.html"]
    for name in [*stale, *mine]:
        (tmp_path / "out" / name).write_text("x")
    shutil.copy(tmp_path / "out/pages/1.html", tmp_path / "out/pages/9.html")
    assert [finding.path for finding in audit.verify(output).findings] == sorted(stale)
    assert audit.clean(output) == tuple(sorted(stale))
    assert audit.verify(output).findings == ()
    # By their names some of them could be ours. Building the gallery anew leaves them too.
    (tmp_path / "out/index.html").unlink()
    pipeline.rebuild_gallery([output])
    assert [(tmp_path / "out" / name).read_text() for name in mine] == ["x"] * len(mine)


def test_a_comparison_in_an_output_is_no_stray_of_it(tmp_path: Path) -> None:
    outputs = [run(tmp_path / name) for name in ("first", "second")]
    pipeline.rebuild_gallery(outputs)
    assert (tmp_path / "first/out/compare/index.html").exists()
    assert [audit.verify(output).findings for output in outputs] == [(), ()]
    assert audit.clean(outputs[0]) == ()


def test_what_no_row_owns_is_found_and_removed_and_nothing_else(tmp_path: Path) -> None:
    rows = [*ROWS, row(id="old", seed=2, size=48, steps=1)]
    run(tmp_path, rows)
    output = run(tmp_path, ROWS)
    (tmp_path / "out/images/.0123456789abcdef.tmp").write_bytes(b"half")
    (tmp_path / "out/notes.txt").write_text("the user's own")
    paths = [finding.path for finding in audit.verify(output).findings]
    assert "images/old.png" in paths
    removed = audit.clean(output, dry_run=True)
    assert {"images/old.png", "images/.0123456789abcdef.tmp"} <= set(removed)
    assert (tmp_path / "out/images/old.png").exists()
    assert audit.clean(output) == removed
    assert sorted(p.name for p in (tmp_path / "out/images").iterdir()) == ["one.png", "two.png"]
    assert (tmp_path / "out/notes.txt").exists()
    assert audit.verify(output).findings == ()
    # Forgotten as well: it is made again when its row comes back.
    plan = pipeline.make_plan(str(write_project(tmp_path / "in", rows)), RunSettings(output=output))
    assert plan.num_pictures_to_make == 1
    assert audit.clean(output) == ()


def test_a_missing_thumbnail_is_found_and_costs_no_picture(tmp_path: Path) -> None:
    output = run(tmp_path, [row(id="one", size=260, steps=1), *ROWS[1:]])
    large, *_ = (tmp_path / "out/thumbs").glob("*/*-512.webp")
    large.unlink()
    found = audit.verify(output)
    assert (found.num_good, found.redone) == (2, ())
    (finding,) = found.findings
    assert finding.path == large.relative_to(tmp_path / "out").as_posix()
    assert finding.said == (
        "expected a thumbnail of images/one.png, found none; run nst gallery --thumbnails to make "
        "it"
    )


def test_a_picture_that_is_made_again_is_asked_for_no_thumbnails(tmp_path: Path) -> None:
    output = run(tmp_path)
    shutil.rmtree(tmp_path / "out/thumbs")
    (tmp_path / "out/images/one.png").unlink()
    paths = [finding.path for finding in audit.verify(output).findings]
    assert len(paths) == 2
    assert paths[0] == "images/one.png"
    assert paths[1].startswith("thumbs/")


def test_thumbnails_and_previews_that_no_row_owns_go_with_what_they_were_of(
    tmp_path: Path,
) -> None:
    """Of a picture that was painted over with other parameters, and of one whose row is gone."""

    def files() -> set[str]:
        folder = tmp_path / "out"
        return {
            path.relative_to(folder).as_posix()
            for name in ("thumbs", "inputs")
            for path in (folder / name).rglob("*")
            if path.is_file()
        }

    old = [row(id="one", size=48, steps=2, init="noise"), row("b.png", "t.png", id="old")]
    run(tmp_path, old)
    before = files()
    output = run(tmp_path, [ROWS[0]])
    unowned = {finding.path for finding in audit.verify(output).findings}
    assert unowned == set(audit.clean(output, dry_run=True))
    assert {path.partition("/")[0] for path in unowned} == {"images", "thumbs", "inputs"}
    gone = unowned - {"images/old.png"}
    assert gone <= before
    # A thumbnail of each picture, and two previews of each of the two inputs.
    assert len(gone) == 2 + 4
    everything = files()
    audit.clean(output)
    assert files() == everything - gone
    assert len(files()) == 1 + 4
    assert audit.verify(output).findings == ()


def test_a_row_that_fails_for_once_keeps_the_picture_that_it_has(tmp_path: Path) -> None:
    output = run(tmp_path)
    manifest = tmp_path / "in/manifest.csv"
    away = tmp_path / "in/b.png"
    data = away.read_bytes()
    away.unlink()
    pipeline.run_manifest(str(manifest), RunSettings(output=output, isolate=False))
    assert audit.verify(output).findings == ()
    assert audit.clean(output) == ()
    away.write_bytes(data)
    plan = pipeline.make_plan(str(manifest), RunSettings(output=output))
    assert plan.done == ("one", "two")


@pytest.mark.parametrize("text", ["interrupted", "unreadable"])
def test_after_a_run_that_was_cut_short_nothing_is_removed(tmp_path: Path, text: str) -> None:
    output = run(tmp_path)
    account = tmp_path / "out/run.json"
    before = account.read_text()
    account.write_text(
        before.replace('"finished"', '"interrupted"') if text == "interrupted" else "{"
    )
    (tmp_path / "out/images/new.png").write_bytes(b"of a row that the metadata lacks")
    (finding,) = audit.verify(output).findings
    assert "did not finish" in finding.said
    with pytest.raises(ConfigError, match="run it again first"):
        audit.clean(output)
    assert (tmp_path / "out/images/new.png").exists()


def test_what_another_run_took_over_meanwhile_is_not_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = run(tmp_path)
    run(tmp_path, ROWS[:1])
    before = storage.list_tree(url)
    assert audit.clean(url, dry_run=True)
    assert storage.list_tree(url) == before

    num_checks = 0

    def taken_after_the_first(held: Lease) -> None:
        nonlocal num_checks
        num_checks += 1
        if num_checks > 1:
            raise RunEndedError("another run took over")

    with monkeypatch.context() as patch:
        patch.setattr(Lease, "check", taken_after_the_first)
        with pytest.raises(RunEndedError):
            audit.clean(url)
    assert storage.list_tree(url) == before


def test_inputs_in_a_folder_called_images_are_no_pictures_of_ours(tmp_path: Path) -> None:
    write_project(tmp_path / "in/images", [])
    output = run(tmp_path, [row("images/a.png", "images/s.png", id="one", size=48, steps=1)])
    assert audit.verify(output).findings == ()


def test_a_gallery_that_is_no_text_is_found_and_no_reason_to_stop(tmp_path: Path) -> None:
    output = run(tmp_path)
    (tmp_path / "out/index.html").write_bytes(b"\xff\xfe\x00")
    found = {finding.path for finding in audit.verify(output).findings}
    assert found == {"index.html", "images/one.png", "images/two.png"}


def test_an_output_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected the output of a run"):
        audit.verify(str(tmp_path))
    with pytest.raises(ConfigError, match="expected the output of a run"):
        audit.clean(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs and an output that is never changed."""
    folder = tmp_path_factory.mktemp("painted")
    run(folder)
    return folder


def copied(painted: Path, folder: Path) -> str:
    """A copy of that output, its files as old as they are there."""
    shutil.copytree(painted / "out", folder / "out")
    return str(folder / "out")


def rerun(painted: Path, folder: Path) -> None:
    settings = RunSettings(output=str(folder / "out"), isolate=False)
    pipeline.run_manifest(str(painted / "in/manifest.csv"), settings)


def flip(path: Path, position: int | None = None) -> None:
    """Change one bit of a file, of which its size and its times tell nothing."""
    before, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_picture_whose_size_and_time_stayed_is_made_again_once_it_is_marked(
    tmp_path: Path,
    painted: Path,
) -> None:
    output = copied(painted, tmp_path)
    picture = tmp_path / "out/images/one.png"
    before = picture.read_bytes()
    inode = picture.stat().st_ino
    flip(picture)
    assert picture.stat().st_ino == inode
    manifest = str(painted / "in/manifest.csv")
    settings = RunSettings(output=output, isolate=False)
    assert audit.verify(output).redone == ("one",)
    # Nothing but reading every picture at every run would tell.
    assert pipeline.make_plan(manifest, settings).done == ("one", "two")
    assert audit.verify(output, repair=True).redone == ("one",)
    assert pipeline.make_plan(manifest, settings).done == ("two",)
    rerun(painted, tmp_path)
    assert picture.read_bytes() == before
    assert audit.verify(output).findings == ()


def test_repair_leaves_what_is_whole_as_it_is(tmp_path: Path, painted: Path) -> None:
    output = copied(painted, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/records").iterdir()}
    assert audit.verify(output, repair=True).findings == ()
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out/records").iterdir()} == before


@pytest.mark.parametrize("kind", ["thumbs/*/*-256.webp", "inputs/*.jpg", "inputs/*.webp"])
@pytest.mark.parametrize("length", [0, 60])
def test_a_cut_thumbnail_or_preview_is_found_and_made_again(
    tmp_path: Path, painted: Path, kind: str, length: int
) -> None:
    output = copied(painted, tmp_path)
    path = min((tmp_path / "out").glob(kind))
    before = path.read_bytes()
    path.write_bytes(before[:length])
    (finding,) = audit.verify(output).findings
    assert finding.path == path.relative_to(tmp_path / "out").as_posix()
    assert "found it damaged; nst verify --repair" in finding.said
    audit.verify(output, repair=True)
    # Previews are made of inputs, which a run knows.
    rerun(painted, tmp_path)
    assert path.read_bytes() == before
    assert audit.verify(output).findings == ()


def test_a_preview_that_is_gone_is_made_again_by_the_next_run_that_paints_nothing(
    tmp_path: Path,
    painted: Path,
) -> None:
    output = copied(painted, tmp_path)
    previews = {path: path.read_bytes() for path in (tmp_path / "out/inputs").iterdir()}
    shutil.rmtree(tmp_path / "out/inputs")
    findings = audit.verify(output).findings
    assert {finding.path for finding in findings} == {
        path.relative_to(tmp_path / "out").as_posix() for path in previews if path.suffix == ".jpg"
    }
    rerun(painted, tmp_path)
    assert {path: path.read_bytes() for path in (tmp_path / "out/inputs").iterdir()} == previews


def test_no_preview_is_missed_of_an_input_that_has_failed_its_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The row says what is wrong with it; each run read it again and warned of a preview."""
    manifest = write_project(tmp_path / "in", ROWS)
    whole = (tmp_path / "in/a.png").read_bytes()
    (tmp_path / "in/a.png").write_bytes(whole[: len(whole) // 2])
    settings = RunSettings(output=str(tmp_path / "out"), isolate=False)
    report = pipeline.run_manifest(str(manifest), settings)
    assert report.failed_by_reason == {"image_truncated": 1}
    assert "no preview is made" not in caplog.text
    assert len(list((tmp_path / "out/inputs").glob("*.jpg"))) == 2


def test_an_input_that_is_another_now_gives_no_preview(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row(id="one", size=48, steps=1), row("b.png", id="two", size=48, steps=1)]
    run(tmp_path, rows)
    shutil.rmtree(tmp_path / "out/inputs")
    settings = RunSettings(output=str(tmp_path / "out"), isolate=False)
    plan = pipeline.make_plan(str(tmp_path / "in/manifest.csv"), settings)
    (tmp_path / "in/a.png").write_bytes((tmp_path / "in/b.png").read_bytes())
    pipeline.finish(plan, settings)
    assert "no preview is made" in caplog.text
    assert len(list((tmp_path / "out/inputs").glob("*.jpg"))) == 2


def test_few_inputs_are_decoded_at_once_for_lost_previews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many a store is asked for at once."""
    monkeypatch.setattr(images, "MAX_DECODED", 2)
    jobs, rows = [], []
    for seed in range(12):
        data = picture_bytes(48, 64, seed=seed)
        (tmp_path / f"{seed}.png").write_bytes(data)
        jobs.append(job(id=str(seed), content=str(tmp_path / f"{seed}.png")))
        outcome = Outcome(id=str(seed), status="ok", content_digest=sha256(data).hexdigest())
        rows.append(metadata.record_of(jobs[-1], outcome))
    decode, lock = images.decode_preview, threading.Lock()
    inside: list[str] = []
    counts: list[int] = []

    def counted(data: bytes, *, long_edge_px: int, name: str) -> images.Picture:
        with lock:
            inside.append(name)
            counts.append(len(inside))
        # Long enough for whoever else may come in.
        time.sleep(0.05)
        found = decode(data, long_edge_px=long_edge_px, name=name)
        with lock:
            inside.remove(name)
        return found

    monkeypatch.setattr(images, "decode_preview", counted)
    plan = Plan(jobs=tuple(jobs), groups=(), done=(), failed=())
    settings = RunSettings(output=str(tmp_path / "out"))
    table = BytesIO(metadata_to_parquet(rows, []))
    previews.make_missing_previews(table, plan, settings, lambda: None)
    assert len(list((tmp_path / "out/inputs").glob("*.jpg"))) == 12
    assert max(counts) == 2


@pytest.mark.parametrize("kind", ["index.html", "pages/1.html", "data/rows-*", "assets/*.css"])
def test_a_flipped_bit_of_the_gallery_is_found_and_mended_by_building_it(
    tmp_path: Path, painted: Path, kind: str
) -> None:
    output = copied(painted, tmp_path)
    path = min((tmp_path / "out").glob(kind))
    before = path.read_bytes()
    # In a word, so that nothing else tells.
    flip(path, before.rindex(b"e"))
    found = {each.path: each.said for each in audit.verify(output).findings}
    assert "run nst gallery" in found[path.relative_to(tmp_path / "out").as_posix()]
    pipeline.rebuild_gallery([output])
    assert path.read_bytes() == before
    assert audit.verify(output).findings == ()


@pytest.mark.parametrize("position", [0, 100, 0.5, -20])
def test_a_flipped_bit_of_the_metadata_is_found_and_mended_by_the_next_run(
    tmp_path: Path, painted: Path, position: float
) -> None:
    output = copied(painted, tmp_path)
    path = tmp_path / "out/metadata.parquet"
    before = path.read_bytes()
    flip(path, int(len(before) * position) if isinstance(position, float) else position)
    found = {finding.path: finding.said for finding in audit.verify(output).findings}
    assert "run every manifest" in found["metadata.parquet"]
    assert audit.verify(output, repair=True).num_good == 2
    rerun(painted, tmp_path)
    assert [row.outcome.id for row in read_metadata(output)] == ["one", "two"]
    assert audit.verify(output).findings == ()


def test_of_all_rows_no_losses_are_held(
    tmp_path: Path, painted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As objects, the curve of a picture takes ten times as much as all else."""
    output = copied(painted, tmp_path)
    monkeypatch.setattr(metadata, "CurvePoint", lambda **_: pytest.fail("a point as an object"))
    assert audit.verify(output).num_good == 2
    assert audit.clean(output) == ()
    shutil.rmtree(tmp_path / "out/thumbs")
    assert pipeline.make_thumbnails(output) == 2
    (tmp_path / "out/metadata.parquet").unlink()
    assert audit.verify(output).num_good == 2


def test_a_table_that_is_no_metadata_is_found_and_has_nothing_removed(
    tmp_path: Path, painted: Path
) -> None:
    output = copied(painted, tmp_path)
    # Of a run that is not finished no digest is known.
    account = json.loads((tmp_path / "out/run.json").read_text())
    (tmp_path / "out/run.json").write_text(json.dumps(account | {"state": "running"}))
    storage.write_bytes(f"{output}/metadata.parquet", frame_bytes())
    assert "metadata.parquet" in {each.path for each in audit.verify(output).findings}
    with pytest.raises(ConfigError, match="expected the metadata of a run, found a table without"):
        audit.clean(output)


def frame_bytes() -> bytes:
    """A table of somebody else."""
    sink = BytesIO()
    pq.write_table(pa.table({"row": [1], "id": ["one"]}), sink)
    return sink.getvalue()


def test_metadata_that_the_store_reports_as_damaged_are_found_and_mended_by_the_next_run(
    tmp_path: Path, painted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = copied(painted, tmp_path)
    with monkeypatch.context() as reading:
        refuse_bytes(reading, "metadata.parquet")
        found = audit.verify(output)
        assert found.num_good == 2
        assert [each.path for each in found.findings] == ["metadata.parquet"]
        assert "run every manifest" in found.findings[0].said
        assert audit.verify(output, repair=True).num_good == 2
        rerun(painted, tmp_path)
    assert audit.verify(output).findings == ()


def test_metadata_and_records_that_are_gone_are_found(tmp_path: Path, painted: Path) -> None:
    output = copied(painted, tmp_path)
    (tmp_path / "out/metadata.parquet").unlink()
    found = audit.verify(output)
    assert (found.num_good, [each.path for each in found.findings]) == (2, ["metadata.parquet"])
    rerun(painted, tmp_path)
    parts = list((tmp_path / "out/records").glob("*.parquet"))
    for part in parts:
        part.write_bytes(b"PAR1")
    found = audit.verify(output)
    assert {f"records/{part.name}" for part in parts} <= {each.path for each in found.findings}
    assert found.redone == ("one", "two")


FOREIGN = (
    "shards/00000.tar",
    "shards/a/00001.json",
    "attempts/notes.txt",
    "images/mine.txt",
    "images/mine.png",
    "images/copy-of-one.png",
    "images/nested/one.png",
    "inputs/mine.jpg",
    "thumbs/mine.webp",
    "thumbs/ab/mine-256.webp",
    "records/mine.parquet",
    "records/new/mine.txt",
    "locks/mine.txt",
    ".mine.tmp",
    "notes.txt",
)


def test_what_no_run_has_written_stays_whatever_its_folder(tmp_path: Path, painted: Path) -> None:
    """After a run that was killed, a clean and a compaction of the records too."""
    output = copied(painted, tmp_path)
    own = (tmp_path / "out/images/one.png").read_bytes()
    for name in FOREIGN:
        path = tmp_path / "out" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(own if name.endswith(".png") else b"mine")
    # What a killed run, one of the last release among them, leaves.
    leftovers = [
        "shards/00001.json",
        "shards/00001-2.beat",
        "attempts/0123456789abcdef-1.json",
        "images/.0123456789abcdef.tmp",
    ]
    for name in leftovers:
        (tmp_path / "out" / name).write_bytes(b"x")
    assert set(leftovers) <= set(audit.clean(output, dry_run=True))
    assert not set(FOREIGN) & {finding.path for finding in audit.verify(output).findings}
    account = tmp_path / "out/run.json"
    account.write_text(account.read_text().replace('"finished"', '"interrupted"'))
    rerun(painted, tmp_path)
    assert not any((tmp_path / "out" / name).exists() for name in leftovers)
    audit.clean(output)
    ledger = records.read(output)
    records.forget(output, ledger, ["none"])
    assert [name for name in FOREIGN if not (tmp_path / "out" / name).exists()] == []


@pytest.mark.parametrize("manifests", [7, "abc", [1], [{}], {"a": 1}])
def test_manifests_in_run_json_that_are_no_names_are_none(
    tmp_path: Path, painted: Path, manifests: object
) -> None:
    """As after somebody has edited it, or a later release says it otherwise."""
    output = copied(painted, tmp_path)
    account = tmp_path / "out/run.json"
    account.write_text(json.dumps(json.loads(account.read_text()) | {"manifests": manifests}))
    assert audit.verify(output).findings == ()
    assert audit.clean(output, dry_run=True) == ()


def test_a_picture_says_itself_that_it_is_ours_where_its_record_is_gone(
    tmp_path: Path, painted: Path
) -> None:
    """As after a kill between a picture and its record, whose row is in no manifest any more."""
    output = copied(painted, tmp_path)
    ledger = records.read(output)
    records.forget(output, ledger, ["one"])
    rows = [row for row in read_metadata(output) if row.outcome.id != "one"]
    data = metadata_to_parquet(rows, [])
    (tmp_path / "out/metadata.parquet").write_bytes(data)
    assert "images/one.png" in audit.clean(output, dry_run=True)


def test_a_run_that_is_killed_while_it_replaces_leaves_no_row_that_tells_of_another_picture(
    tmp_path: Path, painted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = copied(painted, tmp_path)
    settings = RunSettings(output=output, isolate=False, replace=True)
    manifest, overrides = str(painted / "in/manifest.csv"), {"steps": 2}
    before = {row.outcome.picture_digest for row in read_metadata(output)}
    written = records.write

    def killed(url: str, outcome: Outcome) -> None:
        written(url, outcome)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run_manifest(manifest, settings, overrides)
    told = read_metadata(output)
    assert [(row.outcome.status, row.outcome.picture) for row in told] == [("failed", None)] * 2
    assert all("has not finished" in str(row.outcome.error) for row in told)
    assert audit.shown_pictures(output) == set()
    said = {finding.path: finding.said for finding in audit.verify(output).findings}
    assert said == {"run.json": "the last run did not finish; run it again"}
    pipeline.run_manifest(manifest, settings, overrides)
    told = read_metadata(output)
    assert [row.params.steps for row in told] == [2, 2]
    assert before.isdisjoint(row.outcome.picture_digest for row in told)
    # The thumbnails of the pictures that are gone are nobody's now.
    audit.clean(output)
    assert audit.verify(output).findings == ()


def test_a_moved_manifest_whose_pictures_are_made_anew_leaves_no_name_without_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures are taken out of the metadata before they are made, and its rows at the end."""
    output = run(tmp_path)
    old, moved = tmp_path / "in/manifest.csv", tmp_path / "in/moved.csv"
    old.rename(moved)
    settings = RunSettings(output=output, isolate=False, replace=True)

    def killed(url: str, outcome: Outcome) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(records, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run_manifest(str(moved), settings, {"steps": 2})
    told = [(row.manifest, row.outcome.picture) for row in read_metadata(output)]
    assert told == [(str(old), None)] * 2 + [(str(moved), None)] * 2
    pipeline.run_manifest(str(moved), settings, {"steps": 2})
    assert [row.manifest for row in read_metadata(output)] == [str(moved)] * 2
    audit.clean(output)
    assert audit.verify(output).findings == ()


def test_no_row_of_another_manifest_tells_of_a_picture_that_is_being_replaced(
    tmp_path: Path, painted: Path
) -> None:
    """Until the picture is made, or another run finds that it was not."""
    output = copied(painted, tmp_path)
    settings = RunSettings(output=output, isolate=False, replace=True)
    manifest, shared = painted / "in/manifest.csv", painted / "in/shared.csv"
    shared.write_bytes(csv_bytes([ROWS[0] | {"steps": 2}]))
    before = {row.outcome.id: row.outcome for row in read_metadata(output)}
    pipeline.retract(pipeline.make_plan(str(shared), settings), settings)
    told = {(row.manifest, row.outcome.id): row.outcome for row in read_metadata(output)}
    one, two = (told[str(manifest), each] for each in ("one", "two"))
    assert (one.status, one.picture, one.key) == ("failed", None, before["one"].key)
    assert two == before["two"]
    assert told[str(shared), "one"].status == "failed"
    other = painted / "in/other.csv"
    other.write_bytes(csv_bytes([ROWS[1]]))
    pipeline.run_manifest(str(other), settings)
    told = {(row.manifest, row.outcome.id): row.outcome for row in read_metadata(output)}
    assert told[str(manifest), "one"] == before["one"]
    assert told[str(shared), "one"].status == "failed"


def test_metadata_of_an_earlier_picture_are_told_from_a_damaged_picture(
    tmp_path: Path, painted: Path
) -> None:
    """As releases up to 0.2.0 left them that were killed while they replaced pictures."""
    output = copied(painted, tmp_path)
    (tmp_path / "out/images/one.png").write_bytes(b"made later")
    made = records.read(output).made["one"]
    digest = sha256(b"made later").hexdigest()
    records.write(output, replace(made, picture_digest=digest, picture_bytes=10))
    found = audit.verify(output)
    assert found.redone == ()
    assert "one that was made after it" in found.findings[0].said


def test_a_run_that_replaces_nothing_writes_its_metadata_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = storage.write_file

    def counted(uri: str, file: IO[bytes]) -> None:
        written.append(uri)
        write(uri, file)

    monkeypatch.setattr(storage, "write_file", counted)
    rows = [ROWS[0]]
    run(tmp_path, rows)
    run(tmp_path, ROWS)
    assert [uri.rpartition("/")[2] for uri in written].count("metadata.parquet") == 2


def refuse_lists_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system refuse to list a folder, as it would if root did not run the tests."""
    scan = os.scandir

    def scandir(path: Any = ".") -> Any:
        if path == folder or path == str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_a_folder_of_somebody_else_in_an_output_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk has one, `lost+found`, into which only root may look."""
    output = run(tmp_path)
    refuse_lists_of(tmp_path / "out/lost+found/deep", monkeypatch)
    leftover = tmp_path / "out/mine/.0123456789abcdef.tmp"
    for path in (leftover, tmp_path / "out/lost+found/deep/x"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    told = tmp_path / "out/run.json"
    told.write_text(told.read_text().replace('"finished"', '"running"'))
    run(tmp_path)
    assert not leftover.exists()
    assert audit.verify(output).findings == ()
    assert audit.clean(output) == ()


def test_a_folder_of_the_output_that_cannot_be_read_is_never_taken_for_an_empty_one(
    tmp_path: Path,
) -> None:
    output = run(tmp_path)
    settings = RunSettings(output=output, isolate=False, keep_every=1)
    pipeline.run_manifest(str(tmp_path / "in/manifest.csv"), settings)
    found = {each.name for each in (tmp_path / "out").iterdir() if each.is_dir()}
    assert {"images", "records", "thumbs", "inputs", "locks", "data"} <= found
    for name in (*sorted(found), *site.FOLDERS, "steps", "attempts"):
        inner = tmp_path / "out" / name / "inner"
        inner.mkdir(parents=True)
        with pytest.MonkeyPatch.context() as patch:
            refuse_lists_of(inner, patch)
            with pytest.raises(StorageError, match="this user may not read it"):
                list_output(output)
        inner.rmdir()
