"""What becomes of painted pictures whose measures the device has no memory for."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nst import pipeline
from nst.output import Outcome
from nst.output.reading import read_metadata
from nst.painting.rulers import Measures, Rulers, Sources
from nst.settings import RunSettings
from tests.helpers import row, write_project

ROWS = [row(id=f"n{i}", seed=i, init="noise", size=48, steps=2) for i in range(5)]
NAMES = ("ssim", "lpips", "lpips_grey", "cfsd", "style_distance", "color_distance", "noise")


def outcomes(folder: Path) -> list[Outcome]:
    """Of the rows, which are painted together."""
    manifest = write_project(folder / "in", ROWS)
    settings = RunSettings(output=str(folder / "out"), isolate=False)
    report = pipeline.run_manifest(str(manifest), settings)
    assert report.num_ok == len(ROWS)
    assert len(list((folder / "out/images").iterdir())) == len(ROWS)
    return [each.outcome for each in read_metadata(str(folder / "out"))]


def measured(found: Sequence[Outcome]) -> list[list[float | None]]:
    return [[getattr(each, name) for name in NAMES] for each in found]


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[Callable[[int], bool]]]:
    """How many pictures were to be measured at once, and what says for how many there is room."""
    sizes: list[int] = []
    has_room: list[Callable[[int], bool]] = []
    measure_all = Rulers.measure_all

    def limited(
        rulers: Rulers, pictures: Sequence[Tensor], sources: Sequence[Sources], painter: str
    ) -> list[Measures]:
        sizes.append(len(pictures))
        if not has_room[0](len(pictures)):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return measure_all(rulers, pictures, sources, painter)

    monkeypatch.setattr(Rulers, "measure_all", limited)
    monkeypatch.setattr("nst.running.batch.runs_items_together", lambda *_: True)
    return sizes, has_room


def test_pictures_that_cannot_be_measured_together_are_measured_in_halves(
    tmp_path: Path, attempts: tuple[list[int], list[Callable[[int], bool]]]
) -> None:
    sizes, has_room = attempts
    has_room[:] = [lambda _: True]
    expected = outcomes(tmp_path / "roomy")
    assert sizes == [5]
    sizes.clear()
    has_room[:] = [lambda number: number <= 2]
    found = outcomes(tmp_path / "tight")
    assert sizes == [5, 2, 3, 1, 2]
    assert measured(found) == measured(expected)
    assert [each.picture_digest for each in found] == [each.picture_digest for each in expected]


def test_a_picture_that_cannot_be_measured_alone_is_written_without_measures(
    tmp_path: Path,
    attempts: tuple[list[int], list[Callable[[int], bool]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What makes room for it is tried first, and the others keep their measures."""
    sizes, has_room = attempts
    # The second picture alone has no room, tried twice.
    has_room[:] = [lambda number: number == 1 and sizes.count(1) not in (2, 3)]
    found = outcomes(tmp_path)
    assert [each.status for each in found] == ["ok"] * 5
    assert measured(found)[1] == [None] * len(NAMES)
    assert found[1].is_flat is None
    assert found[1].total_loss is not None
    assert all(None not in each for n, each in enumerate(measured(found)) if n != 1)
    assert "n1 is written without measures" in caplog.text


def test_an_error_other_than_memory_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Rulers, "measure_all", broken)
    manifest = write_project(tmp_path / "in", ROWS[:1])
    settings = RunSettings(output=str(tmp_path / "out"), isolate=False)
    (failed,) = pipeline.run_manifest(str(manifest), settings).failed
    assert failed.outcome.reason == "group_failed"
