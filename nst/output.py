"""Where everything lies in an output.

The names are a contract: people link to them.
"""

from datetime import UTC, datetime

from nst.errors import NSTError, WorkerError
from nst.images import SUFFIXES
from nst.job import Job
from nst.metadata import Outcome
from nst.settings import RunSettings

GALLERY = "index.html"
METADATA = "metadata.parquet"
IMAGES = "images"
INPUTS = "inputs"
LOCKS = "locks"
RUN = "run.json"


def picture_path(job: Job, settings: RunSettings) -> str:
    """The picture of a job, relative to the output."""
    return f"{IMAGES}/{job.id}{SUFFIXES[settings.image_format]}"


def preview_name(digest: str) -> str:
    """The name, among the inputs, of the preview of the input with this sha256."""
    return f"{digest[:16]}.jpg"


def failure(job_id: str, error: NSTError, *, key: str | None = None) -> Outcome:
    """The outcome of a job that `error` stopped."""
    return Outcome(
        id=job_id,
        key=key,
        status="failed",
        reason=error.reason,
        error=str(error),
        attempts=error.attempts if isinstance(error, WorkerError) else None,
        finished_at=datetime.now(UTC),
    )
