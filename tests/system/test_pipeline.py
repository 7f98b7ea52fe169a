"""The three steps together, on real pictures and the embedded weights, without Prefect."""

import hashlib
import io
import json
import shutil
import threading
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from nst import pipeline, storage
from nst.errors import ConfigError, ManifestError, StorageError
from nst.job import PARAM_FIELDS
from nst.output import metadata
from nst.output.metadata import Record
from nst.output.reading import read_metadata
from nst.painting import graphs, memory, metrics
from nst.painting.engine import stylize
from nst.painting.rulers import Rulers
from nst.planning.plan import Group, Plan
from nst.running import batch
from nst.running.reports import NoListener, RunReport
from nst.settings import RunSettings
from nst.storage import files, stores
from nst.storage.files import Found
from tests.helpers import (
    ROOT,
    Page,
    encoded,
    picture,
    picture_bytes,
    random_state,
    row,
    with_threads,
    write_project,
)
from tests.painters import PaintsBy

# Layers at the front of the network, for tests that need many steps of any picture.
SHALLOW = {"content_layers": "relu1_2", "style_layers": "relu1_1"}


def settings(output: Path | str, **values: object) -> RunSettings:
    return RunSettings(output=str(output), **values)  # type: ignore[arg-type]


def run(manifest: Path | str, output: Path | str, **values: object) -> RunReport:
    chosen = settings(output, **values)
    return pipeline.run(pipeline.make_plan(str(manifest), chosen), chosen)


def records(output: Path | str) -> list[Record]:
    return metadata.metadata_from_parquet(storage.read_bytes(f"{output}/metadata.parquet"))


def pixels(output: Path | str, job_id: str) -> NDArray[np.int16]:
    data = storage.read_bytes(f"{output}/images/{job_id}.png")
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.int16)


def test_a_run_leaves_pictures_metadata_and_gallery(tmp_path: Path) -> None:
    manifest = write_project(
        tmp_path / "in",
        [row(id="one", label_series="x"), row("b.png", "t.png", id="two", label_series="y")],
    )
    report = run(manifest, tmp_path / "out")
    assert (report.num_rows, report.num_ok, report.failed) == (2, 2, ())
    assert report.gallery_url == (tmp_path / "out/index.html").as_uri()
    one, two = records(tmp_path / "out")
    assert (one.row, one.content, one.style, one.backbone) == (1, "a.png", "s.png", "vgg16")
    assert [r.labels for r in (one, two)] == [{"series": "x"}, {"series": "y"}]
    outcome = one.outcome
    assert (outcome.status, outcome.picture) == ("ok", "images/one.png")
    assert (outcome.height, outcome.width, outcome.evaluations) == (48, 64, 3)
    assert outcome.weights_origin == "embedded"
    assert outcome.device == "cpu"
    data = (tmp_path / "out/images/one.png").read_bytes()
    assert outcome.picture_bytes == len(data)
    assert outcome.picture_digest == hashlib.sha256(data).hexdigest()
    assert outcome.seconds is not None
    assert outcome.seconds > 0
    assert [p.evaluation for p in outcome.loss_curve] == [1, 2, 3]
    assert outcome.total_loss == min(p.total for p in outcome.loss_curve)
    with Image.open(tmp_path / "out/images/one.png") as image:
        assert image.size == (64, 48)
    page = Page((tmp_path / "out/index.html").read_text())
    links = [link.get("href") for link in page.all("a") if link.get("class") == "open"]
    assert links == ["images/one.png", "images/two.png"]
    sources = [str(image["src"]) for image in page.all("img")]
    assert [source.split("/")[0] for source in sources] == [
        *("inputs", "inputs"),
        *("inputs", "thumbs", "inputs", "thumbs"),
    ]
    assert all((tmp_path / "out" / source).exists() for source in sources)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "index.html", "metadata.parquet", "images", "inputs", "records", "assets", "thumbs",
        "data", "pages",
    }  # fmt: skip


def test_pictures_carry_what_made_them_and_no_folder(tmp_path: Path) -> None:
    run(write_project(tmp_path / "in", [row(id="one", seed=7)]), tmp_path / "out")
    with Image.open(tmp_path / "out/images/one.png") as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        text = image.text["parameters"]
    made = json.loads(text)
    assert (made["content"], made["backbone"], made["steps"], made["seed"]) == (
        "a.png",
        "vgg16",
        3,
        7,
    )
    assert made["key"] == records(tmp_path / "out")[0].outcome.key
    assert str(tmp_path) not in text


@pytest.mark.parametrize(
    ("size", "sizes"), [(64, {"256": (64, 48)}), (260, {"256": (256, 192), "512": (260, 195)})]
)
def test_a_picture_is_written_with_its_thumbnails(
    tmp_path: Path, size: int, sizes: dict[str, tuple[int, int]]
) -> None:
    run(write_project(tmp_path / "in", [row(id="one", size=size, steps=1)]), tmp_path / "out")
    (record,) = records(tmp_path / "out")
    digest = record.outcome.picture_digest
    assert digest is not None
    assert record.outcome.thumbnail == f"thumbs/{digest[:2]}/{digest[:16]}"
    found = {}
    for path in (tmp_path / "out/thumbs").glob("*/*"):
        with Image.open(path) as image:
            assert image.format == "WEBP"
            found[path.relative_to(tmp_path / "out").as_posix()] = image.size
    assert found == {f"{record.outcome.thumbnail}-{n}.webp": s for n, s in sizes.items()}
    mean = pixels(tmp_path / "out", "one").mean(axis=(0, 1))
    assert record.outcome.color == "#" + "".join(f"{round(channel):02x}" for channel in mean)


def test_thumbnails_are_written_between_the_picture_and_its_record_while_others_are_painted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record proves what went before it; the thread that paints waits for none of it."""
    write, written = storage.write_bytes, []

    def noted(uri: str, data: bytes) -> str:
        path = uri.removeprefix(f"{tmp_path}/out/")
        if path.startswith(("images", "thumbs", "records/new")):
            written.append((path.partition("/")[0], threading.current_thread().name))
        return write(uri, data)

    monkeypatch.setattr(storage, "write_bytes", noted)
    run(write_project(tmp_path / "in", [row(id="one", size=260, steps=1)]), tmp_path / "out")
    folders = ["images", "thumbs", "thumbs", "records"]
    assert written == [(folder, "write_0") for folder in folders]


def test_thumbnails_prove_nothing(tmp_path: Path) -> None:
    """Without them a picture is as done as before."""
    manifest = write_project(tmp_path / "in", [row(id="one")])
    run(manifest, tmp_path / "out")
    shutil.rmtree(tmp_path / "out/thumbs")
    report = run(manifest, tmp_path / "out")
    assert (report.num_ok, report.num_done_before) == (1, 1)
    assert not (tmp_path / "out/thumbs").exists()


def test_inputs_have_two_previews_and_each_is_written_where_it_is_missing(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row("large.png", id="one", size=64, steps=1)])
    data = encoded(Image.fromarray(picture(300, 400)))
    (tmp_path / "in/large.png").write_bytes(data)
    name = hashlib.sha256(data).hexdigest()[:16]
    large, small = (tmp_path / f"out/inputs/{name}{end}" for end in (".jpg", "-256.webp"))
    run(manifest, tmp_path / "out")
    whole = large.read_bytes(), small.read_bytes()
    for path, expected in ((large, ("JPEG", (400, 300))), (small, ("WEBP", (256, 192)))):
        with Image.open(path) as image:
            assert (image.format, image.size) == expected
    assert len(list((tmp_path / "out/inputs").iterdir())) == 4
    for missing in (large, small):
        missing.unlink()
        (tmp_path / "out/images/one.png").unlink()
        run(manifest, tmp_path / "out")
        assert (large.read_bytes(), small.read_bytes()) == whole
    before = [path.stat().st_mtime_ns for path in (large, small)]
    (tmp_path / "out/images/one.png").unlink()
    run(manifest, tmp_path / "out")
    assert [path.stat().st_mtime_ns for path in (large, small)] == before


@pytest.mark.usefixtures("two_threads")
def test_alone_and_in_a_batch_the_pictures_are_the_same(tmp_path: Path) -> None:
    rows = [
        row(id="one", steps=6),
        row("b.png", "t.png", id="two", steps=6),
        row("b.png", "s.png", id="three", steps=6, content_weight=0.5),
    ]
    manifest = write_project(tmp_path / "in", rows)
    plan = pipeline.make_plan(str(manifest), settings(tmp_path / "batch"))
    assert [len(group.jobs) for group in plan.groups] == [3]
    run(manifest, tmp_path / "batch")
    run(manifest, tmp_path / "alone", max_batch_pixels=1)
    for name in ("one", "two", "three"):
        batch, alone = (tmp_path / f"{folder}/images/{name}.png" for folder in ("batch", "alone"))
        assert batch.read_bytes() == alone.read_bytes()


def test_s3_gives_the_same_pictures_as_a_local_disk_bit_for_bit(
    tmp_path: Path, bucket: str
) -> None:
    local = tmp_path / "in"
    rows = [row(), row("b.png", "t.png", label_series="x y")]
    manifest = write_project(local, rows)
    for path in local.iterdir():
        storage.write_bytes(f"{bucket}/in/{path.name}", path.read_bytes())
    run(manifest, tmp_path / "out")
    report = run(f"{bucket}/in/manifest.csv", f"{bucket}/out")
    assert report.num_ok == 2
    assert report.gallery_url == f"{bucket}/out/index.html"
    assert storage.list_sizes(f"{bucket}/out").keys() == {"index.html", "metadata.parquet"}
    for folder in ("images", "inputs", "assets", "thumbs"):
        here, there = (
            {
                name: storage.read_bytes(f"{output}/{folder}/{name}")
                for name in storage.list_tree(f"{output}/{folder}")
            }
            for output in (tmp_path / "out", f"{bucket}/out")
        )
        assert here, folder
        assert here == there, folder
    for one, other in zip(records(tmp_path / "out"), records(f"{bucket}/out"), strict=True):
        assert (one.outcome.id, one.outcome.key) == (other.outcome.id, other.outcome.key)
        assert one.outcome.loss_curve == other.outcome.loss_curve
    assert pipeline.make_plan(f"{bucket}/in/manifest.csv", settings(f"{bucket}/out")).groups == ()


def test_inputs_that_are_missing_or_broken_fail_only_their_own_rows(tmp_path: Path) -> None:
    manifest = write_project(
        tmp_path / "in",
        [
            row(id="good"),
            row("none.png", id="missing"),
            row("broken.png", id="broken"),
            row("cut.png", id="cut"),
            row("thin.png", id="thin"),
            row(style="broken.png", id="style"),
        ],
    )
    (tmp_path / "in/broken.png").write_bytes(b"<html>")
    whole = encoded(Image.fromarray(picture(48, 64)))
    (tmp_path / "in/cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/thin.png").write_bytes(encoded(Image.fromarray(picture(10, 640))))
    report = run(manifest, tmp_path / "out")
    assert (report.num_rows, report.num_ok) == (6, 1)
    found = {r.outcome.id: (r.outcome.status, r.outcome.reason) for r in records(tmp_path / "out")}
    assert found == {
        "good": ("ok", None),
        "missing": ("failed", "input_not_found"),
        "broken": ("failed", "not_an_image"),
        "cut": ("failed", "image_truncated"),
        "thin": ("failed", "image_too_small"),
        "style": ("failed", "not_an_image"),
    }
    errors = {r.outcome.id: r.outcome.error or "" for r in report.failed}
    assert f"{tmp_path}/in/none.png" in errors["missing"]
    assert f"{tmp_path}/in/cut.png" in errors["cut"]
    assert "at least 32 px" in errors["thin"]
    assert "1 x 64" in errors["thin"]
    assert [p.name for p in (tmp_path / "out/images").iterdir()] == ["good.png"]


@pytest.mark.parametrize(
    ("height", "width", "values", "advice"),
    [
        (16, 16, {}, "use a larger picture, or a picture that is less elongated"),
        (16, 640, {}, "use a larger picture, or"),
        (64, 64, {"style_scale": 0.25}, "use a larger size or style_scale, or"),
        (100, 800, {}, "use a larger size or style_scale, or"),
    ],
)
def test_a_style_that_is_too_small_is_told_what_would_help(
    tmp_path: Path, height: int, width: int, values: dict[str, object], advice: str
) -> None:
    manifest = write_project(tmp_path / "in", [{**row(id="one"), "size": 64, **values}])
    (tmp_path / "in/s.png").write_bytes(encoded(Image.fromarray(picture(height, width))))
    (failed,) = pipeline.make_plan(str(manifest), RunSettings(output=str(tmp_path / "out"))).failed
    assert failed.reason == "image_too_small"
    assert advice in str(failed.error)


def test_missing_weights_fail_their_rows_before_anything_is_optimised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    manifest = write_project(tmp_path / "in", [row(id="a"), row(id="b", backbone="resnet50")])
    plan = pipeline.make_plan(str(manifest), settings(tmp_path / "out"), download=False)
    assert [o.id for o in plan.failed] == ["b"]
    report = pipeline.run(plan, settings(tmp_path / "out"))
    assert [(r.outcome.id, r.outcome.reason) for r in report.failed] == [
        ("b", "weights_unavailable")
    ]
    assert report.num_ok == 1


@pytest.mark.parametrize("backbone", ["vgg16", "vgg19", "resnet50"])
def test_every_backbone_paints_with_a_weights_file(tmp_path: Path, backbone: str) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(random_state(backbone), path)
    # Random features say little of a picture beside the losses of its pixels, which have no weight here.
    plain = row(
        id="one", backbone=backbone, steps=10, noise_weight=0, contrast_floor=0, chroma_weight=0
    )
    manifest = write_project(tmp_path / "in", [plain])
    report = run(manifest, tmp_path / "out", weights={backbone: str(path)})
    assert report.failed == ()
    (record,) = records(tmp_path / "out")
    assert record.outcome.weights_origin == "file"
    assert record.outcome.style_loss is not None
    assert record.outcome.style_loss < 0.95 * record.outcome.loss_curve[0].style


@pytest.mark.parametrize("backbone", ["vgg16", "vgg19"])
def test_the_embedded_weights_are_found_where_there_is_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backbone: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    manifest = write_project(tmp_path / "in", [row(id="one", backbone=backbone, steps=10)])
    assert run(manifest, tmp_path / "out").failed == ()
    (record,) = records(tmp_path / "out")
    assert record.outcome.weights_origin == "embedded"
    assert record.outcome.style_loss is not None
    assert record.outcome.style_loss < record.outcome.loss_curve[0].style
    assert not (tmp_path / "torch").exists()


def test_a_file_of_another_topology_paints_other_pictures_and_the_metadata_say_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(random_state("resnet50"), path)
    manifest = write_project(tmp_path / "in", [row(id="one", backbone="resnet50"), row(id="two")])
    output = tmp_path / "out"

    def to_make(choice: str) -> list[str]:
        chosen = settings(output, weights={"resnet50": choice})
        groups = pipeline.make_plan(str(manifest), chosen).groups
        return [planned.job.id for group in groups for planned in group.jobs]

    run(manifest, output, weights={"resnet50": str(path)})
    assert [r.outcome.weights_topology for r in records(output)] == ["torchvision", None]
    before = pixels(output, "one")
    assert to_make(f"{path}#topology=torchvision") == []
    assert to_make(f"{path}#topology=caffe") == ["one"]
    run(manifest, output, weights={"resnet50": f"{path}#topology=caffe"})
    assert [r.outcome.weights_topology for r in records(output)] == ["caffe", None]
    assert (pixels(output, "one") != before).any()
    assert to_make(f"{path}#topology=caffe") == []
    assert to_make(str(path)) == ["one"]


def test_a_weights_file_may_end_after_the_deepest_layer_of_any_row(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = random_state("resnet50")
    cut = {key: value for key, value in state.items() if not key.startswith("layer4")}
    safetensors.torch.save_file(cut, path)
    chosen = {"resnet50": str(path)}
    cells = row(id="one", backbone="resnet50")
    assert run(write_project(tmp_path / "a", [cells]), tmp_path / "out", weights=chosen).num_ok == 1
    deeper = row(id="two", backbone="resnet50", style_layers="layer4.1")
    manifest = write_project(tmp_path / "b", [cells, deeper])
    with pytest.raises(ConfigError, match=r"--weights: .*'layer4\.0\..*down to layer4\.1"):
        run(manifest, tmp_path / "out-b", weights=chosen)


@pytest.mark.parametrize("backbone", ["vgg19", "resnet50"])
def test_a_bad_weights_file_of_ones_own_is_refused_before_any_work(
    tmp_path: Path, backbone: str
) -> None:
    """It was asked for by name: rows without their pictures are not what was meant."""
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(random_state("vgg16"), path)
    manifest = write_project(tmp_path / "in", [row(id="a", backbone=backbone), row(id="b")])
    with pytest.raises(ConfigError, match=f"--weights: weights of {backbone}: expected"):
        run(manifest, tmp_path / "out", weights={backbone: str(path)})
    assert not (tmp_path / "out").exists()


def test_what_is_done_is_not_made_again_and_what_changed_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Files that were just written: else their records would learn something by the next run.
    monkeypatch.setattr(files, "TICK_NS", 0)
    manifest = write_project(tmp_path / "in", [row(id="one"), row(style="t.png", id="two")])
    output = tmp_path / "out"

    def to_make(**values: object) -> list[str]:
        plan = pipeline.make_plan(str(manifest), settings(output, **values))
        return [planned.job.id for group in plan.groups for planned in group.jobs]

    assert to_make() == ["one", "two"]
    run(manifest, output)
    assert to_make() == []
    first = records(output)
    report = run(manifest, output)
    assert (report.num_ok, report.num_done_before) == (2, 2)
    assert records(output) == first
    # It is encoded of what is there.
    assert to_make(image_format="webp") == []
    (output / "images/two.png").unlink()
    assert to_make() == ["two"]
    run(manifest, output)
    (tmp_path / "in/s.png").write_bytes((tmp_path / "in/t.png").read_bytes())
    assert to_make() == ["one"]


def test_a_picture_written_over_by_a_run_with_other_parameters_is_made_again(
    tmp_path: Path,
) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    chosen = settings(tmp_path / "out")
    made = []
    for steps in (1, 4, 1):
        plan = pipeline.make_plan(str(manifest), chosen, {"steps": steps, "init": "noise"})
        assert plan.num_pictures_to_make == 1
        pipeline.run(plan, chosen)
        made.append((tmp_path / "out/images/one.png").read_bytes())
    assert made[0] == made[2] != made[1]


def test_an_earlier_record_does_not_stand_for_a_picture_that_could_not_be_made_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    run(manifest, tmp_path / "out")
    (tmp_path / "out/images/one.png").unlink()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the device fell off")

    monkeypatch.setattr("nst.running.batch.stylize", broken)
    (failed,) = run(manifest, tmp_path / "out").failed
    assert failed.outcome.reason == "group_failed"
    assert "the device fell off" in str(failed.outcome.error)
    assert (tmp_path / "out/index.html").exists()


def test_a_file_among_the_records_that_is_none_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    run(manifest, tmp_path / "out")
    (tmp_path / "out/records/part-000009.parquet").write_bytes(b"junk")
    assert run(manifest, tmp_path / "out").num_done_before == 1
    assert "part-000009.parquet: expected records" in caplog.text


def test_a_store_that_does_not_answer_ends_the_plan_and_fails_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = storage.read_input

    def busy(uri: str, *, max_bytes: int) -> Found:
        if uri.endswith("a.png"):
            raise StorageError("busy")
        return read(uri, max_bytes=max_bytes)

    monkeypatch.setattr(storage, "read_input", busy)
    manifest = write_project(tmp_path / "in", [row(id="one"), row("b.png", id="two")])
    with pytest.raises(StorageError, match="busy"):
        run(manifest, tmp_path / "out")


def test_a_picture_whose_header_lies_about_its_size_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nst.pictures import images

    read = images.read_header

    def lied_to(data: bytes, *, name: str) -> images.Header:
        header = read(data, name=name)
        return replace(header, height=64, width=48) if name.endswith("a.png") else header

    monkeypatch.setattr(images, "read_header", lied_to)
    manifest = write_project(tmp_path / "in", [row(id="one"), row("b.png", id="two")])
    (failed,) = run(manifest, tmp_path / "out").failed
    assert (failed.outcome.id, failed.outcome.reason) == ("one", "image_unreadable")


def test_failed_rows_are_tried_again(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one"), row("late.png", id="two")])
    assert run(manifest, tmp_path / "out").num_ok == 1
    (tmp_path / "in/late.png").write_bytes((tmp_path / "in/a.png").read_bytes())
    report = run(manifest, tmp_path / "out")
    assert (report.num_ok, report.num_done_before) == (2, 1)


def test_rows_that_say_the_same_are_made_once_and_each_accounted_for(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(), row(), row("b.png")])
    plan = pipeline.make_plan(str(manifest), settings(tmp_path / "out"))
    assert plan.num_pictures_to_make == 2
    report = run(manifest, tmp_path / "out")
    assert (report.num_rows, report.num_ok) == (3, 3)
    first, second, _ = records(tmp_path / "out")
    assert (first.row, second.row) == (1, 2)
    assert first.outcome == second.outcome


def test_alpha_comes_back_in_the_picture(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row("clear.png", id="one")])
    image = Image.fromarray(picture(48, 64)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((64, 48)))
    image.save(tmp_path / "in/clear.png")
    run(manifest, tmp_path / "out")
    with Image.open(tmp_path / "out/images/one.png") as made:
        assert made.mode == "RGBA"
        np.testing.assert_array_equal(made.getchannel("A"), image.getchannel("A"))


def test_a_group_that_does_not_fit_the_device_is_halved_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory that holds two pictures, simulated where the engine would run out of it."""
    sizes = []

    def limited(items: list[object], *args: object, **options: object) -> object:
        sizes.append(len(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return stylize(items, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("nst.running.batch.stylize", limited)
    monkeypatch.setattr("nst.running.batch.runs_items_together", lambda *_: True)
    manifest = write_project(tmp_path / "in", [row(id=f"n{i}", seed=i) for i in range(5)])
    assert run(manifest, tmp_path / "out").num_ok == 5
    assert sizes == [5, 2, 3, 1, 2]


def test_what_ran_out_of_memory_is_let_go_before_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[weakref.ref[torch.Tensor]] = []

    def limited(items: list[object], *args: object, **options: object) -> object:
        assert not [attempt for attempt in attempts if attempt() is not None]
        held = torch.zeros(1)
        attempts.append(weakref.ref(held))
        if len(items) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return stylize(items, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("nst.running.batch.stylize", limited)
    monkeypatch.setattr("nst.running.batch.runs_items_together", lambda *_: True)
    manifest = write_project(tmp_path / "in", [row(id=f"n{i}", seed=i) for i in range(3)])
    assert run(manifest, tmp_path / "out").num_ok == 3


def test_a_picture_that_does_not_fit_alone_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("nst.running.batch.stylize", never)
    manifest = write_project(tmp_path / "in", [row(id="one")])
    (failed,) = run(manifest, tmp_path / "out").failed
    assert failed.outcome.reason == "out_of_memory"
    assert "48 x 64" in str(failed.outcome.error)


def test_what_recorded_graphs_leave_no_memory_for_is_tried_again_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To paint one picture, and to measure it; they are what the device has the least need of."""
    full = {"painting", "measuring"}
    measure_all = Rulers.measure_all

    def limited(items: list[object], *args: object, **options: object) -> object:
        if graphs._kept.works:
            raise torch.OutOfMemoryError("out of memory")
        full.remove("painting")
        return stylize(items, *args, **options)  # type: ignore[arg-type]

    def measured(*args: object, **options: object) -> object:
        if "measuring" in full:
            full.remove("measuring")
            raise torch.OutOfMemoryError("out of memory")
        return measure_all(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("nst.running.batch.stylize", limited)
    monkeypatch.setattr(Rulers, "measure_all", measured)
    monkeypatch.setattr(graphs, "forget", lambda: True)
    manifest = write_project(tmp_path / "in", [row(id="one")])
    assert run(manifest, tmp_path / "out").num_ok == 1
    assert not full
    assert graphs._kept.works


def test_a_picture_that_cannot_fit_is_refused_with_the_memory_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is tried; a smaller one of the same manifest is made."""
    found = memory.Memory(total=10_000_000, free=10_000_000)
    monkeypatch.setattr(memory, "memory_of", lambda _: found)
    manifest = write_project(tmp_path / "in", [row(id="big", size=96), row(id="small")])
    # The other precision takes less, and is what some machines choose.
    (failed,) = run(manifest, tmp_path / "out", precision="float32").failed
    assert (failed.outcome.id, failed.outcome.reason) == ("big", "out_of_memory")
    assert "72 x 96 pixels (height x width) with vgg16 need about 15.9 MB, " in str(
        failed.outcome.error
    )


def test_a_batch_is_as_large_as_the_memory_that_is_forecast_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device that runs pictures together; the pictures are those of a run one by one."""
    sizes = []

    def counted(items: list[object], *args: object, **options: object) -> object:
        sizes.append(len(items))
        return stylize(items, *args, **options)  # type: ignore[arg-type]

    three = memory.Memory(total=10**12, free=int(3.1 * 48 * 64 * (1850 + 450) / 0.85))
    monkeypatch.setattr(memory, "memory_of", lambda _: three)
    monkeypatch.setattr("nst.running.batch.runs_items_together", lambda *_: True)
    monkeypatch.setattr("nst.running.batch.stylize", counted)
    rows = [row(id=f"n{i}", seed=i, init="noise") for i in range(7)]
    manifest = write_project(tmp_path / "in", rows)
    assert run(manifest, tmp_path / "out", precision="float32").num_ok == 7
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize(
    ("threads", "roomy_for", "lanes", "expected"),
    [
        (1, 9, 0, [1] * 5),
        (2, 9, 0, [2, 2, 1]),
        (3, 9, 0, [3, 2]),
        (3, 2, 0, [2, 2, 1]),
        (3, 4, 2, [2, 2, 1]),
    ],
)
def test_so_many_are_painted_side_by_side_as_there_are_threads_and_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    roomy_for: int,
    lanes: int,
    expected: list[int],
) -> None:
    """Lanes share the memory."""
    sizes = []

    def counted(items: list[object], *args: object, **options: object) -> object:
        sizes.append(len(items))
        return stylize(items, *args, **options)  # type: ignore[arg-type]

    each = 48 * 64 * (1850 + 450) + memory.BESIDE_BYTES
    found = memory.Memory(
        total=10**12, free=int(((roomy_for + 0.1) * each - memory.BESIDE_BYTES) / 0.85)
    )
    monkeypatch.setattr(memory, "memory_of", lambda _: found)
    monkeypatch.setattr("nst.running.batch.stylize", counted)
    manifest = write_project(tmp_path / "in", [row(id=f"n{i}", seed=i) for i in range(5)])
    chosen = settings(tmp_path / "out", precision="float32", isolate=True, lanes=lanes)
    (group,) = pipeline.make_plan(str(manifest), chosen).groups
    with_threads(threads, lambda: batch.run_group(group, chosen, NoListener()))
    assert sizes == expected


def test_pictures_side_by_side_that_run_out_of_memory_are_tried_with_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes in the midst of one of them; what the others computed is let go."""
    under_way: weakref.WeakSet[torch.Tensor] = weakref.WeakSet()
    sizes = []

    def limited(items: list[object], *args: object, **options: object) -> object:
        assert not under_way
        sizes.append(len(items))

        def on_step(*_: object) -> None:
            computed = torch.zeros(1)
            under_way.add(computed)
            if len(items) > 1:
                raise torch.OutOfMemoryError("out of memory")

        return stylize(items, *args, **{**options, "on_step": on_step})  # type: ignore[arg-type]

    monkeypatch.setattr("nst.running.batch.stylize", limited)
    manifest = write_project(tmp_path / "in", [row(id=f"n{i}", seed=i) for i in range(3)])
    assert with_threads(3, lambda: run(manifest, tmp_path / "out")).num_ok == 3
    assert sizes == [3, 1, 2, 1, 1]


def test_pictures_are_written_and_recorded_while_later_ones_are_not_yet_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is finished when a group is stopped is kept, and the next run goes on from it."""
    manifest = write_project(tmp_path / "in", [row(id=f"n{i}", seed=i) for i in range(4)])
    made: list[object] = []

    def stopped(items: list[object], *args: object, **options: object) -> object:
        if len(made) == 3:
            raise KeyboardInterrupt
        made.append(items)
        return stylize(items, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr("nst.running.batch.stylize", stopped)
        with pytest.raises(KeyboardInterrupt):
            run(manifest, tmp_path / "out")
    plan = pipeline.make_plan(str(manifest), settings(tmp_path / "out"))
    assert plan.done == ("n0", "n1", "n2")
    assert run(manifest, tmp_path / "out").num_ok == 4


OPTIONS: dict[str, dict[str, object]] = {
    "two-styles": {"style": "s.png|t.png"},
    "blended": {"style": "s.png|t.png", "style_blend": "5 1"},
    "regions": {"style": "s.png|t.png", "mask": "m.png"},
    "masked": {"mask": "m.png"},
    "part-of-style": {"style_mask": "m.png", "style": "b.png"},
    "scaled-style": {"style_scale": 0.6},
    "smaller-content": {"content_size": 32},
    "luminance": {"preserve_color": "luminance"},
    "matched-colors": {"preserve_color": "match"},
    "from-content": {"init": "content"},
    "from-noise": {"init": "noise"},
    "from-picture": {"init": "./b.png"},
    "average-pooling": {"pooling": "avg"},
    "detail": {"detail_weight": 50.0},
}


def test_every_option_makes_another_picture_and_is_in_the_metadata(tmp_path: Path) -> None:
    rows = [row(id="plain", steps=12)]
    rows += [row(id=name, steps=12) | cells for name, cells in OPTIONS.items()]
    manifest = write_project(tmp_path / "in", rows)
    (tmp_path / "in/m.png").write_bytes(
        encoded(Image.fromarray(np.repeat([[0, 255]], 32, axis=1).repeat(48, axis=0).astype("u1")))
    )
    assert run(manifest, tmp_path / "out").failed == ()
    plain = pixels(tmp_path / "out", "plain")
    for record in records(tmp_path / "out")[1:]:
        name, cells = record.outcome.id, OPTIONS[record.outcome.id]
        assert abs(plain - pixels(tmp_path / "out", name)).max() > 2, name
        assert record.style == cells.get("style", "s.png")
        assert record.mask == cells.get("mask")
        assert record.style_mask == cells.get("style_mask")
        assert record.start == ("./b.png" if name == "from-picture" else None)
        for option, value in cells.items():
            if option in {*PARAM_FIELDS} - {"style_blend"} and record.start is None:
                assert getattr(record.params, option) == value


def test_a_mask_leaves_the_content_where_it_is_black(tmp_path: Path) -> None:
    manifest = write_project(
        tmp_path / "in", [row(id="one", steps=12, init="content", mask="m.png")]
    )
    half = np.repeat([[0, 255]], 32, axis=1).repeat(48, axis=0).astype("u1")
    (tmp_path / "in/m.png").write_bytes(encoded(Image.fromarray(half)))
    run(manifest, tmp_path / "out")
    content = Image.open(tmp_path / "in/a.png")
    change = abs(pixels(tmp_path / "out", "one") - np.asarray(content, dtype=np.int16))
    assert change[:, :20].mean() < 0.3 * change[:, 44:].mean()


def test_a_mask_of_a_style_keeps_what_it_leaves_out_from_the_picture(tmp_path: Path) -> None:
    """The picture is the same whatever the style has where its mask is black."""
    names = {"one": "one.png", "other": "other.png", "whole": "one.png"}
    rows = [
        row(id=job_id, style=name) | ({} if job_id == "whole" else {"style_mask": "u.png"})
        for job_id, name in names.items()
    ]
    manifest = write_project(tmp_path / "in", rows)
    used = np.repeat([[255, 0]], 32, axis=1).repeat(64, axis=0).astype("u1")
    (tmp_path / "in/u.png").write_bytes(encoded(Image.fromarray(used)))
    style = picture(64, 64, seed=5)
    for name, level in (("one.png", 0), ("other.png", 255)):
        style[:, 32:] = level
        (tmp_path / f"in/{name}").write_bytes(encoded(Image.fromarray(style)))
    assert run(manifest, tmp_path / "out").num_ok == 3
    one, other, whole = (pixels(tmp_path / "out", job_id) for job_id in names)
    assert abs(one - other).max() == 0 < abs(one - whole).max()


def test_luminance_keeps_the_hues_of_the_content(tmp_path: Path) -> None:
    manifest = write_project(
        tmp_path / "in",
        [row(id="one", steps=15, preserve_color="luminance"), row(id="two", steps=15)],
    )
    run(manifest, tmp_path / "out")

    def hues(rgb: NDArray[np.int16]) -> NDArray[np.float64]:
        chroma = rgb - (rgb @ np.array([0.299, 0.587, 0.114]))[..., None]
        hue: NDArray[np.float64] = np.arctan2(chroma[..., 0], chroma[..., 2])
        return hue

    content = np.asarray(Image.open(tmp_path / "in/a.png"), dtype=np.int16)
    saturated = np.ptp(content, axis=2) > 60
    errors = [
        np.abs(np.angle(np.exp(1j * (hues(pixels(tmp_path / "out", name)) - hues(content)))))
        for name in ("one", "two")
    ]
    assert np.median(errors[0][saturated]) < 0.1 < np.median(errors[1][saturated])


def test_a_mask_of_another_shape_than_its_content_fails_its_row(tmp_path: Path) -> None:
    rows = [
        row(id="one", mask="wide.png"),
        row(id="two", init="wide.png"),
        row(id="three", mask="high.png"),
        row(id="four"),
        row(id="five", style="t.png", style_mask="wide.png"),
    ]
    manifest = write_project(tmp_path / "in", rows)
    (tmp_path / "in/wide.png").write_bytes(picture_bytes(30, 90))
    (tmp_path / "in/high.png").write_bytes(picture_bytes(64, 48))
    failed = {each.outcome.id: each.outcome for each in run(manifest, tmp_path / "out").failed}
    assert {each.reason for each in failed.values()} == {"image_mismatched"}
    said = (
        "expected the shape of its content, 48 x 64 (height x width) or another size of it, found"
    )
    for name in ("one", "two"):
        assert f"wide.png: {said} 30 x 90; crop it, or make it anew over" in str(failed[name].error)
    assert f"high.png: {said} 64 x 48; turn it by 90 degrees" in str(failed["three"].error)
    assert "wide.png: expected the shape of its style, 40 x 80 (he" in str(failed["five"].error)
    assert len(failed) == 4


def test_a_missing_style_among_several_fails_its_row(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one", style="s.png | none.png")])
    (failed,) = run(manifest, tmp_path / "out").failed
    assert failed.outcome.reason == "input_not_found"
    assert "none.png" in str(failed.outcome.error)


def test_metrics_of_each_picture_are_in_the_metadata(tmp_path: Path) -> None:
    def fine_energy(path: Path) -> float:
        pixels = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 255
        return metrics.fine_energy(torch.from_numpy(pixels).permute(2, 0, 1)[None]).item()

    rows = [row(id="kept", style_weight=0, init="content"), row(id="painted", steps=40)]
    run(write_project(tmp_path / "in", rows), tmp_path / "out")
    kept, painted = (record.outcome for record in records(tmp_path / "out"))
    assert kept.ssim is not None
    assert painted.ssim is not None
    assert painted.lpips is not None
    assert painted.loss_ratio is not None
    assert kept.ssim == pytest.approx(1)
    assert painted.ssim < 0.97
    for name in ("lpips", "lpips_grey", "cfsd"):
        assert getattr(kept, name) == pytest.approx(0, abs=1e-6), name
        assert getattr(painted, name) > 0.05, name
    assert kept.style_distance is not None
    assert painted.style_distance is not None
    assert 0 < painted.style_distance < 0.8 * kept.style_distance
    assert kept.color_distance != painted.color_distance
    assert kept.noise is not None
    assert painted.noise is not None
    # Which of them has more depends on the precision of the device, how much each has does not.
    assert 0 < kept.noise != painted.noise > 0
    style = fine_energy(tmp_path / "in/s.png")
    assert kept.noise == pytest.approx(fine_energy(tmp_path / "in/a.png") / style, rel=1e-3)
    # Measured before its pixels were rounded to whole grey levels.
    rounded = fine_energy(tmp_path / "out/images/painted.png") - 1 / 12 / 255**2
    assert painted.noise == pytest.approx(rounded / style, rel=0.2)
    assert 0 < painted.loss_ratio < 0.7
    assert [each.layer for each in painted.style_layer_losses] == [
        f"relu{i}_1" for i in range(1, 6)
    ]
    mean = np.mean([each.loss for each in painted.style_layer_losses])
    assert painted.style_loss == pytest.approx(mean, rel=1e-4)
    assert (kept.is_flat, painted.is_flat) == (False, False)
    assert painted.precision in ("float32", "bfloat16")


def test_a_picture_stops_when_it_no_longer_moves(tmp_path: Path) -> None:
    rows = [
        row(id="stops", steps=40, tolerance=0.5, **SHALLOW),
        row(id="goes-on", steps=40, **SHALLOW),
    ]
    run(write_project(tmp_path / "in", rows), tmp_path / "out")
    stops, goes_on = (record.outcome for record in records(tmp_path / "out"))
    assert (stops.evaluations, goes_on.evaluations) == (20, 40)
    assert stops.loss_curve[-1].evaluation == 20


def test_a_store_that_does_not_answer_fails_no_row_but_the_whole_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the plan is made: for an input, and for the weights. Another try then does it."""
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(random_state("vgg16"), path)
    manifest = write_project(tmp_path / "in", [row(id="one")])
    chosen = settings(tmp_path / "out", weights={"vgg16": str(path)})
    (group,) = pipeline.make_plan(str(manifest), chosen).groups
    read = stores.read
    # The weights first: once they are loaded, the process keeps them.
    for name in ("weights.safetensors", "a.png"):

        def busy(uri: str, name: str = name, **_: object) -> Found:
            if uri.endswith(name):
                raise StorageError("busy")
            return read(uri)

        with monkeypatch.context() as patch:
            patch.setattr(storage, "read_input", busy)
            patch.setattr(stores, "read", busy)
            with pytest.raises(StorageError, match="busy"):
                batch.run_group(group, chosen, NoListener())
    assert batch.run_group(group, chosen, NoListener()).num_made == 1


def test_an_input_that_changes_after_the_plan_fails_its_row(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one"), row("b.png", id="two")])
    chosen = settings(tmp_path / "out")
    plan = pipeline.make_plan(str(manifest), chosen)
    (tmp_path / "in/a.png").write_bytes((tmp_path / "in/b.png").read_bytes())
    (failed,) = pipeline.run(plan, chosen).failed
    assert (failed.outcome.id, failed.outcome.reason) == ("one", "input_changed")
    assert "found it changed" in str(failed.outcome.error)


def test_a_picture_that_cannot_be_decoded_fails_its_row_and_not_its_batch(tmp_path: Path) -> None:
    """Its header is good, so that it is only found out once the others are loaded with it."""
    manifest = write_project(tmp_path / "in", [row("cut.jpg", id="one"), row("b.png", id="two")])
    data = encoded(Image.fromarray(picture(48, 64)), "JPEG")
    (tmp_path / "in/cut.jpg").write_bytes(data[: len(data) // 2])
    (failed,) = run(manifest, tmp_path / "out").failed
    assert (failed.outcome.id, failed.outcome.reason) == ("one", "image_truncated")
    assert [p.name for p in (tmp_path / "out/images").iterdir()] == ["two.png"]


def test_a_long_runs_curve_has_64_points_with_the_first_and_the_last(tmp_path: Path) -> None:
    run(
        write_project(tmp_path / "in", [row(id="one", size=32, steps=150, **SHALLOW)]),
        tmp_path / "out",
    )
    evaluations = [p.evaluation for p in records(tmp_path / "out")[0].outcome.loss_curve]
    assert len(evaluations) == 64
    assert (evaluations[0], evaluations[-1]) == (1, 150)
    assert evaluations == sorted(set(evaluations))


def test_a_picture_that_diverges_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def poisoned(items: list[object], *args: object, **options: object) -> object:
        if not calls:
            items[0].content[0, 0, 0] = float("nan")  # type: ignore[attr-defined]
        calls.append(items)
        return stylize(items, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("nst.running.batch.stylize", poisoned)
    manifest = write_project(tmp_path / "in", [row(id="bad"), row("b.png", id="good")])
    (failed,) = run(manifest, tmp_path / "out").failed
    assert (failed.outcome.id, failed.outcome.reason) == ("bad", "diverged")
    assert not (tmp_path / "out/images/bad.png").exists()


def test_a_group_that_ends_early_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = batch.run_group

    def broken(group: Group, *arguments: object) -> object:
        if group.name == "1 of 2":
            raise RuntimeError("the device fell off")
        return make(group, *arguments)  # type: ignore[arg-type]

    manifest = write_project(tmp_path / "in", [row(id="one"), row(id="two", steps=2)])
    chosen = settings(tmp_path / "out")
    plan = pipeline.make_plan(str(manifest), chosen)
    report = pipeline.run(plan, chosen, painter=PaintsBy(broken))  # type: ignore[arg-type]
    assert report.num_ok == 1
    assert [(r.outcome.id, r.outcome.reason) for r in report.failed] == [("one", "group_failed")]
    assert "RuntimeError: the device fell off" in str(report.failed[0].outcome.error)


def test_a_store_that_takes_no_pictures_stops_the_run_and_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_project(
        tmp_path / "in", [row(id="one"), row(id="two", steps=2), row(id="three", steps=1)]
    )
    write = storage.write_bytes

    def full(uri: str, data: bytes) -> None:
        if uri.endswith("two.png"):
            raise StorageError(f"cannot write {uri}: no space left")
        write(uri, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", full)
        with pytest.raises(StorageError, match=r"no space left\nWhat is finished is kept"):
            run(manifest, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out/images").iterdir()] == ["one.png"]
    report = run(manifest, tmp_path / "out")
    assert (report.num_ok, report.num_done_before) == (3, 1)


def test_progress_is_reported_from_the_plan_to_the_last_evaluation(tmp_path: Path) -> None:
    class Seen(NoListener):
        def __init__(self) -> None:
            self.events: list[object] = []

        def planned(self, plan: Plan) -> None:
            self.events.append(plan.num_pictures_to_make)

        def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
            self.events.append((group.name, evaluations, pictures))

    manifest = write_project(tmp_path / "in", [row(id="one", steps=2), row(id="two", steps=1)])
    chosen, seen = settings(tmp_path / "out"), Seen()
    pipeline.run(pipeline.make_plan(str(manifest), chosen), chosen, seen)
    assert seen.events == [
        2,
        ("1 of 2", 1, 0),
        ("1 of 2", 2, 0),
        ("1 of 2", 2, 1),
        ("2 of 2", 1, 0),
        ("2 of 2", 1, 1),
    ]


def test_the_gallery_is_rebuilt_from_the_metadata_alone(tmp_path: Path) -> None:
    run(write_project(tmp_path / "in", [row(id="one")]), tmp_path / "out")
    page = tmp_path / "out/index.html"
    before = page.read_bytes()
    page.unlink()
    assert pipeline.rebuild_gallery([str(tmp_path / "out")]) == page.as_uri()
    assert page.read_bytes() == before


def test_tables_too_large_for_memory_come_out_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one"), row("no.png", id="two")])
    found = []
    for max_bytes in (8 << 20, 1):
        monkeypatch.setattr(files, "MAX_SCRATCH_BYTES", max_bytes)
        settings = RunSettings(output=str(tmp_path / f"out{max_bytes}"), isolate=False)
        for _ in range(2):
            report = pipeline.run_manifest(str(manifest), settings)
        assert (report.num_ok, report.num_done_before, report.num_failed) == (1, 1, 1)
        found.append([each.outcome.status for each in read_metadata(settings.output)])
        assert (tmp_path / f"out{max_bytes}/index.html").exists()
    assert found == [["ok", "failed"]] * 2


@pytest.mark.parametrize(
    ("name", "num_rows", "num_failed"), [("demo.csv", 6, 0), ("study.yaml", 60, 20)]
)
def test_the_manifests_that_come_along_are_good(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    num_rows: int,
    num_failed: int,
) -> None:
    """Where there are no weights but the embedded ones."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    plan = pipeline.make_plan(
        str(ROOT / "manifests" / name), settings(tmp_path / "out"), download=False
    )
    assert len(plan.jobs) == num_rows
    assert len({job.id for job in plan.jobs}) == num_rows
    assert {outcome.reason for outcome in plan.failed} <= {"weights_unavailable"}
    assert (len(plan.failed), plan.num_pictures_to_make) == (num_failed, num_rows - num_failed)


def test_a_manifest_without_rows_gives_an_empty_gallery(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("content,style,backbone\n")
    report = run(tmp_path / "m.csv", tmp_path / "out")
    assert (report.num_rows, report.failed) == (0, ())
    assert records(tmp_path / "out") == []
    assert (tmp_path / "out/index.html").exists()


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.csv: there is no such file"):
        run(tmp_path / "none.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()
