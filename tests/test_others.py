"""The rows that several manifests have in one output."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from nst import __version__, audit, pipeline, storage
from nst.errors import ConfigError, ManifestError, NotFoundError
from nst.job import Job, job_key
from nst.manifest.reading import Rows, read_manifest
from nst.output import others, records
from nst.output.metadata import Record, failure
from nst.output.others import manifest_name
from nst.output.reading import read_metadata
from nst.planning.plan import Plan
from nst.planning.taken import without_taken_ids
from nst.running.runs import opened
from nst.settings import RunSettings
from nst.storage import s3, s3_faults
from tests.helpers import (
    csv_bytes,
    job,
    picture_bytes,
    refuse_bytes,
    refuse_looks,
    row,
    write_project,
)
from tests.tables import metadata_to_parquet
from tests.test_metadata import OK


def made(output: Path | str, *ids: str, **values: Any) -> None:
    """Records of pictures that are there."""
    for job_id in ids:
        own = {"id": job_id, "picture": f"images/{job_id}.png", "picture_digest": job_id * 8}
        records.write(str(output), replace(OK, **own | values))


@pytest.fixture(autouse=True)
def without_gallery(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests look at the metadata alone."""
    if "page" not in request.fixturenames:
        monkeypatch.setattr(pipeline, "publish", lambda *_, **__: "")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The page of the gallery, which is built only for a test that asks for it."""
    return tmp_path / "out/index.html"


def finish(
    output: Path | str,
    manifest: str,
    jobs: Sequence[Job],
    only: bool = False,
    lost: Sequence[str] = (),
) -> None:
    """The end of a run of a manifest, of which no picture is left to make.

    The jobs of the ids in `lost` have failed although their pictures are there.
    """
    there = set(records.read(str(output)).made) - set(lost)
    failed = tuple(failure(each.id, NotFoundError("gone")) for each in jobs if each.id not in there)
    name = manifest_name(manifest, str(output))
    plan = Plan(jobs=tuple(jobs), groups=(), done=(), failed=failed, manifest=name)
    chosen = RunSettings(output=str(output), only=only)
    with opened(manifest, chosen, {}) as this:
        this.plan = plan
        this.report = pipeline.finish(plan, chosen)
        assert this.report.num_rows == len(jobs)


def told(output: Path | str) -> list[tuple[str | None, int, str]]:
    return [(each.manifest, each.row, each.outcome.id) for each in read_metadata(str(output))]


def rows_of(output: Path, manifest: str) -> Mapping[str, Record]:
    rows = read_metadata(str(output))
    return {each.outcome.id: each for each in rows if each.manifest == manifest}


A = [job(id="one"), job(id="two", row=2, labels={"x": "1"})]
B = [job(id="two", labels={"y": "2"}), job(id="three", row=2)]


def paths(tmp_path: Path) -> tuple[str, str]:
    """Two manifests that are there."""
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(b"x")
    return str(tmp_path / "a.csv"), str(tmp_path / "b.csv")


def test_a_run_replaces_the_rows_of_its_manifest_and_keeps_those_of_others_in_order(
    tmp_path: Path, page: Path
) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    finish(output, b, B)
    both = [(a, 1, "one"), (a, 2, "two"), (b, 1, "two"), (b, 2, "three")]
    assert told(output) == both
    first = (output / "metadata.parquet").read_bytes()
    built = page.stat().st_mtime_ns
    for manifest, jobs in ((a, A), (b, B), (b, B)):
        finish(output, manifest, jobs)
        assert (output / "metadata.parquet").read_bytes() == first
    # As of a nightly run that finds nothing new.
    assert page.stat().st_mtime_ns == built
    labels = {name: rows_of(output, name)["two"].labels for name in (a, b)}
    assert labels == {a: {"x": "1"}, b: {"y": "2"}}
    # Rows that a manifest names no more go with its next run, with the labels that no row has.
    finish(output, a, A[:1])
    assert told(output) == [(a, 1, "one"), *both[2:]]
    assert "label_x" not in pq.read_table(output / "metadata.parquet").column_names
    assert json.loads((output / "run.json").read_text())["manifests"] == [a, b]


def test_in_a_bucket_it_is_as_on_a_disk(bucket: str) -> None:
    a, b = f"{bucket}/in/a.csv", f"{bucket}/in/b.csv"
    for name in (a, b):
        storage.write_bytes(name, b"x")
    output = f"{bucket}/out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    finish(output, b.replace("s3://", "s3a://"), B)
    finish(output, a, A)
    assert told(output) == [(a, 1, "one"), (a, 2, "two"), (b, 1, "two"), (b, 2, "three")]
    storage.delete(a)
    finish(output, b, B)
    assert told(output) == [(a, 1, "one"), (b, 1, "two"), (b, 2, "three")]


def test_only_leaves_the_rows_of_other_manifests_out(tmp_path: Path) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    finish(output, b, B, only=True)
    assert told(output) == [(b, 1, "two"), (b, 2, "three")]
    assert json.loads((output / "run.json").read_text())["manifests"] == [b]


def test_nothing_of_the_metadata_is_read_where_one_manifest_has_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "one", "two")
    finish(tmp_path, "/a.csv", A)
    monkeypatch.setattr(storage, "read_into", lambda uri, file: pytest.fail(uri))
    monkeypatch.setattr(others, "read_texts", lambda file, names: pytest.fail("read"))
    with storage.ScratchFile() as file:
        assert others.other_rows(str(tmp_path), "/a.csv", file) is None


def test_a_row_tells_of_the_picture_that_another_manifest_has_made_anew(tmp_path: Path) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    made(output, "two", key="new", picture_digest="d" * 64, content_loss=0.25)
    params = replace(B[0].params, steps=7)
    finish(output, b, [replace(B[0], params=params), B[1]])
    shared = rows_of(output, a)["two"]
    assert shared.outcome == rows_of(output, b)["two"].outcome
    assert (shared.outcome.content_loss, shared.params.steps) == (0.25, 7)
    assert (shared.row, shared.labels) == (2, {"x": "1"})


def test_a_picture_made_anew_by_a_run_that_was_killed_is_told_by_no_other_row(
    tmp_path: Path,
) -> None:
    """Its parameters are in no metadata. One of the same key has the same."""
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    made(output, "one", picture_digest="e" * 64)
    made(output, "two", key="new", picture_digest="d" * 64)
    finish(output, b, B[1:])
    rows = rows_of(output, a)
    assert rows["one"].outcome.picture_digest == "e" * 64
    assert (rows["two"].outcome.status, rows["two"].outcome.reason) == ("failed", "group_failed")
    assert f"run {a} again" in str(rows["two"].outcome.error)
    finish(output, a, A)
    assert rows_of(output, a)["two"].outcome.picture_digest == "d" * 64


def test_a_failed_row_of_another_manifest_stays_as_it_is(tmp_path: Path) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "three")
    finish(output, a, A[:1])
    before = rows_of(output, a)["one"].outcome
    assert before.status == "failed"
    finish(output, b, B[1:])
    assert rows_of(output, a)["one"].outcome == before


def old_output(output: Path, ids: Sequence[str], account: Mapping[str, object] | None) -> None:
    """An output as release 0.2.0 left it: its metadata name no manifest."""
    made(output, *ids)
    outcomes = [records.read(str(output)).made[name] for name in ids]
    rows = [
        Record(
            row=n,
            content="a.png",
            style="s.png",
            backbone="vgg16",
            labels={},
            params=job().params,
            outcome=outcome,
        )
        for n, outcome in enumerate(outcomes, start=1)
    ]
    storage.write_bytes(f"{output}/metadata.parquet", metadata_to_parquet(rows, []))
    table = pq.read_table(output / "metadata.parquet")
    pq.write_table(table.drop_columns(["manifest"]), output / "metadata.parquet")
    if account is not None:
        (output / "run.json").write_text(json.dumps(account))


@pytest.mark.parametrize("was_killed", [False, True])
def test_rows_of_the_last_release_are_those_of_the_manifest_that_it_ran(
    tmp_path: Path, was_killed: bool
) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    old_output(output, ["one", "two"], {"manifest": f"file://{a}", "state": "finished"})
    if was_killed:
        with pytest.raises(KeyboardInterrupt), opened(b, RunSettings(output=str(output)), {}):
            raise KeyboardInterrupt
    made(output, "three")
    finish(output, b, B)
    assert told(output) == [(a, 1, "one"), (a, 2, "two"), (b, 1, "two"), (b, 2, "three")]
    finish(output, a, A[1:])
    assert told(output) == [(a, 2, "two"), (b, 1, "two"), (b, 2, "three")]


@pytest.mark.parametrize("account", [None, {"manifest": "/other.csv", "state": "running"}])
def test_rows_of_which_nothing_tells_the_manifest_are_neither_lost_nor_doubled(
    tmp_path: Path, account: Mapping[str, object] | None
) -> None:
    """A run of 0.2.0 that was killed has left the metadata of another one."""
    a, _ = paths(tmp_path)
    output = tmp_path / "out"
    old_output(output, ["one", "two"], account)
    made(output, "three")
    finish(output, a, [A[1], job(id="three", row=2)])
    assert told(output) == [(None, 1, "one"), (a, 2, "two"), (a, 2, "three")]


def test_a_run_that_was_killed_after_its_metadata_loses_no_row(tmp_path: Path) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    plan = Plan(jobs=tuple(B), groups=(), done=(), failed=(), manifest=b)
    settings = RunSettings(output=str(output))

    def killed() -> None:
        with opened(b, settings, {}) as this:
            this.plan = plan
            pipeline.finish(plan, settings)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    finish(output, a, A)
    assert [name for name, _, _ in told(output)] == [a, a, b, b]


def test_damaged_metadata_cost_the_rows_of_others_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    data = bytearray((output / "metadata.parquet").read_bytes())
    for position in range(100, len(data) // 2):
        data[position] ^= 1
    (output / "metadata.parquet").write_bytes(data)
    finish(output, b, B)
    assert told(output) == [(b, 1, "two"), (b, 2, "three")]
    assert f"run {a} again" in caplog.text
    # Nothing of theirs is removed until then.
    (finding, *_) = audit.verify(str(output)).findings[-1:]
    assert (finding.path, a in finding.said) == ("metadata.parquet", True)
    with pytest.raises(ConfigError, match=f"expected rows of {a}"):
        audit.clean(str(output))
    finish(output, b, B)
    with pytest.raises(ConfigError, match=f"expected rows of {a}"):
        audit.clean(str(output))
    finish(output, a, A)
    assert [name for name, *_ in told(output)] == [b, b, a, a]
    audit.clean(str(output), dry_run=True)


def test_metadata_that_a_store_reports_as_damaged_end_neither_plan_nor_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the file shows it itself."""
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    with monkeypatch.context() as reading:
        refuse_bytes(reading, "metadata.parquet")
        rows = Rows(jobs=tuple(B), refused={}, digest="", manifest=b)
        assert without_taken_ids(rows, RunSettings(output=str(output))) == rows
        finish(output, b, B)
    assert told(output) == [(b, 1, "two"), (b, 2, "three")]
    assert "found damage that the store reports" in caplog.text
    assert f"run {a} again" in caplog.text


@pytest.mark.parametrize("only", [False, True])
def test_pictures_of_a_manifest_whose_run_was_killed_are_kept_until_it_runs_again(
    tmp_path: Path, only: bool
) -> None:
    """A run of another manifest that finishes after it knows no row of them."""
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    settings = RunSettings(output=str(output))
    plan = Plan(jobs=tuple(B), groups=(), done=(), failed=(), manifest=b)

    def killed() -> None:
        with opened(b, settings, {}) as this:
            this.plan = plan
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    finish(output, a, A, only=only)
    assert [name for name, *_ in told(output)] == [a, a]
    if only:
        audit.clean(str(output), dry_run=True)
        return
    with pytest.raises(ConfigError, match=f"expected rows of {b}"):
        audit.clean(str(output))
    finish(output, b, B)
    audit.clean(str(output), dry_run=True)


def test_a_run_that_is_refused_leaves_nothing_to_be_run_again(tmp_path: Path) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two")
    finish(output, a, A)
    with pytest.raises(ManifestError), opened(b, RunSettings(output=str(output)), {}):
        raise ManifestError("its ids are taken")
    finish(output, a, A)
    assert audit.clean(str(output), dry_run=True) == ()


def test_the_pictures_of_a_first_run_that_was_killed_outlast_a_run_of_another_manifest(
    tmp_path: Path,
) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    plan = Plan(jobs=tuple(A), groups=(), done=(), failed=(), manifest=a)

    def killed() -> None:
        with opened(a, RunSettings(output=str(output)), {}) as this:
            this.plan = plan
            made(output, "one")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    made(output, "two", "three")
    finish(output, b, B)
    with pytest.raises(ConfigError, match=f"expected rows of {a}"):
        audit.clean(str(output))


def test_metadata_that_are_gone_leave_what_they_had_to_be_run_again(tmp_path: Path) -> None:
    a, b = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    finish(output, b, B)
    (output / "metadata.parquet").unlink()
    finish(output, b, B)
    with pytest.raises(ConfigError, match=f"expected rows of {a}"):
        audit.clean(str(output))


def test_of_a_manifest_that_was_moved_no_row_is_told_twice(tmp_path: Path) -> None:
    a, _ = paths(tmp_path)
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, a, A)
    Path(a).rename(tmp_path / "moved.csv")
    moved = str(tmp_path / "moved.csv")
    finish(output, moved, [*A, job(id="three", row=3)])
    assert told(output) == [(moved, 1, "one"), (moved, 2, "two"), (moved, 3, "three")]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/in/a.csv", "/in/a.csv"),
        ("/in/../in/./a.csv", "/in/a.csv"),
        ("file:///in/a.csv", "/in/a.csv"),
        ("/in/rows/", "/in/rows/"),
        ("/in/*.csv", "/in/*.csv"),
        ("s3a://bucket/a.csv", "s3://bucket/a.csv"),
        ("s3://bucket/rows/", "s3://bucket/rows/"),
        ("/o/manifest.jsonl", "manifest.jsonl"),
        ("https://me:secret@host/a.csv", "https://host/a.csv"),
        ("https://host/a.csv?sheet=1&token=secret", "https://host/a.csv?sheet=1"),
        ("https://host/a.csv?X-Amz-Date=1&X-Amz-Signature=2&x=3", "https://host/a.csv"),
        ("https://host/a.csv?se=2026&sp=r&sig=secret", "https://host/a.csv"),
        ("https://host/a.csv?token=secret", "https://host/a.csv"),
    ],
)
def test_a_manifest_has_one_name_and_no_credentials(uri: str, name: str) -> None:
    assert manifest_name(uri, "/o/") == name


def test_a_relative_manifest_has_the_name_of_the_absolute_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert manifest_name("a.csv", "out") == f"{tmp_path}/a.csv"
    assert manifest_name("out/manifest.jsonl", "out") == "manifest.jsonl"


def project(folder: Path, **cells: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(picture_bytes(48, 64, seed=len(folder.name)))
    (folder / "s.png").write_bytes(picture_bytes(48, 64, seed=9))
    (folder / "rows.csv").write_bytes(csv_bytes([row(**cells)]))
    return folder / "rows.csv"


def ran(output: Path, manifest: Path) -> None:
    """A manifest whose pictures are there."""
    rows = read_manifest(str(manifest), RunSettings(output=str(output)))
    for one in rows.jobs:
        digests = {uri: sha256(Path(uri).read_bytes()).hexdigest() for uri in one.inputs}
        made(
            output,
            one.id,
            key=job_key(one, digests=digests, weights_digest=str(OK.weights_digest)),
            nst_version=__version__,
            content_digest=digests[one.content],
            style_digest=" ".join(digests[uri] for uri in one.styles),
        )
    finish(output, rows.manifest, rows.jobs)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ({"id": "cat"}, {"id": "cat", "steps": 5}, False),
        ({"id": "cat"}, {"id": "CAT"}, False),
        # The same text, of other files.
        ({}, {}, False),
        ({"id": "cat"}, {"id": "dog", "steps": 5}, True),
    ],
)
def test_an_id_by_which_another_manifest_has_another_picture_is_refused(
    tmp_path: Path, first: Mapping[str, Any], second: Mapping[str, Any], is_same: bool
) -> None:
    one, other = project(tmp_path / "one", **first), project(tmp_path / "other", **second)
    output = tmp_path / "out"
    ran(output, one)
    settings = RunSettings(output=str(output))
    rows = read_manifest(str(other), settings)
    if is_same:
        assert without_taken_ids(rows, settings) == rows
        return
    with pytest.raises(ManifestError, match=r"row 1: id: expected one that no row of another"):
        without_taken_ids(rows, settings)
    going_on = without_taken_ids(rows, replace(settings, keep_going=True))
    (job_id,) = going_on.refused
    assert [each.id for each in going_on.jobs] == [job_id]
    assert job_id.startswith("row-1-")
    assert going_on.refused[job_id].reason == "bad_row"
    # Where the manifest is there no more, nothing else would paint over it.
    one.unlink()
    assert without_taken_ids(rows, settings) == rows


def test_rows_of_two_manifests_tell_of_the_picture_that_a_run_of_either_made_anew(
    tmp_path: Path,
) -> None:
    """The run takes what the other's row says of it out of the metadata until it ends."""
    manifest = write_project(tmp_path / "in", [row(id="one", steps=1)])
    other = manifest.with_name("other.csv")
    other.write_bytes(manifest.read_bytes())
    chosen = RunSettings(output=str(tmp_path / "out"), isolate=False, precision="float32")
    for each in (manifest, other):
        pipeline.run_manifest(str(each), chosen)
    before = {one.outcome.picture_digest for one in read_metadata(chosen.output)}
    (tmp_path / "in/a.png").write_bytes(picture_bytes(48, 64, seed=77))
    pipeline.run_manifest(str(other), chosen)
    told = [one.outcome for one in read_metadata(chosen.output)]
    assert [one.error for one in told] == [None, None]
    (digest,) = {one.picture_digest for one in told}
    assert digest not in before


@pytest.mark.parametrize("pattern", ["one/x/*.csv", "one/*/rows.csv"])
def test_an_input_that_is_written_over_keeps_its_rows_of_two_manifests_one_picture(
    pattern: str, tmp_path: Path
) -> None:
    """One by a pattern, and one by another that takes the same files and no more."""
    project(tmp_path / "one/x")
    output = tmp_path / "out"
    ran(output, tmp_path / pattern)
    (tmp_path / "one/x/a.png").write_bytes(picture_bytes(48, 64, seed=99))
    settings = RunSettings(output=str(output))
    for again in ("one/x/rows.c*", "one/*/r*.csv"):
        rows = read_manifest(f"{tmp_path}/{again}", settings)
        assert without_taken_ids(rows, settings) == rows


@pytest.mark.parametrize("is_same", [True, False])
def test_rows_of_patterns_are_told_apart_by_what_is_in_their_files(
    is_same: bool, tmp_path: Path
) -> None:
    project(tmp_path / "one/x")
    project(tmp_path / "other/x")
    if not is_same:
        (tmp_path / "other/x/a.png").write_bytes(picture_bytes(48, 64, seed=99))
    output = tmp_path / "out"
    ran(output, tmp_path / "one/*/rows.csv")
    settings = RunSettings(output=str(output))
    rows = read_manifest(f"{tmp_path}/other/*/rows.csv", settings)
    if is_same:
        assert without_taken_ids(rows, settings) == rows
    else:
        with pytest.raises(ManifestError, match=r"by which row 1 of .* has another picture"):
            without_taken_ids(rows, settings)


def without_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that has no such folder; it was not for temporary files, as those of tests are."""
    shutil.rmtree(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(folder.with_name("temporary")))


def test_a_manifest_on_the_disk_of_another_machine_counts_as_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = project(tmp_path / "ann", id="cat"), project(tmp_path / "bob", id="cat", steps=5)
    output = tmp_path / "out"
    settings = RunSettings(output=str(output))
    ran(output, ann)
    # Bob has the same pictures.
    again = bob.with_name("again.csv")
    again.write_bytes(ann.read_bytes())
    without_folder(ann.parent, monkeypatch)
    with pytest.raises(ManifestError, match=f"by which row 1 of {ann} has another picture"):
        without_taken_ids(read_manifest(str(bob), settings), settings)
    rows = read_manifest(str(again), settings)
    assert without_taken_ids(rows, settings) == rows
    finish(output, str(again), rows.jobs)
    assert told(output) == [(str(ann), 1, "cat"), (str(again), 1, "cat")]


def test_a_folder_of_manifests_in_folders_called_by_their_column_is_there(tmp_path: Path) -> None:
    manifest, file = f"{tmp_path}/rows/", tmp_path / "rows/backbone=vgg19/1.csv"
    storage.write_bytes(str(file), b"x")
    assert not others.is_gone(manifest, str(tmp_path / "out"))
    file.unlink()
    assert others.is_gone(manifest, str(tmp_path / "out"))


@pytest.mark.parametrize("store", ["disk", "bucket"])
def test_a_manifest_that_may_not_be_looked_at_counts_as_there_and_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str
) -> None:
    """It is in the home of another user, or in the bucket of another account."""
    _, b = paths(tmp_path)
    hers = str(tmp_path / "hers/a.csv") if store == "disk" else "s3://hers/a.csv"
    output = tmp_path / "out"
    made(output, "one", "two", "three")
    finish(output, hers, A)
    (tmp_path / "hers").mkdir()
    refuse_looks(monkeypatch, tmp_path / "hers")
    if store == "bucket":

        def refused(uri: str) -> bool:
            raise s3_faults.storage_error("look at", uri, s3_faults.Fault("forbidden", "403"), 1)

        monkeypatch.setattr(s3, "object_exists", refused)
    finish(output, b, B)
    assert told(output) == [(hers, 1, "one"), (hers, 2, "two"), (b, 1, "two"), (b, 2, "three")]


@pytest.mark.parametrize("name", ["rows.csv", "rows/"])
def test_a_manifest_is_gone_where_its_folder_is_there_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    manifest, output = f"{tmp_path}/ann/{name}", str(tmp_path / "out")
    (tmp_path / "ann").mkdir()
    assert others.is_gone(manifest, output)
    without_folder(tmp_path / "ann", monkeypatch)
    assert not others.is_gone(manifest, output)
    # All who work on an output have what is in it.
    assert others.is_gone(f"lists/{name}", output)
    # A folder for temporary files goes with its manifest.
    assert others.is_gone(f"{tmp_path}/temporary/x1/{name}", output)


@pytest.mark.parametrize("why", ["failed", "gone"])
def test_an_id_is_taken_by_any_of_the_rows_that_have_it(tmp_path: Path, why: str) -> None:
    """The first of them has lost its input, or its manifest."""
    # Names of one length give the same pictures.
    first, again, other = (
        project(tmp_path / name, id="1", steps=steps)
        for name, steps in (("first", 1), ("again", 1), ("other", 2))
    )
    output = tmp_path / "out"
    settings = RunSettings(output=str(output))
    ran(output, first)
    ran(output, again)
    if why == "failed":
        finish(output, str(first), read_manifest(str(first), settings).jobs, lost=["1"])
        told_of_it = [each.outcome.status for each in read_metadata(str(output))]
        assert told_of_it == ["failed", "ok"]
    else:
        first.unlink()
        assert [name for name, *_ in told(output)] == [str(first), str(again)]
    rows = read_manifest(str(other), settings)
    with pytest.raises(ManifestError, match=f"by which row 1 of {again} has another picture"):
        without_taken_ids(rows, settings)
    going_on = without_taken_ids(rows, replace(settings, keep_going=True))
    assert len(going_on.refused) == 1


def test_rows_of_the_same_files_share_a_picture_wherever_these_lie(tmp_path: Path) -> None:
    one = project(tmp_path / "one")
    output = tmp_path / "out"
    ran(output, one)
    copied = tmp_path / "two"
    copied.mkdir()
    for name in ("a.png", "s.png", "rows.csv"):
        (copied / name).write_bytes((one.parent / name).read_bytes())
    (one.parent / "again.csv").write_bytes(one.read_bytes())
    settings = RunSettings(output=str(output))
    for manifest in (one.parent / "again.csv", copied / "rows.csv"):
        rows = read_manifest(str(manifest), settings)
        assert without_taken_ids(rows, settings) == rows


def test_a_mask_of_another_of_the_styles_asks_for_another_picture(tmp_path: Path) -> None:
    cells = {"id": "cat", "style": "s.png | a.png"}
    one, output = project(tmp_path / "one", style_mask="s.png | ", **cells), tmp_path / "out"
    ran(output, one)
    settings = RunSettings(output=str(output))
    again = one.with_name("again.csv")
    again.write_bytes(one.read_bytes())
    rows = read_manifest(str(again), settings)
    assert without_taken_ids(rows, settings) == rows
    again.write_bytes(csv_bytes([row(style_mask=" | s.png", **cells)]))
    with pytest.raises(ManifestError, match="expected one that no row of another manifest"):
        without_taken_ids(read_manifest(str(again), settings), settings)


@pytest.mark.parametrize("own", [{"id": "hero"}, {}])
@pytest.mark.parametrize("column", ["mask", "style_mask", "init"])
def test_another_mask_or_start_of_the_same_name_asks_for_another_picture(
    tmp_path: Path, column: str, own: Mapping[str, str]
) -> None:
    # Names of one length give the same pictures.
    one, other = (project(tmp_path / name, **own, **{column: "m.png"}) for name in ("one", "two"))
    for seed, manifest in enumerate((one, other)):
        manifest.with_name("m.png").write_bytes(picture_bytes(48, 64, seed=seed))
    settings = RunSettings(output=str(tmp_path / "out"))
    ran(tmp_path / "out", one)
    rows = read_manifest(str(other), settings)
    with pytest.raises(ManifestError, match=f"by which row 1 of {one} has another picture"):
        without_taken_ids(rows, settings)
    # Nor is it known to be the same where it cannot be read.
    before = one.with_name("m.png").rename(one.with_name("n.png"))
    with pytest.raises(ManifestError, match=f"by which row 1 of {one} has another picture"):
        without_taken_ids(rows, settings)
    shutil.copy(before, other.with_name("m.png"))
    assert without_taken_ids(rows, settings) == rows


@pytest.mark.parametrize("column", ["mask", "style_mask", "init"])
def test_a_copy_of_a_mask_or_start_asks_for_the_same_picture_whatever_else_has_changed(
    tmp_path: Path, column: str
) -> None:
    """With `--replace` rows may have other parameters, and so other keys."""
    one, other = (
        project(tmp_path / name, id="hero", steps=steps, **{column: "m.png"})
        for name, steps in (("one", 1), ("two", 2))
    )
    for manifest in (one, other):
        manifest.with_name("m.png").write_bytes(picture_bytes(48, 64))
    settings = RunSettings(output=str(tmp_path / "out"), replace=True)
    ran(tmp_path / "out", one)
    rows = read_manifest(str(other), settings)
    assert without_taken_ids(rows, settings) == rows
    one.with_name("m.png").write_bytes(picture_bytes(48, 64, seed=1))
    with pytest.raises(ManifestError, match=f"by which row 1 of {one} has another picture"):
        without_taken_ids(rows, settings)


def test_a_renamed_folder_has_the_same_masks_though_the_old_one_may_be_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = project(tmp_path / "one", id="hero", mask="m.png")
    one.with_name("m.png").write_bytes(picture_bytes(48, 64))
    settings = RunSettings(output=str(tmp_path / "out"))
    ran(tmp_path / "out", one)
    shutil.copytree(one.parent, tmp_path / "moved")
    without_folder(one.parent, monkeypatch)
    rows = read_manifest(str(tmp_path / "moved/rows.csv"), settings)
    assert not others.is_gone(str(one), settings.output)
    assert without_taken_ids(rows, settings) == rows


WITH_MASK: Mapping[str, Any] = {"mask": "a.png"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (WITH_MASK, {}),
        ({}, WITH_MASK),
        ({"style": "s.png | s.png"}, {}),
        ({}, {"style": "s.png | s.png"}),
    ],
)
def test_a_row_of_other_inputs_than_another_manifests_asks_for_another_picture(
    tmp_path: Path, first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    one = project(tmp_path / "one", id="hero", **first)
    other = one.with_name("other.csv")
    other.write_bytes(csv_bytes([row(id="hero", **second)]))
    settings = RunSettings(output=str(tmp_path / "out"))
    ran(tmp_path / "out", one)
    with pytest.raises(ManifestError, match=f"by which row 1 of {one} has another picture"):
        without_taken_ids(read_manifest(str(other), settings), settings)


def test_a_row_of_one_of_several_folders_is_not_taken_for_one_of_the_next(tmp_path: Path) -> None:
    project(tmp_path / "in/x", id="hero")
    last = project(tmp_path / "in/yy", id="other")
    settings = RunSettings(output=str(tmp_path / "out"))
    ran(tmp_path / "out", tmp_path / "in/*/rows.csv")
    other = last.with_name("other.csv")
    other.write_bytes(csv_bytes([row(id="hero")]))
    with pytest.raises(ManifestError, match=r"by which row 1 of .* has another picture"):
        without_taken_ids(read_manifest(str(other), settings), settings)


@pytest.mark.parametrize("name", ["in [2024]/rows.csv", "in?/rows [1].csv", "in*/rows.csv"])
@pytest.mark.parametrize("store", ["disk", "bucket"])
def test_a_manifest_with_wildcards_in_its_name_is_there_until_it_is_gone(
    tmp_path: Path, bucket: str, store: str, name: str
) -> None:
    start = str(tmp_path) if store == "disk" else bucket
    manifest, output = f"{start}/{name}", str(tmp_path / "out")
    for each in (manifest, f"{manifest.rpartition('/')[0]}/else.txt"):
        storage.write_bytes(each, b"x")
    assert not others.is_gone(manifest, output)
    storage.delete(manifest)
    assert others.is_gone(manifest, output)


@pytest.mark.parametrize("pattern", ["in/*.csv", "in*/*.csv"])
def test_a_pattern_is_there_while_a_file_matches_it(tmp_path: Path, pattern: str) -> None:
    manifest, output = f"{tmp_path}/{pattern}", str(tmp_path / "out")
    file = tmp_path / "in/rows.csv"
    storage.write_bytes(str(file), b"x")
    assert not others.is_gone(manifest, output)
    file.unlink()
    assert others.is_gone(manifest, output)


def test_a_manifest_in_a_folder_with_brackets_frees_its_ids_when_it_is_moved(
    tmp_path: Path,
) -> None:
    one, other = project(tmp_path / "in [1]", id="cat"), project(tmp_path / "other", id="cat")
    settings = RunSettings(output=str(tmp_path / "out"))
    ran(tmp_path / "out", one)
    rows = read_manifest(str(other), settings)
    with pytest.raises(ManifestError, match="has another picture"):
        without_taken_ids(rows, settings)
    # Written over in its place, it is still the same file.
    again = one.with_name("again.csv")
    again.write_bytes(one.read_bytes())
    one.with_name("a.png").write_bytes(picture_bytes(48, 64, seed=99))
    same = read_manifest(str(again), settings)
    assert without_taken_ids(same, settings) == same
    one.unlink()
    assert without_taken_ids(rows, settings) == rows
