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
import os
import re
import struct
import threading
import weakref
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nst import storage
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
    INT32,
    INT64,
    Column,
    FileRows,
    Held,
    Recent,
    ScratchFile,
    TableError,
    hold,
)

FOLDER = "records"
SINGLES = f"{FOLDER}/new"
SCHEMA_VERSION = 1

_PART = "part-{:06}.parquet"
_NUMBERED = re.compile(r"part-(\d+)\.parquet")
# Beyond this many parts they are written anew as one.
MAX_PARTS = 32
# Read and put down so many at a time.
_SINGLES_AT_ONCE = 10_000
_ROWS_AT_ONCE = 1000
_MAX_PARTS_BYTES = 32 << 20
# No id has such a character, so that no two pictures share a record.
_SUFFIX_OF = {"ok": ".json", "failed": "~failed.json"}

_NOTHING: Mapping[str, str] = {}

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

    `unread` are the parts that could not be read; `singles` are the names of the files of the single records among them.
    """

    made: "Shelf"
    failed: "Shelf"
    singles: tuple[str, ...]
    parts: tuple[str, ...]
    unread: tuple[str, ...] = ()

    def last_failure(self, job_id: str) -> Outcome | None:
        """How a picture failed, unless it was made after that."""
        failed = self.failed.brief(job_id)
        if failed is None or last_failure(failed, self.made.brief(job_id)) is None:
            return None
        return self.failed[job_id]


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


class Shelf(Mapping[str, Outcome]):
    """Outcomes by id, in memory only what `Brief` has of each; the others are read again.

    For very many ids there is `find`, and then `briefs` and `held`, which go by position.
    """

    def __init__(self, held: Held, sources: "_Sources") -> None:
        self.held = held
        self._sources = sources
        self._positions: dict[str, int] | None = None
        self._lock = threading.Lock()

    def find(self, ids: Iterable[str]) -> NDArray[np.int64]:
        """The position of each id, -1 for one that is not here."""
        return self.held.find("id", ids) if len(self.held) else np.full(len(list(ids)), -1)

    def briefs(self, at: NDArray[np.int64]) -> list[Brief | None]:
        """What is at these positions, None at -1."""
        columns = [self.held.values(name, at) for name in _BRIEF]
        return [
            None if position < 0 else Brief(*values)
            for position, values in zip(at.tolist(), zip(*columns, strict=True), strict=True)
        ]

    def full(self, at: NDArray[np.int64]) -> Held:
        """The whole outcomes at these positions, none of them -1, with the columns of outcomes."""
        sources, places = (
            np.array(self.held.values(name, at), np.int64) for name in ("source", "at")
        )
        order = np.lexsort((places, sources))
        found = [metadata.hold_outcomes(())]
        for source in np.unique(sources).tolist():
            found.append(self._sources.take(source, places[order][sources[order] == source]))
        return Held.joined(found).take(np.argsort(order))

    def brief(self, job_id: str) -> Brief | None:
        """As `briefs`, of one id; for many of them it takes memory."""
        position = self._position(job_id)
        return None if position is None else self.briefs(np.array([position]))[0]

    def without(self, ids: Iterable[str]) -> "Shelf":
        """All but these."""
        return Shelf(self.held.without("id", list(ids)), self._sources)

    def singles(self, *, also: Iterable[str] = ()) -> "Shelf":
        """Those that have a single record, and those of the ids in `also`."""
        is_wanted = np.array(self.held.values("source"), np.int64) < 0
        at = self.find(also)
        is_wanted[at[at >= 0]] = True
        return Shelf(self.held.take(np.nonzero(is_wanted)[0]), self._sources)

    def ordered(self, ids: Sequence[str]) -> "Shelf":
        """All of them, first those with these ids, in their order."""
        at = self.find(ids)
        at = at[at >= 0]
        _, first = np.unique(at, return_index=True)
        at = at[np.sort(first)]
        others = np.setdiff1d(np.arange(len(self)), at)
        return Shelf(self.held.take(np.concatenate([at, others])), self._sources)

    def __getitem__(self, job_id: str) -> Outcome:
        position = self._position(job_id)
        if position is None:
            raise KeyError(job_id)
        (row,) = self.full(np.array([position])).rows()
        return metadata.outcome_of_row(row)

    def __contains__(self, job_id: object) -> bool:
        return self._position(str(job_id)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.held.values("id"))

    def __len__(self) -> int:
        return len(self.held)

    def _position(self, job_id: str) -> int | None:
        with self._lock:
            if self._positions is None:
                ids = self.held.values("id")
                self._positions = {name: position for position, name in enumerate(ids)}
        return self._positions.get(job_id)


class _Sources:
    """Where outcomes are in full: those of parts in copies of them, single records in one file."""

    def __init__(self, output: str, parts: Sequence[str]) -> None:
        self._output = output
        self._parts = parts
        self._files = ExitStack()
        weakref.finalize(self, self._files.close)
        self._singles = ScratchFile()
        self._files.callback(self._singles.close)
        self._rows: dict[int, FileRows] = {}
        self._recent = Recent(_MAX_PARTS_BYTES)
        self._lock = threading.Lock()

    def keep(self, outcome: Outcome) -> int:
        """Put a single record down, and where that is."""
        data = zlib.compress(_as_json(outcome), 1)
        at = self._singles.seek(0, os.SEEK_END)
        self._singles.write(struct.pack("<q", len(data)) + data)
        return at

    def take(self, source: int, at: NDArray[np.int64]) -> Held:
        """The outcomes at the rows of a part, which go up, or with -1 at places of single records."""
        with self._lock:
            if source < 0:
                return metadata.hold_outcomes(map(self._single, at.tolist()))
            if source not in self._rows:
                uri = storage.join(self._output, FOLDER, self._parts[source])
                file = ScratchFile()
                self._files.callback(file.close)
                storage.read_into(uri, file)
                self._rows[source] = FileRows(file, OUTCOME_COLUMNS, self._recent)
            return self._rows[source].take(at)

    def _single(self, at: int) -> Outcome:
        self._singles.seek(at)
        (length,) = struct.unpack("<q", self._singles.read(8))
        return _outcome(json.loads(zlib.decompress(self._singles.read(length))))


def read(output: str) -> Ledger:
    """All that the records say. A file among them that is none is left alone, with a warning."""
    # By name, which is the order they were written in; those of the first format come first.
    parts = tuple(sorted(_names(output, FOLDER, ".parquet")))
    return _read(output, _names(output, SINGLES, ".json"), parts)


def read_new(output: str, ids: Collection[str]) -> Ledger:
    """What the single records of these ids say: those of a run that goes on, or was cut short."""
    wanted = {job_id + suffix: job_id for job_id in ids for suffix in _SUFFIX_OF.values()}
    return _read(output, [name for name in _names(output, SINGLES, ".json") if name in wanted], ())


def _read(output: str, names: Collection[str], parts: tuple[str, ...]) -> Ledger:
    sources = _Sources(output, parts)
    held = [Held.of({name: [] for name in _HELD_NAMES}, _HELD)]
    unread: list[str] = []
    for number, name in enumerate(parts):
        found = _read_part(storage.join(output, FOLDER, name))
        if found is not None:
            held.append(found.with_number("source", number))
        else:
            unread.append(name)
    names = sorted(names)
    singles: list[str] = []
    for start in range(0, len(names), _SINGLES_AT_ONCE):
        some = names[start : start + _SINGLES_AT_ONCE]
        outcomes = in_parallel(_read_single, [storage.join(output, SINGLES, name) for name in some])
        known = [each is not None for each in outcomes]
        singles.extend(itertools.compress(some, known))
        held.append(_held([each for each in outcomes if each is not None], sources))
    everything = Held.joined(held)
    del held
    made, failed = (everything.where("status", status) for status in ("ok", "failed"))
    del everything
    return Ledger(
        Shelf(made.last_of_each("id"), sources),
        Shelf(failed.last_of_each("id"), sources),
        tuple(singles),
        parts,
        tuple(unread),
    )


def precision(output: str) -> str | None:
    """What most of the pictures were made in, None where no record tells.

    All of them, but in an output of a release that chose it anew for each process that painted.
    """
    counts = Counter(filter(None, read(output).made.held.values("precision")))
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def is_empty(output: str) -> bool:
    """Whether the store lists no record at all."""
    return not _names(output, FOLDER, ".parquet") and not _names(output, SINGLES, ".json")


def compact(
    output: str,
    ledger: Ledger,
    *,
    also: Iterable[Outcome] = (),
    learned: Mapping[str, str] = _NOTHING,
    order: Iterable[str] = (),
    check: Callable[[], None] = lambda: None,
) -> None:
    """Put the single records of `ledger`, and what `also` failed, into a part, and remove them.

    So are the records of pictures of which an `inputs_key` was `learned`, by their ids, with that. They
    come in the order of the ids in `order`, in which they are read again, and then the others.
    `check` is called right before each write and deletion. Killed half-way, it leaves some records
    twice, which say the same.
    """
    news = {outcome.id: outcome for outcome in _news(ledger.failed, list(also))}
    if not ledger.singles and not news and not learned:
        return
    if len(ledger.parts) >= MAX_PARTS:
        _rewrite(output, ledger, news, learned, check)
        return
    ids = list(order)
    made = ledger.made.singles(also=learned).ordered(ids)
    failed = ledger.failed.without(news).singles().ordered(ids)
    _write_part(output, ledger, made, failed, news, learned, check)
    _remove(output, SINGLES, ledger.singles, check)


def with_learned(made: Held, learned: Mapping[str, str]) -> Held:
    """Outcomes of pictures with what was learned as `inputs_key` of some of them, by their ids."""
    found = {at: learned[name] for at, name in enumerate(made.values("id")) if name in learned}
    if not found:
        return made
    return made.with_texts("inputs_key", np.array(list(found), np.int64), list(found.values()))


def forget(
    output: str, ledger: Ledger, ids: Collection[str], *, check: Callable[[], None] = lambda: None
) -> None:
    """Write the records anew without those of `ids`; `check` is called as by `compact`."""
    if ids:
        made, failed = (shelf.without(ids) for shelf in (ledger.made, ledger.failed))
        _rewrite(output, replace(ledger, made=made, failed=failed), {}, {}, check)


def _rewrite(
    output: str,
    ledger: Ledger,
    news: Mapping[str, Outcome],
    learned: Mapping[str, str],
    check: Callable[[], None],
) -> None:
    """All of a ledger as one part, in place of all that there was."""
    _write_part(output, ledger, ledger.made, ledger.failed.without(news), news, learned, check)
    _remove(output, SINGLES, ledger.singles, check)
    # What could not be read may be of a later release, or be readable tomorrow.
    parts = [name for name in ledger.parts if name not in ledger.unread]
    _remove(output, FOLDER, parts, check)


def _write_part(
    output: str,
    ledger: Ledger,
    made: "Shelf",
    failed: "Shelf",
    news: Mapping[str, Outcome],
    learned: Mapping[str, str],
    check: Callable[[], None],
) -> None:
    numbers = [int(found[1]) for name in ledger.parts if (found := _NUMBERED.fullmatch(name))]
    name = _PART.format(max(numbers, default=0) + 1)
    taught = (with_learned(portion, learned) for portion in _portions(made))
    with ScratchFile() as file:
        others = map(metadata.hold_outcomes, in_chunks(news.values(), _ROWS_AT_ONCE))
        metadata.write_held_outcomes(file, itertools.chain(taught, _portions(failed), others))
        check()
        storage.write_file(storage.join(output, FOLDER, name), file)


def _portions(shelf: "Shelf") -> Iterator[Held]:
    for start in range(0, len(shelf), _ROWS_AT_ONCE):
        yield shelf.full(np.arange(start, min(start + _ROWS_AT_ONCE, len(shelf))))


def _remove(output: str, folder: str, names: Iterable[str], check: Callable[[], None]) -> None:
    storage.delete_all([storage.join(output, folder, name) for name in names], check=check)


_BRIEF_COLUMNS = tuple(column for column in OUTCOME_COLUMNS if column.name in _BRIEF)
_NEEDED = ("id", "status", "loss_curve", "style_layer_losses")
_HELD = (
    *_BRIEF_COLUMNS,
    Column("at", INT64, "Row of a part, or place of a single record."),
    Column("source", INT32, "Number of a part; -1 for a single record."),
)
_HELD_NAMES = tuple(column.name for column in _HELD)


def _held(outcomes: Sequence[Outcome], sources: _Sources) -> Held:
    values: dict[str, list[Any]] = {
        column.name: [getattr(outcome, column.name) for outcome in outcomes]
        for column in _BRIEF_COLUMNS
    }
    values["at"] = [sources.keep(outcome) for outcome in outcomes]
    values["source"] = [-1] * len(outcomes)
    return Held.of(values, _HELD)


def _news(known: Shelf, failed: Sequence[Outcome]) -> Iterator[Outcome]:
    """Those of the failures that the records do not know."""
    at = known.find(outcome.id for outcome in failed)
    for start in range(0, len(failed), _ROWS_AT_ONCE):
        part = at[start : start + _ROWS_AT_ONCE]
        rows = iter(known.full(part[part >= 0]).rows())
        some = failed[start : start + _ROWS_AT_ONCE]
        for outcome, position in zip(some, part.tolist(), strict=True):
            last = metadata.outcome_of_row(next(rows)) if position >= 0 else None
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


def _read_part(uri: str) -> Held | None:
    try:
        names = [column.name for column in _BRIEF_COLUMNS]
        with ScratchFile() as file:
            storage.read_into(uri, file)
            return hold(file, OUTCOME_COLUMNS, names, needed=_NEEDED)
    # Whatever a damaged table turns out to hold, it is not a reason to stop a run.
    except TableError as exc:
        _log.warning("%s: expected records, ignoring what was found: %s", uri, exc)
        return None


def _read_single(uri: str) -> Outcome | None:
    try:
        return _decoded(storage.read_bytes(uri))
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
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
        }
    )


def _made(kind: type[_T], values: Iterable[Any]) -> _T:
    """A dataclass from its values in the order of its fields."""
    names = (field.name for field in fields(kind))  # type: ignore[arg-type]
    return kind(**dict(zip(names, values, strict=True)))
