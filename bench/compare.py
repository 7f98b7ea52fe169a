"""The comparison with the peer: what a user gets from either, pair by pair, and then as a batch.

Ours runs with its defaults. The peer has one style weight for all pairs: of a list, the one with
which its pictures come closest to ours; or it runs with its own defaults. Rulers that neither program
optimises judge the pictures: LPIPS and the style distance by VGG-16 of `nst.painting.rulers`.
"""

import argparse
import csv
import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import hypot, log
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import Any

import pyarrow.parquet as pq
import torch
from PIL import Image

from bench import peer, sheets
from bench.measuring import ROOT, Usage, add_markdown_option, measured, python, table, tell, where
from nst.painting import Rulers, Sources, device_name, resolve_device
from nst.painting.precision import has_units
from nst.pictures import images

SECTION = "Comparison with neural-style-pt"
SAMPLES = ROOT / "manifests/samples"
# All contents and all styles among the samples. The peer's style weight is chosen on the first.
PAIRS = (
    ("summer-palace", "starry-night"),
    ("chelsea", "night-cafe"),
    ("rocket", "the-scream"),
    ("coffee", "great-wave"),
    ("chelsea", "shipwreck"),
    ("summer-palace", "great-wave"),
)
# Half a decade apart, from the peer's own default on: with a tenth of that its pictures stay short of
# the style, and from 300 to 3000 they hardly change any more.
STYLE_WEIGHTS = (100.0, 300.0, 1000.0, 3000.0, 10_000.0)
# By how much one of the two rulers may be worse in a picture that still counts as good.
TOLERANCE = 0.05

# Of the peer: less than a third of its own default, which favours it in time.
_EVALUATIONS = 300
_NUM_SWEPT = 3
_CELL_PX = 320
# Small: what is read from the disk is the same at any size.
_WARM_UP_PX = 64
_MATRIX_SIZE = 2048
_NUM_PRODUCTS = 20

Pair = tuple[str, str]
_log = logging.getLogger("bench")


@dataclass(frozen=True, slots=True)
class Score:
    """Unitless, the less the better: `lpips` is 0 at the content, `style` 0 at the style."""

    lpips: float
    style: float

    def is_as_good_as(self, other: "Score") -> bool:
        """Whether neither of the two is worse by more than TOLERANCE."""
        worst = 1 + TOLERANCE
        return self.lpips <= worst * other.lpips and self.style <= worst * other.style


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One picture in a run of its own: `loop_s` of the `process_s` went into optimising it."""

    evaluations: int
    loop_s: float
    process_s: float
    peak_mb: float
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that was measured: `trials` are the peer's scores by style weight, `batch_scores` ours.

    Without `settings` the peer ran with its own defaults.
    """

    size_px: int
    machine: str
    precision: str
    settings: peer.Settings | None
    trials: Mapping[float, Sequence[Score]]
    pairs: Sequence[Pair]
    peer: Sequence[Run]
    ours: Sequence[Run]
    batch_s: float
    batch_mb: float
    batch_scores: Sequence[Score]

    @property
    def peer_s(self) -> float:
        """What a loop in a shell takes for all pairs: a process for each."""
        return sum(run.process_s for run in self.peer)

    def ratio(self, seconds: Callable[[Run], float]) -> float:
        """How many times as long the peer takes, a geometric mean over all pairs."""
        both = zip(self.peer, self.ours, strict=True)
        return geometric_mean(seconds(peer) / seconds(ours) for peer, ours in both)

    def figures(self) -> dict[str, Any]:
        """What follows from what was measured."""
        both = list(zip(self.peer, self.ours, strict=True))
        alone = zip(self.batch_scores, (run.score for run in self.ours), strict=True)
        apart = [
            abs(x / y - 1) for a, b in alone for x, y in ((a.lpips, b.lpips), (a.style, b.style))
        ]
        return {
            "process_ratio": self.ratio(lambda run: run.process_s),
            "loop_ratio": self.ratio(lambda run: run.loop_s),
            "ours_as_good": sum(ours.score.is_as_good_as(peer.score) for peer, ours in both),
            "peer_as_good": sum(peer.score.is_as_good_as(ours.score) for peer, ours in both),
            "peer_lower_lpips": sum(a.score.lpips < b.score.lpips for a, b in both),
            "ours_lower_lpips": sum(b.score.lpips < a.score.lpips for a, b in both),
            "peer_lower_style": sum(a.score.style < b.score.style for a, b in both),
            "ours_lower_style": sum(b.score.style < a.score.style for a, b in both),
            "peer_pictures_per_hour": 3600 * len(both) / self.peer_s,
            "ours_pictures_per_hour": 3600 * len(both) / self.batch_s,
            "batch_apart": max(apart),
        }


def main() -> None:
    """`python -m bench`."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="long edge in pixels")
    parser.add_argument("--evaluations", type=int, help=f"of the peer; unless given {_EVALUATIONS}")
    parser.add_argument(
        "--peer-style-weight",
        type=float,
        nargs="+",
        help="of several, the one that comes closest to ours is taken",
    )
    parser.add_argument(
        "--peer-defaults",
        action="store_true",
        help=f"let the peer do what it does of itself: {peer.DEFAULTS.evaluations} evaluations",
    )
    parser.add_argument(
        "--sweep-evaluations", type=int, default=100, help="of the peer with each of these weights"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="the first so many")
    parser.add_argument(
        "--peer-path", type=Path, help=f"folder or wheel of {peer.REQUIREMENT}; else pip gets it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help="write all pictures here, beside each other"
    )
    add_markdown_option(parser)
    parser.add_argument(
        "--title", default=SECTION, help="of the section, which takes the place of the one before"
    )
    arguments = parser.parse_args()
    sheet = arguments.sheet
    if sheet is not None and not (sheet.parent.is_dir() and sheet.suffix in (".jpg", ".png")):
        parser.error(f"expected --sheet in a folder that is there, as .jpg or .png, found {sheet}")
    chosen = {
        "--evaluations": arguments.evaluations,
        "--peer-style-weight": arguments.peer_style_weight,
    }
    given = [option for option, value in chosen.items() if value is not None]
    if arguments.peer_defaults and given:
        parser.error(f"expected --peer-defaults without {given[0]}, which is not its default")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as folder:
        report = compare(
            PAIRS[: arguments.pairs],
            Path(folder),
            size_px=arguments.size,
            evaluations=None if arguments.peer_defaults else arguments.evaluations or _EVALUATIONS,
            style_weights=arguments.peer_style_weight or STYLE_WEIGHTS,
            sweep_evaluations=arguments.sweep_evaluations,
            device=arguments.device,
            peer_path=arguments.peer_path or peer.install(),
            sheet=sheet,
        )
    if arguments.json:
        found = asdict(report) | report.figures()
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    tell(to_markdown(report), arguments.markdown, arguments.title)


def compare(
    pairs: Sequence[Pair],
    folder: Path,
    *,
    size_px: int,
    evaluations: int | None,
    style_weights: Sequence[float],
    sweep_evaluations: int,
    device: str,
    peer_path: Path,
    sheet: Path | None = None,
) -> Report:
    """Run both programs on all pairs, with their files in `folder`.

    Without `evaluations` the peer runs with its own defaults, and no style weight is tried. A sheet
    has a line for each pair: the content, the style, the peer's picture and ours.
    """
    judge = Judge(folder, size_px)

    def theirs(pair: Pair, settings: peer.Settings | None, px: int = size_px) -> Run:
        done = settings or peer.DEFAULTS
        told = (*pair, done.style_weight, done.evaluations)
        _log.info("%s in %s: the peer, style weight %g, %d evaluations", *told)
        content, style = prepared(pair, folder, px)
        made = peer.run(
            content,
            style,
            size_px=px,
            settings=settings,
            device=device,
            folder=folder,
            path=peer_path,
        )
        score = judge.score(made.picture, content, style)
        return _run(made.usage, evaluations=done.evaluations, loop_s=made.loop_s, score=score)

    def our_run(chosen: Sequence[Pair], px: int = size_px) -> tuple[Usage, list[dict[str, Any]]]:
        _log.info("ours: %s", ", ".join(f"{content} in {style}" for content, style in chosen))
        return ours(chosen, folder, size_px=px, device=device)

    peer.save_weights(folder)
    # What each program loads is in the system's file cache then, whichever is measured first.
    our_run(pairs[:1], _WARM_UP_PX)
    theirs(pairs[0], peer.Settings(evaluations=1, style_weight=style_weights[0]), _WARM_UP_PX)
    alone, precisions = [], set()
    for pair in pairs:
        usage, (row,) = our_run([pair])
        precisions.add(row["precision"])
        alone.append(
            _run(
                usage,
                evaluations=row["evaluations"],
                loop_s=row["seconds"],
                score=judge.score(row["path"], *prepared(pair, folder, size_px)),
            )
        )
    swept = list(zip(pairs, alone, strict=True))[:_NUM_SWEPT]
    trials: dict[float, list[Score]] = {}
    if evaluations is not None and len(style_weights) > 1:
        for weight in style_weights:
            tried = peer.Settings(evaluations=sweep_evaluations, style_weight=weight)
            trials[weight] = [theirs(pair, tried).score for pair, _ in swept]
    goals = [run.score for _, run in swept]
    chosen = min(
        trials, key=lambda weight: distance(trials[weight], goals), default=style_weights[0]
    )
    settings = None
    if evaluations is not None:
        settings = peer.Settings(evaluations=evaluations, style_weight=chosen)
    their_runs = [theirs(pair, settings) for pair in pairs]
    usage, rows = our_run(pairs)
    if sheet is not None:
        inputs = [prepared(pair, folder, size_px) for pair in pairs]
        lines = [
            (folder / content, folder / style, folder / peer.picture(content, style), row["path"])
            for (content, style), row in zip(inputs, rows, strict=True)
        ]
        cells = {(x, y): path for y, line in enumerate(lines) for x, path in enumerate(line)}
        sheets.sheet(cells, _CELL_PX).save(sheet, quality=sheets.QUALITY)
    return Report(
        size_px=size_px,
        machine=machine(resolve_device(device)),
        precision=" and ".join(sorted(precisions)),
        settings=settings,
        trials=trials,
        pairs=pairs,
        peer=their_runs,
        ours=alone,
        batch_s=usage.process_s,
        batch_mb=usage.peak_mb,
        batch_scores=[
            judge.score(row["path"], *prepared(pair, folder, size_px))
            for pair, row in zip(pairs, rows, strict=True)
        ],
    )


def _run(usage: Usage, *, evaluations: int, loop_s: float, score: Score) -> Run:
    return Run(
        evaluations=evaluations,
        loop_s=loop_s,
        process_s=usage.process_s,
        peak_mb=usage.peak_mb,
        score=score,
    )


def prepared(pair: Pair, folder: Path, size_px: int) -> tuple[str, str]:
    """The names of content and style in `folder`, of this size, so that neither program resizes any."""
    names = []
    for kind, name in zip(("content", "style"), pair, strict=True):
        target = folder / f"{kind}-{name}-{size_px}.png"
        if not target.exists():
            with Image.open(SAMPLES / kind / f"{name}.jpg") as image:
                height, width = images.fitted_size(image.height, image.width, size_px)
                image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS).save(target)
        names.append(target.name)
    return names[0], names[1]


def ours(
    pairs: Iterable[Pair],
    folder: Path,
    *,
    size_px: int,
    device: str,
    environment: Mapping[str, str] | None = None,
) -> tuple[Usage, list[dict[str, Any]]]:
    """`nst run` as a user starts it, with nothing set but the size: what it took, and what it made.

    That is each pair's row of the metadata, with the `path` of its picture. `environment` is what the
    run has besides.
    """
    output = Path(tempfile.mkdtemp(prefix="ours-", dir=folder))
    manifest = output.with_suffix(".csv")
    names = [prepared(pair, folder, size_px) for pair in pairs]
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("content", "style"), *names])
    usage = measured(
        python(
            *("nst", "run", manifest, "--output", output),
            *("--device", device, "--set", f"size={size_px}"),
        ),
        environment=environment,
    )
    rows = pq.read_table(output / "metadata.parquet").to_pylist()
    return usage, [row | {"path": output / row["picture"]} for row in rows]


class Judge:
    """Scores pictures by networks that did not paint them, beside inputs that lie in a folder."""

    def __init__(self, folder: Path, size_px: int) -> None:
        self._folder = folder
        self._size_px = size_px
        self._rulers = Rulers(torch.device("cpu"))

    def score(self, picture: Path, content: str, style: str) -> Score:
        image, *inputs = (
            torch.from_numpy(
                images.decode(
                    path.read_bytes(), long_edge_px=self._size_px, name=path.name, upscale=False
                ).pixels
            )
            for path in (picture, self._folder / content, self._folder / style)
        )
        sources = Sources(
            content=inputs[0],
            content_key=content,
            styles=(inputs[1],),
            style_keys=(style,),
            shares=(1.0,),
        )
        found = self._rulers.measure(image, sources, "vgg19")
        assert found.lpips is not None
        assert found.style_distance is not None
        return Score(found.lpips, found.style_distance)


def distance(scores: Iterable[Score], goals: Iterable[Score]) -> float:
    """How far apart scores lie in LPIPS and the natural logarithm of style, in the mean."""
    pairs = zip(scores, goals, strict=True)
    return fmean(hypot(a.lpips - b.lpips, log(a.style) - log(b.style)) for a, b in pairs)


def machine(device: torch.device) -> str:
    """What a reader is to know of this machine and device, and how fast they multiply."""
    name = device_name(str(device))
    half = ", and nst does not use bfloat16 on it"
    # Without any instructions for it one such product takes a minute.
    if has_units(device):
        half = f", {_matrix_gflops(torch.bfloat16, device):.0f} in bfloat16"
    return (
        f"{where()}; {torch.get_num_threads()} threads, on {name}; torch {torch.__version__}. Products "
        f"of {_MATRIX_SIZE} x {_MATRIX_SIZE} matrices get "
        f"{_matrix_gflops(torch.float32, device):.0f} GFLOP/s in float32 here{half}."
    )


def _matrix_gflops(dtype: torch.dtype, device: torch.device) -> float:
    """The best of some products of two square matrices: a multiplication and an addition each."""
    left, right = torch.rand(2, _MATRIX_SIZE, _MATRIX_SIZE, device=device).to(dtype)
    seconds = []
    for _ in range(_NUM_PRODUCTS):
        started = time.perf_counter()
        # A GPU is done no sooner than it can tell a number.
        (left @ right)[0, 0].item()
        seconds.append(time.perf_counter() - started)
    return 2 * _MATRIX_SIZE**3 / min(seconds) / 1e9


def to_markdown(report: Report) -> str:
    """The section; also what is printed, so its columns are even."""
    found, number = report.figures(), len(report.pairs)
    pairs = f"{number} pair" if number == 1 else f"{number} pairs"
    equal = (
        ""
        if found["ours_as_good"] == number
        else (" So these are times to what each program makes, not to equal quality.")
    )
    both = (report.peer, report.ours)

    def each(name: str, form: str = "d") -> list[str]:
        return [f"{found[f'{who}_{name}']:{form}}" for who in ("peer", "ours")]

    def highest_mb(runs: Sequence[Run]) -> str:
        return f"{max(run.peak_mb for run in runs):.0f}"

    rates = (geometric_mean(run.evaluations / run.loop_s for run in runs) for runs in both)
    summary = [
        ["pictures an hour", *each("pictures_per_hour", ".0f")],
        ["seconds for all", f"{report.peer_s:.1f}", f"{report.batch_s:.1f}"],
        ["memory, MB", highest_mb(report.peer), f"{report.batch_mb:.0f}"],
        ["memory for one picture, MB", *map(highest_mb, both)],
        [
            "evaluations of a picture",
            *(f"{fmean(r.evaluations for r in runs):.0f}" for runs in both),
        ],
        ["evaluations a second in the loop", *(f"{rate:.2f}" for rate in rates)],
        ["LPIPS lower in", *each("lower_lpips")],
        ["style distance lower in", *each("lower_style")],
    ]
    return f"""`nst run` against `neural-style` 0.5.7 (neural-style-pt): what a user gets from either, at {report.size_px} px, from the same files and the original weights of VGG-19.
{report.machine}
nst computed in {report.precision}, the peer in float32.

nst: a manifest of `content` and `style`, `--set size={report.size_px}`, all else the defaults; nothing is searched for. {_told(report.settings)}

**The peer takes {found["process_ratio"]:.1f} times as long as nst by whole processes, and {found["loop_ratio"]:.1f} times as long in the loop: geometric means over {pairs}.**
**By both rulers, nst's picture is as good as the peer's for {found["ours_as_good"]} of {pairs}, and the peer's as good as nst's for {found["peer_as_good"]}.{equal}**

### One picture

Process: a program from cold to its end, with one pair; both had run once before, so that their files were in the system's cache. Loop: the optimisation;
that of nst includes finding the targets of content and style, that of the peer does not. MB: the most memory that all processes of a run had resident
together, in 1e6 bytes; what a GPU holds is not in it. LPIPS (v0.1) is 0 at the content. Style is the mean of ||G - A||^2 / ||A||^2 over relu1_1 to relu5_1 of
torchvision's VGG-16, with the Grams G of the picture and A of the style: 0 at the style. As good: in both at most {TOLERANCE:.0%} more.

{table(_HEADER, list(map(_row, report.pairs, *both)))}

### A batch

All {pairs} in one `nst run`, with start and gallery, against the peer's loop in a shell: the sum of its processes above. In the batch each picture
scores the same in both rulers as by itself, within {found["batch_apart"]:.1%}.

{table(["", "peer", "nst"], summary)}

### The peer's style weight

{_sweep(report)}
"""


_HEADER = (
    *("content, style", "peer process s", "loop s", "MB", "LPIPS", "style"),
    *("nst process s", "loop s", "MB", "LPIPS", "style", "as good"),
    *("peer as good", "times as long: process", "loop"),
)


def _row(pair: Pair, peer: Run, ours: Run) -> list[str]:
    good = [(ours, peer), (peer, ours)]
    cells = [
        [
            *(f"{run.process_s:.2f}", f"{run.loop_s:.2f}", f"{run.peak_mb:.0f}"),
            *(f"{run.score.lpips:.3f}", f"{run.score.style:.4f}"),
        ]
        for run in (peer, ours)
    ]
    return [
        ", ".join(pair),
        *cells[0],
        *cells[1],
        *("yes" if a.score.is_as_good_as(b.score) else "no" for a, b in good),
        *(f"{peer.process_s / ours.process_s:.1f}", f"{peer.loop_s / ours.loop_s:.1f}"),
    ]


def _told(settings: peer.Settings | None) -> str:
    if settings is None:
        return f"""The peer: its own defaults, which are
L-BFGS, {peer.DEFAULTS.evaluations} evaluations, from noise (of a fixed seed), style weight {peer.DEFAULTS.style_weight:g}, total variation 0.001."""
    return f"""The peer: L-BFGS, {settings.evaluations} evaluations, from the content,
style weight {settings.style_weight:g} for all pairs, no total variation, all else its defaults."""


def _sweep(report: Report) -> str:
    if report.settings is None:
        return (
            f"It is the peer's own default, {peer.DEFAULTS.style_weight:g}, and no other was tried."
        )
    weight = report.settings.style_weight
    if not report.trials:
        return f"It was given as {weight:g}, and no other was tried."
    number = len(next(iter(report.trials.values())))
    goals = [run.score for run in report.ours[:number]]
    rows = [
        [f"{tried:g}", *_means(scores), f"{distance(scores, goals):.3f}"]
        for tried, scores in report.trials.items()
    ]
    at_an_end = weight in (min(report.trials), max(report.trials))
    beyond = " It is at an end of the list, and one beyond may be closer." if at_an_end else ""
    header = ["style weight", "LPIPS, mean", "style, geometric mean", "distance"]
    return f"""Of a list, {weight:g} is the one with which the peer's pictures come closest to those of nst, on the first {number} of the pairs.{beyond}
Distance: of LPIPS and of the natural logarithm of style together, as the length of a vector, in the mean over the pairs.

{table(header, [*rows, ["nst", *_means(goals), ""]])}"""


def _means(scores: Sequence[Score]) -> list[str]:
    lpips = fmean(score.lpips for score in scores)
    return [f"{lpips:.3f}", f"{geometric_mean(score.style for score in scores):.4f}"]
