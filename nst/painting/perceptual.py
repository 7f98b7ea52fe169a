"""Measures of pictures by a network's features: pure functions of a batch, one value per item, [B].

Features are float32, [B,C,h,w] by layer, as `nst.painting.backbones` gives them: the caller sends
each picture through a network once, for all measures. An item with a NaN has NaN measures; it does not
affect the other items.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nst.painting import losses, regions

# Last of each block of VGG-16, in the order of the heads (Zhang et al., 2018).
LPIPS_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
# One layer of VGG-19, and the first of each block of either.
CFSD_LAYER = "relu3_1"
STYLE_LAYERS = tuple(f"relu{block}_1" for block in range(1, 6))
# Of a shorter side, the last block of a VGG has no position left.
MIN_SIDE_PX = 16

# Keeps a position without features from being divided by zero; as the authors' code has it.
_LPIPS_EPS = 1e-10
# The original VGG-19's pixels go up to 255 and are not divided by their deviation, 0.225 of that on
# average, as those of torchvision's are. A network of ReLUs hands a factor on to its features.
_CFSD_SCALE = 1 / (255 * 0.225)
# The positions of the layer in a square picture of 256 px.
_CFSD_POSITIONS = 64 * 64
# Of which so many are compared with all together: more would not fit the caches of a CPU, or on a GPU
# take much memory.
_CFSD_ROWS = 64
_CFSD_ROWS_ON_A_GPU = 1024

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


def cfsd(content: Tensor, picture: Tensor) -> Tensor:
    """Content feature structural distance: CFSD_LAYER of VGG-19 [B,C,h,w] twice -> [B], 0 if equal.

    The code of Chung et al. ("StyleID", CVPR 2024): which parts of the content are like which, and
    whether those of the picture are too. F [h*w,C] are the features over C; the softmax of each row
    of F F^T says how a position's likeness is spread over all; the distance is the sum over
    positions of KL(content || picture).

    Two departures. Theirs is torchvision's VGG-19, to whose scale these features, the original
    network's, are brought: the softmax depends on it, and at the original scale each position would
    be like itself alone. And their sum grows with the picture; here it is the mean times the number
    of positions of a square of 256 px, for which the two are the same.
    """
    a, b = (_positions_over_channels(features) for features in (content, picture))
    rows = _CFSD_ROWS if content.device.type == "cpu" else _CFSD_ROWS_ON_A_GPU
    divergences = [
        _divergence(rows_a @ a.mT, rows_b @ b.mT)
        for rows_a, rows_b in zip(
            torch.split(a, rows, dim=1), torch.split(b, rows, dim=1), strict=True
        )
    ]
    return torch.cat(divergences, dim=1).mean(dim=1) * _CFSD_POSITIONS


def grams(features: Features, visible: Tensor | None = None) -> dict[str, Tensor]:
    """The Gram of each of STYLE_LAYERS, [B,C,C], divided by its number of positions.

    Of one picture of which only some is `visible` [1,1,H,W], as of a region in `nst.painting.regions`.
    """
    if visible is not None:
        return {layer: _gram_of_visible(features[layer], visible) for layer in STYLE_LAYERS}
    tables = {layer: losses.positions(features[layer]) for layer in STYLE_LAYERS}
    return {layer: table.mT @ table / table.shape[1] for layer, table in tables.items()}


def _gram_of_visible(features: Tensor, visible: Tensor) -> Tensor:
    guide = regions.at_layer(visible[0], *features.shape[2:]).flatten()[:, None]
    table = losses.positions(features) * guide
    return table.mT @ table / guide.square().sum().clamp_min(losses.MIN_SCALE)


def style_distance(of_picture: Features, of_style: Features) -> Tensor:
    """Mean of ||G - A||^2 / ||A||^2 over STYLE_LAYERS: `grams` twice -> [B], 0 the style, 1 nothing.

    The style loss of `method=gatys`, by a network that did not paint, so that the optimisation
    cannot have exploited what the painting network cannot tell from the style.
    """
    distances = [
        (of_picture[layer] - of_style[layer]).square().sum(dim=(1, 2))
        / losses.squared_norm(of_style[layer], kept=1)
        for layer in STYLE_LAYERS
    ]
    return torch.stack(distances).mean(dim=0)


def _positions_over_channels(features: Tensor) -> Tensor:
    """[B,C,h,w] -> [B,h*w,C]."""
    return losses.positions(features) * (_CFSD_SCALE / features.shape[1])


def _divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL(softmax(a) || softmax(b)) of each row: [B,R,N] twice -> [B,R]."""
    # As log E[exp(E[d] - d)] with d = a - b and E the mean under softmax(a): the textbook's
    # difference of logarithms of about log(1/N) loses a value of 1e-5 to rounding.
    shares = torch.softmax(a, dim=2)
    difference = a - b
    difference -= (shares * difference).sum(dim=2, keepdim=True)
    # Clamped where float32 has no such number any more: features of pictures do not come near it.
    excess = torch.expm1((-difference).clamp_max(80)).add_(difference)
    return (shares * excess).sum(dim=2).log1p()


def _layer_distance(features_a: Tensor, features_b: Tensor, head: Tensor) -> Tensor:
    """The head's sum over channels of the squared difference, mean over positions, -> [B]."""
    difference = _unit(features_a) - _unit(features_b)
    return (head.view(-1, 1, 1) * difference.square()).sum(dim=1).mean(dim=(1, 2))


def _unit(features: Tensor) -> Tensor:
    """Features of length 1 at each position, [B,C,H,W]."""
    return features / (features.square().sum(dim=1, keepdim=True).sqrt() + _LPIPS_EPS)
