"""What a run costs beside its pictures: `python -m bench.overhead`, as a share of the wall time.

Pictures so small that hardly anything is painted, by `nst run` and by `nst run --prefect` with a
server and a home of its own, each a process as a user starts it, with a clock in it (`bench.traced`).
An instant counts as work while the process that paints decodes, paints or writes a picture in any of
its threads; all other time is overhead, and that of the step which keeps the run from its work.

Three runs tell apart what is once for a run, for a group and for a row: a few rows as one group, the
same in many groups, and many rows as one group.
"""

import argparse
import json
import logging
import math
import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from bench.process import measured
from bench.sections import in_place, table
from bench.traced import Segment, Trace, painter_file, read
from nst.running.worker import ADVANCED_EVERY_S

SECTION = "Orchestration"
MODES = ("nst run", "nst run --prefect")

# A part of the overhead: where several are under way at a time, the earlier one has it.
PARTS: Mapping[str, str] = {
    "weights": "weights, loaded and prepared",
    "records": "records",
    "metadata": "metadata",
    "gallery": "gallery",
    "planning": "planning",
    "painter": "start of the process that paints",
    "telling": "between the two processes",
    "account": "lock, account, printing",
    "prefect imports": "Prefect's imports",
    "server": "a Prefect server of its own",
    "prefect": "Prefect's flow and tasks",
    "start": "interpreter and imports",
    "end": "end of the process",
}
# What these cost hangs on the number of groups, or of rows; of all others it is once for a run.
_BY_GROUP = ("telling", "prefect")
_BY_ROW = ("records", "metadata", "gallery", "planning", "telling")
_WORK: Mapping[str, str] = {
    "decode": "decoding",
    "paint": "painting",
    "measure": "measuring what was painted",
    "write": "encoding and writing",
    "small pictures": "thumbnails and previews",
}
# Done beside the painting, mostly, by the process that paints.
_ASIDE = ("records", "telling")

_TARGET = 0.02
_NUM_STYLES = 40
_SIZE_PX = 32
_REAL_ROWS = (500, 1000)
_REAL_MINUTES = (2, 5, 10, 20, 60)
# Of 512 x 384 pixels as many are a group unless --max-batch-pixels says otherwise.
_REAL_GROUP_ROWS = 4 * 512 * 512 // (512 * 384)
_RESULTS = Path(__file__).parent / "RESULTS.md"
_ROOT = Path(__file__).parent.parent

_log = logging.getLogger("bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. All in seconds: `overhead` by part, which with `work_s` make up `wall_s`.

    `spent` are those of the threads at work by kind, which overlap. `aside_cpu`, of the processor,
    went while groups were painted: into the process that plans (`driver`), Prefect's own server
    (`server`), records and messages in the process that paints (`records`, `telling`).
    `num_messages` are those of the latter to the former.
    """

    mode: str
    num_rows: int
    num_groups: int
    steps: int
    wall_s: float
    work_s: float
    overhead: Mapping[str, float]
    spent: Mapping[str, float]
    aside_cpu: Mapping[str, float]
    num_messages: int

    @property
    def overhead_s(self) -> float:
        return sum(self.overhead.values())

    @property
    def share(self) -> float:
        return self.overhead_s / self.wall_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of a part: once for a run, for each group, and for each row."""

    run: float = 0
    group: float = 0
    row: float = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            run=self.run + other.run, group=self.group + other.group, row=self.row + other.row
        )

    def of(self, *, rows: int, groups: int) -> float:
        return self.run + groups * self.group + rows * self.row


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many rows the runs have, and in how many groups the few are cut."""

    few: int
    many: int
    groups: int
    steps: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=(200, 1000), metavar=("FEW", "MANY"))
    parser.add_argument("--groups", type=int, default=20, help="into which the few rows are cut")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--mode", choices=MODES, nargs="+", default=MODES)
    parser.add_argument("--rounds", type=int, default=1, help="keep the best of so many runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    parser.add_argument(
        "--markdown", action="store_true", help=f"write the section into {_RESULTS.name}"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _log.setLevel(logging.INFO)
    few, many = arguments.rows
    sizes = Sizes(few=few, many=many, groups=arguments.groups, steps=arguments.steps)
    found = [
        run for mode in arguments.mode for run in measure(mode, sizes, rounds=arguments.rounds)
    ]
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(run) for run in found], indent=1) + "\n")
    text = to_markdown(found, rounds=arguments.rounds)
    sys.stdout.write(text)
    if arguments.markdown:
        _RESULTS.write_text(in_place(_RESULTS.read_text(), SECTION, text))


def measure(mode: str, sizes: Sizes, *, rounds: int = 1) -> list[Run]:
    """The few rows as one group and as many, and the many rows as one: each the best of its rounds."""
    asked = [(sizes.few, 1), (sizes.few, sizes.groups), (sizes.many, 1)]
    tried = [
        [measure_run(mode, rows, groups, sizes.steps) for rows, groups in asked]
        for _ in range(rounds)
    ]
    return [min(runs, key=lambda run: run.overhead_s) for runs in zip(*tried, strict=True)]


def measure_run(mode: str, num_rows: int, num_groups: int, steps: int) -> Run:
    """What a run of so many rows in so many groups took, in processes of its own."""
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as temporary:
        folder = Path(temporary)
        manifest = make(folder / "in", num_rows, steps)
        trace = folder / "trace.json"
        _, *options = mode.split()
        in_group = -(-num_rows // num_groups)
        usage = measured(
            [
                *(sys.executable, "-m", "bench.traced", str(trace), *options, str(manifest)),
                *("--output", str(folder / "out")),
                *("--max-batch-pixels", str(in_group * _SIZE_PX**2), "--json"),
            ],
            cwd=_ROOT,
            environment=_own_prefect(folder / "home"),
        )
        driver, painter = read(trace), read(painter_file(trace))
    run = attributed(
        driver,
        painter,
        started_s=usage.started_s,
        wall_s=usage.process_s,
        mode=mode,
        num_rows=num_rows,
        steps=steps,
    )
    _log.info(
        "%s, %d rows in %d groups: %.1f s, of which %.1f s overhead",
        mode,
        num_rows,
        run.num_groups,
        run.wall_s,
        run.overhead_s,
    )
    return run


def _own_prefect(home: Path) -> Mapping[str, str]:
    """The environment in which neither a user's server nor their database is touched."""
    os.environ.pop("PREFECT_API_URL", None)
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "DO_NOT_TRACK": "1",
    }


def make(folder: Path, num_rows: int, steps: int) -> Path:
    """Write the manifest of so many rows, each content in each style, and its pictures."""
    folder.mkdir(parents=True)
    names: set[str] = set()
    lines = ["content,style,backbone,size,steps"]
    for number in range(num_rows):
        content, style = divmod(number, _NUM_STYLES)
        names |= {pair := f"content-{content}.png", other := f"style-{style}.png"}
        lines.append(f"{pair},{other},vgg16,{_SIZE_PX},{steps}")
    for index, name in enumerate(sorted(names)):
        image = Image.linear_gradient("L").resize((_SIZE_PX, _SIZE_PX))
        channels = [image.rotate(index * turn) for turn in (3, 5, 7)]
        Image.merge("RGB", channels).save(folder / name)
    manifest = folder / "rows.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def attributed(
    driver: Trace,
    painter: Trace,
    *,
    started_s: float,
    wall_s: float,
    mode: str,
    num_rows: int,
    steps: int,
) -> Run:
    """What each instant of a run went into, by the traces of its two processes."""
    taken = _taken([*driver.segments, *painter.segments], started_s, started_s + wall_s)
    spent: defaultdict[str, float] = defaultdict(float)
    for each in painter.segments:
        if each.step in _WORK:
            spent[each.step] += each.end_s - each.start_s
    first, last = driver.beside[0], driver.beside[-1]
    aside = defaultdict(
        float,
        driver=last.driver_cpu_s - first.driver_cpu_s,
        server=last.server_cpu_s - first.server_cpu_s,
    )
    for each in painter.segments:
        if each.step in _ASIDE:
            aside[each.step] += each.cpu_s
    return Run(
        mode=mode,
        num_rows=num_rows,
        num_groups=len(driver.beside) // 2,
        steps=steps,
        wall_s=wall_s,
        work_s=taken["work"],
        overhead={part: taken[part] for part in PARTS if taken[part] > 0},
        spent=dict(spent),
        aside_cpu=dict(aside),
        num_messages=sum(each.step == "telling" for each in painter.segments),
    )


def _taken(segments: Iterable[Segment], begin_s: float, end_s: float) -> Mapping[str, float]:
    """The seconds from `begin_s` to `end_s`, each instant that of one part, or of `work`."""
    # What is under way changes at these times, and the ends of one step come before others begin.
    changes = sorted(
        (min(max(at_s, begin_s), end_s), change, "work" if each.step in _WORK else each.step)
        for each in segments
        for at_s, change in ((each.start_s, 1), (each.end_s, -1))
    )
    order = ("work", *PARTS)
    under_way: Counter[str] = Counter()
    taken: defaultdict[str, float] = defaultdict(float)
    since_s, has_begun = begin_s, False
    for at_s, change, step in [*changes, (end_s, 0, "end")]:
        current = next((part for part in order if under_way[part] > 0), None)
        taken[current or ("end" if has_begun else "start")] += at_s - since_s
        since_s, has_begun = at_s, True
        under_way[step] += change
    return taken


def costs(runs: Sequence[Run]) -> dict[str, Cost]:
    """Each part once for a run, by group and by row, from the three runs of `measure`.

    What more groups or rows did not make longer is taken for nothing.
    """
    few, cut, many = runs
    found = {}
    for part in PARTS:
        few_s, cut_s, many_s = (run.overhead.get(part, 0.0) for run in runs)
        more_groups, more_rows = cut.num_groups - few.num_groups, many.num_rows - few.num_rows
        group = max(0.0, (cut_s - few_s) / more_groups) if part in _BY_GROUP else 0.0
        row = max(0.0, (many_s - few_s) / more_rows) if part in _BY_ROW else 0.0
        rest = [
            run.overhead.get(part, 0.0) - run.num_groups * group - run.num_rows * row
            for run in runs
        ]
        cost = Cost(run=max(0.0, sum(rest) / len(rest)), group=group, row=row)
        if cost != Cost():
            found[part] = cost
    return found


def cpu_of_a_row(run: Run) -> float:
    """Processor's seconds that a row takes beside the painting.

    Prefect's server is left out, which goes on by the clock and is mostly on another machine.
    """
    return sum(run.aside_cpu.get(name, 0.0) for name in ("driver", *_ASIDE)) / run.num_rows


def cpu_by_the_clock(run: Run) -> float:
    """Processor's seconds for each second of painting: of telling how far it is, however long it takes."""
    told = sum(run.aside_cpu.get(name, 0.0) for name in ("driver", "telling"))
    return told / run.num_messages / ADVANCED_EVERY_S


def share(overhead_s: float, by_clock: float, work_s: float) -> float:
    """The part of a run's time that is not work."""
    aside_s = overhead_s + by_clock * work_s
    return aside_s / (aside_s + work_s)


def minutes_needed(overhead_s: float, by_clock: float) -> float:
    """The work from which on `share` is the target, or less."""
    left = _TARGET * (1 + by_clock) - by_clock
    return overhead_s * (1 - _TARGET) / left / 60 if left > 0 else math.inf


def to_markdown(found: Sequence[Run], *, rounds: int = 1) -> str:
    """The section: what was measured, what it costs by run, group and row, and what follows."""
    # With PyTorch, which the processes that are measured need not wait for.
    from bench.machine import commit, processor

    threads = os.environ.get("OMP_NUM_THREADS")
    cores = f"{os.cpu_count()} cores" + (f", OMP_NUM_THREADS={threads}" if threads else "")
    where = f"{processor()}, {cores}; {datetime.now(UTC).date()}, commit {commit()}"
    by_mode = {mode: [run for run in found if run.mode == mode] for mode in MODES}
    by_mode = {mode: runs for mode, runs in by_mode.items() if runs}
    best = f" Each the best of {rounds}." if rounds > 1 else ""
    return f"""{where}.
Runs of pictures of {_SIZE_PX} px and {found[0].steps} steps, by `python -m bench.overhead`, each in processes of its own as a user starts it.{best}
Work: seconds in which the process that paints decodes, paints or writes a picture; overhead is all other time.

{table(_RUN_HEADER, [_run_row(run) for run in found])}

Seconds of the overhead by part in the run of most rows, and what they come to once for a run, for a group and for a row, by the three runs:

{table(_COST_HEADER, [row for runs in by_mode.values() for row in _cost_rows(runs)])}

Work is {_work_words(found)}.
Beside the painting, seconds of the processor in the run of most rows: {_aside_words(by_mode)}; a server takes them by the clock, whatever is painted.

{_arithmetic(by_mode)}
"""


_RUN_HEADER = ["command", "rows", "groups", "wall s", "work s", "overhead s", "share"]
_COST_HEADER = ["command", "part", "seconds", "a run s", "a group ms", "a row ms"]


def _run_row(run: Run) -> list[str]:
    return [
        f"`{run.mode}`",
        f"{run.num_rows:,}",
        str(run.num_groups),
        f"{run.wall_s:.1f}",
        f"{run.work_s:.1f}",
        f"{run.overhead_s:.1f}",
        f"{run.share:.1%}",
    ]


def _cost_rows(runs: Sequence[Run]) -> list[list[str]]:
    found = costs(runs)
    largest = sorted(found, key=lambda part: -runs[-1].overhead.get(part, 0.0))
    rows = [
        _cost_row(runs[-1].mode, PARTS[part], runs[-1].overhead.get(part, 0.0), found[part])
        for part in largest
    ]
    together = sum(found.values(), Cost())
    return [*rows, _cost_row(runs[-1].mode, "together", runs[-1].overhead_s, together)]


def _cost_row(mode: str, what: str, seconds: float, cost: Cost) -> list[str]:
    return [
        f"`{mode}`",
        what,
        f"{seconds:.2f}",
        f"{cost.run:.2f}",
        f"{1e3 * cost.group:.1f}",
        f"{1e3 * cost.row:.2f}",
    ]


def _work_words(found: Sequence[Run]) -> str:
    """What the threads of the last run were at, a row, which overlaps."""
    last = found[-1]
    kinds = [
        f"{what} {1e3 * last.spent.get(step, 0.0) / last.num_rows:.1f}"
        for step, what in _WORK.items()
    ]
    return f"{', '.join(kinds)} ms a row, in three threads"


def _aside_words(by_mode: Mapping[str, Sequence[Run]]) -> str:
    return "; ".join(
        f"`{mode}` "
        + ", ".join(
            f"{_ASIDE_WORDS[name]} {seconds:.2f}" for name, seconds in runs[-1].aside_cpu.items()
        )
        for mode, runs in by_mode.items()
    )


_ASIDE_WORDS = {
    "driver": "the process that plans",
    "server": "Prefect's server",
    "records": "records",
    "telling": "messages",
}


def _arithmetic(by_mode: Mapping[str, Sequence[Run]]) -> str:
    """What follows for groups as long as real ones."""
    rows = [
        row
        for mode, runs in by_mode.items()
        for without in _servers(mode)
        for num_rows in _REAL_ROWS
        for num_groups in (1, -(-num_rows // _REAL_GROUP_ROWS))
        for row in [_real_row(runs, num_rows, num_groups, without)]
    ]
    header = ["command", "rows", "groups", "overhead s", f"{_TARGET:.0%} from"]
    header += [f"{minutes} min" for minutes in _REAL_MINUTES]
    most = "\n".join(
        _most(runs, is_served) for mode, runs in by_mode.items() for is_served in _servers(mode)
    )
    return f"""Not measured, but arithmetic on the above: the share of the overhead where the pictures of a run, or of a shard, are so many minutes of work.
overhead = a run + groups x a group + rows x (a row + c) + k x work, share = overhead / (overhead + work). c is the processor's time beside the painting by row, and k that of telling {1 / ADVANCED_EVERY_S:g} times a second how far it is, both as if painting stood still for them.
One group, or as many as `--max-batch-pixels` makes of 512 x 384 px. Target: at most {_TARGET:.0%}.

{table(header, rows)}

{most}"""


def _servers(mode: str) -> Sequence[bool]:
    """Whether to leave out Prefect's own server, which a deployment has running."""
    return (False, True) if "--prefect" in mode else (False,)


def _real_parts(
    runs: Sequence[Run], rows: int, groups: int, is_served: bool
) -> Mapping[str, float]:
    """Seconds of each part of the overhead of so many rows and groups, by what it is called."""
    found = {
        PARTS[part]: cost.of(rows=rows, groups=groups)
        for part, cost in costs(runs).items()
        if not (is_served and part == "server")
    }
    return found | {"beside the painting": rows * cpu_of_a_row(runs[-1])}


def _real_row(runs: Sequence[Run], rows: int, groups: int, is_served: bool) -> list[str]:
    overhead_s = sum(_real_parts(runs, rows, groups, is_served).values())
    by_clock = cpu_by_the_clock(runs[-1])
    shares = (share(overhead_s, by_clock, 60 * minutes) for minutes in _REAL_MINUTES)
    return [
        _named(runs, is_served),
        f"{rows:,}",
        str(groups),
        f"{overhead_s:.1f}",
        f"{minutes_needed(overhead_s, by_clock):.1f} min",
        *(f"{each:.1%}" for each in shares),
    ]


def _most(runs: Sequence[Run], is_served: bool) -> str:
    """From what length on the target is met with the most rows as one group, and by what not before."""
    rows = _REAL_ROWS[-1]
    parts = _real_parts(runs, rows, 1, is_served)
    overhead_s = sum(parts.values())
    largest = sorted(parts, key=lambda what: -parts[what])[:3]
    by_clock = cpu_by_the_clock(runs[-1])
    shares = ", ".join(f"{what} ({parts[what] / overhead_s:.0%})" for what in largest)
    return (
        f"- {_named(runs, is_served)}: {rows:,} rows in one group meet the target from "
        f"{minutes_needed(overhead_s, by_clock):.1f} minutes of work on; most of the overhead is "
        f"{shares}; c is {1e3 * cpu_of_a_row(runs[-1]):.2f} ms, k {by_clock:.2%}."
    )


def _named(runs: Sequence[Run], is_served: bool) -> str:
    return f"`{runs[-1].mode}`" + (", server running" if is_served else "")


if __name__ == "__main__":
    main()
