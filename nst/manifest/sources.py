"""What was named in place of a manifest, a folder, file, pattern or URL -> the pictures in it."""

import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from nst import storage
from nst.errors import ConfigError, ForbiddenError, NotFoundError, StorageError, ends_the_run
from nst.manifest.access import Access, is_inside, is_plain
from nst.manifest.rows import SUFFIXES, objection_to_name
from nst.pictures import PICTURE_SUFFIXES
from nst.redaction import redacted
from nst.settings import DEFAULT_SCHEMES
from nst.storage import is_pattern
from nst.wording import counted

_MAX_NAMED = 5
KINDS = ", ".join(PICTURE_SUFFIXES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The pictures that a text stands for, as absolute paths or URLs, and how many files are none."""

    text: str
    pictures: tuple[str, ...]
    num_others: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The names or paths of files, those of pictures apart, and the names of folders beside them."""

    pictures: tuple[str, ...]
    others: tuple[str, ...]
    folders: tuple[str, ...] = ()


def source_of(text: str, option: str, output: str) -> Source:
    """The pictures that a folder, file, pattern or URL stands for; of a folder, those directly in it.

    Hidden files and those of the output are left out. Raises ConfigError for what may not be read, is
    not there, has no pictures or is in the output, and StorageError if a store fails.
    """
    _check(text, option)
    uri = storage.absolute(text)
    if storage.is_web(uri):
        return Source(text=text, pictures=(uri,))
    if _is_local_folder(uri) or text.endswith("/"):
        return _of_folder(text, uri.rstrip("/") or uri, option, output)
    if is_pattern(uri):
        return _of_pattern(text, uri, option, output)
    if _may_be_there(uri):
        if uri.lower().endswith(tuple(SUFFIXES)):
            raise ConfigError(
                f"{option}: expected a picture, found the manifest {text!r}; a run has one manifest, or "
                "a pattern in quotes"
            )
        return Source(text=text, pictures=(uri,))
    if storage.local_path(uri) is None and storage.list_sizes(uri):
        return _of_folder(text, uri, option, output)
    raise ConfigError(f"{option}: {_is_missing(uri)}")


def schemes_of(texts: Iterable[str]) -> tuple[str, ...]:
    """The schemes of URLs that somebody typed, which none need allow who typed them."""
    found = {text.partition("://")[0] for text in texts if "://" in text}
    return tuple(sorted(found - {*DEFAULT_SCHEMES}))


def advice_on(uri: str, output: str) -> str:
    """What to type where a manifest was expected and pictures, or a folder of none, were found; else ""."""
    to = as_typed(output) if output != "-" else "OUTPUT"
    if uri.lower().endswith(PICTURE_SUFFIXES):
        return (
            f"; to paint one picture, type nst run {as_typed(uri)} PAINTING.jpg -o out.png; to paint many, "
            f"nst run --content PHOTOS/ --style PAINTINGS/ --output {to}"
        )
    if not (uri.endswith("/") or _is_local_folder(uri)):
        return ""
    try:
        found = _in_folder(uri)
    except StorageError:
        return ""
    if found.pictures:
        return (
            f"; it has {counted(len(found.pictures), 'picture')}: to paint them, type nst run "
            f"--content {as_typed(uri)} --style PAINTINGS/ --output {to}"
        )
    return _what_else(uri, found)


def _what_else(text: str, found: _Found) -> str:
    """What is in a folder without pictures."""
    if not (found.others or found.folders):
        return "; the folder is empty"
    files = f"; the files in it are {_named(found.others)}" if found.others else ""
    folders = (
        f"; of its folders, {_named(found.folders)}, name those that are meant"
        if found.folders
        else ""
    )
    return files + folders


def as_typed(uri: str) -> str:
    """A path or URL as it can be typed; a path relative to the working folder where it is below that."""
    path = storage.local_path(uri)
    text = uri
    if path is not None:
        text = _from_here(str(path))
        # False where the folder above may not be looked into; Path.is_dir raises there.
        text = f"{text}/" if os.path.isdir(path) and not text.endswith("/") else text
    return shlex.quote(text)


def _from_here(path: str) -> str:
    """Relative to the working folder where it is below that, and where that has not been deleted."""
    try:
        return path.removeprefix(f"{os.getcwd()}/")
    except OSError:
        return path


def _check(text: str, option: str) -> None:
    schemes = (*DEFAULT_SCHEMES, *schemes_of([text]))
    expected = None if text.strip() else "a folder, a file, a pattern or a URL"
    expected = expected or Access(schemes).objection_to_kind(text)
    if expected:
        raise ConfigError(f"{option}: expected {expected}; found {redacted(text)!r}")


def _is_local_folder(uri: str) -> bool:
    path = storage.local_path(uri)
    return path is not None and os.path.isdir(path)


def _of_folder(text: str, uri: str, option: str, output: str) -> Source:
    if is_inside(uri, output):
        raise ConfigError(
            f"{option}: expected a folder outside the output, which a run writes to; found "
            f"{redacted(text)!r}, which is in {output!r}"
        )
    found = _in_folder(uri)
    if found.pictures:
        names = [storage.join(uri, name) for name in found.pictures]
        return Source(text=text, pictures=_checked(names, option), num_others=len(found.others))
    if not (found.others or found.folders):
        is_missing = storage.local_path(uri) is None or not _is_local_folder(uri)
        said = (
            _is_missing(uri) if is_missing else f"expected pictures, found an empty folder: {text}"
        )
        raise ConfigError(f"{option}: {said}")
    inner = _what_else(text, replace(found, others=())) if found.folders else ""
    raise ConfigError(f"{option}: {_no_pictures(text, found.others)}{inner}")


def _of_pattern(text: str, uri: str, option: str, output: str) -> Source:
    is_ours = lru_cache(maxsize=None)(lambda folder: is_inside(folder, output))
    matches = storage.glob("/", uri)
    found = _sorted_out([each for each in matches if not is_ours(storage.parent(each))])
    if found.pictures:
        return Source(
            text=text, pictures=_checked(found.pictures, option), num_others=len(found.others)
        )
    if not found.others:
        raise ConfigError(
            f"{option}: expected a pattern that some file outside the output matches, found "
            f"{redacted(text)!r}"
        )
    names = [each.rpartition("/")[2] for each in found.others]
    raise ConfigError(f"{option}: {_no_pictures(text, names)}")


def _in_folder(uri: str) -> _Found:
    """What is directly in a folder."""
    found = _sorted_out(sorted(storage.list_sizes(uri)))
    path = storage.local_path(uri)
    folders: list[str] = []
    if path is not None and os.path.isdir(path):
        with os.scandir(path) as entries:
            folders = [each.name for each in entries if each.is_dir() and each.name[0] != "."]
    return _Found(pictures=found.pictures, others=found.others, folders=tuple(sorted(folders)))


def _sorted_out(paths: Sequence[str]) -> _Found:
    seen = [each for each in paths if not each.rpartition("/")[2].startswith(".")]
    are_pictures = [each.lower().endswith(PICTURE_SUFFIXES) for each in seen]
    pictures = tuple(each for each, is_one in zip(seen, are_pictures, strict=True) if is_one)
    others = tuple(each for each, is_one in zip(seen, are_pictures, strict=True) if not is_one)
    return _Found(pictures=pictures, others=others)


def _no_pictures(text: str, others: Sequence[str]) -> str:
    are = f"{counted(len(others), 'other file')}: {_named(others)}" if others else "none"
    hint = ""
    if any(each.lower().endswith(SUFFIXES) for each in others):
        hint = "; a manifest is run by nst run MANIFEST"
    elif any(each.lower().endswith((".heic", ".heif")) for each in others):
        hint = "; save those of a phone as JPEG"
    return f"expected pictures that end in {KINDS} in {redacted(text)!r}; found {are}{hint}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return redacted(", ".join(names[:_MAX_NAMED])) + more


def _checked(paths: Sequence[str], option: str) -> tuple[str, ...]:
    """Raises ConfigError for a name that no manifest can hold."""
    for path in paths:
        expected = objection_to_name(path, option.removeprefix("--"))
        if not is_plain(path):
            expected = "a name of characters that UTF-8 has"
        if expected:
            raise ConfigError(f"{option}: expected {expected}; found {path!r}; rename it")
    return tuple(paths)


def _may_be_there(uri: str) -> bool:
    """Whether there is an object; what may not be looked at is said to be missing, with the reason."""
    try:
        return storage.exists(uri)
    except ForbiddenError:
        return False


def _is_missing(uri: str) -> str:
    """What is wrong with a place where nothing is, and what may have been meant."""
    try:
        with storage.hinting(uri):
            storage.read_start(uri, 1)
    except NotFoundError as exc:
        return f"expected a folder, a file, a pattern or a URL of pictures; {exc}"
    except StorageError as exc:
        if ends_the_run(exc):
            raise
        return str(exc)
    return f"expected a folder, a file, a pattern or a URL of pictures; found {redacted(uri)!r}"
