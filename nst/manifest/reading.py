"""Reads a manifest, or a folder of manifests, once: its jobs, and which of them are refused."""

import hashlib
import logging
import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote

from nst import output, storage
from nst.errors import (
    ConfigError,
    ManifestError,
    StorageError,
    ends_the_run,
)
from nst.iterables import in_parallel
from nst.job import LABEL_PREFIX, Job
from nst.manifest.access import Access, is_inside
from nst.manifest.names import Reading, column_of, is_column
from nst.manifest.parsing import Earlier, Parsed, Places, Refusal, parse
from nst.manifest.rows import MAX_BYTES, MAX_ROWS, SUFFIXES
from nst.manifest.sources import advice_on
from nst.painting import TORCHVISION
from nst.pictures import PICTURE_SUFFIXES
from nst.redaction import redacted
from nst.settings import RunSettings
from nst.storage import is_pattern

_log = logging.getLogger(__name__)


# The number of a manifest's files that are in memory at a time.
_FILES_AT_ONCE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The jobs of a manifest, one for each of its rows, and the sha256 of its bytes.

    `refused` says for some ids why they must not run. `manifest` is what the metadata calls it.
    """

    jobs: tuple[Job, ...]
    refused: Mapping[str, Refusal]
    digest: str
    manifest: str = ""


def read_manifest(
    uri: str, settings: RunSettings, overrides: Mapping[str, Any] | None = None
) -> Rows:
    """The rows of a manifest, or of all files of a folder or pattern in their order; read once.

    Raises ManifestError if they are invalid, and ConfigError for a URL with a scheme that is not
    allowed and for an output among the inputs.
    """
    check_urls(uri, settings)
    files = _files_of(uri, settings.output)
    jobs: list[Job] = []
    refused: dict[str, Refusal] = {}
    errors: list[str] = []
    digests: list[str] = []
    earlier = Earlier() if files != {uri: _File(uri)} else None
    read = partial(_read_manifest, output_uri=settings.output)
    for start in range(0, len(files), _FILES_AT_ONCE):
        some = list(files)[start : start + _FILES_AT_ONCE]
        for file, data in zip(some, in_parallel(read, some), strict=True):
            digests.append(hashlib.sha256(data).hexdigest())
            try:
                parsed = _parse_manifest(file, data, settings, overrides, files[file], earlier)
            except ManifestError as exc:
                errors.append(str(exc))
                continue
            for note in parsed.notes:
                _log.warning("%s: %s", redacted(files[file].shown), redacted(note))
            jobs += parsed.jobs
            refused |= parsed.refused
    if errors:
        raise ManifestError("\n".join(errors))
    if len(jobs) > MAX_ROWS:
        raise ManifestError(
            f"{redacted(uri)}: expected at most {MAX_ROWS} rows in all files, found {len(jobs)}; "
            "split them into several runs"
        )
    _check_output((job for job in jobs if job.id not in refused), settings.output)
    if not jobs:
        _log.warning("%s has no rows", uri)
    return Rows(
        jobs=tuple(jobs),
        refused=refused,
        digest=_digest_of(list(files), digests),
        manifest=output.manifest_name(uri, settings.output),
    )


@dataclass(frozen=True, slots=True)
class _File:
    """What messages call a file, its folder below the manifest's, and the columns that this gives."""

    shown: str
    folder: str = ""
    given: Mapping[str, str] = field(default_factory=dict)


def _files_of(uri: str, output_uri: str) -> dict[str, _File]:
    """The files that a manifest's URL stands for.

    These are the file itself, or the manifests directly in a folder by their suffix, or the matches of
    a pattern; never files in the output, whose metadata is a table as well.
    """
    if uri.startswith(("http://", "https://")) or not (uri.endswith("/") or is_pattern(uri)):
        return {uri: _File(uri)}
    if uri.endswith("/"):
        start, found = uri, _in_a_folder(uri)
    else:
        folder = storage.parent(uri)
        found = storage.glob(folder, uri)
        if found == [uri]:
            return {uri: _File(uri)}
        start, pattern = storage.split_pattern(storage.full_pattern(folder, uri))
        found = found if _of_spark(pattern) else _visible(start, found)
    found = [file for file in found if not is_inside(file, output_uri)]
    if not found:
        raise ManifestError(
            f"{redacted(uri)}: expected files that end in {', '.join(SUFFIXES)}, found none"
            f"{advice_on(uri, output_uri)}"
        )
    names = [file.rpartition("/")[2] for file in found]
    shown = names if len(set(names)) == len(names) else found
    folders = [_below(start, file).rpartition("/")[0] for file in found]
    return {
        file: _File(name, folder, _partition(folder))
        for file, name, folder in zip(found, shown, folders, strict=True)
    }


def _in_a_folder(uri: str) -> list[str]:
    """The manifests directly in a folder; if there are none, those in folders called `column=value`."""
    names = [name for name in sorted(storage.list_sizes(uri)) if _is_manifest(name)]
    if not names and _may_have_partitions(uri):
        tree = filter(_is_manifest, sorted(storage.list_tree(uri)))
        names = [name for name in tree if all("=" in part for part in name.split("/")[:-1])]
    return _visible(uri, [storage.join(uri, name) for name in names])


def advice_on_place(uri: str) -> str:
    """What to type for a local place that is no manifest, but a picture or a folder of them; else ""."""
    if storage.local_path(uri) is None or (uri.endswith("/") and _in_a_folder(uri)):
        return ""
    advice = advice_on(uri, "-")
    # Of a folder with neither it tells what is there.
    return advice if "nst run" in advice else ""


def _may_have_partitions(uri: str) -> bool:
    """Whether it is worth while to list all below a folder: not all of a disk, for a wrong path."""
    path = storage.local_path(uri)
    if path is None:
        return True
    try:
        with os.scandir(path) as entries:
            return any("=" in entry.name for entry in entries)
    except OSError:
        return False


def _is_manifest(name: str) -> bool:
    parts = name.split("/")
    is_hidden = any(part.startswith((".", "~$")) for part in parts)
    return name.lower().endswith(SUFFIXES) and not is_hidden


def _visible(start: str, files: Sequence[str]) -> list[str]:
    """The files without those that Spark writes beside a table, such as logs; a warning names them."""
    hidden = dict.fromkeys(file for file in files if _of_spark(_below(start, file)))
    if hidden:
        shown = ", ".join(redacted(_below(start, file)) for file in list(hidden)[:_MAX_NAMED])
        more = f" and {len(hidden) - _MAX_NAMED} more" if len(hidden) > _MAX_NAMED else ""
        _log.warning("not read, since _ at the start hides a file or folder: %s%s", shown, more)
    return [file for file in files if file not in hidden]


_MAX_NAMED = 10


def _of_spark(path: str) -> bool:
    return any(part.startswith("_") for part in path.split("/"))


def _below(start: str, file: str) -> str:
    return file.removeprefix(start.rstrip("/") + "/")


def _partition(folder: str) -> dict[str, str]:
    """The columns that folders called `column=value` give; one that is not known becomes a label."""
    given = {}
    for name in folder.split("/"):
        key, equals, value = (unquote(part) for part in name.partition("="))
        if key and equals and value != _NULL_PARTITION:
            column = column_of(key)
            given[column if is_column(column) else LABEL_PREFIX + key] = value
    return given


# What Hive and Spark write for no value.
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


def _digest_of(files: Sequence[str], digests: Sequence[str]) -> str:
    """The sha256 of a file's bytes; for several files, that of their names and digests."""
    if len(files) == 1:
        return digests[0]
    lines = (f"{digest} {file}\n" for file, digest in zip(files, digests, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def check_urls(manifest_uri: str, settings: RunSettings) -> None:
    """Raises ConfigError for a manifest, an output, a root or a weights file whose URL may not be used.

    That is one with a scheme that is not allowed, or with credentials in it.
    """
    access = Access(settings.schemes, settings.roots)
    chosen = {
        f"--weights {backbone}": choice
        for backbone, choice in settings.weights.items()
        if choice != TORCHVISION
    }
    named = {"the manifest": manifest_uri, "--output": settings.output, **chosen}
    for what, uri in named.items():
        expected = access.objection_to_kind(uri)
        if expected:
            raise ConfigError(f"{what}: expected {expected}; found {redacted(uri)!r}")


def _check_output(jobs: Iterable[Job], uri: str) -> None:
    """Raises ConfigError for an output that contains an input, or is a folder of inputs.

    Otherwise the next run could read a run's files as inputs, a picture could overwrite an input of
    the same name, and deleting the output would delete the inputs. A folder of its own below the
    inputs is harmless. Patterns that would reach into the output are refused with the manifest.
    """
    inputs = dict.fromkeys(each for job in jobs for each in job.inputs)
    for folder in dict.fromkeys(map(storage.parent, inputs)):
        if is_inside(folder, uri):
            raise ConfigError(
                f"--output: expected a folder without inputs in it, found {uri!r}, in which the "
                f"inputs of {folder!r} are; write to another, such as {storage.join(uri, 'out')!r}"
            )


def _as_from_the_first_folder(folder: str, reference: str) -> str:
    """A path that is relative to `folder` as one that is relative to the folder above all files."""
    if storage.is_absolute(reference):
        return reference
    return posixpath.normpath(posixpath.join(folder, reference))


def _read_manifest(uri: str, output_uri: str) -> bytes:
    if uri.lower().endswith(PICTURE_SUFFIXES):
        raise ManifestError(
            f"{redacted(uri)}: expected a manifest, found a name of a picture"
            f"{advice_on(uri, output_uri)}"
        )
    try:
        with storage.hinting(uri):
            return storage.read_bytes(uri, max_bytes=MAX_BYTES)
    except StorageError as exc:
        if ends_the_run(exc):
            raise
        raise ManifestError(
            f"{exc}; expected a manifest, or a folder of manifests with a slash at its end"
            f"{advice_on(uri, output_uri)}"
        ) from exc


def _parse_manifest(
    uri: str,
    data: bytes,
    settings: RunSettings,
    overrides: Mapping[str, Any] | None,
    named: _File,
    earlier: Earlier | None,
) -> Parsed:
    storage.name_roots(settings.roots)
    # A query may have slashes of its own.
    name = uri.partition("?")[0] if storage.is_web(uri) else uri
    folder = storage.parent(name)
    places = Places(
        resolve=lambda reference: storage.resolve(folder, reference),
        full_pattern=lambda pattern: storage.full_pattern(folder, pattern),
        glob=lambda pattern: storage.glob(folder, pattern),
        access=Access(
            settings.schemes,
            settings.roots,
            closed=tuple(storage.join(settings.output, each) for each in output.OWN_NAMES),
            # Of any other folder in it only these rows fail, of which a stranger may write some.
            closed_below=(settings.output,) if settings.keep_going else (),
        ),
        said=partial(_as_from_the_first_folder, named.folder) if named.folder else None,
    )
    return parse(
        named.shown if earlier else name.rpartition("/")[2],
        data,
        places,
        overrides=overrides,
        keep_going=settings.keep_going,
        after=earlier,
        reading=Reading(given=named.given, ignores_unknown=settings.ignore_unknown_columns),
    )
