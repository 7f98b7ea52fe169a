"""A device whose memory is full: a batch is halved, a picture that does not fit alone is refused by
name, and the group after it is painted.

On a GPU PyTorch may take only half of what the batch was seen to need, and fails by itself; the
forecast knows nothing of that limit, as it knows nothing of what others will take. On a CPU, whose
memory nobody should fill, the engine is told to fail.
"""

import csv
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from bench.gpu.given import SAMPLES, Found, Given, Target, item, network
from bench.measuring import table
from nst import pipeline
from nst.output import read_metadata
from nst.painting import free_memory, graphs, memory_of, resolve_precision, stylize
from nst.settings import RunSettings

_NUM_MANY, _NUM_AFTER = 8, 4
# Of which about so many fit.
_FITTING = 4.0
_BACKBONE = "vgg19"


def measure(given: Given, found: Found) -> None:
    """One run of a batch that is too large, a picture that is, and one more group."""
    side_px = given.or_toy(512, 64)
    folder = given.folder / "out-of-memory"
    output = folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    settings = RunSettings(
        output=str(output),
        device=given.device,
        max_batch_pixels=_NUM_MANY * side_px**2,
        # The limit is that of this process.
        isolate=False,
    )
    said: list[str] = []
    with _listening(said), _limited(side_px, given):
        pipeline.run_manifest(str(_manifest(folder, side_px, given)), settings)
    found["halved"] = [text for text in said if text.startswith("out of memory")]
    found["rows"] = [
        {name: getattr(row.outcome, name) for name in ("id", "status", "reason", "error")}
        for row in read_metadata(str(output))
    ]
    found["checks"] = _checks(found["rows"], found["halved"])
    for what, is_so in found["checks"].items():
        given.say(f"{what}: {'yes' if is_so else 'NO'}")


def _manifest(folder: Path, side_px: int, given: Given) -> Path:
    """Eight pictures, one sixteen times as large, and four small ones of another group."""
    sizes = {
        **{f"many-{n}": side_px for n in range(_NUM_MANY)},
        "large": 4 * side_px,
        **{f"after-{n}": side_px * 3 // 4 for n in range(_NUM_AFTER)},
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "content", "style", "backbone", "method", "steps", "size", "seed"])
        content, style = SAMPLES / "content/chelsea.jpg", SAMPLES / "style/great-wave.jpg"
        for number, (name, size) in enumerate(sizes.items()):
            steps = given.or_toy(10, 1)
            writer.writerow([name, content, style, _BACKBONE, "gatys", steps, size, number])
    return path


@contextmanager
def _listening(said: list[str]) -> Iterator[None]:
    """Put what the painting warns of into a list."""

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    keeper, logger = Keeper(logging.WARNING), logging.getLogger("nst.running.batch")
    logger.addHandler(keeper)
    try:
        yield
    finally:
        logger.removeHandler(keeper)


@contextmanager
def _limited(side_px: int, given: Given) -> Iterator[None]:
    device = given.on
    if device.type != "cuda":
        with _pretended(side_px):
            yield
        return
    # A device without a number is not taken here, as it is elsewhere.
    number = torch.cuda.current_device() if device.index is None else device.index
    needed = _needed(side_px, given)
    # What earlier parts recorded would be given up on the way, and make room for the batch.
    graphs.forget()
    free_memory(device)
    limit = torch.cuda.memory_reserved(device) + _FITTING / _NUM_MANY * needed
    torch.cuda.set_per_process_memory_fraction(limit / memory_of(device).total, number)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, number)
        free_memory(device)


def _needed(side_px: int, given: Given) -> int:
    """What the batch has allocated at most if there is nothing to stop it."""
    precision = resolve_precision("auto", given.on)
    backbone = network(_BACKBONE, given, device=given.on, precision=precision)
    before = torch.cuda.memory_allocated(given.on)
    torch.cuda.reset_peak_memory_stats(given.on)
    stylize([item(n, side_px, method="gatys", steps=2) for n in range(_NUM_MANY)], backbone)
    return int(torch.cuda.max_memory_allocated(given.on)) - before


@contextmanager
def _pretended(side_px: int) -> Iterator[None]:
    """As if the device held half of the batch together."""

    def limited(items: Sequence[Any], *arguments: Any, **options: Any) -> Any:
        if sum(each.content[0].numel() for each in items) > _FITTING * side_px**2:
            raise torch.OutOfMemoryError("out of memory, pretended")
        return stylize(items, *arguments, **options)

    with (
        mock.patch("nst.running.batch.stylize", limited),
        mock.patch("nst.running.batch.runs_items_together", return_value=True),
    ):
        yield


def _checks(rows: Sequence[Mapping[str, Any]], halved: Sequence[str]) -> dict[str, bool]:
    by_kind: dict[str, list[Mapping[str, Any]]] = {"many": [], "large": [], "after": []}
    for row in rows:
        by_kind[row["id"].partition("-")[0]].append(row)

    def are_made(kind: str, number: int) -> bool:
        return [row["status"] for row in by_kind[kind]] == ["ok"] * number

    (large,) = by_kind["large"]
    said = str(large["error"])
    return {
        "a batch that does not fit is halved, and all of it is made": bool(halved)
        and are_made("many", _NUM_MANY),
        "a picture that does not fit alone is refused, with the memory that it needs": (
            large["reason"] == "out_of_memory" and "need about" in said and "free" in said
        ),
        "the group after it is made": are_made("after", _NUM_AFTER),
    }


def to_markdown(found: Found) -> str:
    """What became of each part of the run, and what it said."""
    rows = [[what, "yes" if is_so else "**no**"] for what, is_so in found["checks"].items()]
    said = [*found["halved"], *(row["error"] for row in found["rows"] if row["error"])]
    lines = "\n".join(f"- {text.splitlines()[0]}" for text in said)
    return f"{table(['', 'so it was'], rows)}\n\nWhat was said:\n\n{lines}"


def targets(all_found: Mapping[str, Found]) -> list[Target]:
    """That all of it went as it should."""
    what, wanted = "out of memory: halved, refused by name, and on with the next group", "all three"
    checks: dict[str, bool] = all_found.get("memory", {}).get("checks", {})
    if not checks:
        return [Target(what=what, wanted=wanted)]
    measured = f"{sum(checks.values())} of {len(checks)}"
    return [Target(what=what, wanted=wanted, measured=measured, is_reached=all(checks.values()))]
