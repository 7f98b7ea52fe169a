"""Stores that fail (69 to 85): runs on moto, from a bucket and into it, through a proxy with faults."""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nst import storage
from nst.output import metadata
from tests import servers
from tests.buckets import bucket_behind, hurry
from tests.catalogue import Bench, Case, Letter, Seen, bad, good
from tests.faults import (
    HTML,
    Ask,
    Cut,
    CutUpload,
    Delay,
    Fault,
    FaultProxy,
    Flip,
    Request,
    Reset,
    Rule,
    Say,
    Status,
    burst,
    first,
    forever,
    lists,
)
from tests.helpers import csv_bytes, write_project

BUSY = Status(503, "SlowDown")
SICK = Status(500, "InternalError")
DENIED = Status(403, "AccessDenied")
EXPIRED = Status(400, "ExpiredToken")
NO_BUCKET = Status(404, "NoSuchBucket")
MOVED = Status(301, "PermanentRedirect")
ROWS = [good(), bad(content="b.png", seed=1)]


@dataclass(frozen=True, slots=True)
class Shop:
    """A bucket with a project below `in`, a run of which writes to `out`, and the proxy before it."""

    bench: Bench
    proxy: FaultProxy
    bucket: str

    @property
    def output(self) -> str:
        return f"s3://{self.bucket}/out"

    def run(self) -> Seen:
        """`nst run`, and what it left, whatever the store does by then."""
        manifest = f"s3://{self.bucket}/in/manifest.csv"
        done = self.bench.nst("run", manifest, "--output", self.output, "--no-isolate")
        found = self.stored().get("out/metadata.parquet")
        records = metadata.metadata_from_parquet(found) if found else []
        return Seen(done.exit_status, done.printed, records)

    def stored(self) -> dict[str, bytes]:
        """All objects, as the server has them."""
        client = servers.client(servers.moto_url())
        listed = client.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {
            each["Key"]: client.get_object(Bucket=self.bucket, Key=each["Key"])["Body"].read()
            for each in listed
        }

    def overwrite(self, key: str, data: bytes) -> None:
        client = servers.client(servers.moto_url())
        client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def num_pictures_written(self) -> int:
        return self.proxy.num_of("PUT", "/out/images/")


def on_s3(
    observe: Callable[[Shop], Letter], rows: Sequence[dict[str, object]] = ROWS
) -> Callable[[Bench], Letter]:
    """A case on a bucket of its own."""

    def with_shop(bench: Bench) -> Letter:
        write_project(bench.inputs, [])
        files = {f"in/{path.name}": path.read_bytes() for path in bench.inputs.iterdir()}
        files["in/manifest.csv"] = csv_bytes(rows)
        hurry(bench.monkeypatch)
        with FaultProxy(servers.moto_url()) as proxy:
            return observe(Shop(bench, proxy, bucket_behind(proxy, files, bench.monkeypatch)))

    return with_shop


def after_a_picture(fault: Fault) -> Rule:
    """`fault` for everything once a picture and its record are sent."""
    sent: list[Request] = []

    def rule(request: Request) -> Fault | None:
        if not sent and request.method == "PUT" and "out/records/" in request.key:
            sent.append(request)
            return None
        return fault if sent else None

    return rule


def with_faults(*rules: Rule) -> Callable[[Bench], Letter]:
    """A run under these rules, all of whose pictures are whole where there are any."""

    def observe(shop: Shop) -> Letter:
        shop.proxy.rules.extend(rules)
        seen = shop.run()
        shop.proxy.reset()
        assert_agreed(shop, seen)
        return seen.letter

    return on_s3(observe)


def assert_agreed(shop: Shop, seen: Seen) -> None:
    """Every picture that the metadata has is there, of the bytes and the digest that it says."""
    import hashlib

    stored = shop.stored()
    for record in seen.records:
        outcome = record.outcome
        if outcome.status == "ok":
            data = stored[f"out/{outcome.picture}"]
            assert hashlib.sha256(data).hexdigest() == outcome.picture_digest


def _bounded(shop: Shop) -> Letter:
    shop.proxy.rules.append(forever(BUSY))
    seen = shop.run()
    assert "503" in seen.printed or "SlowDown" in seen.printed
    assert max(shop.proxy.counts.values()) <= 15
    return seen.letter


def _busy_in_mid_run(shop: Shop) -> Letter:
    shop.proxy.rules.append(forever(BUSY, "PUT", "out/images/"))
    seen = shop.run()
    assert "SlowDown" in seen.printed
    assert not seen.records, "rows failed for what is the store's fault"
    return seen.letter


def _write_denied(shop: Shop) -> Letter:
    shop.proxy.rules.append(forever(DENIED, "PUT"))
    seen = shop.run()
    assert "AccessDenied" in seen.printed
    assert shop.num_pictures_written() == 0
    return _before_any_work(seen)


def _before_any_work(seen: Seen) -> Letter:
    """A store that is out of order from the start is told by status 1, as it is in mid-run."""
    assert seen.exit_status == 1
    assert "What is finished is kept" not in seen.printed, "there was work"
    return "A"


def _read_denied(shop: Shop) -> Letter:
    shop.proxy.rules.append(forever(DENIED, key="in/b.png"))
    seen = shop.run()
    assert seen.reason() == "input_forbidden"
    return seen.letter


def _stops_and_goes_on(fault: Fault, words: str) -> Callable[[Bench], Letter]:
    """What breaks in mid-run ends it; run again when all is well, every row has its picture."""

    def observe(shop: Shop) -> Letter:
        shop.proxy.rules.append(after_a_picture(fault))
        seen = shop.run()
        assert words in seen.printed
        assert all(r.outcome.reason != "input_not_found" for r in seen.records)
        kept = {key for key in shop.stored() if key.startswith("out/images/")}
        assert kept
        shop.proxy.reset()
        # Nobody is there to hold it any more: here one process stands for two.
        for key in shop.stored():
            if key.startswith("out/locks/"):
                storage.delete(f"s3://{shop.bucket}/{key}")
        again = shop.run()
        assert again.letter == "OK"
        assert [r.outcome.status for r in again.records] == ["ok", "ok"]
        assert shop.num_pictures_written() == len(ROWS) - len(kept)
        return seen.letter

    rows = [good(), bad(content="b.png", seed=1, steps=2)]
    return on_s3(observe, rows)


def _corrupt(fault: Fault) -> Callable[[Bench], Letter]:
    def observe(shop: Shop) -> Letter:
        shop.proxy.rules.append(forever(fault, "GET", "in/b.png"))
        seen = shop.run()
        assert seen.reason() == "corrupt_transfer"
        return seen.letter

    return on_s3(observe)


def _lied_to(fault: Fault) -> Callable[[Bench], Letter]:
    def observe(shop: Shop) -> Letter:
        shop.proxy.rules.append(forever(fault, "PUT", "out/images/bad"))
        seen = shop.run()
        assert "does not have it" in seen.printed
        assert all(record.outcome.status != "ok" for record in seen.records)
        return seen.letter

    return on_s3(observe)


def _reply_lost(shop: Shop) -> Letter:
    shop.proxy.rules.append(first(1, Reset("after"), "PUT", "out/"))
    seen = shop.run()
    assert [r.outcome.id for r in seen.records] == ["good", "bad"]
    # aiohttp itself sends once more what it sent on a connection that was no longer one.
    assert all(shop.proxy.num_of("PUT", f"/out/images/{name}.png") <= 2 for name in ("good", "bad"))
    assert_agreed(shop, seen)
    return seen.letter


def _no_conditions(shop: Shop) -> Letter:
    """A store that knows no If-None-Match is as good as another: nothing asks for it."""

    def refuse(request: Request) -> Fault | None:
        names = {name.lower() for name in request.headers}
        return Status(501, "NotImplemented") if names & {"if-match", "if-none-match"} else None

    shop.proxy.rules.append(refuse)
    return shop.run().letter


def _no_list(fault: Fault) -> Callable[[Bench], Letter]:
    def observe(shop: Shop) -> Letter:
        assert shop.run().letter == "OK"
        before = shop.stored()
        shop.proxy.reset()
        shop.proxy.rules.append(lists(fault))
        seen = shop.run()
        assert shop.num_pictures_written() == 0
        assert before.keys() <= shop.stored().keys()
        return Seen(seen.exit_status, seen.printed, ()).letter

    return on_s3(observe)


def _stale_list(shop: Shop) -> Letter:
    """A list that lags behind has nothing of an earlier run, whose metadata is there all the same."""
    assert shop.run().letter == "OK"
    shop.proxy.reset()
    empty = (
        f"<ListBucketResult><Name>{shop.bucket}</Name><KeyCount>0</KeyCount>"
        "<IsTruncated>false</IsTruncated></ListBucketResult>"
    )
    shop.proxy.rules.append(lists(Say(empty.encode(), "application/xml")))
    seen = shop.run()
    assert shop.num_pictures_written() == 0
    return seen.letter


def _many_pages(shop: Shop) -> Letter:
    """What an earlier run made is not all on the first page of a list."""
    assert shop.run().letter == "OK"
    shop.proxy.reset()
    shop.proxy.rules.append(lists(Ask(query="max-keys=1")))
    seen = shop.run()
    assert shop.num_pictures_written() == 0
    assert shop.proxy.counts["GET", f"/{shop.bucket}"] > 10
    return seen.letter


def _no_bulk_delete(shop: Shop) -> Letter:
    shop.proxy.rules.append(forever(Status(400, "InvalidRequest"), "POST"))
    seen = shop.run()
    assert not [key for key in shop.stored() if storage.is_leftover(key)]
    for path in storage.list_tree(shop.output):
        storage.delete(storage.join(shop.output, path))
    assert storage.list_tree(shop.output) == {}
    return seen.letter


def _disk(number: int) -> Callable[[Bench], Letter]:
    """The local disk goes out of order once a picture is written."""

    def observe(bench: Bench) -> Letter:
        real = os.fsync

        def fsync(handle: int) -> None:
            if list((bench.output / "images").glob("*.png")):
                raise OSError(number, os.strerror(number))
            real(handle)

        bench.monkeypatch.setattr(os, "fsync", fsync)
        seen = bench.run([bad(content="b.png")])
        assert os.strerror(number) in seen.printed
        assert not list(bench.output.rglob("*.tmp"))
        pictures = list((bench.output / "images").glob("*.png"))
        assert pictures
        assert all(path.read_bytes().endswith(b"IEND\xaeB`\x82") for path in pictures)
        return seen.letter

    return observe


def _down(shop: Shop) -> Letter:
    shop.bench.monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    seen = shop.run()
    assert "Could not connect" in seen.printed
    return _before_any_work(seen)


def _down_output(bench: Bench) -> Letter:
    for name, value in servers.environment("http://127.0.0.1:9").items():
        bench.monkeypatch.setenv(name, value)
    hurry(bench.monkeypatch)
    manifest = write_project(bench.inputs, ROWS)
    seen = bench.nst("run", str(manifest), "--output", "s3://bucket/out", "--no-isolate")
    assert "Could not connect" in seen.printed
    return _before_any_work(seen)


def _elsewhere(fault: Fault) -> Callable[[Bench], Letter]:
    def observe(shop: Shop) -> Letter:
        shop.proxy.rules.append(forever(fault))
        seen = shop.run()
        assert "AWS_DEFAULT_REGION" in seen.printed
        assert shop.proxy.num_requests < 30
        return _before_any_work(seen)

    return on_s3(observe)


def _overwritten(shop: Shop) -> Letter:
    """Just before it is read, and only once."""
    other = (shop.bench.inputs / "a.png").read_bytes()
    is_done: list[bool] = []

    def overwrite(request: Request) -> Fault | None:
        if (request.method, request.key) == ("GET", "in/b.png") and not is_done:
            is_done.append(True)
            shop.overwrite("in/b.png", other)
        return None

    shop.proxy.rules.append(overwrite)
    seen = shop.run()
    (record,) = (r for r in seen.records if r.outcome.id == "bad")
    (same,) = (r for r in seen.records if r.outcome.id == "good")
    assert is_done
    assert record.outcome.content_digest == same.outcome.content_digest
    return seen.letter


CASES: tuple[Case, ...] = (
    Case(69, "OK", "a burst of 503", with_faults(burst(BUSY, every=15, length=4))),
    Case(69, "OK", "a burst of 500", with_faults(burst(SICK, every=15, length=4))),
    Case(69, "OK", "broken connections", with_faults(burst(Reset("before"), every=15, length=4))),
    Case(69, "OK", "an answer that comes late", with_faults(first(1, Delay(1), "GET", "in/b.png"))),
    Case(70, "S", "503 for ever", on_s3(_bounded)),
    Case(70, "S", "503 for ever in mid-run", on_s3(_busy_in_mid_run)),
    Case(71, "A", "no right to write", on_s3(_write_denied)),
    Case(72, "R", "no right to read one input", on_s3(_read_denied)),
    Case(73, "S", "credentials expire in mid-run", _stops_and_goes_on(EXPIRED, "ExpiredToken")),
    Case(74, "S", "the bucket goes in mid-run", _stops_and_goes_on(NO_BUCKET, "bucket")),
    Case(75, "R", "a cut input", _corrupt(Cut(100))),
    Case(75, "R", "an input that breaks off", _corrupt(Reset("inside"))),
    Case(75, "R", "a bit turned over", _corrupt(Flip(60))),
    Case(75, "R", "an empty answer", _corrupt(Say())),
    Case(75, "R", "a page of HTML for an input", _corrupt(Say(HTML))),
    Case(75, "OK", "damaged twice", with_faults(first(2, Cut(100), "GET", "in/b.png"))),
    Case(76, "S", "a PUT that stores nothing", _lied_to(Say())),
    Case(76, "S", "a PUT that stores a part", _lied_to(CutUpload(100))),
    Case(76, "OK", "PUTs that once store nothing", with_faults(first(1, Say(), "PUT", "out/"))),
    Case(77, "OK", "replies to PUTs get lost", on_s3(_reply_lost)),
    Case(
        78,
        "OK",
        "409 to a PUT",
        with_faults(first(2, Status(409, "ConditionalRequestConflict"), "PUT")),
    ),
    Case(79, "OK", "no conditional PUT", on_s3(_no_conditions)),
    Case(80, "S", "HTML for a list", _no_list(Say(HTML))),
    Case(80, "S", "an empty answer for a list", _no_list(Say())),
    Case(80, "S", "broken XML for a list", _no_list(Say(b"<ListBucketResult><Na", "text/xml"))),
    Case(80, "S", "a list that lags behind", on_s3(_stale_list)),
    Case(80, "OK", "lists of many pages", on_s3(_many_pages)),
    Case(81, "OK", "no DeleteObjects", on_s3(_no_bulk_delete)),
    *(Case(82, "S", errno.errorcode[number], _disk(number)) for number in (
        errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT,
    )),
    Case(83, "A", "the endpoint is down", on_s3(_down)),
    Case(83, "A", "the output's endpoint is down", _down_output),
    Case(84, "A", "a bucket of another region", _elsewhere(MOVED)),
    Case(
        84,
        "A",
        "redirected in a circle",
        _elsewhere(replace(MOVED, headers=(("Location", "/elsewhere"),))),
    ),
    Case(85, "OK", "an input is overwritten while it is read", on_s3(_overwritten)),
)  # fmt: skip
