"""What was measured, as values, and as Markdown."""

from dataclasses import dataclass
from statistics import fmean, geometric_mean

from bench.machine import Machine
from bench.pairs import Pair, Settings
from bench.score import Score
from bench.sections import table


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One picture in a process of its own: `loop_s` of the `process_s` went into optimising it.

    `weight` is what told the losses apart: of the style for the peer, of the content for ours.
    """

    evaluations: int
    weight: float
    loop_s: float
    process_s: float
    peak_mb: float
    score: Score

    @property
    def evaluations_per_s(self) -> float:
        return self.evaluations / self.loop_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Both programs on one pair; `ours` has all the steps there may be where none were enough."""

    pair: Pair
    evaluation_gflop: float
    peer: Run
    ours: Run

    @property
    def is_reached(self) -> bool:
        return self.ours.score.is_as_good_as(self.peer.score)

    @property
    def loop_ratio(self) -> float:
        return self.peer.loop_s / self.ours.loop_s


@dataclass(frozen=True, slots=True)
class Scored:
    """A picture of the batch."""

    pair: Pair
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One `nst run` of several pictures from cold, and one of a single picture."""

    mean_steps: float
    process_s: float
    pictures: tuple[Scored, ...]
    single_process_s: float
    single_peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it."""

    machine: Machine
    settings: Settings
    comparisons: tuple[Comparison, ...]
    batch: Batch

    def reached(self) -> list[Comparison]:
        """The pairs on which ours is as good as the peer's."""
        return [comparison for comparison in self.comparisons if comparison.is_reached]

    def loop_ratio(self) -> float | None:
        """How many times as long the peer takes, a geometric mean over the pairs reached."""
        ratios = [c.loop_ratio for c in self.reached()]
        return geometric_mean(ratios) if ratios else None

    def process_ratio(self) -> float | None:
        """The same of whole processes, of which starting and loading are a part."""
        ratios = [c.peer.process_s / c.ours.process_s for c in self.reached()]
        return geometric_mean(ratios) if ratios else None

    def peer_pictures_per_hour(self) -> float:
        """What a loop in a shell gets, a process for each picture, at the rate of those measured."""
        return 3600 / fmean(comparison.peer.process_s for comparison in self.comparisons)

    def our_pictures_per_hour(self) -> float:
        return 3600 * len(self.batch.pictures) / self.batch.process_s

    def peer_gflops(self) -> float:
        """1e9 operations of direct convolution a second in the loop, a mean over the pairs."""
        return fmean(c.evaluation_gflop * c.peer.evaluations_per_s for c in self.comparisons)

    def our_gflops(self) -> float:
        """The same of ours."""
        return fmean(c.evaluation_gflop * c.ours.evaluations_per_s for c in self.comparisons)


def to_markdown(report: Report) -> str:
    """The whole report; also what is printed, so its columns are even."""
    machine, settings, batch = report.machine, report.settings, report.batch
    num_reached, num_pairs = len(report.reached()), len(report.comparisons)
    return f"""# Benchmark

nst against `neural-style` 0.5.7 (neural-style-pt): the same decoded pixels, VGG-16 weights and layers; the peer starts from the content, ours from it in the style's colours; {settings.size_px} px.
{machine.processor}, {machine.num_cores} cores, {machine.num_threads} threads, on {machine.device}; torch {machine.torch_version}; {machine.date}, commit {machine.commit}.

## Time to equal quality

The peer makes {settings.evaluations} evaluations with L-BFGS, style weight {settings.peer_style_weight:g}, no total variation, all else its defaults. Its
balance of content and style, in units of its own, is another for each pair; so for ours the content weight is searched for with which its
8-bit picture is as good in both losses after the fewest steps. With these it is timed from scratch in a process of its own, and scored again. One that is not as good counts as failed.
Loop: the optimisation alone; ours includes its targets, the peer's does not. Losses: 0 is the content, and the style.

{table(_PAIR_HEADER, [_pair_row(comparison) for comparison in report.comparisons])}

**Geometric mean over the {num_reached} of {num_pairs} pairs reached: {_times(report.loop_ratio())} in the loop, {_times(report.process_ratio())} as whole processes.**

## Throughput, memory, use of the machine

{table(["", "peer", "nst"], _summary_rows(report))}

{table(["target", "reached", "met"], _target_rows(report))}
{_limit(machine)}
Pictures an hour: the peer at the rate of its processes above, one for each picture; ours one `nst run` of {len(batch.pictures)} pictures
in {batch.process_s:.1f} s, {batch.mean_steps:.0f} steps each in the mean, with start, decoding, encoding and gallery. One picture of ours in a run of its own took {batch.single_process_s:.1f} s.
Share: evaluations a second, times the operations of one by direct convolution, by what a product of 2048 x 2048 matrices
gets here: {machine.float32_gflops:.0f} GFLOP/s in float32, {machine.bfloat16_gflops:.0f} in bfloat16. A faster algorithm for convolution is credited with all of them.

## The batch

{table(_BATCH_HEADER, _batch_rows(report))}
"""


_TARGET = 10

_PAIR_HEADER = [
    *("content, style", "peer loop s", "process s", "content", "style"),
    *("our weight", "steps", "loop s", "process s", "content", "style", "times as fast"),
]
_BATCH_HEADER = ["content, style", "content", "style", "as good as the peer's"]


def _pair_row(comparison: Comparison) -> list[str]:
    peer, ours = comparison.peer, comparison.ours
    return [
        _name(comparison.pair),
        *(f"{peer.loop_s:.2f}", f"{peer.process_s:.2f}", *_losses(peer.score)),
        f"{ours.weight:g}",
        str(ours.evaluations),
        *(f"{ours.loop_s:.2f}", f"{ours.process_s:.2f}", *_losses(ours.score)),
        f"{comparison.loop_ratio:.1f}" if comparison.is_reached else "FAILED",
    ]


def _summary_rows(report: Report) -> list[list[str]]:
    peer_mb = max(comparison.peer.peak_mb for comparison in report.comparisons)
    return [
        [
            "pictures an hour",
            f"{report.peer_pictures_per_hour():.0f}",
            f"{report.our_pictures_per_hour():.0f}",
        ],
        ["peak memory of one picture, MB", f"{peer_mb:.0f}", f"{report.batch.single_peak_mb:.0f}"],
        ["share of the float32 peak", *_shares(report, report.machine.float32_gflops)],
        ["share of the bfloat16 peak", *_shares(report, report.machine.bfloat16_gflops)],
    ]


def _target_rows(report: Report) -> list[list[str]]:
    loop, reached = report.loop_ratio(), report.reached()
    rate = report.our_pictures_per_hour() / report.peer_pictures_per_hour()
    peer_mb = max(comparison.peer.peak_mb for comparison in report.comparisons)
    memory = report.batch.single_peak_mb / peer_mb
    is_fast = loop is not None and loop >= _TARGET and len(reached) == len(report.comparisons)
    return [
        [f"{_TARGET} times as fast to equal quality", _times(loop), _met(is_fast)],
        [f"{_TARGET} times the pictures an hour", f"{rate:.1f} times", _met(rate >= _TARGET)],
        ["no more memory than the peer", f"{memory:.2f} times", _met(memory <= 1)],
    ]


def _limit(machine: Machine) -> str:
    """What ours has to do without on a machine whose half precision gains nothing."""
    if machine.bfloat16_gflops >= machine.float32_gflops:
        return ""
    return (
        "\nThis machine multiplies bfloat16 slower than float32, so that ours runs in float32: half "
        "the digits save nothing here.\n"
    )


def _met(is_met: bool) -> str:
    return "yes" if is_met else "no"


def _shares(report: Report, peak_gflops: float) -> list[str]:
    return [f"{gflops / peak_gflops:.0%}" for gflops in (report.peer_gflops(), report.our_gflops())]


def _batch_rows(report: Report) -> list[list[str]]:
    peers = {comparison.pair: comparison.peer.score for comparison in report.comparisons}
    rows = []
    for one in report.batch.pictures:
        if one.pair not in peers:
            verdict = "not measured"
        else:
            verdict = "yes" if one.score.is_as_good_as(peers[one.pair]) else "FAILED"
        rows.append([_name(one.pair), *_losses(one.score), verdict])
    return rows


def _name(pair: Pair) -> str:
    return f"{pair.content}, {pair.style}"


def _losses(score: Score) -> list[str]:
    return [f"{score.content:.4f}", f"{score.style:.4f}"]


def _times(ratio: float | None) -> str:
    return "not reached" if ratio is None else f"{ratio:.1f} times as fast"
