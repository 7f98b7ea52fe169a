"""The loss as the papers write it: double precision, torchvision's own modules, nothing clever."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision import models

from nst.backbones import IMAGENET_MEAN, IMAGENET_STD
from nst.profiles import PROFILES
from nst.targets import Item
from nst.weights import load_state, obtain
from tests.helpers import random_state


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


def slow_losses(
    image: Tensor, one: Item, *, name: str = "vgg16", smoothed_layers: Sequence[str] = ()
) -> dict[str, Tensor]:
    """The losses of an image [3,H,W] and their weighted sum, through which autograd can go."""
    params = one.params
    shares = PROFILES[name].shares(params.content_layers, params.style_layers)

    def features(pixels: Tensor) -> dict[str, Tensor]:
        found = slow_features(name, pixels[None], pooling=params.pooling)
        return {layer: found[layer][0] for layer in shares.layers}

    here, contents = features(image), features(one.content)
    styles = [features(style) for style in one.styles]
    for layer in smoothed_layers:
        highest = max(float(each[layer].max()) for each in styles)
        for each in (here, contents, *styles):
            exponentials = (each[layer] / highest).exp()
            each[layer] = exponentials / exponentials.mean()
    content = sum(
        share * _distance(here[layer], contents[layer], from_mean=True)
        for layer, share in shares.content.items()
    )
    style = sum(
        share * _style(here[layer], [each[layer] for each in styles], one)
        for layer, share in shares.style.items()
    )
    tv = (image.double().diff(dim=1) ** 2).mean() + (image.double().diff(dim=2) ** 2).mean()
    detail = _distance(_edges(image), _edges(one.content), from_mean=False)
    total = (
        params.content_weight * content
        + params.style_weight * style
        + params.tv_weight * tv
        + params.detail_weight * detail
    )
    losses = {"content": content, "style": style, "tv": tv, "detail": detail, "total": total}
    return {loss: torch.as_tensor(value) for loss, value in losses.items()}


def slow_gradient(
    image: Tensor, one: Item, *, name: str = "vgg16", smoothed_layers: Sequence[str] = ()
) -> Tensor:
    """The gradient of the total at an image [3,H,W], by autograd alone."""
    image = image.double().requires_grad_(True)
    total = slow_losses(image, one, name=name, smoothed_layers=smoothed_layers)["total"]
    return torch.autograd.grad(total, image)[0]


def _distance(found: Tensor, target: Tensor, *, from_mean: bool) -> Tensor:
    origin = target.mean(dim=(1, 2), keepdim=True) if from_mean else torch.zeros_like(target)
    return ((found - target) ** 2).sum() / ((target - origin) ** 2).sum()


def _gram(features: Tensor) -> Tensor:
    return torch.einsum("chw,dhw->cd", features, features)


def _style(here: Tensor, styles: Sequence[Tensor], one: Item) -> Tensor:
    targets = [_gram(style) / style[0].numel() for style in styles]
    if one.mask is None:
        weights = one.params.style_blend or [1.0] * len(targets)
        blend: Tensor = sum(  # type: ignore[assignment]
            w * target for w, target in zip(weights, targets, strict=True)
        )
        blend = blend / sum(weights)
        return ((_gram(here) / here[0].numel() - blend) ** 2).sum() / (blend**2).sum()
    loss = here.new_zeros(())
    guides = _guides(one.mask.double(), len(styles), here.shape[1], here.shape[2])
    for guide, target in zip(guides, targets, strict=True):
        guided = _gram(guide * here) / (guide**2).sum()
        area = guide.mean() / sum(each.mean() for each in guides)
        loss = loss + area * ((guided - target) ** 2).sum() / (target**2).sum()
    return loss


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
