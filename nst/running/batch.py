"""Group -> pictures: load, optimise, write, and the record that says so.

Three things go on at once: the next pictures are decoded and the last ones encoded and written
while the device optimises.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache

from nst.errors import ImageError, MemoryLimitError, NSTError, ends_the_run
from nst.job import Pooling
from nst.output import Outcome
from nst.painting import (
    Backbone,
    Losses,
    Memo,
    OnKept,
    OnStep,
    StyleMemo,
    Stylized,
    WeightsFile,
    choose_algorithms,
    devices,
    free_memory,
    graphs,
    is_out_of_memory,
    load_backbone,
    memory,
    num_side_by_side,
    pulse,
    resolve_device,
    resolve_precision,
    runs_items_together,
    sent_ahead,
    stylize,
    weights,
)
from nst.planning import Group, PlannedJob, bytes_of_job, failure_of, in_batches
from nst.profiles import PROFILES
from nst.running.keeping import keeping
from nst.running.loading import Inputs, Loaded
from nst.running.order import Order
from nst.running.reports import GroupReport, Listener
from nst.running.results import Painted, results_of
from nst.running.stopping import Postponing
from nst.running.writing import num_threads_beside, write_all
from nst.settings import Precision, RunSettings
from nst.storage import name_roots, work_for
from nst.wording import shown_bytes

# What a process remembers of styles with each network, one for each size of a pyramid: what is known of a
# style at one size takes some 3 MB, 11 with ResNet-50, and 6 MB more at a picture's own size.
_MAX_REMEMBERED = 64

_log = logging.getLogger(__name__)


def run_group(group: Group, settings: RunSettings, listener: Listener) -> GroupReport:
    """Make the pictures of a group and write them, and after each picture the record that says so.

    A picture that cannot be made fails alone and has a record too. Raises StorageError where the
    output cannot be written; running the group again does no harm. A StoppedError of the listener is
    raised once the pictures that are being painted are recorded, if there are any after them.
    """
    work_for(settings.output, have_answered=True)
    name_roots(settings.roots)
    num_made = num_failed = 0
    heard = Postponing(listener)
    order = Order(group=group, settings=settings, listener=heard)
    for outcome in _stylize_group(order, heard):
        num_made += outcome.status == "ok"
        num_failed += outcome.status == "failed"
    return GroupReport(name=group.name, num_made=num_made, num_failed=num_failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Workshop:
    """What all batches of a group share."""

    order: Order
    backbone: Backbone
    memo: StyleMemo
    precision: Precision
    tile_px: int | None
    whole_style_px: int | None

    @property
    def num_encoders(self) -> int:
        """Threads that encode. Beside a CPU that paints one keeps up, and more would slow it down."""
        is_cpu = self.backbone.device.type == "cpu"
        return 1 if is_cpu else num_threads_beside(devices.num_gpus())

    @property
    def bytes_per_picture(self) -> int:
        return memory.bytes_per_picture(
            self.order.group.height,
            self.order.group.width,
            self.backbone.profile,
            self.backbone.multiplied_in,
            self.tile_px,
        )

    def bytes_of(self, planned: PlannedJob) -> int:
        """What a job needs by itself, of which its styles may need the most."""
        return bytes_of_job(
            planned,
            self.bytes_per_picture,
            self.backbone.multiplied_in,
            self.tile_px,
            self.whole_style_px,
        )


def _stylize_group(order: Order, heard: Postponing) -> Iterator[Outcome]:
    """The outcomes of one batch after the other, each once its pictures are recorded."""
    try:
        workshop = _workshop(order)
    except NSTError as exc:
        if ends_the_run(exc):
            raise
        for planned in order.group.jobs:
            outcome = failure_of(planned, exc)
            order.record(outcome)
            yield outcome
        return
    batches = in_batches(order.group.jobs, _num_at_once(workshop))
    # One for all batches, so that a picture that several share is read and decoded once.
    inputs = Inputs(order.group.weights, order.group.jobs)
    with ThreadPoolExecutor(1, "load") as loader, ThreadPoolExecutor(1, "write") as writer:
        coming = [loader.submit(_load, batch, inputs, workshop) for batch in batches[:1]]
        written: Future[list[Outcome]] | None = None
        num_before = 0
        for number, batch in enumerate(batches, start=1):
            if heard.stopped is not None:
                break
            loaded, failed = coming.pop().result()
            coming += [
                loader.submit(_load, ahead, inputs, workshop) for ahead in batches[number:][:1]
            ]
            painted = _paint(loaded, workshop, num_before=num_before)
            num_before += len(batch)
            if failed:
                # They are done with too.
                heard.advanced(order.group, num_before * order.group.evaluations, num_before)
            if written is not None:
                yield from written.result()
            written = writer.submit(
                write_all, painted, failed, order, num_threads=workshop.num_encoders
            )
        if written is not None:
            yield from written.result()
        if num_before < len(order.group.jobs):
            heard.check()


def _workshop(order: Order) -> _Workshop:
    group, settings = order.group, order.settings
    device = resolve_device(settings.device)
    choose_algorithms(device, deterministic=settings.deterministic)
    precision = resolve_precision(settings.precision, device)
    pooling = group.jobs[0].job.params.pooling
    backbone, memo = _backbone(group.weights, _layers(group), settings.device, precision, pooling)
    found = memory.memory_of(device)
    return _Workshop(
        order=order,
        backbone=backbone,
        memo=memo,
        precision=precision,
        tile_px=memory.tile_px(group.height, group.width, backbone.profile, found),
        whole_style_px=memory.whole_style_px(backbone.profile, found),
    )


def _num_at_once(workshop: _Workshop) -> int:
    """How many pictures the device can hold together, 0 where it would not hold even one."""
    device = workshop.backbone.device
    in_one_pass = runs_items_together(device, workshop.tile_px)
    jobs = workshop.order.group.jobs
    found = _memory_for(jobs, workshop)
    if device.type == "cpu":
        # Lanes share the memory of a machine, and each looks at it before the others take theirs.
        found = replace(found, free=found.free // max(1, workshop.order.settings.lanes))
    if in_one_pass:
        return memory.pictures_at_once(workshop.bytes_per_picture, found, at_most=None)
    # Each may be looking at its styles just then; a batch looks at one after the other.
    most = max(workshop.bytes_of(planned) for planned in jobs)
    return memory.pictures_at_once(most, found, at_most=num_side_by_side(workshop.backbone))


def _memory_for(jobs: Sequence[PlannedJob], workshop: _Workshop) -> memory.Memory:
    """The device's memory; if these pictures need more, what was recorded for others gives way."""
    device = workshop.backbone.device
    found = memory.memory_of(device)
    needed = max(len(jobs) * workshop.bytes_per_picture, *map(workshop.bytes_of, jobs))
    if memory.pictures_at_once(needed, found, at_most=None) or not graphs.forget():
        return found
    free_memory(device)
    return memory.memory_of(device)


def _load(
    batch: Sequence[PlannedJob], inputs: Inputs, workshop: _Workshop
) -> tuple[list[Loaded], list[Outcome]]:
    """The jobs whose pictures can be used, their previews written, and the outcomes of the others."""
    workshop.order.listener.begun(workshop.order.group, [planned.job.id for planned in batch])
    loaded: list[Loaded] = []
    failed: list[Outcome] = []
    for planned in batch:
        # Large scans over a slow line take seconds each, and a batch may have hundreds.
        pulse.beat()
        try:
            one = inputs.load(planned)
            loaded.append(replace(one, item=sent_ahead(one.item, workshop.backbone.device)))
        except NSTError as exc:
            if ends_the_run(exc):
                raise
            failed.append(failure_of(inputs.as_read(planned), exc))
        except Exception as exc:
            # A decoder's surprise is one picture's own, and no reason to paint none of its group.
            _log.exception("%s could not be loaded", planned.job.id)
            error = ImageError(f"{planned.content.uri}: {type(exc).__name__}: {exc}")
            failed.append(failure_of(inputs.as_read(planned), error))
        inputs.write_previews(workshop.order.settings)
        inputs.let_go(planned)
    return loaded, failed


def _paint(
    loaded: Sequence[Loaded], workshop: _Workshop, *, num_before: int, with_graphs: bool = True
) -> list[Painted]:
    """Stylize what is loaded; a batch that the device cannot hold is halved and goes on.

    `num_before` pictures of the group have been through here already.
    """
    if not loaded:
        return []
    group = workshop.order.group
    device = workshop.backbone.device

    def on_step(share: float, _: Losses) -> None:
        done = round((num_before + share * len(loaded)) * group.evaluations)
        workshop.order.listener.advanced(group, done, num_before)

    free = _memory_for([one.planned for one in loaded], workshop).free
    if len(loaded) == 1 and workshop.bytes_of(loaded[0].planned) > free:
        return [_refused(loaded[0], workshop, free, num_before)]
    started = time.monotonic()
    recording: AbstractContextManager[None] = nullcontext() if with_graphs else graphs.paused()
    with recording, keeping(loaded, workshop.order) as kept:
        stylized = _stylize_if_it_fits(loaded, workshop, on_step, kept.on_kept)
    if isinstance(stylized, Stylized):
        num_now = num_before + len(loaded)
        workshop.order.listener.advanced(group, num_now * group.evaluations, num_now)
        seconds = (time.monotonic() - started) / len(loaded)
        return results_of(
            loaded,
            stylized,
            workshop.order,
            precision=workshop.precision,
            seconds=seconds,
            kept=kept.paths,
        )
    _log.warning("out of memory with %d pictures at once: %s", len(loaded), stylized)
    had_graphs = graphs.forget()
    free_memory(device)
    if len(loaded) == 1:
        if not (had_graphs and with_graphs):
            return [_refused(loaded[0], workshop, free, num_before)]
        # Once more with the least memory that it can be painted with.
        return _paint(loaded, workshop, num_before=num_before, with_graphs=False)
    half = len(loaded) // 2
    return [
        *_paint(loaded[:half], workshop, num_before=num_before),
        *_paint(loaded[half:], workshop, num_before=num_before + half),
    ]


def _refused(loaded: Loaded, workshop: _Workshop, free: int, num_before: int) -> Painted:
    group, planned = workshop.order.group, loaded.planned
    num_now = num_before + 1
    workshop.order.listener.advanced(group, num_now * group.evaluations, num_now)
    needed = workshop.bytes_of(planned)
    size, of_what, smaller = (group.height, group.width), "", "size"
    if needed > workshop.bytes_per_picture:
        size = max(planned.style_sizes, key=lambda size: size[0] * size[1])
        of_what, smaller = " of a style", "style_scale"
    error = MemoryLimitError(
        f"{size[0]} x {size[1]} pixels (height x width){of_what} with {group.backbone} need about "
        f"{shown_bytes(needed)}, {workshop.order.settings.device} has {shown_bytes(free)} free; "
        f"use a smaller {smaller}, or a device with more memory"
    )
    outcome = failure_of(planned, error)
    return Painted(loaded=loaded, picture=None, outcome=outcome)


def _stylize_if_it_fits(
    loaded: Sequence[Loaded], workshop: _Workshop, on_step: OnStep, on_kept: OnKept | None
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
            whole_style_px=workshop.whole_style_px,
            keep_every=workshop.order.settings.keep_every,
            on_kept=on_kept,
        )
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        return str(exc)


def _layers(group: Group) -> tuple[str, ...]:
    program = group.jobs[0].job.params
    return PROFILES[group.backbone].shares(program.content_layers, program.style_layers).layers


# All backbones, since a matrix may go through them for each of its sizes. On a CPU in float32, with what
# Winograd's algorithm multiplies by, VGG-16 takes 0.28 GB, VGG-19 0.47 and ResNet-50 0.08, and each of them
# remembers styles. Batches are as large as what is free beside that.
@lru_cache(maxsize=len(PROFILES))
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
