"""Ours: pairs by `nst run` as a user starts it, with nothing set but the size."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.pairs import ROOT, Pair, Settings
from bench.process import Usage, measured
from nst.output.metadata import Record, metadata_from_parquet


@dataclass(frozen=True, slots=True)
class Made:
    """What one `nst run` took, the record of each pair, and the folder that its pictures are in."""

    usage: Usage
    records: dict[Pair, Record]
    output: Path

    def picture(self, pair: Pair) -> Path:
        picture = self.records[pair].outcome.picture
        assert picture is not None
        return self.output / picture


def run(pairs: Sequence[Pair], name: str, settings: Settings, *, folder: Path) -> Made:
    """Paint pairs, whose pictures are in `folder`, into its folder `name`, not there yet.

    The manifest says what is to be painted in which style, and leaves all else to the defaults.
    """
    manifest, output = folder / f"{name}.csv", folder / name
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["content", "style"])
        writer.writerows([pair.content_file, pair.style_file] for pair in pairs)
    usage = measured(
        [
            *(sys.executable, "-m", "nst", "run", str(manifest), "--output", str(output)),
            *("--device", settings.device),
            *("--set", f"size={settings.size_px}"),
        ],
        cwd=ROOT,
    )
    records = metadata_from_parquet((output / "metadata.parquet").read_bytes())
    by_files = {(record.content, record.style): record for record in records}
    found = {pair: by_files[pair.content_file, pair.style_file] for pair in pairs}
    return Made(usage, found, output)
