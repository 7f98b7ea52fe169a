"""Measure nst on a GPU, all in one command of at most six minutes: `python -m bench.gpu`.

It needs no network, and of packages only PyTorch, torchvision, Pillow, numpy, pyarrow, fsspec, psutil,
pydantic, safetensors and jinja2. It prints what it finds as it goes, and writes all of it into the
folder after each step: gpu.json, gpu.md, and the pictures that are to be looked at. `--toy` goes
through all parts on the CPU in a minute, to see that they work.
"""

import argparse
import gc
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.gpu import (
    against_peer,
    budget,
    correctness,
    kernels,
    out_of_memory,
    run,
    speed,
    switches,
)
from bench.gpu.given import Found, Given, MissingError, Target
from bench.measuring import add_markdown_option, in_place, table, tell, where
from nst.errors import ConfigError
from nst.painting import device_name, free_memory, graphs, memory_of, resolve_device
from nst.wording import shown_bytes

_BUDGET_S = 360.0
# A part that has not even this share of its time is not begun.
_LEAST_SHARE = 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the measurement, which takes at most `most_s` where it can stop in between."""

    title: str
    most_s: float
    measure: Callable[[Given, Found], None]
    to_markdown: Callable[[Found], str]
    targets: Callable[[Mapping[str, Found]], list[Target]] = field(default=lambda _: [])


# The most important first, in case that the time ends.
PARTS: Mapping[str, Part] = {
    "correctness": Part(
        title="Correctness",
        most_s=60,
        measure=correctness.measure,
        to_markdown=correctness.to_markdown,
        targets=correctness.targets,
    ),
    "speed": Part(
        title="Speed",
        most_s=100,
        measure=speed.measure,
        to_markdown=speed.to_markdown,
        targets=speed.targets,
    ),
    "switches": Part(
        title="What can be switched off",
        most_s=30,
        measure=switches.measure,
        to_markdown=switches.to_markdown,
    ),
    "run": Part(
        title="From the disk to the gallery",
        most_s=60,
        measure=run.measure,
        to_markdown=run.to_markdown,
        targets=run.targets,
    ),
    "kernels": Part(
        title="The dearest kernels",
        most_s=20,
        measure=kernels.measure,
        to_markdown=kernels.to_markdown,
    ),
    "memory": Part(
        title="Out of memory",
        most_s=30,
        measure=out_of_memory.measure,
        to_markdown=out_of_memory.to_markdown,
        targets=out_of_memory.targets,
    ),
    "peer": Part(
        title="The peer",
        most_s=60,
        measure=against_peer.measure,
        to_markdown=against_peer.to_markdown,
        targets=against_peer.targets,
    ),
}


@dataclass(slots=True)
class Report:
    """What is known so far: the head, what each part found, and why a part found nothing, or no more."""

    device: str
    head: str
    found: dict[str, Found] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)


class _Warnings(logging.Handler):
    """Puts into the report what the product warns of: figures without CUDA graphs are to say so."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage().partition("\n")[0]
        if text not in self._report.warned:
            self._report.warned.append(text)
            _say(f"warning: {text}")


def main(arguments: Sequence[str], missing: Sequence[str] = ()) -> int:
    """Measure what is asked for; 1 if a part failed, 2 without the device. `missing` are packages that have stand-ins."""
    given = _parser().parse_args(arguments)
    if given.budget:
        tell(budget.to_markdown(), given.markdown, budget.SECTION)
        return 0
    device = given.device or ("cpu" if given.toy else "cuda")
    try:
        resolve_device(device)
    except ConfigError as exc:
        _say(f"{exc}; with --toy all parts run on the CPU")
        return 2
    folder: Path = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    head = _head(device, missing) + (f" {_TOY}" if given.toy else "")
    report = Report(device=device_name(device), head=head)
    _say(report.head)

    def keep() -> None:
        (folder / "gpu.json").write_text(to_json(report))
        (folder / "gpu.md").write_text(f"## {section(report)}\n\n{to_markdown(report)}")

    def say(text: str) -> None:
        _say(text)
        keep()

    whole = Given(
        device=device,
        is_toy=given.toy,
        folder=folder,
        ends_s=time.monotonic() + given.budget_s,
        resnet50=given.resnet50,
        peer_path=given.peer_path,
        say=say,
    )
    logger, warnings = logging.getLogger("nst"), _Warnings(report)
    logger.addHandler(warnings)
    try:
        measure({name: PARTS[name] for name in PARTS if name in given.parts}, whole, report)
    finally:
        logger.removeHandler(warnings)
    keep()
    _say(f"\n{to_markdown(report)}")
    if given.markdown is not None:
        before = given.markdown.read_text() if given.markdown.exists() else "# Benchmark\n"
        given.markdown.write_text(in_place(before, section(report), to_markdown(report)))
    return 1 if report.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--toy", action="store_true", help="all parts as small as they can be, on the CPU"
    )
    parser.add_argument("--device", help="else cuda, or in a toy run cpu")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument(
        "--budget-s", type=float, default=_BUDGET_S, help="what no longer fits is left out"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(os.environ.get("OUT") or "output/gpu"),
        help="for all that is written; else $OUT, or output/gpu",
    )
    parser.add_argument(
        "--resnet50",
        metavar="FILE",
        default=os.environ.get("NST_RESNET50_WEIGHTS"),
        help="weights, else those of NST_RESNET50_WEIGHTS; without any, random ones",
    )
    parser.add_argument("--peer-path", type=Path, help="folder or wheel of neural-style 0.5.7")
    parser.add_argument(
        "--budget", action="store_true", help="no measurement: what a GPU's rates would allow"
    )
    add_markdown_option(parser)
    return parser


def measure(parts: Mapping[str, Part], given: Given, report: Report) -> None:
    """Each part within its time; the failure of one leaves the others alone."""
    for name, part in parts.items():
        if not given.has(part.most_s * _LEAST_SHARE):
            report.ended[name] = "left out: no time for it"
            given.say(f"\n{part.title}: {report.ended[name]}")
            continue
        _say(f"\n{part.title}")
        found = report.found[name] = {}
        begun_s = time.monotonic()
        ends_s = min(given.ends_s, begun_s + part.most_s)
        try:
            part.measure(replace(given, ends_s=ends_s, before=report.found), found)
        except MissingError as exc:
            report.ended[name] = f"not measured: {exc}"
        except Exception:
            report.failed.append(name)
            report.ended[name] = f"failed:\n\n```\n{traceback.format_exc()}```"
        report.seconds[name] = time.monotonic() - begun_s
        if given.has_gpu:
            # The processes that another part starts need it.
            graphs.forget()
            gc.collect()
            free_memory(given.on)
        given.say(report.ended.get(name, f"{report.seconds[name]:.1f} s"))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


_TOY = (
    "**A toy run**: it shows that every part works, with pictures of 64 px whatever is said of their "
    "size; its figures say nothing of speed."
)


def _head(device: str, missing: Sequence[str]) -> str:
    """What is measured, and on what."""
    name = device_name(device)
    held = shown_bytes(memory_of(torch.device(device)).total)
    lacks = f" Without {', '.join(missing)}, for which there are stand-ins." if missing else ""
    return (
        f"{name}, {held}; {where()}; Python {sys.version.split()[0]}, PyTorch {torch.__version__}."
        f"{lacks}"
    )


def section(report: Report) -> str:
    """The title of the section of a device."""
    return f"On a GPU: {report.device}"


def to_json(report: Report) -> str:
    """All that is known, with names of fields as they are in the code."""
    return json.dumps(asdict(report), indent=2, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def to_markdown(report: Report) -> str:
    """The section: targets first, then each part that has found something."""
    targets = [target for part in PARTS.values() for target in part.targets(report.found)]
    words = {True: "yes", False: "**no**", None: ""}
    rows = [[each.what, each.wanted, each.measured, words[each.is_reached]] for each in targets]
    warned = [f"- {text}" for text in report.warned]
    parts = [
        report.head + " By `python -m bench.gpu`.",
        table(["target", "wanted", "measured", "reached"], rows),
        *(["\n".join(["Warned of:", "", *warned])] if warned else []),
    ]
    for name, part in PARTS.items():
        if name in report.found or name in report.ended:
            parts += [f"### {part.title}", *_said(name, part, report)]
    return "\n\n".join(parts) + "\n"


def _said(name: str, part: Part, report: Report) -> list[str]:
    said = []
    try:
        said.append(part.to_markdown(report.found.get(name, {})))
    except (KeyError, IndexError):
        # It has not come so far.
        said += ["Nothing was measured."] if name not in report.ended else []
    return [*said, *([_sentence(report.ended[name])] if name in report.ended else [])]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
