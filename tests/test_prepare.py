"""What a run may open, and rows that are refused by themselves, up to the plan."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from nst.errors import ConfigError, ManifestError
from nst.prepare import make_plan, read_manifest
from nst.settings import RunSettings
from tests.helpers import row, write_project


def settings(tmp_path: Path, **values: Any) -> RunSettings:
    return RunSettings(**({"output": str(tmp_path / "out")} | values))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"manifest": "http://host.org/m.csv"}, "the manifest: expected a URL of file, s3"),
        ({"manifest": "zip://m.csv::s3://b/k"}, "the manifest: expected a URL of file, s3"),
        ({"manifest": "s3://K:cret@b/m.csv"}, "the manifest: expected a URL without credentials"),
        ({"weights": {"vgg19": "https://h/w.pt"}}, "--weights vgg19: expected a URL of file, s3"),
        ({"output": "memory://out"}, "--output: expected a URL of file, s3"),
        ({"roots": ("in",)}, "--root: expected an absolute path"),
    ],
)
def test_what_the_run_itself_names_is_held_to_the_schemes(
    tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    path = str(write_project(tmp_path / "in", [row()]))
    manifest = values.pop("manifest", path)
    with pytest.raises(ConfigError) as caught:
        make_plan(manifest, settings(tmp_path, **values))
    assert said in str(caught.value)
    assert "cret" not in str(caught.value)


def test_roots_do_not_bind_the_manifest_the_weights_or_the_output(tmp_path: Path) -> None:
    path = write_project(
        tmp_path / "in", [row(f"{tmp_path}/in/pictures/a.png", style="pictures/s.png")]
    )
    write_project(tmp_path / "in/pictures", [])
    chosen = settings(
        tmp_path, roots=(str(tmp_path / "in/pictures"),), weights={"vgg16": str(path)}
    )
    # Read, and found to be none.
    with pytest.raises(ConfigError, match="expected a safetensors file or a PyTorch state dict"):
        make_plan(str(path), chosen)


def test_a_refused_row_is_in_the_plan_and_its_inputs_are_not_looked_at(tmp_path: Path) -> None:
    rows = [row(id="one"), row("/none/a.png", id="two", backbone="vgg61"), row("", id="../x")]
    path = write_project(tmp_path / "in", rows)
    plan = make_plan(str(path), settings(tmp_path, keep_going=True))
    assert [job.id for job in plan.jobs][:2] == ["one", "two"]
    assert [(each.status, each.reason) for each in plan.failed] == [("failed", "bad_row")] * 2
    assert {each.id for each in plan.failed} == {job.id for job in plan.jobs[1:]}
    assert "column 'backbone': expected one of vgg16" in str(plan.failed[0].error)
    assert [planned.job.id for group in plan.groups for planned in group.jobs] == ["one"]
    assert plan.manifest_digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("folder", ["images", "inputs", "thumbs/ab", "records/new", "locks"])
def test_nothing_that_a_run_writes_is_an_input(tmp_path: Path, folder: str) -> None:
    manifest = write_project(tmp_path / "in", [row(f"../out/{folder}/a.png")])
    with pytest.raises(ManifestError, match="none of the pictures that this run writes"):
        read_manifest(str(manifest), settings(tmp_path))
