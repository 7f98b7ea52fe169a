"""What a run takes besides its pictures, in time and memory: `python -m bench.plan`.

For each number of rows a manifest is made, as Parquet and as CSV, and an output in which every other
row is done. Each is then read and planned in a process of its own by the functions that a run calls.
After the plan of the Parquet manifest comes what ends a run of which nothing else was made: metadata
and gallery; and then the records, all but one of them, are put together into one part. The
inputs are few and small, since reading them is not what is measured, and the backbone is the one whose
weights come along: those of others are looked at with PyTorch, which takes 0.7 GB by itself.

Then a manifest whose every row has a content of its own is planned in a bucket in which all of it is done,
as a nightly run finds it. The server is the SeaweedFS of the tests, on the loopback interface, behind a
proxy that counts; what both take is in the seconds of the clock and not in those of the processor.
"""

import argparse
import csv
import hashlib
import io
import itertools
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from bench.gallery import with_curves
from bench.process import measured
from bench.sections import in_place, table
from nst import gallery, pipeline, storage
from nst.output import records
from nst.output.metadata import LayerLoss, Outcome
from nst.planning.plan import Plan, PlannedJob
from nst.settings import RunSettings
from tests import servers
from tests.faults import FaultProxy
from tests.tables import outcomes_to_parquet

SECTION = "Planning"
SIZES = (10_000, 100_000, 1_000_000)
FORMATS = ("parquet", "csv")
ROWS_IN_BUCKET = 100_000

_MAX_SECONDS = 60
_MAX_MB = 1000
_MAX_SECONDS_IN_BUCKET = 30
_NUM_CONNECTIONS = 10
# Two seconds are what a file must be old to have a version, for file systems with a coarse clock.
_SETTLED_AFTER_S = 2.1
_NUM_STYLES = 40
_SETTINGS = tuple(itertools.product(("max", "avg"), (0.25, 0.5, 1.0, 2.0, 4.0)))
# A file system has a bound on the names that one file may have.
_NAMES_PER_FILE = 10_000
_RECORDS_PER_PART = 20_000
_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
_RESULTS = Path(__file__).parent / "RESULTS.md"
_ROOT = Path(__file__).parent.parent

_T = TypeVar("_T")
_log = logging.getLogger("bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step took, and the most that the process had resident up to its end, in 1e6 bytes."""

    name: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One manifest, read and planned, and what came after that, where anything did."""

    num_rows: int
    manifest: str
    num_done: int
    num_to_make: int
    num_groups: int
    steps: tuple[Step, ...]
    ending: tuple[Step, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    @property
    def cpu_seconds(self) -> float:
        return sum(step.cpu_seconds for step in self.steps)

    @property
    def peak_mb(self) -> float:
        return max(step.peak_mb for step in self.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class InBucket:
    """A manifest of which all is done, planned in a bucket; what was asked of the store for that.

    `num_of_inputs` are the requests for an input by itself, lists are none of them.
    """

    planned: Planned
    num_requests: int
    num_of_inputs: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.plan", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument("--format", choices=FORMATS, nargs="+", default=FORMATS)
    parser.add_argument(
        "--folder", type=Path, help="keep what is made here, and use it again; else it is removed"
    )
    parser.add_argument(
        "--markdown", action="store_true", help=f"write the table into {_RESULTS.name}"
    )
    parser.add_argument(
        "--in-bucket",
        type=int,
        nargs="*",
        default=[ROWS_IN_BUCKET],
        metavar="ROWS",
        help="rows of the manifests in a bucket; without a number none",
    )
    parser.add_argument("--one", nargs=2, metavar=("MANIFEST", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        json.dump(asdict(_planned(*arguments.one)), sys.stdout)
        sys.stdout.flush()
        # Taking a million objects apart one by one is no part of a run, which has them to its end.
        os._exit(0)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as temporary:
        folder = arguments.folder or Path(temporary)
        found = [
            measure(make(folder / str(num_rows), num_rows), manifest)
            for num_rows in arguments.rows
            for manifest in arguments.format
        ]
    with (
        tempfile.TemporaryDirectory(prefix="nst-bench-") as temporary,
        servers.seaweedfs(Path(temporary)) as server,
    ):
        in_bucket = [measure_in_bucket(num_rows, server) for num_rows in arguments.in_bucket]
    told = [*map(asdict, found), *map(asdict, in_bucket)]
    json.dump(told, sys.stderr, indent=1)
    text = to_markdown(found, in_bucket)
    sys.stdout.write(text)
    if arguments.markdown:
        _RESULTS.write_text(in_place(_RESULTS.read_text(), SECTION, text))


def to_markdown(found: Sequence[Planned], in_bucket: Sequence[InBucket] = ()) -> str:
    """The section, with the target, for each manifest what its steps took, and what came after."""
    largest = [each for each in found if each.num_rows == max(f.num_rows for f in found)]
    seconds, peak_mb = (max(map(get, largest)) for get in (_seconds, _peak_mb))
    is_met = seconds <= _MAX_SECONDS and peak_mb <= _MAX_MB
    met = "met" if is_met and largest[0].num_rows >= SIZES[-1] else "not met"
    # With PyTorch, which the process that is measured must not have loaded.
    from bench.machine import commit, processor

    where = f"{processor()}, {os.cpu_count()} cores; {datetime.now(UTC).date()}, commit {commit()}"
    return f"""{where}.
A manifest is read, checked, matched against what is done, which is every other row, and planned, by `python -m bench.plan`
in a process of its own. Seconds of the clock, and of the processor; the most memory that it had resident up to the end of a step, 1e6 bytes.
Target: {SIZES[-1]:,} rows in at most {_MAX_SECONDS} s and {_MAX_MB} MB; {met} with {largest[0].num_rows:,} rows in {seconds:.1f} s and {peak_mb:.0f} MB.

{table(_HEADER, [_row(each) for each in found])}
{_ending(found)}{_in_bucket(in_bucket)}"""


_HEADER = [
    *("rows", "manifest", "read s", "CPU s", "MB", "plan s", "CPU s", "MB"),
    *("together s", "CPU s", "CPU us a row"),
]


_ENDING_HEADER = [
    *("rows", "finish s", "CPU s", "MB", "CPU us a row"),
    *("compact s", "CPU s", "MB", "CPU us a record"),
]


def _ending(found: Sequence[Planned]) -> str:
    rows = [_ending_row(each) for each in found if each.ending]
    if not rows:
        return ""
    return f"""
What comes after the plan, in the same process, which has the plan to its end: `finish` writes the metadata and the gallery, and
`compact` puts the records together into one part. The other half of the rows counts as failed, since nothing is painted.

{table(_ENDING_HEADER, rows)}
"""


def _in_bucket(found: Sequence[InBucket]) -> str:
    if not found:
        return ""
    largest = max(found, key=lambda each: each.planned.num_rows)
    seconds, num_rows = largest.planned.seconds, largest.planned.num_rows
    is_met = seconds <= _MAX_SECONDS_IN_BUCKET and not largest.num_of_inputs
    met = "met" if is_met and num_rows >= ROWS_IN_BUCKET else "not met"
    return f"""
In a bucket, where every row has a content of its own and all are done, as a nightly run finds them: SeaweedFS on the same machine.
Target: {ROWS_IN_BUCKET:,} rows in at most {_MAX_SECONDS_IN_BUCKET} s, and no request for an input by itself; {met} with {num_rows:,} rows in {seconds:.1f} s.

{table(_BUCKET_HEADER, [_bucket_row(each) for each in found])}
"""


_BUCKET_HEADER = [
    *("rows in a bucket", "read s", "CPU s", "MB", "plan s", "CPU s", "MB"),
    *("together s", "requests", "for an input"),
]


def _bucket_row(one: InBucket) -> list[str]:
    steps = [cell for step in one.planned.steps for cell in _cells(step)]
    requests = (f"{one.num_requests:,}", f"{one.num_of_inputs:,}")
    return [f"{one.planned.num_rows:,}", *steps, f"{one.planned.seconds:.2f}", *requests]


def _ending_row(one: Planned) -> list[str]:
    finish, compact = one.ending
    return [
        f"{one.num_rows:,}",
        *_cells(finish),
        f"{finish.cpu_seconds / one.num_rows * 1e6:.1f}",
        *_cells(compact),
        f"{compact.cpu_seconds / max(one.num_done, 1) * 1e6:.1f}",
    ]


def _cells(step: Step) -> tuple[str, str, str]:
    return f"{step.seconds:.2f}", f"{step.cpu_seconds:.2f}", f"{step.peak_mb:.0f}"


def _row(one: Planned) -> list[str]:
    steps = [cell for step in one.steps for cell in _cells(step)]
    return [
        f"{one.num_rows:,}",
        one.manifest,
        *steps,
        f"{one.seconds:.2f}",
        f"{one.cpu_seconds:.2f}",
        f"{one.cpu_seconds / one.num_rows * 1e6:.1f}",
    ]


def _seconds(one: Planned) -> float:
    return one.seconds


def _peak_mb(one: Planned) -> float:
    return one.peak_mb


def measure(folder: Path, suffix: str) -> Planned:
    """What the manifest of this suffix took, in a process of its own."""
    manifest, output = folder / f"in/rows.{suffix}", folder / "out"
    command = [sys.executable, "-m", "bench.plan", "--one", str(manifest), str(output)]
    found = json.loads(measured(command, cwd=_ROOT).lines[-1].text)
    steps = {name: tuple(Step(**step) for step in found[name]) for name in ("steps", "ending")}
    one = Planned(**found | steps)
    for step in (*one.steps, *one.ending):
        _log.info(
            "%s rows of %s, %s: %.1f s, %.1f CPU s, %.0f MB",
            *(one.num_rows, suffix, step.name, step.seconds, step.cpu_seconds, step.peak_mb),
        )
    return one


def measure_in_bucket(num_rows: int, server: str) -> InBucket:
    """What a manifest in a bucket took of which all is done, and what it asked of the server."""
    bucket = f"bench-{num_rows}"
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as temporary, FaultProxy(server) as proxy:
        _log.info("making %d rows in a bucket", num_rows)
        manifest = Path(temporary) / "rows.parquet"
        with mock.patch.dict(os.environ, servers.environment(server)):
            _fill_bucket(servers.client(server), bucket, manifest, num_rows)
        command = [sys.executable, "-m", "bench.plan", "--one", str(manifest), f"s3://{bucket}/out"]
        lines = measured(command, cwd=_ROOT, environment=servers.environment(proxy.url)).lines
        found = json.loads(lines[-1].text)
        of_inputs = [n for (_, path), n in proxy.counts.items() if f"/{bucket}/in/" in path]
        one = InBucket(
            planned=Planned(**found | {"steps": tuple(Step(**each) for each in found["steps"])}),
            num_requests=proxy.num_requests,
            num_of_inputs=sum(of_inputs),
        )
    _log.info(
        "%d rows in a bucket, %d done: %.1f s, %.1f CPU s, %d requests, %d of them for an input",
        *(one.planned.num_rows, one.planned.num_done, one.planned.seconds),
        *(one.planned.cpu_seconds, one.num_requests, one.num_of_inputs),
    )
    return one


def _fill_bucket(client: Any, bucket: str, manifest: Path, num_rows: int) -> None:
    """A bucket of so many contents, with an output that has a picture of each, and the manifest."""
    client.create_bucket(Bucket=bucket)
    rows = [
        {
            "content": f"s3://{bucket}/in/contents/summer-palace-{number:07}.png",
            "style": f"s3://{bucket}/in/styles/great_wave_{number % _NUM_STYLES:02}.png",
            "backbone": "vgg16",
        }
        for number in range(num_rows)
    ]
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    names = sorted({row[column] for row in rows for column in ("content", "style")})
    _put_pictures(client, bucket, [name.removeprefix(f"s3://{bucket}/") for name in names])
    settings = RunSettings(output=f"s3://{bucket}/out")
    plan = pipeline.make_plan(str(manifest), settings, download=False, resume=False)
    planned = [one for group in plan.groups for one in group.jobs]
    paths = [f"images/{one.job.id}.png" for one in planned]
    made = _put_pictures(client, bucket, [f"out/{path}" for path in paths])
    blank = _outcome_of(b"")
    outcomes = [
        replace(
            blank,
            id=one.job.id,
            inputs_key=one.inputs_key,
            picture=path,
            picture_bytes=size,
            picture_version=version,
        )
        for one, path, (size, version) in zip(planned, paths, made, strict=True)
    ]
    for number, batch in enumerate(_batches(outcomes, _RECORDS_PER_PART), start=1):
        uri = f"{settings.output}/{records.FOLDER}/part-{number:06}.parquet"
        storage.write_bytes(uri, outcomes_to_parquet(batch))


def _put_pictures(client: Any, bucket: str, keys: Sequence[str]) -> list[tuple[int, str]]:
    """Put a picture of another colour under each key; the bytes and the ETags of all of them."""

    def put(number: int) -> tuple[int, str]:
        sink = io.BytesIO()
        colour = (number % 256, number // 256 % 256, number // 65536)
        Image.new("RGB", (64, 48), colour).save(sink, "PNG")
        answer = client.put_object(Bucket=bucket, Key=keys[number], Body=sink.getvalue())
        return len(sink.getvalue()), answer["ETag"].strip('"')

    with ThreadPoolExecutor(_NUM_CONNECTIONS) as pool:
        return list(pool.map(put, range(len(keys))))


def _planned(manifest: str, output: str) -> Planned:
    """Read and plan a manifest in this process, as a run does it, and end one of Parquet."""
    settings = RunSettings(output=output)
    rows, reading = _step("read", lambda: pipeline.read_manifest(manifest, settings))
    plan, planning = _step("plan", lambda: pipeline.plan_rows(rows, settings, download=False))
    suffix = manifest.rpartition(".")[2]
    return Planned(
        num_rows=len(plan.jobs),
        manifest=suffix,
        num_done=len(plan.done),
        num_to_make=plan.num_pictures_to_make,
        num_groups=len(plan.groups),
        steps=(reading, planning),
        ending=_ended(plan, settings) if suffix == FORMATS[0] and "://" not in output else (),
    )


def _ended(plan: Plan, settings: RunSettings) -> tuple[Step, ...]:
    output = Path(settings.output)
    # A gallery of an earlier time would not be written again.
    for name in gallery.FOLDERS:
        shutil.rmtree(output / name, ignore_errors=True)
    report, finishing = _step("finish", lambda: pipeline.finish(plan, settings))
    assert report.num_ok == len(plan.done)
    # Elsewhere, so that the output stays as it is.
    other = output.with_name("compacted")
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(output / records.FOLDER, other / records.FOLDER, copy_function=os.link)
    _, compacting = _step("compact", lambda: _compact(str(other), plan.done[:1]))
    return finishing, compacting


def _compact(output: str, forgotten: Sequence[str]) -> None:
    records.forget(output, records.read(output), forgotten)


def _step(name: str, work: Callable[[], _T]) -> tuple[_T, Step]:
    started, cpu_started = time.perf_counter(), time.process_time()
    result = work()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
    return result, Step(name=name, seconds=seconds, cpu_seconds=cpu_seconds, peak_mb=peak / 1e6)


def make(folder: Path, num_rows: int) -> Path:
    """Write the manifests of so many rows, their inputs, and an output that has every other row."""
    is_made = folder / "is_made"
    if is_made.exists():
        return folder
    _log.info("making %d rows in %s", num_rows, folder)
    rows = _rows(num_rows)
    inputs = folder / "in"
    inputs.mkdir(parents=True)
    names = {row[column] for row in rows for column in ("content", "style")}
    for index, name in enumerate(sorted(names)):
        path = inputs / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), (index % 256, index // 256, 0)).save(path)
    pq.write_table(pa.Table.from_pylist(rows), inputs / "rows.parquet")
    with open(inputs / "rows.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    del rows
    settings = RunSettings(output=str(folder / "out"))
    time.sleep(_SETTLED_AFTER_S)
    plan = pipeline.make_plan(str(inputs / "rows.parquet"), settings, download=False, resume=False)
    _write_output(folder, plan)
    is_made.touch()
    return folder


def _rows(num_rows: int) -> list[dict[str, Any]]:
    """Each content in each style with each of the settings, and a label that says of which series."""
    num_contents = -(-num_rows // (_NUM_STYLES * len(_SETTINGS)))
    combinations = itertools.product(range(num_contents), range(_NUM_STYLES), _SETTINGS)
    return [
        {
            "content": f"contents/summer-palace-{content:05}.png",
            "style": f"styles/great_wave_{style:02}.png",
            "backbone": "vgg16",
            "pooling": pooling,
            "style_weight": weight,
            "size": 512,
            "label_series": "ab"[content % 2],
        }
        for content, style, (pooling, weight) in itertools.islice(combinations, num_rows)
    ]


def _write_output(folder: Path, plan: Plan) -> None:
    """The pictures, each a name of one of a few files, and the records of every other job."""
    output = folder / "out"
    for name in ("images", "records"):
        (output / name).mkdir(parents=True)
    done = [one for group in plan.groups for one in group.jobs][::2]
    for number, batch in enumerate(_batches(done, _RECORDS_PER_PART), start=1):
        outcomes = list(_outcomes(folder, batch, number))
        data = outcomes_to_parquet(outcomes)
        records = with_curves(pq.read_table(pa.BufferReader(data)), seed=number)
        path = output / f"records/part-{number:06}.parquet"
        pq.write_table(records, path, compression="zstd", row_group_size=1000)


def _outcomes(folder: Path, batch: Sequence[PlannedJob], number: int) -> Iterator[Outcome]:
    for index, planned in enumerate(batch):
        original = folder / f"picture-{number}-{index // _NAMES_PER_FILE}.png"
        if index % _NAMES_PER_FILE == 0:
            Image.new("RGB", (32, 24), (number % 256, index % 251, 7)).save(original)
            version = str(original.stat().st_mtime_ns)
            blank = replace(_outcome_of(original.read_bytes()), picture_version=version)
        path = f"images/{planned.job.id}.png"
        os.link(original, folder / "out" / path)
        yield replace(
            blank,
            id=planned.job.id,
            key=planned.key,
            inputs_key=planned.inputs_key,
            picture=path,
        )


def _outcome_of(data: bytes) -> Outcome:
    digest = hashlib.sha256(data).hexdigest()
    return Outcome(
        id="",
        status="ok",
        picture_digest=digest,
        picture_bytes=len(data),
        thumbnail=f"thumbs/{digest[:2]}/{digest[:16]}",
        color="#c0ffee",
        height=384,
        width=512,
        content_digest=digest,
        style_digest=digest,
        weights_digest=digest,
        weights_origin="embedded",
        nst_version="0.1.0",
        torch_version="2.10.0",
        device="cuda:0",
        precision="float32",
        seconds=0.4,
        finished_at=datetime(2026, 1, 2, tzinfo=UTC),
        evaluations=50,
        style_layer_losses=tuple(LayerLoss(layer=layer, loss=0.1) for layer in _STYLE_LAYERS),
    )


def _batches(items: Sequence[_T], length: int) -> Iterable[Sequence[_T]]:
    return (items[start : start + length] for start in range(0, len(items), length))


if __name__ == "__main__":
    main()
