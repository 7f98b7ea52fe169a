"""Compares an output with its records, and finds files that no row owns any more."""

import hashlib
import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nst import gallery, output, storage
from nst.errors import (
    ConfigError,
    CorruptTransferError,
    ForbiddenError,
    ImageError,
    NotFoundError,
)
from nst.iterables import in_parallel
from nst.output import (
    Brief,
    Claims,
    Outcome,
    claims_in,
    make_missing,
    read_claims,
    read_table,
    records,
)
from nst.pictures import SUFFIXES, images
from nst.running import lease
from nst.storage import ScratchFile, TableError, digest_of_file

_SPINE = re.compile(rb"data-spine=\"?(data/spine\.[0-9a-f]{8}\.js)")
_NO_GALLERY = (
    "expected a file of the gallery as it was written, found another or none; run nst gallery"
)
_NO_METADATA = (
    "expected the metadata as the last run wrote it, found another or none; run every manifest of "
    "this output again"
)
_NO_ROWS = "expected rows of {}, as run.json says, found none; run it again, or others with --only"
_NO_RECORDS = (
    "expected records, found a file that is damaged; run every manifest of this output again, which "
    "makes their pictures anew"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem of a file, with its path in the output."""

    path: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How many pictures are as recorded, what differs, and which ids are to be made again.

    The next run makes them again once they have been repaired.
    """

    num_good: int
    findings: tuple[Finding, ...]
    redone: tuple[str, ...]


def verify(url: str, *, repair: bool = False) -> Audit:
    """Read every file of an output and compare it with its record; change nothing.

    With `repair`, damaged pictures are marked so that the next run makes them again, and thumbnails
    and the gallery are made anew; what was found is returned. Raises ConfigError where there was no
    run, and with `repair` if one is running.
    """
    if not repair:
        return _verified(url)
    with lease.held(url) as held:
        found = _verified(url)
        _repair(url, found, held.check)
        return found


def _verified(url: str) -> Audit:
    account = output.read_account(url)
    claims, findings = _metadata(url, account)
    rows = None if claims is None else _by_id(claims.outcomes)
    ledger = records.read(url)
    if rows is None:
        outcomes = list(ledger.made.claims(np.arange(len(ledger.made))))
    else:
        outcomes = [row for row in rows.values() if row.status == "ok"]
    tree = output.list_output(url)
    recorded = ledger.made.briefs(ledger.made.find(outcome.id for outcome in outcomes))
    pairs = list(zip(outcomes, recorded, strict=True))
    looks = in_parallel(lambda one: _look(url, *one), pairs)
    findings += [
        Finding(path=outcome.picture or outcome.id, said=look.said)
        for outcome, look in zip(outcomes, looks, strict=True)
        if look is not None
    ]
    redone = tuple(
        outcome.id
        for outcome, look in zip(outcomes, looks, strict=True)
        if look is not None and look.is_redone
    )
    findings += [
        Finding(path=f"{records.FOLDER}/{name}", said=_NO_RECORDS) for name in ledger.unread
    ]
    good = [outcome for outcome, look in zip(outcomes, looks, strict=True) if look is None]
    # One that is made again gets its thumbnails and previews with that.
    findings += [*_small_copies(url, good, tree), *_kept(url, good, tree)]
    if rows is not None:
        # A gallery that grows shows what a record proves before the metadata tell of it.
        recorded_pictures = ledger.made.table["picture"].to_pylist()
        findings += _of_the_gallery(url, outcomes, set(recorded_pictures))
    lost = [] if claims is None else _lost_manifests(account, claims)
    findings += [Finding(path=output.METADATA, said=_NO_ROWS.format(name)) for name in lost]
    if _is_cut_short(account, tree):
        findings.append(Finding(path=output.RUN, said="the last run did not finish; run it again"))
    elif rows is not None and not lost:
        findings += [
            Finding(path=path, said="expected a row that owns it, found none; nst clean removes it")
            for path in [*_unowned(url, tree, rows, ledger), *_stale(url, tree)]
        ]
    return Audit(num_good=len(outcomes) - len(redone), findings=tuple(findings), redone=redone)


def _metadata(url: str, account: Mapping[str, Any] | None) -> tuple[Claims | None, list[Finding]]:
    """The claims, and what is wrong with the metadata; no claims where nothing can be read.

    Raises ConfigError where there is no metadata and no finished run.
    """
    is_finished = account is not None and account.get("state") == "finished"
    expected = (account or {}).get("metadata_digest") if is_finished else None
    try:
        with ScratchFile() as file:
            read_table(url, file)
            # What is damaged may still be a table, of rows that name another manifest.
            if expected is None or digest_of_file(file) == expected:
                return claims_in(file), []
    except (TableError, CorruptTransferError):
        pass
    except ConfigError:
        if not is_finished:
            raise
    return None, [Finding(path=output.METADATA, said=_NO_METADATA)]


def _small_copies(
    url: str, outcomes: Sequence[Outcome], tree: Mapping[str, int]
) -> Iterator[Finding]:
    """The thumbnails and previews of pictures that are missing, or are no whole pictures."""
    thumbnails = {
        path: outcome.picture
        for outcome in outcomes
        for path in output.thumbnails_of(outcome).values()
    }
    digests = dict.fromkeys(digest for each in outcomes for digest in _input_digests(each))
    large = [f"{output.INPUTS}/{output.preview_name(digest)}" for digest in digests]
    small = [f"{output.INPUTS}/{output.small_preview_name(digest)}" for digest in digests]
    there = [path for path in (*thumbnails, *large, *small) if path in tree]
    are_whole = in_parallel(lambda path: _is_picture(url, path), there)
    damaged = {path for path, is_whole in zip(there, are_whole, strict=True) if not is_whole}
    for path, picture in thumbnails.items():
        if path not in tree:
            said = f"expected a thumbnail of {picture}, found none; run nst gallery --thumbnails to make it"
            yield Finding(path=path, said=said)
        elif path in damaged:
            said = (
                f"expected a thumbnail of {picture}, found it damaged; nst verify --repair makes it"
            )
            yield Finding(path=path, said=said)
    for path in (*large, *small):
        if path in damaged:
            said = (
                "expected a preview of an input, found it damaged; nst verify --repair removes it"
            )
            yield Finding(path=path, said=f"{said}, and the next run makes it")
        elif path in large and path not in tree:
            said = "expected a preview of an input, found none; run it again to make it"
            yield Finding(path=path, said=said)


def _kept(url: str, outcomes: Sequence[Outcome], tree: Mapping[str, int]) -> list[Finding]:
    """The intermediate pictures that are missing, or are no whole pictures."""
    pairs = [(path, outcome.picture) for outcome in outcomes for path in outcome.kept or ()]
    are_whole = in_parallel(lambda pair: pair[0] in tree and _is_picture(url, pair[0]), pairs)
    return [
        Finding(
            path=path,
            said=f"expected an intermediate picture of {picture}, found "
            f"{'it damaged' if path in tree else 'none'}; remove {picture}, and the next run with "
            "--keep-every makes both again",
        )
        for (path, picture), is_whole in zip(pairs, are_whole, strict=True)
        if not is_whole
    ]


def _is_picture(url: str, path: str) -> bool:
    """Whether a file is a picture that can be decoded to its end."""
    try:
        data = storage.read_bytes(storage.join(url, path))
        images.decode_preview(data, long_edge_px=output.SMALL_PREVIEW_PX, name=path)
    except (ImageError, NotFoundError, CorruptTransferError, ForbiddenError):
        return False
    return True


def _of_the_gallery(
    url: str, outcomes: Sequence[Outcome], recorded: Set[str | None]
) -> list[Finding]:
    """What is wrong with the gallery of these pictures; it may show others that are `recorded`."""
    shown = shown_pictures(url)
    receipt = output.read_whole(url, gallery.RECEIPT) or b""
    sizes, digests = gallery.read_receipt(receipt)[1], gallery.digests_in_receipt(receipt)
    built = sorted(sizes)
    damaged = in_parallel(
        lambda path: _is_damaged(url, path, sizes[path], digests.get(path)), built
    )
    pictures = {outcome.picture for outcome in outcomes if outcome.picture}
    return [
        *(
            Finding(path=path, said=_NO_GALLERY)
            for path, is_damaged in zip(built, damaged, strict=True)
            if is_damaged
        ),
        *(
            Finding(
                path=path,
                said="expected it in the gallery, found it in no file of its data; run nst gallery",
            )
            for path in sorted(pictures - shown)
        ),
        *(
            Finding(path=path, said="expected a record of what the gallery shows, found none")
            for path in sorted(shown - pictures - recorded)
        ),
    ]


def _repair(url: str, found: Audit, check: Callable[[], None]) -> None:
    """Have the next run make what only a run can make, and make all else."""
    ledger = records.read(url)
    known = ledger.made.outcomes(ledger.made.find(found.redone))
    # Without the version that the store told, the next run reads the picture before it relies on it.
    marks = [replace(each, picture_version=None) for each in known if each is not None]
    in_parallel(lambda outcome: records.write(url, outcome), marks, check=check)
    paths = {finding.path for finding in found.findings}
    copies = [path for path in paths if path.startswith((f"{output.THUMBS}/", f"{output.INPUTS}/"))]
    copies = [path for path in copies if output.is_small_copy(path)]
    # A run makes both previews of an input where the large one is missing.
    larger = [re.sub(r"-\d+\.webp$", ".jpg", path) for path in copies]
    gone = sorted({*copies, *(path for path in larger if path.startswith(f"{output.INPUTS}/"))})
    storage.delete_all([storage.join(url, path) for path in gone], check=check)
    if output.METADATA not in paths:
        check()
        make_missing(url, read_claims(url).outcomes)
        gallery.rebuild_gallery([url])


def clean(url: str, *, dry_run: bool = False) -> tuple[str, ...]:
    """Remove files that no row of the metadata owns; returns their paths in the output.

    Raises ConfigError if there was no run, if one is running, or if the last one did not finish.
    """
    read_claims(url)
    with lease.held(url) as held:
        if _is_cut_short(output.read_account(url), storage.list_sizes(url)):
            raise ConfigError(
                f"{url}: expected a finished run, found one that was cut short and whose rows "
                "are unknown; run it again first"
            )
        claims = read_claims(url)
        if lost := _lost_manifests(output.read_account(url), claims):
            raise ConfigError(f"{url}: {_NO_ROWS.format(', '.join(lost))}")
        rows = _by_id(claims.outcomes)
        ledger = records.read(url)
        tree = output.list_output(url)
        unowned = [*_unowned(url, tree, rows, ledger), *_stale(url, tree)]
        forgotten = sorted((ledger.made.keys() | ledger.failed.keys()) - rows.keys())
        if not dry_run:
            # Records first: one without its picture proves nothing, but would be looked for.
            records.forget(url, ledger, forgotten, check=held.check)
            uris = [storage.join(url, path) for path in unowned]
            storage.delete_all(uris, check=held.check)
        return tuple(unowned)


def _lost_manifests(account: Mapping[str, Any] | None, claims: Claims) -> list[str]:
    """The manifests that have rows in the metadata by run.json, and have none there."""
    named = output.names_in(account or {}) or ()
    return sorted({*named} - claims.manifests)


def _is_cut_short(account: Mapping[str, Any] | None, files: Container[str]) -> bool:
    """Whether the last run did not finish, as far as run.json shows; an unreadable one shows nothing.

    `files` are those of the output, by their paths.
    """
    return output.RUN in files if account is None else account.get("state") != "finished"


def _by_id(rows: Sequence[Outcome]) -> Mapping[str, Outcome]:
    """The rows by their ids; of several of one id, which manifests may share, one with its picture."""
    # Later ones stand over earlier ones.
    in_order = sorted(rows, key=lambda row: row.status == "ok")
    return {row.id: row for row in in_order}


@dataclass(frozen=True, slots=True)
class _Look:
    """The problem of a picture, and whether it takes another picture to mend it."""

    said: str
    is_redone: bool = True


def _look(url: str, outcome: Outcome, recorded: Brief | None) -> _Look | None:
    """The problem of a picture, or None."""
    if recorded is None:
        return _Look("expected a record of it as the metadata has it, found none")
    if recorded.picture is None:
        return _Look("expected a picture by its record, found no name of one")
    try:
        data = storage.read_bytes(storage.join(url, recorded.picture))
    except NotFoundError:
        return _Look("expected a picture by its record, found none")
    except (CorruptTransferError, ForbiddenError) as exc:
        return _Look(f"expected to read it whole; {exc}")
    if len(data) != recorded.picture_bytes:
        return _Look(f"expected {recorded.picture_bytes} bytes by its record, found {len(data)}")
    if hashlib.sha256(data).hexdigest() != recorded.picture_digest:
        return _Look("expected the sha256 of its record, found another: it is damaged")
    if recorded.picture_digest != outcome.picture_digest:
        said = "expected the picture that the metadata tells of, found one that was made after it"
        return _Look(f"{said}, as its record says; run it again to write the metadata", False)
    return None


def shown_pictures(url: str) -> set[str]:
    """The paths of the pictures that an output's gallery shows; none if it has no gallery."""
    page = output.read_whole(url, output.GALLERY)
    found = _SPINE.search(page or b"")
    if found is None:
        return set()
    try:
        paths = gallery.chunk_paths(output.read_whole(url, found[1].decode()) or b"")
    except ValueError:
        return set()
    return {path for each in in_parallel(lambda p: _shown_by(url, p), paths) for path in each}


def _shown_by(url: str, path: str) -> set[str]:
    try:
        return gallery.shown_pictures(output.read_whole(url, path) or b"")
    except ValueError:
        return set()


def _is_damaged(url: str, path: str, size: int, digest: str | None) -> bool:
    """Whether a file of the gallery is missing or differs from what was written."""
    data = output.read_whole(url, path)
    if data is None or len(data) != size or not gallery.is_whole(path, data):
        return True
    return digest is not None and hashlib.sha256(data).hexdigest() != digest


def _built_files(url: str) -> Mapping[str, int]:
    """The files of the gallery and their sizes, as they were written."""
    return gallery.read_receipt(output.read_whole(url, gallery.RECEIPT) or b"")[1]


def _stale(url: str, tree: Mapping[str, int]) -> list[str]:
    """The files of earlier galleries, if the files of the current one are known."""
    built = _built_files(url)
    own = [path for path in tree if gallery.is_own(path) and path != gallery.RECEIPT]
    return gallery.stale_files(url, sorted({*own} - built.keys()), ()) if built else []


def _unowned(
    url: str, tree: Mapping[str, int], rows: Mapping[str, Outcome], ledger: records.Ledger
) -> list[str]:
    # A row that failed this time may have a picture of an earlier run, which is its own still.
    at = ledger.made.find(rows)
    outcomes = [*rows.values(), *ledger.made.claims(at[at >= 0])]
    pictures = {outcome.picture for outcome in outcomes if outcome.picture}
    pictures |= {path for outcome in outcomes for path in outcome.kept or ()}
    thumbnails = {path for each in outcomes for path in output.thumbnails_of(each).values()}
    previews = {
        f"{output.INPUTS}/{name(digest)}"
        for outcome in outcomes
        for digest in _input_digests(outcome)
        for name in (output.preview_name, output.small_preview_name)
    }
    strays = [path for path in tree if _id_of(path) is not None and path not in pictures]
    return sorted(
        [
            *_painted_here(url, strays, ledger),
            *(path for path in tree if storage.is_leftover(path) or output.is_transient(path)),
            *({path for path in tree if output.is_small_copy(path)} - thumbnails - previews),
        ]
    )


def _id_of(path: str) -> str | None:
    """The id by which a run would give a picture this path, or None for no such path."""
    if (kept_of := output.id_of_kept(path)) is not None:
        return kept_of
    name = path.removeprefix(f"{output.IMAGES}/")
    stem, dot, suffix = name.rpartition(".")
    is_picture = path != name and "/" not in name and f"{dot}{suffix}" in SUFFIXES.values()
    return stem if is_picture else None


def _painted_here(url: str, paths: Sequence[str], ledger: records.Ledger) -> list[str]:
    """Those files among the pictures that a run has made under these names.

    A record of the id proves that, or else what the file says of itself: a copy under another name is
    somebody's own.
    """
    ids = [_id_of(path) or "" for path in paths]
    has_record = (ledger.made.find(ids) >= 0) | (ledger.failed.find(ids) >= 0)

    def says_so(pair: tuple[str, str]) -> bool:
        data = output.read_whole(url, pair[0]) or b""
        return b'"software": "nst ' in data and f'"id": {json.dumps(pair[1])}'.encode() in data

    others = [(path, i) for path, i, known in zip(paths, ids, has_record, strict=True) if not known]
    said = {
        path for (path, _), ours in zip(others, in_parallel(says_so, others), strict=True) if ours
    }
    return [path for path, known in zip(paths, has_record, strict=True) if known or path in said]


def _input_digests(outcome: Outcome) -> list[str]:
    return [*(outcome.content_digest or "").split(), *(outcome.style_digest or "").split()]
