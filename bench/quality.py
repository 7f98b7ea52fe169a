"""How good pictures are, by rulers that nobody optimised: 20 ordinary pairs and 12 hard ones.

python -m bench.quality output/quality --weights resnet50=FILE --markdown bench/RESULTS.md --sheets docs
python -m bench.quality output/quality --only ordinary --set style_weight=0.3
python -m bench.quality output/quality --measure        # what lies there already, whatever made it

It paints with the defaults of `nst run`, at 256 px, with each backbone whose weights are there, and
measures the files. This is what the defaults are tuned with, and what no change may worsen.
"""

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bench.hard import HARD_PAIRS, HARD_PICTURES
from bench.machine import commit, processor
from bench.pairs import ROOT, Pair
from bench.process import measured
from bench.sections import in_place, table
from bench.sheets import contact_sheet
from nst.output.metadata import Record, metadata_from_parquet
from nst.painting.backbones import Backbone, load_backbone
from nst.painting.losses import positions
from nst.painting.rulers import Measures, Rulers, Sources
from nst.painting.weights import load_state, obtain
from nst.pictures.images import decode
from nst.profiles import PROFILES

_CONTENTS = ("chelsea", "coffee", "rocket", "summer-palace")
_STYLES = ("great-wave", "night-cafe", "shipwreck", "starry-night", "the-scream")
_CELL_PX = (256, 192)
# The output of the run, beside its inputs.
_RUN = "run"
# At which pictures are measured, as those of the metadata are.
_MAX_PX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A picture of a pair, and what it is measured by; `by_resnet` is ResNet-50's style distance."""

    backbone: str
    kind: str
    content: str
    style: str
    picture: Path
    measures: Measures
    by_resnet: float | None


def main() -> None:
    arguments = _parse(sys.argv[1:])
    folder = arguments.folder
    weights = dict(each.split("=", 1) for each in arguments.weights)
    if not arguments.measure:
        manifest = write_inputs(folder, arguments.backbone, arguments.only)
        _paint(manifest, folder, arguments)
    judge = _resnet(weights["resnet50"]) if "resnet50" in weights else None
    results = list(measure(folder, judge))
    text = report(results, arguments)
    sys.stdout.write(text)
    if arguments.markdown:
        before = arguments.markdown.read_text()
        arguments.markdown.write_text(in_place(before, arguments.title, text))
    if arguments.sheets:
        for kind in ("ordinary", "hard"):
            sheet(results, kind, folder).save(arguments.sheets / f"quality-{kind}.jpg", quality=82)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument("folder", type=Path, help="where inputs and pictures go, or are")
    parser.add_argument("--backbone", action="append", choices=sorted(PROFILES))
    parser.add_argument("--weights", action="append", default=[], metavar="BACKBONE=FILE")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--only", choices=("ordinary", "hard"))
    parser.add_argument("--measure", action="store_true", help="paint nothing")
    parser.add_argument(
        "--markdown", type=Path, help="write the tables into a section of this file"
    )
    parser.add_argument("--title", default="Quality", help="of that section")
    parser.add_argument("--sheets", type=Path, help="write contact sheets into this folder")
    found = parser.parse_args(arguments)
    found.backbone = found.backbone or [
        name
        for name in PROFILES
        if name != "resnet50" or any("resnet50=" in w for w in found.weights)
    ]
    return found


def write_inputs(folder: Path, backbones: Sequence[str], only: str | None) -> Path:
    """Write the pictures and the manifest of all pairs; the manifest's path."""
    inputs = folder / "inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    for name, draw in HARD_PICTURES.items():
        draw().save(inputs / f"{name}.png")
    for content, style in product(_CONTENTS, _STYLES):
        pair = Pair(content, style)
        for source in (pair.content_source, pair.style_source):
            (inputs / source.name).write_bytes(source.read_bytes())
    rows = [
        (
            f"{backbone}_{content}_{style}",
            f"{content}.{ending}",
            f"{style}.{ending}",
            backbone,
            kind,
        )
        for backbone in backbones
        for kind, pairs, ending in (
            ("ordinary", tuple(product(_CONTENTS, _STYLES)), "jpg"),
            ("hard", HARD_PAIRS, "png"),
        )
        if only in (None, kind)
        for content, style in pairs
    ]
    manifest = inputs / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "content", "style", "backbone", "label_kind"])
        writer.writerows(rows)
    return manifest


def _paint(manifest: Path, folder: Path, arguments: argparse.Namespace) -> None:
    settings = [f"size={arguments.size}", *arguments.set]
    measured(
        [
            *(sys.executable, "-m", "nst", "run", str(manifest.resolve())),
            *("--output", str((folder / _RUN).resolve()), "--replace"),
            *(part for value in settings for part in ("--set", value)),
            *(part for value in arguments.weights for part in ("--weights", value)),
        ],
        cwd=ROOT,
    )


def measure(folder: Path, judge: Backbone | None) -> Iterator[Result]:
    """All pictures of a run, each measured from its file."""
    rulers = Rulers(torch.device("cpu"))
    for record in metadata_from_parquet((folder / _RUN / "metadata.parquet").read_bytes()):
        if record.outcome.status != "ok":
            raise RuntimeError(f"expected every picture, found {record.outcome.error}")
        picture = folder / _RUN / str(record.outcome.picture)
        image = _load(picture, record.params.size)
        content, style = (
            _load(folder / "inputs" / name, record.params.size)
            for name in (record.content, record.style)
        )
        sources = Sources(
            content=content,
            content_key=f"{record.content} {record.params.size}",
            styles=(style,),
            style_keys=(f"{record.style} {record.params.size}",),
            shares=(1.0,),
        )
        yield Result(
            backbone=record.backbone,
            kind=_kind(record),
            content=record.content,
            style=record.style,
            picture=picture,
            measures=rulers.measure(image, sources, record.backbone),
            by_resnet=_distance(judge, image, style) if judge else None,
        )


def _kind(record: Record) -> str:
    return record.labels["kind"]


@cache
def _load(path: Path, size_px: int) -> Tensor:
    """As a run looks at it: [3,H,W] in [0, 1]."""
    picture = decode(path.read_bytes(), long_edge_px=size_px, name=path.name, upscale=False)
    return torch.from_numpy(picture.pixels)


def _resnet(weights: str) -> Backbone:
    state = load_state(obtain("resnet50", weights))
    layers = tuple(PROFILES["resnet50"].style_shares)
    return load_backbone("resnet50", state, layers, device=torch.device("cpu"))


def _distance(judge: Backbone, image: Tensor, style: Tensor) -> float:
    """Mean over the judge's layers of ||G - A||^2 / ||A||^2."""
    found = []
    with torch.no_grad():
        of_image, of_style = (judge(_small(each)) for each in (image, style))
        for layer in judge.layers:
            gram, target = (_gram(features[layer]) for features in (of_image, of_style))
            found.append(((gram - target).square().sum() / target.square().sum()).item())
    return sum(found) / len(found)


def _small(image: Tensor) -> Tensor:
    scale = _MAX_PX / max(image.shape[1:])
    if scale >= 1:
        return image[None]
    size = [max(1, round(side * scale)) for side in image.shape[1:]]
    return torch.nn.functional.interpolate(image[None], size, mode="area")


def _gram(features: Tensor) -> Tensor:
    table = positions(features)[0]
    return table.T @ table / len(table)


# What a column shows of a picture, None where it does not apply.
Reading = Callable[[Result], float | None]

_COLUMNS: tuple[tuple[str, Reading], ...] = (
    ("LPIPS", lambda r: r.measures.lpips),
    ("grey LPIPS", lambda r: r.measures.lpips_grey),
    ("CFSD", lambda r: r.measures.cfsd),
    ("style, by a VGG", lambda r: r.measures.style_distance),
    ("style, by ResNet-50", lambda r: None if r.backbone == "resnet50" else r.by_resnet),
    ("colours", lambda r: r.measures.color_distance),
    ("noise", lambda r: r.measures.noise),
)


def report(results: Sequence[Result], arguments: argparse.Namespace) -> str:
    """Means by backbone and kind, and every hard pair by itself."""
    lines = [
        f"{processor()}; commit {commit()}; `python -m bench.quality` at {arguments.size} px"
        + (f" with {' '.join(arguments.set)}" if arguments.set else "")
        + ".",
        "LPIPS, in colour and grey, and CFSD to the content; style distance by a network that did not",
        "paint (VGG-16, or VGG-19 of VGG-16's pictures; ResNet-50 of both VGGs'); Hellinger distance of",
        "colours to the style; energy in the highest octave over the style's, as a geometric mean. Less",
        "of each is better. In brackets, the highest.",
        "",
    ]
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.kind, result.backbone), []).append(result)
    rows = [
        [
            kind,
            backbone,
            str(len(members)),
            *(_cell(name, read, members) for name, read in _COLUMNS),
        ]
        for (kind, backbone), members in sorted(groups.items(), reverse=True)
    ]
    lines.append(table(["pairs", "backbone", "n", *(name for name, _ in _COLUMNS)], rows))
    hard = [result for result in results if result.kind == "hard"]
    if hard:
        backbones = list(dict.fromkeys(result.backbone for result in hard))
        lines += ["", "Each hard pair: LPIPS to the content, style distance.", ""]
        lines.append(table(["pair", *backbones], list(_by_pair(hard, backbones))))
    return "\n".join(lines) + "\n"


def _cell(name: str, read: Reading, members: Sequence[Result]) -> str:
    values = [read(member) for member in members]
    if any(value is None for value in values):
        return ""
    numbers = np.array(values, dtype=float)
    mean = np.exp(np.log(numbers).mean()) if name == "noise" else numbers.mean()
    return f"{mean:.3f} ({numbers.max():.3f})"


def _by_pair(results: Sequence[Result], backbones: Sequence[str]) -> Iterator[list[str]]:
    found: dict[tuple[str, str], dict[str, str]] = {}
    for result in results:
        pair = (Path(result.content).stem, Path(result.style).stem)
        measures = result.measures
        assert measures.lpips is not None
        assert measures.style_distance is not None
        found.setdefault(pair, {})[result.backbone] = (
            f"{measures.lpips:.3f}, {measures.style_distance:.3f}"
        )
    for (content, style), cells in found.items():
        yield [f"{content} in {style}", *(cells.get(backbone, "") for backbone in backbones)]


def sheet(results: Sequence[Result], kind: str, folder: Path) -> Image.Image:
    """Pairs down; content, style, and what each backbone made of them across."""
    chosen = [result for result in results if result.kind == kind]
    backbones = list(dict.fromkeys(result.backbone for result in chosen))
    pairs = list(dict.fromkeys((result.content, result.style) for result in chosen))
    cells = {
        **{(0, row): folder / "inputs" / content for row, (content, _) in enumerate(pairs)},
        **{(1, row): folder / "inputs" / style for row, (_, style) in enumerate(pairs)},
        **{
            (2 + backbones.index(result.backbone), pairs.index((result.content, result.style))): (
                result.picture
            )
            for result in chosen
        },
    }
    return contact_sheet(cells, cell_px=_CELL_PX)


if __name__ == "__main__":
    main()
