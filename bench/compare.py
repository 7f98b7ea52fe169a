"""The comparison: the peer on each pair, the least work of ours that is as good, then a batch."""

import argparse
import csv
import json
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from statistics import fmean, geometric_mean

from torch import Tensor

from bench import ours, overhead, peer, plan
from bench.machine import evaluation_gflop, look_at
from bench.pairs import BATCH, PAIRS, ROOT, Pair, Settings, prepare
from bench.process import Usage, measured
from bench.report import Batch, Comparison, Report, Run, Scored, to_markdown
from bench.score import Score, Targets, load_picture, load_weights, score, targets
from bench.sections import in_place, section_of
from nst.devices import resolve_device

# What the content may weigh in ours. The two programs weigh it in different units, so that pictures
# equal in both losses are found from this list on and between the best, pair by pair.
CONTENT_WEIGHTS = (0.1, 0.2, 0.4, 0.7)
MAX_STEPS = 80
_NUM_REFINEMENTS = 2
_SLACK = 10

_log = logging.getLogger("bench")


def main() -> None:
    """`python -m bench`."""
    arguments = _parse(sys.argv[1:])
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _log.setLevel(logging.INFO)
    settings = Settings(
        size_px=arguments.size,
        evaluations=arguments.evaluations,
        peer_style_weight=arguments.peer_style_weight,
        device=arguments.device,
    )
    pairs = BATCH if arguments.full else tuple(arguments.pair or PAIRS)
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as folder:
        bench = _Bench(
            settings=settings,
            folder=Path(folder),
            peer_path=arguments.peer_path or peer.install(),
            weights=load_weights(),
        )
        report = bench.report(pairs)
    text = to_markdown(report)
    sys.stdout.write(text)
    if arguments.markdown:
        arguments.markdown.write_text(_with_others(text, arguments.markdown))
    if arguments.json:
        arguments.json.write_text(to_json(report))


def _with_others(text: str, path: Path) -> str:
    """The report with the sections that other programs have written into its file."""
    for title in (overhead.SECTION, plan.SECTION):
        other = section_of(path.read_text(), title) if path.exists() else None
        text = text if other is None else in_place(text, title, other)
    return text


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="long edge in pixels")
    parser.add_argument("--evaluations", type=int, default=300, help="of the peer")
    # With its own 1e2, chosen for other weights, its pictures hardly leave the content.
    parser.add_argument("--peer-style-weight", type=float, default=1e6, help="of the peer")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument(
        "--pair",
        type=_pair,
        action="append",
        metavar="CONTENT:STYLE",
        help="names among the samples; repeatable; three pairs if none is given",
    )
    parser.add_argument(
        "--full", action="store_true", help="all pairs of the batch, so that each is checked"
    )
    parser.add_argument(
        "--peer-path", type=Path, help=f"folder or wheel of {peer.REQUIREMENT}; else pip gets it"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report here")
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
        "loop_ratio": report.loop_ratio(),
        "process_ratio": report.process_ratio(),
        "peer_pictures_per_hour": report.peer_pictures_per_hour(),
        "our_pictures_per_hour": report.our_pictures_per_hour(),
    }
    return json.dumps(values, indent=2) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What every measurement works with; `weights` score, in float32 whatever ours computes in."""

    settings: Settings
    folder: Path
    peer_path: Path
    weights: Mapping[str, Tensor]

    def report(self, pairs: Sequence[Pair]) -> Report:
        prepare({*pairs, *BATCH}, self.folder, size_px=self.settings.size_px)
        peer.save_weights(self.weights, self.folder)
        _log.info("measuring this machine's matrix products")
        machine = look_at(resolve_device(self.settings.device))
        comparisons = tuple(self._compare(pair) for pair in pairs)
        return Report(
            machine=machine,
            settings=self.settings,
            comparisons=comparisons,
            batch=self._batch(comparisons),
        )

    def _compare(self, pair: Pair) -> Comparison:
        _log.info("%s: the peer", pair.id)
        content, style = self._pictures(pair)
        target = targets(content, style, self.weights)
        name = f"peer-{pair.id}.png"
        usage, loop_s = peer.run(pair, name, self.settings, folder=self.folder, path=self.peer_path)
        theirs = Run(
            evaluations=self.settings.evaluations,
            weight=self.settings.peer_style_weight,
            loop_s=loop_s,
            process_s=usage.process_s,
            peak_mb=usage.peak_mb,
            score=self._score(name, target),
        )
        return Comparison(
            pair=pair,
            evaluation_gflop=evaluation_gflop(content, style, self.weights),
            peer=theirs,
            ours=self._reach(pair, theirs.score, target),
        )

    def _reach(self, pair: Pair, goal: Score, target: Targets) -> Run:
        """Ours at the content weight and with the steps that are as good as the peer soonest."""
        _log.info("%s: the steps that ours needs", pair.id)
        inputs = (self.folder / pair.content_file, self.folder / pair.style_file)
        tried: dict[float, int] = {}
        weights = list(CONTENT_WEIGHTS)
        for _ in range(1 + _NUM_REFINEMENTS):
            for weight in weights:
                if weight not in tried:
                    tried[weight] = self._first(inputs, goal, weight) or MAX_STEPS
            best = min(tried, key=lambda weight: tried[weight])
            ordered = sorted(tried)
            place = ordered.index(best)
            beside = ordered[max(0, place - 1) : place] + ordered[place + 1 : place + 2]
            weights = [float(f"{(best * other) ** 0.5:.2g}") for other in beside]
        steps, weight = tried[best], best
        run = self._timed(pair, target, steps=steps, weight=weight)
        # Rounded to 8 bits, a picture that is just as good may no longer be.
        while not run.score.is_as_good_as(goal) and run.evaluations < min(
            MAX_STEPS, steps + _SLACK
        ):
            run = self._timed(pair, target, steps=run.evaluations + 1, weight=weight)
        return run

    def _first(self, inputs: tuple[Path, Path], goal: Score, weight: float) -> int | None:
        return ours.first_as_good(
            *inputs,
            goal,
            limit=MAX_STEPS,
            content_weight=weight,
            device=self.settings.device,
        )

    def _timed(self, pair: Pair, target: Targets, *, steps: int, weight: float) -> Run:
        _log.info("%s: ours, content weight %g, %d steps", pair.id, weight, steps)
        name = f"ours-{pair.id}.png"
        usage = self._python(
            "bench.ours",
            *(str(self.folder / file) for file in (pair.content_file, pair.style_file, name)),
            *("--steps", str(steps)),
            *("--content-weight", str(weight)),
            *("--device", self.settings.device),
        )
        return Run(
            evaluations=steps,
            weight=weight,
            loop_s=float(usage.lines[-1].text),
            process_s=usage.process_s,
            peak_mb=usage.peak_mb,
            score=self._score(name, target),
        )

    def _batch(self, comparisons: Sequence[Comparison]) -> Batch:
        """Each pair as it was compared; those that were not, with the mean weight and steps."""
        compared = {c.pair: (c.ours.weight, c.ours.evaluations) for c in comparisons}
        mean = (
            geometric_mean(weight for weight, _ in compared.values()),
            ceil(fmean(steps for _, steps in compared.values())),
        )
        params = {pair: compared.get(pair, mean) for pair in BATCH}
        _log.info("a batch of %d pictures", len(BATCH))
        usage = self._run_manifest("batch", params)
        single = self._run_manifest("single", {BATCH[0]: params[BATCH[0]]})
        pictures = []
        for pair in BATCH:
            target = targets(*self._pictures(pair), self.weights)
            pictures.append(Scored(pair, self._score(f"batch/images/{pair.id}.png", target)))
        return Batch(
            mean_steps=fmean(steps for _, steps in params.values()),
            process_s=usage.process_s,
            pictures=tuple(pictures),
            single_process_s=single.process_s,
            single_peak_mb=single.peak_mb,
        )

    def _run_manifest(self, name: str, params: Mapping[Pair, tuple[float, int]]) -> Usage:
        """`nst run` of pairs, with weights and steps, into the folder `name`, not there yet."""
        manifest = self.folder / f"{name}.csv"
        with manifest.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "content", "style", "backbone", "content_weight", "steps"])
            writer.writerows(
                [pair.id, pair.content_file, pair.style_file, "vgg16", *values]
                for pair, values in params.items()
            )
        return self._python(
            *("nst", "run", str(manifest), "--output", str(self.folder / name)),
            *("--device", self.settings.device),
            *("--set", f"size={self.settings.size_px}"),
        )

    def _pictures(self, pair: Pair) -> tuple[Tensor, Tensor]:
        content, style = self.folder / pair.content_file, self.folder / pair.style_file
        return load_picture(content), load_picture(style)

    def _score(self, name: str, target: Targets) -> Score:
        return score(load_picture(self.folder / name), target, self.weights)

    def _python(self, module: str, *arguments: str) -> Usage:
        return measured([sys.executable, "-m", module, *arguments], cwd=ROOT)
