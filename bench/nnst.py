"""NNST in a process of its own, without the GPU and the download of weights that it counts on.

PYTHONPATH=CHECKOUT python -m bench.nnst CONTENT STYLE OUTPUT

It is no package: `python -m bench.others --program nnst --checkout FOLDER` names a checkout of its
repository. That is run as it is, with its defaults, and paints with the embedded VGG-16.
"""

import runpy
import sys

import torch
import torchvision
from torch import nn

from nst.painting import load_state, obtain

# At its long edge; its only other size is twice as large.
SIZE_PX = 512
# What starts it lies at the top of its repository.
ENTRY = "styleTransfer"


def main() -> None:
    content, style, output = sys.argv[1:]
    # It waits for a GPU also where it was told to do without.
    torch.cuda.synchronize = lambda device=None: None
    torchvision.models.vgg16 = _vgg16
    sys.argv = [ENTRY, "--content_path", content, "--style_path", style]
    sys.argv += ["--output_path", output, "--cpu"]
    runpy.run_module(ENTRY, run_name="__main__")


def _vgg16(**_: object) -> nn.Module:
    """torchvision's network with the features alone, however pretrained ones were asked for."""
    with torch.device("meta"):
        network: nn.Module = torchvision.models.vgg.vgg16()
    state = {name: value.float() for name, value in load_state(obtain("vgg16")).items()}
    network.load_state_dict(state, strict=False, assign=True)
    return network


if __name__ == "__main__":
    main()
