"""All combinations of contents, styles and backbones <-> the text of a manifest, for people to edit."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nst.wording import counted

# Columns with a list of values each, in this order; every other is one value for all rows.
_AXES = ("content", "style", "backbone")
# What YAML reads as it stands: no mark of its own, and no space beside another or at an end.
_PLAIN = re.compile(r"[\w/.](?:[\w/.()+@=~,-]|:(?=\S)|(?<! ) (?=[\w/.(+]))*")
_LINE = re.compile(r"(?P<column>\w+):(?: (?P<value>.+))?|  - (?P<item>.+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Every content in every style by every backbone; `params` are the same for all rows.

    Contents and styles are as a matrix has them: absolute paths or URLs whose wildcards are escaped.
    """

    contents: tuple[str, ...]
    styles: tuple[str, ...]
    backbones: tuple[str, ...]
    params: Mapping[str, str]

    @property
    def num_rows(self) -> int:
        return math.prod(map(len, self.axes.values()))

    @property
    def axes(self) -> Mapping[str, tuple[str, ...]]:
        """The values by column."""
        return dict(zip(_AXES, (self.contents, self.styles, self.backbones), strict=True))

    def covers(self, other: "Matrix") -> bool:
        """Whether each row of the other is one of these, with the same id."""
        if dict(self.params) != dict(other.params):
            return False
        pairs = zip(self.axes.values(), other.axes.values(), strict=True)
        return all(set(mine) >= set(theirs) for mine, theirs in pairs)


def to_text(matrix: Matrix) -> bytes:
    """The manifest, in UTF-8: a YAML matrix with a value in each line, and a comment that explains it."""
    lengths = " x ".join(str(len(values)) for values in matrix.axes.values())
    lines = [
        f"# Every content in every style by every backbone: {lengths} = "
        f"{counted(matrix.num_rows, 'picture')}.",
        "# Remove lines or add some, or other columns, such as style_weight: [0.5, 1, 2], and run it:",
        "#   nst run OUTPUT/manifest.yaml --output OUTPUT",
    ]
    for column, values in matrix.axes.items():
        lines += [f"{column}:", *(f"  - {_quoted(value)}" for value in values)]
    lines += [f"{name}: {_quoted(value)}" for name, value in sorted(matrix.params.items())]
    return "".join(f"{line}\n" for line in lines).encode()


def of_text(data: bytes) -> Matrix | None:
    """The matrix of a manifest that is just as `to_text` has written it; None of one that is not."""
    try:
        found = dict(_columns(data.decode()))
        axes = [tuple(found.pop(column)) for column in _AXES]
        params = {name: values[0] for name, values in found.items()}
    except (ValueError, KeyError, IndexError):
        return None
    contents, styles, backbones = axes
    matrix = Matrix(contents=contents, styles=styles, backbones=backbones, params=params)
    return matrix if to_text(matrix) == data else None


def _columns(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each column with its values. Raises ValueError where a line is another than `to_text` writes."""
    values: list[str] = []
    for line in text.split("\n"):
        if line.startswith("#") or not line:
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(line)
        if found["column"]:
            values = []
            yield found["column"], values
        value = found["value"] or found["item"]
        if value:
            values.append(_unquoted(value) if value.startswith('"') else value)


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    """A character between quotes of YAML, which has this escape for each of them."""
    if character.isprintable():
        return f"\\{character}" if character in '"\\' else character
    return f"\\U{ord(character):08x}"


def _unquoted(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[2], 16)) if found[2] else found[1], text[1:-1])


_ESCAPE = re.compile(r"\\(U([0-9a-f]{8})|.)")
