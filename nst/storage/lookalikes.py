"""What may have been meant by a name that is not there: one that looks alike, on a disk by its folder."""

import os
import unicodedata
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

# A folder of more files is not searched.
_MAX_NAMES = 100_000


def hint(uri: str, path: Path | None) -> str:
    """What to look at where there is no such object: the end of a message, or nothing.

    `path` is where it would be on a disk, of whose folders the names are compared.
    """
    if path is not None and os.path.lexists(path):
        return ""
    if path is not None and (found := _lookalike(path)):
        return found
    invisible = sorted({f"U+{ord(each):04X}" for each in uri if unicodedata.category(each) == "Cf"})
    if invisible:
        return f"; the name has {', '.join(invisible)} in it, which cannot be seen"
    if any(part.startswith("~") for part in uri.split("/")):
        return "; a ~ is part of a name, and means the home folder only as ~/"
    if "\\" in uri:
        return "; between folders stands /, and a backslash is part of a name"
    if unicodedata.normalize("NFC", uri) != unicodedata.normalize("NFD", uri):
        return (
            "; its letters with accents can be written in two ways, which are different names: "
            "compare it with a listing"
        )
    return ""


def _lookalike(path: Path) -> str:
    """The first part of a path that is not there beside the one of its folder that looks the same."""
    parts = path.parts
    start, missing = Path(parts[0]), list(parts[1:])
    while missing and os.path.lexists(start / missing[0]):
        start /= missing.pop(0)
    if not missing:
        return ""
    rest = os.path.join(*missing)
    for meant, why in (
        (rest.replace("\\", "/"), "with / between folders"),
        (unquote(rest), "since only a URL is percent-encoded"),
    ):
        # A stranger may ask only for what is below: what is elsewhere may be outside of every root.
        is_below = not meant.startswith("/") and ".." not in meant.split("/")
        if meant != rest and is_below and os.path.isfile(start / meant):
            return f"; there is {meant!r}, {why}"
    try:
        name = _names(str(start), os.stat(start).st_mtime_ns).get(_folded(missing[0]))
    except OSError:
        return ""
    if name is None:
        return ""
    if name.casefold() == missing[0].casefold():
        return f"; there is {name!r}, with other capitals"
    return f"; there is {name!a}, which looks the same as {missing[0]!a}"


@lru_cache(maxsize=8)
def _names(folder: str, _: int) -> dict[str, str]:
    """The names in a folder as it was at a time, by what they look like; none of a very large one."""
    found: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            if len(found) >= _MAX_NAMES:
                return {}
            found[_folded(entry.name)] = entry.name
    return found


def _folded(name: str) -> str:
    seen = "".join(each for each in name if unicodedata.category(each) != "Cf")
    return unicodedata.normalize("NFC", seen).strip().casefold()
