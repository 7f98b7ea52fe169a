"""`nst gallery` and `nst sheet`: pictures to look at and to judge."""

import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Literal

import typer

from nst import next_steps, pipeline, starting, storage
from nst.api import output_url
from nst.cli.exits import EXIT_SOME_FAILED, errors
from nst.cli.printing import open_page, print_error, print_line, print_next
from nst.errors import ConfigError, NSTError
from nst.gallery import MAX_VOTES_BYTES, Voter, make_sheet, merged, read_votes, serving
from nst.options import pairs
from nst.running import Interrupted
from nst.wording import counted


def gallery(
    outputs: Annotated[
        list[str],
        typer.Argument(
            metavar="OUTPUT", help="Folder or URL of a run; of several, to compare them."
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the gallery goes; if not given, the output, or `compare` in the first of "
            "several.",
        ),
    ] = None,
    static_pages: Annotated[
        bool | None,
        typer.Option(
            "--static-pages/--no-static-pages",
            help="Pages of all pictures for readers without scripts; if not given, for 2,000 "
            "pictures or fewer.",
            show_default=False,
        ),
    ] = None,
    votes: Annotated[
        list[str],
        typer.Option(
            "--votes",
            metavar="FILE",
            help="Ratings and votes that people have saved in the gallery as JSON, to be added to "
            "it: all FILEs behind it, or a pattern in quotes. They are kept in votes.json.",
        ),
    ] = [],  # noqa: B006
    thumbnails: Annotated[
        bool, typer.Option("--thumbnails", help="Make the thumbnails that pictures lack first.")
    ] = False,
    serve: Annotated[
        bool,
        typer.Option("--serve", help="Then serve it on this machine until Ctrl-C, and open it."),
    ] = False,
    port: Annotated[
        int, typer.Option(help="Where to serve it; 0 for any free port.", min=0, max=65535)
    ] = 8765,
    open_: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the gallery in a browser; if not given, only where it is served.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Rebuild the gallery of an output from its metadata, or make one of several outputs.

    Of a run that did not finish it has what is recorded so far; of a run under way it stays as that
    run keeps it.

    Served, a private bucket can be looked at too: what is asked for is read with the credentials
    at hand, and nobody but this machine can ask.

    Example: nst gallery output/demo

    Exit status: 0 it is built; 3 it is, but without a file of votes, which is named; 2 bad usage.

    Example: nst gallery output/first output/second --to output/both --serve

    Example: nst gallery output/demo --votes ann.json ben.json
    """
    with errors("gallery"):
        outputs, files = _outputs_and_votes(outputs, votes)
        read, are_all_good = _read_votes(files)
        urls = [output_url(each) for each in outputs]
        place = output_url(to) if to else None
        if thumbnails:
            for url in urls:
                made = pipeline.make_thumbnails(url)
                print_line(f"Thumbnails: made for {counted(made, 'picture')} of {url}")
        made_at = pipeline.rebuild_gallery(urls, to=place, static_pages=static_pages, voters=read)
        print_line(f"Gallery: {made_at}")
        if serve:
            _serve(pipeline.gallery_folder(urls, place), urls, port, opened=open_ is not False)
        else:
            print_next(next_steps.after_gallery(outputs, to))
            if open_:
                open_page(made_at)
    if not are_all_good:
        raise typer.Exit(EXIT_SOME_FAILED)


def _outputs_and_votes(outputs: list[str], votes: list[str]) -> tuple[list[str], list[str]]:
    """A shell makes several files of `--votes *.json`, of which all but the first come as outputs."""
    more = [each for each in outputs if votes and each.lower().endswith(".json")]
    rest = [each for each in outputs if each not in more]
    if not rest:
        raise ConfigError(
            "expected an OUTPUT besides --votes; give it first: nst gallery OUTPUT --votes FILE"
        )
    files: list[str] = []
    for each in (*votes, *more):
        found = storage.glob(storage.absolute("."), each) if storage.is_pattern(each) else [each]
        if not found:
            raise ConfigError(f"--votes: expected files, found none that {each!r} matches")
        files += found
    return rest, files


def _votes_of(name: str) -> list[Voter]:
    return read_votes(storage.read_bytes(storage.absolute(name), max_bytes=MAX_VOTES_BYTES))


def _read_votes(files: Sequence[str]) -> tuple[list[Voter], bool]:
    """What the files hold, and whether all of them hold votes; each that does not is named."""
    read: list[list[Voter]] = []
    for name in files:
        try:
            read.append(_votes_of(name))
        except NSTError as exc:
            print_error(f"--votes {name}: {exc}; this file is left out")
    voters = merged(read)
    if files:
        num_votes = sum(len(each.votes) for each in voters)
        num_opinions = sum(len(each.opinions) for each in voters)
        print_line(
            f"Votes: {counted(num_votes, 'vote')} and {counted(num_opinions, 'opinion')} "
            f"of {counted(len(voters), 'voter')}"
        )
    return voters, len(read) == len(files)


def sheet(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run.")],
    x: Annotated[str, typer.Option("--x", metavar="FIELD", help="Field across.")] = "style",
    y: Annotated[str, typer.Option("--y", metavar="FIELD", help="Field down.")] = "content",
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="FILE", help="PNG or JPEG to write, by its suffix; a path or URL."
        ),
    ] = "sheet.jpg",
    where: Annotated[
        list[str],
        typer.Option(
            "--where", metavar="FIELD=VALUE", help="Only pictures that have this. Repeatable."
        ),
    ] = [],  # noqa: B006
    cell: Annotated[
        int, typer.Option(help="Long edge of each picture, in pixels.", min=32, max=2048)
    ] = 256,
    replace_: Annotated[
        bool, typer.Option("--replace", help="Write over a FILE that is there.")
    ] = False,
) -> None:
    """Make one picture of all results of an output, small, in rows and columns with labels.

    Of several pictures in one cell the first is shown; --where chooses.

    Example: nst sheet output/demo --x style --y content --where backbone=vgg19 --to sheet.jpg
    """
    with errors("sheet"):
        sheet_format = _sheet_format(to)
        if not replace_:
            starting.check_free(storage.absolute(to), "--to", "choose another, or give --replace")
        made = make_sheet(
            output_url(output),
            x=x,
            y=y,
            where=pairs(where, "--where", "FIELD=VALUE"),
            cell_px=cell,
            sheet_format=sheet_format,
        )
        storage.write_bytes(storage.absolute(to), made.data)
        print_line(f"Sheet: {to}, {counted(made.num_shown, 'picture')}")
        if made.num_left_out:
            print_line(
                f"{counted(made.num_left_out, 'picture')} left out, since others have the same {x} "
                f"and {y}; choose with --where"
            )


def _sheet_format(to: str) -> Literal["png", "jpeg"]:
    suffix = to.lower().rpartition(".")[2]
    formats: dict[str, Literal["png", "jpeg"]] = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg"}
    if suffix not in formats:
        raise ConfigError(f"--to: expected a file that ends in .png or .jpg, found {to!r}")
    return formats[suffix]


def _serve(folder: str, urls: Sequence[str], port: int, *, opened: bool) -> None:
    """Until a signal, which is how it ends: it has done then what it was asked for."""
    site = serving.site_of(folder, urls)
    with serving.open_server(site, port) as server, suppress(KeyboardInterrupt, Interrupted):
        url = serving.url_of(server, site)
        print_line(f"Serving: {url}")
        print_line("Ctrl-C ends it")
        sys.stdout.flush()
        if opened:
            webbrowser.open(url)
        server.serve_forever()
