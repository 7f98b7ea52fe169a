"""Intermediate pictures: of which evaluations, how large, and where they are written."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from nst import audit, pipeline
from nst.errors import StorageError
from nst.output.reading import read_metadata
from nst.painting.engine import Stylized, stylize
from nst.painting.keeping import Keeping
from nst.running import keeping
from nst.running.reports import RunReport
from nst.settings import RunSettings
from tests import helpers
from tests.helpers import csv_bytes, job, nst, row, vgg16, write_project

LAYERS: dict[str, Any] = {"content_layers": "relu3_1", "style_layers": "relu1_1 relu2_1 relu3_1"}


def test_an_item_counts_its_own_evaluations_through_all_sizes() -> None:
    told: list[tuple[int, int, tuple[int, ...]]] = []
    kept = Keeping(
        every=4, on_kept=lambda n, at, image: told.append((n, at, tuple(image.shape))), size=(6, 8)
    )
    small, large = torch.zeros(2, 3, 3, 4), torch.zeros(2, 3, 6, 8)
    for evaluation in range(1, 10):
        # The second one ends after five.
        kept.evaluated(evaluation, small, [True, evaluation <= 5])
    kept.ended([9, 5])
    for evaluation in range(1, 5):
        kept.evaluated(evaluation, large, [True, True])
    size = (3, 6, 8)
    assert told == [(0, 4, size), (1, 4, size), (0, 8, size), (0, 12, size), (1, 8, size)]


def test_a_kept_picture_stays_as_it_was_however_late_it_is_written() -> None:
    items = [helpers.item(n, steps=6, method="gatys", **LAYERS) for n in range(2)]
    then: list[Tensor] = []
    written_late: list[Tensor] = []

    def on_kept(_: int, __: int, image: Tensor) -> None:
        then.append(image.clone())
        written_late.append(image)

    stylize(items, vgg16(**LAYERS), keep_every=1, on_kept=on_kept)
    assert len(then) == 12
    for before, after in zip(then, written_late, strict=True):
        assert torch.equal(before, after)


def test_pictures_are_kept_on_the_way_and_change_nothing() -> None:
    items = [helpers.item(n, size=(144, 192), steps=6, **LAYERS) for n in range(2)]
    found: dict[tuple[int, int], Tensor] = {}

    def made(**options: Any) -> Stylized:
        return stylize(items, vgg16(**LAYERS), **options)

    kept = made(keep_every=3, on_kept=lambda n, at, image: found.setdefault((n, at), image))
    plain = made()
    assert torch.equal(kept.images, plain.images)
    # Six evaluations at the coarser size, and three at its own.
    assert plain.num_evaluations.tolist() == [9, 9]
    for n in (0, 1):
        assert [at for item, at in found if item == n] == [3, 6, 9]
    for n in (0, 1):
        assert torch.equal(found[n, 9], plain.images[n])
        assert not torch.equal(found[n, 6], found[n, 9])
    assert {each.shape for each in found.values()} == {(3, 144, 192)}


ROWS = [row(id="one", size=48, steps=5), row("b.png", id="two", size=48, steps=5)]


def run(manifest: Path, output: Path, keep_every: int) -> RunReport:
    settings = RunSettings(output=str(output), isolate=False, keep_every=keep_every)
    return pipeline.run_manifest(str(manifest), settings)


def steps_in(output: Path) -> set[str]:
    return {path.relative_to(output).as_posix() for path in output.glob("steps/*/*")}


def test_a_run_keeps_them_in_a_folder_for_each_picture_and_tells_of_them(tmp_path: Path) -> None:
    manifest, output = write_project(tmp_path / "in", ROWS), tmp_path / "out"
    assert run(manifest, output, 2).num_ok == 2
    names = {"one": ("steps/one/0002.png", "steps/one/0004.png")}
    names["two"] = ("steps/two/0002.png", "steps/two/0004.png")
    assert steps_in(output) == {path for each in names.values() for path in each}
    found = {each.outcome.id: each.outcome for each in read_metadata(str(output))}
    assert {name: outcome.kept for name, outcome in found.items()} == names
    for path in steps_in(output):
        with Image.open(output / path) as image:
            assert image.size == (48, 36)
            assert json.loads(image.info["parameters"])["evaluation"] == int(Path(path).stem)
    assert audit.verify(str(output)).findings == ()
    assert audit.clean(str(output)) == ()
    # What is there is not painted again for them.
    again = run(manifest, output, 1)
    assert (again.num_ok, again.num_done_before) == (2, 2)
    assert len(steps_in(output)) == 4
    (output / names["one"][0]).unlink()
    (output / names["one"][1]).write_bytes(b"no picture")
    said = {each.path: each.said for each in audit.verify(str(output)).findings}
    assert {path: "found none" in text for path, text in said.items()} == {
        names["one"][0]: True,
        names["one"][1]: False,
    }
    manifest.write_bytes(csv_bytes(ROWS[:1]))
    run(manifest, output, 0)
    assert {path for path in audit.clean(str(output)) if path.startswith("steps/")} == {
        *names["two"]
    }


def test_a_run_without_them_keeps_none(tmp_path: Path) -> None:
    manifest, output = write_project(tmp_path / "in", ROWS[:1]), tmp_path / "out"
    run(manifest, output, 0)
    assert steps_in(output) == set()
    assert [each.outcome.kept for each in read_metadata(str(output))] == [None]


def test_an_output_that_cannot_be_written_stops_the_painting_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(keeping, "_write", refused)
    order: Any = SimpleNamespace(settings=RunSettings(output="out", keep_every=1))
    loaded: Any = [SimpleNamespace(planned=SimpleNamespace(job=job()))]
    told: list[int] = []

    def paint() -> None:
        with keeping.keeping(loaded, order) as kept:
            assert kept.on_kept is not None
            for evaluation in range(1, 100):
                kept.on_kept(0, evaluation, torch.zeros(3, 2, 2))
                told.append(evaluation)

    with pytest.raises(StorageError, match="full"):
        paint()
    assert len(told) == 8


def test_one_picture_has_them_beside_it(tmp_path: Path) -> None:
    write_project(tmp_path, [])
    small = ["--backbone", "vgg16", "--set", "size=48", "--set", "steps=4"]
    command = ["run", "a.png", "s.png", "-o", "out.png", "--keep-every", "2", *small]
    before = {path.name for path in tmp_path.iterdir()}
    assert nst(*command, cwd=tmp_path).returncode == 0
    new = {path.name for path in tmp_path.iterdir()} - before
    assert new == {"out.png", "out-0002.png", "out-0004.png"}
    assert (tmp_path / "out-0004.png").read_bytes() != (tmp_path / "out-0002.png").read_bytes()
    (tmp_path / "out.png").unlink()
    refused = nst(*command, cwd=tmp_path)
    assert refused.returncode == 2
    assert "out-0002.png" in refused.stderr
    assert not (tmp_path / "out.png").exists()
