"""An example of a manifest with a comment on each column, made of the columns' own descriptions."""

import textwrap
from collections.abc import Iterator, Mapping

from nst.errors import ConfigError
from nst.job import PARAMS_ADAPTER, range_text
from nst.profiles import DEFAULT_BACKBONE, PROFILES

_WIDTH = 90
_MATRIX = (".yaml", ".yml")
_TABLE = (".csv",)


def example_text(name: str) -> bytes:
    """The text of an example by the suffix of its name: a YAML matrix, or a CSV.

    Every column that may be left out stands in a comment with its default. Raises ConfigError for
    another suffix.
    """
    if name.lower().endswith(_MATRIX):
        lines = _matrix(name)
    elif name.lower().endswith(_TABLE):
        lines = _table(name)
    else:
        expected = ", ".join((*_MATRIX, *_TABLE))
        raise ConfigError(f"expected a name that ends in {expected}; found {name!r}")
    return "".join(f"{line}\n" for line in lines).encode()


def _head(name: str) -> Iterator[str]:
    file = name.rpartition("/")[2]
    yield f"# nst plan {file}                    says what this would make, and in what time"
    yield f"# nst run {file} --output output     makes it; again, it makes what is missing"
    yield "# Paths are relative to this file; URLs such as s3://bucket/photos/one.jpg are read too."


def _matrix(name: str) -> Iterator[str]:
    yield "# A manifest: every content is painted in every style by every backbone."
    yield from _head(name)
    yield ""
    yield "# The pictures to repaint: files, or patterns of them."
    yield "content:"
    yield "  - photos/*.jpg"
    yield "# The pictures to take the style of."
    yield "style:"
    yield "  - paintings/*.jpg"
    yield f"# The networks that paint: {', '.join(PROFILES)}."
    yield f"backbone: [{DEFAULT_BACKBONE}]"
    yield ""
    yield "# All that follows may be left out, and has the value that is shown then. A list of values,"
    yield "# such as style_weight: [0.5, 1, 2], makes pictures with each of them."
    for column, (text, default) in _columns().items():
        yield ""
        yield from _comment(text)
        yield f"# {column}: {default}".rstrip()


def _table(name: str) -> Iterator[str]:
    yield "# A manifest: a row for each picture."
    yield from _head(name)
    yield "# More columns may follow, such as size or style_weight; an empty cell is the default:"
    for column, (text, default) in _columns().items():
        yield from _comment(f"{column}: {text}" + (f" Default: {default}." if default else ""))
    yield "content,style,backbone"
    yield f"photos/one.jpg,paintings/one.jpg,{DEFAULT_BACKBONE}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]


def _columns() -> Mapping[str, tuple[str, str]]:
    """Each parameter of a picture with its description and its default as a cell."""
    schemas = PARAMS_ADAPTER.json_schema()["properties"]
    return {
        name: (f"{schema['description']} {range_text(schema)}".strip(), _cell(schema["default"]))
        for name, schema in schemas.items()
    }


def _cell(default: object) -> str:
    return "" if default is None else str(default)
