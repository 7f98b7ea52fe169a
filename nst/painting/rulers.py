"""A picture, its content and its styles -> all measures of the picture; owns the networks for that.

It always uses float32 and the embedded weights, so that values of different backbones, weights and
precisions can be compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nst.painting import colors, metrics, perceptual, weights
from nst.painting.backbones import Backbone, load_backbone
from nst.painting.memo import Memo
from nst.painting.perceptual import CFSD_LAYER, LPIPS_LAYERS, MIN_SIDE_PX, STYLE_LAYERS, Features

# LPIPS tells pictures apart at about this size, and takes 2 kB for each pixel of it.
_MAX_PX = 256
# Of which a process remembers what it found: a content's features take 70 MB, a style's Grams 3.
_MAX_CONTENTS = 2
_MAX_STYLES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a picture is compared with: its content [3,H,W] and its styles [3,h,w], float32 sRGB.

    They are as in their files, before any recolouring, at the size at which they were painted from.
    The keys identify the pixels; `shares` are those of the styles, and sum to 1. `style_alphas` are
    as in `Item`: what is transparent is not measured.
    """

    content: Tensor
    content_key: str
    styles: tuple[Tensor, ...]
    style_keys: tuple[str, ...]
    shares: tuple[float, ...]
    style_alphas: tuple[Tensor | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """The measures of a picture, as in the columns of the metadata.

    A measure is None if the picture or one of its styles is too elongated for it.
    """

    ssim: float
    lpips: float | None = None
    lpips_grey: float | None = None
    cfsd: float | None = None
    style_distance: float | None = None
    color_distance: float
    noise: float
    is_flat: bool


class Rulers:
    """Measures pictures on one device, and caches the features of contents and styles."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._contents: Memo[str, _Content] = Memo(_MAX_CONTENTS)
        self._styles: Memo[tuple[str, str], _Style] = Memo(_MAX_STYLES)

    def forget(self) -> None:
        """Let go of what was found of contents and styles, and the memory that it takes."""
        self._contents.clear()
        self._styles.clear()

    def measure(self, picture: Tensor, sources: Sources, painter: str) -> Measures:
        """How a picture [3,H,W] that the backbone `painter` made compares with its sources.

        Several styles count as the mixture of their statistics.
        """
        (found,) = self._measure_together([picture], [sources], painter)
        return found

    def measure_all(
        self, pictures: Sequence[Tensor], sources: Sequence[Sources], painter: str
    ) -> list[Measures]:
        """As `measure` of each picture [3,H,W], all of one size; a GPU takes them together."""
        if not pictures:
            return []
        if measures_together(self._device):
            return self._measure_together(pictures, sources, painter)
        return [
            self.measure(picture, own, painter)
            for picture, own in zip(pictures, sources, strict=True)
        ]

    def _measure_together(
        self, pictures: Sequence[Tensor], sources: Sequence[Sources], painter: str
    ) -> list[Measures]:
        # Whose Grams the picture was not drawn to.
        judge = "vgg19" if painter == "vgg16" else "vgg16"
        images = _batch([picture[None] for picture in pictures]).to(self._device)
        contents = _batch([own.content[None] for own in sources]).to(self._device)
        small = _shrunk(images)
        with torch.no_grad():
            styles = [self._style(own, judge) for own in sources]
            histograms = _batch([style.histogram for style in styles])
            energies = _batch([style.energy for style in styles])
            found = self._by_features(small, sources, styles, judge) | {
                "ssim": metrics.luminance_ssim(images, contents),
                "color_distance": metrics.color_distance(
                    metrics.color_histograms(small), histograms
                ),
                "noise": metrics.relative_noise(metrics.fine_energy(images), energies),
                "is_flat": metrics.is_flat(images).float(),
            }
            # All at once, since the device is waited for at each reading.
            columns = dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))
        is_flat = columns.pop("is_flat")
        return [
            Measures(
                is_flat=is_flat[n] > 0,
                **_known({name: each[n] for name, each in columns.items()}, style),
            )
            for n, style in enumerate(styles)
        ]

    def _by_features(
        self, small: Tensor, sources: Sequence[Sources], styles: Sequence["_Style"], judge: str
    ) -> dict[str, Tensor]:
        """The measures by a network's features, [B] each, those that pictures of this size can have."""
        if not _is_wide_enough(small):
            return {}
        contents = [self._content(own, judge) for own in sources]
        heads = _heads(self._device)
        vgg16 = _vgg16(self._device)
        seen = {"vgg16": vgg16(small), "vgg19": _vgg19(self._device, judge)(small)}
        # The grey picture after Chung et al. ("StyleID", CVPR 2024): what a change of colours leaves.
        grey = vgg16(colors.as_grey(small))
        structures = _batch([content.structure for content in contents])
        return {
            "lpips": perceptual.lpips(
                seen["vgg16"], _joined([content.colored for content in contents]), heads
            ),
            "lpips_grey": perceptual.lpips(
                grey, _joined([content.grey for content in contents]), heads
            ),
            "cfsd": perceptual.cfsd(structures, seen["vgg19"][CFSD_LAYER]),
            "style_distance": _style_distances(seen[judge], styles),
        }

    def _content(self, sources: Sources, judge: str) -> "_Content":
        if sources.content_key not in self._contents:
            small = _shrunk(sources.content[None].to(self._device))
            vgg16 = _vgg16(self._device)
            self._contents[sources.content_key] = _Content(
                _of_lpips(vgg16(small)),
                _of_lpips(vgg16(colors.as_grey(small))),
                _vgg19(self._device, judge)(small)[CFSD_LAYER],
            )
        return self._contents[sources.content_key]

    def _style(self, sources: Sources, judge: str) -> "_Style":
        styles = []
        alphas = sources.style_alphas or (None,) * len(sources.styles)
        for pixels, alpha, key in zip(sources.styles, alphas, sources.style_keys, strict=True):
            if (key, judge) not in self._styles:
                visible = None if alpha is None else alpha[None].to(self._device)
                self._styles[key, judge] = self._style_alone(
                    pixels[None].to(self._device), visible, judge
                )
            styles.append(self._styles[key, judge])
        return _mixed(styles, sources.shares)

    def _style_alone(self, pixels: Tensor, visible: Tensor | None, judge: str) -> "_Style":
        small = _shrunk(pixels)
        small_visible = None if visible is None else _shrunk(visible)
        grams = None
        if _is_wide_enough(small):
            network = _vgg16(self._device) if judge == "vgg16" else _vgg19(self._device, judge)
            grams = perceptual.grams(network(small), small_visible)
        histogram = metrics.color_histograms(small, small_visible)
        return _Style(histogram, metrics.fine_energy(pixels, visible), grams)


@dataclass(frozen=True, slots=True)
class _Content:
    """Features of a content for LPIPS, in colour and in grey, and for CFSD."""

    colored: Features
    grey: Features
    structure: Tensor


@dataclass(frozen=True, slots=True)
class _Style:
    """The statistics of a style, or of several together; no `grams` if one is too elongated."""

    histogram: Tensor
    energy: Tensor
    grams: Mapping[str, Tensor] | None


def measures_together(device: torch.device) -> bool:
    """Whether several pictures are measured in one pass, which a CPU gains nothing by."""
    return device.type != "cpu"


def _joined(several: Sequence[Features]) -> Features:
    """The features of several pictures as those of a batch."""
    return {layer: _batch([each[layer] for each in several]) for layer in several[0]}


def _batch(tensors: Sequence[Tensor]) -> Tensor:
    """[1,...] each -> [B,...]; one alone stays as it lies in memory, on which last bits may depend."""
    return torch.cat(list(tensors)) if len(tensors) > 1 else tensors[0]


def _style_distances(features: Features, styles: Sequence["_Style"]) -> Tensor:
    """The distance of each picture of a batch to its style, [B]; NaN where the style has no Grams."""
    own = perceptual.grams(features)
    found = []
    for n, style in enumerate(styles):
        of_picture = {layer: grams[n : n + 1] for layer, grams in own.items()}
        found.append(
            perceptual.style_distance(of_picture, style.grams)
            if style.grams is not None
            else torch.full_like(style.energy, torch.nan)
        )
    return torch.cat(found)


def _known(measures: dict[str, Any], style: "_Style") -> dict[str, Any]:
    """The measures without one that the style is too elongated for."""
    return measures if style.grams is not None else measures | {"style_distance": None}


def _mixed(styles: Sequence[_Style], shares: Sequence[float]) -> _Style:
    grams = [style.grams for style in styles if style.grams is not None]
    return _Style(
        _mean([style.histogram for style in styles], shares),
        _mean([style.energy for style in styles], shares),
        {layer: _mean([each[layer] for each in grams], shares) for layer in STYLE_LAYERS}
        if len(grams) == len(styles)
        else None,
    )


def _mean(values: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    weights = values[0].new_tensor(shares)
    mean: Tensor = torch.tensordot(weights, torch.stack(list(values)), dims=1)
    return mean


def _shrunk(images: Tensor) -> Tensor:
    """At most _MAX_PX on the long edge, [1,C,H,W] -> [1,C,h,w]."""
    scale = _MAX_PX / max(images.shape[2:])
    if scale >= 1:
        return images
    size = [max(1, round(side * scale)) for side in images.shape[2:]]
    return interpolate(images, size, mode="area")


def _is_wide_enough(small: Tensor) -> bool:
    return min(small.shape[2:]) >= MIN_SIDE_PX


def _of_lpips(features: Features) -> Features:
    return {layer: features[layer] for layer in LPIPS_LAYERS}


def _vgg16(device: torch.device) -> Backbone:
    return _network("vgg16", (*LPIPS_LAYERS, *STYLE_LAYERS), device)


def _vgg19(device: torch.device, judge: str) -> Backbone:
    """VGG-19 down to CFSD's layer: the deeper half of it is not needed."""
    return _network("vgg19", STYLE_LAYERS if judge == "vgg19" else (CFSD_LAYER,), device)


@lru_cache(maxsize=3)
def _network(name: str, layers: tuple[str, ...], device: torch.device) -> Backbone:
    """A network with the embedded weights, whatever weights the pictures were painted with."""
    state = weights.load_state(weights.obtain(name))
    return load_backbone(name, state, layers, device=device, compact=True)


@lru_cache(maxsize=1)
def _heads(device: torch.device) -> tuple[Tensor, ...]:
    return tuple(head.to(device) for head in weights.load_lpips_heads())
