"""What was measured, as values, and as Markdown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean

from bench.machine import Machine
from bench.pairs import Pair, Settings
from bench.score import TOLERANCE, Score
from bench.sections import table


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One picture in a run of its own: `loop_s` of the `process_s` went into optimising it."""

    evaluations: int
    loop_s: float
    process_s: float
    peak_mb: float
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both programs on one pair; the ratios say how many times as long the peer takes."""

    pair: Pair
    peer: Run
    ours: Run

    @property
    def is_as_good(self) -> bool:
        return self.ours.score.is_as_good_as(self.peer.score)

    @property
    def process_ratio(self) -> float:
        return self.peer.process_s / self.ours.process_s

    @property
    def loop_ratio(self) -> float:
        return self.peer.loop_s / self.ours.loop_s


@dataclass(frozen=True, slots=True)
class Scored:
    """The picture of a pair, by its score."""

    pair: Pair
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The peer's pictures with one style weight, and their `distance` from ours."""

    style_weight: float
    pictures: tuple[Scored, ...]
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """How the peer's style weight was `chosen`; without trials it was given. `goals` are ours."""

    evaluations: int
    chosen: float
    goals: tuple[Scored, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One `nst run` of all pairs from cold."""

    process_s: float
    peak_mb: float
    pictures: tuple[Scored, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it. `precision` is what ours computed in; the peer knows float32 only."""

    machine: Machine
    settings: Settings
    precision: str
    sweep: Sweep
    comparisons: tuple[Comparison, ...]
    batch: Batch

    def num_as_good(self) -> int:
        """On how many pairs ours is as good as the peer's."""
        return sum(comparison.is_as_good for comparison in self.comparisons)

    def peer_num_as_good(self) -> int:
        """On how many pairs the peer's is as good as ours."""
        return sum(c.peer.score.is_as_good_as(c.ours.score) for c in self.comparisons)

    def process_ratio(self) -> float:
        """How many times as long the peer takes, a geometric mean over all pairs."""
        return geometric_mean(comparison.process_ratio for comparison in self.comparisons)

    def loop_ratio(self) -> float:
        """The same of the optimisation alone."""
        return geometric_mean(comparison.loop_ratio for comparison in self.comparisons)

    def peer_batch_s(self) -> float:
        """What a loop in a shell takes for all pairs: a process for each."""
        return sum(comparison.peer.process_s for comparison in self.comparisons)

    def peer_pictures_per_hour(self) -> float:
        return 3600 * len(self.comparisons) / self.peer_batch_s()

    def our_pictures_per_hour(self) -> float:
        return 3600 * len(self.batch.pictures) / self.batch.process_s

    def batch_deviation(self) -> float:
        """The most by which a ruler of a picture differs between the batch and its own run."""
        alone = {comparison.pair: comparison.ours.score for comparison in self.comparisons}
        pairs = [(one.score, alone[one.pair]) for one in self.batch.pictures]
        ratios = [a.lpips / b.lpips for a, b in pairs] + [a.style / b.style for a, b in pairs]
        return max(abs(ratio - 1) for ratio in ratios)


def to_markdown(report: Report) -> str:
    """The section of the report; also what is printed, so its columns are even."""
    machine, settings = report.machine, report.settings
    return f"""`nst run` against `neural-style` 0.5.7 (neural-style-pt): what a user gets from either, at {settings.size_px} px, from the same files and the original weights of VGG-19.
{machine.processor}, {machine.num_cores} cores, {machine.num_threads} threads, on {machine.device}; torch {machine.torch_version}; {machine.date}, commit {machine.commit}.
nst computed in {report.precision}, the peer in float32. Products of 2048 x 2048 matrices get {machine.float32_gflops:.0f} GFLOP/s in float32 here, {machine.bfloat16_gflops:.0f} in bfloat16.

nst: a manifest of `content` and `style`, `--set size={settings.size_px}`, all else the defaults; nothing is searched for. The peer: L-BFGS, {settings.evaluations} evaluations, from the content,
style weight {report.sweep.chosen:g} for all pairs, no total variation, all else its defaults.

**The peer takes {report.process_ratio():.1f} times as long as nst by whole processes, and {report.loop_ratio():.1f} times as long in the loop: geometric means over {_pairs(len(report.comparisons))}.**
**{_verdict(report)}**

### Time of one picture

Process: a program from cold to its end, with one pair; both had run once before, so that their files were in the system's cache. Loop: the optimisation;
that of nst includes finding the targets of content and style, that of the peer does not.
MB: the most memory that all processes of a run had resident together, in 1e6 bytes; what a GPU holds is not in it.

{table(_TIME_HEADER, [_time_row(comparison) for comparison in report.comparisons])}

### What came of it

Rulers that neither program optimised, by another network, torchvision's VGG-16; less is better. LPIPS (v0.1): 0 is the content. Style: the mean of
||G - A||^2 / ||A||^2 over relu1_1 to relu5_1 with the Grams G of the picture and A of the style; 0 is the style. As good: in both at most {TOLERANCE:.0%} more.

{table(_RULER_HEADER, [_ruler_row(comparison) for comparison in report.comparisons])}

{table(["ruler", "peer better", "nst better"], _count_rows(report))}

### A batch

All {_pairs(len(report.batch.pictures))} in one `nst run`, with start and gallery, against the peer's loop in a shell: the sum of its processes above. In the batch each picture
scores the same in both rulers as by itself, within {report.batch_deviation():.1%}.

{table(["", "peer", "nst"], _summary_rows(report))}

### The peer's style weight

{_sweep(report.sweep)}"""


_TIME_HEADER = [
    *("content, style", "peer process s", "loop s", "MB", "nst process s", "loop s", "MB"),
    *("times as long: process", "loop"),
]
_RULER_HEADER = [
    *("content, style", "peer LPIPS", "nst LPIPS", "peer style", "nst style"),
    *("nst as good", "peer as good"),
]
_RULERS = (("LPIPS, to the content", "lpips"), ("style distance", "style"))


def _verdict(report: Report) -> str:
    num_pairs, num_as_good = len(report.comparisons), report.num_as_good()
    counts = (
        f"By both rulers, nst's picture is as good as the peer's for {num_as_good} of "
        f"{_pairs(num_pairs)}, and the peer's as good as nst's for {report.peer_num_as_good()}."
    )
    if num_as_good == num_pairs:
        return counts
    return f"{counts} So these are times to what each program makes, not to equal quality."


def _time_row(comparison: Comparison) -> list[str]:
    return [
        _name(comparison.pair),
        *_times_of(comparison.peer),
        *_times_of(comparison.ours),
        f"{comparison.process_ratio:.1f}",
        f"{comparison.loop_ratio:.1f}",
    ]


def _times_of(run: Run) -> list[str]:
    return [f"{run.process_s:.2f}", f"{run.loop_s:.2f}", f"{run.peak_mb:.0f}"]


def _ruler_row(comparison: Comparison) -> list[str]:
    peer, ours = comparison.peer.score, comparison.ours.score
    return [
        _name(comparison.pair),
        *(f"{peer.lpips:.3f}", f"{ours.lpips:.3f}", f"{peer.style:.4f}", f"{ours.style:.4f}"),
        _yes(comparison.is_as_good),
        _yes(peer.is_as_good_as(ours)),
    ]


def _count_rows(report: Report) -> list[list[str]]:
    """How often each program's picture is the better one, by each ruler; a tie is neither's."""
    rows = []
    for title, ruler in _RULERS:
        differences = [
            getattr(c.ours.score, ruler) - getattr(c.peer.score, ruler) for c in report.comparisons
        ]
        peer, ours = (sum(sign * each > 0 for each in differences) for sign in (1, -1))
        rows.append([title, str(peer), str(ours)])
    return rows


def _summary_rows(report: Report) -> list[list[str]]:
    batch, runs = report.batch, [(c.peer, c.ours) for c in report.comparisons]
    peers, ours = zip(*runs, strict=True)
    return [
        [
            "pictures an hour",
            f"{report.peer_pictures_per_hour():.0f}",
            f"{report.our_pictures_per_hour():.0f}",
        ],
        ["seconds for all", f"{report.peer_batch_s():.1f}", f"{batch.process_s:.1f}"],
        ["memory, MB", f"{_peak_mb(peers):.0f}", f"{batch.peak_mb:.0f}"],
        ["memory for one picture, MB", f"{_peak_mb(peers):.0f}", f"{_peak_mb(ours):.0f}"],
        ["evaluations of a picture", *(f"{_evaluations(runs):.0f}" for runs in (peers, ours))],
        ["evaluations a second in the loop", *(f"{_rate(runs):.2f}" for runs in (peers, ours))],
    ]


def _peak_mb(runs: Sequence[Run]) -> float:
    return max(run.peak_mb for run in runs)


def _evaluations(runs: Sequence[Run]) -> float:
    return fmean(run.evaluations for run in runs)


def _rate(runs: Sequence[Run]) -> float:
    return geometric_mean(run.evaluations / run.loop_s for run in runs)


def _sweep(sweep: Sweep) -> str:
    if not sweep.trials:
        return f"It was given as {sweep.chosen:g}, and no other was tried.\n"
    rows = [
        [f"{trial.style_weight:g}", *_means(trial.pictures), f"{trial.distance:.3f}"]
        for trial in sweep.trials
    ]
    rows.append(["nst", *_means(sweep.goals), ""])
    weights = [trial.style_weight for trial in sweep.trials]
    at_an_end = sweep.chosen in (min(weights), max(weights))
    beyond = " It is the last of the list, and one beyond may be closer." if at_an_end else ""
    return f"""Of a list, {sweep.chosen:g} is the one with which the peer's pictures come closest to those of nst, for the first {_pairs(len(sweep.goals))} after {sweep.evaluations} evaluations.{beyond}
Distance: of LPIPS and of the natural logarithm of style together, as the length of a vector, in the mean over the pairs.

{table(["style weight", "LPIPS, mean", "style, geometric mean", "distance"], rows)}
"""


def _means(pictures: Iterable[Scored]) -> list[str]:
    scores = [one.score for one in pictures]
    lpips = fmean(score.lpips for score in scores)
    return [f"{lpips:.3f}", f"{geometric_mean(score.style for score in scores):.4f}"]


def _pairs(number: int) -> str:
    return f"{number} pair" if number == 1 else f"{number} pairs"


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


def _name(pair: Pair) -> str:
    return f"{pair.content}, {pair.style}"
