"""Group -> pictures: load, optimise, write, and the record that says so.

Three things go on at once: the next pictures are decoded and the last ones encoded and written
while the device optimises.
"""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import torch

from nst import __version__, output, storage
from nst.errors import ImageError, MemoryLimitError, NSTError, ends_the_run
from nst.job import Pooling, params_dict
from nst.output import CurvePoint, LayerLoss, Outcome, records
from nst.painting import (
    LOSS_NAMES,
    Backbone,
    Losses,
    Measures,
    Memo,
    OnStep,
    Rulers,
    StyleMemo,
    Stylized,
    WeightsFile,
    device_name,
    free_memory,
    is_out_of_memory,
    load_backbone,
    memory,
    resolve_device,
    resolve_precision,
    runs_items_together,
    stylize,
    weights,
)
from nst.pictures import images
from nst.planning import Group, PlannedJob, failure_of, in_batches, style_digest
from nst.profiles import PROFILES
from nst.running.loading import Inputs, Loaded, finished
from nst.running.reports import GroupReport, Listener
from nst.settings import Precision, RunSettings
from nst.wording import shown_bytes

_MAX_CURVE_POINTS = 64
# Those that a curve shows; the others are 0 in nearly every picture.
_CURVE_NAMES = tuple(field.name for field in fields(CurvePoint) if field.name != "evaluation")
# Styles of which a process remembers what it found; a style's Grams take some 3 MB.
_MAX_REMEMBERED = 64

_log = logging.getLogger(__name__)


def run_group(group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
    """Make the pictures of a group and write them, and after each picture the record that says so.

    A picture that cannot be made fails alone and has a record too. Raises StorageError where the
    output cannot be written; running the group again does no harm.
    """
    num_made = num_failed = 0
    for outcome in _stylize_group(group, settings, listener):
        num_made += outcome.status == "ok"
        num_failed += outcome.status == "failed"
    return GroupReport(name=group.name, num_made=num_made, num_failed=num_failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workshop:
    """What all batches of a group share."""

    group: Group
    settings: RunSettings
    listener: Listener
    backbone: Backbone
    memo: StyleMemo
    precision: Precision
    tile_px: int | None

    @property
    def bytes_per_picture(self) -> int:
        return memory.bytes_per_picture(
            self.group.height,
            self.group.width,
            self.backbone.profile,
            self.precision,
            self.tile_px,
        )


def _stylize_group(group: Group, settings: RunSettings, listener: Listener) -> Iterator[Outcome]:
    """The outcomes of one batch after the other, each once its pictures are recorded."""
    try:
        workshop = _workshop(group, settings, listener)
    except NSTError as exc:
        if ends_the_run(exc):
            raise
        for planned in group.jobs:
            outcome = failure_of(planned, exc)
            _record(outcome, group, settings, listener)
            yield outcome
        return
    batches = in_batches(group.jobs, _num_at_once(workshop))
    # One for all batches, so that a picture that several share is read and decoded once.
    inputs = Inputs(group.weights)
    with ThreadPoolExecutor(1, "load") as loader, ThreadPoolExecutor(1, "write") as writer:
        coming = [loader.submit(_load, batch, inputs, workshop) for batch in batches[:1]]
        written: Future[list[Outcome]] | None = None
        num_before = 0
        for number, batch in enumerate(batches, start=1):
            loaded, failed = coming.pop().result()
            coming += [
                loader.submit(_load, ahead, inputs, workshop) for ahead in batches[number:][:1]
            ]
            painted = _paint(loaded, workshop, num_before=num_before)
            num_before += len(batch)
            if written is not None:
                yield from written.result()
            written = writer.submit(_write, painted, failed, workshop)
        if written is not None:
            yield from written.result()


def _workshop(group: Group, settings: RunSettings, listener: Listener) -> _Workshop:
    device = resolve_device(settings.device)
    precision = resolve_precision(settings.precision, device)
    pooling = group.jobs[0].job.params.pooling
    backbone, memo = _backbone(group.weights, _layers(group), settings.device, precision, pooling)
    found = memory.memory_of(device)
    return _Workshop(
        group=group,
        settings=settings,
        listener=listener,
        backbone=backbone,
        memo=memo,
        precision=precision,
        tile_px=memory.tile_px(group.height, group.width, backbone.profile, found),
    )


def _num_at_once(workshop: _Workshop) -> int:
    """How many pictures the device can hold together, 0 where it would not hold even one."""
    device = workshop.backbone.device
    return memory.pictures_at_once(
        workshop.bytes_per_picture,
        memory.memory_of(device),
        together=runs_items_together(device, workshop.tile_px),
    )


def _load(
    batch: Sequence[PlannedJob], inputs: Inputs, workshop: _Workshop
) -> tuple[list[Loaded], list[Outcome]]:
    """The jobs whose pictures can be used, their previews written, and the outcomes of the others."""
    workshop.listener.begun(workshop.group, [planned.job.id for planned in batch])
    loaded: list[Loaded] = []
    failed: list[Outcome] = []
    for planned in batch:
        try:
            loaded.append(inputs.load(planned))
        except NSTError as exc:
            if ends_the_run(exc):
                raise
            failed.append(failure_of(inputs.as_read(planned), exc))
        except Exception as exc:
            # A decoder's surprise is one picture's own, and no reason to paint none of its group.
            _log.exception("%s could not be loaded", planned.job.id)
            error = ImageError(f"{planned.content.uri}: {type(exc).__name__}: {exc}")
            failed.append(failure_of(inputs.as_read(planned), error))
    inputs.write_previews(workshop.settings)
    return loaded, failed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Painted:
    """A picture that is made and not yet written: its pixels, and all of its outcome but the file."""

    loaded: Loaded
    picture: images.Picture | None
    outcome: Outcome


def _paint(loaded: Sequence[Loaded], workshop: _Workshop, *, num_before: int) -> list[_Painted]:
    """Stylize what is loaded; a batch that the device cannot hold is halved and goes on.

    `num_before` pictures of the group have been through here already.
    """
    if not loaded:
        return []
    group = workshop.group
    device = workshop.backbone.device

    def on_step(evaluation: int, _: Losses) -> None:
        done = num_before * group.steps + evaluation * len(loaded)
        workshop.listener.advanced(group, done, num_before)

    free = memory.memory_of(device).free
    if len(loaded) == 1 and workshop.bytes_per_picture > free:
        return [_refused(loaded[0], workshop, free)]
    started = time.monotonic()
    stylized = _stylize_if_it_fits(loaded, workshop, on_step)
    if isinstance(stylized, Stylized):
        num_now = num_before + len(loaded)
        workshop.listener.advanced(group, num_now * group.steps, num_now)
        seconds = (time.monotonic() - started) / len(loaded)
        return [
            _painted(one, stylized, index, workshop, seconds=seconds)
            for index, one in enumerate(loaded)
        ]
    _log.warning("out of memory with %d pictures at once: %s", len(loaded), stylized)
    free_memory(device)
    if len(loaded) == 1:
        return [_refused(loaded[0], workshop, free)]
    half = len(loaded) // 2
    return [
        *_paint(loaded[:half], workshop, num_before=num_before),
        *_paint(loaded[half:], workshop, num_before=num_before + half),
    ]


def _refused(loaded: Loaded, workshop: _Workshop, free: int) -> _Painted:
    group = workshop.group
    error = MemoryLimitError(
        f"{group.height} x {group.width} pixels (height x width) with {group.backbone} need about "
        f"{shown_bytes(workshop.bytes_per_picture)}, {workshop.settings.device} has "
        f"{shown_bytes(free)} free; use a smaller size, or a device with more memory"
    )
    planned = loaded.planned
    outcome = failure_of(planned, error)
    return _Painted(loaded=loaded, picture=None, outcome=outcome)


def _stylize_if_it_fits(
    loaded: Sequence[Loaded], workshop: _Workshop, on_step: OnStep
) -> Stylized | str:
    """The pictures, or what the device said when it ran out of memory.

    That is a value, since the error's traceback would hold every tensor of the attempt in memory.
    """
    try:
        return stylize(
            [one.item for one in loaded],
            workshop.backbone,
            on_step=on_step,
            memo=workshop.memo,
            tile_px=workshop.tile_px,
        )
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        return str(exc)


def _layers(group: Group) -> tuple[str, ...]:
    program = group.jobs[0].job.params
    return PROFILES[group.backbone].shares(program.content_layers, program.style_layers).layers


@lru_cache(maxsize=2)
def _backbone(
    file: WeightsFile,
    layers: tuple[str, ...],
    device: str,
    precision: Precision,
    pooling: Pooling,
) -> tuple[Backbone, StyleMemo]:
    """Loaded once per process, and shared by all its groups, with what it found of styles."""
    backbone = load_backbone(
        file.backbone,
        weights.load_state(file),
        layers,
        device=resolve_device(device),
        precision=precision,
        pooling=pooling,
        topology=file.topology,
    )
    return backbone, Memo(_MAX_REMEMBERED)


@lru_cache(maxsize=1)
def _rulers(device: str) -> Rulers:
    return Rulers(resolve_device(device))


def _painted(
    loaded: Loaded, stylized: Stylized, index: int, workshop: _Workshop, *, seconds: float
) -> _Painted:
    planned, group = loaded.planned, workshop.group
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
        # A plain text: its own kind of one would have whoever is told of it import PyTorch.
        torch_version=str(torch.__version__),
        device=device_name(workshop.settings.device),
        precision=workshop.precision,
        seconds=seconds,
        finished_at=datetime.now(UTC),
        evaluations=int(stylized.num_evaluations[index]),
        content_loss=losses["content"],
        style_loss=losses["style"],
        tv_loss=losses["tv"],
        detail_loss=losses["detail"],
        contrast_loss=losses["contrast"],
        noise_loss=losses["noise"],
        total_loss=losses["total"],
        loss_ratio=losses["total"] / curve[0].total if curve[0].total > 0 else None,
        style_layer_losses=tuple(
            LayerLoss(layer=layer, loss=column[index].item())
            for layer, column in stylized.style_by_layer.items()
        ),
        loss_curve=curve,
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
        return _Painted(loaded=loaded, picture=None, outcome=failed)
    picture = finished(loaded, stylized.images[index])
    measures = asdict(_measured(picture, loaded, workshop))
    return _Painted(loaded=loaded, picture=picture, outcome=replace(outcome, **measures))


def _measured(picture: images.Picture, loaded: Loaded, workshop: _Workshop) -> Measures:
    """What the picture came out like, beside its content and its styles."""
    rulers = _rulers(workshop.settings.device)
    pixels = torch.from_numpy(picture.pixels)
    return rulers.measure(pixels, loaded.sources, workshop.group.backbone)


def _write(
    painted: Sequence[_Painted], failed: Sequence[Outcome], workshop: _Workshop
) -> list[Outcome]:
    """Encode and write the pictures, each followed by its record; the outcomes of all."""
    outcomes = list(failed)
    for outcome in failed:
        _record(outcome, workshop.group, workshop.settings, workshop.listener)
    for one in painted:
        outcome = _write_picture(one, workshop)
        _record(outcome, workshop.group, workshop.settings, workshop.listener)
        outcomes.append(outcome)
    return outcomes


def _record(outcome: Outcome, group: Group, settings: RunSettings, listener: Listener) -> None:
    records.write(settings.output, outcome)
    listener.recorded(group, outcome)


def _write_picture(painted: _Painted, workshop: _Workshop) -> Outcome:
    if painted.picture is None:
        return painted.outcome
    planned, settings = painted.loaded.planned, workshop.settings
    path = output.picture_path(planned.job, settings)
    provenance = _provenance(planned, workshop.group)
    data = images.encode(painted.picture, settings.image_format, provenance)
    version = storage.write_bytes(storage.join(settings.output, path), data)
    outcome = replace(
        painted.outcome,
        picture=path,
        picture_version=version or None,
        picture_digest=hashlib.sha256(data).hexdigest(),
        picture_bytes=len(data),
    )
    outcome = _with_thumbnails(outcome, painted.picture, settings)
    return replace(outcome, finished_at=datetime.now(UTC))


def _with_thumbnails(outcome: Outcome, picture: images.Picture, settings: RunSettings) -> Outcome:
    """Write the thumbnails of a picture that is written itself by now; the outcome with them."""
    assert outcome.picture_digest is not None
    stem = output.thumbnail_stem(outcome.picture_digest)
    paths = output.thumbnail_paths(stem, *picture.pixels.shape[1:])
    made = images.thumbnails(picture, settings.image_format, paths)
    for edge, path in paths.items():
        storage.write_bytes(storage.join(settings.output, path), made.files[edge])
    return replace(outcome, thumbnail=stem, color=made.color)


def _provenance(planned: PlannedJob, group: Group) -> dict[str, Any]:
    """What made a picture, to be written into it: no folders, no URLs, nothing that varies by run."""
    job = planned.job
    return {
        "software": f"nst {__version__}",
        "id": job.id,
        "key": planned.key,
        "content": job.content_name.rpartition("/")[2],
        "style": " | ".join(part.rpartition("/")[2].strip() for part in job.style_name.split("|")),
        "backbone": job.backbone,
        "content_digest": planned.content.digest,
        "style_digest": style_digest(planned.styles),
        "weights_digest": group.weights.digest,
        "weights_topology": group.weights.topology,
        **params_dict(job.params),
    }


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
