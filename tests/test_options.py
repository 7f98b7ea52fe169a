"""The settings of a run as they are typed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from nst.errors import ConfigError
from nst.options import ALL, OF_A_PLAN, pairs, taking, typed_settings
from nst.settings import SETTING_FIELDS, RunSettings, option_name


def typed(*arguments: str) -> RunSettings:
    """The settings of a command that is given these."""
    found: list[RunSettings] = []
    app = typer.Typer()

    @app.command()
    @taking(ALL)
    def command(given: Mapping[str, Any] = {}) -> None:
        found.append(typed_settings(given, "/out"))

    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return found[0]


def test_what_is_not_typed_is_as_the_settings_have_it() -> None:
    assert typed() == RunSettings(output="/out")


def test_each_option_gives_its_setting() -> None:
    assert typed(
        *("--device", "cpu", "--lanes", "1", "--precision", "bfloat16", "--format", "webp"),
        *("--max-batch-pixels", "9", "--weights", "vgg16=/w#sha256=00", "--root", "/a"),
        *("--allow-scheme", "https", "--keep-going", "--skip-failed", "--retry-quarantined"),
        *("--replace", "--timeout", "1.5", "--fail-over", "5%", "--no-isolate", "--deterministic"),
    ) == RunSettings(
        output="/out",
        device="cpu",
        lanes=1,
        precision="bfloat16",
        deterministic=True,
        image_format="webp",
        max_batch_pixels=9,
        weights={"vgg16": "/w#sha256=00"},
        roots=("/a",),
        schemes=("file", "s3", "https"),
        keep_going=True,
        skip_failed=True,
        retry_quarantined=True,
        replace=True,
        timeout_s=1.5,
        fail_over="5%",
        isolate=False,
    )


def test_paths_mean_the_same_in_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = typed(
        *("--root", "in", "--root", "s3://b/x", "--weights", "vgg16=w.pth"),
        *("--weights", "vgg19=torchvision"),
    )
    assert found.roots == (f"{tmp_path}/in", "s3://b/x")
    assert found.weights == {"vgg16": f"{tmp_path}/w.pth", "vgg19": "torchvision"}


def test_a_plan_takes_what_decides_what_it_says() -> None:
    assert set(OF_A_PLAN) == {
        "device", "precision", "max_batch_pixels", "image_format", "weights", "roots", "schemes",
        "keep_going", "ignore_unknown_columns", "only",
    }  # fmt: skip


def test_what_cannot_be_is_told_by_its_option() -> None:
    with pytest.raises(
        ConfigError, match="--format: expected 'png', 'jpeg' or 'webp'; found 'gif'"
    ):
        typed_settings({"image_format": "gif"}, "/out")
    with pytest.raises(ConfigError, match=r"--lanes: .*\n--timeout: expected greater than 0"):
        typed_settings({"lanes": -1, "timeout_s": 0}, "/out")
    assert len({option_name(name) for name in SETTING_FIELDS}) == len(SETTING_FIELDS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lanes", "x"], "--lanes: expected a valid integer, .*; found 'x'"),
        (["--timeout", "x"], "--timeout: expected a valid number, .*; found 'x'"),
        (["--root", ""], "--root: expected a path or a URL .*, found ''"),
        (["--weights", "vgg16="], "--weights: expected a path or a URL .*, found ''"),
        (["--weights", "vgg61=w"], "--weights: expected one of vgg16, .*; found vgg61"),
    ],
)
def test_what_is_typed_amiss_is_told_by_its_option_with_what_was_found(
    arguments: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{said}$"):
        typed(*arguments)


@pytest.mark.parametrize("texts", [["a"], ["=b"], ["a=1", "a=2"]])
def test_pairs_are_named_once(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="--set: expected "):
        pairs(texts, "--set", "FIELD=VALUE")
    assert pairs(["a=1=2", "b="], "--set", "FIELD=VALUE") == {"a": "1=2", "b": ""}
