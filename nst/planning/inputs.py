"""What a plan needs to know about inputs, without reading those of finished pictures.

A collection of a million pictures is 200 GB, of which a nightly run may find nothing changed. So a
record holds, beside the digest of its inputs' bytes (`key`), one of their versions (`inputs_key`): what
the store tells of an object that changes whenever it is written, an ETag, or a file's times and inode.
Versions of very many objects are told by few requests, `listings.versions`. A picture is done where its
record has the versions that there are now.

1. Where they are others, or the record has none, as those of releases up to 0.2.0, the bytes are read and
   digests decide, as they always did: a file that was touched or moved is not painted anew. The record
   then learns the versions, when the run ends, so that the next run need not read again.
2. Of what is to be painted the plan needs the size in pixels, which is in the first bytes of most files,
   so that these are all that it reads. Digests are taken where a picture is loaded to be painted, of the
   bytes that are decoded and with the version of just those. A file that was written since the plan looked
   at it fails its rows: a run paints what it found when it began.
3. What has no version is read whole at every plan, with all other inputs of its row: what comes by HTTP,
   and a file that was written less than two seconds ago, whose next change its times might not tell
   ("racily clean" in Git's words). So each job that is planned has a `key` or an `inputs_key`.

What a list does not have is asked for by itself before its rows fail: a list may lag behind.
"""

import hashlib

from nst import storage
from nst.errors import NSTError, ends_the_run
from nst.pictures import images
from nst.planning.plan import Input
from nst.storage import Found

# Most headers are shorter, with their profiles and previews.
START_BYTES = 64 << 10


def look_at(uri: str) -> Input:
    """An input, read as a whole, with its digest. Raises ImageError, or as `storage.read_bytes`."""
    with storage.hinting(uri):
        found = storage.read_input(uri, max_bytes=images.MAX_BYTES)
    return _whole(uri, found)


def look_at_start(uri: str) -> Input:
    """An input by its first bytes, if these have its size and the store tells a version; else as a whole.

    Raises as `look_at`, but does not see damage behind the first bytes.
    """
    if storage.is_web(uri):
        return look_at(uri)
    try:
        found = storage.read_start(uri, START_BYTES, max_bytes=images.MAX_BYTES)
    except NSTError as exc:
        if ends_the_run(exc):
            raise
        # Who asks for all of it is told more of what is wrong.
        return look_at(uri)
    if found.is_whole:
        return _whole(uri, found)
    size = images.size_by_start(found.data, name=uri)
    if size is None or found.version.settled is None:
        return look_at(uri)
    return Input(uri=uri, version=found.version.settled, height=size[0], width=size[1])


def _whole(uri: str, found: Found) -> Input:
    header = images.read_header(found.data, name=uri)
    return Input(
        uri=uri,
        digest=hashlib.sha256(found.data).hexdigest(),
        version=found.version.settled,
        height=header.height,
        width=header.width,
        transparency=header.transparency,
    )
