"""The style transfer: a batch of contents and styles -> stylized images and their losses."""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from nst.job import weighting_of
from nst.painting import colors, graphs, regions, side_by_side
from nst.painting.backbones import Backbone
from nst.painting.devices import same_shapes
from nst.painting.keeping import Keeping, OnKept
from nst.painting.objective import Objective
from nst.painting.octaves import Octaves, at_scale, details, resized
from nst.painting.optimizers import OPTIMIZERS, InverseFrequencies
from nst.painting.steps import Best, PlainSteps, Steps
from nst.painting.targets import Item, Losses, StyleMemo, map_losses
from nst.painting.tiles import Work, work_of
from nst.painting.transfers import fetched, placed
from nst.scales import Scale, scales_of

# How often the loop looks whether pictures have stopped moving, which has to wait for the device.
STALL_WINDOW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Stylized:
    """`images` [B,3,H,W] in [0, 1] on the CPU: for each item, the best image that was evaluated.

    `losses` are those of exactly these images, `style_by_layer` their style loss layer by layer.
    `curve` has the losses of every evaluation, [E,B]; those of an item end after its
    `num_evaluations` [B]. `is_finite` [B] is False for an item with a loss or gradient that was not
    finite; its image is then the best one before that.
    """

    images: Tensor
    losses: Losses
    style_by_layer: Mapping[str, Tensor]
    is_finite: Tensor
    num_evaluations: Tensor
    curve: Losses


# Told the share of the work that is done, above 0 and up to 1, and the losses, still on the device: those
# of all items, or of the one that has just been evaluated.
OnStep = Callable[[float, Losses], None]


def stylize(
    items: Sequence[Item],
    backbone: Backbone,
    *,
    on_step: OnStep | None = None,
    memo: StyleMemo | None = None,
    tile_px: int | None = None,
    whole_style_px: int | None = None,
    keep_every: int = 0,
    on_kept: OnKept | None = None,
) -> Stylized:
    """Paint a batch by the method of its parameters, each item as if it were alone.

    All items must have the same size of content, method, steps, optimizer, layers and number of styles,
    and all or none have a mask: they share a tensor program. Weights, seeds, inits and styles (of any
    size) may differ. `memo`, `tile_px` and `whole_style_px` are as in `Objective.of`. `on_kept` is told
    the picture of each item after `keep_every` of its evaluations.

    On a CPU the items are painted side by side, each by its share of PyTorch's threads. `on_step` and
    `on_kept` are called by one of them at a time; what they raise ends all.
    """
    in_one = partial(
        _stylize,
        backbone=backbone,
        memo={} if memo is None else memo,
        tile_px=tile_px,
        whole_style_px=whole_style_px,
        keep_every=keep_every,
    )
    if not side_by_side.suits(len(items), backbone, tile_px):
        return in_one(items, on_step=on_step, on_kept=on_kept)
    told = _Told(len(items), on_step, on_kept)
    is_kept = on_kept is not None

    def paint(number: int, check: Callable[[], None]) -> Stylized:
        def advanced(share: float, losses: Losses) -> None:
            check()
            told.advanced(number, share, losses)

        return in_one(
            [items[number]],
            on_step=advanced,
            on_kept=(lambda _, n, image: told.kept(number, n, image)) if is_kept else None,
        )

    return _joined(side_by_side.side_by_side(paint, len(items)))


class _Told:
    """What items that are painted side by side tell, as if it came of one batch."""

    def __init__(self, number: int, on_step: OnStep | None, on_kept: OnKept | None) -> None:
        self._shares = [0.0] * number
        self._on_step, self._on_kept = on_step, on_kept
        self._lock = threading.Lock()

    def advanced(self, item: int, share: float, losses: Losses) -> None:
        with self._lock:
            self._shares[item] = share
            if self._on_step is not None:
                self._on_step(sum(self._shares) / len(self._shares), losses)

    def kept(self, item: int, evaluation: int, image: Tensor) -> None:
        with self._lock:
            if self._on_kept is not None:
                self._on_kept(item, evaluation, image)


def _joined(several: Sequence[Stylized]) -> Stylized:
    """What came of several items as of one batch."""

    def cat(columns: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(columns))

    longest = max(len(each.curve.total) for each in several)

    def abreast(*curves: Tensor) -> Tensor:
        # An item's last row again, which nobody looks at.
        return torch.cat(
            [torch.cat([c, c[-1:].expand(longest - len(c), -1)]) for c in curves], dim=1
        )

    return Stylized(
        images=cat([each.images for each in several]),
        losses=map_losses(lambda *columns: cat(columns), *(each.losses for each in several)),
        style_by_layer={
            layer: cat([each.style_by_layer[layer] for each in several])
            for layer in several[0].style_by_layer
        },
        is_finite=cat([each.is_finite for each in several]),
        num_evaluations=cat([each.num_evaluations for each in several]),
        curve=map_losses(abreast, *(each.curve for each in several)),
    )


def _stylize(
    items: Sequence[Item],
    *,
    backbone: Backbone,
    on_step: OnStep | None,
    memo: StyleMemo,
    tile_px: int | None,
    whole_style_px: int | None,
    keep_every: int,
    on_kept: OnKept | None,
) -> Stylized:
    """As `stylize`, in one pass for all or one item after the other in each evaluation."""
    height, width = items[0].content.shape[1:]
    scales = scales_of(height, width, items[0].params)
    progress = _Progress(scales, work_of(scales, tile_px, backbone.profile.margin_px), on_step)
    keeping = Keeping(
        every=keep_every if on_kept else 0,
        on_kept=on_kept or (lambda *_: None),
        size=(height, width),
    )
    items = [placed(item, backbone.device) for item in items]
    descents: list[_Descent] = []
    objectives: list[Objective] = []
    for number, scale in enumerate(scales, start=1):
        scaled = [at_scale(item, scale) for item in items]
        objectives.append(
            Objective.of(
                scaled,
                backbone,
                memo=memo,
                tile_px=tile_px,
                whole_style_px=whole_style_px,
                is_finest=number == len(scales),
            )
        )
        objective = Octaves(objectives, scales[:number], backbone.device)
        coarser = descents[-1].best.images if descents else None
        start = _start(scaled, coarser).to(backbone.device)
        with same_shapes(backbone.device):
            steps = _steps(scaled, objective, backbone, start, scale)
            descents.append(_descend(scaled, steps, start.device, scale, progress, keeping))
        keeping.ended(descents[-1].ends)
    return _stylized(descents, objective)


class _Progress:
    """The evaluations of all sizes, by the pixels that go through the network: how much is done."""

    def __init__(self, scales: Sequence[Scale], works: Sequence[Work], on_step: OnStep | None):
        self._pixels = {scale: work.pixels for scale, work in zip(scales, works, strict=True)}
        self._total = sum(scale.steps * pixels for scale, pixels in self._pixels.items())
        self._done = 0
        self._on_step = on_step

    def evaluated(self, scale: Scale, losses: Losses) -> None:
        self._done += self._pixels[scale]
        if self._on_step is not None:
            self._on_step(self._done / self._total, losses)

    def ended(self, scale: Scale, evaluations: int) -> None:
        """Whoever stops early has done all the work that there was at this size."""
        self._done += (scale.steps - evaluations) * self._pixels[scale]


@dataclass(frozen=True, slots=True)
class _Descent:
    """What came of one size: the best images, the losses of each evaluation, and where items ended."""

    best: Best
    curve: Sequence[Losses]
    ends: Sequence[int]


def _steps(
    items: Sequence[Item], objective: Octaves, backbone: Backbone, start: Tensor, scale: Scale
) -> Steps:
    """The steps from `start`, as the device is through with them fastest."""
    params = items[0].params
    optimizer = params.optimizer
    frequencies = InverseFrequencies(backbone.profile.fits[params.method].axis_trust)
    if graphs.suits(objective, start, optimizer=optimizer, num_steps=scale.steps):
        recorded = graphs.steps_of(objective, start, backbone, frequencies)
        if recorded is not None:
            return recorded
    return PlainSteps(objective, OPTIMIZERS[optimizer](start, frequencies=frequencies), start)


def _descend(
    items: Sequence[Item],
    steps: Steps,
    device: torch.device,
    scale: Scale,
    progress: _Progress,
    keeping: Keeping,
) -> _Descent:
    stalls = _Stalls([item.params.tolerance for item in items], device)
    pace = _Pace(device)
    curve = []
    for evaluation in range(1, scale.steps + 1):
        losses = steps.evaluate(stalls.running, stalls.is_running)
        curve.append(losses)
        pace.launched()
        progress.evaluated(scale, losses)
        keeping.evaluated(evaluation, steps.best.images, stalls.running)
        if evaluation % STALL_WINDOW == 0:
            stalls.look(evaluation, steps.best.losses.total)
        if evaluation == scale.steps or not any(stalls.running):
            break
        steps.move()
    progress.ended(scale, len(curve))
    return _Descent(steps.best.copy(), curve, [end or len(curve) for end in stalls.ends])


def _stylized(descents: Sequence[_Descent], objective: Octaves) -> Stylized:
    best = descents[-1].best
    is_finite = torch.stack([each.best.is_finite for each in descents]).all(dim=0)
    return Stylized(
        images=fetched(best.images),
        losses=map_losses(lambda column: column.cpu(), best.losses),
        style_by_layer={k: v.cpu() for k, v in objective.style_by_layer(best.images).items()},
        is_finite=is_finite.cpu(),
        num_evaluations=torch.tensor([each.ends for each in descents]).sum(dim=0),
        curve=_curve(descents),
    )


def _curve(descents: Sequence[_Descent]) -> Losses:
    """The losses of each evaluation, [E,B]: for each item its own of each size, one after the other."""
    ends = torch.tensor([each.ends for each in descents])
    longest = int(ends.sum(dim=0).max())
    rows = torch.zeros(longest, ends.shape[1], dtype=torch.long)
    for item in range(ends.shape[1]):
        first = 0
        own: list[int] = []
        for each in descents:
            own += range(first, first + each.ends[item])
            first += len(each.curve)
        rows[: len(own), item] = torch.tensor(own)
    evaluated = [losses for each in descents for losses in each.curve]
    return map_losses(lambda *columns: torch.stack(columns).cpu().gather(0, rows), *evaluated)


def _start(items: Sequence[Item], coarser: Tensor | None) -> Tensor:
    """Where the optimisation of a size begins, [B,3,H,W]: at the coarser pictures, if there are any."""
    if coarser is None:
        return torch.stack([_initial(item) for item in items])
    size = items[0].content.shape[1], items[0].content.shape[2]
    return torch.stack(
        [_sharpened(resized(c, size), item, c) for c, item in zip(coarser, items, strict=True)]
    )


def _sharpened(picture: Tensor, item: Item, coarser: Tensor) -> Tensor:
    """A picture from a coarser size, with the details of the start that only this size can have."""
    if item.params.init == "noise":
        return picture
    # Without them, most of a size's evaluations would go by to make the content sharp again.
    lost = details(_initial(item), (coarser.shape[1], coarser.shape[2]))
    return (picture + lost.to(picture.device)).clamp(0, 1)


def _initial(item: Item) -> Tensor:
    match item.params.init:
        case "recolored":
            # The strokes are what takes steps; the colours can be had at once.
            return _recolored(item)
        case "content":
            return item.content
        case "noise":
            # On the CPU whatever the device is, so that a seed means the same everywhere.
            generator = torch.Generator().manual_seed(item.params.seed)
            return torch.rand(item.content.shape, generator=generator).to(item.content.device)
        case "picture":
            assert item.start is not None
            return item.start


def _recolored(item: Item) -> Tensor:
    """The content in the styles' colours as far as the strength goes, [3,H,W]."""
    guides = blend = None
    # At one size all styles' pixels are one target, so that outputs of engine 3 go on with the same bits.
    if item.params.method == "pyramid" and len(item.styles) > 1:
        blend = item.blend
    if item.params.method == "pyramid" and item.mask is not None:
        guides = regions.guides(item.mask, len(item.styles))
    return colors.recolored(
        item.content,
        item.styles,
        item.alphas,
        share=weighting_of(item.params).recolored,
        guides=guides,
        blend=blend,
    )


class _Pace:
    """Lets the CPU be only some evaluations ahead of a GPU, so that progress tells of what is done.

    Of a hundred evaluations that are only launched, a run would say that they are done, and then give
    no sign of life until they are.
    """

    AHEAD = 8

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: deque[torch.cuda.Event] = deque()

    def launched(self) -> None:
        """Wait for the evaluation AHEAD before this one, while the GPU has those between to do."""
        if self._device.type != "cuda":
            return
        mark = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        mark.record(torch.cuda.current_stream(self._device))
        self._marks.append(mark)
        if len(self._marks) > self.AHEAD:
            self._marks.popleft().synchronize()


class _Stalls:
    """Which items still improve, by how much their best loss has fallen since the last check.

    `is_running` [B] stays on the device, since reading it at each step would slow the loop down.
    """

    def __init__(self, tolerances: Sequence[float], device: torch.device) -> None:
        self.is_running = torch.ones(len(tolerances), dtype=torch.bool, device=device)
        self._tolerances = tolerances
        self._last: Sequence[float] = [torch.inf] * len(tolerances)
        self.ends: list[int | None] = [None] * len(tolerances)

    @property
    def running(self) -> list[bool]:
        return [end is None for end in self.ends]

    def look(self, evaluation: int, best: Tensor) -> None:
        if not any(self._tolerances):
            return
        totals = best.tolist()
        for i, (before, now) in enumerate(zip(self._last, totals, strict=True)):
            tolerance = self._tolerances[i]
            if self.ends[i] is None and tolerance > 0 and before - now <= tolerance * now:
                self.ends[i] = evaluation
                self.is_running[i] = False
        self._last = totals
