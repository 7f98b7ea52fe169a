"""The nearest-neighbour loss of a style: each position of a picture is to look like some position of it.

Statistics of a whole layer leave open which features stand side by side; a neighbour is a place that the
style really has. Kolkin et al., "Neural Neighbor Style Transfer" (2022), have it as the only loss of the
style; here it is a further one, at a picture's own size, where strokes get their edges.

The loss is the mean over positions of 1 - cos(f, s), s being the position of the style that is nearest by
cosine, found anew in each evaluation. For directions u and v that is |u - v|^2 / 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst.painting import losses, pulse, reductions
from nst.painting.tiles import Slices

# Positions of a style that a picture's are compared with: more cost more and say little more.
MAX_CANDIDATES = 2048
# Positions of a picture that are compared at a time, which bounds the memory.
_BLOCK = 2048
# The reciprocals of the plastic number, and of its square (Roberts, "The Unreasonable Effectiveness of
# Quasirandom Sequences", 2018): positions whose rank is low lie evenly over a map, however many they are.
_RANK_DOWN, _RANK_ACROSS = 0.7548776662466927, 0.5698402909980532


@dataclass(frozen=True, slots=True)
class Candidates:
    """Positions of a style's layer: directions [N,C], and their `ranks` [N], which are float64.

    Those of the lowest ranks lie as evenly over the style as all do.
    """

    directions: Tensor
    ranks: npt.NDArray[np.float64]


def candidates(
    features: Tensor, slices: Slices, guide: Tensor | None, num_visible: float
) -> Candidates:
    """Those of a piece [1,C,h,w] of a style's layer, which lies at `slices` of the whole.

    `guide` [1,1,h,w] says how visible each position is, or None where all are. How often positions are
    chosen is proportional to its square, by which they count in moments; `num_visible` is about the sum
    of these squares over the whole layer, and above 0. About MAX_CANDIDATES come of all pieces together.
    """
    rows, columns = (np.arange(each.start, each.stop) for each in slices[2:])
    ranks = ((rows[:, None] * _RANK_DOWN + columns * _RANK_ACROSS) % 1).ravel()
    if guide is not None:
        # On the CPU first: Metal has no numbers of 64 bits.
        weights = guide.flatten().cpu().double().square().numpy()
        ranks = np.where(weights > 0, ranks / np.where(weights > 0, weights, 1), np.inf)
    (chosen,) = np.nonzero(ranks * num_visible < MAX_CANDIDATES)
    directions, _ = losses.directions(features)
    return Candidates(_rows(losses.positions(directions)[0], chosen), ranks[chosen])


def joined(pieces: Sequence[Candidates]) -> Candidates:
    """Those of all pieces of a layer, in the order of their ranks, and no more than MAX_CANDIDATES."""
    ranks = np.concatenate([each.ranks for each in pieces])
    order = np.argsort(ranks, kind="stable")[:MAX_CANDIDATES]
    return Candidates(_rows(torch.cat([each.directions for each in pieces]), order), ranks[order])


def blended(several: Sequence[Candidates], weights: Sequence[float]) -> Tensor:
    """Those of several styles as one table [N,C]: of each so large a part of its own as its weight is.

    A style that has a weight has one candidate at least.
    """
    if len(several) == 1:
        return several[0].directions
    total = sum(weights)
    return torch.cat(
        [
            each.directions[: max(1, int(len(each.directions) * weight / total))]
            for each, weight in zip(several, weights, strict=True)
            if weight > 0
        ]
    )


@dataclass(frozen=True, slots=True)
class NeighbourTarget:
    """What the positions of a layer are compared with, for B items of K regions each.

    `tables` are directions [B,K,N,C] of each region's style; `guides` [B,K,h,w] say where a region is, or
    None where it is everywhere. `coefficients` [B] are the loss's weight over the sum of the guides.
    """

    tables: Tensor
    guides: Tensor | None
    coefficients: Tensor

    def differences(
        self, found: Tensor, guides: Tensor | None, kind: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The layer's part of the loss, [B], and directions minus their neighbours', [B,C,h,w].

        `found` are the directions of a map or of a piece of it, `guides` those of the piece, by which the
        differences are weighed. Neighbours are searched for in a kind of number, that of the network's
        products.
        """
        of_regions = [
            _difference(found, candidates, kind) for candidates in self.tables.unbind(dim=1)
        ]
        if guides is None:
            (pulled,) = of_regions
            energies = [pulled.square()]
        else:
            by_region = [*zip(torch.split(guides, 1, dim=1), of_regions, strict=True)]
            energies = [guide * difference.square() for guide, difference in by_region]
            pulled = torch.stack([guide * difference for guide, difference in by_region]).sum(dim=0)
        total = torch.stack([reductions.total(each) for each in energies]).sum(dim=0)
        return self.coefficients * total / 2, pulled


def neighbour_target(
    tables: Sequence[Tensor], guides: Tensor | None, size: tuple[int, int], weight: float
) -> NeighbourTarget:
    """The target of a layer of `size`: one table for each region of `guides` [1,K,h,w], or one of all."""
    table = _padded(tables)[None]
    num = table.new_tensor([size[0] * size[1]])
    if guides is not None:
        num = reductions.total(guides).clamp_min(losses.MIN_SCALE)
    return NeighbourTarget(table, guides, weight / num)


def stacked(several: Sequence[NeighbourTarget]) -> NeighbourTarget:
    """The targets of several items as one."""
    guides = [each.guides for each in several if each.guides is not None]
    tables = [table for each in several for table in each.tables[0]]
    padded = _padded(tables)
    return NeighbourTarget(
        padded.view(len(several), -1, *padded.shape[1:]),
        torch.cat(guides) if guides else None,
        torch.cat([each.coefficients for each in several]),
    )


def _difference(found: Tensor, candidates: Tensor, kind: torch.dtype) -> Tensor:
    """Directions [B,C,h,w] minus the nearest of the candidates [B,N,C]."""
    table = losses.positions(found)
    numbers = _nearest(table.to(kind), candidates.to(kind))
    nearest = candidates.gather(1, numbers[..., None].expand(-1, -1, table.shape[2]))
    batch, channels, height, width = found.shape
    return found - nearest.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _nearest(table: Tensor, candidates: Tensor) -> Tensor:
    """The numbers of the candidates [B,N,C] nearest to each of the directions [B,n,C]: -> [B,n]."""
    across = candidates.transpose(1, 2)
    found = []
    for block in torch.split(table, _BLOCK, dim=1):
        cosines = block[..., : reductions.INNER] @ across[:, : reductions.INNER]
        for first in range(reductions.INNER, table.shape[2], reductions.INNER):
            channels = slice(first, first + reductions.INNER)
            cosines = torch.baddbmm(cosines, block[..., channels], across[:, channels])
        found.append(cosines.argmax(dim=2))
        pulse.beat()
    return torch.cat(found, dim=1)


def _rows(table: Tensor, numbers: npt.NDArray[np.intp]) -> Tensor:
    return table.index_select(
        0, torch.tensor(numbers.tolist(), dtype=torch.long, device=table.device)
    )


def _padded(tables: Sequence[Tensor]) -> Tensor:
    """Tables [n,C] as one [len,N,C], the shorter ones repeated, which changes no nearest neighbour."""
    device = tables[0].device
    length = max(map(len, tables))
    if device.type != "cpu":
        # What is recorded for a shape is then repeated for the styles of many sizes.
        length = 1 << (length - 1).bit_length()
    return torch.stack(
        [table[torch.arange(length, device=device) % len(table)] for table in tables]
    )
