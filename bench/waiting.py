"""What a run takes beside programs that compute, by how its threads wait: `python -m bench.waiting`.

Two pictures, alone and beside a process for each processor that counts for ever. Threads that wait
spin, sleep, or do what `nst run` chooses by itself.
"""

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from bench.compare import PAIRS, ours
from bench.measuring import add_markdown_option, table, tell, where

SECTION = "Beside other programs"
WAYS: dict[str, Mapping[str, str]] = {
    "as nst chooses": {},
    "they spin": {"OMP_WAIT_POLICY": "ACTIVE"},
    "PyTorch's own": {"GOMP_SPINCOUNT": "300000"},
    "they sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
}
_NUM_PICTURES = 2
_NUM_PROCESSORS = os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.waiting", description=__doc__)
    parser.add_argument("--size", type=int, default=192, help="long edge in pixels")
    parser.add_argument("--rounds", type=int, default=2, help="of each, one after the other")
    parser.add_argument("--way", action="append", choices=sorted(WAYS), help="all unless given")
    add_markdown_option(parser)
    arguments = parser.parse_args()
    ways = arguments.way or list(WAYS)
    found: dict[tuple[str, bool], list[float]] = {}
    # Round by round, so that a machine that slows down slows all of them alike.
    for _, is_beside, way in itertools.product(range(arguments.rounds), (False, True), ways):
        with _beside(_NUM_PROCESSORS if is_beside else 0):
            seconds = _run(arguments.size, WAYS[way])
        found.setdefault((way, is_beside), []).append(seconds)
        sys.stderr.write(f"{way}, {'beside others' if is_beside else 'alone'}: {seconds:.1f} s\n")
    rows = []
    for way in ways:
        alone, beside = fmean(found[way, False]), fmean(found[way, True])
        best = min(fmean(found[each, False]) for each in ways)
        rows.append(
            [way, f"{alone:.1f}", f"{alone / best:.2f}", f"{beside:.1f}", f"{beside / best:.1f}"]
        )
    header = [
        "threads that wait",
        "alone, s",
        "of the best",
        "beside others, s",
        "of the best alone",
    ]
    text = f"""Two pictures of {arguments.size} px in one `nst run`, whole processes, the mean of {arguments.rounds}; beside others: {_NUM_PROCESSORS} processes that count for ever; {where()}.

{table(header, rows)}
"""
    tell(text, arguments.markdown, SECTION)


def _run(size_px: int, environment: Mapping[str, str]) -> float:
    """The seconds of the whole process."""
    pairs = PAIRS[:_NUM_PICTURES]
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as folder:
        usage, _ = ours(pairs, Path(folder), size_px=size_px, device="cpu", environment=environment)
    return usage.process_s


@contextmanager
def _beside(number: int) -> Iterator[None]:
    """That many processes which compute meanwhile."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for each in others:
            each.kill()
            each.wait()


if __name__ == "__main__":
    main()
