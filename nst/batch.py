"""Group -> pictures: load, optimise, write, and the record that says so."""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import torch

from nst import __version__, images, metadata, output, storage, weights
from nst.backbones import Backbone, load_backbone
from nst.devices import device_name, free_memory, is_out_of_memory, resolve_device
from nst.engine import Item, Losses, OnStep, Stylized, stylize
from nst.errors import ImageError, MemoryLimitError, NSTError, is_transient
from nst.job import params_dict
from nst.metadata import CurvePoint, Outcome
from nst.output import failure
from nst.plan import Group, Input, PlannedJob
from nst.profiles import PROFILES
from nst.reports import GroupReport, Listener
from nst.settings import RunSettings
from nst.weights import WeightsFile

_PREVIEW_PX = 1024
_MAX_CURVE_POINTS = 64

_log = logging.getLogger(__name__)


def run_group(group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
    """Make the pictures of a group and write them, then the record that says so.

    A picture that cannot be made fails alone and is in the record. Raises StorageError where the
    output cannot be written; running the group again does no harm.
    """
    outcomes = _stylize_group(group, settings, listener)
    storage.write_bytes(
        storage.join(settings.output, output.record_path(group.digest)),
        metadata.outcomes_to_parquet(outcomes),
    )
    num_made = sum(outcome.status == "ok" for outcome in outcomes)
    return GroupReport(name=group.name, num_made=num_made, num_failed=len(outcomes) - num_made)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A planned job with its pictures decoded to the sizes at which they are used."""

    planned: PlannedJob
    content: images.Picture
    style: images.Picture


def _stylize_group(group: Group, settings: RunSettings, listener: Listener) -> list[Outcome]:
    loaded: list[_Loaded] = []
    outcomes: list[Outcome] = []
    files = _Inputs()
    for planned in group.jobs:
        try:
            loaded.append(_load(planned, files))
        except NSTError as exc:
            if is_transient(exc):
                raise
            outcomes.append(failure(planned.job.id, exc, key=planned.key))
    if loaded:
        files.write_previews(settings)
        # The bytes of a group's inputs need not lie about while it is optimised.
        del files
        outcomes += _make_pictures(group, loaded, settings, listener)
    return outcomes


class _Inputs:
    """The input pictures of a group, each read, checked and decoded once per size it is used at."""

    def __init__(self) -> None:
        self._bytes: dict[str, bytes] = {}
        self._pictures: dict[tuple[str, int, bool], images.Picture] = {}

    def picture(self, source: Input, *, long_edge_px: int, upscale: bool) -> images.Picture:
        key = (source.digest, long_edge_px, upscale)
        if key not in self._pictures:
            self._pictures[key] = images.decode(
                self._read(source), long_edge_px=long_edge_px, name=source.uri, upscale=upscale
            )
        return self._pictures[key]

    def _read(self, source: Input) -> bytes:
        if source.digest not in self._bytes:
            data = storage.read_bytes(source.uri)
            if hashlib.sha256(data).hexdigest() != source.digest:
                raise ImageError(
                    f"{source.uri}: expected the file as it was when the run began, found it "
                    "changed; run it again"
                )
            self._bytes[source.digest] = data
        return self._bytes[source.digest]

    def write_previews(self, settings: RunSettings) -> None:
        """The gallery shows inputs that it may not be able to reach where they are."""
        folder = storage.join(settings.output, output.INPUTS)
        there = storage.list_sizes(folder)
        for digest in {digest for digest, _, _ in self._pictures}:
            name = output.preview_name(digest)
            if name not in there:
                preview = images.encode_preview(
                    self._bytes[digest], long_edge_px=_PREVIEW_PX, name=name
                )
                storage.write_bytes(storage.join(folder, name), preview)


def _load(planned: PlannedJob, files: _Inputs) -> _Loaded:
    size = planned.job.params.size
    content = files.picture(planned.content, long_edge_px=size, upscale=True)
    if content.pixels.shape[1:] != (planned.height, planned.width):
        raise ImageError(
            f"{planned.content.uri}: expected {planned.height} x {planned.width} px as its header "
            f"says, found {content.pixels.shape[1]} x {content.pixels.shape[2]} (height x width)"
        )
    style = files.picture(planned.style, long_edge_px=size, upscale=False)
    return _Loaded(planned, content=content, style=style)


def _make_pictures(
    group: Group,
    loaded: Sequence[_Loaded],
    settings: RunSettings,
    listener: Listener,
    *,
    num_before: int = 0,
) -> list[Outcome]:
    """Stylize and write what is loaded; a batch that the device cannot hold is halved and goes on.

    `num_before` pictures of the group have been through here already.
    """
    tensors = {
        id(p): torch.from_numpy(p.pixels) for one in loaded for p in (one.content, one.style)
    }
    items = [
        Item(
            content=tensors[id(one.content)],
            style=tensors[id(one.style)],
            params=one.planned.job.params,
        )
        for one in loaded
    ]

    def on_step(evaluation: int, _: Losses) -> None:
        listener.advanced(group, num_before * group.steps + evaluation * len(items))

    try:
        backbone = _backbone(group.weights, _layers(group), settings.device)
    except NSTError as exc:
        if is_transient(exc):
            raise
        return [failure(one.planned.job.id, exc, key=one.planned.key) for one in loaded]
    started = time.monotonic()
    stylized = _stylize_if_it_fits(items, backbone, on_step)
    if isinstance(stylized, Stylized):
        seconds = (time.monotonic() - started) / len(loaded)
        return [
            _write_picture(one, stylized, index, group, settings, seconds=seconds)
            for index, one in enumerate(loaded)
        ]
    if len(loaded) == 1:
        planned = loaded[0].planned
        error = MemoryLimitError(
            f"{group.height} x {group.width} pixels do not fit the memory of "
            f"{settings.device}: {stylized}; use a smaller size"
        )
        return [failure(planned.job.id, error, key=planned.key)]
    half = len(loaded) // 2
    _log.warning("out of memory with %d pictures at once, halving the batch", len(loaded))
    free_memory(backbone.mean.device)
    return [
        *_make_pictures(group, loaded[:half], settings, listener, num_before=num_before),
        *_make_pictures(group, loaded[half:], settings, listener, num_before=num_before + half),
    ]


def _stylize_if_it_fits(
    items: Sequence[Item], backbone: Backbone, on_step: OnStep
) -> Stylized | str:
    """The pictures, or what the device said when it ran out of memory.

    That is a value, since the error's traceback would hold every tensor of the attempt in memory.
    """
    try:
        return stylize(items, backbone, on_step=on_step)
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        return str(exc)


def _layers(group: Group) -> tuple[str, ...]:
    program = group.jobs[0].job.params
    return PROFILES[group.backbone].shares(program.content_layers, program.style_layers).layers


@lru_cache(maxsize=2)
def _backbone(file: WeightsFile, layers: tuple[str, ...], device: str) -> Backbone:
    """Loaded once per process, and shared by all its groups."""
    return load_backbone(
        file.backbone, weights.load_state(file), layers, device=resolve_device(device)
    )


def _write_picture(
    loaded: _Loaded,
    stylized: Stylized,
    index: int,
    group: Group,
    settings: RunSettings,
    *,
    seconds: float,
) -> Outcome:
    planned = loaded.planned
    job = planned.job
    curve = _curve(stylized.curve, index)
    outcome = Outcome(
        id=job.id,
        key=planned.key,
        status="ok",
        height=group.height,
        width=group.width,
        content_digest=planned.content.digest,
        style_digest=planned.style.digest,
        weights_digest=group.weights.digest,
        weights_origin=group.weights.origin,
        nst_version=__version__,
        torch_version=torch.__version__,
        device=device_name(settings.device),
        seconds=seconds,
        finished_at=datetime.now(UTC),
        evaluations=len(stylized.curve.total),
        content_loss=stylized.losses.content[index].item(),
        style_loss=stylized.losses.style[index].item(),
        tv_loss=stylized.losses.tv[index].item(),
        total_loss=stylized.losses.total[index].item(),
        loss_curve=curve,
    )
    if not stylized.is_finite[index]:
        is_bad = ~stylized.curve.total[:, index].isfinite()
        bad = is_bad.nonzero()[0].item() + 1 if is_bad.any() else len(is_bad)
        return replace(
            outcome,
            status="failed",
            reason="diverged",
            error=f"the loss was not a finite number by evaluation {bad}; try lower weights",
        )
    path = output.picture_path(job, settings)
    picture = images.Picture(stylized.images[index].numpy(), loaded.content.alpha)
    data = images.encode(picture, settings.image_format, _provenance(planned, group))
    storage.write_bytes(storage.join(settings.output, path), data)
    return replace(
        outcome,
        picture=path,
        picture_digest=hashlib.sha256(data).hexdigest(),
        picture_bytes=len(data),
        finished_at=datetime.now(UTC),
    )


def _provenance(planned: PlannedJob, group: Group) -> dict[str, Any]:
    """What made a picture, to be written into it: no folders, no URLs, nothing that varies by run."""
    job = planned.job
    return {
        "software": f"nst {__version__}",
        "id": job.id,
        "key": planned.key,
        "content": job.content_name.rpartition("/")[2],
        "style": job.style_name.rpartition("/")[2],
        "backbone": job.backbone,
        "content_digest": planned.content.digest,
        "style_digest": planned.style.digest,
        "weights_digest": group.weights.digest,
        **params_dict(job.params),
    }


def _curve(curve: Losses, index: int) -> tuple[CurvePoint, ...]:
    """Up to `_MAX_CURVE_POINTS` of an item's losses, spread evenly, with the first and the last."""
    last = len(curve.total) - 1
    count = min(last, _MAX_CURVE_POINTS - 1)
    chosen = sorted({round(last * i / count) for i in range(count + 1)} if count else {0})
    return tuple(
        CurvePoint(
            evaluation=i + 1,
            content=curve.content[i, index].item(),
            style=curve.style[i, index].item(),
            tv=curve.tv[i, index].item(),
            total=curve.total[i, index].item(),
        )
        for i in chosen
    )
