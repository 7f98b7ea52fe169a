"""Compares an output with its records, and finds files that no row owns any more."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nst import gallery, output, storage
from nst.errors import ConfigError, CorruptTransferError, ForbiddenError, NotFoundError
from nst.iterables import in_parallel
from nst.output import Brief, Outcome, Record, read_metadata, records
from nst.running import lease

_SPINE = re.compile(rb"data-spine=\"?(data/spine\.[0-9a-f]{8}\.js)")
_NO_GALLERY = (
    "expected a file of the gallery as it was written, found another or none; remove it and run nst "
    "gallery"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A problem of a file, with its path in the output."""

    path: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """How many pictures are as recorded, what differs, and which ids the next run would make again."""

    num_good: int
    findings: tuple[Finding, ...]
    redone: tuple[str, ...]


def verify(url: str) -> Audit:
    """Read every picture of the last run and compare it with its record; change nothing.

    Raises ConfigError where there was no run.
    """
    rows = _by_id(read_metadata(url))
    made = {job_id: row.outcome for job_id, row in rows.items() if row.outcome.status == "ok"}
    ledger = records.read(url)
    tree = storage.list_tree(url)
    outcomes = list(made.values())
    recorded = ledger.made.briefs(ledger.made.find(made))
    said = in_parallel(lambda one: _look(url, *one), list(zip(outcomes, recorded, strict=True)))
    findings = [
        Finding(path=outcome.picture or outcome.id, said=text)
        for outcome, text in zip(outcomes, said, strict=True)
        if text is not None
    ]
    redone = tuple(o.id for o, text in zip(outcomes, said, strict=True) if text is not None)
    findings += [
        Finding(
            path=path,
            said=f"expected a thumbnail of {outcome.picture}, found none; run nst gallery "
            "--thumbnails to make it",
        )
        for outcome, text in zip(outcomes, said, strict=True)
        # One that is made again gets its thumbnails with that.
        if text is None
        for path in output.thumbnails_of(outcome).values()
        if path not in tree
    ]
    shown = shown_pictures(url)
    built = _built_files(url)
    damaged = in_parallel(lambda path: _is_damaged(url, path, built[path]), sorted(built))
    findings += [
        Finding(path=path, said=_NO_GALLERY)
        for path, is_damaged in zip(sorted(built), damaged, strict=True)
        if is_damaged
    ]
    findings += [
        Finding(
            path=path,
            said="expected it in the gallery, found it in no file of its data; run nst gallery",
        )
        for path in sorted({o.picture for o in outcomes if o.picture} - shown)
    ]
    findings += [
        Finding(path=path, said="expected a record of what the gallery shows, found none")
        for path in sorted(shown - {o.picture for o in outcomes})
    ]
    if _is_cut_short(url):
        findings.append(Finding(path=output.RUN, said="the last run did not finish; run it again"))
    else:
        findings += [
            Finding(path=path, said="expected a row that owns it, found none; nst clean removes it")
            for path in [*_unowned(tree, rows, ledger), *_stale(url, tree)]
        ]
    return Audit(num_good=len(outcomes) - len(redone), findings=tuple(findings), redone=redone)


def clean(url: str, *, dry_run: bool = False) -> tuple[str, ...]:
    """Remove files that no row of the metadata owns; returns their paths in the output.

    Raises ConfigError if there was no run, if one is running, or if the last one did not finish.
    """
    read_metadata(url)
    with lease.held(url) as held:
        if _is_cut_short(url):
            raise ConfigError(
                f"{url}: expected a finished run, found one that was cut short and whose rows "
                "are unknown; run it again first"
            )
        rows = _by_id(read_metadata(url))
        ledger = records.read(url)
        tree = storage.list_tree(url)
        unowned = [*_unowned(tree, rows, ledger), *_stale(url, tree)]
        forgotten = sorted((ledger.made.keys() | ledger.failed.keys()) - rows.keys())
        if not dry_run:
            # Records first: one without its picture proves nothing, but would be looked for.
            records.forget(url, ledger, forgotten, check=held.check)
            uris = [storage.join(url, path) for path in unowned]
            storage.delete_all(uris, check=held.check)
        return tuple(unowned)


def _is_cut_short(url: str) -> bool:
    account = output.read_account(url)
    return account is not None and account.get("state") != "finished"


def _by_id(rows: Sequence[Record]) -> Mapping[str, Record]:
    """The rows by their ids; of several of one id, which manifests may share, one with its picture."""
    # Later ones stand over earlier ones.
    in_order = sorted(rows, key=lambda row: row.outcome.status == "ok")
    return {row.outcome.id: row for row in in_order}


def _look(url: str, outcome: Outcome, recorded: Brief | None) -> str | None:
    """The problem of a picture, or None."""
    if recorded is None or recorded.picture_digest != outcome.picture_digest:
        return "expected a record of it as the metadata has it, found another or none"
    if outcome.picture is None:
        return "expected a picture by its record, found no name of one"
    try:
        data = storage.read_bytes(storage.join(url, outcome.picture))
    except NotFoundError:
        return "expected a picture by its record, found none"
    except (CorruptTransferError, ForbiddenError) as exc:
        return f"expected to read it whole; {exc}"
    if len(data) != outcome.picture_bytes:
        return f"expected {outcome.picture_bytes} bytes by its record, found {len(data)}"
    if hashlib.sha256(data).hexdigest() != outcome.picture_digest:
        return "expected the sha256 of its record, found another: it is damaged"
    return None


def shown_pictures(url: str) -> set[str]:
    """The paths of the pictures that an output's gallery shows; none if it has no gallery."""
    page = _read(url, output.GALLERY)
    found = _SPINE.search(page or b"")
    if found is None:
        return set()
    try:
        paths = gallery.chunk_paths(_read(url, found[1].decode()) or b"")
    except ValueError:
        return set()
    return {path for each in in_parallel(lambda p: _shown_by(url, p), paths) for path in each}


def _shown_by(url: str, path: str) -> set[str]:
    try:
        return gallery.shown_pictures(_read(url, path) or b"")
    except ValueError:
        return set()


def _read(url: str, path: str) -> bytes | None:
    try:
        return storage.read_bytes(storage.join(url, path))
    except NotFoundError:
        return None


def _is_damaged(url: str, path: str, size: int) -> bool:
    """Whether a file of the gallery is missing or differs from what was written."""
    data = _read(url, path)
    return data is None or len(data) != size or not gallery.is_whole(path, data)


def _built_files(url: str) -> Mapping[str, int]:
    """The files of the gallery and their sizes, as they were written."""
    return gallery.read_receipt(_read(url, gallery.RECEIPT) or b"")[1]


def _stale(url: str, tree: Mapping[str, int]) -> list[str]:
    """The files of earlier galleries, if the files of the current one are known."""
    built = _built_files(url)
    own = [path for path in tree if gallery.is_own(path) and path != gallery.RECEIPT]
    return sorted(path for path in own if path not in built) if built else []


def _unowned(
    tree: Mapping[str, int], rows: Mapping[str, Record], ledger: records.Ledger
) -> list[str]:
    # A row that failed this time may have a picture of an earlier run, which is its own still.
    outcomes = [row.outcome for row in rows.values()]
    recorded = ledger.made.outcomes(ledger.made.find(rows))
    outcomes += [outcome for outcome in recorded if outcome is not None]
    pictures = {outcome.picture for outcome in outcomes if outcome.picture}
    thumbnails = {path for each in outcomes for path in output.thumbnails_of(each).values()}
    previews = {
        f"{output.INPUTS}/{name(digest)}"
        for outcome in outcomes
        for digest in _input_digests(outcome)
        for name in (output.preview_name, output.small_preview_name)
    }
    owned = {output.IMAGES: pictures, output.THUMBS: thumbnails, output.INPUTS: previews}
    return sorted(
        path
        for path in tree
        if storage.is_leftover(path)
        or output.is_transient(path)
        or any(path.startswith(f"{folder}/") and path not in own for folder, own in owned.items())
    )


def _input_digests(outcome: Outcome) -> list[str]:
    return [*(outcome.content_digest or "").split(), *(outcome.style_digest or "").split()]
