"""URL <-> bytes on any store; the only fsspec.

A URL without a scheme is a local path. Every object appears under its name whole or not at all.
"""

import os
import posixpath
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import url2pathname

import fsspec
from fsspec.implementations.local import LocalFileSystem

from nst.errors import ConfigError, ForbiddenError, NotFoundError, StorageError

_NUM_REQUESTS = 16

_S = TypeVar("_S")
_T = TypeVar("_T")


def read_bytes(uri: str) -> bytes:
    """The whole object. Raises NotFoundError where there is none, StorageError otherwise."""
    with _translated("read", uri):
        fs, path = _filesystem(uri)
        data: bytes = fs.cat_file(path)
        return data


def write_bytes(uri: str, data: bytes) -> None:
    """Put the whole object under its name at once, over any that is there."""
    with _translated("write", uri):
        fs, path = _filesystem(uri)
        if isinstance(fs, LocalFileSystem):
            _write_file(Path(path), data)
        else:
            # One request, since a file object left in the middle would publish what it holds.
            fs.pipe_file(path, data)


def in_parallel(function: Callable[[_S], _T], items: Sequence[_S]) -> list[_T]:
    """`function` of each item, in their order: stores answer many at once. Raises what it raises."""
    with ThreadPoolExecutor(_NUM_REQUESTS) as pool:
        return list(pool.map(function, items))


def list_sizes(folder: str) -> dict[str, int]:
    """The names of the objects right in `folder` and their bytes; none where there is no folder."""
    with _translated("list", folder):
        fs, path = _filesystem(folder)
        try:
            entries = fs.ls(path, detail=True)
        except FileNotFoundError:
            return {}
        return {
            posixpath.basename(entry["name"]): entry["size"]
            for entry in entries
            if entry["type"] != "directory"
        }


def glob(base: str, pattern: str) -> list[str]:
    """The files that `pattern` matches, sorted, each written as the pattern is: relative or not.

    A file whose name is the pattern itself, brackets and all, is the only match.
    """
    uri = resolve(base, pattern)
    with _translated("list", uri):
        fs, path = _filesystem(uri)
        if fs.isfile(path):
            return [pattern]
        matches = sorted(m for m in fs.glob(path) if not fs.isdir(m))
        if is_absolute(pattern):
            return (
                matches
                if isinstance(fs, LocalFileSystem)
                else [fs.unstrip_protocol(m) for m in matches]
            )
        base_path = _filesystem(base)[1]
        return [posixpath.relpath(m, base_path) for m in matches]


def is_absolute(reference: str) -> bool:
    """Whether a path or URL stands on its own."""
    return is_same_anywhere(reference) or reference.startswith("~")


def resolve(base: str, reference: str) -> str:
    """A readable URL of `reference`, which may be relative to the folder `base`."""
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

    Raises ConfigError for what can be neither a path nor a URL.
    """
    scheme, separator, rest = uri.rpartition("://")
    if not rest.strip("/") if separator else not uri.strip():
        raise ConfigError(f"expected a path or a URL such as s3://bucket/folder, found {uri!r}")
    if scheme == "file":
        return url2pathname(rest)
    return uri if separator else os.path.abspath(os.path.expanduser(uri))


def is_same_anywhere(uri: str) -> bool:
    """Whether a path or URL means the same whatever the working folder."""
    return "://" in uri or os.path.isabs(uri)


def browsable(uri: str) -> str:
    """`uri` as a link that a browser can open, where it can at all."""
    return uri if "://" in uri else Path(absolute(uri)).as_uri()


def _filesystem(uri: str) -> tuple[Any, str]:
    options: dict[str, Any] = {}
    if uri.startswith(("s3://", "s3a://")):
        # A cached listing goes stale as soon as another process writes.
        options = {"use_listings_cache": False}
    fs, path = fsspec.core.url_to_fs(uri, **options)
    return fs, path


def _write_file(path: Path, data: bytes) -> None:
    """Temporary file beside the final name, synced, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _translated(verb: str, uri: str) -> Iterator[None]:
    """Turn what a store raises into our errors, with the URL and whether to try again."""
    try:
        yield
    except FileNotFoundError as exc:
        raise NotFoundError(f"cannot {verb} {uri}: there is no such file or object") from exc
    except IsADirectoryError as exc:
        raise NotFoundError(f"cannot {verb} {uri}: expected a file, found a folder") from exc
    except PermissionError as exc:
        if verb == "read":
            raise ForbiddenError(f"cannot read {uri}: {_said(exc)}") from exc
        raise StorageError(f"cannot {verb} {uri}: {_said(exc)}") from exc
    except OSError as exc:
        raise StorageError(f"cannot {verb} {uri}: {_said(exc)}") from exc
    except Exception as exc:
        # s3fs lets through what botocore and aiohttp raise, and fsspec's other stores and its
        # answer to an unknown scheme raise what they like.
        message = f"cannot {verb} {uri}: {_said(exc)}"
        raise StorageError(message, ends_the_run=_is_from_s3(exc)) from exc


def _is_from_s3(error: Exception) -> bool:
    """Whether botocore or aiohttp raised it; by name, since importing them takes long."""
    modules = {cls.__module__.partition(".")[0] for cls in type(error).__mro__}
    return bool(modules & {"botocore", "aiobotocore", "aiohttp"})


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def delete(uri: str) -> None:
    with _translated("delete", uri):
        fs, path = _filesystem(uri)
        try:
            fs.rm_file(path)
        except FileNotFoundError:
            return


def list_tree(folder: str) -> dict[str, int]:
    with _translated("list", folder):
        fs, path = _filesystem(folder)
        found = fs.find(path, detail=True)
        return {posixpath.relpath(name, path): info["size"] for name, info in found.items()}


def check_writable(folder: str) -> None:
    uri = join(folder, f".nst-probe-{secrets.token_hex(8)}")
    write_bytes(uri, b"x")
    delete(uri)


_LEFTOVER = re.compile(r"(.*/)?\.([0-9a-f]{16}\.tmp|nst-probe-[0-9a-f]{16})")


def is_leftover(path: str) -> bool:
    """Whether a path is that of a file which a process that was killed was just writing."""
    return bool(_LEFTOVER.fullmatch(path))
