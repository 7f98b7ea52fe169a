"""What a run costs beside its pictures: `python -m bench.overhead`, from what runs tell of themselves.

Pictures so small that hardly anything is painted, each run a process as a user starts it: `nst run`,
`nst run --prefect` with a server and a home of its own, and the same with a server that runs. The
metadata tells of each picture when it was finished and how long it was painted. What comes before the
first was painted (imports, plan, weights) and after the last (metadata, gallery, exit) is overhead,
and so is every second between the two in which no picture was painted.

Three runs tell apart what is once for a run, for a group and for a row: a few rows as one group, the
same in many groups, and many rows as one group. What a row costs while others are painted is what the
process that plans takes of the processor for it, and what writing its record takes: the latter is
timed by itself, and both count as if painting stood still for them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from PIL import Image

from bench.measuring import add_markdown_option, measured, python, table, tell, where
from nst.output import read_metadata, records

SECTION = "Orchestration"
SERVED = "nst run --prefect, server running"
MODES = ("nst run", "nst run --prefect", SERVED)

_TARGET = 0.02
_NUM_STYLES = 40
_SIZE_PX = 32
_REAL_ROWS = (500, 1000)
_REAL_MINUTES = (2, 5, 10, 20, 60)
# Of 512 x 384 pixels as many are a group unless --max-batch-pixels says otherwise.
_REAL_GROUP_ROWS = 4 * 512 * 512 // (512 * 384)
_SERVER_START_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run, in seconds; `own_cpu_s` of the process that plans, `record_s` to write one record.

    `painted_s` is the sum over the pictures: smaller batches paint more slowly, which is no overhead.
    """

    mode: str
    num_rows: int
    num_groups: int
    wall_s: float
    before_s: float
    after_s: float
    painted_s: float
    own_cpu_s: float
    record_s: float

    @property
    def between_s(self) -> float:
        """From the first picture on to the last one's end, without the painting itself."""
        return self.wall_s - self.before_s - self.after_s - self.painted_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds of overhead: once for a run, for each group, and for each row."""

    run: float
    group: float
    row: float

    def of(self, *, rows: int, groups: int) -> float:
        return self.run + groups * self.group + rows * self.row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.overhead", description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=(200, 1000), metavar=("FEW", "MANY"))
    parser.add_argument("--groups", type=int, default=20, help="into which the few rows are cut")
    parser.add_argument("--mode", choices=MODES, nargs="+", default=MODES)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers here")
    add_markdown_option(parser)
    arguments = parser.parse_args()
    few, many = arguments.rows
    asked = [(few, 1), (few, arguments.groups), (many, 1)]
    found = {
        mode: [measure(mode, rows, groups) for rows, groups in asked] for mode in arguments.mode
    }
    if arguments.json:
        told = [asdict(run) for runs in found.values() for run in runs]
        arguments.json.write_text(json.dumps(told, indent=1) + "\n")
    tell(to_markdown(found), arguments.markdown, SECTION)


def measure(mode: str, num_rows: int, num_groups: int) -> Run:
    """What a run of so many rows in so many groups took, in processes of its own."""
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as temporary:
        folder = Path(temporary)
        manifest = make(folder / "in", num_rows)
        in_group = -(-num_rows // num_groups)
        # Neither a user's server nor their database is touched.
        os.environ.pop("PREFECT_API_URL", None)
        home = {
            "PREFECT_HOME": str(folder / "home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": str(_SERVER_START_S),
            "DO_NOT_TRACK": "1",
        }
        with ExitStack() as stack:
            server = stack.enter_context(_server(home)) if mode == SERVED else {}
            usage = measured(
                python(
                    *("nst", "run", manifest, "--output", folder / "out"),
                    *("--max-batch-pixels", in_group * _SIZE_PX**2),
                    *(["--prefect"] if "--prefect" in mode else []),
                ),
                environment={**home, **server},
            )
        rows = read_metadata(str(folder / "out"))
        outcomes = [row.outcome for row in rows]
        ends = [each.finished_at.timestamp() for each in outcomes if each.finished_at]
        first = min(zip(ends, (each.seconds or 0 for each in outcomes), strict=True))
        started = time.perf_counter()
        for outcome in outcomes:
            records.write(str(folder / "again"), outcome)
        record_s = (time.perf_counter() - started) / num_rows
    return Run(
        mode=mode,
        num_rows=num_rows,
        num_groups=num_groups,
        wall_s=usage.process_s,
        before_s=first[0] - first[1] - usage.started_s,
        after_s=usage.started_s + usage.process_s - max(ends),
        painted_s=sum(each.seconds or 0 for each in outcomes),
        own_cpu_s=usage.own_cpu_s,
        record_s=record_s,
    )


@contextmanager
def _server(home: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    """A Prefect server that listens, and the variable that names it."""
    from tests.servers import free_ports

    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
        env={**os.environ, **home},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + _SERVER_START_S
        while True:
            try:
                urlopen(f"{url}/health", timeout=5).close()
                break
            except (URLError, TimeoutError):
                if time.monotonic() > end or server.poll() is not None:
                    raise
                time.sleep(0.2)
        yield {"PREFECT_API_URL": url}
    finally:
        server.terminate()
        server.wait()


def make(folder: Path, num_rows: int) -> Path:
    """Write the manifest of so many rows, each content in each style, and its pictures."""
    folder.mkdir(parents=True)
    names: set[str] = set()
    lines = ["content,style,backbone,size,steps"]
    for number in range(num_rows):
        content, style = divmod(number, _NUM_STYLES)
        names |= {pair := f"content-{content}.png", other := f"style-{style}.png"}
        lines.append(f"{pair},{other},vgg16,{_SIZE_PX},2")
    for index, name in enumerate(sorted(names)):
        image = Image.linear_gradient("L").resize((_SIZE_PX, _SIZE_PX))
        channels = [image.rotate(index * turn) for turn in (3, 5, 7)]
        Image.merge("RGB", channels).save(folder / name)
    manifest = folder / "rows.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def cost(runs: Sequence[Run]) -> Cost:
    """What is once for a run, for a group and for a row, from the three runs of a mode.

    A row's share of the processor and of what comes after the last picture overlap, and both count.
    """
    few, cut, many = runs
    more_rows, more_groups = many.num_rows - few.num_rows, cut.num_groups - few.num_groups

    def edges(run: Run) -> float:
        return run.before_s + run.after_s

    row_edges = max(0.0, (edges(many) - edges(few)) / more_rows)
    row_cpu = max(0.0, (many.own_cpu_s - few.own_cpu_s) / more_rows)
    return Cost(
        run=max(0.0, edges(few) - few.num_rows * row_edges),
        group=max(0.0, (cut.between_s - few.between_s) / more_groups),
        row=row_edges + row_cpu + many.record_s,
    )


def share(overhead_s: float, work_s: float) -> float:
    """The part of a run's time that is not work."""
    return overhead_s / (overhead_s + work_s)


def minutes_needed(overhead_s: float) -> float:
    """The work from which on `share` is the target, or less."""
    return overhead_s * (1 - _TARGET) / _TARGET / 60


def to_markdown(found: Mapping[str, Sequence[Run]]) -> str:
    """The section: what was measured, what it costs by run, group and row, and what follows."""
    run_rows = [
        [
            *(f"`{run.mode}`", f"{run.num_rows:,}", run.num_groups, f"{run.wall_s:.1f}"),
            *(f"{run.before_s:.2f}", f"{run.painted_s:.2f}", f"{run.between_s:.2f}"),
            f"{run.after_s:.2f}",
            *(f"{run.own_cpu_s:.2f}", f"{1e3 * run.record_s:.2f}"),
        ]
        for runs in found.values()
        for run in runs
    ]
    costs = {mode: cost(runs) for mode, runs in found.items()}
    cost_rows = [
        [f"`{mode}`", f"{each.run:.2f}", f"{1e3 * each.group:.1f}", f"{1e3 * each.row:.2f}"]
        for mode, each in costs.items()
    ]
    real_rows = []
    for mode, each in costs.items():
        for rows in _REAL_ROWS:
            for groups in (1, -(-rows // _REAL_GROUP_ROWS)):
                overhead_s = each.of(rows=rows, groups=groups)
                shares = (f"{share(overhead_s, 60 * m):.1%}" for m in _REAL_MINUTES)
                needed = f"{minutes_needed(overhead_s):.1f} min"
                real_rows.append(
                    [f"`{mode}`", f"{rows:,}", groups, f"{overhead_s:.1f}", needed, *shares]
                )
    return f"""{where()}.
Runs of pictures of {_SIZE_PX} px and 2 steps, by `python -m bench.overhead`, each in processes of its own as a user starts it. Before: until
the first picture was painted; between: no picture was painted; after: from the last one's end on. CPU: of the process that plans. Record: what writing one takes.

{table(_RUN_HEADER, run_rows)}

What that comes to once for a run, for a group and for a row:

{table(["command", "a run s", "a group ms", "a row ms"], cost_rows)}

Not measured, but arithmetic on the above: the share of the overhead where the pictures of a run are so many minutes of work.
overhead = a run + groups x a group + rows x a row, share = overhead / (overhead + work).
One group, or as many as `--max-batch-pixels` makes of 512 x 384 px. Target: at most {_TARGET:.0%}.

{table(_REAL_HEADER, real_rows)}
"""


_RUN_HEADER = (
    *("command", "rows", "groups", "wall s", "before s", "painted s", "between s"),
    "after s",
    *("CPU s", "record ms"),
)
_REAL_HEADER = (
    *("command", "rows", "groups", "overhead s", f"{_TARGET:.0%} from"),
    *(f"{minutes} min" for minutes in _REAL_MINUTES),
)


if __name__ == "__main__":
    main()
