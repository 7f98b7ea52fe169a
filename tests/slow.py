"""The loss as the papers write it: double precision, torchvision's own modules, nothing clever."""

import math
from collections.abc import Mapping, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from nst.job import PictureParams
from nst.painting.backbones import IMAGENET_MEAN, IMAGENET_STD
from nst.painting.targets import Item
from nst.painting.weights import load_state, obtain
from nst.profiles import PROFILES, BackboneProfile
from tests.helpers import random_state

# Of a content whose features are alike everywhere, which no made-up picture here is.
SPREAD_FLOOR = 0.2


@cache
def _network(name: str) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = getattr(models, name)()
    state = load_state(obtain(name)) if name == "vgg16" else random_state(name)
    doubles = {k: v.double() if v.is_floating_point() else v for k, v in state.items()}
    model.load_state_dict(doubles, strict=False, assign=True)
    return model.requires_grad_(False).eval()


def slow_features(name: str, images: Tensor, *, pooling: str = "max") -> dict[str, Tensor]:
    """{layer: features} of images [B,3,H,W]: of the embedded VGG-16, or of `random_state`."""
    network = _network(name)
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD)
    )
    x = (images.double() - mean) / std
    layers = iter(PROFILES[name].layers)
    found: dict[str, Tensor] = {}
    if isinstance(network, models.ResNet):
        x = found[next(layers)] = functional.relu(network.bn1(network.conv1(x)))
        x = network.maxpool(x)
        for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
            for block in stage:
                x = found[next(layers)] = block(x)
        return found
    assert isinstance(network, models.VGG)
    for module in network.features:
        if isinstance(module, nn.ReLU):
            x = found[next(layers)] = functional.relu(x)
        elif isinstance(module, nn.MaxPool2d) and pooling == "avg":
            x = functional.avg_pool2d(x, 2)
        else:
            x = module(x)
    return found


def slow_losses(image: Tensor, one: Item, *, name: str = "vgg16") -> dict[str, Tensor]:
    """The losses of an image [3,H,W] and what is minimised, through which autograd can go."""
    params = one.params
    shares = PROFILES[name].shares(params.content_layers, params.style_layers)

    def features(pixels: Tensor) -> dict[str, Tensor]:
        found = slow_features(name, pixels[None], pooling=params.pooling)
        return {layer: found[layer][0] for layer in shares.layers}

    here, contents = features(image), features(one.content)
    styles = [features(style) for style in one.styles]
    content = torch.as_tensor(
        sum(
            share * _content(here[layer], contents[layer], params)
            for layer, share in shares.content.items()
        )
    )
    style = torch.as_tensor(
        sum(
            share * _style(here[layer], [each[layer] for each in styles], contents[layer], one)
            for layer, share in shares.style.items()
        )
    )
    if params.method == "pyramid":
        for layer, weight in _MATCHED[name].items():
            if layer in shares.style:
                near = _neighbours(here[layer], [each[layer] for each in styles], one)
                style = style + shares.style[layer] * weight * near
    image = image.double()
    tv = (image.diff(dim=1) ** 2).mean() + (image.diff(dim=2) ** 2).mean()
    edges = _edges(one.content)
    detail = ((_edges(image) - edges) ** 2).sum() / (edges**2).sum()
    contrast = _contrast(image, one)
    noise = _noise(image, one)
    chroma = _chroma(image, one)
    losses = {
        "content": content,
        "style": style,
        "tv": tv,
        "detail": detail,
        "contrast": contrast,
        "noise": noise,
        "chroma": chroma,
    }
    found = {loss: torch.as_tensor(value) for loss, value in losses.items()}
    return found | {"total": slow_total(found, params, name=name)}


def slow_total(
    found: Mapping[str, Tensor], params: PictureParams, *, name: str = "vgg16"
) -> Tensor:
    """What is minimised, of the losses by name."""
    unit = 0.15 if params.method == "pyramid" else 0.04
    return (
        _content_term(found["content"], params, PROFILES[name])
        + params.style_weight * unit * (found["style"] / unit) ** 1.5 / 1.5
        + params.tv_weight * found["tv"]
        + params.detail_weight * found["detail"]
        + (6 * params.content_weight * found["contrast"] if params.contrast_floor > 0 else 0)
        + params.noise_weight * params.style_weight * found["noise"]
        + _chroma_weight(params) * params.style_weight * found["chroma"]
    )


def slow_gradient(image: Tensor, one: Item, *, name: str = "vgg16") -> Tensor:
    """The gradient of the total at an image [3,H,W], by autograd alone."""
    image = image.double().requires_grad_(True)
    total = slow_losses(image, one, name=name)["total"]
    return torch.autograd.grad(total, image)[0]


def _content_term(loss: Tensor, params: PictureParams, profile: BackboneProfile) -> Tensor:
    """w r (c / r)^8 / 8, and from c = 1.5 r on the straight line that touches it there."""
    weight = params.content_weight
    if weight == 0:
        return torch.zeros_like(loss)
    ratio = max(0.05 * params.style_weight / weight, 1e-6)
    reach = float(profile.fits[params.method].content_reach * ratio**profile.reach_power)
    if loss <= 1.5 * reach:
        return weight * reach * (loss / reach) ** 8 / 8
    return weight * reach * 1.5**8 / 8 + weight * 1.5**7 * (loss - 1.5 * reach)


def _content(found: Tensor, target: Tensor, params: PictureParams) -> Tensor:
    u, p = (each / (each**2).sum(dim=0, keepdim=True).sqrt() for each in (found, target))
    lengths = (target**2).sum(dim=0, keepdim=True).sqrt()
    counts = lengths / lengths.mean() if params.method == "pyramid" else torch.ones_like(lengths)
    spread = (counts * (p - p.mean(dim=(1, 2), keepdim=True)) ** 2).sum()
    return (counts * (u - p) ** 2).sum() / max(spread, SPREAD_FLOOR * (counts * p**2).sum())


def _contrast(image: Tensor, one: Item) -> Tensor:
    target, floor = _shade(one.content.double()), one.params.contrast_floor
    if floor == 0:
        return torch.zeros(())
    missing = (floor * target.abs() - _shade(image) * target.sign()).clamp_min(0)
    return (missing**2).sum() / ((floor * target) ** 2).sum()


def _shade(image: Tensor) -> Tensor:
    """Means of square cells, 32 along the long edge, cut off at the end: [3,H,W] -> [h,w]."""
    luma = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
    side = round(max(luma.shape) / 32)
    cells = [
        torch.stack([cell.mean() for cell in torch.split(row, side, dim=1)])
        for row in torch.split(luma, side, dim=0)
    ]
    shade = torch.stack(cells)
    return shade - shade.mean()


def _chroma_weight(params: PictureParams) -> float:
    if params.chroma_weight is None:
        return 0.1 if params.method == "pyramid" else 0
    return params.chroma_weight


def _chroma(image: Tensor, one: Item) -> Tensor:
    """Region by region, all pixels of a region's styles in one table, weighed."""
    # Any axes that are orthogonal to grey have the same distances.
    axes = torch.tensor([[1.0, 1, -2], [1, -1, 0]], dtype=torch.float64)
    axes = axes / axes.norm(dim=1, keepdim=True)
    own = axes @ image.flatten(1)
    blend = one.params.style_blend or [1.0] * len(one.styles)
    parts = [[each / sum(blend) for each in blend]]
    guides = [torch.ones_like(image[0])]
    if one.mask is not None:
        guides = _guides(one.mask.double(), len(one.styles), image.shape[1], image.shape[2])
        parts = [[((g * other).sum() / g.sum()).item() for other in guides] for g in guides]
    regions = [list(zip(one.styles, each, strict=True)) for each in parts]
    painted = torch.stack(guides).sum(dim=0)
    total = image.new_zeros(())
    for guide, styles in zip(guides, regions, strict=True):
        share = guide.flatten() / guide.sum()
        # What no style takes is left to the content.
        tables = [axes @ one.content.double().flatten(1)]
        weights = [(1 - painted).flatten() * share]
        for style, part in styles:
            tables.append(axes @ style.double().flatten(1))
            weights.append(torch.full_like(tables[-1][0], part / tables[-1].shape[1]))
        palette, weight = torch.cat(tables, dim=1), torch.cat(weights)
        mean = (palette * weight).sum(dim=1, keepdim=True)
        apart = palette - mean
        covariance = (weight * apart) @ apart.T + 0.02**2 * torch.eye(2, dtype=torch.float64)
        distance = ((own - mean) * torch.linalg.solve(covariance, own - mean)).sum(dim=0)
        excess = ((share * distance).sum() / 2).sqrt() - 1
        total = total + guide.sum() * excess.clamp_min(0) ** 2
    return total / torch.stack(guides).sum()


def _noise(image: Tensor, one: Item) -> Tensor:
    # At least that of a quarter of a grey level of white noise, less than which no style can be told from.
    limit = 0.9 * max([(0.25 / 255) ** 2, *(_fine_energy(s.double()).item() for s in one.styles)])
    return ((_fine_energy(image) / limit) ** 0.5 - 1).clamp_min(0) ** 2


def _fine_energy(image: Tensor) -> Tensor:
    """The mean over all frequencies of a whole transform, with those below the octave left out."""
    height, width = image.shape[1:]
    window = _hann(height)[:, None] * _hann(width)
    mean = (image * window).sum(dim=(1, 2), keepdim=True) / window.sum()
    power = torch.fft.fft2((image - mean) * window).abs() ** 2
    down, across = (torch.fft.fftfreq(n, dtype=torch.float64) for n in (height, width))
    radius = (down[:, None] ** 2 + across**2).sqrt()
    chosen = (radius >= 0.25) & (radius <= 0.5)
    energy: Tensor = power[:, chosen].mean() / (window**2).sum()
    return energy


def _hann(length: int) -> Tensor:
    places = torch.arange(length, dtype=torch.float64) + 0.5
    return torch.sin(torch.pi * places / length) ** 2


def _gram(features: Tensor) -> Tensor:
    return torch.einsum("chw,dhw->cd", features, features)


def _style(here: Tensor, styles: Sequence[Tensor], content: Tensor, one: Item) -> Tensor:
    targets = [_moments(style) for style in styles]
    of_content = _moments(content)
    if one.mask is None:
        weights = one.params.style_blend or [1.0] * len(targets)
        blend = [
            torch.stack([w * each[n] for w, each in zip(weights, targets, strict=True)]).sum(dim=0)
            / sum(weights)
            for n in range(2)
        ]
        return _distance(_moments(here), (blend[0], blend[1]), of_content, one.params)
    loss = here.new_zeros(())
    guides = _guides(one.mask.double(), len(styles), here.shape[1], here.shape[2])
    for guide, target in zip(guides, targets, strict=True):
        area = guide.mean() / sum(each.mean() for each in guides)
        found = _moments(here, guide**2)
        loss = loss + area * _distance(found, target, of_content, one.params)
    return loss


def _moments(features: Tensor, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The mean, and the mean of products, of positions that count so much each."""
    counts = torch.ones_like(features[0]) if counts is None else counts
    shares = counts / counts.sum()
    return (features * shares).sum(dim=(1, 2)), _gram(features * shares.sqrt())


def _distance(
    found: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
    of_content: tuple[Tensor, Tensor],
    params: PictureParams,
) -> Tensor:
    """Of what a method compares, in the target's scale, or in a share of the content's."""

    def compared(moments: tuple[Tensor, Tensor]) -> list[Tensor]:
        mean, gram = moments
        if params.method == "gatys":
            return [gram]
        covariance = gram - torch.outer(mean, mean)
        # A Gram counts for half of them.
        return [gram, gram, mean, covariance]

    terms = [
        ((a - b) ** 2).sum() / max((b**2).sum(), 0.5**2 * (c**2).sum())
        for a, b, c in zip(compared(found), compared(target), compared(of_content), strict=True)
    ]
    return torch.stack(terms).mean()


# How much nearest neighbours count beside a layer's statistics.
_MATCHED = {
    "resnet50": {"layer1.2": 3.0, "layer2.3": 2.0},
    "vgg16": {"relu3_1": 1.5, "relu4_1": 1.5},
}


def _neighbours(here: Tensor, styles: Sequence[Tensor], one: Item) -> Tensor:
    """The mean over positions of 1 - cos to the nearest position of the style that paints there.

    Of a blend, each style has its share of its positions, those of the lowest of a sequence.
    """
    units = here / (here**2).sum(dim=0).sqrt()
    candidates = [_in_order(style) for style in styles]
    if one.mask is None:
        weights = one.params.style_blend or [1.0] * len(styles)
        candidates = [
            torch.cat(
                [
                    table[: max(1, math.floor(len(table) * w / sum(weights)))]
                    for table, w in zip(candidates, weights, strict=True)
                    if w > 0
                ]
            )
        ]
        guides = [torch.ones_like(here[0])]
    else:
        guides = _guides(one.mask.double(), len(styles), here.shape[1], here.shape[2])
    total = here.new_zeros(())
    for guide, table in zip(guides, candidates, strict=True):
        nearest = torch.einsum("nc,chw->nhw", table, units).amax(dim=0)
        total = total + (guide * (1 - nearest)).sum()
    return total / torch.stack(guides).sum().clamp_min(1e-12)


def _in_order(style: Tensor) -> Tensor:
    """The directions of a style's positions [C,h,w], as a table [h*w,C], by their ranks."""
    rows, columns = (torch.arange(n, dtype=torch.float64) for n in style.shape[1:])
    ranks = (rows[:, None] * 0.7548776662466927 + columns * 0.5698402909980532) % 1
    table = style.flatten(1).T[ranks.flatten().argsort()]
    return table / (table**2).sum(dim=1, keepdim=True).sqrt()


def _guides(mask: Tensor, num_styles: int, height: int, width: int) -> list[Tensor]:
    """Written out for each number of styles, then averaged over the area of each position."""
    match num_styles:
        case 1:
            guides = [mask]
        case 2:
            guides = [1 - mask, mask]
        case _:
            assert num_styles == 3
            black, white = (1 - 2 * mask).clamp_min(0), (2 * mask - 1).clamp_min(0)
            guides = [black, 1 - black - white, white]
    return [functional.interpolate(g[None], (height, width), mode="area")[0, 0] for g in guides]


def _edges(image: Tensor) -> Tensor:
    """Laplacian of the means of 4 x 4 cells, cut off at the end: [3,H,W] -> [1,H/4,W/4]."""
    rows = [torch.split(row, 4, dim=2) for row in torch.split(image.double(), 4, dim=1)]
    cells = torch.stack([torch.stack([3 * cell.mean() for cell in row]) for row in rows])
    kernel = cells.new_tensor([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    around = functional.pad(cells[None, None], (1, 1, 1, 1), mode="replicate")
    return functional.conv2d(around, kernel[None, None])[0]
