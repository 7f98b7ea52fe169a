"""torchvision's VGG-16 -> the file that is embedded, its large layers in 8-bit codes, and how far off.

python -m bench.coded vgg16-397923af.pth nst/painting/data/vgg16-imagenet1k-v1-features-8bit.safetensors
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from nst.painting.weights import load_state, obtain

Values = NDArray[np.float64]

_NUM_CODES = 256
# Half a VGG's layers have less than an eighth of its values, and all others see what they leave.
_MIN_VALUES = 1_000_000
_NUM_BINS = 4096


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.coded", description=__doc__)
    parser.add_argument("source", help="safetensors file or state dict with torchvision's keys")
    parser.add_argument("target", type=Path, help="safetensors file to write")
    arguments = parser.parse_args()
    # No classifier paints.
    state = load_state(obtain("vgg16", arguments.source))
    plain = {name: state[name] for name in sorted(state) if name.startswith("features.")}
    safetensors.torch.save_file(coded(plain), arguments.target)
    decoded = load_state(obtain("vgg16", str(arguments.target)))
    sys.stdout.write(errors({name: (plain[name], decoded[name]) for name in plain}))


def coded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` in few bytes: a large tensor NAME as NAME.codes and NAME.table, others in float16."""
    found = {}
    for name, value in state.items():
        if value.numel() < _MIN_VALUES:
            found[name] = value.half()
            continue
        codes, means = clusters(value.flatten().double().numpy(), _NUM_CODES)
        found[f"{name}.codes"] = torch.from_numpy(codes.astype(np.uint8)).view(value.shape)
        found[f"{name}.table"] = torch.from_numpy(means.astype(np.float32))
    return found


def clusters(values: Values, num: int) -> tuple[NDArray[np.intp], Values]:
    """k-means in one dimension: for each value the number of its mean, and the `num` means, ascending.

    Lloyd's algorithm (1982) until nothing moves. It begins as dense as the cube root of the values'
    density, which is best where the means are many (Panter and Dite, 1951). From quantiles it ends
    with up to 1.8 times the error, since few means find their way into the tails.
    """
    # Of ascending values a mean has those between two bounds, and sums up to a place give its sum.
    ascending = np.sort(values)
    sums = np.concatenate([[0.0], np.cumsum(ascending)])
    means = _start(ascending, num)
    before = None
    while True:
        inner = np.searchsorted(ascending, (means[1:] + means[:-1]) / 2)
        bounds = np.concatenate([[0], inner, [len(ascending)]])
        if before is not None and np.array_equal(bounds, before):
            return np.searchsorted((means[1:] + means[:-1]) / 2, values, side="right"), means
        counts = np.diff(bounds)
        means = np.where(counts > 0, np.diff(sums[bounds]) / np.maximum(counts, 1), means)
        before = bounds


def _start(ascending: Values, num: int) -> Values:
    counts, edges = np.histogram(ascending, _NUM_BINS)
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(counts))])
    means: Values = np.interp((np.arange(num) + 0.5) / num * share[-1], share, edges)
    return means


def errors(tensors: Mapping[str, tuple[Tensor, Tensor]]) -> str:
    """Of each large tensor, before and after: its mean, its norm, and the error's norm as a share."""
    lines = ["| tensor | mean | norm | error |", "| --- | --- | --- | --- |"]
    for name, (before, after) in tensors.items():
        if before.numel() >= _MIN_VALUES:
            norm = before.double().norm()
            error = (after.double() - before.double()).norm() / norm
            lines.append(f"| `{name}` | {before.double().mean():.6f} | {norm:.4f} | {error:.2%} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
