"""Other programs beside ours, without any of them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import others
from nst.painting import load_state, obtain

# In the place of the one of NNST's repository: what it is given, and what it asks for.
_PROGRAM = """
import argparse
import torch
from torchvision import models

parser = argparse.ArgumentParser()
for name in ("content", "style", "output"):
    parser.add_argument(f"--{name}_path", required=True)
parser.add_argument("--cpu", action="store_true")
given = parser.parse_args()
torch.cuda.synchronize()
network = models.vgg16(pretrained=True).features[:23]
found = network(torch.full((1, 3, 32, 32), 0.5))
weights = {f"features.{name}": value for name, value in network.state_dict().items()}
torch.save({"given": vars(given), "found": found, "weights": weights}, given.output_path)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "styleTransfer.py").write_text(_PROGRAM)
    return folder


def test_nnst_of_a_checkout_gets_the_embedded_weights_and_needs_neither_gpu_nor_network(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(others, "installed", lambda *_, **__: tmp_path / "packages")
    program = others.PROGRAMS["nnst"]
    monkeypatch.setenv("PYTHONPATH", others._imported_from(program, checkout))
    command = [sys.executable, *program.arguments("content.png", "style.png", "made", 512)]
    subprocess.run(command, cwd=tmp_path, check=True)
    made = torch.load(tmp_path / "made")
    assert made["given"] == {
        "content_path": "content.png",
        "style_path": "style.png",
        "output_path": "made",
        "cpu": True,
    }
    assert made["found"].isfinite().all()
    state = load_state(obtain("vgg16"))
    assert all(torch.equal(value, state[name]) for name, value in made["weights"].items())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nnst needs --checkout, a folder with styleTransfer.py, found None"),
        (["--checkout", "elsewhere"], "a folder with styleTransfer.py, found elsewhere"),
        (["--checkout", "checkout", "--size", "256"], "nnst paints at 512 px, found --size 256"),
    ],
)
def test_what_nnst_cannot_do_is_said_before_anything_is_painted(
    tmp_path: Path,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(checkout.parent)
    monkeypatch.setattr(
        sys, "argv", ["others", "--program", "nnst", "--folder", str(tmp_path / "f"), *arguments]
    )
    with pytest.raises(SystemExit) as ended:
        others.main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "f").exists()
