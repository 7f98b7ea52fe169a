"""What came of painting a picture: its pixels, and its outcome with losses, curve and measures."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache

import torch

from nst import __version__
from nst.output import CurvePoint, LayerLoss, Outcome
from nst.painting import (
    LOSS_NAMES,
    Measures,
    Rulers,
    Stylized,
    device_name,
    free_memory,
    graphs,
    is_out_of_memory,
    resolve_device,
)
from nst.pictures import images
from nst.planning import style_digest
from nst.running.loading import Loaded, finished
from nst.running.order import Order
from nst.settings import Precision

_MAX_CURVE_POINTS = 64

_log = logging.getLogger(__name__)

# Those that a curve shows; the others are 0 in nearly every picture.
_CURVE_NAMES = tuple(field.name for field in fields(CurvePoint) if field.name != "evaluation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """A picture that is made and not yet written: its pixels, and all of its outcome but the file."""

    loaded: Loaded
    picture: images.Picture | None
    outcome: Outcome


def results_of(
    loaded: Sequence[Loaded],
    stylized: Stylized,
    order: Order,
    *,
    precision: Precision,
    seconds: float,
    kept: Sequence[Sequence[str]],
) -> list[Painted]:
    """What came of each item of a batch: its losses and measures, or that it diverged.

    `seconds` are those of one of them, `kept` the paths of the intermediate pictures of each.
    """
    painted = [
        _result_of(one, stylized, index, order, precision=precision, seconds=seconds, kept=paths)
        for index, (one, paths) in enumerate(zip(loaded, kept, strict=True))
    ]
    return _measured(painted, order)


def _result_of(
    loaded: Loaded,
    stylized: Stylized,
    index: int,
    order: Order,
    *,
    precision: Precision,
    seconds: float,
    kept: Sequence[str],
) -> Painted:
    """What came of item `index` of a batch, not yet measured; `kept` are its intermediate pictures."""
    planned, group = loaded.planned, order.group
    curve = _curve(stylized, index)
    losses = {name: getattr(stylized.losses, name)[index].item() for name in LOSS_NAMES}
    outcome = Outcome(
        id=planned.job.id,
        key=planned.key,
        inputs_key=planned.inputs_key,
        status="ok",
        height=group.height,
        width=group.width,
        content_digest=planned.content.digest,
        style_digest=style_digest(planned.styles),
        weights_digest=group.weights.digest,
        weights_origin=group.weights.origin,
        weights_topology=group.weights.topology,
        nst_version=__version__,
        # A plain str: PyTorch's own subclass would make every receiver import PyTorch.
        torch_version=str(torch.__version__),
        device=device_name(order.settings.device),
        precision=precision,
        seconds=seconds,
        finished_at=datetime.now(UTC),
        evaluations=int(stylized.num_evaluations[index]),
        content_loss=losses["content"],
        style_loss=losses["style"],
        tv_loss=losses["tv"],
        detail_loss=losses["detail"],
        contrast_loss=losses["contrast"],
        noise_loss=losses["noise"],
        chroma_loss=losses["chroma"],
        total_loss=losses["total"],
        loss_ratio=losses["total"] / curve[0].total if curve[0].total > 0 else None,
        style_layer_losses=tuple(
            LayerLoss(layer=layer, loss=column[index].item())
            for layer, column in stylized.style_by_layer.items()
        ),
        loss_curve=curve,
        kept=tuple(kept) or None,
    )
    if not stylized.is_finite[index]:
        is_bad = ~stylized.curve.total[:, index].isfinite()
        bad = is_bad.nonzero()[0].item() + 1 if is_bad.any() else len(is_bad)
        failed = replace(
            outcome,
            status="failed",
            reason="diverged",
            error=f"the loss was not a finite number by evaluation {bad}; try lower weights",
        )
        return Painted(loaded=loaded, picture=None, outcome=failed)
    picture = finished(loaded, stylized.images[index])
    return Painted(loaded=loaded, picture=picture, outcome=outcome)


def _measured(painted: Sequence[Painted], order: Order) -> list[Painted]:
    """The same with what the pictures came out like, beside their contents and their styles."""
    made = [n for n, one in enumerate(painted) if one.picture is not None]
    found = _measures([painted[n] for n in made], order)
    measures = {n: asdict(each) for n, each in zip(made, found, strict=True) if each is not None}
    return [
        replace(one, outcome=replace(one.outcome, **measures[n])) if n in measures else one
        for n, one in enumerate(painted)
    ]


def _measures(
    made: Sequence[Painted], order: Order, *, has_made_room: bool = False
) -> list[Measures | None]:
    """The measures of pictures; None of one that the device has no memory for even alone.

    They are painted by then, and a picture without measures is worth more than none.
    """
    found = _measures_if_they_fit(made, order)
    if not isinstance(found, str):
        return [*found]
    had_graphs = graphs.forget()
    _rulers(order.settings.device).forget()
    free_memory(resolve_device(order.settings.device))
    # What was recorded to paint the pictures may have had the memory to measure all of them.
    if not has_made_room and (had_graphs or len(made) == 1):
        return _measures(made, order, has_made_room=True)
    if len(made) == 1:
        name = made[0].outcome.id
        _log.warning("%s is written without measures, for which memory is short: %s", name, found)
        return [None]
    _log.warning("out of memory measuring %d pictures at once: %s", len(made), found)
    half = len(made) // 2
    return [*_measures(made[:half], order), *_measures(made[half:], order)]


def _measures_if_they_fit(made: Sequence[Painted], order: Order) -> Sequence[Measures] | str:
    """The measures, or what the device said when it ran out of memory, as a value: see `batch.py`."""
    try:
        return _rulers(order.settings.device).measure_all(
            [torch.from_numpy(one.picture.pixels) for one in made if one.picture is not None],
            [one.loaded.sources for one in made],
            order.group.backbone,
        )
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        return str(exc)


@lru_cache(maxsize=1)
def _rulers(device: str) -> Rulers:
    return Rulers(resolve_device(device))


def _curve(stylized: Stylized, index: int) -> tuple[CurvePoint, ...]:
    """Up to `_MAX_CURVE_POINTS` of an item's losses, spread evenly, with the first and the last."""
    last = int(stylized.num_evaluations[index]) - 1
    count = min(last, _MAX_CURVE_POINTS - 1)
    chosen = sorted({round(last * i / count) for i in range(count + 1)} if count else {0})
    return tuple(
        CurvePoint(
            evaluation=i + 1,
            **{name: getattr(stylized.curve, name)[i, index].item() for name in _CURVE_NAMES},
        )
        for i in chosen
    )
