"""What a run of the study says: its pairs in a table, or its means by one field; and a sheet of it.

nst run manifests/study/pictures.yaml --output output/pictures --weights resnet50=FILE
python -m bench.study output/pictures --manifest-folder manifests/study --sheet docs/study.jpg
python -m bench.study output/weights --manifest-folder manifests/study --by style_weight
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.sheets import contact_sheet
from nst.output.metadata import Record, metadata_from_parquet
from nst.profiles import PROFILES

_CELL_PX = (240, 160)
# All but the first two are by rulers that nobody optimised, and so compare between backbones; the
# style distances of both VGGs are each other's, and that of ResNet-50 is VGG-16's.
_MEASURES = ("content_loss", "style_loss", "lpips", "cfsd", "style_distance", "noise")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.study", description=__doc__)
    parser.add_argument("output", type=Path, help="folder of a run")
    parser.add_argument("--manifest-folder", type=Path, default=Path("manifests"))
    parser.add_argument("--by", metavar="FIELD", help="means for each value of it")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet here")
    parser.add_argument("--backbone", choices=list(PROFILES), help="of the sheet, if not all")
    parser.add_argument("--content", help="of the sheet, if not all: the name of a picture")
    arguments = parser.parse_args()
    records = [
        record
        for record in metadata_from_parquet((arguments.output / "metadata.parquet").read_bytes())
        if record.outcome.status == "ok"
    ]
    sys.stdout.write(means(records, arguments.by) if arguments.by else shares(records))
    if arguments.sheet:
        chosen = [
            record
            for record in records
            if arguments.backbone in (None, record.backbone)
            and arguments.content in (None, Path(record.content).stem)
        ]
        cells = by_field(chosen, arguments.by) if arguments.by else by_backbone(chosen)
        sheet(cells, arguments.output, arguments.manifest_folder).save(arguments.sheet, quality=80)


def shares(records: Sequence[Record]) -> str:
    """How much of each measure's variance over all pairs goes by the content, and by the style.

    The rest is neither's alone. Each content must be there in each style, with each backbone.
    """
    contents, styles = _names(records)
    header = ["backbone", "", "from", "mean", "to", "by content", "by style", "by the pair"]
    lines = ["| " + " | ".join(header) + " |", "| --- " * len(header) + "|"]
    for backbone in _backbones(records):
        outcomes = {(r.content, r.style): r.outcome for r in records if r.backbone == backbone}
        for name in _MEASURES:
            values = np.array(
                [[getattr(outcomes[c, s], name) for s in styles] for c in contents], dtype=float
            )
            parts = [values.mean(axis).var() / values.var() for axis in (1, 0)]
            cells = " | ".join(f"{part:.0%}" for part in (*parts, 1 - sum(parts)))
            span = " | ".join(f"{x:.3g}" for x in (values.min(), values.mean(), values.max()))
            lines.append(f"| {backbone} | {name} | {span} | {cells} |")
    return "\n".join(lines) + "\n"


def means(records: Sequence[Record], field: str) -> str:
    """The mean of each measure over the pictures of a backbone and a value of a field."""
    groups: dict[tuple[str, Any], list[Record]] = {}
    for record in records:
        groups.setdefault((record.backbone, _value(record, field)), []).append(record)
    lines = [f"| backbone | {field} | pictures | " + " | ".join(_MEASURES) + " |"]
    lines.append("| --- " * (len(_MEASURES) + 3) + "|")
    order = _backbones(records)
    for (backbone, value), members in sorted(
        groups.items(), key=lambda group: (order.index(group[0][0]), group[0][1])
    ):
        found = (
            np.array([getattr(each.outcome, name) for each in members], dtype=float)
            for name in _MEASURES
        )
        cells = " | ".join(f"{np.nanmean(column):.3g}" for column in found)
        lines.append(f"| {backbone} | {value} | {len(members)} | {cells} |")
    return "\n".join(lines) + "\n"


# A picture of the sheet by its column and row: a made one by its record, an input by its reference.
Cells = Mapping[tuple[int, int], Record | str]


def by_backbone(records: Sequence[Record]) -> Cells:
    """Pairs down; content, style, and what each backbone made of them across."""
    pairs = sorted({(record.content, record.style) for record in records})
    backbones = _backbones(records)
    cells = _inputs(pairs)
    for record in records:
        row = pairs.index((record.content, record.style))
        cells[2 + backbones.index(record.backbone), row] = record
    return cells


def by_field(records: Sequence[Record], field: str) -> Cells:
    """Pairs and backbones down, and content and style before what came of each value of a field."""
    backbones = _backbones(records)
    rows = sorted(
        {(r.content, r.style, r.backbone) for r in records},
        key=lambda row: (row[:2], backbones.index(row[2])),
    )
    values = sorted({_value(record, field) for record in records})
    cells = _inputs([row[:2] for row in rows])
    for record in records:
        row = rows.index((record.content, record.style, record.backbone))
        cells[2 + values.index(_value(record, field)), row] = record
    return cells


def sheet(cells: Cells, output: Path, manifest_folder: Path) -> Image.Image:
    """The pictures of the cells in small, each where it belongs."""
    paths = {
        place: manifest_folder / cell if isinstance(cell, str) else output / _picture(cell)
        for place, cell in cells.items()
    }
    return contact_sheet(paths, cell_px=_CELL_PX)


def _inputs(pairs: Sequence[tuple[str, str]]) -> dict[tuple[int, int], Record | str]:
    cells: dict[tuple[int, int], Record | str] = {}
    for row, (content, style) in enumerate(pairs):
        cells |= {(0, row): content, (1, row): style}
    return cells


def _picture(record: Record) -> str:
    assert record.outcome.picture is not None
    return record.outcome.picture


def _value(record: Record, field: str) -> Any:
    return getattr(record if hasattr(record, field) else record.params, field)


def _names(records: Sequence[Record]) -> tuple[list[str], list[str]]:
    return sorted({r.content for r in records}), sorted({r.style for r in records})


def _backbones(records: Sequence[Record]) -> list[str]:
    """Those that there are, in the order of the profiles."""
    found = {record.backbone for record in records}
    return [name for name in PROFILES if name in found]


if __name__ == "__main__":
    main()
