"""Whether the device computes what a CPU does, and what formats and batches change of a picture.

The optimisation amplifies a last bit to whole grey levels within some tens of evaluations, so that
pictures are compared after few evaluations and after all of them, and by rulers as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from bench.gpu.given import (
    CONTENTS,
    STYLES,
    Found,
    Given,
    Target,
    deterministic,
    grey_levels_apart,
    item,
    network,
    sample,
)
from bench.measuring import table
from nst.job import PictureParams
from nst.painting import (
    OPTIMIZERS,
    Backbone,
    Objective,
    Rulers,
    Sources,
    stylize,
)
from nst.pictures import images
from nst.settings import Precision

_BACKBONE = "vgg19"
_CPU = torch.device("cpu")
_FEW = 4
_MAX_GREY_LEVELS = 3.0
# How far apart the rulers may see two pictures of the same row, relative to the first.
_MAX_RULERS_APART = 0.05
_RULERS = ("lpips", "style_distance", "ssim", "noise")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A number that must not be above a limit."""

    what: str
    value: float
    limit: float

    @property
    def is_good(self) -> bool:
        # What is no number is not good.
        return self.value <= self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """How far apart two pictures of one row are, in grey levels: after few evaluations, after all.

    `rulers` is the largest relative difference between what the rulers say of the two.
    """

    what: str
    few: float
    all: float
    rulers: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How a picture is painted."""

    name: str
    device: torch.device
    precision: Precision
    batch: int = 1


def measure(given: Given, found: Found) -> None:
    """Checks of the engine's parts, then pictures of one row painted in several ways."""
    found["checks"] = []
    for check in checks(given):
        found["checks"].append(check)
        given.say(f"{check.what}: {check.value:.3g}, limit {check.limit:g}")
    _compare_pictures(given, found)


def checks(given: Given) -> Iterator[Check]:
    """The loss, its gradient, a step and the rulers against those of the CPU in float32; and bits."""
    side_px = given.or_toy(256, 64)
    items = [item(number, side_px, method="gatys") for number in range(3)]
    cpu = Objective.of(items, network(_BACKBONE, given, device=_CPU, precision="float32"))
    at = torch.stack([each.content for each in items]).roll(1, dims=0).contiguous()
    losses, gradient = cpu(at)
    formats: dict[Precision, tuple[float, float]] = {
        "float32": (1e-3, 1e-2),
        "bfloat16": (0.05, 0.3),
    }
    for precision, (of_loss, of_gradient) in formats.items():
        backbone = network(_BACKBONE, given, device=given.on, precision=precision)
        objective = Objective.of(items, backbone)
        found, slope = objective(at.to(given.on))
        apart = _relative(found.total.cpu(), losses.total)
        yield Check(what=f"loss, {precision}: relative to the CPU's", value=apart, limit=of_loss)
        apart = _relative(slope.cpu(), gradient)
        yield Check(what=f"gradient, {precision}: the same", value=apart, limit=of_gradient)
        with deterministic():
            yield _repeated(objective, precision, at, given)
            yield _alone(objective, precision, at, given)
    yield Check(
        what="three steps of L-BFGS: furthest pixel from the CPU's",
        value=float((_steps(at, gradient, given.on) - _steps(at, gradient, _CPU)).abs().max()),
        limit=1e-3,
    )
    ours, theirs = (_ruled(Rulers(device), at[0]) for device in (given.on, _CPU))
    yield Check(what="rulers: relative to the CPU's", value=_rulers_apart(ours, theirs), limit=0.01)


def _repeated(objective: Objective, precision: Precision, at: Tensor, given: Given) -> Check:
    one, two = (objective(at.to(given.on))[0].total for _ in range(2))
    what = f"losses, {precision}, that change if repeated with deterministic algorithms"
    return Check(what=what, value=float((one != two).sum()), limit=0)


def _alone(objective: Objective, precision: Precision, at: Tensor, given: Given) -> Check:
    """An item of a batch beside others than before: its loss is the same to the bit."""
    others = at.clone()
    others[1:] = others[1:].flip(3)
    one, two = (objective(each.to(given.on))[0].total[0] for each in (at, others))
    apart = float((one - two).abs())
    what = f"loss, {precision}: what other items change of it"
    return Check(what=what, value=apart, limit=0)


def _steps(at: Tensor, gradient: Tensor, device: torch.device) -> Tensor:
    optimizer = OPTIMIZERS["lbfgs"](at.to(device))
    for share in (1.0, 0.7, 0.5):
        at = optimizer.step(share * gradient.to(device))
    return at.cpu()


def _relative(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def _compare_pictures(given: Given, found: Found) -> None:
    found["pairs"], found["rulers"] = [], {}
    name = given.on.type
    many = given.or_toy(16, 2)
    reference = _Way(name="cpu, float32", device=_CPU, precision="float32")
    one = _Way(name=f"{name}, float32", device=given.on, precision="float32")
    half = _Way(name=f"{name}, bfloat16", device=given.on, precision="bfloat16")
    batch = _Way(
        name=f"{name}, bfloat16, batch of {many}", device=given.on, precision="bfloat16", batch=many
    )
    pictures: dict[tuple[str, int], Tensor] = {}
    few, every = given.or_toy((_FEW, PictureParams().steps), (1, 2))
    for way in (reference, one, half, batch):
        backbone = network(_BACKBONE, given, device=way.device, precision=way.precision)
        for steps in (few, every):
            pictures[way.name, steps] = _painted(way, backbone, steps, given)
        _keep(pictures[way.name, every], way.name, given.folder)
        found["rulers"][way.name] = _ruled(Rulers(_CPU), pictures[way.name, every], given)
        given.say(f"{way.name}: {_shown(found['rulers'][way.name])}")
    for first, second in ((reference, one), (one, half), (half, batch)):
        pair = Pair(
            what=f"{first.name}; {second.name}",
            few=grey_levels_apart(pictures[first.name, few], pictures[second.name, few]),
            all=grey_levels_apart(pictures[first.name, every], pictures[second.name, every]),
            rulers=_rulers_apart(found["rulers"][second.name], found["rulers"][first.name]),
        )
        found["pairs"].append(pair)
        given.say(f"{pair.what}: {pair.few:.2f} and {pair.all:.2f} grey levels apart")


def _painted(way: _Way, backbone: Backbone, steps: int, given: Given) -> Tensor:
    """The first picture of a batch."""
    side_px = given.or_toy(256, 64)
    items = [item(number, side_px, steps=steps) for number in range(way.batch)]
    return stylize(items, backbone).images[0]


def _keep(picture: Tensor, name: str, folder: Path) -> None:
    data = images.encode(images.Picture(picture.numpy(), None), "png", {"painted on": name})
    (folder / f"{name.replace(', ', '-').replace(' ', '-')}.png").write_bytes(data)


def _ruled(rulers: Rulers, picture: Tensor, given: Given | None = None) -> dict[str, float]:
    """What the rulers say of a picture of item 0."""
    side_px = picture.shape[-1]
    sources = Sources(
        content=sample(CONTENTS[0], side_px),
        content_key="content",
        styles=(sample(STYLES[0], side_px),),
        style_keys=("style",),
        shares=(1.0,),
    )
    said = asdict(rulers.measure(picture, sources, _BACKBONE))
    return {name: said[name] for name in _RULERS if said[name] is not None}


def _rulers_apart(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return max(abs(one[name] - other[name]) / max(abs(other[name]), 1e-6) for name in other)


def _shown(said: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in said.items())


def to_markdown(found: Found) -> str:
    """The checks, and how far apart the pictures are."""
    check_rows = [
        [check.what, f"{check.value:.3g}", f"{check.limit:g}", "yes" if check.is_good else "**no**"]
        for check in found["checks"]
    ]
    pair_rows = [
        [pair.what, f"{pair.few:.2f}", f"{pair.all:.2f}", f"{pair.rulers:.1%}"]
        for pair in found["pairs"]
    ]
    ruler_rows = [
        [name, *(f"{said[ruler]:.3f}" if ruler in said else "" for ruler in _RULERS)]
        for name, said in found["rulers"].items()
    ]
    return "\n\n".join(
        [
            table(["check of the engine", "found", "limit", "good"], check_rows),
            f"One row (the first content and style of the samples, VGG-19), painted in several ways. Grey levels: the mean distance of two pictures, after {_FEW} evaluations and after all; the optimisation amplifies a last bit to whole grey levels within some tens of evaluations. Rulers: the largest relative difference of what they say of the two finished pictures.",
            table(["pictures of", "grey levels, few", "all", "rulers"], pair_rows),
            table(["painted on", *_RULERS], ruler_rows),
        ]
    )


def targets(all_found: Mapping[str, Found]) -> list[Target]:
    """That the device's picture is the CPU's, and that to the rulers format and batch change nothing."""
    pairs: list[Pair] = all_found.get("correctness", {}).get("pairs", [])
    whats = ("on the CPU and the GPU, float32", "in float32 and bfloat16", "alone and in a batch")
    return [
        _target(
            f"one row {what}", pairs[number] if number < len(pairs) else None, is_first=not number
        )
        for number, what in enumerate(whats)
    ]


def _target(what: str, pair: Pair | None, *, is_first: bool) -> Target:
    by_levels = f"{_MAX_GREY_LEVELS:g} grey levels apart on average"
    wanted = by_levels if is_first else f"{_MAX_RULERS_APART:.0%} apart by the rulers"
    if pair is None:
        return Target(what=what, wanted=wanted)
    is_near = pair.all <= _MAX_GREY_LEVELS if is_first else pair.rulers <= _MAX_RULERS_APART
    return Target(
        what=what,
        wanted=wanted,
        measured=f"{pair.all:.2f} grey levels, {pair.few:.2f} after few evaluations; rulers {pair.rulers:.1%}",
        is_reached=is_near,
    )
