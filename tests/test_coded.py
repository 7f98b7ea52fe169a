"""The codes of the embedded VGG-16, and the maker of its file."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from bench import coded
from nst.painting import weights
from nst.painting.backbones import load_backbone
from nst.profiles import PROFILES
from tests.helpers import random_state


def values(num: int) -> coded.Values:
    """As a layer has them: most near 0, and few far from it."""
    return np.random.default_rng(0).laplace(size=num)


def test_each_value_has_the_nearest_mean_and_each_mean_is_that_of_its_values() -> None:
    given = values(2000)
    codes, means = coded.clusters(given, 16)
    assert np.all(np.diff(means) > 0)
    for value, code in zip(given, codes, strict=True):
        assert abs(value - means[code]) == min(abs(value - mean) for mean in means)
    for number, mean in enumerate(means):
        assert mean == pytest.approx(given[codes == number].mean(), abs=1e-12)


def test_the_means_are_nearer_than_evenly_spaced_ones_and_than_quantiles() -> None:
    given = values(20_000)
    codes, means = coded.clusters(given, 64)
    found = np.square(given - means[codes]).mean()
    for others in (
        np.linspace(given.min(), given.max(), 64),
        np.quantile(given, np.arange(64) / 63),
    ):
        theirs = np.abs(given[:, None] - others).min(axis=1)
        assert found < 0.5 * np.square(theirs).mean()


def test_a_coded_network_is_read_as_the_one_that_it_was(tmp_path: Path) -> None:
    state = random_state("vgg16")
    path = tmp_path / "coded.safetensors"
    found = coded.coded(state)
    large = {name for name, value in state.items() if value.numel() >= 1_000_000}
    assert {name for name in found if name.endswith(".codes")} == {f"{n}.codes" for n in large}
    safetensors.torch.save_file(found, path)
    assert path.stat().st_size < 17e6
    decoded = weights.load_state(weights.obtain("vgg16", str(path)))
    load_backbone("vgg16", decoded, PROFILES["vgg16"].layers, device=torch.device("cpu"))
    assert decoded.keys() == state.keys()
    for name, value in state.items():
        assert (decoded[name] - value).norm() <= (0.02 if name in large else 0.0005) * value.norm()


def documented() -> list[tuple[str, float, float, float]]:
    """The large layers of VGG-16 by their notice: name, mean, norm, and the error as a share of it."""
    notice = weights.EMBEDDED["vgg16"].with_name("SOURCES.md").read_text("utf-8")
    rows = re.findall(r"\| `([\w.]+)` \| (\S+) \| (\S+) \| (\S+)% \|", notice)
    return [
        (name, float(mean), float(norm), float(error) / 100) for name, mean, norm, error in rows
    ]


def test_the_embedded_vgg16_is_as_its_notice_says() -> None:
    state = weights.load_state(weights.obtain("vgg16"))
    told = documented()
    large = {name for name, value in state.items() if value.dtype == torch.float32}
    assert large == {name for name, *_ in told}
    for name, mean, norm, error in told:
        value = state[name].double()
        assert value.mean().item() == pytest.approx(mean, abs=1e-6)
        # What means leave out is at right angles to them.
        assert value.norm().item() == pytest.approx(norm * (1 - error**2) ** 0.5, rel=1e-5)


@pytest.mark.skipif("NST_VGG16" not in os.environ, reason="NST_VGG16 names torchvision's VGG-16")
def test_torchvisions_vgg16_makes_the_embedded_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "made.safetensors"
    monkeypatch.setattr(sys, "argv", ["bench.coded", os.environ["NST_VGG16"], str(path)])
    coded.main()
    assert path.read_bytes() == weights.EMBEDDED["vgg16"].read_bytes()
    rows = [line for line in capsys.readouterr().out.splitlines() if "features" in line]
    notice = weights.EMBEDDED["vgg16"].with_name("SOURCES.md").read_text("utf-8")
    assert len(rows) == len(documented())
    assert all(row in notice for row in rows)
