"""Inputs -> their previews in the output, which the gallery shows where it cannot reach the inputs."""

import hashlib
import logging
from collections.abc import Callable, Container, Iterator, Sequence
from threading import BoundedSemaphore
from typing import IO

from nst import output, storage
from nst.errors import NSTError, ends_the_run
from nst.iterables import in_parallel
from nst.job import Job
from nst.pictures import images
from nst.planning import Plan
from nst.settings import RunSettings
from nst.storage import Table, read_texts

_PREVIEW_PX = 1024

_log = logging.getLogger(__name__)


def previews(data: bytes, large: str, small: str, *, there: Container[str]) -> dict[str, bytes]:
    """The missing ones of an input's two previews, by name; the input is decoded once for both."""
    if large in there and small in there:
        return {}
    shown = images.decode_preview(data, long_edge_px=_PREVIEW_PX, name=large)
    made = {}
    if large not in there:
        made[large] = images.encode(shown, "jpeg", {})
    if small not in there:
        edge = output.SMALL_PREVIEW_PX
        made[small] = images.thumbnails(shown, "webp", [edge]).files[edge]
    return made


def make_missing_previews(
    table: IO[bytes], plan: Plan, settings: RunSettings, check: Callable[[], None]
) -> None:
    """Make the previews that were lost of the inputs of finished rows; `table` is the metadata.

    Inputs are read only for these. One that is not there as it was gets none, with a warning.
    `check` is called before each is written. Raises StorageError where the output cannot be used.
    """
    told = _finished(table, ("content_digest", "style_digest"))
    named = {name for each in told.columns for name in each.unique().to_pylist() if name}
    folder = storage.join(settings.output, output.INPUTS)
    there = storage.list_sizes(folder) if named else {}
    lost = {
        digest
        for several in named
        for digest in several.split()
        if not there.get(output.preview_name(digest))
    }
    if lost:
        rows = _finished(table, ("id", "content_digest", "style_digest")).to_pylist()
        wanted = dict(_inputs_of(plan.jobs, rows, lost))
        decoding = BoundedSemaphore(images.MAX_DECODED)
        in_parallel(lambda each: _make(*each, folder, decoding), list(wanted.items()), check=check)


def _finished(table: IO[bytes], names: Sequence[str]) -> Table:
    """These columns of the rows that have a picture; inputs of others may be what failed them."""
    told = read_texts(table, (*names, "reason"))
    return told.filter(told["reason"].is_null()).select(names)


def _inputs_of(
    jobs: Sequence[Job], told: Sequence[dict[str, str | None]], lost: set[str]
) -> Iterator[tuple[str, str]]:
    """The lost inputs by their digests, and where each was read."""
    by_id = {job.id: job for job in jobs}
    for row in told:
        job = by_id.get(row["id"] or "")
        if job is not None:
            digests = [row["content_digest"] or "", *(row["style_digest"] or "").split()]
            uris = (job.content, *job.styles)
            yield from (pair for pair in zip(digests, uris, strict=False) if pair[0] in lost)


def _make(digest: str, uri: str, folder: str, decoding: BoundedSemaphore) -> None:
    large, small = output.preview_name(digest), output.small_preview_name(digest)
    try:
        data = storage.read_input(uri, max_bytes=images.MAX_BYTES).data
        if hashlib.sha256(data).hexdigest() != digest:
            raise NSTError(f"{uri}: expected the bytes that were painted, found others")
        with decoding:
            made = previews(data, large, small, there=())
    except NSTError as exc:
        if ends_the_run(exc):
            raise
        _log.warning("no preview is made: %s", exc)
        return
    for name, preview in made.items():
        storage.write_bytes(storage.join(folder, name), preview)
