"""A ResNet-50 as its papers write it, in plain functions: what the backbone is compared with.

He et al. (2015) give the network of Caffe, whose stages shrink by their first 1 x 1 convolution.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, batch_norm, conv2d, max_pool2d, pad

from nst.job import Pooling
from nst.profiles import Topology
from tests.helpers import SAMPLES

_BLOCKS = {"layer1": 3, "layer2": 4, "layer3": 6, "layer4": 3}

# Told the name and the input of a batch normalisation; what it returns are mean and variance.
Statistics = Callable[[str, Tensor], tuple[Tensor, Tensor]]


def plain_resnet50(
    state: Mapping[str, Tensor],
    images: Tensor,
    topology: Topology,
    *,
    pooling: Pooling = "max",
    statistics: Statistics | None = None,
) -> dict[str, Tensor]:
    """Every layer of the profile as far as `state` goes, of images [B,3,H,W] in [0, 1]."""

    def of_state(norm: str, _: Tensor) -> tuple[Tensor, Tensor]:
        return state[f"{norm}.running_mean"].float(), state[f"{norm}.running_var"].float()

    statistics = statistics or of_state

    def normalised(x: Tensor, norm: str) -> Tensor:
        mean, variance = statistics(norm, x)
        scale, shift = state[f"{norm}.weight"].float(), state[f"{norm}.bias"].float()
        return batch_norm(x, mean, variance, scale, shift, training=False, eps=1e-5)

    def convolved(x: Tensor, conv: str, stride: int = 1, padding: int = 0) -> Tensor:
        return conv2d(x, state[f"{conv}.weight"].float(), stride=stride, padding=padding)

    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    x = normalised(convolved((images - mean) / std, "conv1", 2, 3), "bn1").relu()
    features = {"relu1": x}
    x = _pooled(x, topology, pooling)
    for stage, num_blocks in _BLOCKS.items():
        for number in range(num_blocks):
            block = f"{stage}.{number}"
            if f"{block}.conv1.weight" not in state:
                return features
            stride = 2 if number == 0 and stage != "layer1" else 1
            first, second = (stride, 1) if topology == "caffe" else (1, stride)
            y = normalised(convolved(x, f"{block}.conv1", first), f"{block}.bn1").relu()
            y = normalised(convolved(y, f"{block}.conv2", second, 1), f"{block}.bn2").relu()
            y = normalised(convolved(y, f"{block}.conv3"), f"{block}.bn3")
            if number == 0:
                x = convolved(x, f"{block}.downsample.0", stride)
                x = normalised(x, f"{block}.downsample.1")
            x = (x + y).relu()
            features[block] = x
    return features


def _pooled(x: Tensor, topology: Topology, pooling: Pooling) -> Tensor:
    """3 x 3 at every other position; what lies beyond the picture is left out of each."""
    height, width = x.shape[2:]
    before = 0 if topology == "caffe" else 1
    # Torchvision's windows begin before the edge and stay within one position behind it; Caffe's
    # begin at the edge, and the last is the first that reaches the end.
    after = [(side + before - 3) % 2 if topology == "caffe" else 1 for side in (height, width)]
    beyond = (before, after[1], before, after[0])
    if pooling == "max":
        return max_pool2d(pad(x, beyond, value=-torch.inf), 3, 2)
    counted = avg_pool2d(pad(torch.ones_like(x), beyond), 3, 2)
    return avg_pool2d(pad(x, beyond), 3, 2) / counted


def measured_norms(
    state: Mapping[str, Tensor], images: Tensor, topology: Topology
) -> dict[str, Tensor]:
    """`state` with the batch statistics that training in this topology on these images leaves."""
    trained = dict(state)

    def of_input(norm: str, x: Tensor) -> tuple[Tensor, Tensor]:
        found = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), unbiased=False)
        trained[f"{norm}.running_mean"], trained[f"{norm}.running_var"] = found
        return found

    with torch.no_grad():
        plain_resnet50(state, images, topology, statistics=of_input)
    return trained


def sample_photos(pattern: str = "*/*.jpg", side_px: int = 224) -> Tensor:
    """The middles of the sample pictures, [B,3,side,side] in [0, 1]."""
    from nst.pictures import images

    found = []
    for path in sorted(SAMPLES.glob(pattern)):
        data = path.read_bytes()
        height, width = images.probe_size(data, name=path.name)
        edge = round(side_px * max(height, width) / min(height, width))
        pixels = torch.from_numpy(images.decode(data, long_edge_px=edge, name=path.name).pixels)
        top, left = ((side - side_px) // 2 for side in pixels.shape[1:])
        found.append(pixels[:, top : top + side_px, left : left + side_px])
    return torch.stack(found)
