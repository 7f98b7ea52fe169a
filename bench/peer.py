"""The peer, neural-style 0.5.7 (neural-style-pt): where it is, its weights, a run of it.

It is the nearest there is: the same method, network and optimiser family, on PyTorch, one picture
for each process.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.measuring import Usage, installed, measured
from nst.painting import load_state, obtain

REQUIREMENT = "neural-style==0.5.7"
_FOLDER = Path(__file__).parent / ".peer"
_LOOP_BEGINS = "Running optimization"
# The colour that the peer takes from its pictures, red first, in units in which white is 256.
_PEER_MEAN = (123.68, 116.779, 103.939)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
# The peer tells the network from the file's whole path, so it is only ever given this bare name.
WEIGHTS_NAME = "vgg19.pth"


def install() -> Path:
    """The folder to import the peer from, filled on first use; torch and Pillow it has already."""
    return installed(_FOLDER, REQUIREMENT, options=["--no-deps"])


def peer_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's weights for pictures as the peer prepares them: BGR, times 256, less its mean.

    Only the first convolution changes: y = 256 x - m there, (x - mean) / std here. The features are
    the same but for the picture's border, where a padded zero stands for a colour 0.002 away.
    """
    peer_mean, mean, std = (torch.tensor(values) for values in (_PEER_MEAN, _MEAN, _STD))
    first = weights["features.0.weight"]
    scaled = first / (256 * std)[None, :, None, None]
    offset = (first * ((peer_mean / 256 - mean) / std)[None, :, None, None]).sum(dim=(1, 2, 3))
    return {
        **weights,
        "features.0.weight": scaled.flip(1).contiguous(),
        "features.0.bias": weights["features.0.bias"] + offset,
    }


def save_weights(folder: Path) -> None:
    """Put the embedded VGG-19, with which ours paints too, where `run` in the same folder finds it."""
    torch.save(peer_weights(load_state(obtain("vgg19"))), folder / WEIGHTS_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a run sets: with these it also begins from the content, without total variation."""

    evaluations: int
    style_weight: float


# What the peer does where nothing is set: from noise, with a total variation of 0.001.
DEFAULTS = Settings(evaluations=1000, style_weight=100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A picture in a file; what its process took, and the seconds of its loop alone."""

    picture: Path
    usage: Usage
    loop_s: float


def picture(content: str, style: str) -> str:
    """The name of what `run` makes of a pair."""
    return f"peer-{content}-{style}"


def run(
    content: str,
    style: str,
    *,
    size_px: int,
    settings: Settings | None,
    device: str,
    folder: Path,
    path: Path,
) -> Made:
    """Make a picture in a process of its own.

    `content` and `style` are names in `folder`, where the new one goes; `path` is a folder or a wheel.
    Without settings it runs with its own defaults.
    """
    output = folder / picture(content, style)
    options = {
        "content_image": content,
        "style_image": style,
        "output_image": output.name,
        "image_size": size_px,
        "model_file": WEIGHTS_NAME,
        **({} if settings is None else _options(settings)),
        "print_iter": 0,
        "save_iter": 0,
        "seed": 0,
        **({"gpu": 0, "backend": "cudnn"} if device == "cuda" else {"gpu": "c"}),
    }
    usage = measured(
        [
            *(sys.executable, "-c", "from neural_style.neural_style import main; main()"),
            *(part for name, value in options.items() for part in (f"-{name}", value)),
            "-disable_check",  # the classifier, which no picture needs, is not in the weights
        ],
        cwd=folder,
        environment={"PYTHONPATH": str(path.resolve())},
    )
    begins_s = next(at_s for at_s, line in usage.lines if line.startswith(_LOOP_BEGINS))
    # Its last evaluation writes the picture, so what leaving the process takes is not counted.
    return Made(picture=output, usage=usage, loop_s=output.stat().st_mtime - begins_s)


def _options(settings: Settings) -> dict[str, str | float]:
    return {
        "style_weight": settings.style_weight,
        "tv_weight": 0,
        "init": "image",
        "optimizer": "lbfgs",
        "num_iterations": settings.evaluations,
    }
