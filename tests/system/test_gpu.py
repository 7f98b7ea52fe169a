"""The measurement on a GPU as a whole, at its toy size, where nothing is installed that a bare GPU
machine lacks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.gpu import switches
from bench.gpu.operations import flops_per_px
from tests.helpers import ROOT

# Channels in and out of each convolution of VGG-19 down to relu5_1, and the side that a position spans.
VGG19 = [
    *((3, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 2), (128, 256, 4), (256, 256, 4)),
    *((256, 256, 4), (256, 256, 4), (256, 512, 8), (512, 512, 8), (512, 512, 8), (512, 512, 8)),
    (512, 512, 16),
]
# Channels of the layers of the style.
GRAMS = [(64, 1), (128, 2), (256, 4), (512, 8), (512, 16)]
# What such a machine has: what the measurement needs, and what these packages need in turn.
_HERE = (
    *(
        "torch",
        "torchgen",
        "functorch",
        "torchvision",
        "PIL",
        "numpy",
        "pyarrow",
        "fsspec",
        "psutil",
    ),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions"),
    *("safetensors", "jinja2", "markupsafe", "sympy", "mpmath", "networkx", "filelock"),
)
# Each process that is started imports it first.
_BLOCKING = f"""
import sys
from importlib.machinery import PathFinder

HERE = {_HERE!r}

class Bare:
    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target)
        top = name.partition(".")[0]
        if spec is None or path is not None or top in HERE or top.startswith("_"):
            return spec
        if "site-packages" not in str(spec.origin or spec.submodule_search_locations):
            return spec
        elsewhere = [each for each in sys.path if "site-packages" not in each]
        return PathFinder.find_spec(name, elsewhere, target)

sys.meta_path[:] = [*(each for each in sys.meta_path if each is not PathFinder), Bare()]
"""
_PEER = """
import sys, shutil

def main():
    options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    print("Running optimization", flush=True)
    shutil.copy(options["-content_image"], options["-output_image"])
"""


def test_all_parts_run_where_only_little_is_installed(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/sitecustomize.py").write_text(_BLOCKING)
    (tmp_path / "peer/neural_style").mkdir(parents=True)
    (tmp_path / "peer/neural_style/neural_style.py").write_text(_PEER)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench.gpu", "--toy", "--peer-path", tmp_path / "peer"),
            *("--folder", tmp_path / "out", "--budget-s", "10000"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "bare")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out/gpu.json").read_text())
    assert not report["ended"]
    assert "Without lazy_loader, minify, yaml" in report["head"]
    assert "A toy run" in report["head"]
    found = report["found"]
    assert [cell["backbone"] for cell in found["speed"]["cells"]] == 2 * ["vgg16"] + 2 * [
        "resnet50"
    ]
    assert all(check["value"] <= check["limit"] for check in found["correctness"]["checks"])
    assert [pair["rulers"] < 0.2 for pair in found["correctness"]["pairs"]] == 3 * [True]
    (ran,) = found["run"]["runs"]
    assert (ran["num_rows"], ran["num_failed"]) == (4, 0)
    assert len(found["kernels"]["kernels"]) == 10
    assert all(found["memory"]["checks"].values())
    assert found["peer"]["made"][0]["process_s"] > 0
    assert {each.name for each in (tmp_path / "out").glob("*.png")} >= {"cpu-float32.png"}
    text = (tmp_path / "out/gpu.md").read_text()
    assert text.count("\n### ") == 7


def test_the_operations_of_vgg19_are_those_that_its_layers_have_by_hand() -> None:
    """Each convolution there and back, its products and sums; each Gram, and the pull towards it; and
    the products with each candidate for a neighbour. Next to these, means are next to nothing."""
    convolutions = sum(2 * 2 * 9 * a * b / side**2 for a, b, side in VGG19)
    grams = sum(2 * 2 * c * c / side**2 for c, side in GRAMS)
    cosines = sum(2 * 2048 * c / side**2 for c, side in GRAMS[2:4])
    assert flops_per_px("vgg19") == pytest.approx(convolutions + grams + cosines, rel=1e-3)


def test_the_engine_is_as_it_was_after_each_switch() -> None:
    before = torch.backends.cudnn.deterministic, torch.are_deterministic_algorithms_enabled()
    for name in switches.available():
        with switches.SWITCHES[name]():
            pass
    assert before == (
        torch.backends.cudnn.deterministic,
        torch.are_deterministic_algorithms_enabled(),
    )
