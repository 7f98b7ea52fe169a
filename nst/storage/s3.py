"""Objects in S3 buckets, whose stores may fail, lie or lose data; the only s3fs.

No answer is trusted without a check. What was read is compared with the digest in the answer, or with
the length that a second answer tells. What was written is looked up, unless the answer has its digest.
An answer that is not a list is an error, not an empty folder.
"""

import asyncio
import base64
import hashlib
import io
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import IO, Any, TypeVar

from nst.errors import StorageError
from nst.storage import s3_faults
from nst.storage.files import Found, Listed, Version, blocks_of, check_size
from nst.storage.retries import Patience, persistently
from nst.storage.s3_faults import Fault

PATIENCE = Patience()
# For a store that has never answered a run, and for one that was given up on: before a run and at its
# end somebody waits.
BRIEF = Patience(max_seconds=8, max_try_seconds=8)

_CONNECT_TIMEOUT_S = 5
_READ_TIMEOUT_S = 10
# Neither ends a wait for the word to send a body, nor for a store that sends a byte now and then.
MIN_REQUEST_S = 15
_MIN_BYTES_PER_S = 50_000
_CHUNK_BYTES = 1 << 20
# So often the same damaged bytes may arrive.
_MAX_SAME = 3
# A store takes at most 10,000 parts of an object.
PART_BYTES = 32 << 20
_NUM_CONNECTIONS = 32
# A store takes 1000, and is to answer in time.
NUM_DELETED_AT_ONCE = 250
# Long enough for the readers of one moment to ask once, short enough to see a bucket go.
_BUCKET_KNOWN_S = 2.0

_MD5 = re.compile(r"[0-9a-f]{32}")

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of a URL; the key is not normalised, whatever dots, slashes or ? it has."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def work_for(output: str | None, *, have_answered: bool) -> None:
    """As `stores.work_for`; no object of our own may be written where `output` is None."""
    global _folder_for_probes, _have_stores_answered
    _folder_for_probes, _have_stores_answered = output, have_answered


def probe_uri(folder: str) -> str:
    """A name for a test object, which `stores.is_leftover` recognises."""
    return f"{folder.rstrip('/')}/.nst-probe-{secrets.token_hex(8)}"


def read_object(uri: str, *, max_bytes: int | None = None) -> Found:
    """All bytes of an object, from one moment in time, as the store has it.

    Raises NotFoundError, ForbiddenError, TooLargeError, CorruptTransferError if it arrives damaged
    at every try, and StorageError.
    """
    sink = io.BytesIO()
    version = read_object_into(uri, sink, max_bytes=max_bytes)
    data = sink.getvalue()
    return Found(data, len(data), version)


def read_object_into(uri: str, sink: IO[bytes], *, max_bytes: int | None = None) -> Version:
    """As `read_object`, block by block into an open file, whose content is replaced."""
    bucket, key = split(uri)

    def attempt() -> Version:
        seen = _fetch(bucket, key, sink, max_bytes)
        return _version(seen.size, seen.etag)

    return _tried("read", uri, attempt)


def update_object(uri: str, change: Callable[[bytes], bytes | None]) -> bool:
    """Replace a small object by `change` of its bytes; whether it was replaced.

    A store that supports If-Match replaces only those same bytes; if another process has written
    meanwhile, `change` is called again. In other stores the last write wins. Raises StorageError,
    which ends the run.
    """
    bucket, key = split(uri)
    refused_tag: str | None = None

    def attempt() -> bool:
        nonlocal refused_tag
        sink = io.BytesIO()
        try:
            seen = _fetch(bucket, key, sink, None)
        except Fault as fault:
            if fault.kind != "missing":
                raise
            return False
        data = change(sink.getvalue())
        if data is None:
            return False
        store = _store()
        # A store that refuses the tag that it has just told again does not know what that is.
        store.has_conditions &= seen.tag != refused_tag
        condition = {"IfMatch": seen.tag} if store.has_conditions else {}
        md5 = _md5_of(data)
        try:
            etag = _put(bucket, key, data, md5, **condition)
            if etag != md5 and not _is_there(bucket, key, len(data), md5, etag):
                raise Fault("passing", "the store accepted it, but does not have it")
        except Fault as fault:
            if fault.kind == "missing":
                return False
            if fault.kind == "changed":
                refused_tag = seen.tag
            if fault.kind != "refused" or not store.has_conditions:
                raise
            store.has_conditions = False
            raise Fault("passing", str(fault)) from fault
        return True

    return _tried("write", uri, attempt)


def read_object_start(uri: str, num_bytes: int, *, max_bytes: int | None = None) -> Found:
    """The first `num_bytes` of an object, or all of it if it is shorter, by one request.

    They are compared with a digest only if they are all of it. Raises as `read_object`, and
    StorageError for an empty object, of which no range can be requested.
    """
    bucket, key = split(uri)

    def attempt() -> Found:
        sink = io.BytesIO()
        body = _Body(sink, num_bytes)
        part = f"bytes=0-{num_bytes - 1}"
        answer = _ask("get_object", body=body, Bucket=bucket, Key=key, Range=part)
        size, etag = _whole_size(answer), _plain(answer.get("ETag"))
        # No question was asked before, whose answer would tell that this one is of no S3 store.
        if size is None or etag is None:
            raise Fault(
                "damaged", "expected a part of an object, its size and its ETag, found none"
            )
        check_size(uri, size, max_bytes)
        data = sink.getvalue()[:num_bytes]
        if len(data) != min(size, num_bytes):
            raise Fault("damaged", f"expected {min(size, num_bytes)} bytes, received {len(data)}")
        if len(data) == size:
            md5 = body.md5.hexdigest()
            seen = _Seen(size=size, etag=etag, md5=_md5_in(answer))
            _check_genuine(bucket, md5, seen)
        return Found(data, size, _version(size, etag))

    return _tried("read", uri, attempt)


def write_object(uri: str, data: bytes) -> str:
    """Write an object over any earlier one, and check that it has arrived.

    Returns the version that a listing will report, or "" if that is not known. Raises
    StorageError, which ends the run.
    """
    bucket, key = split(uri)
    md5 = _md5_of(data)
    is_sent = False
    put_etag: str | None = None

    def is_there() -> bool:
        return _is_there(bucket, key, len(data), md5, put_etag)

    def attempt() -> str:
        nonlocal is_sent, put_etag
        # What was sent and not answered may have arrived all the same.
        if is_sent and is_there():
            return put_etag or md5
        is_sent, put_etag = True, None
        try:
            put_etag = _put(bucket, key, data, md5)
        except Fault as fault:
            is_sent = not fault.is_answer
            raise
        if put_etag != md5 and not is_there():
            is_sent = False
            raise Fault("passing", "the store accepted it, but does not have it")
        return put_etag or ""

    return _tried("write", uri, attempt)


def write_large_object(uri: str, file: IO[bytes]) -> str:
    """As `write_object`, with the content of an open file, uploaded part by part.

    A part that fails is retried by itself. The object appears under its name only when all parts are
    there; if the upload fails, the store is told to delete the parts.
    """
    bucket, key = split(uri)
    begin = partial(_ask, "create_multipart_upload", Bucket=bucket, Key=key)
    upload = _tried("write", uri, lambda: _said(begin(), "UploadId"))
    try:
        parts = []
        for number, data in enumerate(blocks_of(file, PART_BYTES), start=1):
            send = partial(_send_part, data, Bucket=bucket, Key=key, UploadId=upload)
            parts.append(_tried("write", uri, partial(send, PartNumber=number)))
        return _complete(uri, upload, parts)
    except BaseException:
        # Once, since whoever is interrupted, or has no store that answers, has waited enough.
        with suppress(Fault):
            _ask("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)
        raise


@dataclass(frozen=True, slots=True)
class _Part:
    """An uploaded part: its size in bytes, its MD5, and its ETag."""

    size: int
    md5: bytes
    etag: str


def _send_part(data: bytes, **params: Any) -> _Part:
    """Upload one part. Raises Fault, also if the store has something else than was sent."""
    md5 = hashlib.md5(data, usedforsecurity=False)
    digest = base64.b64encode(md5.digest()).decode()
    answer = _ask("upload_part", Body=data, ContentMD5=digest, **params)
    etag = _said(answer, "ETag")
    found = _md5_in(answer)
    if found not in (None, md5.hexdigest()) and _is_md5(params["Bucket"]):
        raise Fault("passing", "the store accepted a part, but has something else")
    return _Part(len(data), md5.digest(), etag)


def _complete(uri: str, upload: str, parts: Sequence[_Part]) -> str:
    """Join the parts into one object and check that it is there; returns its version."""
    bucket, key = split(uri)
    size = sum(part.size for part in parts)
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
    of_parts = hashlib.md5(b"".join(part.md5 for part in parts), usedforsecurity=False)
    expected = f"{of_parts.hexdigest()}-{len(parts)}"
    listed = [{"PartNumber": n, "ETag": part.etag} for n, part in enumerate(parts, start=1)]
    is_sent = False
    put_etag: str | None = None

    def is_there() -> bool:
        return _is_there(bucket, key, size, expected, put_etag, is_whole=False)

    def attempt() -> str:
        nonlocal is_sent, put_etag
        # A store that has made the object may know no more of its upload.
        if is_sent and is_there():
            return put_etag or expected
        is_sent = True
        answer = _ask(
            "complete_multipart_upload",
            Bucket=bucket,
            Key=key,
            UploadId=upload,
            MultipartUpload={"Parts": listed},
        )
        put_etag = _plain(_said(answer, "ETag"))
        if not is_there():
            raise Fault("passing", "the store accepted it, but does not have it")
        return put_etag or ""

    return _tried("write", uri, attempt)


def object_exists(uri: str) -> bool:
    """Whether there is an object. Raises StorageError where the store does not tell."""
    bucket, key = split(uri)

    def attempt() -> bool:
        try:
            _look(bucket, key)
        except Fault as fault:
            if fault.kind != "missing":
                raise
            return False
        return True

    return _tried("look at", uri, attempt)


def delete_object(uri: str) -> None:
    """Remove the object, if there is one. Raises StorageError."""
    bucket, key = split(uri)

    def attempt() -> None:
        try:
            _ask("delete_object", Bucket=bucket, Key=key)
        except Fault as fault:
            if fault.kind != "missing":
                raise

    _tried("delete", uri, attempt)


def delete_objects(uris: Sequence[str]) -> Sequence[str]:
    """Remove up to NUM_DELETED_AT_ONCE objects of one bucket by one request; those that are left.

    These are all of them if the store does not support the request. Raises StorageError.
    """
    bucket = split(uris[0])[0]
    by_key = {split(uri)[1]: uri for uri in uris}

    def attempt() -> Sequence[str]:
        wanted = {"Objects": [{"Key": key} for key in by_key]}
        try:
            answer = _ask("delete_objects", Bucket=bucket, Delete=wanted)
        except Fault as fault:
            if fault.kind not in ("refused", "unexplained"):
                raise
            return uris
        # An answer that only seems to be one names none.
        deleted = {entry.get("Key") for entry in answer.get("Deleted", ())}
        return [uri for key, uri in by_key.items() if key not in deleted]

    return _tried("delete", uris[0], attempt)


def objects_in(folder: str, *, deep: bool) -> dict[str, Listed]:
    """Each object directly in `folder`, or with `deep` at any depth, by path relative to it.

    Raises StorageError, also if the answer is not a list.
    """
    bucket, key = split(folder)
    prefix = f"{key.rstrip('/')}/" if key.strip("/") else ""
    found: dict[str, Listed] = {}
    options: dict[str, str] = {} if deep else {"Delimiter": "/"}
    while True:
        ask = partial(_page, Bucket=bucket, Prefix=prefix, **options)
        page = _tried("list", folder, ask)
        for entry in page.get("Contents", ()):
            name = str(entry["Key"]).removeprefix(prefix)
            # An empty object named as a folder stands for one in some programs.
            if name and not name.endswith("/"):
                found[name] = Listed(int(entry["Size"]), _plain(entry.get("ETag")) or "")
        if not page.get("IsTruncated"):
            return found
        options["ContinuationToken"] = page["NextContinuationToken"]


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: the versions of its objects by key, and the last key that it covers.

    That is None for the last page.
    """

    versions: Mapping[str, Version]
    last: str | None


def page_after(bucket: str, prefix: str, key: str) -> Page | None:
    """The objects of a prefix after `key`, as many as the store sends in one answer.

    None if the store does not allow listing them. Raises StorageError.
    """

    start = {"StartAfter": key} if key else {}

    def attempt() -> Page | None:
        try:
            page = _page(Bucket=bucket, Prefix=prefix, **start)
        except Fault as fault:
            # Whoever may read every object of a bucket need not be allowed to list it.
            if fault.kind in _REFUSALS:
                return None
            raise
        versions = {
            str(entry["Key"]): _version(int(entry["Size"]), _plain(entry.get("ETag")))
            for entry in page.get("Contents", ())
        }
        if not page.get("IsTruncated"):
            return Page(versions, None)
        if not versions:
            raise Fault("passing", "expected objects before the next page of a list, found none")
        return Page(versions, max(versions))

    return _tried("list", f"s3://{bucket}/{prefix}", attempt)


def version_of(uri: str) -> Version:
    """The current version of an object, or an empty one if the store tells none.

    Raises StorageError if the store itself fails.
    """
    bucket, key = split(uri)

    def attempt() -> Version:
        try:
            seen = _look(bucket, key)
        except Fault as fault:
            if fault.kind == "missing" or fault.kind in _REFUSALS:
                return Version("")
            raise
        return _version(seen.size, seen.etag)

    return _tried("read", uri, attempt)


# Who asks for the object itself is told what is wrong.
_REFUSALS = ("forbidden", "refused", "unexplained", "no_bucket")


def _version(size: int, etag: str | None) -> Version:
    return Version(f"{size} {etag}" if etag else "")


def _whole_size(answer: Mapping[str, Any]) -> int | None:
    """The size in bytes of an object of which a range was requested; None if the answer lacks it."""
    # A store that knows no parts gives all of it, and says how much that is.
    said = str(answer.get("ContentRange") or answer.get("ContentLength") or "").rpartition("/")[2]
    return int(said) if said.isdigit() else None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the store says about an object. `md5` is its ETag, if that looks like the MD5 of its bytes.

    `tag` is the ETag as the store writes it, and `etag` the form in which it is compared.
    """

    size: int
    etag: str
    md5: str | None
    tag: str = ""


class _Body:
    """Writes an answer's body into a file, and stops soon after `max_bytes`.

    With `whole`, it takes nothing of a body that is longer than that.
    """

    def __init__(self, sink: IO[bytes], max_bytes: int | None, *, whole: bool = False) -> None:
        self._sink = sink
        self._whole = whole
        self.max_bytes = max_bytes
        self.is_too_large = False
        self.size = 0
        self.md5 = hashlib.md5(usedforsecurity=False)
        sink.seek(0)
        sink.truncate()

    def wants(self, size: int) -> bool:
        """Whether it takes a body of so many bytes."""
        self.is_too_large = self.max_bytes is not None and size > self.max_bytes
        return not (self._whole and self.is_too_large)

    def take(self, chunk: bytes) -> bool:
        """Whether more is wanted."""
        self._sink.write(chunk)
        self.md5.update(chunk)
        self.size += len(chunk)
        return self.max_bytes is None or self.size <= self.max_bytes


@dataclass(slots=True)
class _Store:
    """The one connection of a process, and what it has learnt about the store."""

    made_for: tuple[object, ...]
    fs: Any
    has_answered: bool = False
    # By bucket, whether its ETags are MD5s, as far as an object whose bytes are known has shown it.
    md5_etags: dict[str, bool] = field(default_factory=dict)
    probed_in: str | None = None
    has_conditions: bool = True
    # The verbs whose last call was tried in vain.
    given_up: set[str] = field(default_factory=set)
    buckets: dict[str, tuple[float, bool]] = field(default_factory=dict)


_current: _Store | None = None
_folder_for_probes: str | None = None
_have_stores_answered = False
_locks: dict[int, threading.Lock] = {}


def _store() -> _Store:
    """Made anew in a process that was forked, whose parent's connection it cannot use, and when the
    environment gives other credentials or another store.
    """
    global _current
    environment = ((k, v) for k, v in os.environ.items() if k.startswith(("AWS_", "FSSPEC_")))
    wanted = (os.getpid(), *sorted(environment))
    # Keyed by process, since a lock may be held in the parent at the moment of a fork.
    with _locks.setdefault(os.getpid(), threading.Lock()):
        if _current is None or _current.made_for != wanted:
            _current = _Store(wanted, _connected())
        return _current


def _connected() -> Any:
    import s3fs

    fs = s3fs.S3FileSystem(
        # A cached listing goes stale as soon as another process writes.
        use_listings_cache=False,
        skip_instance_cache=True,
        config_kwargs={
            "connect_timeout": _CONNECT_TIMEOUT_S,
            "read_timeout": _READ_TIMEOUT_S,
            "max_pool_connections": _NUM_CONNECTIONS,
            # Each layer that tries again multiplies the tries of the others.
            "retries": {"mode": "standard", "total_max_attempts": 1},
        },
    )
    fs.retries = 1
    fs.s3.meta.events.register_last("before-parameter-build.s3", _stay_here)
    parsers = fs.session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_instant)
    return fs


def _instant(value: Any) -> datetime:
    """As botocore reads a time, which takes four fifths of what it takes to read a list: one a name."""
    with suppress(TypeError, ValueError):
        found = datetime.fromisoformat(value)
        if found.tzinfo is not None:
            return found
    from botocore.utils import parse_timestamp

    other: datetime = parse_timestamp(value)
    return other


def _stay_here(model: Any, context: Any, **_: Any) -> None:
    """To learn where a bucket is, botocore asks HeadBucket, and where that is redirected too, asks
    again without end. The redirect has what it wants to know, so that one need not be followed.
    """
    if model.name == "HeadBucket" and "s3_redirect" in context:
        context["s3_redirect"]["redirected"] = True


def _tried(verb: str, uri: str, attempt: Callable[[], _T]) -> _T:
    """What `attempt` returns, after retries while the fault may pass. Raises our own errors."""
    num_tries = 0
    received: list[str | None] = []

    def counted() -> _T:
        nonlocal num_tries
        num_tries += 1
        return attempt()

    def may_pass(error: Exception) -> bool:
        received.append(getattr(error, "received", None))
        # The same bytes again and again are what the store has.
        is_stored = received[-1] is not None and received[-_MAX_SAME:] == received[-1:] * _MAX_SAME
        return s3_faults.may_pass(error) and not is_stored

    def limit() -> Patience:
        store = _store()
        is_trusted = store.has_answered or _have_stores_answered
        return PATIENCE if is_trusted and verb not in store.given_up else BRIEF

    try:
        result = persistently(counted, may_pass=may_pass, patience=limit)
    except Fault as fault:
        if fault.kind == "passing":
            _store().given_up.add(verb)
        raise s3_faults.storage_error(verb, uri, fault, num_tries) from (fault.__cause__ or fault)
    _store().given_up.discard(verb)
    return result


def _look(bucket: str, key: str) -> _Seen:
    """What the store says about an object, without reading it (HEAD). Raises Fault."""
    if not bucket or not key:
        raise Fault("refused", "expected a URL such as s3://bucket/key")
    try:
        return _seen(_ask("head_object", Bucket=bucket, Key=key))
    except Fault as fault:
        if fault.kind not in ("forbidden", "unexplained"):
            raise
    # The answer to a HEAD has no body to give a reason in.
    return _seen(_ask("get_object", body=_Body(io.BytesIO(), 0), Bucket=bucket, Key=key))


def _fetch(bucket: str, key: str, sink: IO[bytes], max_bytes: int | None) -> _Seen:
    """Read an object into a file. Raises Fault, TooLargeError."""
    # In one request: parts of an object that is overwritten meanwhile would be of two of them.
    body = _Body(sink, max_bytes, whole=True)
    try:
        answer = _ask("get_object", body=body, Bucket=bucket, Key=key)
    except Fault as fault:
        if fault.kind == "missing":
            _check_bucket(bucket)
        raise
    if body.is_too_large:
        check_size(f"s3://{bucket}/{key}", answer["ContentLength"], max_bytes)
    md5 = body.md5.hexdigest()
    if _md5_in(answer) == md5:
        _store().md5_etags.setdefault(bucket, True)
        return _seen(answer)
    # The answer does not prove itself. Another one at least tells the length.
    seen = _look(bucket, key)
    if _plain(answer.get("ETag")) not in (None, seen.etag):
        raise Fault("damaged", f"expected the ETag {seen.etag}, received {answer['ETag']}")
    if body.size != seen.size:
        raise Fault("damaged", f"expected {seen.size} bytes, received {body.size}")
    _check_genuine(bucket, md5, seen)
    return seen


def _put(bucket: str, key: str, data: bytes, md5: str, **condition: Any) -> str | None:
    """Write by one PUT; returns the ETag in the answer. If that is the MD5, all bytes have arrived.

    Raises Fault.
    """
    digest = base64.b64encode(bytes.fromhex(md5)).decode()
    answer = _ask("put_object", Bucket=bucket, Key=key, Body=data, ContentMD5=digest, **condition)
    etag = _plain(answer.get("ETag"))
    if etag == md5:
        _store().md5_etags.setdefault(bucket, True)
    return etag


def _md5_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _check_bucket(bucket: str) -> None:
    """Raises Fault if there is no such bucket; a HEAD answers the same as for a missing key."""
    store = _store()
    at, is_there = store.buckets.get(bucket, (-_BUCKET_KNOWN_S, True))
    if time.monotonic() - at > _BUCKET_KNOWN_S:
        is_there = True
        try:
            _ask("head_bucket", Bucket=bucket)
        except Fault as fault:
            if fault.kind == "passing":
                raise
            # Any other refusal is of a bucket that is there.
            is_there = fault.kind != "no_bucket"
        store.buckets[bucket] = (time.monotonic(), is_there)
    if not is_there:
        raise Fault("no_bucket", f"there is no bucket {bucket}")


def _check_genuine(bucket: str, md5: str, seen: _Seen) -> None:
    """Raises Fault if bytes with this MD5 are not what the store has, as far as its ETag shows."""
    if seen.md5 is None:
        return
    if md5 == seen.md5:
        _store().md5_etags.setdefault(bucket, True)
        return
    if _is_md5(bucket):
        hint = f" (if ETags of {bucket} are no MD5s, set NST_S3_ETAGS=opaque)"
        said = "" if bucket in _store().md5_etags else hint
        words = f"expected the MD5 {seen.md5} of its ETag, received {md5}{said}"
        raise Fault("damaged", words, received=md5)


def _is_md5(bucket: str) -> bool:
    """Whether an ETag of a bucket that looks like an MD5 is the MD5 of the object's bytes.

    S3 says that it is, unless the object is encrypted with keys of KMS or of the client, which the
    answer tells. Some stores keep neither of that. Bytes that contradict an ETag cannot show it, however
    often they arrive; an object that this process wrote can, and so can the user.
    """
    if _known(bucket) is None:
        _probe()
    return _known(bucket) is not False


def _known(bucket: str) -> bool | None:
    """What is known of a bucket's ETags: by its objects, the user, or objects in other buckets."""
    known = _store().md5_etags
    if bucket not in known and os.environ.get("NST_S3_ETAGS") == "opaque":
        return False
    return known.get(bucket, any(known.values()) if known else None)


def _probe() -> None:
    """Write an object where `work_for` allows it, once, which shows what ETags mean there."""
    store = _store()
    if _folder_for_probes in (None, store.probed_in):
        return
    store.probed_in = _folder_for_probes
    uri = probe_uri(str(_folder_for_probes))
    # Without an answer it stays unknown, and whoever asked says so.
    with suppress(StorageError):
        write_object(uri, secrets.token_bytes(64))
        delete_object(uri)


def _is_there(
    bucket: str, key: str, size: int, etag: str, put_etag: str | None, *, is_whole: bool = True
) -> bool:
    """Whether the object is now the one of these bytes.

    `etag` is what it has where ETags are MD5s, of the bytes themselves if it `is_whole`, and `put_etag`
    what the PUT of it answered.
    """
    try:
        seen = _look(bucket, key)
    except Fault as fault:
        if fault.kind == "missing":
            return False
        raise
    known = _store().md5_etags
    if seen.size != size:
        return False
    if seen.etag == etag:
        known.setdefault(bucket, True)
        return True
    if seen.md5 is None or known.get(bucket) is False or not (is_whole or _is_md5(bucket)):
        return put_etag is not None and seen.etag == put_etag
    if not is_whole:
        return False
    # The ETag is another MD5, or none. The bytes are known here, so they decide.
    body = _Body(io.BytesIO(), None)
    answer = _ask("get_object", body=body, Bucket=bucket, Key=key)
    is_ours = body.md5.hexdigest() == etag
    if is_ours and _md5_in(answer) not in (None, etag):
        known[bucket] = False
        _log.warning(
            "the ETags of the bucket %s are not MD5 digests: only the length of what is read from it "
            "is checked",
            bucket,
        )
    return is_ours


def _page(**params: Any) -> Mapping[str, Any]:
    """One page of a list. Raises Fault for an answer that is not a list; it is not an empty page."""
    page = _ask("list_objects_v2", **params)
    if "KeyCount" not in page and "IsTruncated" not in page:
        raise Fault("passing", "expected a list of objects, found something else")
    token = page.get("NextContinuationToken")
    if page.get("IsTruncated") and token in (None, params.get("ContinuationToken")):
        raise Fault("passing", "expected a list that says where its next page begins, found none")
    return page


def _seen(answer: Mapping[str, Any]) -> _Seen:
    size, etag = answer.get("ContentLength"), _plain(answer.get("ETag"))
    if size is None or etag is None:
        raise Fault("passing", "expected an S3 store that tells an ETag, found none")
    return _Seen(size=size, etag=etag, md5=_md5_in(answer), tag=answer["ETag"])


def _md5_in(answer: Mapping[str, Any]) -> str | None:
    """The MD5 that an ETag claims to be."""
    etag = _plain(answer.get("ETag"))
    # Under a key of its own, or one of the client, an ETag is something else.
    is_encrypted = "kms" in answer.get("ServerSideEncryption", "") or answer.get(
        "SSECustomerAlgorithm"
    )
    is_md5 = etag is not None and _MD5.fullmatch(etag) is not None and not is_encrypted
    return etag if is_md5 else None


def _said(answer: Mapping[str, Any], name: str) -> str:
    """A field that every valid answer has. Raises Fault if it is missing."""
    if not answer.get(name):
        raise Fault("passing", f"expected an answer with {name}, found none")
    return str(answer[name])


def _plain(etag: str | None) -> str | None:
    return etag.removeprefix("W/").strip('"').lower() if etag else None


def _ask(method: str, *, body: _Body | None = None, **params: Any) -> dict[str, Any]:
    """The store's answer to one request; its body, if any, goes into `body`. Raises Fault."""
    try:
        store = _store()
    except Exception as exc:
        raise Fault("unusable", s3_faults.words_of(exc)) from exc
    work = _answer(store.fs, method, params, body)
    try:
        answer = asyncio.run_coroutine_threadsafe(work, store.fs.loop).result()
    except Fault as exc:
        store.has_answered |= exc.is_answer
        raise
    except Exception as exc:
        fault = s3_faults.fault_of(method, exc)
        store.has_answered |= fault.is_answer
        raise fault from exc
    store.has_answered = True
    return answer


async def _answer(
    fs: Any, method: str, params: Mapping[str, Any], into: _Body | None
) -> dict[str, Any]:
    asking = fs._call_s3(method, **params)
    answer: dict[str, Any] = await asyncio.wait_for(asking, _limit_s(len(params.get("Body", b""))))
    body = answer.get("Body")
    if body is None or into is None:
        return answer
    try:
        size = answer.get("ContentLength")
        if size is not None and into.wants(size):
            await asyncio.wait_for(_take(body, into), _limit_s(size))
    finally:
        body.close()
    return answer


def _limit_s(num_bytes: int) -> float:
    return MIN_REQUEST_S + num_bytes / _MIN_BYTES_PER_S


async def _take(body: Any, into: _Body) -> None:
    while chunk := await _chunk(body):
        if not into.take(chunk):
            return


async def _chunk(body: Any) -> bytes:
    try:
        chunk: bytes = await body.read(_CHUNK_BYTES)
    except TimeoutError:
        raise
    except Exception as exc:
        # Cut off in the middle, or not what its checksum says, which the words have.
        words = s3_faults.words_of(exc)
        is_whole = type(exc).__name__ == "FlexibleChecksumError"
        raise Fault("damaged", words, is_answer=True, received=words if is_whole else None) from exc
    return chunk
