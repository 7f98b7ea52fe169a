"""What a picture came out like by a network's features: pure functions of a batch, one value per item, [B].

Features are float32, [B,C,h,w] by layer, as `nst.backbones` gives them: whoever measures sends each
picture through a network once, and takes all measures from that. An item with a NaN has NaN for its
measures; it leaves its batch-mates' values alone.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

# Last of each block of VGG-16, in the order of the heads (Zhang et al., 2018).
LPIPS_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
# Of a shorter side, the last block of a VGG has no position left.
MIN_SIDE_PX = 16

# Keeps a position without features from being divided by zero; as the authors' code has it.
_LPIPS_EPS = 1e-10

# By layer, [B,C,h,w] each.
Features = Mapping[str, Tensor]


def lpips(a: Features, b: Features, heads: tuple[Tensor, ...]) -> Tensor:
    """LPIPS v0.1 of Zhang et al. (2018, eq. 1): LPIPS_LAYERS of VGG-16 twice -> [B], 0 for equal ones.

    `heads` are their channels' weights [C]. The caller scales down what is larger than about 512 px,
    and always to one size: the heads are fitted to what people said of 64 px, and values vary with
    the size.
    """
    # The authors scale 2 x - 1 by shift (-.030, -.088, -.188) and scale (.458, .448, .450). That is
    # the backbone's own normalisation, exactly: (1 + shift) / 2 is its mean, scale / 2 its std.
    distances = [
        _layer_distance(a[layer], b[layer], head)
        for layer, head in zip(LPIPS_LAYERS, heads, strict=True)
    ]
    return torch.stack(distances).sum(dim=0)


def _layer_distance(features_a: Tensor, features_b: Tensor, head: Tensor) -> Tensor:
    """The head's sum over channels of the squared difference, mean over positions, -> [B]."""
    difference = _unit(features_a) - _unit(features_b)
    return (head.view(-1, 1, 1) * difference.square()).sum(dim=1).mean(dim=(1, 2))


def _unit(features: Tensor) -> Tensor:
    """Features of length 1 at each position, [B,C,H,W]."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + _LPIPS_EPS)
