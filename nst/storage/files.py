"""Local files <-> bytes; a file appears under its name whole or not at all."""

import errno
import hashlib
import io
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import SpooledTemporaryFile, gettempdir
from typing import IO, Any

from nst.errors import (
    ConfigError,
    CorruptTransferError,
    ForbiddenError,
    NotFoundError,
    StorageError,
    TooLargeError,
)
from nst.redaction import redacted

try:
    import fcntl
except ImportError:
    # Windows has none.
    fcntl = None  # type: ignore[assignment]

_MAX_READS = 3
_BLOCK_BYTES = 1 << 20
# There are as many such files as an output has parts of records.
MAX_SCRATCH_BYTES = 8 << 20
# The coarsest clock that a file system keeps its times by, FAT's, ticks so often.
TICK_NS = 2_000_000_000

# What a file system says of one path, and what of itself, with what to do about it.
_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
_REFUSALS = {errno.EACCES, errno.EPERM}
_OF_ONE_PATH = {"read", "look at"}
_ADVICE: Mapping[int, str] = {
    errno.ENOSPC: "the disk is full; free some space and run it again",
    errno.EDQUOT: "the quota is used up; free some space and run it again",
    errno.EROFS: "the file system is read-only; write elsewhere or mount it writable",
    errno.EIO: "the disk reports an error; look at the system's log, and write elsewhere",
    errno.EACCES: "this user may not write there; change the rights or write elsewhere",
    errno.EPERM: "this user may not write there; change the rights or write elsewhere",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n)",
}


class ScratchFile(SpooledTemporaryFile[bytes]):
    """A temporary file without a name: in memory while it is small, else in the temporary folder.

    Raises StorageError if that folder has no room for it.
    """

    def __init__(self) -> None:
        super().__init__(MAX_SCRATCH_BYTES)

    def rollover(self) -> None:
        with _translated("write", Path(gettempdir())):
            super().rollover()

    def write(self, data: Any) -> int:
        with _translated("write", Path(gettempdir())):
            return super().write(data)


def digest_of_file(file: IO[bytes]) -> str:
    """The sha256 of an open file's bytes."""
    file.seek(0)
    # What mypy knows of it is the file that it takes, not the one that there is.
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Version:
    """A text that changes whenever an object's bytes are written; "" if the store tells none.

    Its first two words are the object's own, and any others are of the machine that looked at it.
    `is_settled` is False while bytes can still be written without it changing: a file that was
    written within the tick of a clock can be written again in that tick, of the same size.
    """

    text: str
    is_settled: bool = True

    @property
    def settled(self) -> str | None:
        """The text, where it can be relied on."""
        return self.text if self.text and self.is_settled else None

    def is_of_other_bytes(self, other: str) -> bool:
        """Whether an object of this version was written since it had the `other` one."""
        return self.text.split()[:2] != other.split()[:2]


@dataclass(frozen=True, slots=True)
class Found:
    """The bytes read from an object of `size` bytes (all, or its first ones), and their version."""

    data: bytes
    size: int
    version: Version

    @property
    def is_whole(self) -> bool:
        return len(self.data) == self.size


def read_file(path: Path, *, max_bytes: int | None = None) -> Found:
    """All bytes of a file, from one moment in time. Raises NotFoundError, ForbiddenError, TooLargeError,
    CorruptTransferError if the file keeps changing, and StorageError otherwise.
    """
    sink = io.BytesIO()
    version = read_file_into(path, sink, max_bytes=max_bytes)
    data = sink.getvalue()
    return Found(data, len(data), version)


def read_file_start(path: Path, num_bytes: int, *, max_bytes: int | None = None) -> Found:
    """The first `num_bytes` of a file, or all if it is shorter. Raises as `read_file`."""
    with _translated("read", path):
        now_ns = time.time_ns()
        with open(path, "rb", opener=_at_once) as file:
            found = os.fstat(file.fileno())
            _check_kind(path, found)
            check_size(str(path), found.st_size, max_bytes)
            return Found(file.read(num_bytes), found.st_size, _version(found, now_ns))


def version_of(path: Path) -> Version:
    """The current version of a file, or an empty one if it cannot be found out."""
    now_ns = time.time_ns()
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return Version("")
    return _version(found, now_ns) if stat.S_ISREG(found.st_mode) else Version("")


def is_file(path: Path) -> bool:
    """Whether there is a file. Raises ForbiddenError if this user may not look, else StorageError."""
    try:
        # Path.is_file lets some of the system's exceptions through, others not.
        with _translated("look at", path):
            return stat.S_ISREG(os.stat(path).st_mode)
    except NotFoundError:
        return False


def _version(found: os.stat_result, now_ns: int) -> Version:
    """Of what was found by a look that began at `now_ns`.

    By the time of the inode too, which nobody can set back: a copy that keeps the times of another
    file can have all else of what it is written over.
    """
    written_ns = max(found.st_mtime_ns, found.st_ctime_ns)
    text = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
    return Version(text, now_ns - written_ns >= TICK_NS)


def read_file_into(path: Path, sink: IO[bytes], *, max_bytes: int | None = None) -> Version:
    """As `read_file`, block by block into an open file, whose content is replaced."""
    with _translated("read", path):
        for _ in range(_MAX_READS):
            now_ns = time.time_ns()
            sink.seek(0)
            sink.truncate()
            with open(path, "rb", opener=_at_once) as file:
                before = os.fstat(file.fileno())
                _check_kind(path, before)
                check_size(str(path), before.st_size, max_bytes)
                size = 0
                # One byte more, to see whether there is one.
                while size <= before.st_size and (
                    block := file.read(min(_BLOCK_BYTES, before.st_size + 1 - size))
                ):
                    size += sink.write(block)
                after = os.fstat(file.fileno())
            is_whole = size == before.st_size
            if is_whole and (before.st_size, before.st_mtime_ns) == (
                after.st_size,
                after.st_mtime_ns,
            ):
                return _version(after, now_ns)
    raise CorruptTransferError(
        f"cannot read {redacted(str(path))}: expected {before.st_size} bytes that stay as they "
        f"are, found {size} and a file that changes; wait until its writer is done"
    )


def check_size(name: str, num_bytes: int, max_bytes: int | None) -> None:
    """Raises TooLargeError for an object of more than `max_bytes`."""
    if max_bytes is not None and num_bytes > max_bytes:
        raise TooLargeError(
            f"cannot read {redacted(name)}: expected at most {max_bytes:,} bytes, found "
            f"{num_bytes:,}; use a smaller file"
        )


def write_file(path: Path, data: bytes) -> str:
    """Write a file atomically and durably, over any earlier one.

    Returns the version that a listing will report. Raises StorageError, which ends the run; then an
    earlier file stays as it was.
    """
    return write_blocks(path, (data,))


def blocks_of(file: IO[bytes], num_bytes: int = _BLOCK_BYTES) -> Iterator[bytes]:
    """The content of an open file from its beginning, in blocks."""
    file.seek(0)
    while block := file.read(num_bytes):
        yield block


def write_blocks(path: Path, blocks: Iterable[bytes]) -> str:
    """As `write_file`, from blocks of bytes."""
    with _translated("write", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("xb") as file:
                file.writelines(blocks)
                file.flush()
                os.fsync(file.fileno())
                version = str(os.fstat(file.fileno()).st_mtime_ns)
            temporary.replace(path)
        finally:
            # The disk that took no file may not take this either, and that is not what to report.
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return version


def update_file(path: Path, change: Callable[[bytes], bytes | None]) -> bool:
    """Replace a file by `change` of its bytes; whether it was replaced.

    If several processes update at the same time, each sees the changes of the others. Without file
    locks of the system this fails if one of them is suspended in between.
    """
    while True:
        with _translated("write", path):
            try:
                file = path.open("r+b")
            except (FileNotFoundError, NotADirectoryError):
                return False
            with file:
                _lock(file)
                # Whoever held the lock has put another file in its place, or none.
                if not _is_at(file, path):
                    continue
                data = change(file.read())
                if data is not None:
                    write_file(path, data)
                return data is not None


def _lock(file: IO[bytes]) -> None:
    """Wait until no other process has it locked; it is unlocked when it is closed."""
    with suppress(OSError):
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def delete_file(path: Path) -> None:
    """Remove the file, if there is one. Raises StorageError."""
    with _translated("delete", path), suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing tells about an object: its size in bytes, and its version."""

    size: int
    version: str


def files_in(
    folder: Path,
    *,
    deep: bool,
    may_skip: Callable[[str], bool] = lambda _: False,
    may_enter: Callable[[str], bool] = lambda _: True,
) -> Iterator[tuple[str, Listed]]:
    """Path relative to `folder` and file, for each file in it, or with `deep` at any depth.

    Of folders below it, only those are looked into that `may_enter` of their paths relative to
    `folder`. Nothing if there is no folder. Raises StorageError, which names it, for a folder that
    cannot be read, unless it is below `folder`, this user may not read it, and `may_skip` of its path.
    """
    yield from _listed(folder, "", deep=deep, may_skip=may_skip, may_enter=may_enter)


def make_folder(folder: Path) -> None:
    """Create `folder` if it does not exist. Raises ConfigError if a file is in its way."""
    with _translated("write", folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as exc:
            in_the_way = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
            raise ConfigError(
                f"cannot write to {redacted(str(folder))}: expected a folder, or nothing yet, "
                f"found the file {redacted(str(in_the_way))}; choose another folder"
            ) from exc


def _listed(
    folder: Path,
    below: str,
    *,
    deep: bool,
    may_skip: Callable[[str], bool],
    may_enter: Callable[[str], bool],
) -> Iterator[tuple[str, Listed]]:
    with _translated("list", folder):
        try:
            yield from _entries(folder, below, deep=deep, may_skip=may_skip, may_enter=may_enter)
        except PermissionError:
            if not below or not may_skip(below.rstrip("/")):
                raise


def _entries(
    folder: Path,
    below: str,
    *,
    deep: bool,
    may_skip: Callable[[str], bool],
    may_enter: Callable[[str], bool],
) -> Iterator[tuple[str, Listed]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=not deep):
                inner = below + entry.name
                if deep and may_enter(inner):
                    yield from _listed(
                        Path(entry), f"{inner}/", deep=True, may_skip=may_skip, may_enter=may_enter
                    )
                continue
            try:
                found = entry.stat(follow_symlinks=not deep)
            except FileNotFoundError:
                # What another process removed meanwhile is no longer one of them.
                continue
            yield below + entry.name, Listed(found.st_size, str(found.st_mtime_ns))


def _at_once(path: str, flags: int) -> int:
    """Open a file without waiting; a pipe would otherwise wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_kind(path: Path, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise NotFoundError(
            f"cannot read {redacted(str(path))}: expected a file, found a device, a pipe or a socket"
        )


def _sync_folder(folder: Path) -> None:
    """Write the folder itself to disk, so that a new name survives a power cut."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as exc:
        # Some network file systems have no such thing, and the file itself is synced.
        if exc.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextmanager
def _translated(verb: str, path: Path) -> Iterator[None]:
    """Turn the system's exceptions into our errors, with the path and what to do."""
    start = f"cannot {verb} {redacted(str(path))}"
    try:
        yield
    except IsADirectoryError as exc:
        raise _fault(verb, f"{start}: expected a file, found a folder") from exc
    except OSError as exc:
        said = redacted(exc.strerror or str(exc) or type(exc).__name__)
        if verb in _OF_ONE_PATH:
            if exc.errno in _NO_SUCH_FILE:
                why = "" if exc.errno == errno.ENOENT else f" ({said})"
                raise NotFoundError(f"{start}: there is no such file or object{why}") from exc
            if exc.errno in _REFUSALS:
                raise ForbiddenError(f"{start}: {said}; this user may not read it") from exc
        if verb == "list" and exc.errno in _REFUSALS:
            advice: str | None = "this user may not read it; change the rights"
        else:
            advice = _ADVICE.get(exc.errno or 0)
        raise StorageError(f"{start}: {said}" + (f": {advice}" if advice else "")) from exc
    except ValueError as exc:
        # A path with a NUL character, which no file system can hold.
        raise _fault(verb, f"{start}: {redacted(str(exc))}") from exc


def _fault(verb: str, message: str) -> StorageError:
    """When reading, only this path is affected; when writing, every other write would fail as well."""
    return NotFoundError(message) if verb in _OF_ONE_PATH else StorageError(message)
