"""Which paths a pattern matches, in a time that the lengths of both bound: strangers write patterns.

fsspec's own expressions try every way to divide a name among the wildcards of a pattern, of which
there are more than a run can wait for.
"""

import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from functools import lru_cache


def matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a path matches: `*` and `?` stand for anything but a slash, `**` for any segments."""
    parts = pattern.split("/")
    return lambda path: matches(parts, path.split("/"))


def matches(parts: Sequence[str], names: Sequence[str]) -> bool:
    """Whether the segments of a pattern match those of a path; `**` is any number of segments.

    Each name is compared with each part at most once.
    """
    # How many names, from the first, the parts so far can stand for.
    matched = {0}
    for part in parts:
        if part == "**":
            matched = set(range(min(matched), len(names) + 1))
        else:
            is_match = _segment(part)
            matched = {i + 1 for i in matched if i < len(names) and is_match(names[i])}
        if not matched:
            return False
    return len(names) in matched


@lru_cache(maxsize=1000)
def _segment(part: str) -> Callable[[str], object]:
    # An expression of Python's, each of whose wildcards is decided once. It would look for the end
    # of every bracket up to the end of the text.
    closed, bracket, rest = part.rpartition("]")
    return re.compile(translate(closed + bracket + rest.replace("[", "[[]"))).match
