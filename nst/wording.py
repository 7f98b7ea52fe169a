"""Quantities and foreign texts as people read them."""

import re
import textwrap

# What a terminal obeys, turns text round, breaks a line or takes no room, and halves of characters, which
# nothing can encode. Joiners stay: Persian and emoji need them.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """`text` in one line, with a right-to-left override as `\\u202e`, and alike all else unseen."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def message(text: str) -> str:
    """A message of one line or several, each `visible`, and all after the first indented.

    So no name with a line break in it passes for a message of its own.
    """
    first, *others = text.split("\n")
    indented = (line if line.startswith("  ") else f"  {line}" for line in others)
    return "\n".join(map(visible, (first, *indented)))


def shown_bytes(count: int) -> str:
    """Bytes as a message says them."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def shown_duration(seconds: float) -> str:
    """Seconds as people say them, to no more digits than an estimate has."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.3g} h"


def counted(number: int, noun: str) -> str:
    """So many of something, in the singular where it is one."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def wrapped(text: str, width: int) -> str:
    """The lines of `text` in at most `width` characters each; a longer word, as a path, stays whole."""
    return "\n".join(_wrapped(line, width) for line in text.split("\n"))


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return textwrap.fill(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
