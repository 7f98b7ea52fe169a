"""Tables of columns for the documentation, made of the code's own descriptions.

`python -m docs.reference FILE...` rewrites each block between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from docs import architecture
from nst import documents
from nst.errors import REASONS
from nst.job import LABEL_PREFIX, PARAMS_ADAPTER, range_text
from nst.manifest import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from nst.output import metadata
from nst.profiles import DEFAULT_BACKBONE


def manifest_columns() -> str:
    """Every manifest column with its default and its range, as a markdown table."""
    schemas = PARAMS_ADAPTER.json_schema()["properties"]
    rows = [(name, "required", text) for name, text in REQUIRED_COLUMNS.items()]
    defaults = {"backbone": f"`{DEFAULT_BACKBONE}`"}
    rows += [(name, defaults.get(name, ""), text) for name, text in OPTIONAL_COLUMNS.items()]
    rows += [
        (name, _default(schema), f"{schema['description']} {range_text(schema)}".strip())
        for name, schema in schemas.items()
    ]
    rows.append((f"{LABEL_PREFIX}...", "", "Your own, carried to the metadata and the gallery."))
    return _table(("column", "default", "meaning"), rows)


def metadata_columns() -> str:
    """Every column of the metadata, as a markdown table."""
    columns = [*metadata.ROW_COLUMNS, *metadata.OUTCOME_COLUMNS, *metadata.PARAM_COLUMNS]
    rows = [(column.name, f"`{column.type}`", column.description) for column in columns]
    rows.append((f"{LABEL_PREFIX}...", "`string`", "The manifest's own labels."))
    return _table(("column", "type", "meaning"), rows)


def reasons() -> str:
    """Every reason for which a row fails, as a markdown table."""
    return _table(("reason", "what it means"), list(REASONS.items()))


def json_fields() -> str:
    """Every field of every document that `--json` prints, a markdown table for each."""
    kinds = [
        documents.RunDocument,
        documents.PlanDocument,
        documents.PlannedGroup,
        documents.PlanEstimate,
        documents.VerifyDocument,
        documents.WeightsDocument,
        documents.BackboneWeights,
        documents.ErrorDocument,
    ]
    return "\n\n".join(f"### {_heading(kind)}\n\n{_fields(kind)}" for kind in kinds)


_HEADS: Mapping[type, str] = {
    documents.PlannedGroup: "Each of the `groups` of a plan",
    documents.PlanEstimate: "The `estimate` of a plan: all groups together",
    documents.BackboneWeights: "Each of the `backbones`",
    documents.ErrorDocument: "Any of them that came to no result",
}


def _heading(kind: type) -> str:
    return _HEADS.get(kind) or str(kind.__doc__).rstrip(".")


def _fields(kind: type) -> str:
    """The fields of a document, each type as JSON has it."""
    hints = get_type_hints(kind, include_extras=True).items()
    rows = [(name, *_said_of(hint)) for name, hint in hints]
    return _table(("field", "type", "meaning"), rows)


def _said_of(hint: Any) -> tuple[str, str]:
    kind, text = get_args(hint)
    return _json_type(kind), text


def _json_type(kind: Any) -> str:
    parts = get_args(kind)
    if type(None) in parts:
        return f"{_json_type(next(p for p in parts if p is not type(None)))} or null"
    names = {int: "integer", float: "number", str: "string", bool: "boolean"}
    if kind in names:
        return names[kind]
    origin = getattr(kind, "__origin__", None)
    if origin is Sequence:
        return "array"
    return "string" if origin is Literal else "object"


BLOCKS = {
    "manifest columns": manifest_columns,
    "metadata columns": metadata_columns,
    "reasons": reasons,
    "json fields": json_fields,
    "rooms": architecture.room_table,
    "imports": architecture.import_graph,
}


def rewritten(text: str) -> str:
    """A document with its blocks made anew."""
    for name, make in BLOCKS.items():
        block = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
        table = make() + "\n"
        text = block.sub(lambda _: table, text)  # noqa: B023 called at once
    return text


def _default(schema: Mapping[str, Any]) -> str:
    return "" if schema["default"] is None else f"`{schema['default']}`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *((f"`{name}`", *rest) for name, *rest in rows)]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


if __name__ == "__main__":
    for document in map(Path, sys.argv[1:]):
        document.write_text(rewritten(document.read_text(encoding="utf-8")), encoding="utf-8")
