"""The targets of each item of a batch, computed once.

`nst.painting.statistics` defines what is compared of a layer, and `nst.painting.nearest` the neighbours.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nst.job import DEFAULT_CONTENT_WEIGHT, Method, PictureParams, chroma_weight_of, weighting_of
from nst.painting import losses, metrics, nearest, palettes, reductions, regions, statistics
from nst.painting.backbones import Backbone
from nst.painting.devices import same_shapes
from nst.painting.memory import style_tile_px
from nst.painting.nearest import Candidates, NeighbourTarget
from nst.painting.palettes import Palette, palette_of
from nst.painting.statistics import Moments, StyleTarget, moment_sums, style_target
from nst.painting.threads import same_with_any_number
from nst.painting.tiles import Slices, Tile, cut
from nst.profiles import BackboneProfile, Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One picture to make: `content` [3,H,W] and `styles` [3,h,w] each, float32 sRGB in [0, 1].

    `mask` [1,H,W] in [0, 1] says where each style paints, as in `nst.painting.regions`; without one, several
    styles are blended. `start` [3,H,W] is what the optimisation starts from where that is a picture.
    `style_keys` name the styles' pixels, so that what is computed of them once can be found again.
    `style_alphas` are [1,h,w] in [0, 1], or None for a style that is opaque: what is transparent is
    left out of the style's statistics. () means that all are opaque.
    """

    content: Tensor
    styles: tuple[Tensor, ...]
    params: PictureParams
    mask: Tensor | None = None
    start: Tensor | None = None
    style_keys: tuple[str, ...] = ()
    style_alphas: tuple[Tensor | None, ...] = ()

    @property
    def alphas(self) -> tuple[Tensor | None, ...]:
        """The alpha of each style."""
        return self.style_alphas or (None,) * len(self.styles)

    @property
    def blend(self) -> Sequence[float]:
        """How much of each style there is where they are blended, in any unit."""
        return self.params.style_blend or [1.0] * len(self.styles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The unitless losses of a batch, [B] each; `total` is what is minimised, as in `nst.painting.objective`."""

    content: Tensor
    style: Tensor
    tv: Tensor
    detail: Tensor
    contrast: Tensor
    noise: Tensor
    chroma: Tensor
    total: Tensor


LOSS_NAMES = tuple(field.name for field in fields(Losses))


def map_losses(function: Callable[..., Tensor], *batches: Losses) -> Losses:
    """One `Losses` whose every field is `function` of that field of each of `batches`."""
    return Losses(
        **{name: function(*(getattr(each, name) for each in batches)) for name in LOSS_NAMES}
    )


# What the style loss of ordinary pairs comes to: of Grams alone, and of all that a pyramid compares.
STYLE_UNITS: Mapping[Method, float] = {"gatys": 0.04, "pyramid": 0.15}
# The weight of what holds on to light and shade, for each 1 of the content weight.
CONTRAST_SHARE = 6.0
# How much of the style's energy in the highest octave a picture may have before it costs anything:
# somewhat less than all, since what only costs is overstepped a little.
NOISE_LIMIT = 0.9


@dataclass(frozen=True, slots=True)
class StyleStatistics:
    """What is known of a style, by layer: its moments, [1,1,...], and candidates for neighbours."""

    moments: Mapping[str, Moments]
    candidates: Mapping[str, Candidates]


# What is known of styles that were looked at before: under their key, size and layers, and the tiles
# that they were looked at in, on which last bits depend.
StyleMemo = MutableMapping[tuple[object, ...], StyleStatistics]


@dataclass(frozen=True, slots=True)
class PixelTargets:
    """The targets and scales of the losses of the pixels themselves, for B items.

    `edges` and `shade` are the content's; `contrast_floor` [B] is how much of the latter is kept,
    and `noise_limit` [B] the energy that the highest octave may have.
    """

    edges: Tensor
    edge_scale: Tensor
    shade: Tensor
    shade_scale: Tensor
    contrast_floor: Tensor
    noise_limit: Tensor


@dataclass(frozen=True, slots=True)
class Targets:
    """The targets of the items that go through the network together.

    `neighbours` are nothing where positions of the style are not asked for. `contents` are directions of
    features [B,C,h,w] by layer, and `presence` [B,1,h,w] is how much each position counts, nothing for a
    method with which all count alike. `palette` is the chroma that a picture may have. `weights` are [B]
    each, and so is `reach`, the content loss up to which a picture is let go from its content.
    `style_unit` is the style loss at which the style has its weight. `looks_at_pixels` says whether any
    loss with a target in `pixels`, or the total variation, has a weight above 0, and `holds_chroma` the same
    of the chroma loss, so that no evaluation has to wait for the device to find out.
    """

    styles: Mapping[str, StyleTarget]
    neighbours: Mapping[str, NeighbourTarget]
    contents: Mapping[str, Tensor]
    presence: Mapping[str, Tensor]
    content_coefficients: Mapping[str, Tensor]
    pixels: PixelTargets
    palette: Palette
    weights: Losses
    reach: Tensor
    style_unit: float
    tiles: tuple[Tile, ...]
    looks_at_pixels: bool
    holds_chroma: bool

    @property
    def num_items(self) -> int:
        return len(self.weights.total)


def targets_of(
    item: Item,
    shares: Shares,
    backbone: Backbone,
    memo: StyleMemo,
    tile_px: int | None,
    whole_style_px: int | None,
    *,
    is_alone: bool,
    is_finest: bool,
) -> Targets:
    """The targets of an item, which goes through the network by itself or together with others.

    `is_finest` says whether it is as large as the picture is to be.
    """
    device = backbone.device
    params = item.params
    content = item.content[None].to(device)
    tiles = cut(content.shape[2], content.shape[3], tile_px, backbone.profile.margin_px)
    keys = item.style_keys or tuple(f"only {n}" for n in range(len(item.styles)))
    styles = [
        _Style(pixels[None].to(device), None if alpha is None else alpha[None].to(device), key)
        for pixels, alpha, key in zip(item.styles, item.alphas, keys, strict=True)
    ]
    if not item.style_keys:
        memo = {}
    # Before the styles, and with a trial: PyTorch keeps to the first algorithm that it takes for a
    # shape, tried or not, and this one has that of every evaluation.
    with same_shapes(device) if is_alone else nullcontext():
        of_content = _look_at_content(
            content, shares, backbone, tiles, with_means=params.method == "pyramid"
        )
    matched: tuple[str, ...] = ()
    if is_finest and params.method == "pyramid":
        matched = tuple(
            layer for layer in backbone.profile.neighbour_weights if layer in shares.style
        )
    known = []
    for style in styles:
        tile = _tile_px(style, tile_px, whole_style_px)
        with _same_bits(style):
            known.append(_style_statistics(style, shares, backbone, memo, tile, matched))
    guides = None if item.mask is None else regions.guides(item.mask.to(device), len(styles))[None]
    at_layers = {
        layer: _at_layer(guides, size)
        for layer, size in of_content.sizes.items()
        if layer in shares.style
    }
    style_targets = {
        layer: _style_target(
            [each.moments[layer] for each in known],
            item.blend,
            at_layers[layer],
            of_content.sizes[layer],
            of_content.moments[layer],
            share,
        )
        for layer, share in shares.style.items()
    }
    neighbour_targets = {
        layer: _neighbour_target(
            [each.candidates[layer] for each in known],
            item.blend,
            at_layers[layer],
            of_content.sizes[layer],
            backbone.profile.neighbour_weights[layer] * shares.style[layer],
        )
        for layer in matched
    }
    presence = {}
    if params.method == "pyramid":
        presence = {n: losses.presence(lengths) for n, lengths in of_content.lengths.items()}
    weights = _weights(params)
    of_pixels = (weights.tv, weights.detail, weights.contrast, weights.noise)
    return Targets(
        styles=style_targets,
        neighbours=neighbour_targets,
        contents=of_content.directions,
        presence=presence,
        content_coefficients={
            layer: shares.content[layer] / losses.content_scale(target, presence.get(layer))
            for layer, target in of_content.directions.items()
        },
        pixels=_pixel_targets(content, styles, params),
        palette=palette_of(
            content,
            [style.pixels for style in styles],
            [style.alpha for style in styles],
            guides=guides,
            blend=item.blend,
            recolored=weighting_of(params).recolored,
        ),
        weights=map_losses(lambda column: column.to(device), weights),
        reach=content.new_tensor([_content_reach(params, backbone.profile)]),
        style_unit=STYLE_UNITS[params.method],
        tiles=tiles,
        looks_at_pixels=any(bool(weight.any()) for weight in of_pixels),
        holds_chroma=bool(weights.chroma.any()),
    )


def _weights(params: PictureParams) -> Losses:
    """On the CPU, where they can be read."""
    weighting = weighting_of(params)

    def column(value: float) -> Tensor:
        return torch.tensor([value])

    return Losses(
        content=column(weighting.content),
        style=column(weighting.style),
        tv=column(params.tv_weight),
        detail=column(params.detail_weight),
        # Who does not ask for the content does not ask for its light and shade.
        contrast=column(CONTRAST_SHARE * weighting.content if params.contrast_floor else 0),
        # It is the style's grain that counts, as far as the style does.
        noise=column(params.noise_weight * weighting.style),
        # And its colours likewise.
        chroma=column(chroma_weight_of(params) * weighting.style),
        total=column(1.0),
    )


def _content_reach(params: PictureParams, profile: BackboneProfile) -> float:
    """The content loss that a picture may reach freely: the profile's, at these weights."""
    weighting = weighting_of(params)
    ratio = DEFAULT_CONTENT_WEIGHT * weighting.style / max(weighting.content, 1e-6)
    relative = min(max(ratio, 1e-6), 1e6) ** profile.reach_power
    return float(profile.fits[params.method].content_reach * relative)


def _pixel_targets(
    content: Tensor, styles: Sequence["_Style"], params: PictureParams
) -> PixelTargets:
    edges, shade = losses.laplacian(content), losses.shade(content)
    # Of several styles, the one with the most of it.
    energy = torch.stack([_fine_energy(style) for style in styles]).amax(dim=0)
    return PixelTargets(
        edges=edges,
        edge_scale=losses.detail_scale(edges),
        shade=shade,
        shade_scale=losses.shade_scale(shade),
        contrast_floor=content.new_tensor([params.contrast_floor]),
        noise_limit=NOISE_LIMIT * energy.clamp_min(metrics.MIN_FINE_ENERGY),
    )


def _fine_energy(style: "_Style") -> Tensor:
    with _same_bits(style):
        return metrics.fine_energy(style.pixels, style.alpha)


def _same_bits(style: "_Style") -> AbstractContextManager[None]:
    """`same_with_any_number` by the style's size: the picture's, which may be larger, decides for the rest."""
    return same_with_any_number(style.pixels.shape[2:], style.pixels.device)


def stacked(several: Sequence[Targets]) -> Targets:
    """The targets of several items as one, whose tensors are alike."""

    def cat(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(tensors))

    def layers(name: str) -> dict[str, Tensor]:
        return {
            layer: cat([getattr(one, name)[layer] for one in several])
            for layer in getattr(several[0], name)
        }

    return Targets(
        styles={
            layer: statistics.stacked([one.styles[layer] for one in several])
            for layer in several[0].styles
        },
        neighbours={
            layer: nearest.stacked([one.neighbours[layer] for one in several])
            for layer in several[0].neighbours
        },
        contents=layers("contents"),
        presence=layers("presence"),
        content_coefficients=layers("content_coefficients"),
        pixels=PixelTargets(
            *(
                cat([getattr(one.pixels, field.name) for one in several])
                for field in fields(PixelTargets)
            )
        ),
        palette=palettes.stacked([one.palette for one in several]),
        weights=map_losses(lambda *columns: cat(columns), *(one.weights for one in several)),
        reach=cat([one.reach for one in several]),
        style_unit=several[0].style_unit,
        tiles=several[0].tiles,
        looks_at_pixels=any(one.looks_at_pixels for one in several),
        holds_chroma=any(one.holds_chroma for one in several),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is known about a content: the directions and lengths of its content layers' features
    [1,C,h,w] and [1,1,h,w], its style layers' moments, [1,1,...], and the size of every layer's map."""

    directions: Mapping[str, Tensor]
    lengths: Mapping[str, Tensor]
    moments: Mapping[str, Moments]
    sizes: Mapping[str, tuple[int, int]]


def _look_at_content(
    content: Tensor,
    shares: Shares,
    backbone: Backbone,
    tiles: Sequence[Tile],
    *,
    with_means: bool,
) -> _Seen:
    pieces: dict[str, list[tuple[Slices, Tensor]]] = {}
    lengths: dict[str, list[tuple[Slices, Tensor]]] = {}
    sums: dict[str, Moments] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for layer, features, slices in feature_maps(content, tiles, backbone):
        # Tiles come row by row, so that the last one of a layer ends where the map ends.
        sizes[layer] = (slices[2].stop, slices[3].stop)
        if layer in shares.content:
            directions, own_lengths = losses.directions(features)
            pieces.setdefault(layer, []).append((slices, directions))
            lengths.setdefault(layer, []).append((slices, own_lengths))
        if layer in shares.style:
            add_sums(sums, layer, moment_sums(features, None, with_means=with_means))
    moments = {
        layer: found.over(sizes[layer][0] * sizes[layer][1]) for layer, found in sums.items()
    }
    return _Seen(
        {layer: _joined(found, sizes[layer]) for layer, found in pieces.items()},
        {layer: _joined(found, sizes[layer]) for layer, found in lengths.items()},
        moments,
        sizes,
    )


def _joined(pieces: Sequence[tuple[Slices, Tensor]], size: tuple[int, int]) -> Tensor:
    if len(pieces) == 1:
        return pieces[0][1]
    first = pieces[0][1]
    whole = first.new_empty(*first.shape[:2], *size)
    for slices, piece in pieces:
        whole[slices] = piece
    return whole


@dataclass(frozen=True, slots=True)
class _Style:
    """A style picture [1,3,h,w], its alpha [1,1,h,w] if it has one, and its key in the memo."""

    pixels: Tensor
    alpha: Tensor | None
    key: str


def _style_target(
    found: Sequence[Moments],
    blend: Sequence[float],
    guides: Tensor | None,
    size: tuple[int, int],
    of_content: Moments,
    share: float,
) -> StyleTarget:
    """The target of a layer of `size`: the moments of a blend, or those of each region of a mask."""
    means = None
    grams = torch.cat([each.grams for each in found], dim=1)
    if of_content.means is not None:
        means = torch.cat([each.means for each in found if each.means is not None], dim=1)
    if guides is None:
        weights = grams.new_tensor(blend)
        shares = weights / weights.sum()
        grams = (grams * shares[:, None, None]).sum(dim=1, keepdim=True)
        # Of a picture that is of each style in so large a part, as its Gram is.
        means = None if means is None else (means * shares[:, None]).sum(dim=1, keepdim=True)
        sizes = grams.new_full((1, 1), size[0] * size[1])
        areas = torch.ones_like(sizes)
    else:
        sizes = reductions.total(guides.square(), kept=2).clamp_min(losses.MIN_SCALE)
        areas = reductions.mean(guides, kept=2)
        areas = areas / areas.sum(dim=1, keepdim=True).clamp_min(losses.MIN_SCALE)
    return style_target(Moments(grams, means), of_content, areas, sizes, guides=guides, share=share)


def _neighbour_target(
    found: Sequence[Candidates],
    blend: Sequence[float],
    guides: Tensor | None,
    size: tuple[int, int],
    weight: float,
) -> NeighbourTarget:
    """The target of a layer of `size`: the positions of a blend, or those of each region of a mask."""
    if guides is None:
        tables = [nearest.blended(found, blend)]
    else:
        tables = [each.directions for each in found]
    return nearest.neighbour_target(tables, guides, size, weight)


def _at_layer(guides: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """The guides [1,K,H,W] at the size of a layer's map, [1,K,h,w]."""
    return None if guides is None else regions.at_layer(guides[0], *size)[None]


def _style_statistics(
    style: _Style,
    shares: Shares,
    backbone: Backbone,
    memo: StyleMemo,
    tile_px: int | None,
    matched: tuple[str, ...],
) -> StyleStatistics:
    """What is known of each style layer; of a transparent style as of a region of a picture.

    There are candidates of the layers that are `matched`.
    """
    name = (style.key, tuple(style.pixels.shape), tuple(shares.style), tile_px, matched)
    known = memo.get(name)
    if known is None:
        sums: dict[str, Moments] = {}
        counts: dict[str, Tensor | int] = {}
        pieces: dict[str, list[Candidates]] = {layer: [] for layer in matched}
        tiles = _tiles(style, backbone, tile_px)
        visible_px = float(style.pixels[0, 0].numel())
        if style.alpha is not None:
            visible_px = float(reductions.total(style.alpha.square(), kept=0))
        for layer, features, guide, slices in _guided_maps(style, tiles, backbone):
            if layer in shares.style:
                add_sums(sums, layer, moment_sums(features, guide, with_means=True))
                count = _size_of(features, guide)
                counts[layer] = counts.get(layer, 0) + count
            if layer in matched:
                num_visible = visible_px / backbone.profile.stride(layer) ** 2
                pieces[layer].append(nearest.candidates(features, slices, guide, num_visible))
        # Another picture that is painted at the same time may have it forgotten.
        known = memo[name] = StyleStatistics(
            {layer: found.over(counts[layer]) for layer, found in sums.items()},
            {layer: nearest.joined(found) for layer, found in pieces.items()},
        )
    return known


def _size_of(features: Tensor, guide: Tensor | None) -> Tensor | int:
    """The sum of the squared guide of a piece, [1,1], or the number of its positions."""
    if guide is None:
        return features[0, 0].numel()
    return reductions.total(guide.square(), kept=2).clamp_min(losses.MIN_SCALE)


def _guided_maps(
    style: _Style, tiles: Sequence[Tile], backbone: Backbone
) -> Iterator[tuple[str, Tensor, Tensor | None, Slices]]:
    """As `feature_maps`, with the alpha at the size of the map, [1,1,h,w], if there is one."""
    for tile in tiles:
        features = backbone(style.pixels[:, :, tile.rows, tile.columns])
        for layer in list(features):
            own = features.pop(layer)
            core, slices = tile.at(backbone.profile.stride(layer), own)
            guide = None
            if style.alpha is not None:
                alpha = style.alpha[0, :, tile.rows, tile.columns]
                guide = regions.at_layer(alpha, *own.shape[2:])[None][core]
            yield layer, own[core], guide, slices


def _tile_px(style: _Style, tile_px: int | None, whole_style_px: int | None) -> int | None:
    height, width = style.pixels.shape[2:]
    return style_tile_px(height, width, tile_px, whole_style_px)


def _tiles(style: _Style, backbone: Backbone, tile_px: int | None) -> tuple[Tile, ...]:
    height, width = style.pixels.shape[2:]
    return cut(height, width, tile_px, backbone.profile.margin_px)


def feature_maps(
    images: Tensor, tiles: Sequence[Tile], backbone: Backbone
) -> Iterator[tuple[str, Tensor, Slices]]:
    """The feature maps of each tile without its margin, and where in the whole map they belong."""
    for tile in tiles:
        features = backbone(images[:, :, tile.rows, tile.columns])
        for layer in list(features):
            own = features.pop(layer)
            core, slices = tile.at(backbone.profile.stride(layer), own)
            yield layer, own[core], slices


def add_sums(sums: MutableMapping[str, Moments], layer: str, found: Moments) -> None:
    """Add the undivided moments of a piece of a layer's map to those of the pieces before it."""
    sums[layer] = sums[layer] + found if layer in sums else found
