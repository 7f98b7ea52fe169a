"""Tables of columns for the documentation, made of the code's own descriptions.

`python -m docs.reference FILE...` rewrites each block between `<!-- NAME -->` and `<!-- /NAME -->`.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

import typer
from pydantic import TypeAdapter

from docs import architecture
from nst import cli, documents
from nst.errors import REASONS
from nst.job import LABEL_PREFIX, PARAMS_ADAPTER, range_text
from nst.manifest import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from nst.output import metadata
from nst.profiles import DEFAULT_BACKBONE
from nst.settings import SETTING_FIELDS, RunSettings, default_of, option_name


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


def settings() -> str:
    """Every setting of a run, with its option and its default, as a markdown table."""
    schemas = TypeAdapter(RunSettings).json_schema()["properties"]
    rows = []
    for name, field in SETTING_FIELDS.items():
        default, option = default_of(name), option_name(name)
        if default is True:
            option = f"--no-{option.removeprefix('--')}"
        shown = ", ".join(default) if isinstance(default, tuple | Mapping) else str(default)
        text = f"{field.description} {range_text(schemas[name])}".strip()
        rows.append((name, f"`{option}`", f"`{shown}`" if shown else "", text))
    return _table(("setting", "option", "default", "meaning"), rows)


def usage() -> str:
    """Every command with its options, as a block of text."""
    group = typer.main.get_group(cli.app)
    return "\n".join(
        ["```", *(_usage_of(name, each) for name, each in group.commands.items()), "```"]
    )


def _usage_of(name: str, command: Any) -> str:
    """A command and what it is for in the first line, and its options in those below."""
    arguments: list[str] = []
    required: list[Any] = []
    options: list[Any] = []
    for each in command.params:
        if each.param_type_name == "argument":
            is_repeated = each.nargs == -1 and " " not in each.metavar
            more = f" [{each.metavar} ...]" if is_repeated else ""
            arguments.append(f"{each.metavar}{more}")
        else:
            # A missing --output is answered in our words, with the line to type.
            is_required = each.required or str(each.help).endswith("Required.")
            (required if is_required else options).append(each)
    called = " ".join([f"nst {name}", *arguments, *map(_option_usage, required)])
    lines = [f"{called}    {command.short_help}"]
    wrapped, line = [], "   "
    for option in options:
        shown = f" [{_option_usage(option)}]"
        if len(line) + len(shown) > 110:
            wrapped.append(line)
            line = "   "
        line += shown
    return "\n".join([*lines, *wrapped, *([line] if line.strip() else [])])


def _option_usage(option: Any) -> str:
    if option.is_flag:
        # One that is on is there to be turned off.
        names = option.secondary_opts if option.default and option.secondary_opts else option.opts
        both = option.default is None
        return "|".join([*option.opts, *option.secondary_opts] if both else names)
    more = " ..." if option.multiple else ""
    return f"{option.opts[0]} {option.metavar or 'N'}{more}"


def json_fields() -> str:
    """Every field of every document that `--json` prints, a markdown table for each."""
    kinds = [
        documents.RunDocument,
        documents.PlanDocument,
        documents.PlannedGroup,
        documents.PlanEstimate,
        documents.StatusDocument,
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
    "settings": settings,
    "usage": usage,
    "json fields": json_fields,
    "rooms": architecture.room_table,
    "imports": architecture.import_graph,
}


def rewritten(text: str) -> str:
    """A document with its blocks made anew."""
    for name, make in BLOCKS.items():
        if f"<!-- {name} -->" not in text:
            continue
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
