"""A Markdown file of sections, each written by a program of its own."""

import re
from collections.abc import Sequence


def in_place(text: str, title: str, body: str) -> str:
    """`text` with `body` as its section `## title`: in place of the one that it has, or at its end."""
    section = f"## {title}\n\n{body}"
    found = _pattern(title).search(text)
    if found is None:
        return f"{text.rstrip()}\n\n{section}"
    after = text[found.end() :]
    return text[: found.start()] + section + ("\n" + after if after else "")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are even as text too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, rule, *rows)
    ]
    return "\n".join(f"| {line} |" for line in lines)


def _pattern(title: str) -> re.Pattern[str]:
    return re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
