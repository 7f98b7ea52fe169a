"""The ids of rows: file names that are safe on every system and the same in every run."""

import hashlib
import json
import posixpath
import re
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from nst.job import Job
from nst.manifest.problems import Problem, shown

SAFE_ID_RULE = (
    "an id of at most 100 letters, digits, '.', '_' and '-', that begins with a letter or digit, "
    "does not end in '.', and is no name that Windows reserves"
)
_SAFE_ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?")
_MAX_NAME_BYTES = 130
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_safe_id(text: str) -> bool:
    """Whether `text` is a valid file name on every system, and needs no escapes in a URL."""
    return bool(_SAFE_ID.fullmatch(text)) and not _RESERVED.fullmatch(text)


def is_safe_name(text: str) -> bool:
    """Whether `text` is such an id, or one that was made with letters of other scripts, composed."""
    letters = "".join("x" if not c.isascii() and _is_kept(c) else c for c in text)
    is_composed = unicodedata.is_normalized("NFC", text)
    return is_composed and len(text.encode()) <= _MAX_NAME_BYTES and is_safe_id(letters)


def id_of(texts: Mapping[str, str], given: str) -> str:
    """A readable id that depends only on this row.

    Not on other rows, on the parameters' defaults or on --set, so it stays the same across runs; the
    digest tells rows apart whose names look alike. `texts` name the backbone, so that a row which
    names the default one has the id of a row that names none. `given` is what else is given, as its
    JSON with sorted keys, which many rows have in common.
    """
    said = ", ".join([f"{_quoted(name)}: {_quoted(texts[name])}" for name in sorted(texts)])
    # 64 bits: with 32, two of some 80,000 settings of one pair would share a picture.
    digest = hashlib.sha256(f"[{{{said}}}, {given}]".encode()).hexdigest()[:16]
    return f"{_slug(texts['content'])}-{_slug(texts['style'])}-{texts['backbone']}-{digest}"


# Of a manifest's million rows, most name inputs that others name too.
_MAX_REMEMBERED = 20_000


@lru_cache(maxsize=_MAX_REMEMBERED)
def _quoted(text: str) -> str:
    return json.dumps(text)


@lru_cache(maxsize=_MAX_REMEMBERED)
def _slug(reference: str) -> str:
    """The letters and digits of a file's name, of every script, as a part of an id; composed (NFC)."""
    text = unicodedata.normalize("NFKC", _stem(reference)).lower()
    kept = ""
    for character in text:
        # A mark belongs to a letter, and would be on the dash where that is left out.
        is_lost = not _is_kept(character) or (_is_mark(character) and kept[-1:] in ("", "-"))
        kept += "-" if is_lost else character
    plain = re.sub("-+", "-", unicodedata.normalize("NFC", kept)).strip("-")[:_MAX_SLUG]
    # A letter that is cut in two is left out.
    cut = plain.encode()[:_MAX_SLUG_BYTES].decode(errors="ignore")
    return cut.rstrip("-") or "picture"


def _stem(reference: str) -> str:
    return posixpath.splitext(posixpath.basename(unquote(reference).rstrip("/")))[0]


def _is_kept(character: str) -> bool:
    if character.isascii():
        return character.isalnum()
    kind = unicodedata.category(character)
    return (kind[0] in "LM" or kind == "Nd") and not _SELECTOR.match(character)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"


# Of ASCII so many as ever. Two names of so many bytes, a digest and what a file is written under at
# first are fewer than the 143 bytes that the least of the usual file systems takes.
_MAX_SLUG = 32
_MAX_SLUG_BYTES = 48
# What chooses a form of the letter before, and is not seen.
_SELECTOR = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def earlier_id(job: Job) -> str:
    """The id that the releases up to 0.2.0 made for a job, of the letters and digits of ASCII alone.

    It is the job's id where that has no others, as every id of a row's own.
    """
    if job.id.isascii():
        return job.id
    names = (_ascii_slug(job.content_name), _ascii_slug(job.style_name))
    return "-".join((*names, job.backbone, job.id.rpartition("-")[2]))


def _ascii_slug(reference: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", _stem(reference).lower())
    return words.strip("-")[:_MAX_SLUG].rstrip("-") or "picture"


# More than a file has lines, so that with the file's number a line is one number.
_MAX_LINES = 1 << 32


class Ids:
    """The ids so far, compared without case, since some file systems ignore case.

    Rows without an id of their own that say the same share one picture, which is no problem.
    """

    def __init__(self) -> None:
        # Its file and its number or line for each, below 0 where the id is the row's own: a text for
        # each of a million would take as much as the rows.
        self._seen: dict[str, int] = {}
        self._stand_ins: dict[str, int] = {}
        # What the rows of each file are told by, and what it is called among several.
        self._files: list[tuple[str, str | None]] = []

    def add(
        self, text: str, number: int, line: int | None, *, is_own: bool, file: str | None = None
    ) -> list[Problem]:
        """What is wrong with an id; `file` is that of its row, where there are several.

        Of a file's rows all have a line, or none.
        """
        unit = "row" if line is None else "line"
        if self._files[-1:] != [(unit, file)]:
            self._files.append((unit, file))
        folded = _folded(text)
        here = len(self._files) * _MAX_LINES + (number if line is None else line)
        if folded in self._stand_ins:
            other = f"row {self._stand_ins[folded]}"
        else:
            first = self._seen.setdefault(folded, -here if is_own else here)
            if abs(first) == here or not (is_own or first < 0):
                return []
            other = self._row_at(abs(first))
        return [Problem(line, "id", f"an id that {other} does not have", shown(text))]

    def _row_at(self, position: int) -> str:
        number_of_file, number = divmod(position, _MAX_LINES)
        unit, file = self._files[number_of_file - 1]
        return f"{unit} {number} of {file}" if file else f"{unit} {number}"

    def stand_in(self, number: int, cells: Mapping[str, Any]) -> str:
        """An id that no row has, for row `number` which cannot have one; the same in every run."""
        digest = hashlib.sha256(repr(dict(cells)).encode("utf-8", "backslashreplace"))
        made = f"row-{number}-{digest.hexdigest()[:8]}"
        while made.casefold() in self._seen or made.casefold() in self._stand_ins:
            made += "x"
        self._stand_ins[made.casefold()] = number
        return made


def _folded(text: str) -> str:
    """The text in lower case; the same object if it has no capitals, to save memory."""
    folded = text.casefold()
    return text if folded == text else folded
