"""The files of an output, and its metadata as the table that it is or as records."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from io import BytesIO
from typing import IO, TypeVar

from nst import storage
from nst.errors import ConfigError, CorruptTransferError, NotFoundError
from nst.output.metadata import (
    CLAIM_COLUMNS,
    Outcome,
    Record,
    claims_of,
    metadata_from_parquet,
)
from nst.output.others import manifests_in
from nst.output.paths import METADATA
from nst.storage import ScratchFile, TableError, column_names, rows_in_order

_ROWS_AT_ONCE = 10_000

_File = TypeVar("_File", bound=IO[bytes])


def read_metadata(url: str) -> list[Record]:
    """The rows of an output's last run. Raises ConfigError where there was none."""
    try:
        return metadata_from_parquet(read_table(url, BytesIO()).getvalue())
    except (TableError, KeyError) as exc:
        raise _no_metadata(url, exc) from exc


@dataclass(frozen=True, slots=True)
class Claims:
    """What the metadata say of files: the outcomes of all rows, as `claims_of`, and the manifests of these."""

    outcomes: Sequence[Outcome]
    manifests: Set[str]


def read_claims(url: str) -> Claims:
    """The claims of an output's last run. Raises ConfigError where there was none."""
    try:
        with ScratchFile() as file:
            return claims_in(read_table(url, file))
    except TableError as exc:
        raise _no_metadata(url, exc) from exc


def claims_in(file: IO[bytes]) -> Claims:
    """The claims in an open file of metadata; of its columns only those are read.

    Raises TableError for a file that is damaged there, and for one that is no metadata.
    """
    if missing := {"id", "status"} - {*column_names(file)}:
        raise TableError(f"a table without the column {min(missing)}")
    tables = rows_in_order(file, CLAIM_COLUMNS, _ROWS_AT_ONCE)
    return Claims([each for table in tables for each in claims_of(table)], manifests_in(file))


def _no_metadata(url: str, error: Exception) -> ConfigError:
    uri = storage.join(url, METADATA)
    return ConfigError(f"{uri}: expected the metadata of a run, found {error}")


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
