"""What a run of the study says: its pairs in a table and on a sheet, or its means by one field.

nst run manifests/study.yaml --output output/study
python -m bench.study output/study --sheet docs/study.jpg
python -m bench.study output/weights --by style_weight
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from nst.metadata import Record, metadata_from_parquet

_CELL_PX = (240, 160)
_GAP_PX = 4


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.study", description=__doc__)
    parser.add_argument("output", type=Path, help="folder of a run")
    parser.add_argument("--manifest-folder", type=Path, default=Path("manifests"))
    parser.add_argument("--backbone", default="vgg16")
    parser.add_argument("--sheet", type=Path, help="write the contact sheet here")
    parser.add_argument("--by", metavar="FIELD", help="means for each value of it instead")
    arguments = parser.parse_args()
    records = [
        record
        for record in metadata_from_parquet((arguments.output / "metadata.parquet").read_bytes())
        if record.backbone == arguments.backbone and record.outcome.status == "ok"
    ]
    sys.stdout.write(means(records, arguments.by) if arguments.by else table(records))
    if arguments.sheet:
        sheet(records, arguments.output, arguments.manifest_folder).save(
            arguments.sheet, quality=88
        )


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
    return "\n".join(lines) + "\n"


_MEASURES = ("content_loss", "style_loss", "loss_ratio", "ssim", "lpips", "seconds")


def means(records: list[Record], field: str) -> str:
    """The mean of each measure, over the pictures of each value of a field, least value first."""
    groups: dict[Any, list[Record]] = {}
    for record in records:
        of = record if hasattr(record, field) else record.params
        groups.setdefault(getattr(of, field), []).append(record)
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


def sheet(records: list[Record], output: Path, manifest_folder: Path) -> Image.Image:
    """Contents down, styles across, and what became of each pair."""
    contents, styles = _names(records)
    width, height = (side + _GAP_PX for side in _CELL_PX)
    made = Image.new("RGB", ((len(styles) + 1) * width, (len(contents) + 1) * height), "white")

    def paste(path: Path, column: int, row: int) -> None:
        with Image.open(path) as image:
            small = ImageOps.contain(image.convert("RGB"), _CELL_PX, Image.Resampling.LANCZOS)
        made.paste(small, (column * width, row * height))

    for column, style in enumerate(styles, start=1):
        paste(manifest_folder / style, column, 0)
    for row, content in enumerate(contents, start=1):
        paste(manifest_folder / content, 0, row)
    for record in records:
        assert record.outcome.picture is not None
        place = styles.index(record.style) + 1, contents.index(record.content) + 1
        paste(output / record.outcome.picture, *place)
    return made


def _names(records: list[Record]) -> tuple[list[str], list[str]]:
    return sorted({r.content for r in records}), sorted({r.style for r in records})


if __name__ == "__main__":
    main()
