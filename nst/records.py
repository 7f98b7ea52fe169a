"""What an output says is done: one record for each picture, written after it, and the only proof.

A record is a small JSON file of its own, so that nothing that is killed takes another's with it.
When a run ends they are put together into one more Parquet part, since a store answers a request
for one file of ten thousand records as fast as for one record. A part that was written later
stands over the earlier ones, and a single record over all parts.
"""

import hashlib
import json
import logging
import re
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, TypeVar

from nst import metadata, storage
from nst.metadata import MAX_ATTEMPTS, CurvePoint, LayerLoss, Outcome, Status
from nst.tables import TableError

FOLDER = "records"
SINGLES = f"{FOLDER}/new"
SCHEMA_VERSION = 1

_PART = "part-{:06}.parquet"
_NUMBERED = re.compile(r"part-(\d+)\.parquet")
# Beyond this many parts they are written anew as one.
_MAX_PARTS = 32
# No id has such a character, so that no two pictures share a record.
_SUFFIX_OF = {"ok": ".json", "failed": "~failed.json"}

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


def write(output: str, outcome: Outcome) -> None:
    """Put down what became of a picture. What was made stays proven when a later try fails."""
    storage.write_bytes(storage.join(output, path(outcome.id, outcome.status)), _encoded(outcome))


def path(job_id: str, status: str) -> str:
    """The record of a picture, relative to the output."""
    return f"{SINGLES}/{job_id}{_SUFFIX_OF[status]}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The last record of each id that was made, and of each that failed.

    `singles` are the ids of the single records among them, by the names of their files.
    """

    made: "_Shelf"
    failed: "_Shelf"
    singles: Mapping[str, str]
    parts: tuple[str, ...]

    def last_failure(self, job_id: str) -> Outcome | None:
        """How a picture failed, unless it was made after that."""
        failed, made = self.failed.get(job_id), self.made.get(job_id)
        if failed is None or made is None:
            return failed
        if failed.finished_at is None or made.finished_at is None:
            return None
        return failed if failed.finished_at > made.finished_at else None


def read(output: str) -> Ledger:
    """All that the records say. A file among them that is none is left alone, with a warning."""
    # By name, which is the order they were written in; those of the first format come first.
    parts = tuple(sorted(_names(output, FOLDER, ".parquet")))
    return _read(output, _names(output, SINGLES, ".json"), parts)


def _read(output: str, names: Collection[str], parts: tuple[str, ...]) -> Ledger:
    made, failed = _Shelf(), _Shelf()
    for name in parts:
        for pressed in _read_part(storage.join(output, FOLDER, name)):
            (made if pressed.status == "ok" else failed).put(pressed)
    names = sorted(names)
    urls = [storage.join(output, SINGLES, name) for name in names]
    singles = {}
    for name, found in zip(names, storage.in_parallel(_read_single, urls), strict=True):
        if found is not None:
            singles[name] = found.id
            (made if found.status == "ok" else failed).put(found)
    return Ledger(made, failed, singles, parts)


def read_new(output: str, ids: Collection[str]) -> Ledger:
    """What the single records of these ids say: those of a run that goes on, or was cut short."""
    wanted = {job_id + suffix: job_id for job_id in ids for suffix in _SUFFIX_OF.values()}
    return _read(output, [name for name in _names(output, SINGLES, ".json") if name in wanted], ())


def is_empty(output: str) -> bool:
    """Whether the store lists no record at all."""
    return not _names(output, FOLDER, ".parquet") and not _names(output, SINGLES, ".json")


def compact(output: str, ledger: Ledger, *, also: Iterable[Outcome] = ()) -> None:
    """Put the single records of `ledger`, and what `also` failed, into a part, and remove them.

    Killed half-way, it leaves some records twice, which say the same.
    """
    news = [outcome for outcome in also if _is_news(outcome, ledger.failed.get(outcome.id))]
    for outcome in news:
        ledger.failed.put(_pressed(outcome))
    if not ledger.singles and not news:
        return
    if len(ledger.parts) >= _MAX_PARTS:
        _rewrite(output, ledger)
        return
    ids = {*ledger.singles.values(), *(outcome.id for outcome in news)}
    outcomes = (
        outcome
        for shelf in (ledger.made, ledger.failed)
        for outcome in shelf.values()
        if outcome.id in ids
    )
    _write_part(output, ledger, outcomes)
    _remove(output, SINGLES, ledger.singles)


def forget(output: str, ledger: Ledger, ids: Collection[str]) -> None:
    """Write the records anew without those of `ids`."""
    if ids:
        for job_id in ids:
            ledger.made.drop(job_id)
            ledger.failed.drop(job_id)
        _rewrite(output, ledger)


def _rewrite(output: str, ledger: Ledger) -> None:
    """All of a ledger as one part, in place of all that there was."""
    outcomes = (o for shelf in (ledger.made, ledger.failed) for o in shelf.values())
    _write_part(output, ledger, outcomes)
    _remove(output, SINGLES, ledger.singles)
    _remove(output, FOLDER, ledger.parts)


def _write_part(output: str, ledger: Ledger, outcomes: Iterable[Outcome]) -> None:
    numbers = [int(found[1]) for name in ledger.parts if (found := _NUMBERED.fullmatch(name))]
    name = _PART.format(max(numbers, default=0) + 1)
    data = metadata.outcomes_to_parquet(outcomes)
    storage.write_bytes(storage.join(output, FOLDER, name), data)


def _remove(output: str, folder: str, names: Iterable[str]) -> None:
    storage.in_parallel(storage.delete, [storage.join(output, folder, name) for name in names])


@dataclass(frozen=True, slots=True)
class _Pressed:
    """An outcome at a twentieth of its size: a curve is most of it, and few ask for that."""

    id: str
    status: Status
    data: bytes


def _pressed(outcome: Outcome) -> _Pressed:
    return _Pressed(outcome.id, outcome.status, zlib.compress(_as_json(outcome), 1))


class _Shelf(Mapping[str, Outcome]):
    """Outcomes by id."""

    def __init__(self) -> None:
        self._pressed: dict[str, bytes] = {}

    def put(self, pressed: _Pressed) -> None:
        self._pressed[pressed.id] = pressed.data

    def drop(self, job_id: str) -> None:
        self._pressed.pop(job_id, None)

    def __getitem__(self, job_id: str) -> Outcome:
        return _outcome(json.loads(zlib.decompress(self._pressed[job_id])))

    def __iter__(self) -> Iterator[str]:
        return iter(self._pressed)

    def __len__(self) -> int:
        return len(self._pressed)


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


def _read_part(uri: str) -> list[_Pressed]:
    try:
        return [_pressed(each) for each in metadata.iterate_outcomes(storage.read_bytes(uri))]
    # Whatever a damaged table turns out to hold, it is not a reason to stop a run.
    except (TableError, KeyError, TypeError, ValueError, AttributeError) as exc:
        _log.warning("%s: expected records, ignoring what was found: %s", uri, exc)
        return []


def _read_single(uri: str) -> _Pressed | None:
    try:
        return _pressed(_decoded(storage.read_bytes(uri)))
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
