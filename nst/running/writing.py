"""Pictures that are painted -> files of the output, each followed by the record that says so."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from nst import __version__, output, storage
from nst.job import params_dict
from nst.output import Outcome
from nst.pictures import images
from nst.planning import Group, PlannedJob, style_digest
from nst.running.neighbours import num_cores
from nst.running.order import Order
from nst.running.results import Painted
from nst.settings import RunSettings

# A group is not much larger.
_MAX_THREADS = 8


def write_all(
    painted: Sequence[Painted], failed: Sequence[Outcome], order: Order, *, num_threads: int = 1
) -> list[Outcome]:
    """Encode and write the pictures, each followed by its record; the outcomes of all.

    So many threads encode and write; records are written one by one, in the order of the pictures.
    """
    outcomes = list(failed)
    for outcome in failed:
        order.record(outcome)
    for outcome in _written(painted, order, num_threads):
        order.record(outcome)
        outcomes.append(outcome)
    return outcomes


def num_threads_beside(num_gpus: int) -> int:
    """How many threads encode beside each of so many GPUs: they share the cores of this process."""
    return max(1, min(_MAX_THREADS, num_cores() // max(1, num_gpus)))


def _written(painted: Sequence[Painted], order: Order, num_threads: int) -> Iterator[Outcome]:
    if num_threads == 1:
        yield from (write_picture(one, order) for one in painted)
        return
    with ThreadPoolExecutor(num_threads, "encode") as pool:
        yield from pool.map(lambda one: write_picture(one, order), painted)


def write_picture(painted: Painted, order: Order) -> Outcome:
    """Encode and write a picture, then its thumbnails; its outcome with what was written."""
    if painted.picture is None:
        return painted.outcome
    planned, settings = painted.loaded.planned, order.settings
    path = output.picture_path(planned.job, settings)
    told = provenance(planned, order.group)
    data = images.encode(painted.picture, settings.image_format, told)
    version = storage.write_bytes(storage.join(settings.output, path), data)
    outcome = replace(
        painted.outcome,
        picture=path,
        picture_version=version or None,
        picture_digest=hashlib.sha256(data).hexdigest(),
        picture_bytes=len(data),
    )
    outcome = _with_thumbnails(outcome, painted.picture, settings)
    return replace(outcome, finished_at=datetime.now(UTC))


def _with_thumbnails(outcome: Outcome, picture: images.Picture, settings: RunSettings) -> Outcome:
    """Write the thumbnails of a picture that is written itself by now; the outcome with them."""
    assert outcome.picture_digest is not None
    stem = output.thumbnail_stem(outcome.picture_digest)
    paths = output.thumbnail_paths(stem, *picture.pixels.shape[1:])
    made = images.thumbnails(picture, settings.image_format, paths)
    for edge, path in paths.items():
        storage.write_bytes(storage.join(settings.output, path), made.files[edge])
    return replace(outcome, thumbnail=stem, color=made.color)


def provenance(planned: PlannedJob, group: Group) -> dict[str, Any]:
    """What made a picture, to be written into it: no folders, no URLs, nothing that varies by run."""
    job = planned.job
    return {
        "software": f"nst {__version__}",
        "id": job.id,
        "key": planned.key,
        "content": job.content_name.rpartition("/")[2],
        "style": " | ".join(part.rpartition("/")[2].strip() for part in job.style_name.split("|")),
        "backbone": job.backbone,
        "content_digest": planned.content.digest,
        "style_digest": style_digest(planned.styles),
        "weights_digest": group.weights.digest,
        "weights_topology": group.weights.topology,
        **params_dict(job.params),
    }
