"""What a run made of its pairs, by rulers that nobody optimised: tables, and sheets of its pictures.

nst run bench/quality.csv --output output/quality --set size=256 --weights 'resnet50=FILE#topology=caffe'
python -m bench.study output/quality --by label_kind --pairs --judge FILE --markdown bench/RESULTS.md
python -m bench.study output/quality --only label_kind=hard --sheet docs/quality-hard.jpg

nst run manifests/study/weights.yaml --output output/weights --weights 'resnet50=FILE#topology=caffe'
python -m bench.study output/weights --by style_weight --sheet docs/study-weights.jpg

nst run manifests/study/sizes.yaml --output output/sizes
python -m bench.study output/sizes --by method --alike size=256
python -m bench.study output/sizes --by size --cell 420 --sheet docs/study-sizes.jpg

`bench/quality.csv` has 20 ordinary pairs and 12 hard ones: contents that are easily lost, and styles
that drown them. The defaults are tuned with it, and no change may worsen what it says. The figures of
the repository are of the original ResNet-50; torchvision's is `resnet50` without --weights.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from bench import sheets
from bench.measuring import add_markdown_option, table, tell, where

Row = dict[str, Any]

# All but the first two compare between backbones. The style distance of both VGGs is each other's, and
# that of ResNet-50 is VGG-16's; `by_resnet50` is there with a judge. Of noise the mean is geometric.
MEASURES = (
    *("content_loss", "style_loss", "lpips", "lpips_grey", "cfsd", "style_distance"),
    *("by_resnet50", "color_distance", "noise"),
)
_JUDGE = "resnet50"
_BACKBONES = ("vgg16", "vgg19", "resnet50")
# At which pictures are judged, as those of the metadata are measured.
_MAX_PX = 256
_CELL_PX = 240


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("output", type=Path, help="folder of a run")
    parser.add_argument(
        "--only", action="append", default=[], metavar="FIELD=VALUE", help="rows that have it"
    )
    parser.add_argument(
        "--by", metavar="FIELD", help="means for each value of it and each backbone"
    )
    parser.add_argument("--pairs", action="store_true", help="and each pair by itself")
    parser.add_argument("--judge", metavar="FILE", help="a ResNet-50 that measures styles as well")
    parser.add_argument(
        "--alike",
        metavar="FIELD=VALUE",
        help="LPIPS of each to the picture that has it and is else like it",
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="write a contact sheet")
    parser.add_argument(
        "--cell", type=int, default=_CELL_PX, metavar="PX", help="width of a picture in the sheet"
    )
    parser.add_argument("--title", default="Quality", help="of the section in --markdown")
    add_markdown_option(parser)
    arguments = parser.parse_args()
    found = rows(arguments.output, dict(each.split("=", 1) for each in arguments.only))
    if arguments.judge:
        judge(found, arguments.output, arguments.judge)
    parts = [means(found, arguments.by) if arguments.by else shares(found)]
    if arguments.pairs:
        parts.append(by_pair(found))
    if arguments.alike:
        field, _, value = arguments.alike.partition("=")
        parts.append(alike(found, arguments.output, field, value, arguments.by))
    tell("\n\n".join([f"{where()}.", *parts]) + "\n", arguments.markdown, arguments.title)
    if arguments.sheet:
        made = sheet(found, arguments.output, arguments.by, arguments.cell)
        made.save(arguments.sheet, quality=sheets.QUALITY)


def rows(output: Path, only: Mapping[str, str]) -> list[Row]:
    """The pictures that a run made, those with these values."""
    found: list[Row] = pq.read_table(output / "metadata.parquet").to_pylist()
    return [
        row
        for row in found
        if row["status"] == "ok" and all(str(row[name]) == text for name, text in only.items())
    ]


def judge(found: Iterable[Row], output: Path, weights: str) -> None:
    """Put into rows how far ResNet-50 sees each from its style: `style_distance` by its layers."""
    import torch
    from torch import Tensor

    from nst.painting import load_backbone, load_state, losses, obtain
    from nst.pictures import images
    from nst.profiles import PROFILES

    layers = tuple(PROFILES[_JUDGE].style_shares)
    file = obtain(_JUDGE, weights)
    network = load_backbone(
        _JUDGE, load_state(file), layers, device=torch.device("cpu"), topology=file.topology
    )

    def grams(path: Path) -> list[Tensor]:
        pixels = images.decode(path.read_bytes(), long_edge_px=_MAX_PX, name=path.name).pixels
        with torch.no_grad():
            seen = network(torch.from_numpy(pixels)[None])
        tables = (losses.positions(seen[layer])[0] for layer in layers)
        return [each.T @ each / len(each) for each in tables]

    inputs = input_folder(output)
    for row in found:
        pairs = zip(grams(output / row["picture"]), grams(inputs / row["style"]), strict=True)
        apart = [((a - b).square().sum() / b.square().sum()).item() for a, b in pairs]
        row["by_resnet50"] = sum(apart) / len(apart) if row["backbone"] != _JUDGE else None


def input_folder(output: Path) -> Path:
    """The folder of the manifest of a run, from which its inputs are named."""
    return Path(json.loads((output / "run.json").read_text())["manifest"]).parent


def shares(found: Sequence[Row]) -> str:
    """How much of each measure's variance over all pairs goes by the content, and by the style.

    The rest is neither's alone. It can only be told where each content is there in each style, with
    each backbone.
    """
    contents, styles = (_values(found, name) for name in ("content", "style"))
    present = {(r["backbone"], r["content"], r["style"]) for r in found}
    if len(present) < len(_backbones(found)) * len(contents) * len(styles):
        return "No shares of the variance: not every content is there in every style."
    cells = []
    for backbone in _backbones(found):
        by_pair = {(r["content"], r["style"]): r for r in found if r["backbone"] == backbone}
        for name in _measures(found):
            values = np.array(
                [[by_pair[c, s].get(name) for s in styles] for c in contents], dtype=float
            )
            parts = [values.mean(axis).var() / values.var() for axis in (1, 0)]
            cells.append(
                [
                    *(backbone, name),
                    *(f"{x:.3g}" for x in (values.min(), values.mean(), values.max())),
                    *(f"{part:.0%}" for part in (*parts, max(0.0, 1 - sum(parts)))),
                ]
            )
    header = ["backbone", "", "from", "mean", "to", "by content", "by style", "by the pair"]
    return table(header, cells)


def means(found: Sequence[Row], field: str) -> str:
    """Mean, and in brackets the highest, of each measure by a field and the backbone."""
    names = _measures(found)
    cells = []
    for value in _values(found, field):
        for backbone in _backbones(found):
            members = [r for r in found if (r[field], r["backbone"]) == (value, backbone)]
            if members:
                columns = (_mean(name, [r.get(name) for r in members]) for name in names)
                cells.append([str(value), backbone, str(len(members)), *columns])
    return table([field, "backbone", "n", *names], cells)


def _mean(name: str, values: Sequence[float | None]) -> str:
    numbers = np.array(values, dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return ""
    mean = np.exp(np.log(numbers).mean()) if name == "noise" else numbers.mean()
    return f"{mean:.3g} ({numbers.max():.3g})"


def by_pair(found: Sequence[Row]) -> str:
    """Each pair by itself: LPIPS to the content, style distance."""
    backbones = _backbones(found)
    cells: dict[str, dict[str, str]] = {}
    for row in found:
        pair = f"{Path(row['content']).stem} in {Path(row['style']).stem}"
        text = f"{row['lpips']:.3f}, {row['style_distance']:.3f}"
        cells.setdefault(pair, {})[row["backbone"]] = text
    return table(
        ["LPIPS, style distance", *backbones],
        [[pair, *(by.get(name, "") for name in backbones)] for pair, by in cells.items()],
    )


def alike(found: Sequence[Row], output: Path, field: str, value: str, by: str | None) -> str:
    """LPIPS of pictures, shrunk, to the one of the same pair at which `field` has `value`.

    A pair without that picture, which may have failed, is left out.
    """
    import torch
    from torch import Tensor

    from nst.painting import Rulers, Sources
    from nst.pictures import images

    rulers = Rulers(torch.device("cpu"))

    def pixels(row: Row) -> Tensor:
        path = output / row["picture"]
        edge = min(_MAX_PX, max(row["height"], row["width"]))
        picture = images.decode(path.read_bytes(), long_edge_px=edge, name=path.name)
        return torch.from_numpy(picture.pixels)

    def place(row: Row) -> tuple[Any, ...]:
        return (*_place(None)(row), row["backbone"], row[by] if by else None)

    firsts = {place(row): pixels(row) for row in found if str(row[field]) == value}
    cells: dict[tuple[Any, ...], list[str]] = {}
    for row in found:
        first = firsts.get(place(row))
        if first is None:
            continue
        sources = Sources(
            content=first,
            content_key=str(place(row)),
            styles=(first,),
            style_keys=(str(place(row)),),
            shares=(1.0,),
        )
        apart = rulers.measure(pixels(row), sources, row["backbone"]).lpips
        cells.setdefault(place(row), []).append(f"{row[field]}: {apart:.3f}")
    header = ["content", "style", "backbone", by or "", f"LPIPS to {field} {value}"]
    return table(
        header,
        [
            [Path(c).stem, Path(s).stem, backbone, str(value or ""), ", ".join(texts)]
            for (c, s, backbone, value), texts in cells.items()
        ],
    )


def sheet(
    found: Sequence[Row], output: Path, field: str | None, width_px: int = _CELL_PX
) -> Image.Image:
    """Pairs down; content, style and what each backbone made of them, or each value of a field, across.

    With a field, pairs, backbones and methods are down. Pictures are up to `width_px` wide.
    """
    inputs = input_folder(output)
    across = _values(found, field) if field else _backbones(found)
    down = list(dict.fromkeys(map(_place(field), found)))
    cells: dict[tuple[int, int], Path] = {}
    for row in found:
        line = down.index(_place(field)(row))
        cells[0, line], cells[1, line] = inputs / row["content"], inputs / row["style"]
        cells[2 + across.index(row[field or "backbone"]), line] = output / row["picture"]
    return sheets.sheet(cells, width_px)


def _place(field: str | None) -> Callable[[Row], tuple[Any, ...]]:
    names = ("content", "style", "backbone", "method") if field else ("content", "style")
    return lambda row: tuple(row[name] for name in names if name != field)


def _measures(found: Sequence[Row]) -> list[str]:
    return [name for name in MEASURES if any(row.get(name) is not None for row in found)]


def _values(found: Iterable[Row], field: str) -> list[Any]:
    return sorted({row[field] for row in found})


def _backbones(found: Iterable[Row]) -> list[str]:
    there = {row["backbone"] for row in found}
    return [name for name in _BACKBONES if name in there]


if __name__ == "__main__":
    main()
