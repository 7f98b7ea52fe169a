"""What is known of each backbone as data: its layers by name, and which of them paint.

No torch here, so that a manifest can be checked without loading it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

# Where a ResNet-50 halves its features. Caffe's, the one of He et al. (2015), whose weights Keras
# has too, does it by the first 1 x 1 convolution of a stage, and its pooling begins at the picture's
# edge; torchvision's does it by the 3 x 3 convolution, and its pooling one position before the edge.
# Keys and shapes are the same.
Topology = Literal["torchvision", "caffe"]
TOPOLOGIES: tuple[Topology, ...] = get_args(Topology)


@dataclass(frozen=True, slots=True)
class Shares:
    """Which layers hold content and style, and how much of the loss each makes up."""

    content: Mapping[str, float]
    style: Mapping[str, float]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.content, *self.style]))


@dataclass(frozen=True, slots=True)
class Fit:
    """What was found for a backbone and a method, on the pairs of `bench/quality.csv`.

    `content_reach` is the content loss, in the backbone's own features, up to which a picture is let go
    from its content at the default weights, so that the pictures of all backbones are as far from their
    contents. `axis_trust`, above 0 and up to 1, is what fine structure along the picture's rows and
    columns weighs in the inverse Hessian that L-BFGS begins with.
    """

    content_reach: float
    axis_trust: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneProfile:
    """A backbone's layers and the shares that one default for all pairs gives them.

    `layers` lists every layer a picture parameter may name, shallow to deep, and `layer_strides[i]` is how
    many input pixels one position of `layers[i]` spans on a side. Shares of the content and of the style
    layers each sum to 1, so that a weight means the same for every backbone. In the layers of
    `neighbour_weights`, positions of a picture are also compared with the nearest ones of the style; that
    counts so many times as much as the layer's statistics.

    `fits` are by method. `reach_power` is how far the content's reach moves with the weights, fitted so
    that at every strength the pictures of all backbones are as far from their contents.

    `margin_px` is how far around it a position of the last layer looks, up to a multiple of its stride;
    None where a picture cannot be cut into tiles. `depends_on_threads_in_bfloat16` is whether last bits
    of what a CPU with units for it computes so depend on the number of threads. `topologies` are those
    that a file of its weights may be for, the usual one first; none where all are alike. `bytes_per_px`
    is what one pass there and back takes of memory in float32, and `cost` how long an evaluation takes
    relative to VGG-16's, both as measured by `python -m bench.fit`.
    """

    name: str
    layers: tuple[str, ...]
    layer_strides: tuple[int, ...]
    content_shares: dict[str, float]
    style_shares: dict[str, float]
    neighbour_weights: dict[str, float]
    fits: Mapping[str, Fit]
    reach_power: float
    bytes_per_px: int
    cost: float
    margin_px: int | None = None
    depends_on_threads_in_bfloat16: bool = False
    topologies: tuple[Topology, ...] = ()

    @property
    def usual_topology(self) -> Topology | None:
        """The topology of weights that do not name theirs."""
        return next(iter(self.topologies), None)

    def shares(
        self, content_layers: Sequence[str] | None, style_layers: Sequence[str] | None
    ) -> Shares:
        """The layers that are named, in shares by their weights, or else those of the profile."""
        return Shares(
            _named_shares(content_layers) or self.content_shares,
            _named_shares(style_layers) or self.style_shares,
        )

    def stride(self, layer: str) -> int:
        """Input pixels per position of `layer`, on a side."""
        return self.layer_strides[self.layers.index(layer)]

    def min_side_px(self, layers: tuple[str, ...]) -> int:
        """The short side below which the deepest of `layers` has fewer than 2 x 2 positions."""
        return 2 * max(self.stride(layer) for layer in layers)


def layer_and_weight(named: str) -> tuple[str, float]:
    """A layer as a parameter names it, `relu1_1` or `relu1_1:2`, and its weight, 1 if it has none."""
    layer, _, weight = named.rpartition(":")
    try:
        return layer, float(weight)
    except ValueError:
        # What is no number is part of a name, which no backbone may have.
        return named, 1.0


def _named_shares(layers: Sequence[str] | None) -> dict[str, float]:
    weights = dict(map(layer_and_weight, layers or ()))
    total = sum(weights.values())
    return {layer: weight / total for layer, weight in weights.items()}


def _vgg_profile(
    name: str,
    convs_per_block: tuple[int, ...],
    *,
    fits: Mapping[str, Fit],
    reach_power: float,
    cost: float,
) -> BackboneProfile:
    """Style from the first layer of each block (Gatys et al., 2016), content from relu3_1 and relu4_2.

    The paper has relu4_2 alone, which sees letters and thin lines as texture and lets them go. The
    shares are equal, where its raw Gram losses leave the balance to each layer's size.
    """
    blocks = list(enumerate(convs_per_block, start=1))
    return BackboneProfile(
        name=name,
        layers=tuple(f"relu{b}_{i}" for b, n in blocks for i in range(1, n + 1)),
        layer_strides=tuple(2 ** (b - 1) for b, n in blocks for _ in range(n)),
        content_shares={"relu3_1": 0.5, "relu4_2": 0.5},
        style_shares={f"relu{b}_1": 1 / len(blocks) for b, _ in blocks},
        neighbour_weights={"relu3_1": 1.5, "relu4_1": 1.5},
        fits=fits,
        reach_power=reach_power,
        margin_px=_vgg_margin_px(convs_per_block),
        bytes_per_px=1850,
        cost=cost,
    )


def _vgg_margin_px(convs_per_block: tuple[int, ...]) -> int:
    """A 3 x 3 convolution looks one position around it, a 2 x 2 pooling one to the right."""
    convs = sum(n << b for b, n in enumerate(convs_per_block))
    pools = sum(1 << b for b in range(len(convs_per_block) - 1))
    stride = 1 << (len(convs_per_block) - 1)
    return -(-(convs + pools) // stride) * stride


def _resnet_profile(name: str, blocks_per_stage: tuple[int, ...]) -> BackboneProfile:
    """Style from the first and the last block of each stage but the deepest, and from the stem.

    With one layer of each stage, real features leave a picture that is recoloured more than painted.
    The activation smoothing of Wang, Li and Vasconcelos (CVPR 2021) was tried on them, as were
    features at unit variance, centred ones and those inside of the blocks: none came nearer to the
    style, as other networks see it, at the same distance from the content.
    """
    stages = list(enumerate(blocks_per_stage, start=1))
    return BackboneProfile(
        name=name,
        layers=("relu1", *(f"layer{s}.{i}" for s, n in stages for i in range(n))),
        layer_strides=(2, *(2 ** (s + 1) for s, n in stages for _ in range(n))),
        content_shares={"layer1.2": 0.5, "layer2.3": 0.5},
        style_shares={
            "relu1": 0.2,
            "layer1.0": 0.1,
            "layer1.2": 0.1,
            "layer2.0": 0.15,
            "layer2.3": 0.15,
            "layer3.0": 0.15,
            "layer3.5": 0.15,
        },
        neighbour_weights={"layer1.2": 3.0, "layer2.3": 2.0},
        fits={"gatys": Fit(1.6), "pyramid": Fit(1.07)},
        reach_power=0.41,
        bytes_per_px=1000,
        cost=0.56,
        depends_on_threads_in_bfloat16=True,
        topologies=TOPOLOGIES,
    )


# Of a row that names no backbone: the network of Gatys et al. (2016), and embedded.
DEFAULT_BACKBONE = "vgg19"

PROFILES: dict[str, BackboneProfile] = {
    profile.name: profile
    for profile in (
        _vgg_profile(
            "vgg16",
            (2, 2, 3, 3, 3),
            fits={"gatys": Fit(1.22), "pyramid": Fit(0.895)},
            reach_power=0.22,
            cost=1.0,
        ),
        _vgg_profile(
            "vgg19",
            (2, 2, 4, 4, 4),
            # Its pictures had up to twice as much fine structure along rows and columns as their
            # styles, like a cloth, and those of the others little more.
            fits={"gatys": Fit(1.0), "pyramid": Fit(0.825, axis_trust=0.2)},
            reach_power=0.3,
            cost=1.16,
        ),
        _resnet_profile("resnet50", (3, 4, 6, 3)),
    )
}
