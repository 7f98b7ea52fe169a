"""What a style loss compares of a layer: its Gram, and beside it its mean and its covariance; pure.

A Gram F' F / N is the covariance of the features plus the product of their means, so that a picture can
have the Gram of a style by too much of one and too little of the other. Compared apart, they cannot
stand in for each other: the statistics of instance normalisation and of whitening (Li et al.,
"Demystifying Neural Style Transfer", 2017; Li et al., "Universal Style Transfer via Feature
Transforms", 2017), beside that of Gatys et al. (2015, eq. 3). The Gram stays for styles of one colour,
whose covariance is a small part of it: apart, their colour counts for too little.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nst.painting import losses, reductions

# A style whose features are weaker than this share of the content's, since it is dark or flat, is
# measured in that share: in its own units any light and shade at all would be a loss beyond measure.
STYLE_SCALE_FLOOR = 0.5
# Of the loss of a layer whose mean and covariance are compared as well; what is left is the covariance's.
GRAM_SHARE = 0.5
MEAN_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Moments:
    """The Grams of K regions, [B,K,C,C], and the means of their features, [B,K,C].

    Undivided, they are the sums of which these are; `means` are None where only Grams are compared.
    """

    grams: Tensor
    means: Tensor | None

    def __add__(self, other: "Moments") -> "Moments":
        """Those of two pieces of a map together, both undivided."""
        means = None
        if self.means is not None and other.means is not None:
            means = self.means + other.means
        return Moments(self.grams + other.grams, means)

    def over(self, sizes: Tensor | int) -> "Moments":
        """Undivided ones, divided by the sums of the squared guides, [B,K], or by a number of positions."""
        if isinstance(sizes, int):
            # Not as a tensor: a GPU divides by a number in another way, and other last bits come of it.
            return Moments(self.grams / sizes, None if self.means is None else self.means / sizes)
        means = None if self.means is None else self.means / sizes[..., None]
        return Moments(self.grams / sizes[..., None, None], means)

    def covariances(self) -> Tensor:
        """G - m m', which needs the means."""
        assert self.means is not None
        return self.grams - self.means[..., None] * self.means[..., None, :]


def moment_sums(features: Tensor, guides: Tensor | None, *, with_means: bool) -> Moments:
    """Undivided moments of a map [B,C,h,w] under guides [B,K,h,w], or under one of 1 everywhere.

    Each position counts by the square of its guide (Gatys et al., CVPR 2017, section 4).
    """
    if guides is None:
        table = losses.positions_as_they_are(features)
        means = reductions.sum_of_rows(table)[:, None] if with_means else None
        return Moments(reductions.square_of(table)[:, None], means)
    flat = losses.positions(features)
    by_region = [guide.flatten(1)[..., None] for guide in guides.unbind(dim=1)]
    grams = torch.stack([reductions.square_of(flat * each) for each in by_region], dim=1)
    if not with_means:
        return Moments(grams, None)
    sums = [reductions.sum_of_rows(flat * each.square()) for each in by_region]
    return Moments(grams, torch.stack(sums, dim=1))


@dataclass(frozen=True, slots=True)
class StylePull:
    """Turns features F [B,N,C] into a gradient, (F - c) M + o: M [B,K,C,C], c and o [B,K,C].

    Of Grams there are no c and o, which stands for 0.
    """

    matrices: Tensor
    centres: Tensor | None = None
    offsets: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleTarget:
    """The target of a layer's statistics, for B items of K regions each.

    `moments` are the Grams, and also the means where these and the `covariances` are compared as well.
    `of_grams`, `of_means` and `of_covariances` [B,K] are each one's part of the loss over its scale.
    `guides` [B,K,h,w] say where each region is, or None where it is everywhere; `sizes` [B,K] are the
    sums of the squared guides, by which sums are divided. `share` is the layer's of the style loss.
    """

    moments: Moments
    covariances: Tensor | None
    of_grams: Tensor
    of_means: Tensor
    of_covariances: Tensor
    guides: Tensor | None
    sizes: Tensor
    share: float

    def sums(self, features: Tensor, guides: Tensor | None) -> Moments:
        """What `pull` needs of a map [B,C,h,w], or of a piece of one, under its part of the guides."""
        return moment_sums(features, guides, with_means=self.moments.means is not None)

    def pull(self, sums: Moments) -> tuple[Tensor, StylePull]:
        """The layer's share of the loss, [B], and what turns features into its gradient.

        The gradient of ||G - A||^2 at F is 4 F (G - A) / size; that of ||C - S||^2 is the same of
        F - m in the place of F, and that of ||m - a||^2 is 2 (m - a) / size at every position.
        """
        found = sums.over(self.sizes)
        loss, matrices = self._squares(found.grams - self.moments.grams, self.of_grams)
        if self.moments.means is None or self.covariances is None or found.means is None:
            return loss, StylePull(matrices)
        apart = found.means - self.moments.means
        mean_loss = (self.of_means * reductions.total(apart.square(), kept=2)).sum(dim=1)
        # F M = (F - m) M + m M.
        offsets = (found.means[..., None, :] @ matrices)[..., 0, :]
        offsets = offsets + (2 * self.of_means / self.sizes)[..., None] * apart
        covariance_loss, centred = self._squares(
            found.covariances() - self.covariances, self.of_covariances
        )
        pull = StylePull(matrices + centred, found.means, offsets)
        return loss + mean_loss + covariance_loss, pull

    def _squares(self, difference: Tensor, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """The loss [B] of differences of Grams or covariances, and the matrices of its gradient."""
        loss = (coefficients * reductions.total(difference.square(), kept=2)).sum(dim=1)
        return loss, (4 * coefficients / self.sizes)[..., None, None] * difference


def style_target(
    targets: Moments,
    of_content: Moments,
    areas: Tensor,
    sizes: Tensor,
    *,
    guides: Tensor | None,
    share: float,
) -> StyleTarget:
    """The target of a layer: that of `targets`, [1,K,...], each region of which counts by its area [1,K].

    `of_content` are the content's own moments, which a faint style is measured in, [1,1,...].
    """
    parts = share * areas
    of_grams = parts / _scale(targets.grams, of_content.grams)
    of_means = of_covariances = torch.zeros_like(of_grams)
    covariances = None
    if targets.means is not None and of_content.means is not None:
        of_grams = GRAM_SHARE * of_grams
        of_means = MEAN_SHARE * parts / _scale(targets.means, of_content.means)
        covariances = targets.covariances()
        scale = _scale(covariances, of_content.covariances())
        of_covariances = (1 - GRAM_SHARE - MEAN_SHARE) * parts / scale
    return StyleTarget(
        moments=targets,
        covariances=covariances,
        of_grams=of_grams,
        of_means=of_means,
        of_covariances=of_covariances,
        guides=guides,
        sizes=sizes,
        share=share,
    )


def stacked(several: Sequence[StyleTarget]) -> StyleTarget:
    """The targets of several items as one."""
    guides = [each.guides for each in several if each.guides is not None]
    means = [each.moments.means for each in several if each.moments.means is not None]
    covariances = [each.covariances for each in several if each.covariances is not None]
    return StyleTarget(
        moments=Moments(
            torch.cat([each.moments.grams for each in several]),
            torch.cat(means) if means else None,
        ),
        covariances=torch.cat(covariances) if covariances else None,
        of_grams=torch.cat([each.of_grams for each in several]),
        of_means=torch.cat([each.of_means for each in several]),
        of_covariances=torch.cat([each.of_covariances for each in several]),
        guides=torch.cat(guides) if guides else None,
        sizes=torch.cat([each.sizes for each in several]),
        share=several[0].share,
    )


def _scale(target: Tensor, of_content: Tensor) -> Tensor:
    """What a loss is divided by, [1,K]: the target's squared norm, or that of a share of the content's."""
    own, other = (losses.squared_norm(each, kept=2) for each in (target, of_content))
    return torch.maximum(own, STYLE_SCALE_FLOOR**2 * other)
