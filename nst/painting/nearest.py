"""The nearest-neighbour loss of a style: each position of a picture is to look like some position of it.

Statistics of a whole layer leave open which features stand side by side; a neighbour is a place that the
style really has. Kolkin et al., "Neural Neighbor Style Transfer" (2022), have it as the only loss of the
style; here it is a further one, at a picture's own size, where strokes get their edges.

The loss is the mean over positions of 1 - cos(f, s), s being the position of the style that is nearest by
cosine, found anew in each evaluation. For directions u and v that is |u - v|^2 / 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst.painting import losses, reductions
from nst.painting.tiles import Slices

# What the loss counts beside the style loss of a layer's statistics, all layers together.
SHARE = 0.6
# Positions of a style that a picture's are compared with: more cost more and say little more.
MAX_CANDIDATES = 2048
# Positions of a picture that are compared at a time, which bounds the memory.
_BLOCK = 2048
# Channels that are multiplied in one piece, so that no library divides their sum between its threads.
_CHANNELS = 256
# What is less visible than this is no candidate.
_MIN_ALPHA = 0.5
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

    `guide` [1,1,h,w] says how visible each position is, or None where all are; `num_visible` is about how
    many positions of the whole layer are. About MAX_CANDIDATES come of all pieces together.
    """
    rows, columns = (np.arange(each.start, each.stop) for each in slices[2:])
    ranks = ((rows[:, None] * _RANK_DOWN + columns * _RANK_ACROSS) % 1).ravel()
    (chosen,) = np.nonzero(ranks * num_visible < MAX_CANDIDATES)
    if guide is not None:
        # What is hardly visible comes behind all that is, and what is not at all behind that.
        visible = guide.flatten().cpu().numpy()
        ranks = ranks + (visible < _MIN_ALPHA) + (visible == 0)
    directions, _ = losses.directions(features)
    return Candidates(_rows(losses.positions(directions)[0], chosen), ranks[chosen])


def joined(pieces: Sequence[Candidates]) -> Candidates:
    """Those of all pieces of a layer, in the order of their ranks; of those, the ones most visible."""
    ranks = np.concatenate([each.ranks for each in pieces])
    order = np.argsort(ranks, kind="stable")
    most_visible = ranks[order] < np.floor(ranks.min()) + 1
    order = order[most_visible][:MAX_CANDIDATES]
    return Candidates(_rows(torch.cat([each.directions for each in pieces]), order), ranks[order])


def blended(several: Sequence[Candidates], weights: Sequence[float]) -> Tensor:
    """Those of several styles as one table [N,C], of each as many as its share of the weights."""
    if len(several) == 1:
        return several[0].directions
    total = sum(weights)
    return torch.cat(
        [
            each.directions[: math.ceil(len(each.directions) * weight / total)]
            for each, weight in zip(several, weights, strict=True)
        ]
    )


@dataclass(frozen=True, slots=True)
class NeighbourTarget:
    """What the positions of a layer are compared with, for B items of K regions each.

    `tables` are directions [B,K,N,C] of each region's style; `guides` [B,K,h,w] say where a region is, or
    None where it is everywhere. `coefficients` [B] are the layer's share over the sum of the guides.
    """

    tables: Tensor
    guides: Tensor | None
    coefficients: Tensor

    def differences(
        self, found: Tensor, guides: Tensor | None, kind: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        """The layer's share of the loss, [B], and directions minus their neighbours', [B,C,h,w].

        `found` are the directions of a map or of a piece of it, `guides` those of the piece, by which the
        differences are weighed. Neighbours are searched for in a kind of number, that of the network.
        """
        table = losses.positions(found)
        loss, pulled = torch.zeros_like(self.coefficients), torch.zeros_like(found)
        for k, candidates in enumerate(self.tables.unbind(dim=1)):
            numbers = _nearest(table.to(kind), candidates.to(kind))
            indices = numbers[..., None].expand(-1, -1, table.shape[2])
            difference = found - _as_map(candidates.gather(1, indices), found)
            guide = None if guides is None else guides[:, k : k + 1]
            weighed = losses.weighed(difference, guide)
            loss = loss + self.coefficients * reductions.total(weighed * difference) / 2
            pulled = pulled + weighed
        return loss, pulled


def neighbour_target(
    tables: Sequence[Tensor], guides: Tensor | None, size: tuple[int, int], share: float
) -> NeighbourTarget:
    """The target of a layer of `size`: one table for each region of `guides` [1,K,h,w], or one of all."""
    table = _padded(tables)[None]
    num = table.new_tensor([size[0] * size[1]])
    if guides is not None:
        num = reductions.total(guides).clamp_min(losses.MIN_SCALE)
    return NeighbourTarget(table, guides, SHARE * share / num)


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


def _nearest(table: Tensor, candidates: Tensor) -> Tensor:
    """The numbers of the candidates [B,N,C] nearest to each of the directions [B,n,C]: -> [B,n]."""
    across = candidates.transpose(1, 2)
    found = []
    for block in torch.split(table, _BLOCK, dim=1):
        cosines = block[..., :_CHANNELS] @ across[:, :_CHANNELS]
        for first in range(_CHANNELS, table.shape[2], _CHANNELS):
            channels = slice(first, first + _CHANNELS)
            cosines = torch.baddbmm(cosines, block[..., channels], across[:, channels])
        found.append(cosines.argmax(dim=2))
    return torch.cat(found, dim=1)


def _rows(table: Tensor, numbers: npt.NDArray[np.intp]) -> Tensor:
    return table.index_select(
        0, torch.tensor(numbers.tolist(), dtype=torch.long, device=table.device)
    )


def _padded(tables: Sequence[Tensor]) -> Tensor:
    """Tables [n,C] as one [len,N,C], the shorter ones repeated, which changes no nearest neighbour."""
    longest = max(map(len, tables))
    return torch.stack(
        [table[torch.arange(longest, device=table.device) % len(table)] for table in tables]
    )


def _as_map(table: Tensor, like: Tensor) -> Tensor:
    """[B,h*w,C] -> [B,C,h,w]."""
    batch, channels, height, width = like.shape
    return table.view(batch, height, width, channels).permute(0, 3, 1, 2)
