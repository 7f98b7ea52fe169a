"""The ids of rows: safe file names on every system, the same across runs."""

import hashlib
import json
import posixpath
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from nst.problems import Problem, shown

SAFE_ID_RULE = (
    "an id of at most 100 letters, digits, '.', '_' and '-', that begins with a letter or digit, "
    "does not end in '.', and is no name that Windows reserves"
)
_SAFE_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_safe_id(text: str) -> bool:
    """Whether `text` names a file on every system, and a URL's last part without escapes."""
    return bool(_SAFE_ID.fullmatch(text)) and not _RESERVED.fullmatch(text)


def made_id(texts: Mapping[str, str], given: Mapping[str, Any]) -> str:
    """A readable id that depends on nothing but what this row says.

    Not on other rows, on defaults or on --set, so it stays the same across runs; the digest tells
    rows apart whose names look alike.
    """
    parts = [_slug(texts["content"]), _slug(texts["style"]), texts["backbone"]]
    written = json.dumps([texts, given], sort_keys=True)
    # 64 bits: with 32, two of some 80,000 settings of one pair would share a picture.
    digest = hashlib.sha256(written.encode()).hexdigest()[:16]
    return "-".join([*parts, digest])


def _slug(reference: str) -> str:
    stem = posixpath.splitext(posixpath.basename(unquote(reference).rstrip("/")))[0]
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:32].rstrip("-") or "picture"


class Ids:
    """The ids so far, compared without case since some filesystems do so.

    Rows without an id of their own that say the same share one picture, which is no problem.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, bool]] = {}

    def add(
        self, text: str, number: int, line: int | None, *, is_own: bool, file: str | None = None
    ) -> list[Problem]:
        """What is wrong with an id; `file` is that of its row, where there are several."""
        here = f"line {line}" if line is not None else f"row {number}"
        here = f"{here} of {file}" if file else here
        first, was_own = self._seen.setdefault(text.casefold(), (here, is_own))
        if first == here or not (is_own or was_own):
            return []
        return [Problem(line, "id", f"an id that {first} does not have", shown(text))]

    def stand_in(self, number: int, cells: Mapping[str, Any]) -> str:
        """An id that no row has, for row `number` which cannot have one; the same in every run."""
        digest = hashlib.sha256(repr(dict(cells)).encode("utf-8", "backslashreplace"))
        made = f"row-{number}-{digest.hexdigest()[:8]}"
        while made.casefold() in self._seen:
            made += "x"
        self._seen[made.casefold()] = (f"row {number}", True)
        return made
