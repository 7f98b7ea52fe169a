"""The sizes at which a method paints, from coarse to fine, and how often it looks at each; pure.

No torch here, so that a plan can tell what a picture costs without loading it.
"""

import math
from dataclasses import dataclass

from nst.job import PictureParams

# The square root of the area of the coarsest size, in pixels: the middle of the deepest layers sees
# nearly all of such a picture, so that the largest shapes of a style can form.
_COARSEST_PX = 112
# The short side below which no size goes, for the sake of elongated pictures.
_MIN_SIDE_PX = 64
# Of the evaluations at the coarsest size, no size has fewer than this share.
_MIN_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One size [height, width] in pixels at which a picture is painted, and with how many evaluations.

    `pixels` go through the network in each of them: those of this size and, beside it, of all coarser
    ones, whose statistics are kept while finer ones are added.
    """

    height: int
    width: int
    steps: int
    pixels: int


def scales_of(height: int, width: int, params: PictureParams) -> tuple[Scale, ...]:
    """The sizes of a picture [height, width] from the coarsest to its own, which is the last.

    `gatys` has its own alone. `pyramid` begins at the same size whatever the picture's is, so that the
    strokes of a large picture are those of its preview, and then goes up about twofold. Each size has
    half the evaluations of the one before it, but no fewer than a quarter of the first one's.
    """
    if params.method == "gatys":
        return (Scale(height=height, width=width, steps=params.steps, pixels=height * width),)
    coarsest = max(_COARSEST_PX / math.sqrt(height * width), _MIN_SIDE_PX / min(height, width))
    count = max(0, round(math.log2(1 / coarsest)))
    scales: list[Scale] = []
    pixels = 0
    for number in range(count + 1):
        factor = coarsest ** ((count - number) / count) if count else 1.0
        size = round(height * factor), round(width * factor)
        pixels += size[0] * size[1]
        share = max(0.5**number, _MIN_SHARE)
        steps = max(1, round(params.steps * share))
        scales.append(Scale(height=size[0], width=size[1], steps=steps, pixels=pixels))
    return tuple(scales)


def full_evaluations(height: int, width: int, params: PictureParams) -> int:
    """How many evaluations at the picture's own size alone would be as much work, at least 1."""
    work = sum(scale.steps * scale.pixels for scale in scales_of(height, width, params))
    return max(1, round(work / (height * width)))
