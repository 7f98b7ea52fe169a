"""What a run takes besides its pictures, in time and memory: `python -m bench.plan`.

For each number of rows a manifest is made, as Parquet and as CSV, and an output in which every other
row is done. Each is then read and planned in a process of its own by the functions that a run calls.
After the plan of the Parquet manifest comes what ends a run of which nothing else was made: metadata
and gallery; and then the records, all but one of them, are put together into one part. The
inputs are few and small, since reading them is not what is measured, and the backbone is VGG-16,
whose weights come along: files of weights are looked at with PyTorch, which takes 0.7 GB by itself.

Then a manifest whose every row has a content of its own is planned in a bucket in which all of it is done,
as a nightly run finds it. The server is the SeaweedFS of the tests, on the loopback interface, behind a
proxy that counts; what both take is in the seconds of the clock and not in those of the processor.
"""

import argparse
import hashlib
import io
import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from PIL import Image

from bench.made_up import link, outcome, with_curves
from bench.measuring import add_markdown_option, measured, peak_mb, python, table, tell, where
from nst import gallery, pipeline, storage
from nst.output import Outcome, records
from nst.planning import Plan, PlannedJob
from nst.settings import RunSettings
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

_T = TypeVar("_T")
# What a process told of one manifest; `steps` have seconds, processor's seconds, peak MB by name.
Found = Mapping[str, Any]
_log = logging.getLogger("bench")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.plan", description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--folder", type=Path, help="keep what is made here, and use it again; else it is removed"
    )
    parser.add_argument(
        "--in-bucket", type=int, default=ROWS_IN_BUCKET, metavar="ROWS", help="0 for no bucket"
    )
    parser.add_argument("--one", nargs=2, metavar=("MANIFEST", "OUTPUT"), help=argparse.SUPPRESS)
    add_markdown_option(parser)
    arguments = parser.parse_args()
    if arguments.one:
        sys.stdout.write(json.dumps(_planned(*arguments.one)))
        sys.stdout.flush()
        # Taking a million objects apart one by one is no part of a run, which has them to its end.
        os._exit(0)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as temporary:
        folder = arguments.folder or Path(temporary)
        found = [
            measure(make(folder / str(num_rows), num_rows), suffix)
            for num_rows in arguments.rows
            for suffix in FORMATS
        ]
    in_bucket = None
    if arguments.in_bucket:
        from tests import servers

        with (
            tempfile.TemporaryDirectory(prefix="nst-bench-") as temporary,
            servers.seaweedfs(Path(temporary)) as server,
        ):
            in_bucket = measure_in_bucket(arguments.in_bucket, server)
    tell(to_markdown(found, in_bucket), arguments.markdown, SECTION)


def to_markdown(found: Sequence[Found], in_bucket: Found | None = None) -> str:
    """The section, with the target, for each manifest what its steps took, and what came after."""
    num_rows = max(each["num_rows"] for each in found)
    largest = [each for each in found if each["num_rows"] == num_rows]
    seconds = max(_planning(each, 0) for each in largest)
    peak = max(each["steps"]["plan"][2] for each in largest)
    is_met = seconds <= _MAX_SECONDS and peak <= _MAX_MB and num_rows >= SIZES[-1]
    planned = [
        [
            *(
                f"{each['num_rows']:,}",
                each["suffix"],
                *_cells(each, "read"),
                *_cells(each, "plan"),
            ),
            *(f"{_planning(each, 0):.2f}", f"{_planning(each, 1):.2f}"),
            f"{_planning(each, 1) / each['num_rows'] * 1e6:.1f}",
        ]
        for each in found
    ]
    ended = [
        [
            f"{each['num_rows']:,}",
            *_cells(each, "finish"),
            f"{each['steps']['finish'][1] / each['num_rows'] * 1e6:.1f}",
            *_cells(each, "compact"),
            f"{each['steps']['compact'][1] / each['num_done'] * 1e6:.1f}",
        ]
        for each in found
        if "finish" in each["steps"]
    ]
    return f"""{where()}.
A manifest is read, checked, matched against what is done, which is every other row, and planned, by `python -m bench.plan`
in a process of its own. Seconds of the clock, and of the processor; the most memory that it had resident up to the end of a step, 1e6 bytes.
Target: {SIZES[-1]:,} rows in at most {_MAX_SECONDS} s and {_MAX_MB} MB; {"met" if is_met else "not met"} with {num_rows:,} rows in {seconds:.1f} s and {peak:.0f} MB.

{table(_HEADER, planned)}

What comes after the plan, in the same process, which has the plan to its end: `finish` writes the metadata and the gallery, and
`compact` puts the records together into one part. The other half of the rows counts as failed, since nothing is painted.

{table(_ENDING_HEADER, ended)}
{_told(in_bucket) if in_bucket else ""}"""


_HEADER = (
    *("rows", "manifest", "read s", "CPU s", "MB", "plan s", "CPU s", "MB"),
    *("together s", "CPU s", "CPU us a row"),
)
_ENDING_HEADER = (
    *("rows", "finish s", "CPU s", "MB", "CPU us a row"),
    *("compact s", "CPU s", "MB", "CPU us a record"),
)
_BUCKET_HEADER = (
    *("rows in a bucket", "read s", "CPU s", "MB", "plan s", "CPU s", "MB"),
    *("together s", "requests", "for an input"),
)


def _told(found: Found) -> str:
    num_rows, seconds = found["num_rows"], _planning(found, 0)
    is_met = seconds <= _MAX_SECONDS_IN_BUCKET and not found["num_of_inputs"]
    met = "met" if is_met and num_rows >= ROWS_IN_BUCKET else "not met"
    row = [
        *(f"{num_rows:,}", *_cells(found, "read"), *_cells(found, "plan"), f"{seconds:.2f}"),
        *(f"{found['num_requests']:,}", f"{found['num_of_inputs']:,}"),
    ]
    return f"""
In a bucket, where every row has a content of its own and all are done, as a nightly run finds them: SeaweedFS on the same machine.
Target: {ROWS_IN_BUCKET:,} rows in at most {_MAX_SECONDS_IN_BUCKET} s, and no request for an input by itself; {met} with {num_rows:,} rows in {seconds:.1f} s.

{table(_BUCKET_HEADER, [row])}
"""


def _planning(found: Found, which: int) -> float:
    """Seconds of the clock (0) or of the processor (1) to read and to plan."""
    return float(found["steps"]["read"][which] + found["steps"]["plan"][which])


def _cells(found: Found, step: str) -> tuple[str, str, str]:
    seconds, cpu_seconds, peak = found["steps"][step]
    return f"{seconds:.2f}", f"{cpu_seconds:.2f}", f"{peak:.0f}"


def measure(folder: Path, suffix: str) -> Found:
    """What the manifest of this suffix took, in a process of its own."""
    usage = measured(python("bench.plan", "--one", folder / f"in/rows.{suffix}", folder / "out"))
    found: Found = json.loads(usage.lines[-1][1])
    _log.info("%s rows of %s: %s", found["num_rows"], suffix, found["steps"])
    return found


def measure_in_bucket(num_rows: int, server: str) -> Found:
    """What a manifest in a bucket took of which all is done, and what it asked of the server.

    `num_of_inputs` are the requests for an input by itself; lists are none of them.
    """
    from tests import servers
    from tests.faults import FaultProxy

    bucket = f"bench-{num_rows}"
    with tempfile.TemporaryDirectory(prefix="nst-bench-") as temporary, FaultProxy(server) as proxy:
        _log.info("making %d rows in a bucket", num_rows)
        manifest = Path(temporary) / "rows.parquet"
        with mock.patch.dict(os.environ, servers.environment(server)):
            _fill_bucket(servers.client(server), bucket, manifest, num_rows)
        usage = measured(
            python("bench.plan", "--one", manifest, f"s3://{bucket}/out"),
            environment=servers.environment(proxy.url),
        )
        of_inputs = [n for (_, path), n in proxy.counts.items() if f"/{bucket}/in/" in path]
        found: Found = json.loads(usage.lines[-1][1])
        return {
            **found,
            "num_requests": proxy.num_requests,
            "num_of_inputs": sum(of_inputs),
        }


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
    jobs = _jobs(plan)
    made = _put_pictures(client, bucket, [f"out/images/{one.job.id}.png" for one in jobs])
    for number, batch in _parts(list(zip(jobs, made, strict=True))):
        found = [
            _outcome(one, index, picture_bytes=size, picture_version=version)
            for index, (one, (size, version)) in enumerate(batch)
        ]
        uri = f"{settings.output}/{records.FOLDER}/part-{number:06}.parquet"
        storage.write_bytes(uri, outcomes_to_parquet(found))


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


def _planned(manifest: str, output: str) -> Found:
    """Read and plan a manifest in this process, as a run does it, and end one of Parquet."""
    settings = RunSettings(output=output)
    steps: dict[str, tuple[float, float, float]] = {}

    def step(name: str, work: Callable[[], _T]) -> _T:
        started, cpu_started = time.perf_counter(), time.process_time()
        result = work()
        seconds = time.perf_counter() - started
        steps[name] = (seconds, time.process_time() - cpu_started, peak_mb())
        return result

    rows = step("read", lambda: pipeline.read_manifest(manifest, settings))
    plan = step("plan", lambda: pipeline.plan_rows(rows, settings, download=False))
    suffix = manifest.rpartition(".")[2]
    if suffix == FORMATS[0] and "://" not in output:
        # A gallery of an earlier time would not be written again.
        for name in gallery.FOLDERS:
            shutil.rmtree(Path(output) / name, ignore_errors=True)
        report = step("finish", lambda: pipeline.finish(plan, settings))
        assert report.num_ok == len(plan.done)
        # Elsewhere, so that the output stays as it is.
        other = Path(output).with_name("compacted")
        shutil.rmtree(other, ignore_errors=True)
        folder = records.FOLDER
        shutil.copytree(Path(output) / folder, other / folder, copy_function=os.link)
        forgotten = plan.done[:1]
        step("compact", lambda: records.forget(str(other), records.read(str(other)), forgotten))
    return {
        "num_rows": len(plan.jobs),
        "suffix": suffix,
        "num_done": len(plan.done),
        "num_to_make": plan.num_pictures_to_make,
        "steps": steps,
    }


def make(folder: Path, num_rows: int) -> Path:
    """Write the manifests of so many rows, their inputs, and an output that has every other row."""
    is_made = folder / "is_made"
    if is_made.exists():
        return folder
    _log.info("making %d rows in %s", num_rows, folder)
    rows = pa.Table.from_pylist(_rows(num_rows))
    inputs = folder / "in"
    names = {name for column in ("content", "style") for name in rows[column].to_pylist()}
    for index, name in enumerate(sorted(names)):
        path = inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (index % 256, index // 256, 0)).save(path)
    pq.write_table(rows, inputs / "rows.parquet")
    pyarrow.csv.write_csv(rows, inputs / "rows.csv")
    del rows
    settings = RunSettings(output=str(folder / "out"))
    time.sleep(_SETTLED_AFTER_S)
    plan = pipeline.make_plan(str(inputs / "rows.parquet"), settings, download=False, resume=False)
    for number, batch in _parts(_jobs(plan)[::2]):
        found = list(_pictures(folder, batch, number))
        data = pa.BufferReader(outcomes_to_parquet(found))
        path = folder / f"out/{records.FOLDER}/part-{number:06}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = with_curves(pq.read_table(data), seed=number)
        pq.write_table(part, path, compression="zstd", row_group_size=1000)
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


def _pictures(folder: Path, batch: Sequence[PlannedJob], number: int) -> Iterable[Outcome]:
    """Each picture a name of one of a few files, and its outcome."""
    for index, planned in enumerate(batch):
        if index % _NAMES_PER_FILE == 0:
            original = folder / f"picture-{number}-{index}.png"
            Image.new("RGB", (32, 24), (number % 256, index % 251, 7)).save(original)
            data, version = original.read_bytes(), str(original.stat().st_mtime_ns)
            of_file = {
                "picture_digest": hashlib.sha256(data).hexdigest(),
                "picture_bytes": len(data),
            }
        made = _outcome(planned, index, picture_version=version, **of_file)
        link(original, folder / "out" / str(made.picture))
        yield made


def _outcome(planned: PlannedJob, number: int, **values: Any) -> Outcome:
    return outcome(
        number,
        id=planned.job.id,
        key=planned.key,
        inputs_key=planned.inputs_key,
        picture=f"images/{planned.job.id}.png",
        **values,
    )


def _jobs(plan: Plan) -> list[PlannedJob]:
    return [one for group in plan.groups for one in group.jobs]


def _parts(items: Sequence[_T]) -> Iterable[tuple[int, Sequence[_T]]]:
    """As many as a part of the records has at a time, with the number of the part."""
    starts = range(0, len(items), _RECORDS_PER_PART)
    return ((n, items[at : at + _RECORDS_PER_PART]) for n, at in enumerate(starts, start=1))


if __name__ == "__main__":
    main()
