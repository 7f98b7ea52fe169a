"""Another format of pictures that the output has without loss: they are encoded, not painted."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from nst import audit, pipeline
from nst.output import records
from nst.output.reading import read_metadata
from nst.pictures import images
from nst.running import batch
from nst.settings import ImageFormat, RunSettings
from tests.helpers import nst, picture, row, write_project

ROWS = [row(id="one", size=48, steps=1)]


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs and an output of PNGs that is never changed."""
    folder = tmp_path_factory.mktemp("painted")
    manifest = write_project(folder / "in", ROWS)
    settings = RunSettings(output=str(folder / "out"), isolate=False)
    pipeline.run_manifest(str(manifest), settings)
    return folder


@pytest.fixture
def output(painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that output, of which nothing may be painted."""
    shutil.copytree(painted / "out", tmp_path / "out")
    monkeypatch.setattr(batch, "stylize", lambda *_, **__: pytest.fail("it was painted"))
    return tmp_path / "out"


def settings(output: Path, image_format: ImageFormat) -> RunSettings:
    return RunSettings(output=str(output), isolate=False, replace=True, image_format=image_format)


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_the_file_is_the_one_that_painting_in_that_format_writes(image_format: ImageFormat) -> None:
    pixels = picture(48, 64).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    made = images.Picture(pixels, None)
    stored = images.encode(made, "png", {"id": "one", "steps": 3})
    again, data = images.reencoded(stored, image_format, name="one.png")
    assert data == images.encode(made, image_format, {"id": "one", "steps": 3})
    assert np.array_equal(again.pixels, pixels)


def test_alpha_stays_where_the_format_has_it() -> None:
    pixels = picture(48, 64).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    alpha = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(48, 0)
    stored = images.encode(images.Picture(pixels, alpha), "png", {})
    again, _ = images.reencoded(stored, "webp", name="one.png")
    assert again.alpha is not None
    assert np.abs(again.alpha - alpha).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_another_format_paints_nothing(
    painted: Path, output: Path, image_format: ImageFormat
) -> None:
    manifest = str(painted / "in/manifest.csv")
    before = read_metadata(str(output))[0]
    chosen = settings(output, image_format)
    plan = pipeline.make_plan(manifest, chosen)
    assert (plan.num_pictures_to_make, plan.done) == (0, ())
    assert [job.id for job in plan.to_encode] == ["one"]
    report = pipeline.run_manifest(manifest, chosen)
    assert (report.num_ok, report.num_encoded, report.num_done_before) == (1, 1, 1)
    after = read_metadata(str(output))[0]
    assert after.outcome.picture == f"images/one{images.SUFFIXES[image_format]}"
    assert (after.params, after.outcome.loss_curve, after.outcome.key) == (
        before.params,
        before.outcome.loss_curve,
        before.outcome.key,
    )
    audit.clean(str(output))
    assert [path.name for path in (output / "images").iterdir()] == [
        f"one{images.SUFFIXES[image_format]}"
    ]
    assert audit.verify(str(output)).findings == ()
    assert pipeline.make_plan(manifest, chosen).done == ("one",)


def test_what_is_stored_with_loss_is_painted(painted: Path, output: Path) -> None:
    manifest = str(painted / "in/manifest.csv")
    pipeline.run_manifest(manifest, settings(output, "jpeg"))
    plan = pipeline.make_plan(manifest, settings(output, "webp"))
    assert (plan.num_pictures_to_make, plan.to_encode) == (1, ())


def test_other_parameters_are_painted_whatever_the_format(painted: Path, output: Path) -> None:
    manifest = str(painted / "in/manifest.csv")
    plan = pipeline.make_plan(manifest, settings(output, "jpeg"), {"steps": 2})
    assert (plan.num_pictures_to_make, plan.to_encode) == (1, ())


def test_a_damaged_picture_is_not_encoded_but_painted_by_the_next_run(
    painted: Path, output: Path
) -> None:
    manifest = str(painted / "in/manifest.csv")
    path = output / "images/one.png"
    times, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    # Where its time tells that it may have changed, the plan looks.
    plan = pipeline.make_plan(manifest, settings(output, "jpeg"))
    assert (plan.num_pictures_to_make, plan.to_encode) == (1, ())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    report = pipeline.run_manifest(manifest, settings(output, "jpeg"))
    assert (report.num_ok, report.num_encoded) == (0, 0)
    assert "run it again" in str(report.failed[0].outcome.error)
    plan = pipeline.make_plan(manifest, settings(output, "jpeg"))
    assert (plan.num_pictures_to_make, plan.to_encode) == (1, ())


def test_the_plan_and_the_run_say_so(painted: Path, output: Path) -> None:
    options = ["--output", output, "--format", "webp"]
    manifest = painted / "in/manifest.csv"
    done = nst("plan", manifest, *options, "--no-estimate")
    assert "0 pictures to make, 0 already done, 1 to encode in another format" in done.stdout
    done = nst("run", manifest, *options, "--replace", "--no-isolate")
    assert "Encoded 1 picture in another format, painted none of them" in done.stdout
    assert records.read(str(output)).made["one"].picture == "images/one.webp"
