"""URL <-> bytes on any store; errors say if they concern one object or the store. The only fsspec.

A URL without a scheme is a local path. Every object appears under its name whole or not at all.
"""

import io
import os
import posixpath
import re
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from html import unescape
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote, unquote, urljoin
from urllib.request import url2pathname

import fsspec
from fsspec.implementations.local import LocalFileSystem

from nst.errors import (
    AccessError,
    ConfigError,
    CorruptTransferError,
    ForbiddenError,
    NotFoundError,
    StorageError,
    TooLargeError,
)
from nst.iterables import in_parallel
from nst.redaction import redacted
from nst.storage import files, lookalikes, s3, web
from nst.storage.files import Found, Listed, Version
from nst.storage.retries import persistently
from nst.storage.wildcards import matcher, may_match_below

_NUM_REQUESTS = 16
_PASSING_STATUSES = {408, 425, 429, 500, 502, 503, 504}

# Of files beyond this many bytes no store is given all at once, nor are they ever all in memory.
LARGE_BYTES = 64 << 20

# Of a writer that was killed: a local file's, and the probe.
_LEFTOVER = re.compile(r"(.*/)?\.([0-9a-f]{16}\.tmp|nst-probe-[0-9a-f]{16})")

# What a page lists, and how long one may be. No link is looked for beyond the next tag: of a page of
# tags that do not end, that would be the rest of the page for each.
_LINK = re.compile(r"""<a\s[^<>]*?href\s*=\s*["']?([^"'\s>]+)""", re.IGNORECASE)
_MAX_PAGE_BYTES = 16 << 20
_has_roots = False

_S = TypeVar("_S")
_T = TypeVar("_T")


def read_bytes(uri: str, *, max_bytes: int | None = None) -> bytes:
    """All bytes of an object, from one moment in time and undamaged.

    Raises NotFoundError, ForbiddenError, TooLargeError before anything of more than `max_bytes` is
    read, CorruptTransferError, and StorageError otherwise.
    """
    return read(uri, max_bytes=max_bytes).data


def read(uri: str, *, max_bytes: int | None = None) -> Found:
    """As `read_bytes`, with the version of these bytes if the store tells one."""
    path = local_path(uri)
    if path is not None:
        return files.read_file(path, max_bytes=max_bytes)
    if is_s3(uri):
        return s3.read_object(uri, max_bytes=max_bytes)
    if is_web(uri):
        return _from_web(uri, max_bytes, web.OF_OPERATOR)
    data = _patiently("read", uri, lambda: _read_other(uri, max_bytes))
    return Found(data, len(data), Version(""))


def read_input(uri: str, *, max_bytes: int) -> Found:
    """As `read`, of what a row names, who may be a stranger; see `name_roots`.

    From the web it takes 60 seconds at most, follows no redirect, and raises AccessError for a host
    name that points to an address which is not of the public internet, unless there are roots.
    """
    return _from_web(uri, max_bytes, _of_row()) if is_web(uri) else read(uri, max_bytes=max_bytes)


def name_roots(roots: Sequence[str]) -> None:
    """Say whether the URLs of rows are all in folders that the user has named.

    Their hosts may then have private addresses.
    """
    global _has_roots
    _has_roots = bool(roots)


def read_start(uri: str, num_bytes: int, *, max_bytes: int | None = None) -> Found:
    """The first `num_bytes` of an object, or all of it if it is shorter or the store cannot send less.

    Raises as `read_bytes`, which checks more, since it sees all bytes.
    """
    path = local_path(uri)
    if path is not None:
        return files.read_file_start(path, num_bytes, max_bytes=max_bytes)
    if is_s3(uri):
        return s3.read_object_start(uri, num_bytes, max_bytes=max_bytes)
    return read(uri, max_bytes=max_bytes)


@contextmanager
def hinting(uri: str) -> Iterator[None]:
    """Let a NotFoundError of an input say what may have been meant."""
    try:
        yield
    except NotFoundError as exc:
        hint = redacted(lookalikes.hint(uri, local_path(uri)))
        if not hint:
            raise
        raise NotFoundError(f"{exc}{hint}") from exc


def write_bytes(uri: str, data: bytes) -> str:
    """Write an object, atomically, over any earlier one, and check that it has arrived.

    Returns the version that `list_objects` will report, or "" if that is not known.
    Raises StorageError, which ends the run.
    """
    path = local_path(uri)
    if path is not None:
        return files.write_file(path, data)
    if is_s3(uri):
        return s3.write_object(uri, data)
    # One request, since a file object left in the middle would publish what it holds.
    _patiently("write", uri, lambda: _call(uri, "pipe_file", data))
    return ""


def read_into(uri: str, file: IO[bytes]) -> None:
    """As `read_bytes`, into an open file whose content is replaced, without holding all in memory."""
    path = local_path(uri)
    if path is not None:
        files.read_file_into(path, file)
    elif is_s3(uri):
        s3.read_object_into(uri, file)
    elif is_web(uri):
        _read_web(uri, file, None, web.OF_OPERATOR)
    else:
        _patiently("read", uri, lambda: _read_other_into(uri, file))


def write_file(uri: str, file: IO[bytes]) -> str:
    """As `write_bytes`, with the content of an open file; a large one is never all in memory."""
    path = local_path(uri)
    if path is not None:
        return files.write_blocks(path, files.blocks_of(file))
    if file.seek(0, os.SEEK_END) <= LARGE_BYTES:
        file.seek(0)
        return write_bytes(uri, file.read())
    if is_s3(uri):
        return s3.write_large_object(uri, file)
    _patiently("write", uri, lambda: _write_other(uri, file))
    return ""


def update(uri: str, change: Callable[[bytes], bytes | None]) -> bool:
    """Replace a small object by `change` of its bytes; whether it was replaced.

    It is not if there is no object or `change` returns None. If several processes update at the same
    time, each sees the changes of the others, on local disks and in S3 stores that support If-Match;
    elsewhere the last one wins. Raises StorageError, which ends the run.
    """
    path = local_path(uri)
    if path is not None:
        return files.update_file(path, change)
    if is_s3(uri):
        return s3.update_object(uri, change)
    try:
        data = change(read_bytes(uri))
    except NotFoundError:
        return False
    if data is not None:
        write_bytes(uri, data)
    return data is not None


def delete(uri: str) -> None:
    """Remove the object, if there is one. Raises StorageError."""
    path = local_path(uri)
    if path is not None:
        files.delete_file(path)
    elif is_s3(uri):
        s3.delete_object(uri)
    else:
        with suppress(NotFoundError):
            _patiently("delete", uri, lambda: _call(uri, "rm_file"))


def delete_all(uris: Sequence[str], *, check: Callable[[], None] = lambda: None) -> None:
    """Remove those of these objects that exist, all in one output; many per request if the store can.

    `check` is called right before each request. Raises StorageError.
    """
    left = uris
    if uris and is_s3(uris[0]):
        length = s3.NUM_DELETED_AT_ONCE
        at_once = [uris[start : start + length] for start in range(0, len(uris), length)]
        remove = s3.delete_objects
        left = [uri for some in in_parallel(remove, at_once, check=check) for uri in some]
    in_parallel(delete, left, check=check)


def check_writable(folder: str) -> None:
    """Write a small object in `folder`, read it and delete it; a local folder is made first.

    Raises ConfigError if a file is in the way, and StorageError, which ends the run, if any of the
    three steps fails: within 20 seconds for an S3 store that does not answer at all.
    """
    path = local_path(folder)
    if path is not None:
        files.make_folder(path)
    data = secrets.token_bytes(64)
    uri = s3.probe_uri(folder)
    write_bytes(uri, data)
    try:
        found = read_bytes(uri)
    except StorageError as exc:
        with suppress(StorageError):
            delete(uri)
        raise StorageError(f"{exc}; expected to read what was just written there") from exc
    delete(uri)
    if found != data:
        raise StorageError(
            f"cannot use {redacted(folder)}: expected to read what was just written there, found "
            "other bytes; check the store, and run it again"
        )


def work_for(output: str, *, have_answered: bool) -> None:
    """Say that this process works for the run of an output, whose stores have answered or not.

    Those that have are waited for from the first request on, and reads may write one test object in
    the output, if that is a bucket and they have to know whether the ETags of a store are MD5s.
    """
    s3.work_for(output if is_s3(output) else None, have_answered=have_answered)


def is_leftover(path: str) -> bool:
    """Whether a path is the temporary file of a writer; it stays only if the writer was killed."""
    return bool(_LEFTOVER.fullmatch(path))


def exists(uri: str) -> bool:
    """Whether there is an object. Raises StorageError if the store does not answer that.

    On a disk that is ForbiddenError where this user may not look.
    """
    path = local_path(uri)
    if path is not None:
        return files.is_file(path)
    if is_s3(uri):
        return s3.object_exists(uri)
    found: bool = _patiently("look at", uri, lambda: _exists_other(uri))
    return found


def list_sizes(folder: str) -> dict[str, int]:
    """Name -> size in bytes of the objects directly in `folder`; empty if there is no folder."""
    return {name: found.size for name, found in _listed(folder, deep=False)}


def list_objects(folder: str) -> Iterable[tuple[str, Listed]]:
    """Name and object for all directly in `folder`; none if there is no folder.

    Iterate over it only once: a million objects need not be in memory together.
    """
    return _listed(folder, deep=False)


def list_tree(folder: str, *, may_skip: Callable[[str], bool] = lambda _: False) -> dict[str, int]:
    """Path relative to `folder` -> size in bytes, of all objects below it at any depth.

    On a disk, folders below it that this user may not read are left out where `may_skip` of their
    paths relative to `folder`; of any others it raises StorageError.
    """
    return {path: found.size for path, found in _listed(folder, deep=True, may_skip=may_skip)}


def glob(base: str, pattern: str) -> list[str]:
    """The files that `pattern` matches, sorted, each written as the pattern is: relative or not.

    A file whose name is the pattern itself, brackets and all, is the only match. Wildcards match no
    hidden files and folders, which begin with a dot, unless the pattern names some.
    """
    uri = full_pattern(base, pattern)
    matches = _matches(uri)
    if not matches and local_path(uri) is None and not is_web(uri):
        # In a store it costs a request to find out which folders there are.
        literal = _with_literal_folders(uri, lambda _: True)
        matches = _matches(literal) if literal != uri else []
    if is_absolute(pattern):
        return matches
    start = _path_within(base)
    return [posixpath.relpath(_path_within(match), start) for match in matches]


def _path_within(uri: str) -> str:
    """The path of an object among those of its store."""
    path = local_path(uri)
    return str(path) if path is not None else f"/{uri.partition('://')[2]}"


def _matches(uri: str) -> list[str]:
    """The files that an absolute pattern matches, sorted; those of a disk as paths."""
    if is_web(uri):
        return _glob_web(uri)
    folder, rest = split_pattern(uri)
    path = local_path(folder)
    names = _names_below(folder, rest)
    found = [rest] if rest in names else sorted(_matching(names, rest))
    matches = [join(folder if path is None else str(path), name) for name in found]
    # A link to a folder is listed as a file.
    return matches if path is None else [each for each in matches if not os.path.isdir(each)]


def full_pattern(base: str, pattern: str) -> str:
    """An absolute pattern, of which what is no pattern is escaped as `[[]` is.

    That is the folder `base`, and a folder of a disk that has the very name of a part of the pattern.
    """
    uri = pattern
    if not is_absolute(pattern):
        uri = resolve(_MAGIC.sub(r"[\1]", base), pattern)
    path = local_path(uri)
    return uri if path is None else _with_literal_folders(str(path), os.path.isdir)


def split_pattern(uri: str) -> tuple[str, str]:
    """The folder in which all matches of an absolute pattern are, and the pattern within it."""
    parts = uri.split("/")
    plain = len(parts) - 1
    first = next((i for i, part in enumerate(parts) if is_pattern(_ESCAPED.sub("", part))), plain)
    return _ESCAPED.sub(r"\1", "/".join(parts[:first])) or "/", "/".join(parts[first:])


def escaped(text: str) -> str:
    """A pattern that `text` alone matches; `text` itself where it has no wildcard."""
    return _MAGIC.sub(r"[\1]", text)


def literal_of(pattern: str) -> str | None:
    """The one text that a pattern matches, by `escaped`; None of a pattern that may match others."""
    return None if is_pattern(_ESCAPED.sub("", pattern)) else _ESCAPED.sub(r"\1", pattern)


_MAGIC = re.compile(r"([*?[])")
_ESCAPED = re.compile(r"\[([*?[])\]")


def _with_literal_folders(uri: str, is_folder: Callable[[str], bool]) -> str:
    """The pattern with those leading folders escaped that have only brackets, and are folders."""
    *folders, name = uri.split("/")
    for number, part in enumerate(folders):
        plain = _ESCAPED.sub("", part)
        found = _ESCAPED.sub(r"\1", "/".join(folders[: number + 1]))
        if is_pattern(plain):
            if "*" in plain or "?" in plain or not is_folder(found):
                break
            folders[number] = _MAGIC.sub(r"[\1]", part)
    return "/".join([*folders, name])


def _names_below(folder: str, rest: str) -> Collection[str]:
    """The files that a pattern in a folder may match, by their paths in the folder."""
    is_deep = "**" in rest
    if is_s3(folder):
        return s3.objects_in(folder, deep="/" in rest or is_deep)
    path = local_path(folder)
    if path is not None:
        # Not by fsspec, which leaves out what it cannot read.
        found = files.files_in(
            path, deep=True, may_skip=_is_of_file_system, may_enter=partial(_may_hold, rest)
        )
        return {name for name, _ in found}
    depth = None if is_deep else rest.count("/") + 1
    with _translated("list", folder):
        fs, start = _filesystem(folder)
        return {posixpath.relpath(each, start) for each in fs.find(start, maxdepth=depth)}


def _may_hold(pattern: str, folder: str) -> bool:
    """Whether a folder may hold what a pattern matches, or the file whose name is the pattern itself."""
    if pattern.startswith(f"{folder}/"):
        return True
    may_match = may_match_below(pattern.split("/"), folder.split("/"))
    return may_match and bool(_HIDDEN.search(pattern) or not _HIDDEN.search(folder))


def _is_of_file_system(folder: str) -> bool:
    """Whether a folder is one that a disk has for itself, and that no user but root may read."""
    return posixpath.basename(folder) == "lost+found"


def _matching(names: Iterable[str], pattern: str) -> Iterator[str]:
    is_match = matcher(pattern)
    is_hidden = _HIDDEN.search
    if is_hidden(pattern):
        return (name for name in names if is_match(name))
    return (name for name in names if is_match(name) and not is_hidden(name))


_HIDDEN = re.compile(r"(^|/)\.[^./]")


def is_absolute(reference: str) -> bool:
    """Whether a path or URL is absolute. ~x.png is not: it may be the name of a file."""
    return is_same_anywhere(reference) or with_home(reference) != reference


def with_home(path: str) -> str:
    """The path with ~ at its start as the home folder, and ~NAME as that of a user who exists."""
    try:
        return os.path.expanduser(path)
    except ValueError:
        # A user's name with NUL in it is none.
        return path


def resolve(base: str, reference: str) -> str:
    """The URL or path of `reference`, which may be relative to the folder `base`."""
    if is_absolute(reference):
        return reference
    if "://" not in base:
        return os.path.normpath(os.path.join(base, reference))
    scheme, _, rest = base.partition("://")
    bucket, _, folder = rest.rstrip("/").partition("/")
    # Only the joined path is tidied: in a store, `a/../b` given in full is a key like any other.
    joined = posixpath.normpath(posixpath.join("/", folder, reference))
    return f"{scheme}://{bucket}{joined}"


def join(base: str, *names: str) -> str:
    """`base` with names below it."""
    return "/".join([base.rstrip("/") or "/", *names])


def parent(uri: str) -> str:
    """The folder that holds `uri`."""
    if "://" not in uri:
        return os.path.dirname(os.path.abspath(uri))
    return uri.rpartition("/")[0]


def absolute(uri: str) -> str:
    """`uri`, with a local path made absolute, so that it means the same in any working folder.

    Raises ConfigError for a text that is neither a path nor a URL, and for a relative path in a
    working folder that is gone.
    """
    if (meant := url_meant_by(uri)) is not None:
        raise ConfigError(
            f"expected {redacted(meant)!r}, with :// behind the scheme, found {redacted(uri)!r}"
        )
    scheme, separator, rest = uri.rpartition("://")
    if not rest.strip("/") if separator else not uri.strip():
        raise ConfigError(f"expected a path or a URL such as s3://bucket/folder, found {uri!r}")
    if scheme == "file":
        return url2pathname(rest)
    if separator:
        return uri
    try:
        return os.path.abspath(with_home(uri))
    except FileNotFoundError as exc:
        raise ConfigError(
            f"expected an absolute path, or a working folder for {uri!r}, found that the working folder "
            "has been deleted; cd to another one"
        ) from exc


def url_meant_by(text: str) -> str | None:
    """The URL that a text such as s3:/bucket/key must mean, which would otherwise be a relative path."""
    found = _ONE_SLASH.fullmatch(text)
    if not found:
        return None
    scheme = found[1].lower()
    return f"{scheme}://{'/' if scheme == 'file' else ''}{found[2]}"


_ONE_SLASH = re.compile(
    r"(s3a?|gs|gcs|https?|az|abfss?|adl|ftp|sftp|hdfs|memory|file):(?!//)[/\\]*([^/\\].*)",
    re.IGNORECASE | re.DOTALL,
)


def is_same_anywhere(uri: str) -> bool:
    """Whether a path or URL means the same whatever the working folder."""
    return "://" in uri or os.path.isabs(uri)


def browsable(uri: str) -> str:
    """`uri` as a link that a browser can open, if there is one."""
    return uri if "://" in uri else Path(absolute(uri)).as_uri()


def relative_link(folder: str, start: str) -> str:
    """The relative URL from a page in the folder `start` to `folder`: "", or a URL that ends in /.

    Raises ConfigError if they are not on one file system or in one bucket.
    """
    here, there = (absolute(uri) for uri in (start, folder))
    schemes = [uri.partition("://")[0] if "://" in uri else "" for uri in (here, there)]
    if schemes[0] == schemes[1] and not schemes[0]:
        found = os.path.relpath(there, here).replace(os.sep, "/")
    elif schemes[0] == schemes[1] or all(map(is_s3, (here, there))):
        paths = [posixpath.normpath(f"/{uri.partition('://')[2]}") for uri in (here, there)]
        if paths[0].split("/")[1] != paths[1].split("/")[1]:
            found = None
        else:
            found = posixpath.relpath(paths[1], paths[0])
    else:
        found = None
    if found is None:
        raise ConfigError(
            f"{redacted(folder)}: expected a place that {redacted(start)} can link to, on one disk "
            "or in one bucket, found another; copy the outputs to one of them"
        )
    return "" if found == "." else f"{quote(found)}/"


def _listed(
    folder: str, *, deep: bool, may_skip: Callable[[str], bool] = lambda _: False
) -> Iterable[tuple[str, Listed]]:
    path = local_path(folder)
    if path is not None:
        return files.files_in(path, deep=deep, may_skip=may_skip)
    if is_s3(folder):
        return s3.objects_in(folder, deep=deep).items()
    try:
        found = _patiently("list", folder, lambda: _listed_other(folder, deep=deep))
    except NotFoundError:
        return ()
    return found.items()


def is_s3(uri: str) -> bool:
    """Whether a URL names an object in an S3 store."""
    return uri.startswith(("s3://", "s3a://"))


def is_web(uri: str) -> bool:
    """Whether a URL is asked of a web server."""
    return uri.startswith(("http://", "https://"))


def local_path(uri: str) -> Path | None:
    """The local path of a path or file URL; None for other stores."""
    if "://" not in uri:
        return Path(with_home(uri))
    if uri.startswith(("file://", "local://")):
        return Path(unquote(LocalFileSystem._strip_protocol(uri)))
    return None


def _of_row() -> web.Terms:
    return web.OF_ROW_IN_ROOT if _has_roots else web.OF_ROW


def _from_web(uri: str, max_bytes: int | None, terms: web.Terms) -> Found:
    sink = io.BytesIO()
    _read_web(uri, sink, max_bytes, terms)
    return Found(sink.getvalue(), len(sink.getvalue()), Version(""))


def _read_web(uri: str, sink: IO[bytes], max_bytes: int | None, terms: web.Terms) -> None:
    read = web.reader(uri, terms)
    _patiently("read", uri, lambda: read(sink, max_bytes))


def _glob_web(uri: str) -> list[str]:
    """The file itself, or the links of the page of its folder that the pattern matches.

    A web server has no other list.
    """
    plain = _ESCAPED.sub(r"\1", uri)
    if _is_on_web(plain):
        return [plain]
    folder, name = split_pattern(uri)
    if "/" in name:
        raise NotFoundError(
            f"cannot list {redacted(plain)}: expected a pattern in the name of a file, since a web "
            "server lists one folder at a time"
        )
    start = f"{folder}/"
    page = _from_web(start, _MAX_PAGE_BYTES, _of_row()).data.decode(errors="replace")
    links = {urljoin(start, unescape(link)) for link in _LINK.findall(page)}
    names = [link.removeprefix(start) for link in links if link.startswith(start)]
    return sorted(start + found for found in _matching(names, name))


def _is_on_web(uri: str) -> bool:
    try:
        _from_web(uri, 0, _of_row())
    except TooLargeError:
        return True
    except StorageError:
        return False
    return True


def _filesystem(uri: str) -> tuple[Any, str]:
    fs, path = fsspec.core.url_to_fs(uri)
    return fs, path


def _call(uri: str, method: str, *arguments: object) -> Any:
    fs, path = _filesystem(uri)
    return getattr(fs, method)(path, *arguments)


def _read_other(uri: str, max_bytes: int | None) -> bytes:
    size = _call(uri, "info").get("size")
    if size is not None:
        files.check_size(uri, size, max_bytes)
    data: bytes = _call(uri, "cat_file")
    files.check_size(uri, len(data), max_bytes)
    _check_received(uri, size, len(data))
    return data


def _check_received(uri: str, size: int | None, received: int) -> None:
    if size is not None and received != size:
        raise CorruptTransferError(
            f"cannot read {redacted(uri)}: expected {size} bytes as the store says, received "
            f"{received}, at every try; run it again"
        )


def _read_other_into(uri: str, file: IO[bytes]) -> None:
    fs, path = _filesystem(uri)
    size = fs.info(path).get("size")
    file.seek(0)
    file.truncate()
    with fs.open(path, "rb") as source:
        shutil.copyfileobj(source, file)
    _check_received(uri, size, file.tell())


def _exists_other(uri: str) -> bool:
    fs, path = _filesystem(uri)
    return bool(fs.isfile(path))


def _write_other(uri: str, file: IO[bytes]) -> None:
    """Write under another name first: fsspec publishes even a half-written file when it is closed."""
    fs, path = _filesystem(uri)
    temporary = posixpath.join(posixpath.dirname(path), f".{secrets.token_hex(8)}.tmp")
    file.seek(0)
    try:
        with fs.open(temporary, "wb") as sink:
            shutil.copyfileobj(file, sink)
        size = fs.info(temporary).get("size")
        if size not in (None, file.tell()):
            raise ConnectionError(f"expected {file.tell()} bytes to arrive, found {size}")
        fs.mv(temporary, path)
    except BaseException:
        # What went wrong before is what to report.
        with suppress(Exception):
            fs.rm_file(temporary)
        raise


def _listed_other(folder: str, *, deep: bool) -> dict[str, Listed]:
    fs, path = _filesystem(folder)
    found = fs.find(path, detail=True).values() if deep else fs.ls(path, detail=True)
    return {
        posixpath.relpath(entry["name"], path): Listed(entry["size"], _version(entry))
        for entry in found
        if entry["type"] != "directory"
    }


def _version(entry: Mapping[str, Any]) -> str:
    """The version of an object, from whichever field this store puts it in."""
    known = ("ETag", "etag", "md5Hash", "mtime", "last_modified", "LastModified", "created")
    return next((str(entry[name]) for name in known if entry.get(name)), "")


def _patiently(verb: str, uri: str, attempt: Callable[[], _T]) -> _T:
    """What `attempt` returns, after retries while the error may pass. Raises our own errors."""
    with _translated(verb, uri):
        return persistently(attempt, may_pass=_may_pass, patience=lambda: s3.PATIENCE)


def _may_pass(error: Exception) -> bool:
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 400:
        return status in _PASSING_STATUSES
    is_of_network = isinstance(error, ConnectionError | TimeoutError) or "aiohttp" in _origins(
        error
    )
    return is_of_network or isinstance(error, CorruptTransferError)


def _origins(error: Exception) -> set[str]:
    """The libraries that an error's classes are from; by name, since importing them takes long."""
    return {cls.__module__.partition(".")[0] for cls in type(error).__mro__}


@contextmanager
def _translated(verb: str, uri: str) -> Iterator[None]:
    """Turn fsspec's exceptions into our errors, with the URL; see `StorageError.ends_the_run`."""
    start = redacted(f"cannot {verb} {uri}")
    try:
        yield
    except (StorageError, ConfigError, AccessError):
        raise
    except FileNotFoundError as exc:
        raise NotFoundError(f"{start}: there is no such file or object") from exc
    except IsADirectoryError as exc:
        raise NotFoundError(f"{start}: expected a file, found a folder") from exc
    except Exception as exc:
        message = f"{start}: {redacted(str(exc) or type(exc).__name__)}"
        is_refusal = isinstance(exc, PermissionError) or getattr(exc, "status", 0) in (401, 403)
        if is_refusal and verb == "read":
            raise ForbiddenError(message) from exc
        # A URL that is wrong, or of a host that no other row may name, concerns its row alone.
        is_of_all = isinstance(exc, OSError) and not is_web(uri)
        raise StorageError(message, ends_the_run=verb != "read" or is_of_all) from exc


def is_pattern(text: str) -> bool:
    """Whether `text` contains a wildcard of a glob: *, ? or [."""
    return any(character in text for character in "*?[")
