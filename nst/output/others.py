"""The rows that other manifests have in an output: told by their manifest's name, kept by a run.

A row belongs to the manifest that named it. A run replaces the rows of its own manifest, and what
the rows of others say of a picture stays true: where the run has made it anew, they tell of that one.
"""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from tempfile import gettempdir
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nst import storage
from nst.errors import CorruptTransferError, NotFoundError, NSTError, StorageError
from nst.job import LABEL_PREFIX
from nst.output import metadata
from nst.output.metadata import OUTCOME_COLUMNS, PARAM_COLUMNS, failure
from nst.output.paths import METADATA, RUN
from nst.output.records import RecordTable
from nst.redaction import redacted, secret_in, without_user
from nst.storage import (
    TEXT,
    Column,
    RowReader,
    Table,
    TableError,
    column_names,
    find,
    is_pattern,
    joined,
    read_texts,
    rows_in_order,
    side_by_side,
    table_of,
    values_at,
    with_column,
)

# With their loss curves so many take 20 MB.
_ROWS_AT_ONCE = 10_000

_log = logging.getLogger(__name__)


def manifest_name(uri: str, output: str) -> str:
    """What the metadata calls a manifest: its URL, one and the same however it was written.

    Without credentials, so that a gallery may show it. A manifest in the output is told by its path
    in it, which stays the same where the output is moved.
    """
    name, folder = _canonical(uri), f"{_canonical(output).rstrip('/')}/"
    inside = name.removeprefix(folder)
    return inside if inside and inside != name else _without_credentials(name)


def _canonical(uri: str) -> str:
    if uri.startswith("s3a://"):
        return f"s3://{uri.removeprefix('s3a://')}"
    path = storage.absolute(uri)
    if "://" in path:
        return path
    # The slash at its end says that it is a folder.
    return f"{os.path.abspath(path).rstrip('/')}/" if uri.endswith("/") else os.path.abspath(path)


def _without_credentials(name: str) -> str:
    shown = without_user(name)
    if shown.startswith(("http://", "https://")):
        address, _, query = shown.partition("#")[0].partition("?")
        kept = [each for each in query.split("&") if each and not secret_in(f"?{each}")]
        # What else is in the query of a signed URL is another one each time.
        is_signed = any(
            "sign" in each.lower() or each.startswith("sig=") for each in query.split("&")
        )
        shown = address if is_signed or not kept else f"{address}?{'&'.join(kept)}"
    return redacted(shown)


def read_account(output: str) -> dict[str, Any] | None:
    """The run.json of an output's last run, or None if there was none."""
    uri = storage.join(output, RUN)
    try:
        account = json.loads(storage.read_bytes(uri))
    except NotFoundError:
        return None
    except (ValueError, RecursionError, CorruptTransferError) as exc:
        _log.warning("%s: expected the account of a run, ignoring what was found: %s", uri, exc)
        return None
    return account if isinstance(account, dict) else None


def manifests_before(account: Mapping[str, Any] | None, manifest: str) -> dict[str, Any]:
    """What the run.json of a run of `manifest` says of the rows before it, by that of the last run.

    `manifests` are the names of all that may have rows in the metadata until the run ends, and
    `manifest_of_old_rows` is that of rows which name none; left out where it is not known.
    """
    if account is None:
        return {}
    names = names_in(account)
    told = _manifest_of_old_rows(account) if names is None else None
    found = {"manifests": sorted({*names, manifest})} if names is not None else {}
    return found if told is None else found | {"manifest_of_old_rows": told}


def names_in(account: Mapping[str, Any]) -> list[str] | None:
    """The manifests that have rows in the metadata by a run.json; None where it does not tell."""
    names = account.get("manifests")
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None


def _manifest_of_old_rows(account: Mapping[str, Any]) -> str | None:
    # A run that did not finish has left the metadata of the run before it.
    is_finished = account.get("state") == "finished"
    found = account.get("manifest" if is_finished else "manifest_of_old_rows")
    return found if isinstance(found, str) else None


@dataclass(frozen=True, slots=True)
class OtherRows:
    """The rows of other manifests in an open file of metadata.

    `table` has their ids, manifests and picture digests; `at` are their positions in the file, and
    the first `num_before` of them come before the rows of the run's own manifest. The manifest is ""
    where nothing tells it. `missing` are the manifests that have rows by run.json, and none there.
    """

    file: IO[bytes]
    table: Table
    at: NDArray[np.int64]
    num_before: int
    missing: tuple[str, ...]

    def labels(self) -> tuple[list[str], list[str]]:
        """The labels that any of these rows has: those before the run's own rows, and the others."""
        if not len(self.at):
            return [], []
        names = [name for name in column_names(self.file) if name.startswith(LABEL_PREFIX)]
        found = [
            (name.removeprefix(LABEL_PREFIX), self.at[has_text])
            for name in names
            for texts in [read_texts(self.file, [name])]
            if (has_text := _has_text(texts, name)[self.at]).any()
        ]
        border = self.at[self.num_before] if self.num_before < len(self.at) else None
        before = [name for name, at in found if border is None or (at < border).any()]
        return before, [name for name, _ in found if name not in before]


def other_rows(output: str, manifest: str, file: IO[bytes]) -> OtherRows | None:
    """The rows of other manifests in the output's metadata, which is put into `file`; None if none.

    `manifest` is the name of the run's own. Raises TableError for metadata that are damaged.
    """
    account = read_account(output) or {}
    known = names_in(account) or []
    if known == [manifest]:
        # Of a million rows the metadata is gigabytes, which need not be read for that.
        return None
    try:
        storage.read_into(storage.join(output, METADATA), file)
        table = read_texts(file, _TOLD)
    except NotFoundError:
        table = table_of((), [Column(name, TEXT, "") for name in _TOLD])
    except CorruptTransferError as exc:
        # Damage, whether the store finds it on the way or the file shows it.
        raise TableError(f"damage that the store reports: {exc}") from exc
    told = _manifest_of_old_rows(account)
    names = _names(table, manifest_name(told, output) if told else "")
    is_other = names != manifest
    at = np.nonzero(is_other)[0]
    missing = tuple(sorted({*known} - {*names.tolist(), manifest}))
    if not len(at) and not missing:
        return None
    own = np.nonzero(~is_other)[0]
    num_before = len(at) if not len(own) else int(np.searchsorted(at, own[0]))
    kept = with_column(table.take(at), "manifest", names[at].tolist())
    return OtherRows(file, kept, at, num_before, missing)


_TOLD = ("id", "manifest", "picture_digest")


def lost_manifests(output: str, manifest: str, error: TableError) -> tuple[str, ...]:
    """The other manifests that had rows in metadata which cannot be read; says so, and what to do."""
    lost = tuple(name for name in names_in(read_account(output) or {}) or () if name != manifest)
    _log.warning(
        "%s: expected the metadata of the runs before, found %s; the rows of other manifests are "
        "left out: run %s again, and nst clean only after that",
        storage.join(output, METADATA),
        error,
        ", ".join(lost) or "those manifests",
    )
    return lost


def manifests_in(file: IO[bytes]) -> set[str]:
    """The names of all manifests that have rows in an open file of metadata."""
    return {
        name for name in read_texts(file, ["manifest"])["manifest"].unique().to_pylist() if name
    }


def _names(table: Table, of_old_rows: str) -> NDArray[np.object_]:
    """The name of each row's manifest, that of old rows where it names none."""
    column = table["manifest"].fill_null(of_old_rows)
    found: NDArray[np.object_] = column.to_numpy(zero_copy_only=False)
    return found


def _has_text(table: Table, name: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = table[name].is_valid().to_numpy(zero_copy_only=False)
    return found


def is_gone(manifest: str, output: str) -> bool:
    """Whether a manifest of this name is there no more: it was moved, or was a temporary one.

    "" is one of which nothing is known. Where only a disk or a bucket could tell, or where it does
    not, it counts as there; so does one on a disk of which this machine has not even its folder, since
    that may be another machine's. A pattern is there while any file matches it.
    """
    if not manifest:
        return True
    uri = storage.resolve(output, manifest)
    if "://" in uri and not uri.startswith("s3://"):
        return False
    try:
        is_there = _has_files(uri) if manifest.endswith("/") else bool(manifest_files(uri))
    except StorageError:
        # Of somebody else's folder or bucket, which is no reason to end a run that needs neither.
        return False
    return not is_there and not _may_be_elsewhere(manifest)


def manifest_files(uri: str) -> list[str]:
    """The file of this very name, wildcards and all, or else those that it matches as a pattern."""
    if storage.exists(uri):
        return [uri]
    return storage.glob(storage.parent(uri), uri) if is_pattern(uri) else []


def _has_files(folder: str) -> bool:
    """Whether anything is in a folder, or in folders below it, such as those called `column=value`."""
    return bool(storage.list_sizes(folder) or storage.list_tree(folder))


def _may_be_elsewhere(manifest: str) -> bool:
    """Whether a manifest that is not here may be on the disk of another machine.

    One in the output is on a disk that all have who work on it, and one in the folder for temporary
    files was temporary on any machine.
    """
    path = storage.local_path(manifest)
    if path is None or not path.is_absolute() or os.path.isdir(storage.parent(str(path))):
        return False
    return not os.path.realpath(path).startswith(f"{os.path.realpath(gettempdir())}{os.sep}")


def with_other_rows(
    own: IO[bytes],
    others: OtherRows,
    output: str,
    made: RecordTable,
    labels: Sequence[str],
    *,
    remade: Sequence[str] | None = None,
) -> Iterator[Table]:
    """The rows of the run, from the open file `own`, among those of other manifests.

    `made` are the records of all pictures; `labels` are those that the tables have. A row that other
    manifests have in common with the run stays theirs too, unless that manifest is there no more.

    Before the run makes pictures, `remade` are the ids of those: no row tells of them any more, and
    none is left out, since run.json still names its manifest until the run ends.
    """
    columns = metadata.metadata_columns(labels)
    merger = _Merger(own, others, output, made, columns, remade)
    yield from merger.others(0, others.num_before)
    yield from rows_in_order(own, columns, _ROWS_AT_ONCE)
    yield from merger.others(others.num_before, len(others.at))


_OF_PICTURE = tuple(c.name for c in (*OUTCOME_COLUMNS, *PARAM_COLUMNS))
# A row keeps the key of the picture that it asks for.
_OF_RESULT = tuple(c.name for c in OUTCOME_COLUMNS if c.name not in ("key", "inputs_key"))


class _Merger:
    """What becomes of the rows of other manifests."""

    def __init__(
        self,
        own: IO[bytes],
        others: OtherRows,
        output: str,
        made: RecordTable,
        columns: Sequence[Column],
        remade: Sequence[str] | None,
    ) -> None:
        self._others = others
        self._made = made
        self._columns = columns
        self._own = RowReader(own, columns)
        told = read_texts(own, ("id", "status"))
        ids = others.table["id"]
        self._own_at = find(ids.to_pylist(), told["id"])
        self._is_painted = np.array([status == "ok" for status in told["status"].to_pylist()])
        self._made_at = made.find(ids.to_pylist())
        names = others.table["manifest"].to_pylist()
        gone = lru_cache(maxsize=None)(lambda name: is_gone(name, output))
        self._is_remade = find(ids.to_pylist(), remade or ()) >= 0
        may_drop = (self._own_at >= 0) & (remade is None)
        self._is_dropped = np.array(
            [may and gone(name) for may, name in zip(may_drop.tolist(), names, strict=True)], bool
        )

    def others(self, start: int, stop: int) -> Iterator[Table]:
        """Those of these numbers, as the metadata has them."""
        if start == stop:
            return
        first, last = 0, int(self._others.at[stop - 1])
        for table in rows_in_order(self._others.file, self._columns, _ROWS_AT_ONCE):
            low, high = np.searchsorted(self._others.at, (first, first + len(table)))
            numbers = np.arange(max(low, start), min(high, stop))
            numbers = numbers[~self._is_dropped[numbers]] if len(numbers) else numbers
            if len(numbers):
                yield self._kept(table.take(self._others.at[numbers] - first), numbers)
            first += len(table)
            if first > last:
                return

    def _kept(self, rows: Table, numbers: NDArray[np.int64]) -> Table:
        """These rows, with what is true of their pictures."""
        names = self._others.table["manifest"].take(numbers)
        rows = with_column(rows, "manifest", [name or None for name in names.to_pylist()])
        own_at = self._own_at[numbers]
        is_anew = np.zeros(len(rows), bool)
        is_anew[own_at >= 0] = self._is_painted[own_at[own_at >= 0]]
        made_at = self._made_at[numbers]
        is_remade = self._is_remade[numbers]
        is_stale = ~is_anew & ~is_remade & self._are_stale(rows, made_at)
        is_as_before = ~(is_anew | is_remade | is_stale)
        parts = [
            rows.filter(is_as_before),
            self._with_own(rows.filter(is_anew), own_at[is_anew], _OF_PICTURE),
            self._with_own(rows.filter(is_remade), own_at[is_remade], _OF_RESULT),
            self._with_records(rows.filter(is_stale), made_at[is_stale]),
        ]
        order = [np.nonzero(each)[0] for each in (is_as_before, is_anew, is_remade, is_stale)]
        return joined(parts).take(np.argsort(np.concatenate(order)))

    def _with_own(self, rows: Table, own_at: NDArray[np.int64], named: Sequence[str]) -> Table:
        """The rows with what the run says of the same pictures in these columns."""
        distinct, which = np.unique(own_at, return_inverse=True)
        found = self._own.take(distinct).take(which)
        return _with_columns(rows, found.select(named))

    def _are_stale(self, rows: Table, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the picture of each row has been made anew since, as its record tells.

        A row without a picture has it where the record is of the very picture that it asks for.
        """
        recorded = values_at(self._made.table, "picture_digest", at)
        said = rows["picture_digest"].to_pylist()
        is_same = self._are_same(rows, at)
        return np.array(
            [
                there is not None and digest != there and (digest is not None or same)
                for digest, there, same in zip(said, recorded, is_same.tolist(), strict=True)
            ],
            bool,
        )

    def _are_same(self, rows: Table, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the record of each row has its key."""
        recorded = values_at(self._made.table, "key", at)
        return np.array(
            [a == b for a, b in zip(rows["key"].to_pylist(), recorded, strict=True)], bool
        )

    def _with_records(self, rows: Table, at: NDArray[np.int64]) -> Table:
        """The rows with their records, where these are of the same key; failed where not."""
        is_same = self._are_same(rows, at)
        outcomes = [
            self._made.read(at[is_same]),
            metadata.outcomes_to_table(
                replace(failure(name, _made_anew(manifest)), finished_at=None)
                for name, manifest in zip(
                    rows["id"].filter(~is_same).to_pylist(),
                    rows["manifest"].filter(~is_same).to_pylist(),
                    strict=True,
                )
            ),
        ]
        order = np.concatenate([np.nonzero(is_same)[0], np.nonzero(~is_same)[0]])
        return _with_columns(rows, joined(outcomes).take(np.argsort(order)))


def _made_anew(manifest: str | None) -> NSTError:
    return NSTError(
        "its picture was made anew with other inputs or parameters, and this row does not tell of "
        f"that one; run {manifest or 'its manifest'} again"
    )


def _with_columns(rows: Table, others: Table) -> Table:
    """The rows with these columns in place of their own of the same names."""
    kept = [name for name in rows.column_names if name not in others.column_names]
    return side_by_side(rows.select(kept), others).select(rows.column_names)
