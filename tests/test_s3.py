"""Faults of a store, one by one: moto behind a proxy that orders them."""

import hashlib
import io
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any

import pytest

from nst import storage
from nst.errors import (
    CorruptTransferError,
    ForbiddenError,
    NotFoundError,
    StorageError,
    TooLargeError,
)
from nst.iterables import in_parallel
from nst.storage import s3, stores
from tests import servers
from tests.buckets import Bucket, bucket_behind, hurry
from tests.faults import (
    HTML,
    Ask,
    Cut,
    CutUpload,
    Delay,
    Fault,
    FaultProxy,
    Flip,
    FlipUpload,
    Request,
    Reset,
    Rule,
    Say,
    Stall,
    Status,
    first,
    forever,
    lists,
)

BUSY = Status(503, "SlowDown")
DATA = bytes(range(256)) * 40


class Shop(Bucket):
    """A bucket of one object, `there`."""

    @property
    def there(self) -> str:
        return f"{self.url}/some/there.bin"


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    with FaultProxy(servers.moto_url()) as proxy:
        yield proxy


@pytest.fixture
def shop(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> Shop:
    hurry(monkeypatch)
    # Without it, a flipped bit is found by a checksum that not every store keeps.
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    bucket = bucket_behind(proxy, {"some/there.bin": DATA}, monkeypatch)
    proxy.reset()
    # The connection is that of all the tests, and what one learnt by it is not for the next.
    s3._store().md5_etags.clear()
    s3._store().probed_in = None
    monkeypatch.setattr(s3, "_folder_for_probes", None)
    monkeypatch.setattr(s3, "_have_stores_answered", False)
    s3._store().has_conditions = True
    s3._store().has_answered = True
    s3._store().given_up.clear()
    return Shop(proxy, bucket)


@pytest.mark.parametrize(
    "fault",
    [
        BUSY,
        Status(500, "InternalError"),
        Status(400, "RequestTimeout"),
        Status(409, "ConditionalRequestConflict"),
        Reset("before"),
        Reset("after"),
        Delay(0.3),
    ],
    ids=str,
)
def test_what_passes_is_absorbed(shop: Shop, fault: Fault) -> None:
    shop.proxy.rules.append(first(2, fault))
    assert storage.read_bytes(shop.there) == DATA
    storage.write_bytes(shop.url + "/new.bin", b"new")
    assert storage.read_bytes(shop.url + "/new.bin") == b"new"
    assert storage.list_tree(shop.url) == {"some/there.bin": len(DATA), "new.bin": 3}
    storage.delete(shop.url + "/new.bin")
    assert storage.list_sizes(shop.url) == {}


@pytest.mark.parametrize("fault", [Cut(17), Cut(0), Reset("inside"), Say(), Stall()], ids=str)
def test_what_arrives_damaged_is_read_again(
    shop: Shop, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "MIN_REQUEST_S", 0.5)
    shop.proxy.rules.append(first(2, fault, "GET"))
    assert storage.read_bytes(shop.there) == DATA
    assert shop.proxy.num_of("GET") == 3


@pytest.mark.parametrize("fault", [Cut(17), Cut(0), Reset("inside"), Say(HTML)], ids=str)
def test_what_always_arrives_damaged_is_never_taken(shop: Shop, fault: Fault) -> None:
    shop.proxy.rules.append(forever(fault, "GET", "there"))
    with pytest.raises(CorruptTransferError, match=r"there\.bin: .* at each of 7 tries") as caught:
        storage.read_bytes(shop.there)
    assert not caught.value.ends_the_run
    assert shop.proxy.num_requests <= 15


def test_bits_that_flip_here_and_there_are_read_again(shop: Shop) -> None:
    shop.proxy.rules.append(
        lambda request: (
            Flip(request.count) if request.method == "GET" and request.count < 4 else None
        )
    )
    assert storage.read_bytes(shop.there) == DATA
    assert shop.proxy.num_of("GET") == 4


def test_a_flipped_bit_is_found_where_etags_are_digests(shop: Shop) -> None:
    """By the first read of a process too, before which no ETag has turned out to be one."""
    shop.proxy.rules.append(forever(Flip(5), "GET", "there"))
    with pytest.raises(CorruptTransferError, match="NST_S3_ETAGS=opaque"):
        storage.read_bytes(shop.there)
    with pytest.raises(CorruptTransferError, match="MD5"):
        storage.read_start(shop.there, len(DATA))
    storage.work_for(f"{shop.url}/out", have_answered=True)
    with pytest.raises(CorruptTransferError, match="MD5") as caught:
        storage.read_bytes(shop.there)
    assert "NST_S3_ETAGS" not in str(caught.value)
    assert list(storage.list_tree(shop.url)) == ["some/there.bin"]
    assert sum(n for (method, _), n in shop.proxy.counts.items() if method == "PUT") == 1


def test_an_object_that_is_damaged_in_the_store_is_not_asked_for_without_end(shop: Shop) -> None:
    """Unlike one that arrives in other bytes each time, which happens on the way."""
    shop.proxy.rules.append(forever(Flip(5), "GET", "there"))
    with pytest.raises(CorruptTransferError, match="at each of 3 tries"):
        storage.read_bytes(shop.there)
    shop.proxy.reset()
    shop.proxy.rules.append(
        lambda request: Flip(request.count) if request.method == "GET" else None
    )
    with pytest.raises(CorruptTransferError, match="at each of 7 tries"):
        storage.read_bytes(shop.there)


def test_a_damaged_upload_is_found_by_the_first_write_of_a_process(shop: Shop) -> None:
    """Of the right length, to a store that checks no digest and keeps what arrives."""
    shop.proxy.rules.append(first(2, FlipUpload(), "PUT"))
    storage.write_bytes(shop.there, b"new data")
    assert shop.stored(shop.there) == b"new data"
    shop.proxy.reset()
    shop.proxy.rules.append(forever(FlipUpload(), "PUT"))
    s3._store().md5_etags.clear()
    with pytest.raises(StorageError, match="accepted it, but does not have it"):
        storage.write_bytes(shop.there, b"newer data")
    with pytest.raises(StorageError, match="accepted it, but does not have it"):
        storage.update(shop.there, lambda _: b"newest data")


@pytest.mark.parametrize("knows", ["by an object of its own", "by one elsewhere", "by the user"])
def test_where_etags_are_no_digests_it_takes_a_proof_to_read_without(
    shop: Shop, knows: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", with_etag("0" * 32, "object"))
    with pytest.raises(CorruptTransferError, match=f"{'0' * 32}.*NST_S3_ETAGS=opaque"):
        storage.read_bytes(shop.there)
    if knows == "by the user":
        # Of another bucket it is known that its ETags are digests.
        s3._store().md5_etags["another"] = True
        monkeypatch.setenv("NST_S3_ETAGS", "opaque")
    else:
        folder = shop.url
        if knows == "by one elsewhere":
            folder = f"s3://{bucket_behind(shop.proxy, {}, monkeypatch)}"
        storage.work_for(f"{folder}/out", have_answered=True)
    assert storage.read_bytes(shop.there) == DATA
    assert storage.read_start(shop.there, len(DATA)).data == DATA
    assert storage.list_tree(shop.url) == {"some/there.bin": len(DATA)}
    said = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == (knows != "by the user")
    shop.proxy.rules.append(first(1, Cut(17), "GET", "there"))
    assert storage.read_bytes(shop.there) == DATA


def test_a_head_that_lags_behind_shows_nothing_about_etags(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the answer that has the bytes can contradict them."""
    import s3fs

    real = s3fs.S3FileSystem._call_s3

    async def ask(self: Any, method: str, **params: Any) -> Any:
        answer = await real(self, method, **params)
        is_old = method in ("head_object", "put_object")
        return answer | {"ETag": f'"{"0" * 32}"'} if is_old else answer

    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", ask)
    storage.write_bytes(shop.there, b"new")
    assert shop.stored(shop.there) == b"new"
    assert s3._store().md5_etags.get(shop.bucket) is not False


def test_an_etag_of_an_object_under_a_key_of_kms_is_taken_for_no_digest(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its answers say, in a bucket whose other ETags are digests."""
    import s3fs

    real = s3fs.S3FileSystem._call_s3
    said = {"ETag": f'"{"0" * 32}"', "ServerSideEncryption": "aws:kms"}

    async def ask(self: Any, method: str, **params: Any) -> Any:
        answer = await real(self, method, **params)
        return answer | said if "there" in params.get("Key", "") else answer

    storage.check_writable(shop.url)
    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", ask)
    assert storage.read_bytes(shop.there) == DATA
    storage.write_bytes(shop.there, b"new")
    assert storage.read_bytes(shop.there) == b"new"
    shop.proxy.rules.append(first(2, Cut(2), "GET"))
    assert storage.read_bytes(shop.there) == b"new"


def test_a_damaged_part_is_found_by_the_first_upload_of_a_process(
    shop: Shop, large: IO[bytes]
) -> None:
    shop.proxy.rules.append(first(1, FlipUpload(), "PUT"))
    storage.work_for(f"{shop.url}/out", have_answered=True)
    storage.write_file(shop.there, large)
    assert shop.stored(shop.there) == LARGE


def test_a_flipped_bit_is_found_where_the_store_keeps_checksums(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_RESPONSE_CHECKSUM_VALIDATION")
    shop.proxy.rules.append(forever(Flip(5), "GET", "there"))
    s3._store().has_answered = False
    with pytest.raises(CorruptTransferError, match=r"checksum.* at each of 3 tries"):
        storage.read_bytes(shop.there)
    assert s3._store().has_answered


def with_etag(etag: str, method: str) -> Any:
    """What s3fs asks for, where every ETag is `etag`."""
    import s3fs

    real = s3fs.S3FileSystem._call_s3

    async def ask(self: Any, asked: str, **params: Any) -> Any:
        answer = await real(self, asked, **params)
        return answer | {"ETag": f'"{etag}"'} if method in asked else answer

    return ask


@pytest.mark.parametrize("etag", ["0" * 32, f"{'0' * 32}-3", "of another kind"])
def test_an_etag_need_not_be_a_digest(
    shop: Shop, etag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", with_etag(etag, "object"))
    storage.check_writable(shop.url)
    assert storage.read_bytes(shop.there) == DATA
    storage.write_bytes(shop.there, b"new")
    assert storage.read_bytes(shop.there) == b"new"
    assert shop.proxy.num_of("PUT", "there") == 1


@pytest.mark.parametrize("etag", [None, "of another kind"])
def test_an_object_that_changes_while_it_is_read_is_of_one_version(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, etag: str | None
) -> None:
    """Before any request for it, of which there are two where the first does not prove itself."""
    if etag is not None:
        monkeypatch.setattr("s3fs.S3FileSystem._call_s3", with_etag(etag, "object"))
    versions = [b"b" * len(DATA), b"c" * 1000, b"d" * 10_000_000, b"e" * 9_000_000]
    written: list[bytes] = []

    def overwrite(request: Request) -> Fault | None:
        if request.key == "some/there.bin" and versions:
            written.append(versions.pop(0))
            shop.direct.put_object(Bucket=shop.bucket, Key=request.key, Body=written[-1])
        return None

    shop.proxy.rules.append(overwrite)
    assert storage.read_bytes(shop.there) == written[-1]
    assert {query for _, query in shop.proxy.counts} == {f"/{shop.bucket}/some/there.bin"}


@pytest.mark.parametrize("fault", [Cut(17), Say(HTML)], ids=str)
def test_a_cut_answer_is_found_where_etags_are_no_digests(
    shop: Shop, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", with_etag(f"{'0' * 32}-3", "object"))
    shop.proxy.rules.append(first(2, fault, "GET"))
    assert storage.read_bytes(shop.there) == DATA
    assert shop.proxy.num_of("GET") == 3


@pytest.mark.parametrize("fault", [Say(), CutUpload(2)], ids=str)
def test_a_write_that_only_seems_to_succeed_is_found_where_etags_are_no_digests(
    shop: Shop, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", with_etag("of another kind", "object"))
    shop.proxy.rules.append(first(2, fault, "PUT"))
    storage.write_bytes(shop.there, b"new data")
    assert shop.stored(shop.there) == b"new data"


def test_a_large_object_comes_and_goes_in_one_request(shop: Shop) -> None:
    data = secrets.token_bytes(1 << 20) * 101
    storage.write_bytes(shop.url + "/large.bin", data)
    assert storage.read_bytes(shop.url + "/large.bin") == data
    assert dict(shop.proxy.counts) == {
        ("PUT", f"/{shop.bucket}/large.bin"): 1,
        ("GET", f"/{shop.bucket}/large.bin"): 1,
    }


LARGE = bytes(range(256)) * 100_000
# Each of at least 5 MiB, but for the last.
PART = 10 << 20


@pytest.fixture
def large(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> IO[bytes]:
    """A file that takes three parts, of which a store is told from its beginning on."""
    monkeypatch.setattr(stores, "LARGE_BYTES", len(LARGE) - 1)
    monkeypatch.setattr(s3, "PART_BYTES", PART)
    return io.BytesIO(LARGE)


def uploads(shop: Shop) -> list[Any]:
    """Those that were begun and neither completed nor given up."""
    found: list[Any] = shop.direct.list_multipart_uploads(Bucket=shop.bucket).get("Uploads", [])
    return found


def test_a_large_file_goes_in_parts_and_comes_in_one_request(shop: Shop, large: IO[bytes]) -> None:
    version = storage.write_file(shop.there, large)
    assert shop.stored(shop.there) == LARGE
    assert version == dict(storage.list_objects(shop.url + "/some"))["there.bin"].version
    assert version.endswith("-3")
    assert shop.proxy.num_of("POST") == 2
    assert shop.proxy.num_of("PUT") == 3
    sink = io.BytesIO()
    storage.read_into(shop.there, sink)
    assert sink.getvalue() == LARGE
    assert shop.proxy.num_of("GET", "there") == 1
    assert uploads(shop) == []


def test_a_file_that_is_not_large_goes_in_one_request(
    shop: Shop, large: IO[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LARGE_BYTES", len(LARGE))
    storage.write_file(shop.there, large)
    assert shop.stored(shop.there) == LARGE
    assert dict(shop.proxy.counts) == {("PUT", f"/{shop.bucket}/some/there.bin"): 1}


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD"])
@pytest.mark.parametrize(
    "fault", [BUSY, Reset("before"), Reset("after"), Say(), Say(HTML)], ids=str
)
def test_what_passes_is_absorbed_in_each_part(
    shop: Shop, large: IO[bytes], fault: Fault, method: str
) -> None:
    if method == "HEAD" and isinstance(fault, Say):
        pytest.skip("an answer that has no body")
    shop.proxy.rules.append(first(2, fault, method))
    storage.write_file(shop.there, large)
    assert shop.stored(shop.there) == LARGE


@pytest.mark.parametrize("fault", [Reset("after"), Say()], ids=str)
def test_an_upload_whose_last_answer_is_lost_is_ours(
    shop: Shop, large: IO[bytes], fault: Fault
) -> None:
    shop.proxy.rules.append(
        lambda request: (
            (fault if request.method == "POST" and "uploadId" in request.query else None)
            if shop.proxy.num_of("POST") <= 2
            else None
        )
    )
    storage.write_file(shop.there, large)
    assert shop.stored(shop.there) == LARGE
    assert shop.proxy.num_of("PUT") == 3


def test_a_part_that_arrives_damaged_is_sent_again(shop: Shop, large: IO[bytes]) -> None:
    storage.check_writable(shop.url)
    shop.proxy.reset()
    shop.proxy.rules.append(first(1, CutUpload(PART - 1), "PUT"))
    storage.write_file(shop.there, large)
    assert shop.stored(shop.there) == LARGE
    assert shop.proxy.num_of("PUT") == 4


def test_parts_that_always_arrive_damaged_are_found_out(shop: Shop, large: IO[bytes]) -> None:
    shop.proxy.rules.append(forever(CutUpload(PART - 1), "PUT"))
    with pytest.raises(StorageError, match=r"there\.bin: .* at each of \d tries") as caught:
        storage.write_file(shop.there, large)
    assert caught.value.ends_the_run


def in_part(number: int, fault: Fault) -> Rule:
    """`fault` for every request of the part of an upload that has this number."""
    return lambda request: fault if f"partNumber={number}" in request.query else None


@pytest.mark.parametrize("fault", [BUSY, Reset("before"), Say()], ids=str)
def test_an_upload_that_fails_half_way_leaves_what_was_there(
    shop: Shop, large: IO[bytes], fault: Fault
) -> None:
    shop.proxy.rules.append(in_part(2, fault))
    with pytest.raises(StorageError, match=r"cannot write .*there\.bin") as caught:
        storage.write_file(shop.there, large)
    assert caught.value.ends_the_run
    assert shop.stored(shop.there) == DATA
    # aiohttp sends anew at once what it sent on a connection that was no longer one.
    assert shop.proxy.num_of("PUT") <= 15
    assert uploads(shop) == []


def test_what_is_too_large_is_not_read(shop: Shop) -> None:
    assert storage.read_bytes(shop.there, max_bytes=len(DATA)) == DATA
    shop.proxy.reset()
    with pytest.raises(TooLargeError, match="at most 10,239 bytes, found 10,240") as caught:
        storage.read_bytes(shop.there, max_bytes=len(DATA) - 1)
    assert (caught.value.reason, caught.value.ends_the_run) == ("image_too_large", False)
    # Of a body that never ends nobody waits for the end.
    shop.proxy.rules.append(forever(Stall(), "GET"))
    with pytest.raises(TooLargeError):
        storage.read_bytes(shop.there, max_bytes=len(DATA) - 1)
    assert shop.proxy.num_of("GET") == 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_store_that_stays_out_of_order_ends_the_run(
    shop: Shop, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else its first answer would be enough.
    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", with_etag("of another kind", "object"))
    shop.proxy.rules.append(forever(BUSY, method))
    with pytest.raises(StorageError, match=r"there\.bin: .*503|SlowDown") as caught:
        storage.read_bytes(shop.there)
    assert caught.value.ends_the_run
    assert shop.proxy.num_requests <= 15


def test_a_write_that_stays_refused_ends_the_run(shop: Shop) -> None:
    shop.proxy.rules.append(forever(BUSY, "PUT"))
    with pytest.raises(StorageError, match="SlowDown: ordered, at each of 7 tries") as caught:
        storage.write_bytes(shop.there, b"new")
    assert caught.value.ends_the_run
    assert shop.proxy.num_requests <= 15
    assert shop.stored(shop.there) == DATA


def test_a_store_that_was_given_up_on_is_not_waited_for_again(shop: Shop) -> None:
    shop.proxy.rules.append(forever(BUSY, "PUT"))
    for tries in (7, 5):
        with pytest.raises(StorageError, match=f"at each of {tries} tries"):
            storage.write_bytes(shop.there, b"new")
    shop.proxy.reset()
    storage.write_bytes(shop.there, b"new")
    shop.proxy.rules.append(first(3, BUSY, "PUT"))
    storage.write_bytes(shop.url + "/other.bin", b"new")


def test_a_store_that_never_answered_is_not_waited_for_long(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"Could not connect.*at each of 5 tries"):
        storage.read_bytes(shop.there)


@pytest.mark.parametrize("fault", [Say(), Say(HTML), CutUpload(2)], ids=str)
def test_a_write_that_only_seems_to_succeed_is_made_again(shop: Shop, fault: Fault) -> None:
    shop.proxy.rules.append(first(2, fault, "PUT"))
    for uri in (shop.there, shop.url + "/new.bin"):
        storage.write_bytes(uri, b"new data")
        assert shop.stored(uri) == b"new data"
        assert shop.proxy.num_of("PUT", uri.rpartition("/")[2]) == 3


@pytest.mark.parametrize("fault", [Say(), CutUpload(2)], ids=str)
def test_a_write_that_never_succeeds_is_found_out(shop: Shop, fault: Fault) -> None:
    shop.proxy.rules.append(forever(fault, "PUT"))
    with pytest.raises(StorageError, match="accepted it, but does not have it") as caught:
        storage.write_bytes(shop.there, b"new data")
    assert caught.value.ends_the_run
    assert shop.proxy.num_requests <= 15


def test_a_write_whose_answer_was_lost_is_ours(shop: Shop) -> None:
    shop.proxy.rules.append(forever(Reset("after"), "PUT"))
    storage.write_bytes(shop.there, b"new")
    assert shop.stored(shop.there) == b"new"
    # aiohttp sends anew at once what it sent on a connection that was no longer one.
    assert shop.proxy.num_of("PUT") <= 2


def test_a_write_that_was_refused_in_words_is_not_looked_for(shop: Shop) -> None:
    shop.proxy.rules.append(first(3, BUSY, "PUT"))
    storage.write_bytes(shop.there, b"new")
    assert (shop.proxy.num_of("PUT"), shop.proxy.num_of("HEAD")) == (4, 0)


def test_a_write_that_could_not_be_checked_is_not_made_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("s3fs.S3FileSystem._call_s3", with_etag("of another kind", "object"))
    shop.proxy.rules.append(first(3, BUSY, "HEAD"))
    storage.write_bytes(shop.there, b"new")
    assert shop.proxy.num_of("PUT") == 1


def test_every_write_carries_its_digest(shop: Shop) -> None:
    import base64

    digests: list[str | None] = []

    def note(request: Request) -> Fault | None:
        if request.method == "PUT":
            digests.append(request.headers.get("Content-MD5"))
        return None

    shop.proxy.rules.append(note)
    storage.write_bytes(shop.there, b"new")
    assert digests == [base64.b64encode(hashlib.md5(b"new").digest()).decode()]


def appending(shop: Shop, word: bytes) -> bool:
    """Whether a word could be put behind those that there are."""
    return storage.update(shop.there, lambda data: data + word)


def test_an_update_is_of_what_is_there(shop: Shop) -> None:
    assert appending(shop, b" and more")
    assert shop.stored(shop.there) == DATA + b" and more"
    assert not storage.update(shop.there, lambda _: None)
    assert shop.stored(shop.there) == DATA + b" and more"
    assert not storage.update(shop.url + "/none.bin", lambda data: data)
    assert "none.bin" not in storage.list_tree(shop.url)


def behind_its_back(shop: Shop, write: Callable[[], object]) -> Rule:
    """Somebody else writes, once, just before a PUT arrives."""
    is_done: list[bool] = []

    def rule(request: Request) -> Fault | None:
        if request.method == "PUT" and not is_done:
            is_done.append(True)
            write()
        return None

    return rule


def test_what_another_wrote_meanwhile_is_not_overwritten_by_an_update(shop: Shop) -> None:
    place = dict(zip(("Bucket", "Key"), s3.split(shop.there), strict=True))
    write = partial(shop.direct.put_object, **place, Body=b"theirs")
    shop.proxy.rules.append(behind_its_back(shop, write))
    assert appending(shop, b" and ours")
    assert shop.stored(shop.there) == b"theirs and ours"


def test_what_another_removed_meanwhile_is_not_put_there_again_by_an_update(shop: Shop) -> None:
    place = dict(zip(("Bucket", "Key"), s3.split(shop.there), strict=True))
    shop.proxy.rules.append(behind_its_back(shop, partial(shop.direct.delete_object, **place)))
    assert not appending(shop, b" and ours")
    assert storage.list_tree(shop.url) == {}


@pytest.mark.parametrize(
    "fault", [Status(501, "NotImplemented"), Status(412, "PreconditionFailed")], ids=str
)
def test_a_store_that_knows_no_conditions_is_updated_without(shop: Shop, fault: Fault) -> None:
    shop.proxy.rules.append(lambda request: fault if "If-Match" in request.headers else None)
    assert appending(shop, b" and more")
    assert shop.stored(shop.there) == DATA + b" and more"
    num_before = shop.proxy.num_of("PUT")
    assert appending(shop, b" again")
    assert shop.proxy.num_of("PUT") == num_before + 1


@pytest.mark.parametrize("fault", [BUSY, Reset("before"), Say()], ids=str)
def test_what_passes_is_absorbed_by_an_update(shop: Shop, fault: Fault) -> None:
    shop.proxy.rules.append(first(2, fault, "PUT"))
    assert appending(shop, b" and more")
    assert shop.stored(shop.there) == DATA + b" and more"


def test_an_update_whose_answer_was_lost_is_given_what_it_wrote(shop: Shop) -> None:
    shop.proxy.rules.append(first(1, Reset("after"), "PUT"))
    shop.proxy.rules.append(first(1, Reset("before"), "PUT"))
    assert appending(shop, b" more")
    assert shop.stored(shop.there) in (DATA + b" more", DATA + b" more more")


def test_a_refusal_of_one_object_is_its_own(shop: Shop) -> None:
    shop.proxy.rules.append(forever(Status(403, "AccessDenied"), key="there"))
    with pytest.raises(ForbiddenError, match=r"there\.bin: AccessDenied: ordered") as caught:
        storage.read_bytes(shop.there)
    assert (caught.value.reason, caught.value.ends_the_run) == ("input_forbidden", False)
    with pytest.raises(StorageError, match="AccessDenied") as of_all:
        storage.write_bytes(shop.there, b"new")
    assert of_all.value.ends_the_run
    assert shop.proxy.num_of("PUT") == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Status(403, "InvalidAccessKeyId"), "InvalidAccessKeyId.*AWS_ACCESS_KEY_ID"),
        (Status(403, "SignatureDoesNotMatch"), "SignatureDoesNotMatch.*AWS_SECRET"),
        (Status(400, "ExpiredToken"), "ExpiredToken.*valid now"),
        (Status(400, ""), "expired credentials look like this, and so does a wrong region"),
        (Status(301, "PermanentRedirect"), "AWS_DEFAULT_REGION"),
        (
            Status(301, "PermanentRedirect", (("Location", "/elsewhere"),)),
            "AWS_DEFAULT_REGION",
        ),
        (Status(400, "AuthorizationHeaderMalformed"), "AWS_DEFAULT_REGION"),
        (Status(404, "NoSuchBucket"), "create the bucket"),
        (Status(403, "QuotaExceeded"), "free some space"),
    ],
)
def test_a_refusal_of_everything_ends_the_run_at_once(shop: Shop, fault: Fault, words: str) -> None:
    shop.proxy.rules.append(forever(fault))
    for call in (
        lambda: storage.read_bytes(shop.there),
        lambda: storage.write_bytes(shop.there, b"new"),
        lambda: storage.list_sizes(shop.url),
        lambda: storage.check_writable(shop.url),
    ):
        shop.proxy.counts.clear()
        with pytest.raises(StorageError, match=words) as caught:
            call()
        assert caught.value.ends_the_run
        assert shop.proxy.num_requests <= 20


def test_absent_credentials_end_the_run(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(
        StorageError, match="Unable to locate credentials; set AWS_ACCESS"
    ) as caught:
        storage.read_bytes(shop.there)
    assert caught.value.ends_the_run
    assert shop.proxy.num_requests == 0


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL", "no url"), ("AWS_PROFILE", "no-such-profile")]
)
def test_settings_that_make_no_sense_end_the_run(
    shop: Shop, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=name) as caught:
        storage.read_bytes(shop.there)
    assert caught.value.ends_the_run


def test_a_missing_bucket_is_no_missing_object(shop: Shop) -> None:
    with pytest.raises(NotFoundError, match=r"none\.bin: there is no such file or object"):
        storage.read_bytes(shop.url + "/none.bin")
    with pytest.raises(StorageError, match=r"cannot read .*: NoSuchBucket") as caught:
        storage.read_bytes("s3://no-such-bucket/a.bin")
    assert not isinstance(caught.value, NotFoundError)
    assert caught.value.ends_the_run
    with pytest.raises(StorageError, match="NoSuchBucket"):
        storage.list_sizes("s3://no-such-bucket/folder")


def test_many_missing_objects_ask_for_their_bucket_once(shop: Shop) -> None:
    for number in range(5):
        with pytest.raises(NotFoundError):
            storage.read_bytes(f"{shop.url}/{number}.bin")
    assert shop.proxy.counts["HEAD", f"/{shop.bucket}"] == 1


@pytest.mark.parametrize("uri", ["s3://", "s3://bucket", "s3:///key", "s3://Bad bucket/a"])
def test_a_url_that_names_no_object_concerns_its_row(shop: Shop, uri: str) -> None:
    with pytest.raises(StorageError, match="cannot read") as caught:
        storage.read_bytes(uri)
    assert not caught.value.ends_the_run


@pytest.mark.parametrize(
    "key", ["a b+c%20#é?x=y&z.bin", "a//b.bin", "a/../c.bin", "a/./c.bin", "k?versionId=1"]
)
def test_a_key_is_taken_as_it_stands(shop: Shop, key: str) -> None:
    uri = f"{shop.url}/{key}"
    storage.write_bytes(uri, b"x")
    assert storage.read_bytes(uri) == b"x"
    assert key in storage.list_tree(shop.url)
    storage.delete(uri)
    assert key not in storage.list_tree(shop.url)


@pytest.mark.parametrize("fault", [Say(), Say(HTML), Say(b"<a><b>", "application/xml")], ids=str)
def test_what_is_no_list_is_no_empty_folder(shop: Shop, fault: Fault) -> None:
    shop.proxy.rules.append(lists(fault))
    for call in (
        lambda: storage.list_sizes(shop.url + "/some"),
        lambda: storage.list_tree(shop.url),
        lambda: storage.glob(shop.url, "some/*.bin"),
    ):
        with pytest.raises(StorageError) as caught:
            call()
        assert caught.value.ends_the_run


def test_lists_of_many_pages_are_whole(shop: Shop) -> None:
    names = [f"deep/{number // 4}/{number:04}.bin" for number in range(8)]
    for name in (*names, ""):
        shop.direct.put_object(Bucket=shop.bucket, Key=f"many/{name}", Body=b"x")
    shop.proxy.rules += [first(1, BUSY, "GET"), lists(Ask(query="max-keys=3"))]
    assert storage.list_tree(shop.url + "/many") == dict.fromkeys(names, 1)
    assert shop.proxy.num_of("GET") == 4


def test_one_object_is_deleted_at_a_time(shop: Shop) -> None:
    shop.proxy.rules.append(forever(Status(400, "InvalidRequest"), "POST"))
    storage.delete(shop.there)
    storage.delete(shop.there)
    assert storage.list_tree(shop.url) == {}


MANY = [f"many/{number}.bin" for number in range(7)]


@pytest.fixture
def many(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs of objects of which three are deleted at once, and of one that is not there."""
    monkeypatch.setattr(s3, "NUM_DELETED_AT_ONCE", 3)
    for key in MANY:
        shop.direct.put_object(Bucket=shop.bucket, Key=key, Body=b"x")
    return [f"{shop.url}/{key}" for key in (*MANY, "many/none.bin")]


def test_many_objects_are_deleted_by_few_requests(shop: Shop, many: list[str]) -> None:
    storage.delete_all(many)
    assert list(storage.list_tree(shop.url)) == ["some/there.bin"]
    assert (shop.proxy.num_of("POST"), shop.proxy.num_of("DELETE")) == (3, 0)
    storage.delete_all([])
    assert shop.proxy.num_of("POST") == 3


@pytest.mark.parametrize(
    "fault",
    [Status(501, "NotImplemented"), Status(400, "MissingContentMD5"), Status(400, ""), Say(HTML)],
    ids=str,
)
def test_where_many_cannot_be_deleted_at_once_each_is_by_itself(
    shop: Shop, many: list[str], fault: Fault
) -> None:
    shop.proxy.rules.append(forever(fault, "POST"))
    storage.delete_all(many)
    assert list(storage.list_tree(shop.url)) == ["some/there.bin"]
    assert shop.proxy.num_of("DELETE") == len(many)


@pytest.mark.parametrize("fault", [BUSY, Reset("before"), Reset("after")], ids=str)
def test_what_passes_is_absorbed_where_many_are_deleted(
    shop: Shop, many: list[str], fault: Fault
) -> None:
    shop.proxy.rules.append(first(2, fault, "POST"))
    storage.delete_all(many)
    assert list(storage.list_tree(shop.url)) == ["some/there.bin"]


def test_many_that_may_not_be_deleted_end_the_run(shop: Shop, many: list[str]) -> None:
    shop.proxy.rules.append(forever(Status(403, "AccessDenied"), "POST"))
    with pytest.raises(StorageError, match=r"cannot delete .*AccessDenied") as caught:
        storage.delete_all(many)
    assert caught.value.ends_the_run


def test_an_answer_that_trickles_has_an_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "MIN_REQUEST_S", 0.2)
    shop.proxy.rules.append(forever(Stall(), "GET"))
    with pytest.raises(StorageError) as caught:
        storage.read_bytes(shop.there)
    assert caught.value.ends_the_run


def test_the_probe_leaves_nothing(shop: Shop) -> None:
    storage.check_writable(shop.url + "/out")
    assert storage.list_tree(shop.url) == {"some/there.bin": len(DATA)}


@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_the_probe_finds_what_is_forbidden(shop: Shop, method: str) -> None:
    shop.proxy.rules.append(forever(Status(403, "AccessDenied"), method))
    with pytest.raises(StorageError, match=r"AccessDenied|403") as caught:
        storage.check_writable(shop.url + "/out")
    assert caught.value.ends_the_run
    shop.proxy.reset()
    if method == "PUT":
        assert list(storage.list_tree(shop.url)) == ["some/there.bin"]


def test_a_store_that_answers_no_head_is_asked_otherwise(shop: Shop) -> None:
    shop.proxy.rules.append(forever(Status(403, "AccessDenied"), "HEAD"))
    storage.check_writable(shop.url + "/out")
    assert storage.read_bytes(shop.there) == DATA


def test_the_probe_of_a_store_that_is_down_gives_up_soon(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match=r"Could not connect.*at each of 5 tries"):
        storage.check_writable(shop.url)
    # The last try begins when the time is over, and waits for a connection.
    assert s3.BRIEF.max_seconds + s3._CONNECT_TIMEOUT_S <= 15


def test_a_process_that_paints_waits_for_a_store_that_does_not_answer_it_yet(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has answered the run that started the process."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    storage.work_for("out", have_answered=True)
    with pytest.raises(StorageError, match=r"Could not connect.*at each of 7 tries"):
        storage.read_bytes(shop.there)


def test_the_probe_waits_for_a_store_that_answers_that_it_is_busy(shop: Shop) -> None:
    s3._store().has_answered = False
    shop.proxy.rules.append(first(6, BUSY, "PUT"))
    storage.check_writable(shop.url)


def test_messages_hold_no_credentials(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.proxy.rules.append(forever(Status(403, f"Denied-{servers.SECRET}-{servers.KEY_ID}")))
    for call in (
        lambda: storage.read_bytes(f"s3://{servers.KEY_ID}:{servers.SECRET}@{shop.bucket}/a"),
        lambda: storage.read_bytes(shop.there + "?X-Amz-Signature=canary-signature"),
        lambda: storage.write_bytes(shop.there, b"x"),
        lambda: storage.list_sizes(shop.url),
    ):
        with pytest.raises(StorageError) as caught:
            call()
        assert "canary" not in str(caught.value)


def test_one_connection_serves_a_process_until_the_environment_changes(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    made = []
    real = s3fs.S3FileSystem

    def note(**options: Any) -> Any:
        made.append(1)
        return real(**options)

    monkeypatch.setattr(s3fs, "S3FileSystem", note)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    in_parallel(lambda _: storage.read_bytes(shop.there), ["x"] * 50)
    assert len(made) == 1
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    storage.read_bytes(shop.there)
    assert len(made) == 2


FORKED = """
import os, sys, threading
from nst import storage
from nst.storage import s3
uri = sys.argv[1]
storage.read_bytes(uri)
held = s3._locks[os.getpid()]
held.acquire()
child = os.fork()
if child == 0:
    os._exit(0 if len(storage.read_bytes(uri)) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_makes_a_connection_of_its_own(shop: Shop) -> None:
    done = subprocess.run([sys.executable, "-c", FORKED, shop.there], timeout=60, check=False)
    assert done.returncode == 0


def test_parallel_work_stops_at_the_first_error() -> None:
    begun: list[str] = []
    lock = threading.Lock()

    def work(name: str) -> str:
        with lock:
            begun.append(name)
        if name == "20":
            raise StorageError("no")
        threading.Event().wait(0.01)
        return name

    with pytest.raises(StorageError, match="no"):
        in_parallel(work, [str(number) for number in range(10_000)])
    assert len(begun) < 1000
    assert in_parallel(str.upper, ["b", "a"]) == ["B", "A"]


def test_the_start_of_an_object_is_one_request(shop: Shop) -> None:
    found = storage.read_start(shop.there, 100)
    assert (found.data, found.size, found.is_whole) == (DATA[:100], len(DATA), False)
    assert shop.proxy.num_requests == 1
    whole = storage.read_start(shop.there, len(DATA))
    assert (whole.data, whole.is_whole) == (DATA, True)
    assert whole.version == found.version == stores.read(shop.there).version
    with pytest.raises(NotFoundError):
        storage.read_start(f"{shop.url}/none.bin", 100)
    with pytest.raises(TooLargeError, match="at most 99 bytes"):
        storage.read_start(shop.there, 100, max_bytes=99)


@pytest.mark.parametrize("fault", [Say(), Say(HTML), Cut(50)], ids=str)
def test_a_start_that_stays_damaged_ends_no_run(shop: Shop, fault: Fault) -> None:
    shop.proxy.rules.append(forever(fault, "GET"))
    with pytest.raises(CorruptTransferError):
        storage.read_start(shop.there, 100)


@pytest.mark.parametrize("fault", [BUSY, Reset("inside"), Cut(50), Say(HTML)], ids=str)
def test_a_start_that_arrives_damaged_is_asked_for_again(shop: Shop, fault: Fault) -> None:
    shop.proxy.rules.append(first(2, fault, "GET"))
    assert storage.read_start(shop.there, 100).data == DATA[:100]
    shop.proxy.reset()
    shop.proxy.rules.append(first(2, Flip(50), "GET"))
    # A digest is of all of it.
    assert storage.read_start(shop.there, len(DATA)).data == DATA


def test_a_store_that_knows_no_parts_gives_the_start_all_the_same(shop: Shop) -> None:
    shop.proxy.rules.append(forever(Ask(without="Range"), "GET"))
    found = storage.read_start(shop.there, 100)
    assert (found.data, found.size) == (DATA[:100], len(DATA))


def test_the_version_is_of_the_bytes_that_were_read(shop: Shop) -> None:
    """An object that is written between the two questions of a read has the digest of neither."""
    upload = {"Bucket": shop.bucket, "Key": "some/there.bin"}

    def in_parts(body: bytes) -> None:
        made = shop.direct.create_multipart_upload(**upload)["UploadId"]
        part = shop.direct.upload_part(**upload, UploadId=made, PartNumber=1, Body=body)
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        shop.direct.complete_multipart_upload(**upload, UploadId=made, MultipartUpload=parts)

    in_parts(DATA)
    before = s3.version_of(shop.there)
    written: list[bool] = []

    def overwrite(request: Request) -> Fault | None:
        if request.method == "GET" and not written:
            written.append(True)
            in_parts(DATA[::-1])
        return None

    shop.proxy.rules.append(overwrite)
    found = stores.read(shop.there)
    assert found.data == DATA[::-1]
    assert found.version == s3.version_of(shop.there) != before


def test_a_page_of_a_list_begins_where_it_is_told_to(shop: Shop) -> None:
    keys = [f"many/{n}" for n in range(5)]
    for key in keys:
        shop.direct.put_object(Bucket=shop.bucket, Key=key, Body=key.encode())
    shop.proxy.rules.append(lists(Ask(query="max-keys=2")))
    page = s3.page_after(shop.bucket, "many/", "many/0")
    assert page is not None
    assert (list(page.versions), page.last) == (keys[1:3], "many/2")
    assert page.versions["many/1"] == s3.version_of(f"{shop.url}/many/1")
    rest = s3.page_after(shop.bucket, "many/", "many/2")
    assert rest is not None
    assert (list(rest.versions), rest.last) == (keys[3:], None)
    nothing = s3.page_after(shop.bucket, "many/", "many/4")
    assert nothing is not None
    assert (nothing.versions, nothing.last) == ({}, None)


def test_who_may_not_list_is_told_so_by_no_error(shop: Shop) -> None:
    shop.proxy.rules.append(lists(Status(403, "AccessDenied")))
    assert s3.page_after(shop.bucket, "some/", "") is None
    assert s3.page_after("no-such-bucket", "some/", "") is None
    assert s3.version_of(shop.there).text
    assert s3.version_of(f"{shop.url}/none.bin").text == ""
    shop.proxy.rules.insert(0, forever(BUSY))
    for ask in (lambda: s3.page_after(shop.bucket, "some/", ""), lambda: s3.version_of(shop.there)):
        with pytest.raises(StorageError) as caught:
            ask()
        assert caught.value.ends_the_run


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-28T17:20:29.000Z",
        "2026-11-28T17:20:29Z",
        "2026-11-28T17:20:29.5+01:00",
        "2026-11-28T17:20:29",
        "Sat, 28 Nov 2026 17:20:29 GMT",
        "1764350429",
        1764350429,
    ],
)
def test_times_are_read_as_botocore_reads_them(text: str | int) -> None:
    from botocore.utils import parse_timestamp

    assert s3._instant(text) == parse_timestamp(text)


def test_the_times_of_a_list_take_the_short_way(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import botocore.parsers

    def refuse(value: object) -> None:
        raise AssertionError(f"{value} was read the long way")

    monkeypatch.setattr(botocore.parsers, "DEFAULT_TIMESTAMP_PARSER", refuse)
    assert list(s3.objects_in(f"{shop.url}/some", deep=False)) == ["there.bin"]
