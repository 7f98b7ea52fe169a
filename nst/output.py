"""Where everything lies in an output, and what it says is done.

The names are a contract: people link to them.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from nst import metadata, storage
from nst.errors import NSTError
from nst.images import SUFFIXES
from nst.job import Job
from nst.metadata import Outcome
from nst.settings import RunSettings
from nst.tables import TableError

GALLERY = "index.html"
METADATA = "metadata.parquet"
IMAGES = "images"
INPUTS = "inputs"
RECORDS = "records"

_LONG_AGO = datetime.min.replace(tzinfo=UTC)

_log = logging.getLogger(__name__)


def picture_path(job: Job, settings: RunSettings) -> str:
    """The picture of a job, relative to the output."""
    return f"{IMAGES}/{job.id}{SUFFIXES[settings.image_format]}"


def preview_name(digest: str) -> str:
    """The name, among the inputs, of the preview of the input with this sha256."""
    return f"{digest[:16]}.jpg"


def record_path(group_digest: str) -> str:
    """The record of a group, relative to the output."""
    return f"{RECORDS}/{group_digest[:16]}.parquet"


def read_record(output: str, group_digest: str) -> list[Outcome]:
    """The outcomes of a group that has run."""
    data = storage.read_bytes(storage.join(output, record_path(group_digest)))
    return metadata.outcomes_from_parquet(data)


def latest_made(output: str) -> Mapping[str, Outcome]:
    """For each id, what the records say of the picture that was written last.

    A file among the records that is none is left alone, with a warning.
    """
    folder = storage.join(output, RECORDS)
    names = sorted(name for name in storage.list_sizes(folder) if name.endswith(".parquet"))
    parts = storage.in_parallel(_read_part, [storage.join(folder, name) for name in names])
    made = [outcome for part in parts for outcome in part if outcome.status == "ok"]
    made.sort(key=lambda outcome: outcome.finished_at or _LONG_AGO)
    return {outcome.id: outcome for outcome in made}


def _read_part(uri: str) -> list[Outcome]:
    try:
        return metadata.outcomes_from_parquet(storage.read_bytes(uri))
    except (TableError, KeyError) as exc:
        _log.warning("%s: expected the record of a group, ignoring what was found: %s", uri, exc)
        return []


def failure(job_id: str, error: NSTError, *, key: str | None = None) -> Outcome:
    """The outcome of a job that `error` stopped."""
    return Outcome(
        id=job_id,
        key=key,
        status="failed",
        reason=error.reason,
        error=str(error),
        finished_at=datetime.now(UTC),
    )
