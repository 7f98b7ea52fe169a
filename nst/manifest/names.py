"""Names as people and programs write them -> columns and backbones, where one meaning is possible."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from nst.job import LABEL_PREFIX, PARAM_FIELDS
from nst.manifest.access import is_plain
from nst.manifest.limits import MAX_NAME
from nst.manifest.problems import Problem, Problems, nearest, shown
from nst.profiles import PROFILES
from nst.redaction import secret_in

REQUIRED_COLUMNS = {
    "content": "Picture to repaint: a path relative to the manifest, or a URL.",
    "style": "Picture whose style to use: a path relative to the manifest, or a URL; several "
    "with `|` between them.",
}
OPTIONAL_COLUMNS = {
    "backbone": "Network whose features are used: " + ", ".join(PROFILES) + ".",
    "id": "Name of the picture's file: letters, digits, `.`, `_`, `-`; if empty, it is made from the row.",
    "mask": "Picture of the content's shape that says where each style paints, from black for the "
    "first style to white for the last; with one style, white is painted and black is not.",
    "style_mask": "Picture of the style's shape that says which part of it gives the style: white does, "
    "black does not, grey in part; for several styles one each, with `|` between them.",
}
KNOWN_COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, *PARAM_FIELDS)

# The name of a column that is left out, and of one that has none.
LEFT_OUT = ""

MAX_COLUMNS = 1000
_SEPARATORS = "a comma, a semicolon or a tab"
_LABEL = re.compile(r"label[\s_-]+(.+)", re.IGNORECASE | re.DOTALL)
# What pandas calls an index that has no name, and a column that had none where it was read.
_OF_AN_INDEX = re.compile(r"__index_level_\d+__|Unnamed: \d+(_level_\d+|\.\d+)*|\s*")


@dataclass(frozen=True, slots=True)
class Reading:
    """How the columns of a file are read.

    `given` are columns of every row that stand in no file, with their texts; a cell of the file that
    has a value stands over them. `notes` says what was left out or may be meant otherwise, in order.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    ignores_unknown: bool = False
    notes: dict[str, None] = field(default_factory=dict)

    def note(self, text: str) -> None:
        """Say something that does not stop the file; once, however many rows say it."""
        if len(self.notes) < MAX_COLUMNS:
            self.notes[text] = None

    def columns(self, names: Sequence[str]) -> list[str]:
        """The columns of these names, in their order: known ones, labels, unknown ones as written.

        One that is left out is `LEFT_OUT`.
        """
        return [self._column(name) for name in names]

    def _column(self, name: str) -> str:
        column = column_of(name)
        if column == LEFT_OUT:
            self.note(f"the column {_quoted(name)} is left out, as the index of a data frame")
        elif self.ignores_unknown and not is_column(column):
            self.note(f"the column {_quoted(name)} is left out, since it is not known")
            return LEFT_OUT
        return column


def _quoted(name: str) -> str:
    return shown(name) if name else "''"


@lru_cache(maxsize=1000)
def column_of(name: str) -> str:
    """The column that a name means: a known one whatever its capitals and spaces, or a label.

    `LEFT_OUT` for the index of a data frame; any other name is returned as it is.
    """
    if _OF_AN_INDEX.fullmatch(name):
        return LEFT_OUT
    if name.strip().startswith(LABEL_PREFIX):
        # Its own words, in which what is invisible may matter.
        return name.strip()
    visible = _visible(name)
    folded = re.sub(r"[\s-]+", "_", visible).lower()
    if folded in KNOWN_COLUMNS:
        return folded
    label = _LABEL.fullmatch(visible)
    return LABEL_PREFIX + label[1] if label else name


def choice_of(text: str, choices: Collection[str]) -> str:
    """The choice that a text means, whatever its capitals, spaces and dashes; else the text, stripped."""
    folded = re.sub(r"[\s_-]+", "", _visible(text)).lower()
    return folded if folded in choices else text.strip()


def _visible(name: str) -> str:
    """Without spaces around it, and without characters that nobody sees, such as a byte order mark."""
    seen = "".join(each for each in name if unicodedata.category(each) != "Cf")
    return seen.strip()


def num_known(names: Sequence[str]) -> int:
    """How many of the names are known columns; labels can be anything, and prove nothing."""
    return sum(column_of(name) in KNOWN_COLUMNS for name in names)


def column_problems(
    names: Sequence[str],
    *,
    line: int | None,
    needs_all: bool = True,
    given: Collection[str] = (),
) -> list[Problem]:
    """The problems of a header whose rows can still be read; `given` are columns beside it.

    Raises Problems if a required column is missing, since otherwise every row would report it.
    """
    if len(names) > MAX_COLUMNS:
        raise Problems(Problem(line, None, f"at most {MAX_COLUMNS} columns", f"{len(names)}"))
    read = [name for name in names if name != LEFT_OUT]
    if needs_all and read and not given and not any(map(is_column, read)):
        raise Problems(_nothing_known(read, line))
    problems = [
        Problem(line, name, _expected_instead(name), shown(name))
        for name in read
        if not is_column(name)
    ]
    problems += [
        Problem(line, name, "each column once", f"{count} of them")
        for name, count in Counter(read).items()
        if count > 1
    ]
    missing = [
        Problem(line, name, "this column", "only " + (", ".join(map(shown, read)) or "others"))
        for name in REQUIRED_COLUMNS
        if needs_all and names and name not in read and name not in given
    ]
    if missing:
        raise Problems(*problems, *missing)
    return problems


def _nothing_known(names: Sequence[str], line: int | None) -> Problem:
    """The problem of a header that is none, or one whose columns are not apart."""
    required = " and ".join(map(repr, REQUIRED_COLUMNS))
    expected = f"the names of the columns, {required} among them"
    if any(mark in name for name in names for mark in ",;\t| "):
        expected += f", with {_SEPARATORS} between columns"
    some = ", ".join(map(shown, names[:_MAX_SHOWN]))
    return Problem(line, None, expected, some + (", ..." if len(names) > _MAX_SHOWN else ""))


_MAX_SHOWN = 10


def is_column(name: str) -> bool:
    """Whether a manifest may have a column of this name."""
    if name in KNOWN_COLUMNS:
        return True
    is_label = name.startswith(LABEL_PREFIX) and name != LABEL_PREFIX
    is_short = len(name) <= MAX_NAME
    return is_label and is_short and is_plain(name) and secret_in(name) is None


@lru_cache(maxsize=1000)
def _expected_instead(name: str) -> str:
    if len(name) > MAX_NAME:
        return f"a column whose name has at most {MAX_NAME} characters, not {len(name):,}"
    if not is_plain(name):
        return "a column whose name UTF-8 can hold, without NUL"
    if secret_in(name) is not None:
        return "a column without credentials in its name"
    if _visible(name).rstrip("_").lower() == LABEL_PREFIX.rstrip("_"):
        return f"a name behind {LABEL_PREFIX}, such as {LABEL_PREFIX}series"
    if num_known(re.split(r"[^\w]+", name)) > 1 or any(mark in name for mark in ",;\t|"):
        return f"the name of one column, with {_SEPARATORS} between columns"
    return "a known column" + nearest(name, KNOWN_COLUMNS, LABEL_PREFIX + name)
