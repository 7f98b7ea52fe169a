"""Pictures that the output has in a lossless format -> the same pictures in the format of the run."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from threading import BoundedSemaphore

from nst import output, storage
from nst.errors import ImageError, NSTError, StorageError, ends_the_run
from nst.iterables import in_chunks, in_parallel
from nst.job import Job
from nst.output import Outcome, failure, records
from nst.pictures import images
from nst.planning import Plan
from nst.settings import RunSettings

_AT_ONCE = 1000

_log = logging.getLogger(__name__)


def encode_stored(plan: Plan, settings: RunSettings, check: Callable[[], None]) -> Plan:
    """Encode the pictures of `plan.to_encode`, each followed by its record; nothing is painted.

    Returns the plan with those failed whose picture turned out to be damaged: the next run paints
    them. `check` is called before each. Raises StorageError where the output cannot be used.
    """
    if not plan.to_encode:
        return plan
    ledger = records.read(settings.output)
    decoding = BoundedSemaphore(images.MAX_DECODED)

    def encoded(pair: tuple[Job, Outcome | None]) -> Outcome | None:
        return _encoded(*pair, settings, decoding)

    failed: list[Outcome] = []
    for jobs in in_chunks(plan.to_encode, _AT_ONCE):
        made = ledger.made.outcomes(ledger.made.find(job.id for job in jobs))
        found = in_parallel(encoded, list(zip(jobs, made, strict=True)), check=check)
        failed += [outcome for outcome in found if outcome is not None]
    _log.info(
        "%d pictures are encoded as %s, not painted", len(plan.to_encode), settings.image_format
    )
    return replace(plan, failed=(*plan.failed, *failed))


def _encoded(
    job: Job, made: Outcome | None, settings: RunSettings, decoding: BoundedSemaphore
) -> Outcome | None:
    """Write a picture anew, and its record; the failure of one that is damaged."""
    assert made is not None
    assert made.picture is not None
    try:
        data = storage.read_bytes(storage.join(settings.output, made.picture))
        if hashlib.sha256(data).hexdigest() != made.picture_digest:
            raise ImageError(f"{made.picture}: expected the sha256 of its record, found another")
        with decoding:
            picture, file = images.reencoded(data, settings.image_format, name=made.picture)
    except (ImageError, StorageError) as exc:
        if ends_the_run(exc):
            raise
        # The next run reads it before it relies on it, and paints it.
        records.write(settings.output, replace(made, picture_version=None))
        error = NSTError(f"it was to be encoded as {settings.image_format}: {exc}; run it again")
        return failure(job.id, error, key=made.key, inputs_key=made.inputs_key)
    records.write(settings.output, _written(job, made, picture, file, settings))
    return None


def _written(
    job: Job, made: Outcome, picture: images.Picture, file: bytes, settings: RunSettings
) -> Outcome:
    path = output.picture_path(job, settings)
    version = storage.write_bytes(storage.join(settings.output, path), file)
    digest = hashlib.sha256(file).hexdigest()
    stem = output.thumbnail_stem(digest)
    paths = output.thumbnail_paths(stem, *picture.pixels.shape[1:])
    small = images.thumbnails(picture, settings.image_format, paths)
    for edge, name in paths.items():
        storage.write_bytes(storage.join(settings.output, name), small.files[edge])
    return replace(
        made,
        picture=path,
        picture_version=version or None,
        picture_digest=digest,
        picture_bytes=len(file),
        thumbnail=stem,
        color=small.color,
        finished_at=datetime.now(UTC),
    )
