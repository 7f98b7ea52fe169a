"""Colour control after Gatys et al. (CVPR 2017, section 5).

Pictures are float32 sRGB in [0, 1], [3,H,W]; the functions are pure.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from nst.job import PreserveColor
from nst.painting import reductions

# What both covariances get on their diagonals, a standard deviation of about a grey level: a
# direction in which a picture has no colours is not stretched without bound to the target's. On
# both and not on the divisor alone, so that a picture whose target is itself stays as it is.
EPS = 1e-5


def prepared(
    content: Tensor,
    styles: tuple[Tensor, ...],
    alphas: tuple[Tensor | None, ...],
    mode: PreserveColor,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Content and styles as they are painted in this mode of keeping the content's colours.

    `alphas` are those of the styles, [1,h,w] or None: the colours of what is transparent do not count.
    """
    pairs = tuple(zip(styles, alphas, strict=True))
    match mode:
        case "none":
            return content, styles
        case "luminance":
            return as_grey(content), tuple(match_luminance(s, content, a) for s, a in pairs)
        case "match":
            return content, tuple(match_colors(s, content, weights=a) for s, a in pairs)


def finished(painted: Tensor, content: Tensor, mode: PreserveColor) -> Tensor:
    """The picture [3,H,W] that is written of a painted one; `content` has its own colours."""
    return with_colors_of(painted, content) if mode == "luminance" else painted


def recolored(
    content: Tensor,
    styles: tuple[Tensor, ...],
    alphas: tuple[Tensor | None, ...],
    *,
    share: float,
    guides: Tensor | None = None,
    blend: Sequence[float] | None = None,
) -> Tensor:
    """The content [3,H,W] a `share` of the way to its picture in the colours of its styles, [3,h,w] each.

    `alphas` are as in `prepared`. With guides [K,H,W] each style has a region. Where all guides are 0, the
    content's own colours stay. Without guides all styles' pixels are one target, each style counting by
    `blend` if it is given, and else by the number of its pixels.
    """
    if guides is not None:
        # A sum that a rounding may put outside of [0, 1].
        found = (content + _changed_by_region(content, styles, alphas, guides)).clamp(0, 1)
    else:
        pixels = torch.cat([style.flatten(1) for style in styles], dim=1)
        weights = _pixel_weights(styles, alphas, blend)
        found = match_colors(content, pixels[:, None], target_weights=weights)
    return found if share == 1 else torch.lerp(content, found, share)


def _pixel_weights(
    styles: tuple[Tensor, ...], alphas: tuple[Tensor | None, ...], blend: Sequence[float] | None
) -> Tensor | None:
    """How much each pixel of the styles, one after the other, counts in the target, [1,1,N]."""
    if blend is None and all(alpha is None for alpha in alphas):
        return None
    visible = [
        torch.ones_like(style[0].flatten()) if alpha is None else alpha.flatten()
        for style, alpha in zip(styles, alphas, strict=True)
    ]
    if blend is not None:
        visible = [
            w * (b / reductions.total(w, kept=0)) for w, b in zip(visible, blend, strict=True)
        ]
    return torch.cat(visible)[None, None]


def _changed_by_region(
    content: Tensor,
    styles: tuple[Tensor, ...],
    alphas: tuple[Tensor | None, ...],
    guides: Tensor,
) -> Tensor:
    """What the colours of the styles change of a content, each in its region: [3,H,W]."""
    change = torch.zeros_like(content)
    for style, alpha, guide in zip(styles, alphas, guides, strict=True):
        # The colours of a region that no pixel takes have no mean.
        if guide.any():
            found = match_colors(content, style, weights=guide[None], target_weights=alpha)
            change = change + guide * (found - content)
    return change


def luminance(picture: Tensor) -> Tensor:
    """Luma after ITU-R BT.601, the Y of YIQ: [...,3,H,W] -> [...,1,H,W], in [0, 1]."""
    red, green, blue = picture.unbind(dim=-3)
    return (0.299 * red + 0.587 * green + 0.114 * blue).unsqueeze(-3)


def as_grey(picture: Tensor) -> Tensor:
    """The luma in each of the three channels: [...,3,H,W] -> [...,3,H,W]."""
    return luminance(picture).repeat_interleave(3, dim=-3)


def on_own_mean(picture: Tensor, alpha: Tensor) -> Tensor:
    """A picture on white [3,H,W], some of it visible by `alpha` [1,H,W], on its mean visible colour.

    On white it would show an edge and a ground that are not its own.
    """
    visible = picture.double() - (1 - alpha.double())
    mean = reductions.total(visible) / reductions.total(alpha.double())
    return (visible + (1 - alpha) * mean[:, None, None]).clamp(0, 1).float()


def match_colors(
    picture: Tensor,
    target: Tensor,
    *,
    weights: Tensor | None = None,
    target_weights: Tensor | None = None,
) -> Tensor:
    """The picture with the colours' mean and covariance of `target`: [3,H,W], [3,h,w] -> [3,H,W].

    With weights, [1,H,W] and [1,h,w], pixels count for the moments by them.

    The linear transfer of Gatys et al. (2017, section 5.2), but with the symmetric matrix of Pitié
    and Kokaram (2007), which of all that fit moves the colours least. What leaves [0, 1] is
    clamped, which then changes the moments. A flat picture becomes the target's mean.
    """
    return _matched(picture, target, weights, target_weights)


def match_luminance(picture: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """The picture in grey, with the luma's mean and deviation of `target`: -> [3,H,W], clamped.

    Gatys et al. (2017, section 5.1) do so to the style before a transfer of the luma alone. A flat
    picture becomes the target's mean.
    """
    matched = _matched(luminance(picture), luminance(target), weights, None)
    return matched.repeat_interleave(3, dim=0)


def with_colors_of(painted: Tensor, content: Tensor) -> Tensor:
    """The luma of `painted` with the chroma of `content`, both [...,3,H,W], in [0, 1].

    The last step of the luminance-only transfer of Gatys et al. (2017, section 5.1), in YIQ. Where
    the two make no colour that exists, I and Q shrink by one factor until they do: clamping the
    channels instead would change the luma, and the brush strokes are there.
    """
    luma = luminance(painted)
    # R-Y, G-Y and B-Y are a linear function of I and Q alone, so that the matrices are not needed.
    tint = content - luminance(content)
    room = torch.where(tint > 0, 1 - luma, luma)
    fitting = room / tint.abs().clamp_min(torch.finfo(tint.dtype).tiny)
    share = fitting.amin(dim=-3, keepdim=True).clamp_max(1)
    return (luma + share * tint).clamp(0, 1)


def _matched(
    picture: Tensor, target: Tensor, weights: Tensor | None, target_weights: Tensor | None
) -> Tensor:
    """A (x - mean(x)) + mean(t), clamped, with A C_x A = C_t: [C,H,W], [C,h,w] -> [C,H,W].

    A = C_x^-1/2 (C_x^1/2 C_t C_x^1/2)^1/2 C_x^-1/2, in double: A stretches up to a hundredfold.
    """
    mean, covariance = _moments(picture, weights)
    # Matrices as small as these are a CPU's matter, whatever has the pixels.
    covariance = covariance.cpu()
    if not covariance.isfinite().all():
        # Colours that are no numbers match nothing; whoever optimises the picture finds them out.
        return picture
    target_mean, target_covariance = _moments(target, target_weights)
    target_covariance = target_covariance.cpu()
    root = _square_root(covariance)
    inverse = torch.linalg.inv(root)
    matrix = inverse @ _square_root(root @ target_covariance @ root) @ inverse
    pixels = picture.double().flatten(1)  # [C,H*W]
    matched: Tensor = matrix.to(pixels.device) @ (pixels - mean) + target_mean
    return matched.clamp(0, 1).float().view(picture.shape)


def _moments(picture: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Mean [C,1] and covariance [C,C] of the colours, the latter with EPS on its diagonal."""
    pixels = picture.double().flatten(1)  # [C,H*W]
    if weights is None:
        mean = reductions.mean(pixels)[:, None]
        offsets = pixels - mean
        # Divided by all pixels and not by one less, which a picture of one pixel does not have.
        covariance = reductions.square_of(offsets.T[None])[0] / pixels.shape[1]
    else:
        shares = weights.double().flatten(1)  # [1,H*W]
        shares = shares / reductions.total(shares)
        mean = reductions.total(pixels * shares)[:, None]
        offsets = (pixels - mean) * shares.sqrt()
        covariance = reductions.square_of(offsets.T[None])[0]
    return mean, covariance + EPS * torch.eye(len(pixels), dtype=pixels.dtype, device=pixels.device)


def _square_root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a symmetric positive definite matrix, [C,C] -> [C,C]."""
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = vectors * values.sqrt() @ vectors.T
    return root
