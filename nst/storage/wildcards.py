"""Which paths a pattern matches, in a time that the lengths of both bound: strangers write patterns.

fsspec's own expressions try every way to divide a name among the wildcards of a pattern, of which
there are more than a run can wait for.
"""

import re
from collections.abc import Callable, Iterator, Sequence
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
    reached = {0}
    for matched in _matched(parts, names):
        reached = matched
    return len(names) in reached


def may_match_below(parts: Sequence[str], names: Sequence[str]) -> bool:
    """Whether a pattern may match a path in the folder of these segments, at any depth."""
    of_folders = parts if parts[-1] == "**" else parts[:-1]
    return any(len(names) in matched for matched in _matched(of_folders, names))


def _matched(parts: Sequence[str], names: Sequence[str]) -> Iterator[set[int]]:
    """How many names, from the first, the parts up to each one can stand for; it ends with none."""
    matched = {0}
    for part in parts:
        if part == "**":
            matched = set(range(min(matched), len(names) + 1))
        else:
            is_match = _segment(part)
            matched = {i + 1 for i in matched if i < len(names) and is_match(names[i])}
        yield matched
        if not matched:
            return


@lru_cache(maxsize=1000)
def _segment(part: str) -> Callable[[str], object]:
    # An expression of Python's, each of whose wildcards is decided once. It would look for the end
    # of every bracket up to the end of the text.
    closed, bracket, rest = part.rpartition("]")
    return re.compile(translate(closed + bracket + rest.replace("[", "[[]"))).match
