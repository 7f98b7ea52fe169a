"""Runs on a real S3 server, SeaweedFS, through a proxy with faults, as patient as in earnest."""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest

from nst import audit, pipeline, storage
from nst.errors import StorageError
from nst.iterables import in_parallel
from nst.output import metadata
from nst.running.reports import RunReport
from nst.settings import RunSettings
from nst.storage import s3
from tests import servers
from tests.faults import CutUpload, Fault, FaultProxy, Reset, Status, first, forever, share
from tests.helpers import csv_bytes, row, write_project

NUM_ROWS = 60
BUSY = Status(503, "SlowDown")
SICK = Status(500, "InternalError")
FAULTS: Sequence[Fault] = (BUSY, SICK, Reset("before"), Reset("after"), Reset("inside"))

Report = Callable[[str], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers.seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as url:
        yield url


@pytest.fixture
def proxy(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with FaultProxy(server) as proxy:
        for name, value in servers.environment(proxy.url).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture
def bucket(server: str) -> str:
    name = f"long-{secrets.token_hex(6)}"
    servers.copy_up(server, name, {})
    return f"s3://{name}"


@pytest.fixture
def report(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Report:
    """Say a figure that no test judges."""

    def say(text: str) -> None:
        with capsys.disabled():
            request.config.get_terminal_writer().line(f"\n{request.node.name}: {text}")

    return say


def put_project(folder: Path, server: str, bucket: str) -> str:
    pairs = product("abs", "abs", range(7))
    rows = [
        row(f"{content}.png", f"{style}.png", id=f"{content}-{style}-{seed}", seed=seed)
        | {"size": 48, "steps": 1}
        for content, style, seed in pairs
    ][:NUM_ROWS]
    write_project(folder, [])
    client = servers.client(server)
    name = s3.split(bucket)[0]
    for path in folder.glob("*.png"):
        client.put_object(Bucket=name, Key=f"in/{path.name}", Body=path.read_bytes())
    client.put_object(Bucket=name, Key="in/manifest.csv", Body=csv_bytes(rows))
    return f"{bucket}/in/manifest.csv"


def run(manifest: str, output: str) -> tuple[RunReport, float]:
    started = time.monotonic()
    done = pipeline.run_manifest(manifest, RunSettings(output=output, isolate=False))
    return done, time.monotonic() - started


def test_a_run_absorbs_faults_of_one_request_in_twenty(
    tmp_path: Path, server: str, bucket: str, proxy: FaultProxy, report: Report
) -> None:
    manifest = put_project(tmp_path, server, bucket)
    clean, clean_s = run(manifest, f"{bucket}/clean")
    assert clean.num_ok == NUM_ROWS
    assert {proxy.num_of("PUT", f"/clean/images/{r}.png") for r in ids(f"{bucket}/clean")} == {1}
    proxy.reset()
    proxy.rules.append(share(0.05, FAULTS, seed=1))
    done, faulty_s = run(manifest, f"{bucket}/faulty")
    num_faults, num_requests = proxy.faulted.total(), proxy.num_requests
    writes = {
        path: (number, proxy.faulted["PUT", path])
        for (method, path), number in proxy.counts.items()
        if method == "PUT" and "/faulty/images/" in path
    }
    proxy.reset()
    report(
        f"{faulty_s / clean_s:.2f} times as long as without faults ({faulty_s:.0f} s and "
        f"{clean_s:.0f} s), {num_faults} faults in {num_requests} requests"
    )
    assert (done.num_ok, done.failed) == (NUM_ROWS, ())
    assert num_faults > 20
    assert len(writes) == NUM_ROWS
    assert all(number <= 1 + faulted for number, faulted in writes.values())
    for output in ("clean", "faulty"):
        found = audit.verify(f"{bucket}/{output}")
        assert (found.num_good, found.findings) == (NUM_ROWS, ())


def ids(output: str) -> list[str]:
    data = storage.read_bytes(f"{output}/metadata.parquet")
    return [record.outcome.id for record in metadata.metadata_from_parquet(data)]


@pytest.mark.parametrize("where", ["", "/out/", "/out/images/"])
def test_a_store_that_stays_out_of_order_ends_a_run_soon(
    where: str, tmp_path: Path, server: str, bucket: str, proxy: FaultProxy, report: Report
) -> None:
    manifest = put_project(tmp_path, server, bucket)
    proxy.rules.append(forever(BUSY, key=where.removeprefix("/")))
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"503|SlowDown") as caught:
        run(manifest, f"{bucket}/out")
    report(f"ended after {time.monotonic() - started:.0f} s")
    assert caught.value.ends_the_run
    faulted = [number for (_, path), number in proxy.faulted.items() if number]
    assert max(faulted) <= 15


def test_a_damaged_upload_is_refused_by_its_digest_and_made_again(
    bucket: str, proxy: FaultProxy
) -> None:
    proxy.rules.append(first(1, CutUpload(10), "PUT"))
    storage.write_bytes(f"{bucket}/a.bin", b"x" * 1000)
    assert storage.read_bytes(f"{bucket}/a.bin") == b"x" * 1000
    assert proxy.num_of("PUT") == 2


def test_a_wrong_secret_is_told_from_a_refused_object(
    bucket: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes(f"{bucket}/a.bin", b"x")
    for name, value, code in (
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "SignatureDoesNotMatch"),
        ("AWS_ACCESS_KEY_ID", "nobody-known", "InvalidAccessKeyId"),
    ):
        monkeypatch.setenv(name, value)
        for call in (
            lambda: storage.read_bytes(f"{bucket}/a.bin"),
            lambda: storage.check_writable(bucket),
        ):
            with pytest.raises(StorageError, match=code) as caught:
                call()
            assert caught.value.ends_the_run
            assert value not in str(caught.value)


def test_lists_are_whole_and_keys_as_they_stand(bucket: str, proxy: FaultProxy) -> None:
    names = [f"deep/{number // 500}/{number:04} é+%&?#.bin" for number in range(1100)]
    in_parallel(lambda name: storage.write_bytes(f"{bucket}/many/{name}", b"x"), names)
    proxy.rules.append(share(0.05, FAULTS, seed=2))
    assert storage.list_tree(f"{bucket}/many") == dict.fromkeys(names, 1)
    in_parallel(storage.delete, [f"{bucket}/many/{name}" for name in names])
    assert storage.list_tree(f"{bucket}/many") == {}


def test_a_large_object_comes_back_whole(bucket: str, proxy: FaultProxy) -> None:
    data = secrets.token_bytes(1 << 20) * 64
    storage.write_bytes(f"{bucket}/large.bin", data)
    assert storage.read_bytes(f"{bucket}/large.bin") == data
    assert proxy.num_of("PUT") == 1


def test_a_missing_bucket_is_not_made_by_the_way(proxy: FaultProxy) -> None:
    with pytest.raises(StorageError, match="NoSuchBucket"):
        storage.check_writable("s3://no-such-bucket/out")
