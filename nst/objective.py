"""What a batch of images is measured by: the weighted, unitless loss and its gradient.

- A Gram is G = F' F / (H W) (Gatys et al., 2015, eq. 3, there undivided): divided by the number of
  positions it does not depend on the picture's size, so that a style of one size is the target of a
  picture of another.
- The style loss of a layer is ||G - A||^2 / ||A||^2: 0 at the style's Gram A, 1 without features. It
  departs from Gatys et al. (2016, eq. 4), whose 1 / (4 N^2 M^2) leaves a loss that varies a
  thousandfold between styles; dividing by the target is after Cheng et al. (CVPR 2021).
- The content loss is ||F - P||^2 / ||P - mean(P)||^2: 0 at the content, 1 where the features are
  flat. Theirs (eq. 1) grows with the picture's size and the square of the features' scale.

No loss goes through autograd. What each pulls the features towards is known as soon as the features
are, so the way back through the network picks it up as it passes.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nst import losses, regions
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


# What is known of styles that were looked at before, by layer: under their key, size and layers.
StyleMemo = MutableMapping[tuple[object, ...], Mapping[str, Tensor]]


class Objective:
    """The weighted loss of a batch and its gradient; what does not change is computed once."""

    def __init__(self, parts: Sequence["_Part"], backbone: Backbone) -> None:
        self._parts = parts
        self._backbone = backbone

    @classmethod
    def of(
        cls,
        items: Sequence[Item],
        backbone: Backbone,
        *,
        memo: StyleMemo | None = None,
        tile_px: int | None = None,
    ) -> "Objective":
        """Items share one size of content, layers, a number of styles and whether there is a mask.

        With `tile_px` a picture goes through the network in tiles of that side, one after the
        other: less memory, more work, the same loss. `memo` holds what is known of styles.
        """
        program = items[0].params
        shares = backbone.profile.shares(program.content_layers, program.style_layers)
        memo = {} if memo is None else memo
        with torch.no_grad():
            parts = [_part(item, shares, backbone, memo, tile_px) for item in items]
            if len(parts) > 1 and runs_items_together(backbone.device, tile_px):
                parts = [_stacked(parts)]
        return cls(parts, backbone)

    def __call__(
        self, images: Tensor, running: Sequence[bool] | None = None
    ) -> tuple[Losses, Tensor]:
        """The losses [B] of images [B,3,H,W] and the gradient of each item's total, [B,3,H,W].

        Parts of which no item is `running` are not looked at, and have zeros for both.
        """
        found = []
        for part, own, some_run in self._split(images, running):
            if some_run:
                evaluate = _evaluate if len(part.tiles) == 1 else _evaluate_by_tiles
                found.append(evaluate(own, part, self._backbone))
            else:
                nothing = own.new_zeros(len(own))
                found.append((Losses(**dict.fromkeys(LOSS_NAMES, nothing)), torch.zeros_like(own)))
        return (
            map_losses(lambda *columns: torch.cat(columns), *(each for each, _ in found)),
            torch.cat([gradient for _, gradient in found]),
        )

    def style_by_layer(self, images: Tensor) -> dict[str, Tensor]:
        """The style loss of images [B,3,H,W] of each layer by itself, [B]: 0 the style, 1 nothing."""
        found: dict[str, list[Tensor]] = {}
        with torch.no_grad():
            for part, own, _ in self._split(images, None):
                sums, _ = _measure(own, part, self._backbone)
                for layer, target in part.styles.items():
                    loss, _ = target.pull(sums[layer], part.weights.style)
                    found.setdefault(layer, []).append(loss / target.share)
        return {layer: torch.cat(columns) for layer, columns in found.items()}

    def _split(
        self, images: Tensor, running: Sequence[bool] | None
    ) -> Iterator[tuple["_Part", Tensor, bool]]:
        start = 0
        for part in self._parts:
            stop = start + part.num_items
            yield part, images[start:stop], running is None or any(running[start:stop])
            start = stop


def runs_items_together(device: torch.device, tile_px: int | None) -> bool:
    """Whether a batch goes through the network in one pass.

    On a CPU it does not: one item at a time is as fast, needs one item's memory, and rounds the
    same way whoever its batch-mates are. That matters, since the optimisation blows a last bit up
    to whole grey levels within some tens of steps. Nor do pictures so large that they are tiled.
    """
    return device.type != "cpu" and tile_px is None


@dataclass(frozen=True, slots=True)
class _StyleTarget:
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
        loss = (self.coefficients * difference.square().sum(dim=(2, 3))).sum(dim=1)
        slope = 4 * weight[:, None] * self.coefficients / self.sizes
        return loss, slope[..., None, None] * difference


@dataclass(frozen=True, slots=True)
class _Part:
    """What the items that go through the network together are drawn to."""

    styles: Mapping[str, _StyleTarget]
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


def _evaluate(images: Tensor, part: _Part, backbone: Backbone) -> tuple[Losses, Tensor]:
    """Losses and gradient in one pass there and back."""
    images = images.detach().requires_grad_(True)
    content = torch.zeros_like(part.weights.content)
    style = torch.zeros_like(part.weights.style)

    def tap(layer: str, features: Tensor) -> Tensor:
        nonlocal content, style
        temperature = part.temperatures.get(layer)
        raw = features.detach().requires_grad_(temperature is not None)
        seen = _seen(raw, temperature)
        pulls: list[_Pull] = []
        with torch.no_grad():
            if layer in part.styles:
                target = part.styles[layer]
                loss, matrices = target.pull(_gram_sums(seen, target.guides), part.weights.style)
                style = style + loss
                pulls.append(_style_pull(matrices, target.guides))
            if layer in part.contents:
                coefficient = part.content_coefficients[layer]
                difference = seen.float() - part.contents[layer].float()
                content = content + coefficient * difference.square().sum(dim=(1, 2, 3))
                slope = 2 * part.weights.content * coefficient
                pulls.append(_constant_pull(difference.mul_(slope[:, None, None, None])))
        if temperature is not None:
            pulled = torch.zeros_like(seen)
            for pull in pulls:
                pulled = pull(pulled, seen)
            pulls = [_constant_pull(torch.autograd.grad(seen, raw, pulled)[0])]
        return _pulled(features, pulls)

    deepest = backbone.through(images, tap)
    (gradient,) = torch.autograd.grad(deepest, images, torch.zeros_like(deepest))
    return _with_image_losses(images, content, style, gradient, part)


def _evaluate_by_tiles(images: Tensor, part: _Part, backbone: Backbone) -> tuple[Losses, Tensor]:
    """The same in two passes: the first finds the statistics of the whole, the second the gradient."""
    images = images.detach()
    with torch.no_grad():
        sums, content = _measure(images, part, backbone)
    style = torch.zeros_like(part.weights.style)
    matrices = {}
    for layer, target in part.styles.items():
        loss, matrices[layer] = target.pull(sums[layer], part.weights.style)
        style = style + loss
    gradient = torch.zeros_like(images)
    for tile in part.tiles:
        own = images[:, :, tile.rows, tile.columns].requires_grad_(True)

        def tap(layer: str, features: Tensor, tile: Tile = tile) -> Tensor:
            pulls = []
            core, place = tile.at(backbone.profile.stride(layer), features)
            if layer in part.styles:
                guides = part.styles[layer].guides
                shape = (len(features), 1, *features.shape[2:])
                inside = torch.zeros(shape, device=features.device)
                inside[core] = 1
                if guides is not None:
                    inside = inside.expand(-1, guides.shape[1], -1, -1).clone()
                    inside[core] = guides[place]
                pulls.append(_style_pull(matrices[layer], inside))
            if layer in part.contents:
                slope = 2 * part.weights.content * part.content_coefficients[layer]
                pull = torch.zeros_like(features)
                pull[core] = slope[:, None, None, None] * (
                    features.detach()[core] - part.contents[layer][place]
                )
                pulls.append(_constant_pull(pull))
            return _pulled(features, pulls)

        deepest = backbone.through(own, tap)
        (pull,) = torch.autograd.grad(deepest, own, torch.zeros_like(deepest))
        gradient[:, :, tile.rows, tile.columns] += pull
    return _with_image_losses(images.requires_grad_(True), content, style, gradient, part)


def _with_image_losses(
    images: Tensor, content: Tensor, style: Tensor, gradient: Tensor, part: _Part
) -> tuple[Losses, Tensor]:
    """Add the losses that look at the pixels themselves."""
    weights = part.weights
    with torch.set_grad_enabled(part.looks_at_pixels):
        tv = losses.total_variation_loss(images)
        detail = losses.detail_loss(images, part.edges, part.edge_scale)
        pixels = weights.tv * tv + weights.detail * detail
    if part.looks_at_pixels:
        gradient = gradient + torch.autograd.grad(pixels.sum(), images)[0]
    total = weights.content * content + weights.style * style + pixels.detach()
    return (
        Losses(content=content, style=style, tv=tv.detach(), detail=detail.detach(), total=total),
        gradient,
    )


def _measure(images: Tensor, part: _Part, backbone: Backbone) -> tuple[dict[str, Tensor], Tensor]:
    """The undivided Grams of each style layer, [B,K,C,C], and the content loss, [B]."""
    sums: dict[str, Tensor] = {}
    content = torch.zeros_like(part.weights.content)
    for layer, features, place in _maps(images, part.tiles, backbone):
        temperature = part.temperatures.get(layer)
        seen = _seen(features, temperature)
        if layer in part.styles:
            guides = part.styles[layer].guides
            found = _gram_sums(seen, None if guides is None else guides[place])
            sums[layer] = sums[layer] + found if layer in sums else found
        if layer in part.contents:
            difference = seen.float() - part.contents[layer][place].float()
            loss = difference.square().sum(dim=(1, 2, 3))
            content = content + part.content_coefficients[layer] * loss
    return sums, content


def _maps(
    images: Tensor, tiles: Sequence[Tile], backbone: Backbone
) -> Iterator[tuple[str, Tensor, Place]]:
    """The feature maps of each tile without its margin, and where in the whole map they belong."""
    for tile in tiles:
        features = backbone(images[:, :, tile.rows, tile.columns])
        for layer in list(features):
            own = features.pop(layer)
            core, place = tile.at(backbone.profile.stride(layer), own)
            yield layer, own[core], place


def _gram_sums(features: Tensor, guides: Tensor | None) -> Tensor:
    """Undivided Grams: [B,C,h,w] and guides [B,K,h,w], or one of 1 everywhere, -> [B,K,C,C]."""
    flat = losses.positions(features)
    if guides is None:
        return (flat.transpose(1, 2) @ flat)[:, None]
    guided = [flat * guide.flatten(1)[..., None] for guide in guides.unbind(dim=1)]
    return torch.stack([each.transpose(1, 2) @ each for each in guided], dim=1)


# Adds what a loss pulls features to, given the gradient so far and the features, both [B,C,h,w].
_Pull = Callable[[Tensor, Tensor], Tensor]


def _style_pull(matrices: Tensor, guides: Tensor | None) -> _Pull:
    """Adds the gradient that the style loss has at the features."""

    def pull(gradient: Tensor, features: Tensor) -> Tensor:
        flat = losses.positions(features)
        pulled = losses.positions(gradient)
        if guides is None:
            pulled = torch.baddbmm(pulled, flat, matrices[:, 0])
        else:
            for k in range(matrices.shape[1]):
                weights = guides[:, k].flatten(1)[..., None].square()
                pulled = pulled + (flat @ matrices[:, k]) * weights
        return _as_map(pulled, features)

    return pull


def _constant_pull(pulled: Tensor) -> _Pull:
    return lambda gradient, _: gradient + pulled.to(gradient.dtype)


def _as_map(table: Tensor, like: Tensor) -> Tensor:
    """[B,H*W,C] -> [B,C,H,W] in the kind of number of `like`."""
    batch, channels, height, width = like.shape
    return table.view(batch, height, width, channels).permute(0, 3, 1, 2).to(like.dtype)


def _pulled(features: Tensor, pulls: Sequence[_Pull]) -> Tensor:
    for pull in pulls:
        features = _Pulled.apply(features, pull)
    return features


class _Pulled(Function):
    """Features as they are; on the way back, the gradient with what pulls at them added."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, pull: _Pull) -> Tensor:
        ctx.pull = pull
        ctx.save_for_backward(features)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (features,) = ctx.saved_tensors
        return ctx.pull(gradients[0], features), None


def _part(
    item: Item, shares: Shares, backbone: Backbone, memo: StyleMemo, tile_px: int | None
) -> _Part:
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
    return _Part(
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
    for layer, features, place in _maps(content, tiles, backbone):
        # Tiles come row by row, so that the last one of a layer ends where the map ends.
        sizes[layer] = (place[2].stop, place[3].stop)
        if layer in shares.content:
            seen = _seen(features, temperatures.get(layer))
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
) -> _StyleTarget:
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
        sizes = guides.square().sum(dim=(2, 3)).clamp_min(losses.MIN_SCALE)
        areas = guides.mean(dim=(2, 3))
        areas = areas / areas.sum(dim=1, keepdim=True).clamp_min(losses.MIN_SCALE)
    coefficients = share * areas / losses.gram_scale(target)
    return _StyleTarget(target, coefficients, guides, sizes, share)


def _seen(features: Tensor, temperature: Tensor | None) -> Tensor:
    """What the losses look at: features, or where the profile says so, smoothed ones."""
    return features if temperature is None else losses.smoothed(features, temperature)


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
        name = (style.key, tuple(style.pixels.shape), tuple(layers))
        if name not in memo:
            memo[name] = {
                layer: losses.temperature(features)
                for layer, features, _ in _maps(
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
    name = (style.key, tuple(style.pixels.shape), tuple(shares.style), at)
    if name not in memo:
        sums: dict[str, Tensor] = {}
        counts: dict[str, int] = {}
        tiles = _tiles(style, backbone, tile_px)
        for layer, features, _ in _maps(style.pixels, tiles, backbone):
            if layer in shares.style:
                found = _gram_sums(_seen(features, temperatures.get(layer)), None)[0, 0]
                sums[layer] = sums[layer] + found if layer in sums else found
                counts[layer] = counts.get(layer, 0) + features[0, 0].numel()
        memo[name] = {layer: sums[layer] / counts[layer] for layer in sums}
    return memo[name]


def _tiles(style: _Style, backbone: Backbone, tile_px: int | None) -> tuple[Tile, ...]:
    height, width = style.pixels.shape[2:]
    return cut(height, width, tile_px, backbone.profile.margin_px)


def _stacked(parts: Sequence[_Part]) -> _Part:
    """One part of several whose tensors are alike."""

    def cat(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(tensors))

    def layers(name: str) -> dict[str, Tensor]:
        return {
            layer: cat([getattr(part, name)[layer] for part in parts])
            for layer in getattr(parts[0], name)
        }

    def style(layer: str) -> _StyleTarget:
        targets = [part.styles[layer] for part in parts]
        guides = [target.guides for target in targets if target.guides is not None]
        return _StyleTarget(
            cat([target.grams for target in targets]),
            cat([target.coefficients for target in targets]),
            cat(guides) if guides else None,
            cat([target.sizes for target in targets]),
            targets[0].share,
        )

    return _Part(
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
