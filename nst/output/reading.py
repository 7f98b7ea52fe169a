"""The files of an output, and its metadata as the table that it is or as records."""

from io import BytesIO
from typing import IO, TypeVar

from nst import storage
from nst.errors import ConfigError, CorruptTransferError, NotFoundError
from nst.output.metadata import Record, metadata_from_parquet
from nst.output.paths import METADATA
from nst.storage import TableError

_File = TypeVar("_File", bound=IO[bytes])


def read_metadata(url: str) -> list[Record]:
    """The rows of an output's last run. Raises ConfigError where there was none."""
    try:
        return metadata_from_parquet(read_table(url, BytesIO()).getvalue())
    except (TableError, KeyError) as exc:
        uri = storage.join(url, METADATA)
        raise ConfigError(f"{uri}: expected the metadata of a run, found {exc}") from exc


def read_table(url: str, file: _File) -> _File:
    """The metadata of an output, put into `file`. Raises ConfigError where there is none."""
    try:
        storage.read_into(storage.join(url, METADATA), file)
        return file
    except NotFoundError as exc:
        raise ConfigError(f"{exc}; expected the output of a run") from exc


def read_whole(url: str, path: str) -> bytes | None:
    """A file of an output; None if it is missing, or damaged by the store's own account."""
    try:
        return storage.read_bytes(storage.join(url, path))
    except (NotFoundError, CorruptTransferError):
        return None
