"""Pictures that are finished -> the thumbnails that they lack: those of earlier releases, and lost ones."""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import BoundedSemaphore

from nst import storage
from nst.errors import ImageError, StorageError, ends_the_run
from nst.iterables import in_parallel
from nst.output import paths
from nst.output.metadata import Outcome
from nst.pictures import images

_log = logging.getLogger(__name__)


def make_missing(output_url: str, outcomes: Iterable[Outcome]) -> int:
    """Make what thumbnails the finished pictures of `outcomes` lack; of how many they were made.

    A picture that is not there as recorded gets none, with a warning: another run makes both.
    Raises StorageError where the output can be neither listed nor written.
    """
    folder = storage.join(output_url, paths.THUMBS)
    there = {f"{paths.THUMBS}/{path}" for path in storage.list_tree(folder)}
    lacking = {}
    for outcome in outcomes:
        wanted = paths.thumbnails_of(outcome)
        missing = {edge: path for edge, path in wanted.items() if path not in there}
        picture, digest = outcome.picture, outcome.picture_digest
        if missing and picture is not None and digest is not None:
            lacking[digest] = _Lacking(picture=picture, digest=digest, paths=missing)
    decoding = BoundedSemaphore(images.MAX_DECODED)
    return sum(in_parallel(lambda one: _make(one, output_url, decoding), list(lacking.values())))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lacking:
    """A picture by its path and the sha256 of its file, and the thumbnails that it lacks."""

    picture: str
    digest: str
    paths: Mapping[int, str]


def _make(lacking: _Lacking, output_url: str, decoding: BoundedSemaphore) -> bool:
    """Whether they could be made."""
    try:
        data = storage.read_bytes(storage.join(output_url, lacking.picture))
        if hashlib.sha256(data).hexdigest() != lacking.digest:
            raise ImageError(f"{lacking.picture}: expected the sha256 of its record, found another")
        with decoding:
            made = images.thumbnails_of_file(data, lacking.paths, name=lacking.picture)
    except (ImageError, StorageError) as exc:
        if ends_the_run(exc):
            raise
        _log.warning("no thumbnails are made: %s; run it again", exc)
        return False
    for edge, path in lacking.paths.items():
        storage.write_bytes(storage.join(output_url, path), made.files[edge])
    return True
