"""A whole run from a manifest on the disk to its gallery: pictures a second, and how busy the GPU is."""

import csv
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.gpu.given import CONTENTS, SAMPLES, STYLES, Found, Given, Target
from bench.measuring import table
from nst import pipeline
from nst.output import Outcome
from nst.planning import Group
from nst.running import NoListener
from nst.settings import RunSettings

_ROWS = 200
_LEAST_ROWS = 20
_SIZE_PX = 512
_EVERY_MS = 200
# Batches of the default, and larger ones, which keep a large GPU busier.
_BATCH_PICTURES = (None, 16)
_WANTED_BUSY = 0.9
# A run paints at least at this share of the rate of painting alone.
_LEAST_SHARE = 0.5
# What a run takes beside painting: processes, the plan, the gallery.
_BESIDE_S = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A run of so many rows in batches of at most so many pictures, None for the default.

    `wall_s` is from the manifest to the gallery, `painting_s` from the first picture that was begun
    to the last one recorded. `busy` and `busy_painting` are the GPU's busy shares of these times, or
    None where nothing tells them.
    """

    batch: int | None
    num_rows: int
    num_failed: int
    wall_s: float
    painting_s: float
    busy: float | None
    busy_painting: float | None


def measure(given: Given, found: Found) -> None:
    """Runs of 200 rows at 512 px, of fewer where the time does not allow them."""
    found["runs"] = []
    rate = _LEAST_SHARE * _rate_of_painting(given.before)
    for batch in _BATCH_PICTURES:
        num_rows = given.or_toy(_rows_in(given, rate), 4)
        if num_rows < given.or_toy(_LEAST_ROWS, 1):
            found["left_out"] = f"batches of {batch} pictures: no time for them"
            given.say(found["left_out"])
            return
        name = f"run-{batch or 'default'}"
        manifest = _manifest(given.folder / name, num_rows, given)
        ran = _ran(manifest, given.folder / name / "output", batch, num_rows, given)
        found["runs"].append(ran)
        rate = ran.num_rows / max(ran.painting_s, 1e-6)
        given.say(
            f"{num_rows} rows, batches of {batch or 'the default'}: {num_rows / ran.wall_s:.2f} "
            f"pictures/s, {rate:.2f} while painting; busy {_share(ran.busy_painting)}"
        )
        if given.is_toy:
            return


def _rate_of_painting(before: Mapping[str, Found]) -> float:
    """Pictures a second, as the speed was measured before; 0 where it was not."""
    cells = before.get("speed", {}).get("cells", [])
    return min(
        (c.pyramid_s for c in cells if (c.backbone, c.size_px, c.batch) == ("vgg19", _SIZE_PX, 4)),
        default=0.0,
    )


def _rows_in(given: Given, rate: float) -> int:
    """How many rows there is time for, if so many are painted a second; all where that is unknown."""
    left_s = given.ends_s - time.monotonic() - _BESIDE_S
    return min(_ROWS, int(left_s * rate)) if rate else _ROWS


def _manifest(folder: Path, num_rows: int, given: Given) -> Path:
    """A CSV of all pairs of the samples, each at several strengths, with the pictures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(content, style) for content in CONTENTS for style in STYLES]
    rows = []
    for number in range(num_rows):
        content, style = pairs[number % len(pairs)]
        rows.append(
            {
                "content": SAMPLES / f"content/{content}.jpg",
                "style": SAMPLES / f"style/{style}.jpg",
                "backbone": "vgg19",
                "size": given.or_toy(_SIZE_PX, 64),
                "steps": given.or_toy(50, 1),
                "style_weight": 1 + number // len(pairs) / 10,
            }
        )
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _ran(manifest: Path, output: Path, batch: int | None, num_rows: int, given: Given) -> Ran:
    shutil.rmtree(output, ignore_errors=True)
    settings = RunSettings(output=str(output), device=given.device)
    if batch is not None:
        settings = replace(settings, max_batch_pixels=batch * _SIZE_PX**2)
    watch = _Watch()
    with sampled(given.on) as samples:
        begun_s = time.monotonic()
        report = pipeline.run_manifest(str(manifest), settings, listener=watch)
        ended_s = time.monotonic()
    return Ran(
        batch=batch,
        num_rows=num_rows,
        num_failed=report.num_failed,
        wall_s=ended_s - begun_s,
        painting_s=watch.last_s - watch.first_s,
        busy=_busy(samples, begun_s, ended_s),
        busy_painting=_busy(samples, watch.first_s, watch.last_s),
    )


class _Watch(NoListener):
    """When the first picture was begun, and when the last was recorded."""

    def __init__(self) -> None:
        self.first_s = self.last_s = 0.0

    def begun(self, group: Group, ids: Sequence[str]) -> None:
        self.first_s = self.first_s or time.monotonic()

    def recorded(self, group: Group, outcome: Outcome) -> None:
        self.last_s = time.monotonic()


@dataclass(frozen=True, slots=True)
class _Sample:
    """At a time, the share of the last moments in which the GPU computed anything."""

    at_s: float
    busy: float


@contextmanager
def sampled(device: torch.device) -> Iterator[Sequence[_Sample]]:
    """What nvidia-smi says of a GPU while this is entered; nothing where it is not here."""
    samples: list[_Sample] = []
    if shutil.which("nvidia-smi") is None:
        yield samples
        return
    query = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", *_chosen(device)]
    child = subprocess.Popen(
        ["nvidia-smi", *query, f"--loop-ms={_EVERY_MS}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    reader = threading.Thread(target=_read, args=(child.stdout, samples), daemon=True)
    reader.start()
    try:
        yield samples
    finally:
        child.terminate()
        child.wait()
        reader.join()
        child.stdout.close()


def _chosen(device: torch.device) -> list[str]:
    """PyTorch may count GPUs otherwise than nvidia-smi, which finds them by what they are called too."""
    if device.type != "cuda":
        return []
    return [f"--id=GPU-{torch.cuda.get_device_properties(device).uuid}"]


def _read(lines: Iterator[str], samples: list[_Sample]) -> None:
    for line in lines:
        # Of a GPU in parts it says that this is not known.
        if line.strip().isdigit():
            samples.append(_Sample(time.monotonic(), int(line) / 100))


def _busy(samples: Sequence[_Sample], begun_s: float, ended_s: float) -> float | None:
    within = [each.busy for each in samples if begun_s <= each.at_s <= ended_s]
    return statistics.fmean(within) if within else None


def _share(busy: float | None) -> str:
    return "unknown" if busy is None else f"{busy:.0%}"


def to_markdown(found: Found) -> str:
    """A line for each run."""
    rows = [
        [
            *(ran.batch or "default", ran.num_rows, ran.num_failed, f"{ran.wall_s:.1f}"),
            *(
                f"{ran.num_rows / ran.wall_s:.2f}",
                f"{ran.num_rows / max(ran.painting_s, 1e-6):.2f}",
            ),
            *(_share(ran.busy), _share(ran.busy_painting)),
        ]
        for ran in found["runs"]
    ]
    header = [
        *("batch", "rows", "failed", "wall s", "pictures/s", "while painting"),
        *("GPU busy", "while painting"),
    ]
    return "\n\n".join(
        [
            f"`nst run` of a CSV of sample pairs at {_SIZE_PX} px with VGG-19 and all else the defaults, from the disk to the gallery, in processes as a user starts them. While painting: from the first picture that was begun to the last one recorded. GPU busy: the mean of `utilization.gpu` of nvidia-smi, every {_EVERY_MS} ms.",
            table(header, rows),
            *([f"Left out: {found['left_out']}."] if "left_out" in found else []),
        ]
    )


def pictures_per_s(all_found: Mapping[str, Found]) -> float | None:
    """Of the fastest run as a whole, None where there was none."""
    runs: list[Ran] = all_found.get("run", {}).get("runs", [])
    return max((ran.num_rows / ran.wall_s for ran in runs), default=None)


def targets(all_found: Mapping[str, Found]) -> list[Target]:
    """How busy the GPU was, in the run that kept it busiest."""
    runs: list[Ran] = all_found.get("run", {}).get("runs", [])
    what, wanted = f"GPU busy in a run of {_ROWS} rows", f"{_WANTED_BUSY:.0%} of its time"
    told = [(ran.busy, ran.num_rows) for ran in runs if ran.busy is not None]
    if not told:
        return [Target(what=what, wanted=wanted)]
    busy, num_rows = max(told)
    return [
        Target(
            what=what,
            wanted=wanted,
            measured=f"{busy:.0%}" + ("" if num_rows == _ROWS else f", of {num_rows} rows"),
            is_reached=busy >= _WANTED_BUSY and num_rows == _ROWS,
        )
    ]
