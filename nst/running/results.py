"""What came of painting a picture: its pixels, and its outcome with losses, curve and measures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache

import torch

from nst import __version__
from nst.output import CurvePoint, LayerLoss, Outcome
from nst.painting import LOSS_NAMES, Rulers, Stylized, device_name, resolve_device
from nst.pictures import images
from nst.planning import style_digest
from nst.running.loading import Loaded, finished
from nst.running.order import Order
from nst.settings import Precision

_MAX_CURVE_POINTS = 64


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
    rulers = _rulers(order.settings.device)
    made = {n: one.picture for n, one in enumerate(painted) if one.picture is not None}
    found = rulers.measure_all(
        [torch.from_numpy(picture.pixels) for picture in made.values()],
        [painted[n].loaded.sources for n in made],
        order.group.backbone,
    )
    measures = {n: asdict(each) for n, each in zip(made, found, strict=True)}
    return [
        replace(one, outcome=replace(one.outcome, **measures[n])) if n in measures else one
        for n, one in enumerate(painted)
    ]


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
