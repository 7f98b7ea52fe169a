"""The versions of very many objects, by as few requests as possible.

A local file is asked for by itself, which costs no more than its share of a listing of its folder. In
a bucket, one request lists 1000 objects. The wanted keys are sorted, as a store lists them, and each
page begins right before the next wanted key, so that objects in between are skipped. If a page
contains few wanted keys, the rest are asked for one by one: many connections do that at the same time,
whereas the pages of a list come one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from nst.iterables import in_chunks, in_parallel
from nst.storage import files, s3, stores

# A page of a list takes about as long as requests for this many single objects.
_MIN_PER_PAGE = 8
# From this many keys on, a folder gets a list of its own; some users may list no other folder.
_MIN_PER_FOLDER = 64
# Pages come one after the other; one connection lists this many keys.
_KEYS_AT_ONCE = 4000
_PATHS_AT_ONCE = 500


def versions(uris: Iterable[str]) -> Mapping[str, str]:
    """The current versions of these objects, if the store tells them and they are settled.

    An object without one may still exist: a list may lag behind, and a store may tell nothing.
    Raises StorageError if a store itself fails.
    """
    found: dict[str, str] = {}
    local: list[tuple[str, Path]] = []
    in_buckets: dict[str, list[str]] = {}
    for uri in dict.fromkeys(uris):
        if stores.is_s3(uri):
            in_buckets.setdefault(s3.split(uri)[0], []).append(uri)
        elif (path := stores.local_path(uri)) is not None:
            local.append((uri, path))
    for some in in_parallel(_of_paths, list(in_chunks(local, _PATHS_AT_ONCE))):
        found |= some
    for bucket, wanted in in_buckets.items():
        found |= _in_bucket(bucket, wanted)
    return found


def _of_paths(paths: Sequence[tuple[str, Path]]) -> dict[str, str]:
    found = ((uri, files.version_of(path)) for uri, path in paths)
    return {uri: version.settled for uri, version in found if version.settled is not None}


def _in_bucket(bucket: str, uris: Sequence[str]) -> dict[str, str]:
    of_keys: dict[str, list[str]] = {}
    for uri in uris:
        of_keys.setdefault(s3.split(uri)[1], []).append(uri)
    found: dict[str, str] = {}
    alone: list[str] = []
    for part in in_parallel(partial(_listed, bucket), _slices(of_keys)):
        found |= part.versions
        alone += part.alone
    asked = in_parallel(lambda key: s3.version_of(of_keys[key][0]).text, alone)
    found |= dict(zip(alone, asked, strict=True))
    return {uri: text for key, text in found.items() if text for uri in of_keys[key]}


def _slices(keys: Iterable[str]) -> list[list[str]]:
    """The sorted keys in slices of bounded length; a folder with many keys has slices of its own."""
    of_few: list[str] = []
    slices: list[list[str]] = []
    for _, group in groupby(sorted(keys, key=lambda key: (_folder(key), key)), _folder):
        members = list(group)
        if len(members) < _MIN_PER_FOLDER:
            of_few += members
        else:
            slices += in_chunks(members, _KEYS_AT_ONCE)
    return [*slices, *in_chunks(sorted(of_few), _KEYS_AT_ONCE)]


@dataclass(frozen=True, slots=True)
class _Listed:
    """The versions from lists, by key, and the keys that must be asked for by themselves."""

    versions: Mapping[str, str]
    alone: Sequence[str]


def _listed(bucket: str, keys: Sequence[str]) -> _Listed:
    """What lists tell about sorted keys; it stops when a page contains too few of them."""
    prefix = _common_folder(keys)
    wanted = set(keys)
    found: dict[str, str] = {}
    at = num_pages = 0
    after = ""
    while len(keys) - at > 1:
        # A key without its last letter comes before it, and seldom much else in between.
        after = max(after, keys[at][:-1])
        page = s3.page_after(bucket, prefix, after)
        if page is None:
            break
        found |= {key: each.text for key, each in page.versions.items() if key in wanted}
        if page.last is None:
            return _Listed(found, ())
        num_pages += 1
        after = page.last
        while at < len(keys) and keys[at] <= after:
            at += 1
        if at < num_pages * _MIN_PER_PAGE:
            break
    return _Listed(found, keys[at:])


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _common_folder(keys: Sequence[str]) -> str:
    """The deepest folder that contains all of these sorted keys, with its slash."""
    first, last = keys[0], keys[-1]
    length = next(
        (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other),
        min(len(first), len(last)),
    )
    return first[: first.rfind("/", 0, length) + 1]
