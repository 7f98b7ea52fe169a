"""What a run of the study says: its pairs in a table, or its means by one field; and a sheet of it.

nst run manifests/study.yaml --output output/study
python -m bench.study output/study --sheet docs/study.jpg
python -m bench.study output/weights --by style_weight --sheet docs/study-weights.jpg
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.sheets import contact_sheet
from nst.metadata import Record, metadata_from_parquet

_CELL_PX = (240, 160)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.study", description=__doc__)
    parser.add_argument("output", type=Path, help="folder of a run")
    parser.add_argument("--manifest-folder", type=Path, default=Path("manifests"))
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here")
    parser.add_argument("--by", metavar="FIELD", help="means for each value of it instead")
    arguments = parser.parse_args()
    records = [
        record
        for record in metadata_from_parquet((arguments.output / "metadata.parquet").read_bytes())
        if record.backbone == arguments.backbone and record.outcome.status == "ok"
    ]
    sys.stdout.write(means(records, arguments.by) if arguments.by else table(records))
    if arguments.sheet:
        folder = arguments.manifest_folder
        cells = by_field(records, arguments.by) if arguments.by else by_pair(records)
        sheet(cells, arguments.output, folder).save(arguments.sheet, quality=80)


def table(records: list[Record]) -> str:
    """Final losses, content and style, of each pair, and how far apart they lie."""
    contents, styles = _names(records)
    losses = {(r.content, r.style): (r.outcome.content_loss, r.outcome.style_loss) for r in records}
    lines = ["| | " + " | ".join(Path(style).stem for style in styles) + " |"]
    lines.append("| --- " * (len(styles) + 1) + "|")
    for content in contents:
        cells = ("{:.2f}, {:.3f}".format(*losses[content, style]) for style in styles)
        lines.append(f"| {Path(content).stem} | " + " | ".join(cells) + " |")
    for name, column in (("content", 0), ("style", 1)):
        low, middle, high = np.percentile(
            np.array(list(losses.values()), dtype=float)[:, column], [10, 50, 90]
        )
        lines.append(
            f"\n{name} loss: 10th percentile {low:.3f}, median {middle:.3f}, 90th {high:.3f}, "
            f"which is {high / low:.2f} times the 10th"
        )
    lines.append("\n" + shares(records))
    return "\n".join(lines) + "\n"


_MEASURES = ("content_loss", "style_loss", "loss_ratio", "ssim", "lpips")


def shares(records: list[Record]) -> str:
    """How much of each measure's variance over all pairs goes by the content, and by the style.

    The rest is neither's alone. Each content must be there in each style.
    """
    contents, styles = _names(records)
    outcomes = {(record.content, record.style): record.outcome for record in records}
    lines = ["| | from | to | by content | by style | by the pair |", "| --- " * 6 + "|"]
    for name in _MEASURES:
        values = np.array([[getattr(outcomes[c, s], name) for s in styles] for c in contents])
        whole = values.var()
        parts = [values.mean(axis).var() / whole for axis in (1, 0)]
        cells = " | ".join(f"{part:.0%}" for part in (*parts, 1 - sum(parts)))
        lines.append(f"| {name} | {values.min():.3g} | {values.max():.3g} | {cells} |")
    return "\n".join(lines)


def means(records: list[Record], field: str) -> str:
    """The mean of each measure, over the pictures of each value of a field, least value first."""
    groups: dict[Any, list[Record]] = {}
    for record in records:
        groups.setdefault(_value(record, field), []).append(record)
    lines = [f"| {field} | pictures | " + " | ".join(_MEASURES) + " |"]
    lines.append("| --- " * (len(_MEASURES) + 2) + "|")
    for value, members in sorted(groups.items()):
        found = (
            np.array([getattr(each.outcome, name) for each in members], dtype=float)
            for name in _MEASURES
        )
        cells = " | ".join(f"{np.nanmean(column):.3g}" for column in found)
        lines.append(f"| {value} | {len(members)} | {cells} |")
    return "\n".join(lines) + "\n"


# A picture of the sheet by its column and row: a made one by its record, an input by its reference.
Cells = Mapping[tuple[int, int], Record | str]


def by_pair(records: list[Record]) -> Cells:
    """Contents down, styles across, and what became of each pair."""
    contents, styles = _names(records)
    cells: dict[tuple[int, int], Record | str] = {}
    cells |= {(column, 0): style for column, style in enumerate(styles, start=1)}
    cells |= {(0, row): content for row, content in enumerate(contents, start=1)}
    for record in records:
        cells[styles.index(record.style) + 1, contents.index(record.content) + 1] = record
    return cells


def by_field(records: list[Record], field: str) -> Cells:
    """Pairs down, the content and the style before what became of it at each value of a field."""
    pairs = sorted({(record.content, record.style) for record in records})
    values = sorted({_value(record, field) for record in records})
    cells: dict[tuple[int, int], Record | str] = {}
    for row, (content, style) in enumerate(pairs):
        cells |= {(0, row): content, (1, row): style}
    for record in records:
        row = pairs.index((record.content, record.style))
        cells[values.index(_value(record, field)) + 2, row] = record
    return cells


def sheet(cells: Cells, output: Path, manifest_folder: Path) -> Image.Image:
    """The pictures of the cells in small, each where it belongs."""
    paths = {
        place: manifest_folder / cell if isinstance(cell, str) else output / _picture(cell)
        for place, cell in cells.items()
    }
    return contact_sheet(paths, cell_px=_CELL_PX)


def _picture(record: Record) -> str:
    assert record.outcome.picture is not None
    return record.outcome.picture


def _value(record: Record, field: str) -> Any:
    return getattr(record if hasattr(record, field) else record.params, field)


def _names(records: list[Record]) -> tuple[list[str], list[str]]:
    return sorted({r.content for r in records}), sorted({r.style for r in records})


if __name__ == "__main__":
    main()
