"""How fast a device is, and what share of that painting gets out of it: backbones, sizes, batches."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from bench.gpu.given import Found, Given, Target, item, network, seconds_of, waited
from bench.gpu.operations import flops_per_px
from bench.measuring import table
from nst.painting import (
    Backbone,
    Memo,
    Rulers,
    Sources,
    free_memory,
    is_out_of_memory,
    memory,
    memory_of,
    resolve_precision,
    stylize,
)
from nst.scales import full_evaluations
from nst.settings import Precision
from nst.wording import shown_bytes

# The one that the targets are of comes first, in case that there is no time for the others.
_BACKBONES = ("vgg19", "vgg16", "resnet50")
_SIZES_PX = (512, 256, 1024)
_BATCHES = (1, 4, 16, 64)
_EVALUATIONS = 50
# Between a run of few evaluations and one of more is what an evaluation takes, and nothing else. Of
# fewer no CUDA graph would be made.
_FEW, _MORE = 10, 30
# Of the rate of large products: a lower bound, by which is guessed what a measurement takes.
_LEAST_SHARE = 0.1
_TARGET_SHARE, _TARGET_PICTURES = 0.5, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the device does in operations that do nothing else: FLOP/s of products, bytes/s of copies."""

    bfloat16: float
    float32: float
    copied: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A batch of pictures of one size: a batch's evaluation in seconds, and pictures a second.

    `pictures_s` are those of 50 evaluations at that size, with finding their targets, `pyramid_s`
    those of the default method. `share` is that of the rate of products, `peak_bytes` what the batch
    had allocated at most, 0 where that is not known, and `forecast_bytes` what was reckoned with.
    """

    backbone: str
    size_px: int
    batch: int
    precision: Precision
    evaluation_s: float
    pictures_s: float
    pyramid_s: float
    share: float
    peak_bytes: int
    forecast_bytes: int


def measure(given: Given, found: Found) -> None:
    """The device's own rates, and each batch that its memory and the time allow."""
    found["rates"] = rates = rates_of(given)
    given.say(
        f"products: {rates.bfloat16 / 1e12:.1f} TFLOP/s in bfloat16, {rates.float32 / 1e12:.1f} in "
        f"float32; memory: {rates.copied / 1e12:.3f} TB/s"
    )
    found["measuring_s"] = _measuring_s(given)
    given.say(f"measuring a picture at 512 px: {1e3 * found['measuring_s']:.2f} ms")
    precision = resolve_precision("auto", given.on)
    found["cells"], found["left_out"] = [], []
    for name in given.or_toy(_BACKBONES, ("vgg16", "resnet50")):
        if name == "resnet50" and given.resnet50 is None:
            found["note"] = "ResNet-50 has random weights, since no file of its own was given."
        backbone = network(name, given, device=given.on, precision=precision)
        for size_px, batch in _batches(backbone, precision, given):
            _try_cell(backbone, precision, size_px, batch, given, found)
        del backbone
        free_memory(given.on)


def rates_of(given: Given) -> Rates:
    """Those of large square products and of a long copy."""
    device = given.on
    side, count = given.or_toy((8192, 30), (128, 2))
    length = given.or_toy(2**28, 2**16)

    # Its own, since PyTorch's fails in a process in which a CUDA graph could not be recorded.
    random = torch.Generator(device)

    def product(dtype: torch.dtype) -> float:
        a, b = torch.randn(2, side, side, device=device, generator=random).to(dtype)
        made = torch.empty_like(a)
        return float(2 * side**3) / _each_s(partial(torch.mm, a, b, out=made), count, device)

    source = torch.zeros(length, device=device)
    target = torch.empty_like(source)
    copy_s = _each_s(lambda: target.copy_(source), count, device)
    return Rates(
        bfloat16=product(torch.bfloat16),
        float32=product(torch.float32),
        copied=2 * 4 * length / copy_s,
    )


def _each_s(work: Callable[[], object], count: int, device: torch.device) -> float:
    def often() -> None:
        for _ in range(count):
            work()

    often()
    return seconds_of(often, device) / count


def _measuring_s(given: Given) -> float:
    """What all measures of a picture take, with its content and style known already."""
    side_px, count = given.or_toy((512, 20), (64, 1))
    rulers = Rulers(given.on)
    row = item(0, side_px)
    sources = Sources(
        content=row.content,
        content_key="content",
        styles=row.styles,
        style_keys=row.style_keys,
        shares=(1.0,),
    )
    return _each_s(lambda: rulers.measure(row.content, sources, "vgg19"), count, given.on)


def _batches(backbone: Backbone, precision: Precision, given: Given) -> Iterator[tuple[int, int]]:
    """Sizes, each with the batches that are forecast to fit."""
    device = given.on
    for size_px in given.or_toy(_SIZES_PX, (64,)):
        bytes_each = memory.bytes_per_picture(size_px, size_px, backbone.profile, precision, None)
        fitting = memory.pictures_at_once(bytes_each, memory_of(device), at_most=None)
        for batch in given.or_toy(_BATCHES, (1, 2)):
            if batch <= fitting:
                yield size_px, batch


def _try_cell(
    backbone: Backbone,
    precision: Precision,
    size_px: int,
    batch: int,
    given: Given,
    found: Found,
) -> None:
    """Add the cell, or say why it was left out."""
    name = f"{backbone.profile.name} {size_px} px, batch {batch}"
    flops = size_px**2 * flops_per_px(backbone.profile.name)
    rate = getattr(found["rates"], precision)
    pyramid = full_evaluations(size_px, size_px, item(0, size_px).params)
    evaluations = 2 * _FEW + _MORE + 2 * pyramid
    least_s = batch * evaluations * flops / (_LEAST_SHARE * rate)
    if not given.has(0 if given.is_toy else least_s):
        found["left_out"].append(f"{name}: no time for it")
        return
    try:
        cell = _cell(backbone, precision, size_px, batch, flops / rate, given)
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        found["left_out"].append(f"{name}: out of memory")
        free_memory(given.on)
        return
    found["cells"].append(cell)
    given.say(
        f"{name}: {batch / cell.evaluation_s:.1f} evaluations/s, {cell.share:.1%} of the rate, "
        f"{cell.pictures_s:.2f} pictures/s, {cell.pyramid_s:.2f} of the default method"
    )


def _cell(
    backbone: Backbone,
    precision: Precision,
    size_px: int,
    batch: int,
    least_s: float,
    given: Given,
) -> Cell:
    """`least_s` is what an evaluation of one picture takes at the rate of large products."""
    before = _allocated(given.on)
    took = evaluation_of(backbone, size_px, batch, given)
    peak_bytes = max(0, _peak(given.on) - before)
    pyramid = given.or_toy({}, {"steps": 1})
    items = [item(number, size_px, **pyramid) for number in range(batch)]

    def paint() -> None:
        stylize(items, backbone, memo=Memo(64))

    # Of each size that it begins with, algorithms are tried and graphs recorded once, and not by each
    # batch of a run.
    paint()
    return Cell(
        backbone=backbone.profile.name,
        size_px=size_px,
        batch=batch,
        precision=precision,
        evaluation_s=took.evaluation_s,
        pictures_s=batch / (took.begin_s + _EVALUATIONS * took.evaluation_s),
        pyramid_s=batch / seconds_of(paint, given.on),
        share=batch * least_s / took.evaluation_s,
        peak_bytes=peak_bytes,
        forecast_bytes=batch
        * memory.bytes_per_picture(size_px, size_px, backbone.profile, precision, None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Seconds of a batch: of one evaluation with its step, and of finding targets and all else."""

    evaluation_s: float
    begin_s: float


def evaluation_of(backbone: Backbone, size_px: int, batch: int, given: Given) -> Took:
    """Of a batch at one size: painted with few evaluations and with more, after one that warms up."""
    few, more = given.or_toy((_FEW, _MORE), (1, 2))

    def painted_s(steps: int) -> float:
        items = [item(number, size_px, method="gatys", steps=steps) for number in range(batch)]
        return seconds_of(lambda: stylize(items, backbone, memo=Memo(64)), given.on)

    painted_s(few)
    few_s, more_s = painted_s(few), painted_s(more)
    # Noise must not make a time of nothing.
    evaluation_s = max((more_s - few_s) / (more - few), 1e-6)
    return Took(evaluation_s=evaluation_s, begin_s=max(0.0, few_s - few * evaluation_s))


def _allocated(device: torch.device) -> int:
    """What is allocated now; from here on the peak is counted."""
    if device.type != "cuda":
        return 0
    waited(device)
    torch.cuda.reset_peak_memory_stats(device)
    return int(torch.cuda.memory_allocated(device))


def _peak(device: torch.device) -> int:
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else 0


def to_markdown(found: Found) -> str:
    """The device's rates, and a line for each batch."""
    rates = found["rates"]
    rows = [
        [
            *(cell.backbone, cell.size_px, cell.batch, f"{1e3 * cell.evaluation_s:.2f}"),
            *(f"{cell.batch / cell.evaluation_s:.1f}", f"{cell.share:.1%}"),
            *(f"{cell.pictures_s:.2f}", f"{cell.pyramid_s:.2f}"),
            *(
                shown_bytes(cell.peak_bytes) if cell.peak_bytes else "",
                shown_bytes(cell.forecast_bytes),
            ),
        ]
        for cell in found["cells"]
    ]
    header = [
        *("backbone", "px", "batch", "evaluation ms", "evaluations/s", "of the rate"),
        *("pictures/s, gatys", "pictures/s, pyramid", "peak", "forecast"),
    ]
    notes = [found["note"]] if "note" in found else []
    notes += [f"Left out: {'; '.join(found['left_out'])}."] if found["left_out"] else []
    precision = found["cells"][0].precision if found["cells"] else "bfloat16"
    return "\n\n".join(
        [
            f"Large products get {rates.bfloat16 / 1e12:.1f} TFLOP/s in bfloat16 and {rates.float32 / 1e12:.1f} in float32, a copy moves {rates.copied / 1e12:.3f} TB/s, all measured in this run. "
            f"Painted in {precision}. An evaluation is that of the whole batch; evaluations/s are those of single pictures; of the rate: the share of the products' rate in that format. Pictures/s, gatys: of {_EVALUATIONS} evaluations at that size, with finding the targets; pyramid: of the default method. Peak: what the batch had allocated at most, without the weights. Measuring a picture of 512 px takes {1e3 * found['measuring_s']:.2f} ms.",
            table(header, rows),
            *notes,
        ]
    )


def targets(all_found: Mapping[str, Found]) -> list[Target]:
    """Those for VGG-19 at 512 px, by its best batch."""
    cells = [
        cell
        for cell in all_found.get("speed", {}).get("cells", [])
        if (cell.backbone, cell.size_px) == ("vgg19", 512)
    ]
    share = Target(
        what="VGG-19 at 512 px: share of the measured rate of products",
        wanted=f"{_TARGET_SHARE:.0%}",
    )
    pictures = Target(
        what=f"pictures a second of {_EVALUATIONS} evaluations at 512 px, VGG-19",
        wanted=f"{_TARGET_PICTURES:g}",
    )
    if not cells:
        return [share, pictures]
    most, fastest = max(cell.share for cell in cells), max(cell.pictures_s for cell in cells)
    return [
        Target(
            what=share.what,
            wanted=share.wanted,
            measured=f"{most:.1%}",
            is_reached=most >= _TARGET_SHARE,
        ),
        Target(
            what=pictures.what,
            wanted=pictures.wanted,
            measured=f"{fastest:.1f}",
            is_reached=fastest >= _TARGET_PICTURES,
        ),
    ]
