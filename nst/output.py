"""Where everything lies in an output, and what it says is done.

The names are a contract: people link to them.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from nst import metadata, storage
from nst.errors import NSTError
from nst.images import SUFFIXES
from nst.job import Job
from nst.metadata import Outcome
from nst.settings import RunSettings

GALLERY = "index.html"
METADATA = "metadata.parquet"
IMAGES = "images"
INPUTS = "inputs"
RECORDS = "records"

_NUM_READERS = 16


def picture_path(job: Job, settings: RunSettings) -> str:
    """The picture of a job, relative to the output."""
    return f"{IMAGES}/{job.id}{SUFFIXES[settings.image_format]}"


def preview_name(digest: str) -> str:
    """The name, among the inputs, of the preview of the input with this sha256."""
    return f"{digest[:16]}.jpg"


def record_path(group_digest: str) -> str:
    """The record of a group, relative to the output."""
    return f"{RECORDS}/{group_digest[:16]}.parquet"


def read_outcomes(output: str) -> Mapping[tuple[str, str | None], Outcome]:
    """All outcomes that the output's records hold, by id and key.

    Rows that were run again stand in more than one record: ok goes before failed, then the latest.
    """
    folder = storage.join(output, RECORDS)
    names = [name for name in storage.list_names(folder) if name.endswith(".parquet")]
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        parts = pool.map(lambda name: storage.read_bytes(storage.join(folder, name)), sorted(names))
        outcomes = [outcome for data in parts for outcome in metadata.outcomes_from_parquet(data)]
    outcomes.sort(key=lambda outcome: (outcome.status == "ok", outcome.finished_at))
    return {(outcome.id, outcome.key): outcome for outcome in outcomes}


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
