"""What an output says is done: one record for each picture, written after it, and the only proof.

A record is a small JSON file of its own, so that nothing that is killed takes another's with it.
When a run ends they are put together into one more Parquet part, since a store answers a request
for one file of ten thousand records as fast as for one record. A part that was written later
stands over the earlier ones, and a single record over all parts.
"""

import hashlib
import itertools
import json
import logging
import re
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import IO, Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from nst import storage
from nst.errors import CorruptTransferError, NotFoundError
from nst.iterables import in_chunks, in_parallel
from nst.output import metadata
from nst.output.metadata import (
    MAX_ATTEMPTS,
    OUTCOME_COLUMNS,
    CurvePoint,
    LayerLoss,
    Outcome,
    Status,
)
from nst.storage import (
    RowReader,
    ScratchFile,
    Table,
    TableError,
    find,
    joined,
    last_of_each,
    read_columns,
    rows_with,
    values_at,
    with_texts,
)

FOLDER = "records"
SINGLES = f"{FOLDER}/new"
SCHEMA_VERSION = 1

_PART = "part-{:06}.parquet"
_NUMBERED = re.compile(r"part-(\d+)\.parquet")
# The first format named a part by a digest. What has another name is none of ours.
_OWN_PART = re.compile(r"(part-\d+|[0-9a-f]{8,64})\.parquet")
# Beyond this many parts they are written anew as one.
MAX_PARTS = 32
# So many are objects at a time: with their loss curves they take 40 kB each.
_OBJECTS_AT_ONCE = 1000
# As columns they take 2 kB each.
_ROWS_AT_ONCE = 10_000
# The number of the file of single records, in place of a part's.
_SINGLE = -1
# No id has such a character, so that no two pictures share a record.
_SUFFIX_OF = {"ok": ".json", "failed": "~failed.json"}

# New texts in records, by the column and the id.
Learned: TypeAlias = Mapping[str, Mapping[str, str]]
_NOTHING: Learned = {}

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


def write(output: str, outcome: Outcome) -> None:
    """Put down what became of a picture. What was made stays proven when a later try fails."""
    storage.write_bytes(storage.join(output, path(outcome.id, outcome.status)), _encoded(outcome))


def path(job_id: str, status: str) -> str:
    """The record of a picture, relative to the output."""
    return f"{SINGLES}/{job_id}{_SUFFIX_OF[status]}"


def told_by(name: str) -> tuple[str, Status]:
    """The id of a picture and what became of it, by the name of its single record."""
    failed = _SUFFIX_OF["failed"]
    if name.endswith(failed):
        return name.removesuffix(failed), "failed"
    return name.removesuffix(_SUFFIX_OF["ok"]), "ok"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The last record of each id that was made, and of each that failed.

    `unread` are the parts that could not be read; `singles` are the names of the files of the single
    records among them.
    """

    made: "RecordTable"
    failed: "RecordTable"
    singles: tuple[str, ...]
    parts: tuple[str, ...]
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Brief:
    """What a record says that a run goes by."""

    id: str
    status: Status
    key: str | None
    inputs_key: str | None
    attempts: int | None
    picture: str | None
    picture_digest: str | None
    picture_bytes: int | None
    picture_version: str | None
    finished_at: datetime | None
    precision: str | None


def last_failure(failed: Brief | None, made: Brief | None) -> Brief | None:
    """The failure, unless the picture was made after it."""
    if failed is None or made is None:
        return failed
    if failed.finished_at is None or made.finished_at is None:
        return None
    return failed if failed.finished_at > made.finished_at else None


_BRIEF = tuple(field.name for field in fields(Brief))


class RecordTable(Mapping[str, Outcome]):
    """Outcomes by id; in memory is only what `Brief` has of each, the rest is read when asked for.

    `table` has a row for each id, whose number is called its position. What is asked by id searches
    all of them each time: for many there is `find`, and then what goes by position.
    """

    def __init__(self, table: Table, files: "_Files") -> None:
        self.table = table
        self._files = files

    def find(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """The position of each id, -1 for one that is not here."""
        return find(ids, self.table["id"])

    def briefs(self, at: NDArray[np.int64]) -> list[Brief | None]:
        """What is at these positions, None at -1."""
        columns = [values_at(self.table, name, at) for name in _BRIEF]
        return [
            None if position < 0 else Brief(*values)
            for position, values in zip(at.tolist(), zip(*columns, strict=True), strict=True)
        ]

    def read(self, at: NDArray[np.int64]) -> Table:
        """The whole outcomes at these positions, none of them -1, with the columns of outcomes."""
        files, rows = (self.table[name].to_numpy()[at] for name in ("file", "row"))
        order = np.lexsort((rows, files))
        found = [metadata.outcomes_to_table(())]
        for file in np.unique(files).tolist():
            found.append(self._files.take(file, rows[order][files[order] == file]))
        return joined(found).take(np.argsort(order))

    def outcomes(self, at: NDArray[np.int64]) -> list[Outcome | None]:
        """As `read`, as objects, None at -1."""
        rows = iter(self.read(at[at >= 0]).to_pylist())
        return [
            metadata.outcome_of_row(next(rows)) if position >= 0 else None
            for position in at.tolist()
        ]

    def claims(self, at: NDArray[np.int64]) -> Iterator[Outcome]:
        """What files there are of the records at these positions, none of them -1, in any order."""
        for table in _read_at(self, np.sort(at)):
            yield from metadata.claims_of(table)

    def __getitem__(self, job_id: str) -> Outcome:
        (found,) = self.outcomes(self.find([job_id]))
        if found is None:
            raise KeyError(job_id)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.table["id"].to_pylist())

    def __len__(self) -> int:
        return len(self.table)


class _Files:
    """The files of all outcomes in full: copies of the parts, and one that has all single records."""

    def __init__(self, output: str, parts: Sequence[str]) -> None:
        self._output = output
        self._parts = parts
        self._opened = ExitStack()
        weakref.finalize(self, self._opened.close)
        self._singles = self._opened.enter_context(ScratchFile())
        self._readers: dict[int, RowReader] = {}

    def keep(self, singles: Iterable[Sequence[Outcome]]) -> Table:
        """Put single records down, and what is kept in memory of them."""
        metadata.write_outcomes(self._singles, map(metadata.outcomes_to_table, singles))
        return _brief_table(self._singles, _SINGLE)

    def take(self, file: int, rows: NDArray[np.int64]) -> Table:
        """The outcomes at these rows of a file, which go up."""
        if file not in self._readers:
            copy = self._singles
            if file != _SINGLE:
                copy = self._opened.enter_context(ScratchFile())
                storage.read_into(storage.join(self._output, FOLDER, self._parts[file]), copy)
            self._readers[file] = RowReader(copy, OUTCOME_COLUMNS)
        return self._readers[file].take(rows)


def read(output: str) -> Ledger:
    """All that the records say. A file among them that is none is left alone, with a warning.

    Also beside a run that ends, and merges single records into a part and parts into one.
    """
    for _ in range(_TRIES - 1):
        try:
            return _read_listed(output)
        except NotFoundError as exc:
            # What is gone since it was listed is in a part that was written before.
            _log.info("%s; its records are listed once more", exc)
    return _read_listed(output)


# A run merges once, so that more are of several runs that end meanwhile.
_TRIES = 4


def _read_listed(output: str) -> Ledger:
    # Parts last: what is merged between the two lists is in both of them, and not in neither.
    singles = _names(output, SINGLES, ".json")
    # By name, which is the order they were written in; those of the first format come first.
    parts = tuple(sorted(filter(_OWN_PART.fullmatch, _names(output, FOLDER, ".parquet"))))
    return _read(output, singles, parts)


def read_new(output: str, ids: Collection[str]) -> Ledger:
    """What the single records of these ids say: those of a run that goes on, or was cut short."""
    wanted = {job_id + suffix: job_id for job_id in ids for suffix in _SUFFIX_OF.values()}
    return _read(output, [name for name in _names(output, SINGLES, ".json") if name in wanted], ())


def _read(output: str, names: Collection[str], parts: tuple[str, ...]) -> Ledger:
    files = _Files(output, parts)
    tables: list[Table] = []
    unread: list[str] = []
    for number, name in enumerate(parts):
        found = _read_part(storage.join(output, FOLDER, name), number)
        if found is not None:
            tables.append(found)
        else:
            unread.append(name)
    singles: list[str] = []

    def outcomes() -> Iterator[list[Outcome]]:
        for some in in_chunks(sorted(names), _OBJECTS_AT_ONCE):
            uris = [storage.join(output, SINGLES, name) for name in some]
            read = in_parallel(_read_single, uris)
            singles.extend(name for name, each in zip(some, read, strict=True) if each is not None)
            yield [each for each in read if each is not None]

    # A single record stands over those of all parts, and so comes last.
    tables.append(files.keep(outcomes()))
    everything = joined(tables)
    del tables
    made, failed = (rows_with(everything, "status", status) for status in ("ok", "failed"))
    del everything
    return Ledger(
        RecordTable(last_of_each(made, "id"), files),
        RecordTable(last_of_each(failed, "id"), files),
        tuple(singles),
        parts,
        tuple(unread),
    )


def precision(output: str) -> str | None:
    """What most of the pictures were made in, None where no record tells.

    All of them, but in an output of a release that chose it anew for each process that painted.
    """
    counts = Counter(filter(None, read(output).made.table["precision"].to_pylist()))
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def is_empty(output: str) -> bool:
    """Whether the store lists no record at all."""
    parts = filter(_OWN_PART.fullmatch, _names(output, FOLDER, ".parquet"))
    return not any(parts) and not _names(output, SINGLES, ".json")


def compact(
    output: str,
    ledger: Ledger,
    *,
    also: Iterable[Outcome] = (),
    learned: Learned = _NOTHING,
    order: Iterable[str] = (),
    check: Callable[[], None] = lambda: None,
) -> None:
    """Put the single records of `ledger`, and what `also` failed, into a part, and remove them.

    So are the records of pictures of which something was `learned`, with that. They come in the order
    of the ids in `order`, in which they are read again, and then the others. `check` is called right
    before each write and deletion. Killed half-way, it leaves some records twice, which say the same.
    """
    news = {outcome.id: outcome for outcome in _news(ledger.failed, list(also))}
    taught = {job_id for texts in learned.values() for job_id in texts}
    if not ledger.singles and not news and not taught:
        return
    made, failed = np.ones(len(ledger.made), bool), ~_have(ledger.failed, news)
    if len(ledger.parts) >= MAX_PARTS:
        _rewrite(output, ledger, made, failed, news, learned, check)
        return
    made = _are_single(ledger.made) | _have(ledger.made, taught)
    failed &= _are_single(ledger.failed)
    ids = list(order)
    rows = (_in_order(ledger.made, made, ids), _in_order(ledger.failed, failed, ids))
    _write_part(output, ledger, *rows, news, learned, check)
    _remove(output, SINGLES, ledger.singles, check)


def with_learned(made: Table, learned: Learned) -> Table:
    """Outcomes of pictures with what was learned of some of them."""
    ids = made["id"].to_pylist()
    for column, texts_by_id in learned.items():
        texts = {row: texts_by_id[name] for row, name in enumerate(ids) if name in texts_by_id}
        made = with_texts(made, column, texts) if texts else made
    return made


def forget(
    output: str, ledger: Ledger, ids: Collection[str], *, check: Callable[[], None] = lambda: None
) -> None:
    """Write the records anew without those of `ids`; `check` is called as by `compact`."""
    if ids:
        made, failed = (~_have(records, ids) for records in (ledger.made, ledger.failed))
        _rewrite(output, ledger, made, failed, {}, {}, check)


def _have(records: RecordTable, ids: Iterable[str]) -> NDArray[np.bool_]:
    """Which of the records have one of these ids."""
    mask = np.zeros(len(records), bool)
    at = records.find(ids)
    mask[at[at >= 0]] = True
    return mask


def _are_single(records: RecordTable) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = records.table["file"].to_numpy() == _SINGLE
    return found


def _in_order(
    records: RecordTable, is_wanted: NDArray[np.bool_], ids: Sequence[str]
) -> NDArray[np.int64]:
    """The positions of those that are wanted, first those with these ids, in their order."""
    at = records.find(ids)
    at = at[at >= 0]
    at = at[is_wanted[at]]
    at = at[np.sort(np.unique(at, return_index=True)[1])]
    return np.concatenate([at, np.setdiff1d(np.nonzero(is_wanted)[0], at)])


def _rewrite(
    output: str,
    ledger: Ledger,
    made: NDArray[np.bool_],
    failed: NDArray[np.bool_],
    news: Mapping[str, Outcome],
    learned: Learned,
    check: Callable[[], None],
) -> None:
    """These records of a ledger, and the news, as one part in place of all that there was."""
    rows = (np.nonzero(made)[0], np.nonzero(failed)[0])
    _write_part(output, ledger, *rows, news, learned, check)
    _remove(output, SINGLES, ledger.singles, check)
    # What could not be read may be of a later release, or be readable tomorrow.
    parts = [name for name in ledger.parts if name not in ledger.unread]
    _remove(output, FOLDER, parts, check)


def _write_part(
    output: str,
    ledger: Ledger,
    made_at: NDArray[np.int64],
    failed_at: NDArray[np.int64],
    news: Mapping[str, Outcome],
    learned: Learned,
    check: Callable[[], None],
) -> None:
    numbers = [int(found[1]) for name in ledger.parts if (found := _NUMBERED.fullmatch(name))]
    name = _PART.format(max(numbers, default=0) + 1)
    made = (with_learned(some, learned) for some in _read_at(ledger.made, made_at))
    failed = _read_at(ledger.failed, failed_at)
    others = map(metadata.outcomes_to_table, in_chunks(news.values(), _OBJECTS_AT_ONCE))
    with ScratchFile() as file:
        metadata.write_outcomes(file, itertools.chain(made, failed, others))
        check()
        storage.write_file(storage.join(output, FOLDER, name), file)


def _read_at(records: RecordTable, at: NDArray[np.int64]) -> Iterator[Table]:
    for start in range(0, len(at), _ROWS_AT_ONCE):
        yield records.read(at[start : start + _ROWS_AT_ONCE])


def _remove(output: str, folder: str, names: Iterable[str], check: Callable[[], None]) -> None:
    storage.delete_all([storage.join(output, folder, name) for name in names], check=check)


def _brief_table(file: IO[bytes], number: int) -> Table:
    """What is kept in memory of the outcomes in a file: a `Brief`, the file's number and the row."""
    table = read_columns(file, OUTCOME_COLUMNS, _BRIEF, needed=_NEEDED)
    numbers = np.full(len(table), number, np.int32)
    return table.append_column("file", [numbers]).append_column("row", [np.arange(len(table))])


_NEEDED = ("id", "status", "loss_curve", "style_layer_losses")


def _news(known: RecordTable, failed: Sequence[Outcome]) -> Iterator[Outcome]:
    """Those of the failures that the records do not know."""
    at = known.find(outcome.id for outcome in failed)
    for start in range(0, len(failed), _OBJECTS_AT_ONCE):
        some = slice(start, start + _OBJECTS_AT_ONCE)
        for outcome, last in zip(failed[some], known.outcomes(at[some]), strict=True):
            if _is_news(outcome, last):
                yield outcome


def _is_news(outcome: Outcome, known: Outcome | None) -> bool:
    """Whether a failure of the plan, which is met at every run, is another than the one that is known.

    An input that is away for a while tells nothing of a picture that is in quarantine.
    """
    if known is None:
        return True
    if (known.attempts or 0) >= MAX_ATTEMPTS and outcome.key is None:
        return False
    return (known.reason, known.error) != (outcome.reason, outcome.error)


def _names(output: str, folder: str, suffix: str) -> list[str]:
    names = storage.list_sizes(storage.join(output, folder))
    return [name for name in names if name.endswith(suffix) and not name.startswith(".")]


def _read_part(uri: str, number: int) -> Table | None:
    try:
        with ScratchFile() as file:
            storage.read_into(uri, file)
            return _brief_table(file, number)
    # Damage is no reason to stop a run, whether the store finds it on the way or a file shows it.
    except (TableError, CorruptTransferError) as exc:
        _log.warning("%s: expected records, ignoring what was found: %s", uri, exc)
        return None


# What `_decoded` raises, and a store whose copy is damaged.
_NO_RECORD = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    CorruptTransferError,
)


def _read_single(uri: str) -> Outcome | None:
    try:
        return _decoded(storage.read_bytes(uri))
    except _NO_RECORD as exc:
        _log.warning("%s: expected a record, ignoring what was found: %s", uri, exc)
        return None


def _encoded(outcome: Outcome) -> bytes:
    """With a digest of itself: a record that a store has damaged must prove nothing."""
    body = _as_json(outcome).decode()
    digest = hashlib.sha256(body.encode()).hexdigest()
    return f'{{"schema_version": {SCHEMA_VERSION}, "digest": "{digest}", "outcome": {body}}}\n'.encode()


def _decoded(data: bytes) -> Outcome:
    """Raises ValueError, KeyError or TypeError for what `_encoded` did not write."""
    record = json.loads(data)
    if record["schema_version"] > SCHEMA_VERSION:
        raise ValueError(f"schema version {record['schema_version']}, written by a later release")
    body = json.dumps(record["outcome"])
    if hashlib.sha256(body.encode()).hexdigest() != record["digest"]:
        raise ValueError("one whose digest is another than it says")
    return _outcome(record["outcome"])


def _as_json(outcome: Outcome) -> bytes:
    values = asdict(outcome)
    # As tables of numbers: named, the points of a curve are three times as long.
    values["loss_curve"] = [list(point.values()) for point in values["loss_curve"]]
    values["style_layer_losses"] = [list(loss.values()) for loss in values["style_layer_losses"]]
    if outcome.finished_at is not None:
        values["finished_at"] = outcome.finished_at.isoformat(timespec="milliseconds")
    return json.dumps(values).encode()


def _outcome(values: dict[str, Any]) -> Outcome:
    known = {field.name for field in fields(Outcome)}
    finished_at = values["finished_at"]
    return Outcome(
        **{name: value for name, value in values.items() if name in known}
        | {
            "loss_curve": tuple(_made(CurvePoint, point) for point in values["loss_curve"]),
            "style_layer_losses": tuple(
                _made(LayerLoss, loss) for loss in values["style_layer_losses"]
            ),
            "finished_at": datetime.fromisoformat(finished_at) if finished_at else None,
            "kept": tuple(values.get("kept") or ()) or None,
        }
    )


def _made(kind: type[_T], values: Iterable[Any]) -> _T:
    """A dataclass from its values in the order of its fields."""
    names = (field.name for field in fields(kind))  # type: ignore[arg-type]
    return kind(**dict(zip(names, values, strict=True)))
