"""Spatial control after Gatys et al. (CVPR 2017, section 4): which style paints which part.

Guides are float32 weights in [0, 1], one map per style. The Gram of a region is that of the
features times its guide, divided by the sum of the squared guide; the caller divides.
"""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


def guides(mask: Tensor, num_styles: int) -> Tensor:
    """How much each style paints each pixel: a mask's luma [1,H,W] in [0, 1] -> [K,H,W].

    With one style it is the mask itself: white is painted, black keeps the content. With more,
    black takes the first, white the last and evenly spaced greys those between; a grey between two
    of these blends the two, and everywhere the weights sum to 1.
    """
    if num_styles == 1:
        return mask
    levels = torch.arange(num_styles, dtype=mask.dtype, device=mask.device)[:, None, None]
    # The hat functions of linear interpolation.
    return (1 - (mask * (num_styles - 1) - levels).abs()).clamp_min(0)


def at_layer(guides: Tensor, height: int, width: int) -> Tensor:
    """Guides at the size of a layer's features, by area: [K,H,W] -> [K,height,width].

    What sums to 1 still does. A feature at the edge of a region, which sees beyond it, is not left
    out for that.
    """
    return adaptive_avg_pool2d(guides, (height, width))
