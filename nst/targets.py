"""What a batch of images is drawn to: the targets of each item, computed once.

The Grams, what they are measured in and how they are shared out are said in `nst.objective`.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nst import losses, reductions, regions
from nst.backbones import Backbone
from nst.job import PictureParams
from nst.profiles import Shares
from nst.tiles import Place, Tile, cut


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One picture to make: `content` [3,H,W] and `styles` [3,h,w] each, float32 sRGB in [0, 1].

    `mask` [1,H,W] in [0, 1] says where each style paints, as in `nst.regions`; without one, several
    styles are blended. `start` [3,H,W] is what the optimisation starts from where that is a picture.
    `style_keys` name the styles' pixels, so that what is computed of them once can be found again.
    """

    content: Tensor
    styles: tuple[Tensor, ...]
    params: PictureParams
    mask: Tensor | None = None
    start: Tensor | None = None
    style_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The unitless losses of a batch, [B] each; `total` is their weighted sum."""

    content: Tensor
    style: Tensor
    tv: Tensor
    detail: Tensor
    total: Tensor


LOSS_NAMES = ("content", "style", "tv", "detail", "total")


def map_losses(function: Callable[..., Tensor], *batches: Losses) -> Losses:
    """One `Losses` whose every field is `function` of that field of each of `batches`."""
    return Losses(
        content=function(*(each.content for each in batches)),
        style=function(*(each.style for each in batches)),
        tv=function(*(each.tv for each in batches)),
        detail=function(*(each.detail for each in batches)),
        total=function(*(each.total for each in batches)),
    )


# What is known of styles that were looked at before, by layer: under their key, size and layers, and
# the tiles that they were looked at in, on which last bits depend.
StyleMemo = MutableMapping[tuple[object, ...], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class StyleTarget:
    """What a layer's Grams are drawn to, for B items of K regions each.

    `grams` are [B,K,C,C]; `coefficients` [B,K] are each one's part of the loss over its scale;
    `guides` [B,K,h,w] say where each region is, or None where it is everywhere; `sizes` [B,K] are
    the sums of the squared guides, by which a Gram is divided.
    """

    grams: Tensor
    coefficients: Tensor
    guides: Tensor | None
    sizes: Tensor
    share: float

    def pull(self, sums: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's share of the loss, [B], and matrices [B,K,C,C] that turn features to gradients.

        `sums` [B,K,C,C] are the undivided Grams. As dG/dF of ||G - A||^2 is 4 F (G - A) / size.
        """
        difference = sums / self.sizes[..., None, None] - self.grams
        loss = (self.coefficients * reductions.total(difference.square(), kept=2)).sum(dim=1)
        slope = 4 * weight[:, None] * self.coefficients / self.sizes
        return loss, slope[..., None, None] * difference


@dataclass(frozen=True, slots=True)
class Part:
    """What the items that go through the network together are drawn to."""

    styles: Mapping[str, StyleTarget]
    contents: Mapping[str, Tensor]
    content_coefficients: Mapping[str, Tensor]
    temperatures: Mapping[str, Tensor]
    edges: Tensor
    edge_scale: Tensor
    weights: Losses
    looks_at_pixels: bool
    tiles: tuple[Tile, ...]

    @property
    def num_items(self) -> int:
        return len(self.weights.total)


def part_of(
    item: Item, shares: Shares, backbone: Backbone, memo: StyleMemo, tile_px: int | None
) -> Part:
    device = backbone.device
    params = item.params
    content = item.content[None].to(device)
    tiles = cut(content.shape[2], content.shape[3], tile_px, backbone.profile.margin_px)
    keys = item.style_keys or tuple(f"only {n}" for n in range(len(item.styles)))
    styles = [_Style(s[None].to(device), k) for s, k in zip(item.styles, keys, strict=True)]
    if not item.style_keys:
        memo = {}
    temperatures = _temperatures(styles, shares, backbone, memo, tile_px)
    grams = [_style_grams(s, temperatures, shares, backbone, memo, tile_px) for s in styles]
    guides = None if item.mask is None else regions.guides(item.mask.to(device), len(styles))[None]
    contents, sizes = _content_maps(content, temperatures, shares, backbone, tiles)
    targets = {
        layer: _style_target([each[layer] for each in grams], params, guides, sizes[layer], share)
        for layer, share in shares.style.items()
    }

    def column(value: float) -> Tensor:
        return torch.tensor([value], device=device)

    edges = losses.laplacian(content)
    return Part(
        styles=targets,
        contents=contents,
        content_coefficients={
            layer: shares.content[layer] / losses.content_scale(target)
            for layer, target in contents.items()
        },
        temperatures=temperatures,
        edges=edges,
        edge_scale=losses.detail_scale(edges),
        weights=Losses(
            content=column(params.content_weight),
            style=column(params.style_weight),
            tv=column(params.tv_weight),
            detail=column(params.detail_weight),
            total=column(1.0),
        ),
        looks_at_pixels=params.tv_weight > 0 or params.detail_weight > 0,
        tiles=tiles,
    )


def stacked(parts: Sequence[Part]) -> Part:
    """One part of several whose tensors are alike."""

    def cat(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(tensors))

    def layers(name: str) -> dict[str, Tensor]:
        return {
            layer: cat([getattr(part, name)[layer] for part in parts])
            for layer in getattr(parts[0], name)
        }

    def style(layer: str) -> StyleTarget:
        targets = [part.styles[layer] for part in parts]
        guides = [target.guides for target in targets if target.guides is not None]
        return StyleTarget(
            cat([target.grams for target in targets]),
            cat([target.coefficients for target in targets]),
            cat(guides) if guides else None,
            cat([target.sizes for target in targets]),
            targets[0].share,
        )

    return Part(
        styles={layer: style(layer) for layer in parts[0].styles},
        contents=layers("contents"),
        content_coefficients=layers("content_coefficients"),
        temperatures=layers("temperatures"),
        edges=cat([part.edges for part in parts]),
        edge_scale=cat([part.edge_scale for part in parts]),
        weights=map_losses(lambda *columns: cat(columns), *(part.weights for part in parts)),
        looks_at_pixels=any(part.looks_at_pixels for part in parts),
        tiles=parts[0].tiles,
    )


def _content_maps(
    content: Tensor,
    temperatures: Mapping[str, Tensor],
    shares: Shares,
    backbone: Backbone,
    tiles: Sequence[Tile],
) -> tuple[dict[str, Tensor], dict[str, tuple[int, int]]]:
    """What the losses see of the content in each content layer, and the size of every layer's map."""
    pieces: dict[str, list[tuple[Place, Tensor]]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for layer, features, place in feature_maps(content, tiles, backbone):
        # Tiles come row by row, so that the last one of a layer ends where the map ends.
        sizes[layer] = (place[2].stop, place[3].stop)
        if layer in shares.content:
            seen = seen_of(features, temperatures.get(layer))
            pieces.setdefault(layer, []).append((place, seen))
    return {layer: _joined(found, sizes[layer]) for layer, found in pieces.items()}, sizes


def _joined(pieces: Sequence[tuple[Place, Tensor]], size: tuple[int, int]) -> Tensor:
    if len(pieces) == 1:
        return pieces[0][1]
    first = pieces[0][1]
    whole = first.new_empty(*first.shape[:2], *size)
    for place, piece in pieces:
        whole[place] = piece
    return whole


@dataclass(frozen=True, slots=True)
class _Style:
    """A style picture [1,3,h,w] and what it is called in the memo."""

    pixels: Tensor
    key: str


def _style_target(
    grams: Sequence[Tensor],
    params: PictureParams,
    guides: Tensor | None,
    size: tuple[int, int],
    share: float,
) -> StyleTarget:
    """The target of a layer of `size`: one blended Gram, or one for each region of a mask."""
    found = torch.stack(list(grams))
    if guides is None:
        weights = found.new_tensor(params.style_blend or [1.0] * len(grams))
        blended = (found * (weights / weights.sum())[:, None, None]).sum(dim=0)
        target = blended[None, None]
        sizes = target.new_full((1, 1), size[0] * size[1])
        areas = torch.ones_like(sizes)
    else:
        guides = regions.at_layer(guides[0], *size)[None]
        target = found[None]
        sizes = reductions.total(guides.square(), kept=2).clamp_min(losses.MIN_SCALE)
        areas = reductions.mean(guides, kept=2)
        areas = areas / areas.sum(dim=1, keepdim=True).clamp_min(losses.MIN_SCALE)
    coefficients = share * areas / losses.gram_scale(target)
    return StyleTarget(target, coefficients, guides, sizes, share)


def _temperatures(
    styles: Sequence[_Style],
    shares: Shares,
    backbone: Backbone,
    memo: StyleMemo,
    tile_px: int | None,
) -> dict[str, Tensor]:
    """For each layer that is smoothed, [1]: the highest of the styles', so that none is sharpened."""
    layers = [layer for layer in shares.layers if layer in backbone.profile.smoothed_layers]
    if not layers:
        return {}
    found = []
    for style in styles:
        name = (style.key, tuple(style.pixels.shape), tuple(layers), tile_px)
        if name not in memo:
            memo[name] = {
                layer: losses.temperature(features)
                for layer, features, _ in feature_maps(
                    style.pixels, _tiles(style, backbone, tile_px), backbone
                )
                if layer in layers
            }
        found.append(memo[name])
    return {layer: torch.stack([each[layer] for each in found]).amax(dim=0) for layer in layers}


def _style_grams(
    style: _Style,
    temperatures: Mapping[str, Tensor],
    shares: Shares,
    backbone: Backbone,
    memo: StyleMemo,
    tile_px: int | None,
) -> Mapping[str, Tensor]:
    """The Gram [C,C] of each style layer."""
    at = tuple(sorted((layer, float(value)) for layer, value in temperatures.items()))
    name = (style.key, tuple(style.pixels.shape), tuple(shares.style), at, tile_px)
    if name not in memo:
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        tiles = _tiles(style, backbone, tile_px)
        for layer, features, _ in feature_maps(style.pixels, tiles, backbone):
            if layer in shares.style:
                found = gram_sums(seen_of(features, temperatures.get(layer)), None)[0, 0]
                sums[layer] = sums[layer] + found if layer in sums else found
                counts[layer] = counts.get(layer, 0) + features[0, 0].numel()
        memo[name] = {layer: sums[layer] / counts[layer] for layer in sums}
    return memo[name]


def _tiles(style: _Style, backbone: Backbone, tile_px: int | None) -> tuple[Tile, ...]:
    height, width = style.pixels.shape[2:]
    return cut(height, width, tile_px, backbone.profile.margin_px)


def feature_maps(
    images: Tensor, tiles: Sequence[Tile], backbone: Backbone
) -> Iterator[tuple[str, Tensor, Place]]:
    """The feature maps of each tile without its margin, and where in the whole map they belong."""
    for tile in tiles:
        features = backbone(images[:, :, tile.rows, tile.columns])
        for layer in list(features):
            own = features.pop(layer)
            core, place = tile.at(backbone.profile.stride(layer), own)
            yield layer, own[core], place


def gram_sums(features: Tensor, guides: Tensor | None) -> Tensor:
    """Undivided Grams: [B,C,h,w] and guides [B,K,h,w], or one of 1 everywhere, -> [B,K,C,C]."""
    flat = losses.positions(features)
    if guides is None:
        return reductions.square_of(flat)[:, None]
    guided = [flat * guide.flatten(1)[..., None] for guide in guides.unbind(dim=1)]
    return torch.stack([reductions.square_of(each) for each in guided], dim=1)


def seen_of(features: Tensor, temperature: Tensor | None) -> Tensor:
    """What the losses look at: features, or where the profile says so, smoothed ones."""
    return features if temperature is None else losses.smoothed(features, temperature)
