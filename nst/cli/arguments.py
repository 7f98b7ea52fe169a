"""The arguments and options that several commands take."""

from collections.abc import Mapping
from typing import Annotated, Any, get_args

import typer

from nst.profiles import DEFAULT_BACKBONE, PROFILES
from nst.settings import RunnerName

RUNNERS = get_args(RunnerName)
PlacesArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="MANIFEST|CONTENT STYLE",
        help="A manifest: CSV, JSON Lines, Parquet or YAML matrix; a path or URL. A folder, with a "
        "slash at its end, or a pattern in quotes: all files of it together. Or two pictures, or "
        "folders of them: as --content and --style.",
        show_default=False,
    ),
]
ContentOption = Annotated[
    list[str],
    typer.Option(
        "--content",
        metavar="PICTURES",
        help="In place of a manifest, pictures to repaint: a folder, a file, a URL, or a pattern in "
        "quotes. Repeatable.",
    ),
]
StyleOption = Annotated[
    list[str],
    typer.Option(
        "--style",
        metavar="PICTURES",
        help="With --content, pictures to take the style of; every content is painted in every "
        "style. Repeatable.",
    ),
]
BackboneOption = Annotated[
    list[str],
    typer.Option(
        "--backbone",
        metavar="|".join(PROFILES),
        help=f"With --content, the network that paints; {DEFAULT_BACKBONE} if not given. Repeatable.",
    ),
]
SetOption = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="A picture parameter for every row, over the manifest's own. Repeatable.",
    ),
]
# What was typed of the settings of a run: `options.taking` makes options of them.
Given = Mapping[str, Any]
JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON document on stdout, and what is for people on stderr; "
        "docs/JSON.md has its fields.",
    ),
]
