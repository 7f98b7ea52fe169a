"""Where everything lies in an output.

The names are a contract: people link to them.
"""

import re
from collections.abc import Mapping

from nst import storage
from nst.job import Job
from nst.output.metadata import Outcome
from nst.pictures import SUFFIXES
from nst.settings import RunSettings

GALLERY = "index.html"
METADATA = "metadata.parquet"
IMAGES = "images"
INPUTS = "inputs"
THUMBS = "thumbs"
# Intermediate pictures, in a folder for each picture.
STEPS = "steps"
LOCKS = "locks"
# How often a portion of groups was begun, for as long as a run goes on.
ATTEMPTS = "attempts"
# Files that lie in an output only while a run goes on; `shards` is of the release 0.2.0.
_TRANSIENT = re.compile(
    rf"{ATTEMPTS}/[0-9a-f]{{16}}(-\d+\.json|-over)|shards/\d{{5,}}(\.json|-\d+\.(beat|ended))"
)
RUN = "run.json"

# Those of runs, of records and of galleries, also of earlier releases.
_FOLDERS = {
    *(IMAGES, INPUTS, THUMBS, STEPS, LOCKS, ATTEMPTS, "records", "shards"),
    *("assets", "data", "pages"),
}
# What a run writes directly into its output.
OWN_NAMES = (*sorted(_FOLDERS), GALLERY, METADATA, RUN)

# Long edges: what a grid shows, and the same on a screen of twice as many pixels.
THUMBNAILS_PX = (256, 512)
SMALL_PREVIEW_PX = 256


# Digests of their bytes, and for thumbnails of their pictures'.
_SMALL_COPY = re.compile(
    rf"{THUMBS}/(?P<start>[0-9a-f]{{2}})/(?P=start)[0-9a-f]{{14}}-\d+\.webp"
    rf"|{INPUTS}/[0-9a-f]{{16}}(\.jpg|-\d+\.webp)"
)


_SUFFIX = "|".join(map(re.escape, SUFFIXES.values()))
_KEPT = re.compile(rf"{STEPS}/(?P<id>[^/]+)/\d{{4,6}}({_SUFFIX})")


def _is_of_others(path: str) -> bool:
    """Whether a path in an output is in a folder that no release has made, as `lost+found` is."""
    return path.partition("/")[0] not in _FOLDERS


def list_output(url: str) -> dict[str, int]:
    """Path in the output -> size in bytes, of all its files, also of those that are not ours.

    A folder of somebody else that this user may not read is left out. Raises StorageError for any
    other that cannot be read, in which our own files would look as if they were lost.
    """
    return storage.list_tree(url, may_skip=_is_of_others)


def is_small_copy(path: str) -> bool:
    """Whether a path is that of a thumbnail or a preview, by our own way of naming them."""
    return bool(_SMALL_COPY.fullmatch(path))


def is_transient(path: str) -> bool:
    """Whether a path is that of a file which nothing needs once its run has ended."""
    return bool(_TRANSIENT.fullmatch(path))


def picture_path(job: Job, settings: RunSettings) -> str:
    """The picture of a job, relative to the output."""
    return f"{IMAGES}/{job.id}{SUFFIXES[settings.image_format]}"


def id_of_kept(path: str) -> str | None:
    """The id of whose intermediate picture a path is, by our own way of naming them."""
    found = _KEPT.fullmatch(path)
    return found["id"] if found else None


def kept_path(job: Job, evaluation: int, settings: RunSettings) -> str:
    """A job's picture as it is after so many evaluations, relative to the output."""
    return f"{STEPS}/{job.id}/{evaluation:04}{SUFFIXES[settings.image_format]}"


def preview_name(digest: str) -> str:
    """The name, among the inputs, of the preview of the input with this sha256."""
    return f"{digest[:16]}.jpg"


def small_preview_name(digest: str) -> str:
    """The name, beside the preview, of one that is as small as a thumbnail."""
    return f"{digest[:16]}-{SMALL_PREVIEW_PX}.webp"


def thumbnail_stem(picture_digest: str) -> str:
    """What the paths of a picture's thumbnails begin with, relative to the output.

    By the sha256 of its file, so that they are never those of another picture under its name.
    """
    return f"{THUMBS}/{picture_digest[:2]}/{picture_digest[:16]}"


def thumbnail_paths(stem: str, height: int, width: int) -> Mapping[int, str]:
    """The thumbnails that a picture of so many pixels has, by their long edge in px at most."""
    edges = THUMBNAILS_PX if max(height, width) > THUMBNAILS_PX[0] else THUMBNAILS_PX[:1]
    return {edge: f"{stem}-{edge}.webp" for edge in edges}


def thumbnails_of(outcome: Outcome) -> Mapping[int, str]:
    """Those of the picture of an outcome, as `thumbnail_paths`; none where no picture was made.

    By its digest, since an outcome of an earlier release does not name them.
    """
    digest, height, width = outcome.picture_digest, outcome.height, outcome.width
    if outcome.status != "ok" or digest is None or height is None or width is None:
        return {}
    return thumbnail_paths(thumbnail_stem(digest), height, width)
