"""How often each portion of a run was begun, and its result, kept in the output.

An engine that loses a node, or a result, has a portion made again; these files tell it what is left.
They are removed when the run ends.
"""

import json
import logging
from dataclasses import asdict, dataclass

from nst import storage
from nst.errors import NotFoundError, StorageError, ends_the_run
from nst.output import ATTEMPTS
from nst.planning import Portion
from nst.running.reports import PortionReport
from nst.settings import RunSettings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortionResult:
    """What came of a portion; `failed` are the ids of the pictures that failed."""

    report: PortionReport
    failed: tuple[str, ...]


_OVER = "-over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """How often a portion was begun, and how it ended, if it did."""

    num_begun: int = 0
    made: PortionResult | None = None


def url_of(portion: Portion, settings: RunSettings, token: str) -> str:
    number = portion[0].name.partition(" ")[0]
    return storage.join(settings.output, ATTEMPTS, f"{token}-{number}.json")


def _over_url(settings: RunSettings, token: str) -> str:
    return storage.join(settings.output, ATTEMPTS, f"{token}{_OVER}")


def read(url: str) -> Attempts:
    """What was put down of a portion; of one that cannot be read, that it was begun once."""
    try:
        found = json.loads(storage.read_bytes(url))
        made = found["made"]
        return Attempts(
            num_begun=int(found["num_begun"]),
            made=made
            and PortionResult(report=PortionReport(**made["report"]), failed=tuple(made["failed"])),
        )
    except NotFoundError:
        return Attempts()
    except (StorageError, ValueError, KeyError, TypeError, RecursionError) as exc:
        if ends_the_run(exc):
            raise
        # The records tell what is there, and the next mark is written over this one.
        _log.warning("%s: expected how often groups were begun, ignoring it: %s", url, exc)
        return Attempts(num_begun=1)


def write(url: str, attempts: Attempts) -> None:
    storage.write_bytes(url, json.dumps(asdict(attempts)).encode())


def call_off(settings: RunSettings, token: str) -> None:
    """Have all processes that make portions of a run stop within some seconds."""
    storage.write_bytes(_over_url(settings, token), b"")


def forget(settings: RunSettings, token: str) -> None:
    """Remove what was put down of a run's portions, once none of them goes on."""
    folder = storage.join(settings.output, ATTEMPTS)
    names = [name for name in storage.list_sizes(folder) if name.startswith(token)]
    storage.delete_all([storage.join(folder, name) for name in names])


def is_called_off(settings: RunSettings, token: str) -> bool:
    """Whether `call_off` was called for a run."""
    return storage.exists(_over_url(settings, token))
