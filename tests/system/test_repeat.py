"""The same run again, in processes of its own and on a busy machine: the same bytes."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nst.output import records
from tests.helpers import PATIENCE_S, encoded, picture, row, started, write_project

# Of each kind of arithmetic one, and enough steps to make grey levels of a last bit.
ROWS = [
    row(id="plain", steps=12, size=96),
    row("b.png", "s.png | t.png", id="blend", steps=12, style_blend="2 1"),
    row("a.png", "s.png | t.png", id="masked", steps=12, mask="m.png"),
    row("b.png", id="colours", steps=12, preserve_color="match"),
    row("b.png", "t.png", id="form", steps=12, detail_weight=2, tv_weight=9),
    row(id="adam", steps=12, optimizer="adam", init="noise", seed=5),
    row("b.png", id="smooth", steps=12, pooling="avg", preserve_color="luminance"),
    row(id="early", steps=40, tolerance=0.05),
]
# What of an outcome tells when it was and how long it took.
_OF_THE_TIME: dict[str, Any] = {"seconds": None, "finished_at": None, "picture_version": None}

# A run among others that keep all cores busy has come to its end by then, and what keeps them busy
# ends by itself, should nobody be left to end it.
BUSY_PATIENCE_S = 6 * PATIENCE_S
_SPIN = (
    f"import time; end = time.monotonic() + {BUSY_PATIENCE_S}\nwhile time.monotonic() < end: pass"
)


@contextmanager
def busy() -> Iterator[None]:
    """All cores have something else to do meanwhile."""
    spinning = [subprocess.Popen([sys.executable, "-c", _SPIN]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
        for process in spinning:
            process.wait()


def write_rows(folder: Path, rows: Sequence[Mapping[str, object]] = ROWS) -> Path:
    manifest = write_project(folder, rows)
    (folder / "m.png").write_bytes(encoded(Image.fromarray(picture(48, 64, seed=9))))
    return manifest


def finish(running: "subprocess.Popen[str]", patience_s: float = PATIENCE_S) -> None:
    _, said = running.communicate(timeout=patience_s)
    assert running.returncode == 0, said


def files(output: Path) -> Mapping[str, str]:
    """The sha256 of each picture, thumbnail and preview."""
    return {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in ("images", "thumbs", "inputs")
        for path in sorted((output / folder).rglob("*.*"))
    }


def outcomes(output: Path) -> Mapping[str, Any]:
    """All that is recorded of each picture but the time."""
    made = records.read(str(output)).made
    return {job_id: replace(each, **_OF_THE_TIME) for job_id, each in made.items()}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_runs_make_the_same_bytes_whatever_else_the_machine_does(
    tmp_path: Path, precision: str
) -> None:
    """Both at once, so that each is in the way of the other; in one lane and in two."""
    rows = [each for each in ROWS if each["id"] in ("plain", "masked", "form")]
    manifest = write_rows(tmp_path / "in", rows)
    chosen = (manifest, "--precision", precision)
    first, second = tmp_path / "first", tmp_path / "second"
    with (
        started("run", *chosen, "--output", first) as one,
        started(
            "run", *chosen, "--output", second, "--lanes", 2, "--max-batch-pixels", 1
        ) as another,
    ):
        finish(one)
        finish(another)
    assert len(list((first / "images").iterdir())) == len(rows)
    assert files(first) == files(second)
