"""Batches of pictures on devices of little memory, in whole runs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from nst import pipeline
from nst.painting import memory
from nst.painting.backbones import Backbone
from nst.painting.weights import WeightsFile
from nst.profiles import PROFILES
from nst.running import batch
from nst.running.reports import RunReport
from nst.settings import RunSettings
from tests.helpers import picture_bytes, row, write_project

LARGE = (60, 400)


def run(folder: Path, *rows: dict[str, object], **settings: Any) -> RunReport:
    """Of rows that may have the large style `large.png`."""
    manifest = write_project(folder / "in", rows)
    (folder / "in/large.png").write_bytes(picture_bytes(*LARGE, seed=5))
    chosen = RunSettings(output=str(folder / "out"), isolate=False, precision="float32", **settings)
    return pipeline.run_manifest(str(manifest), chosen)


def with_style(**cells: object) -> dict[str, object]:
    """A row whose style is looked at as large as its file is."""
    return row(style="large.png", style_scale=6.25, **cells)


def test_a_style_too_large_for_one_pass_goes_through_the_network_in_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its picture is not, and by its own size."""
    sizes = []
    forward = Backbone.__call__

    def counted(backbone: Backbone, images: Tensor) -> dict[str, Tensor]:
        sizes.append(tuple(images.shape[2:]))
        return forward(backbone, images)

    monkeypatch.setattr(Backbone, "__call__", counted)
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
    monkeypatch.setattr(batch.weights, "load_state", lambda _: {})
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
