"""Batches of pictures on devices of little memory, in whole runs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from nst import pipeline, storage
from nst.errors import ImageError
from nst.painting import memory
from nst.painting.backbones import Backbone, Tap
from nst.painting.weights import WeightsFile
from nst.pictures import images
from nst.planning.plan import Group, PlannedJob
from nst.profiles import PROFILES
from nst.running import batch
from nst.running.loading import Inputs, Loaded
from nst.running.reports import NoListener, RunReport
from nst.settings import RunSettings
from tests.helpers import picture_bytes, row, write_project

LARGE = (60, 400)


def run(folder: Path, *rows: dict[str, object], **settings: Any) -> RunReport:
    """Of rows that may have the large style `large.png`."""
    manifest = write_project(folder / "in", rows)
    (folder / "in/large.png").write_bytes(picture_bytes(*LARGE, seed=5))
    chosen = RunSettings(output=str(folder / "out"), isolate=False, precision="float32", **settings)
    return pipeline.run_manifest(str(manifest), chosen)


def with_style(**cells: Any) -> dict[str, object]:
    """A row whose style is looked at as large as its file is."""
    return row(style="large.png", style_scale=6.25, **cells)


def test_a_style_too_large_for_one_pass_goes_through_the_network_in_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its picture is not, and by its own size."""
    sizes: list[tuple[int, ...]] = []
    through = Backbone.through

    def counted(backbone: Backbone, images: Tensor, tap: Tap) -> Tensor:
        sizes.append(tuple(images.shape[2:]))
        return through(backbone, images, tap)

    monkeypatch.setattr(Backbone, "through", counted)
    monkeypatch.setattr(memory, "TILE_PX", 112)
    found = memory.Memory(total=30_000_000, free=10**12)
    monkeypatch.setattr(memory, "memory_of", lambda _: found)
    assert run(tmp_path, with_style(id="one"), row(id="two")).num_ok == 2
    # At 256 px it is measured.
    assert max(width for _, width in sizes) < LARGE[1]
    assert (48, 64) in sizes
    assert (64, 64) in sizes


def test_a_picture_whose_style_cannot_fit_is_refused_with_the_memory_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone: others of its group are made."""
    found = memory.Memory(total=10**9, free=15_000_000)
    monkeypatch.setattr(memory, "memory_of", lambda _: found)
    (failed,) = run(tmp_path, with_style(id="one"), row(id="two")).failed
    assert (failed.outcome.id, failed.outcome.reason) == ("one", "out_of_memory")
    said = str(failed.outcome.error)
    assert "60 x 400 pixels (height x width) of a style with vgg16 need about 23.2 MB, " in said
    assert "use a smaller style_scale, or" in said


def test_groups_that_take_turns_with_all_backbones_load_each_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[str] = []

    def load(name: str, *_: object, **__: object) -> object:
        loaded.append(name)
        return SimpleNamespace()

    monkeypatch.setattr(batch, "load_backbone", load)
    monkeypatch.setattr("nst.running.batch.weights.load_state", lambda _: {})
    batch._backbone.cache_clear()
    found = [
        batch._backbone(
            WeightsFile(backbone=name, origin="file", uri=f"/{name}", digest="w"),
            PROFILES[name].layers,
            "cpu",
            "float32",
            "max",
        )
        for name in [*PROFILES] * 2
    ]
    batch._backbone.cache_clear()
    assert loaded == [*PROFILES]
    # And with it what was found of styles.
    assert [id(memo) for _, memo in found[: len(PROFILES)]] == [
        id(memo) for _, memo in found[len(PROFILES) :]
    ]


def test_an_input_is_in_memory_only_until_the_last_picture_that_needs_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is read once all the same, and has its previews; here all are of one batch."""
    before_each: list[int] = []
    used: set[Inputs] = set()
    read: list[str] = []
    load, read_input, decode = Inputs.load, storage.read_input, images.decode

    def watched(inputs: Inputs, planned: PlannedJob) -> Loaded:
        used.add(inputs)
        before_each.append(len(inputs._bytes))
        return load(inputs, planned)

    def counted(uri: str, *, max_bytes: int) -> Any:
        # The plan has read the start of each before.
        read.extend([Path(uri).name] if used else [])
        return read_input(uri, max_bytes=max_bytes)

    def decoded(data: bytes, *, name: str, **options: Any) -> images.Picture:
        # What cannot be decoded is let go too.
        if name.endswith("d.png"):
            raise ImageError(f"{name}: expected a picture")
        return decode(data, name=name, **options)

    monkeypatch.setattr(Inputs, "load", watched)
    monkeypatch.setattr(images, "decode", decoded)
    monkeypatch.setattr(storage, "read_input", counted)
    monkeypatch.setattr("nst.running.batch.runs_items_together", lambda *_: True)
    folder = tmp_path / "in"
    folder.mkdir()
    names = ("c.png", "same.png", "a.png", "d.png", "a.png", "b.png")
    for name, seed in {"c": 7, "same": 7, "d": 8}.items():
        (folder / f"{name}.png").write_bytes(picture_bytes(48, 64, seed=seed))
    rows = [row(name, id=f"n{n}", steps=1, seed=n) for n, name in enumerate(names)]
    report = run(tmp_path, *rows)
    assert (report.num_ok, [each.outcome.id for each in report.failed]) == (5, ["n3"])
    # The style, and the one content that is needed again.
    assert before_each == [0, 1, 1, 2, 2, 1]
    (inputs,) = used
    assert (inputs._bytes, inputs._pictures) == ({}, {})
    assert sorted(read) == sorted({*names, "s.png"})
    assert len(list((tmp_path / "out/inputs").iterdir())) == 2 * len({"a", "b", "c", "s"})


def test_pictures_that_fail_are_done_with_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that does not fit, and the last one, whose input goes after the plan."""
    told: list[tuple[int, int]] = []

    class Heard(NoListener):
        def advanced(self, group: Group, evaluations: int, pictures: int) -> None:
            told.append((evaluations // group.evaluations, pictures))

    manifest = write_project(
        tmp_path / "in", [with_style(id="one"), row(id="two"), row("b.png", id="three")]
    )
    (tmp_path / "in/large.png").write_bytes(picture_bytes(*LARGE, seed=5))
    chosen = RunSettings(
        output=str(tmp_path / "out"), isolate=False, precision="float32", max_batch_pixels=10**6
    )
    found = memory.Memory(total=10**9, free=15_000_000)
    monkeypatch.setattr(memory, "memory_of", lambda _: found)
    plan = pipeline.make_plan(str(manifest), chosen)
    (tmp_path / "in/b.png").unlink()
    report = pipeline.run(plan, chosen, Heard())
    assert (report.num_ok, report.num_failed) == (1, 2)
    assert told[-1] == (3, 3)
