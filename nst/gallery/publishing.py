"""Metadata -> the gallery of one output or of several, put where it is served from."""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

from nst import output, storage
from nst.errors import ConfigError, StorageError, ends_the_run
from nst.gallery import site
from nst.gallery.facets import Source, lacks_thumbnails
from nst.gallery.texts import told_apart
from nst.gallery.votes import VOTES, Voter, merged, read_votes, to_json
from nst.iterables import in_parallel
from nst.output import read_table
from nst.storage import ScratchFile

_log = logging.getLogger(__name__)

# The most files of a gallery, and the most bytes, that are written at a time.
_FILES_AT_ONCE = 64
_BYTES_AT_ONCE = 8 << 20

# Of a run that goes on, with the last one: an open page asks for the last every few seconds.
_KEPT_BUILDS = 3

# Below the first of several outputs, where their gallery goes unless told otherwise.
COMPARE = "compare"


def rebuild_gallery(
    urls: Sequence[str],
    *,
    to: str | None = None,
    static_pages: bool | None = None,
    voters: Sequence[Voter] = (),
    read: Callable[[str, ScratchFile], ScratchFile] = read_table,
) -> str:
    """Write the gallery of one output, or of several together, from their metadata; where it is.

    That is `to`, or else the output itself, or of several a folder below the first. `read` puts the
    metadata of an output into a file. Raises ConfigError for an output without metadata, for one that
    a relative link cannot reach from there, and for somebody else's page there. What `voters` said is
    added to what the gallery has of them already, and kept beside it.
    """
    if len({storage.absolute(url).rstrip("/") for url in urls}) < len(urls):
        raise ConfigError("expected each output once, found one of them again")
    folder = gallery_folder(urls, to)
    links = [storage.relative_link(url, folder) for url in urls]
    if links != [""] and output.METADATA in storage.list_sizes(folder):
        raise ConfigError(
            f"{folder}: expected a folder of the gallery's own, found the output of a run; choose "
            "another with --to"
        )
    _check_page(folder)
    keep_votes(folder, voters)
    with ExitStack() as opened:
        sources = [
            _source(name, url, link, read(url, opened.enter_context(ScratchFile())))
            for name, url, link in zip(_run_names(urls), urls, links, strict=True)
        ]
        # Whoever asks for it may have found a damaged file.
        return storage.browsable(
            _write_gallery(folder, sources, static_pages=static_pages, looks=True)
        )


def _check_page(folder: str) -> None:
    """As `output.check_page`, but for a page of the size that the gallery's had, which may be damaged."""
    receipt = output.read_whole(folder, site.RECEIPT) or b""
    size = site.read_receipt(receipt)[1].get(output.GALLERY)
    if storage.list_sizes(folder).get(output.GALLERY) != size:
        output.check_page(folder)


def gallery_folder(urls: Sequence[str], to: str | None = None) -> str:
    """Where the gallery of these outputs goes."""
    return to or (urls[0] if len(urls) == 1 else storage.join(urls[0], COMPARE))


def _source(name: str, url: str, base: str, table: IO[bytes]) -> Source:
    previews = storage.list_sizes(storage.join(url, output.INPUTS))
    # A release that made none did not name any; they may have been made since.
    thumbnails = (
        storage.list_tree(storage.join(url, output.THUMBS)) if lacks_thumbnails(table) else ()
    )
    return Source(
        name=name,
        base=base,
        metadata=table,
        previews=frozenset(previews),
        thumbnails=frozenset(f"{output.THUMBS}/{path}" for path in thumbnails),
    )


def source_of(url: str, table: IO[bytes]) -> Source:
    """One output as what a gallery is made of; `table` is its metadata."""
    (name,) = _run_names([url])
    return _source(name, url, "", table)


def _run_names(urls: Sequence[str]) -> list[str]:
    paths = (storage.absolute(url).replace("\\", "/") for url in urls)
    return told_apart(path.rstrip("/").rpartition("/")[2] for path in paths)


def publish(url: str, table: IO[bytes], *, check: Callable[[], None] = lambda: None) -> str:
    """Write the gallery of an output from its metadata, `table`; where a browser finds it.

    `check` is called right before each write and deletion, and what it raises ends this.
    """
    return storage.browsable(_write_gallery(url, [source_of(url, table)], check=check))


class LiveGallery:
    """The gallery of a run that goes on: its page is written anew as it grows.

    A page that is open loads its data bit by bit, so the files of the last few builds stay.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._spine = ""
        self._builds: deque[frozenset[str]] = deque(maxlen=_KEPT_BUILDS)

    def update(self, table: IO[bytes], told: Mapping[str, Any], check: Callable[[], None]) -> str:
        """Write the gallery of `table`, metadata so far, and how far the run is; where it is.

        `check` is called right before each write and deletion, and what it raises ends this. The page
        before stays whole then.
        """
        (name,) = _run_names([self._url])
        kept = frozenset(path for build in self._builds for path in build)
        sources = [_source(name, self._url, "", table)]
        page, files, _ = _written(self._url, sources, live=told, kept=kept, check=check)
        # One that changed nothing takes no other's place.
        if files not in self._builds:
            self._builds.append(files)
        self._spine = _spine_of(files)
        self.tell(told, check)
        return storage.browsable(page)

    def tell(self, told: Mapping[str, Any], check: Callable[[], None]) -> None:
        """Say to open pages how far the run is, which is one small file."""
        check()
        storage.write_bytes(storage.join(self._url, site.LIVE), site.live_file(self._spine, told))


def _write_gallery(
    url: str,
    sources: Sequence[Source],
    *,
    static_pages: bool | None = None,
    looks: bool = False,
    check: Callable[[], None] = lambda: None,
) -> str:
    """As `_written`; where the page is. Pages that are open of a run that went on learn of the end."""
    page, files, was_live = _written(
        url, sources, static_pages=static_pages, looks=looks, check=check
    )
    if was_live:
        ended = site.live_file(_spine_of(files), {"state": "ended"})
        if output.read_whole(url, site.LIVE) != ended:
            check()
            storage.write_bytes(storage.join(url, site.LIVE), ended)
    return page


def _written(
    url: str,
    sources: Sequence[Source],
    *,
    static_pages: bool | None = None,
    looks: bool = False,
    live: Mapping[str, Any] | None = None,
    kept: Container[str] = (),
    check: Callable[[], None] = lambda: None,
) -> tuple[str, frozenset[str], bool]:
    """Write what is not there yet, the page when all else is, and then remove what it was before.

    It goes by the sizes of what is there; with `looks` by the bytes, so that damage is mended. Returns
    where the page is, the paths of all files of the gallery, and whether LIVE is among those that were
    there. The paths in `kept` stay. Raises ConfigError for a page that no gallery has written.
    """
    page = storage.join(url, output.GALLERY)
    top = storage.list_sizes(url)
    voters = _voters(url, top)
    digest = site.digest_of(sources, static_pages=static_pages, voters=voters)
    there = _own_files(url, top)
    receipt = (output.read_whole(url, site.RECEIPT) or b"") if site.RECEIPT in there else b""
    built_from, earlier = site.read_receipt(receipt)
    if top.get(output.GALLERY) != earlier.get(output.GALLERY):
        output.check_page(url)
    sound = _sound(url, there, receipt) if looks else there
    # A page of a run that goes on says how far it is, which no digest tells.
    if live is None and built_from == digest and earlier.items() <= sound.items():
        return page, frozenset(earlier), site.LIVE in there
    sizes: dict[str, int] = {}
    digests: dict[str, str] = {}
    for bundle in _bundles(
        site.build(sources, static_pages=static_pages, voters=voters, live=live)
    ):
        if not sizes and site.RECEIPT in there:
            # From here on it would speak of files some of which are others.
            check()
            storage.delete(storage.join(url, site.RECEIPT))
        sizes |= {path: len(data) for path, data in bundle}
        digests |= {path: hashlib.sha256(data).hexdigest() for path, data in bundle}
        missing = [
            (storage.join(url, path), data)
            for path, data in bundle
            if not (site.is_hashed(path) and sound.get(path) == len(data))
        ]
        in_parallel(lambda file: storage.write_bytes(*file), missing, check=check)
    check()
    # What a run that goes on has built is no gallery of the metadata.
    digest = digest if live is None else ""
    storage.write_bytes(storage.join(url, site.RECEIPT), site.receipt(digest, sizes, digests))
    own = sizes.keys() | {site.RECEIPT, site.LIVE}
    others = sorted(path for path in there.keys() - own if path not in kept)
    stale = stale_files(url, others, earlier)
    storage.delete_all([storage.join(url, path) for path in stale], check=check)
    return page, frozenset(sizes), site.LIVE in there


def stale_files(url: str, paths: Sequence[str], earlier: Container[str]) -> list[str]:
    """Those files that a gallery has left: it named them, or their names or bytes prove it.

    `earlier` are the paths that the gallery named. What anyone else has put there stays.
    """

    def is_stale(path: str) -> bool:
        if path in earlier or site.is_stale(path, None):
            return True
        data = output.read_whole(url, path)
        return data is not None and site.is_stale(path, data)

    are_stale = in_parallel(is_stale, paths)
    return [path for path, one in zip(paths, are_stale, strict=True) if one]


def keep_votes(folder: str, voters: Sequence[Voter]) -> None:
    """Add what voters said to what is kept beside a gallery. Raises ConfigError for another file."""
    if not voters:
        return
    url = storage.join(folder, VOTES)

    def added(data: bytes) -> bytes:
        return to_json(merged([_voters_in(url, data), voters]))

    if not storage.update(url, added):
        storage.write_bytes(url, to_json(merged([voters])))


def _voters_in(url: str, data: bytes) -> list[Voter]:
    try:
        return read_votes(data)
    except ConfigError as exc:
        raise ConfigError(f"{url}: {exc}; move it away to go on without it") from exc


def _voters(url: str, top: Container[str]) -> list[Voter]:
    """What people said of a gallery's pictures; a file that cannot be read ends no run, and stays."""
    if VOTES not in top:
        return []
    try:
        return _voters_in(storage.join(url, VOTES), storage.read_bytes(storage.join(url, VOTES)))
    except (ConfigError, StorageError) as exc:
        if ends_the_run(exc):
            raise
        _log.warning("%s. The gallery is made without ratings and votes", exc)
        return []


def _own_files(url: str, top: Mapping[str, int]) -> dict[str, int]:
    """The files that are a gallery's alone, and its page, by path, and their bytes.

    `top` are the files directly in the folder.
    """
    found = {
        f"{folder}/{name}": size
        for folder in site.FOLDERS
        for name, size in storage.list_sizes(storage.join(url, folder)).items()
    }
    own = {path: size for path, size in found.items() if site.is_own(path)}
    page = top.get(output.GALLERY)
    return own if page is None else own | {output.GALLERY: page}


def _spine_of(files: Iterable[str]) -> str:
    return next((path for path in files if path.startswith("data/spine.")), "")


def _sound(url: str, there: Mapping[str, int], receipt: bytes) -> dict[str, int]:
    """Those of these files whose bytes are the ones that were written, as the receipt tells."""
    digests = site.digests_in_receipt(receipt)

    def is_sound(path: str) -> bool:
        data = output.read_whole(url, path)
        return data is not None and hashlib.sha256(data).hexdigest() == digests[path]

    known = [path for path in there if path in digests]
    are_sound = in_parallel(is_sound, known)
    found = {path: there[path] for path, one in zip(known, are_sound, strict=True) if one}
    return found | ({site.RECEIPT: there[site.RECEIPT]} if receipt else {})


def _bundles(
    files: Iterator[tuple[str, bytes]],
) -> Iterator[list[tuple[str, bytes]]]:
    """The files a few at a time, the page alone, after all others."""
    bundle: list[tuple[str, bytes]] = []
    for path, data in files:
        is_full = (
            len(bundle) == _FILES_AT_ONCE
            or sum(len(other) for _, other in bundle) + len(data) > _BYTES_AT_ONCE
        )
        if bundle and (is_full or path == output.GALLERY):
            yield bundle
            bundle = []
        bundle.append((path, data))
    yield bundle
