"""What stores tell of the versions of very many objects, for as few requests as it takes.

A file of this machine is asked for by itself: that costs no more than its part of a list of its folder,
in which there may be any number of others. Of a bucket a list tells of 1000 objects for one request.
The keys that are wanted are gone through in their order, in which a store lists, and each page begins
right before the next of them, so that what lies in between is jumped over. Where there is so much in
between that a page tells of few of them, the rest is asked for one by one, which many connections do
at once while pages of a list come one after the other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from nst.iterables import in_chunks, in_parallel
from nst.storage import files, s3, stores

# A page takes a store, and us, about as long as so many objects asked for by themselves.
_MIN_PER_PAGE = 8
# So many keys of one folder have a list of that alone, which whoever is allowed no other may have.
_MIN_PER_FOLDER = 64
# Pages come one after the other, and so many keys are what one connection goes through.
_KEYS_AT_ONCE = 4000
_PATHS_AT_ONCE = 500


def versions(uris: Iterable[str]) -> Mapping[str, str]:
    """The versions that these objects have now, of those that a store tells and that are settled.

    What is missing may be there all the same: a list may lag behind, and a store may tell nothing.
    Raises StorageError where a store is out of order.
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
    """The keys in order, so many to a slice, those of a folder with many of them by themselves."""
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
    """The versions that lists told, by key, and the keys that are to be asked for by themselves."""

    versions: Mapping[str, str]
    alone: Sequence[str]


def _listed(bucket: str, keys: Sequence[str]) -> _Listed:
    """What a list tells of keys that are in order, for as long as it tells of enough of them."""
    prefix = _common_folder(keys)
    wanted = set(keys)
    found: dict[str, str] = {}
    at = num_pages = 0
    after = ""
    while len(keys) - at > 1:
        # A key without its last letter comes before it, and seldom much else in between.
        after = max(after, keys[at][:-1])
        page = s3.page_after(bucket, prefix, after, patience=s3.PATIENCE)
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
    """What a list of all of these keys, which are in order, is to be of, with its slash."""
    first, last = keys[0], keys[-1]
    length = next(
        (n for n, (one, other) in enumerate(zip(first, last, strict=False)) if one != other),
        min(len(first), len(last)),
    )
    return first[: first.rfind("/", 0, length) + 1]
