"""The command line: a thin translation to the steps of a run; it alone prints and exits."""

import codecs
import getpass
import io
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stdout,
    suppress,
)
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, cast, get_args

import typer
from typer.core import TyperGroup

from nst import (
    __version__,
    next_steps,
    options,
    pipeline,
    plan_words,
    sampling,
    starting,
    storage,
    streams,
)
from nst.api import output_url
from nst.audit import Audit
from nst.documents import (
    ErrorDocument,
    WeightsDocument,
    backbone_weights,
    picture_document,
    plan_document,
    run_document,
    status_document,
    to_json,
    verify_document,
)
from nst.errors import ConfigError, ManifestError, NSTError
from nst.gallery import MAX_VOTES_BYTES, Voter, make_sheet, merged, read_votes, serving
from nst.options import pairs, typed_settings
from nst.output import GALLERY, Record
from nst.painting import TORCHVISION, WeightsFile
from nst.planning import Estimate, Plan
from nst.profiles import DEFAULT_BACKBONE, PROFILES
from nst.redaction import redacted
from nst.running import (
    Interrupted,
    Listeners,
    NoListener,
    RunProgress,
    RunReport,
    RunStatus,
)
from nst.sampling import SAMPLE_PX, Sample
from nst.settings import DEFAULT_SCHEMES, ImageFormat, RunnerName, RunSettings
from nst.starting import Named, Start, Typed
from nst.wording import counted, message, shown_duration, visible, wrapped

EXIT_STOPPED = 1  # it was stopped by no fault of the user's; running it again goes on from there
EXIT_USAGE = 2  # bad usage or a bad manifest, and nothing was run
EXIT_SOME_FAILED = 3  # the run finished and some rows failed
EXIT_TOO_MANY_FAILED = 4  # more than --fail-over allows, and the rest was left

EXIT_STOPPED_ON_REQUEST = 128 + signal.SIGINT  # by nst stop, which is a Ctrl-C from elsewhere

_MAX_LISTED = 50
_MAX_NAMED = 8
_AGAIN_S = 0.05
_RUNNERS = get_args(RunnerName)

# What Typer raises for bad usage, whether it has it of its own or from click.
_BadUsage: Any = typer.BadParameter.__mro__[2]


class _Commands(TyperGroup):
    """Ends each command by its exit status, whatever it came upon."""

    def main(self, *args: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        command = partial(super().main, *args, **extra | {"standalone_mode": False})
        if not standalone_mode:
            return command()
        with streams.guarded() as out:
            status = _status(command)
            out.flush()
            if out.has_lost_output:
                _print_error(
                    f"stdout could not take all that was to be printed: {out.error}; nothing else is "
                    "affected, and running the same again prints it"
                )
                status = status or EXIT_STOPPED
        sys.exit(status)


def _status(command: Callable[[], Any]) -> int:
    """The exit status of a command, after its error is printed."""
    try:
        return command() or 0
    except _BadUsage as exc:
        sink = io.StringIO()
        exc.show(sink)
        usage, label, said = sink.getvalue().rstrip("\n").partition("Error: ")
        print(f"{usage}{label}{visible(said)}", file=sys.stderr)
        return int(exc.exit_code)
    except BaseException as exc:
        said, status = _told("nst", exc)
        _print_error(said)
        return status


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

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


def main() -> None:
    """The command `nst`, once its modules are loaded."""
    _show_warnings()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.unraisablehook = _not_raised
    app(prog_name="nst")


def _interrupt(number: int, _: object) -> None:
    raise Interrupted(number)


def _not_raised(what: Any) -> None:
    """Have a signal that came where Python raises nothing, as in a finalizer, come again soon."""
    if isinstance(what.exc_value, KeyboardInterrupt | Interrupted):
        number = _number_of(what.exc_value)
        # To the process: a thread that sends it to itself does not wake the main thread, which may wait.
        again = threading.Timer(_AGAIN_S, os.kill, [os.getpid(), number])
        again.daemon = True
        again.start()
    else:
        sys.__unraisablehook__(what)


def _number_of(error: BaseException) -> int:
    return error.number if isinstance(error, Interrupted) else signal.SIGINT


def _show_warnings() -> None:
    """Our own warnings on stderr. Not the root logger's: Prefect sets up logging of its own."""
    handler = _OnStderr()
    handler.setFormatter(_InOneMessage("%(levelname)s: %(message)s"))
    logger = logging.getLogger("nst")
    logger.addHandler(handler)
    # Prefect's would say it once more.
    logger.propagate = False


class _OnStderr(logging.StreamHandler[Any]):
    """On what stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


class _InOneMessage(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _in_columns(message(super().format(record)), sys.stderr)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Batch neural style transfer: repaint every content of a manifest in its style.

    Example: nst run manifests/demo.csv --output output/demo
    """
    if version:
        _print(f"nst {__version__}")
        raise typer.Exit


@app.command(short_help="Make the pictures of a manifest, or of two folders.")
@options.taking(options.ALL)
def run(
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="URL",
            help="Folder or URL to write to; of one picture also its file, such as out.png. Required.",
        ),
    ] = None,
    places: PlacesArgument = [],  # noqa: B006 typer copies it
    content: ContentOption = [],  # noqa: B006
    style: StyleOption = [],  # noqa: B006
    backbone: BackboneOption = [],  # noqa: B006
    set_: SetOption = [],  # noqa: B006
    given: Given = {},  # noqa: B006
    prefect: Annotated[
        bool,
        typer.Option(
            "--prefect", help="Run as the Prefect flow, on its own server if none is set."
        ),
    ] = False,
    runner: Annotated[
        str,
        typer.Option(
            metavar="|".join(_RUNNERS),
            help="With --prefect: paint on a cluster of Ray or Dask in place of this machine.",
        ),
    ] = "threads",
    runner_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where the cluster is; if not given, one of this machine alone is started.",
        ),
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Open the gallery, or the one picture, at the end.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Make every picture of a manifest that the output does not have, its metadata and gallery.

    Exit status: 0 every row has its picture; 2 bad usage or a bad manifest, and nothing was run;
    3 the run finished and some rows failed, which are listed; 4 more failed than --fail-over allows,
    and the others were not made; 1 a fault of a store, no answer of a cluster or an unexpected error
    stopped it, or all is done but stdout could not take the report;
    130 and 143 Ctrl-C, nst stop or SIGTERM did. Whatever stops it, run the same again to go on.

    Example: nst run manifests/demo.csv --output output/demo --set size=384 --set steps=150

    Example: nst run --content photos/ --style paintings/ --output output/mine

    Example: nst run photo.jpg painting.jpg -o out.png
    """
    started = time.monotonic()
    with _errors("run", is_json=json_):
        typed = Typed(places=places, contents=content, styles=style, backbones=backbone)
        overrides = pairs(set_, "--set", "FIELD=VALUE")
        line = next_steps.with_output(typed, overrides, options.words(given))
        output = starting.check_output(output, typed, line)
        settings = typed_settings(starting.with_schemes(given, typed), storage.absolute(output))
        _check_runner(runner, runner_address, prefect)
        one = None if typed.manifest else starting.picture_format(output)
        start = starting.start_of(typed, settings, overrides, is_kept=one is None)
        pipeline.check(start.manifest, settings, paints_here=runner == "threads")
        _print_start(start, is_kept=one is None)
    if one is not None:
        _run_one(start, settings, one, prefect=prefect, is_json=json_, opened=open_)
        return
    with _errors("run", is_json=json_), start.opened() as manifest, RunProgress() as progress:
        listener = Listeners(progress, _GalleryLink(settings.output))
        if prefect:
            report = _flow()(
                start.manifest,
                settings,
                start.overrides,
                listener,
                runner=cast(RunnerName, runner),
                runner_address=runner_address,
                draft=manifest if start.named else None,
            )
        else:
            report = pipeline.run_manifest(
                manifest, settings, start.overrides, listener, kept_as=start.kept_as
            )
    wall_s = time.monotonic() - started
    with _human(json_):
        _print_report(report)
        if progress.num_made:
            _print(
                f"Made {counted(progress.num_made, 'picture')} in {shown_duration(wall_s)}, "
                f"{progress.num_made / wall_s:.3g} images/s"
            )
        _print_next(
            next_steps.after_run(
                start,
                settings.output,
                sorted({*settings.schemes} - {*DEFAULT_SCHEMES}),
                num_failed=report.num_failed,
            )
        )
        if open_:
            _open(report.gallery_url)
    if json_:
        print(to_json(run_document(report, num_made=progress.num_made, wall_s=wall_s)))
    if report.stopped_by:
        _print_error(
            f"stopped by nst stop, by {report.stopped_by}; what is finished is kept, run the same "
            "again to go on"
        )
        raise typer.Exit(EXIT_STOPPED_ON_REQUEST)
    if pipeline.fails(report, settings):
        _print_error(
            f"more rows failed than --fail-over {settings.fail_over} allows; correct them, or "
            "allow more, and run it again"
        )
        raise typer.Exit(EXIT_TOO_MANY_FAILED)
    if report.num_failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _run_one(
    start: Start,
    settings: RunSettings,
    image_format: ImageFormat,
    *,
    prefect: bool,
    is_json: bool,
    opened: bool,
) -> None:
    """Paint one picture into a file of its own, with no output around it."""
    started, url = time.monotonic(), settings.output
    with _errors("run", is_json=is_json), RunProgress() as progress:
        assert start.named is not None
        if prefect:
            raise ConfigError(f"--prefect: expected a folder as --output, found {url!r}")
        chosen = replace(settings, image_format=image_format)
        outcome = starting.paint_picture(start.named.matrix, chosen, url, progress)
    wall_s = time.monotonic() - started
    if outcome.status == "failed":
        said = f"no picture was made, {outcome.reason}: {outcome.error}"
        _print_error(said)
        if is_json:
            print(to_json(ErrorDocument(command="run", error=said, exit_status=EXIT_SOME_FAILED)))
        raise typer.Exit(EXIT_SOME_FAILED)
    with _human(is_json):
        _print(f"Picture: {storage.browsable(url)}")
        _print(f"Made in {shown_duration(wall_s)}")
        _print_next(next_steps.after_picture(url))
        if opened:
            _open(storage.browsable(url))
    if is_json:
        print(to_json(picture_document(url, wall_s=wall_s)))


def _print_start(start: Start, *, is_kept: bool) -> None:
    """The matrix that is made of the pictures that were named, and where it is kept."""
    if start.named is None:
        return
    for line in _matrix_lines(start.named):
        _print(line)
    if is_kept:
        _print(f"Manifest: {start.manifest}")


def _matrix_lines(named: Named) -> Iterator[str]:
    axes = named.matrix.axes
    lengths = [counted(len(values), name) for name, values in axes.items()]
    others = f" ({counted(named.num_others, 'other file')} left out)" if named.num_others else ""
    yield f"{' x '.join(lengths)} = {counted(named.matrix.num_rows, 'picture')}{others}"
    for name, values in axes.items():
        names = [each.rpartition("/")[2] for each in values[:_MAX_NAMED]]
        more = f" and {len(values) - _MAX_NAMED} more" if len(values) > _MAX_NAMED else ""
        yield f"  {name}: {', '.join(names)}{more}"


class _GalleryLink(NoListener):
    """A listener that says where the gallery is, which is there from the start."""

    def __init__(self, url: str) -> None:
        self._url = url

    def planned(self, plan: Plan) -> None:
        if plan.groups:
            link = storage.browsable(storage.join(self._url, GALLERY))
            with suppress(OSError):
                print(visible(f"Gallery, which grows from now on: {link}"), file=sys.stderr)


def _flow() -> Callable[..., RunReport]:
    """`run_locally` of the flows, which nst/ otherwise ignores: Prefect takes a second to import.

    Raises ConfigError if somebody else's package has their name.
    """
    try:
        from nst_flows.local import run_locally
    except ModuleNotFoundError as exc:
        name = str(exc.name)
        if not name.startswith("nst_flows"):
            raise
        found = getattr(sys.modules.get("nst_flows"), "__path__", ["none"])
        raise ConfigError(
            f"--prefect: expected the package nst_flows of nst, found {', '.join(found)} without "
            f"{name}; rename that folder, or take it off PYTHONPATH"
        ) from exc
    return run_locally


def _check_runner(runner: str, address: str | None, prefect: bool) -> None:
    if runner not in _RUNNERS:
        raise ConfigError(f"--runner: expected one of {', '.join(_RUNNERS)}; found {runner!r}")
    if runner != "threads" and not prefect:
        raise ConfigError(f"--runner {runner}: expected --prefect with it, which has the runners")
    if address is not None and runner == "threads":
        raise ConfigError("--runner-address: expected --runner ray or --runner dask with it")


@app.command(short_help="Say what a run would make, in what time and memory.")
@options.taking(options.OF_A_PLAN)
def plan(
    places: PlacesArgument = [],  # noqa: B006
    content: ContentOption = [],  # noqa: B006
    style: StyleOption = [],  # noqa: B006
    backbone: BackboneOption = [],  # noqa: B006
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="URL", help="Also say what is already done there."),
    ] = None,
    set_: SetOption = [],  # noqa: B006
    given: Given = {},  # noqa: B006
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate/--no-estimate",
            help="Say what time and memory it will take here, by a measurement of some seconds.",
        ),
    ] = True,
    sample: Annotated[
        int,
        typer.Option(
            metavar="N",
            help=f"Paint N rows that differ, {SAMPLE_PX} px at most, show them, and say what the "
            "rest will take.",
            min=0,
            max=100,
            show_default=False,
        ),
    ] = 0,
    hourly_price: Annotated[
        float,
        typer.Option(
            metavar="N",
            help="With --sample, what an hour of this machine costs, for the cost of the rest.",
            min=0,
            show_default=False,
        ),
    ] = 0,
    open_: Annotated[bool, typer.Option("--open", help="With --sample, open its gallery.")] = False,
    json_: JsonOption = False,
) -> None:
    """Check a manifest and print what would run, in which groups, and what that takes; run nothing.

    Exit status: 0 the manifest is good, also where rows cannot run as things are, which are listed
    with the exit status of a run; 2 it is not; 1 a fault of a store.

    Example: nst plan manifests/study.yaml --output output/study

    Example: nst plan --content photos/ --style paintings/ --sample 3 --open
    """
    with _errors("plan", is_json=json_):
        typed = Typed(places=places, contents=content, styles=style, backbones=backbone)
        one = None if typed.manifest or output is None else starting.picture_format(output)
        # A picture of its own is made anew, whatever is beside it.
        place = "-" if output is None or one else storage.absolute(output)
        settings = typed_settings(starting.with_schemes(given, typed), place)
        overrides = pairs(set_, "--set", "FIELD=VALUE")
        start = starting.start_of(typed, settings, overrides, is_kept=place != "-")
        _print_start(start, is_kept=False)
        estimated = None
        with start.opened() as manifest, RunProgress():
            made = pipeline.make_plan(
                manifest,
                settings,
                start.overrides,
                download=False,
                resume=place != "-",
                kept_as=start.kept_as,
            )
            if estimate and made.groups:
                chosen = pipeline.as_before(settings) if place != "-" else settings
                estimated = pipeline.estimated(made, chosen)
        sampled = None
        if sample and made.groups:
            with RunProgress() as progress:
                sampled = sampling.paint(made, estimated, sample, settings, progress)
            if open_:
                _open(sampled.report.gallery_url)
    if json_:
        print(to_json(plan_document(made, estimated, sampled)))
    else:
        _print_plan(made, estimated, settings)
        if sampled is not None:
            _print_sample(sampled, made, hourly_price)
        if made.groups:
            _print_next(next_steps.after_plan(typed, overrides, options.words(given), output))


@app.command(short_help="Write an example of a manifest, to edit.")
def init(
    file: Annotated[
        str, typer.Argument(metavar="[FILE]", help="Its name, which ends in .yaml or .csv.")
    ] = "manifest.yaml",
) -> None:
    """Write an example of a manifest that says what each column means. It replaces no file.

    Example: nst init manifest.yaml
    """
    with _errors("init"):
        starting.write_example(storage.absolute(file))
    _print(f"Wrote {file}: name your pictures in it")
    _print_next(next_steps.after_init(file))


@app.command(short_help="Say how far a run is, and who runs it.")
def status(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run.")],
    json_: JsonOption = False,
) -> None:
    """Say how far the run of an output is, or how its last one ended; from any machine.

    Whether a run on another machine is alive takes up to 20 seconds to see.

    Exit status: 0 it is told, whatever it is; 2 no run has written there; 1 a fault of a store.

    Example: nst status output/demo
    """
    with _errors("status", is_json=json_):
        found = pipeline.status(output_url(output))
    if json_:
        print(to_json(status_document(found)))
    else:
        _print_status(found)


@app.command(short_help="Ask a run under way to stop after its current pictures.")
def stop(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run.")],
) -> None:
    """Ask the run of an output, on whatever machine, to stop as by Ctrl-C; return once it knows.

    The pictures that it is painting are finished, metadata and gallery are written, and it ends with
    exit status 130. Run the same again to go on.

    Exit status: 0 it has taken note, or no run is under way; 2 no run has written there, or it takes
    no requests; 1 a fault of a store.

    Example: nst stop output/demo
    """
    with _errors("stop"):
        url = output_url(output)
        asked = pipeline.stop(url, _who())
    before = asked.before
    if asked.has_noted:
        _print(
            f"The run of process {before.pid} on {before.host} stops after its current pictures, and "
            "then writes metadata and gallery"
        )
        _print(f"To see when it has: nst status {output}")
    elif before.is_alive:
        _print("The run has ended meanwhile")
        _print_status(pipeline.status(url))
    else:
        _print("No run is under way: there is nothing to stop")
        _print_status(before)


def _who() -> str:
    """Who types this, and where, as far as the system tells."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A container's user may have no name.
        user = "somebody"
    return f"{user} on {socket.gethostname()}"


def _print_status(found: RunStatus) -> None:
    standing = found.standing
    _print(_state_line(found))
    if standing.num_rows is not None:
        parts = [f"{standing.num_ok} of {counted(standing.num_rows, 'row')} done"]
        if standing.num_done_before:
            parts.append(f"{standing.num_done_before} of them from before")
        parts.append(f"{standing.num_failed} failed")
        if standing.images_per_s is not None:
            parts.append(f"{standing.images_per_s:.3g} images/s")
        if standing.seconds_left and found.state == "running":
            parts.append(f"about {shown_duration(standing.seconds_left)} left")
        _print(", ".join(parts))
    for reason, number in standing.failed_by_reason.items():
        _print(f"    {number} failed, {reason}")
    if standing.num_rows is not None and standing.at:
        _print(f"As of {standing.at}")
    if found.manifest:
        _print(f"Manifest: {found.manifest}")
    if found.error:
        _print(f"Error: {found.error}")
    if found.state == "running":
        _print(f"To stop it: nst stop {found.output}")
    elif found.state in ("interrupted", "stopped", "killed"):
        _print("To go on: run the same command again")


def _state_line(found: RunStatus) -> str:
    who = f"process {found.pid} on {found.host} since {found.started_at}"
    match found.state:
        case "running":
            return f"Running ({found.standing.phase}): {who}, whose lease is alive"
        case "stopping":
            return f"Stopping: {who}, as {found.stop_asked_by} has asked"
        case "killed" if found.pid is not None:
            return f"Killed: {who}, which does not renew its lease any more"
        case "killed":
            return f"Killed: a run that began at {found.started_at} and did not say how it ended"
        case "interrupted" if found.stop_asked_by:
            return f"Stopped at {found.ended_at}, as {found.stop_asked_by} had asked"
        case "interrupted":
            return f"Stopped at {found.ended_at} by Ctrl-C or SIGTERM"
        case "stopped":
            return f"Stopped at {found.ended_at} by an error"
        case _:
            return f"Finished at {found.ended_at}"


@app.command(short_help="Rebuild the gallery of a run, or make one of several.")
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
    with _errors("gallery"):
        outputs, files = _outputs_and_votes(outputs, votes)
        read, are_all_good = _read_votes(files)
        urls = [output_url(each) for each in outputs]
        place = output_url(to) if to else None
        if thumbnails:
            for url in urls:
                made = pipeline.make_thumbnails(url)
                _print(f"Thumbnails: made for {counted(made, 'picture')} of {url}")
        made_at = pipeline.rebuild_gallery(urls, to=place, static_pages=static_pages, voters=read)
        _print(f"Gallery: {made_at}")
        if serve:
            _serve(pipeline.gallery_folder(urls, place), urls, port, opened=open_ is not False)
        else:
            _print_next(next_steps.after_gallery(outputs, to))
            if open_:
                _open(made_at)
    if not are_all_good:
        raise typer.Exit(EXIT_SOME_FAILED)


def _open(url: str) -> None:
    """Show a page or a picture in a browser. Where there is none, its URL has been printed."""
    if not url.startswith(("file:", "http:", "https:")):
        _print_error(f"no browser opens {url}; nst gallery OUTPUT --serve shows an output")
    elif not webbrowser.open(url):
        _print_error(f"no browser opened; open {url} in one")


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
            _print_error(f"--votes {name}: {exc}; this file is left out")
    voters = merged(read)
    if files:
        num_votes = sum(len(each.votes) for each in voters)
        num_opinions = sum(len(each.opinions) for each in voters)
        _print(
            f"Votes: {counted(num_votes, 'vote')} and {counted(num_opinions, 'opinion')} "
            f"of {counted(len(voters), 'voter')}"
        )
    return voters, len(read) == len(files)


@app.command(short_help="Make a contact sheet of an output.")
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
    with _errors("sheet"):
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
        _print(f"Sheet: {to}, {counted(made.num_shown, 'picture')}")
        if made.num_left_out:
            _print(
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
        _print(f"Serving: {url}")
        _print("Ctrl-C ends it")
        sys.stdout.flush()
        if opened:
            webbrowser.open(url)
        server.serve_forever()


@app.command(short_help="Check every picture of a run against its record.")
def verify(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run.")],
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Have the next run make damaged pictures again, and make thumbnails and gallery "
            "anew.",
        ),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Check every picture of an output against its record, and all other files of it.

    It changes nothing without --repair.

    Exit status: 0 all is as recorded; 3 it is not, and what has to be made again is listed;
    2 no run has written there; 1 a fault of a store.

    Example: nst verify output/demo
    """
    with _errors("verify", is_json=json_):
        audit = pipeline.verify(output_url(output), repair=repair)
    with _human(json_):
        _print_audit(audit, repaired=repair)
        _print_next(
            next_steps.after_verify(
                output_url(output),
                num_findings=len(audit.findings),
                num_redone=len(audit.redone),
                repaired=repair,
            )
        )
    if json_:
        print(to_json(verify_document(audit)))
    if audit.findings:
        raise typer.Exit(EXIT_SOME_FAILED)


def _print_audit(audit: Audit, *, repaired: bool) -> None:
    _print(f"{counted(audit.num_good, 'picture')} as recorded")
    for finding in audit.findings:
        _print(f"  {finding.path}: {finding.said}")
    if audit.redone:
        how = "run it again" if repaired else "give --repair, and then run it again,"
        _print(f"{how} to make {counted(len(audit.redone), 'picture')} anew:")
        for job_id in audit.redone:
            _print(f"    {job_id}")


@app.command(short_help="Remove what no row of the metadata owns.")
def clean(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be removed.")
    ] = False,
) -> None:
    """Remove what no row of any manifest owns: pictures, thumbnails, records, previews, leftovers.

    Example: nst clean output/demo --dry-run
    """
    with _errors("clean"):
        removed = pipeline.clean(output_url(output), dry_run=dry_run)
    for path in removed:
        _print(f"  {path}")
    _print(f"{counted(len(removed), 'file')} {'to remove' if dry_run else 'removed'}")
    _print_next(next_steps.after_clean(output_url(output), num_files=len(removed), dry_run=dry_run))


@app.command(name="weights", short_help="Say what weights there are, and how to get the others.")
@options.taking(["weights"])
def show_weights(
    given: Given = {},  # noqa: B006
    json_: JsonOption = False,
) -> None:
    """Print what weights each backbone has, where from, and how to get the missing ones.

    Example: nst weights --weights resnet50=weights/resnet50.safetensors
    """
    with _errors("weights", is_json=json_):
        chosen = typed_settings(given, "-").weights
    found = [backbone_weights(backbone, _weights_of(backbone, chosen)) for backbone in PROFILES]
    if json_:
        print(to_json(WeightsDocument(backbones=found)))
        return
    for each in found:
        if each.error is None:
            _print(f"{each.backbone}: {each.origin}, {each.uri}")
            _print(f"    sha256 {each.sha256}")
            if each.topology:
                _print(f"    topology {each.topology}")
        else:
            _print(f"{each.backbone}: missing")
            _print(f"    {each.error}")
    missing = [each.backbone for each in found if each.error is not None]
    _print_next(next_steps.after_weights(missing))


def _weights_of(backbone: str, chosen: Mapping[str, str]) -> WeightsFile | NSTError:
    try:
        return pipeline.usable_weights(backbone, chosen.get(backbone), download=False)
    except NSTError as exc:
        return exc


@contextmanager
def _errors(command: str, *, is_json: bool = False) -> Iterator[None]:
    """Print an error that a user can act on, and exit with what it means.

    With `--json` the error is a document too, and whatever is printed within goes to stderr.
    """
    try:
        with _human(is_json):
            _check_working_folder()
            yield
    except typer.Exit:
        raise
    except BaseException as exc:
        said, status = _told(f"nst {command}", exc)
        _print_error(said)
        if is_json:
            print(to_json(ErrorDocument(command=command, error=said, exit_status=status)))
        raise typer.Exit(status) from exc


def _check_working_folder() -> None:
    """Raises ConfigError for one that is gone, in which PyTorch ends the process where it stands."""
    try:
        os.getcwd()
    except OSError as exc:
        raise ConfigError(
            f"expected a working folder that exists, found none ({exc.strerror}); cd to another one"
        ) from exc


def _told(command: str, error: BaseException) -> tuple[str, int]:
    """What to say of an error that ended a command, and its exit status."""
    match error:
        case SystemExit():
            raise error
        case ConfigError() | ManifestError():
            return str(error), EXIT_USAGE
        case NSTError():
            return str(error), EXIT_STOPPED
        case KeyboardInterrupt() | Interrupted() | typer.Abort():
            said = "stopped; what is finished is kept, run the same again to go on"
            # What a shell reports of a process that a signal ended.
            return said, 128 + _number_of(error)
        case UnicodeEncodeError(encoding=encoding) if _is_of_names(encoding):
            name = error.object[error.start : error.end]
            return (
                f"expected a locale whose file names can have {name!r}, found one of {encoding}; "
                "set LC_ALL=C.UTF-8 or PYTHONUTF8=1, and run it again"
            ), EXIT_USAGE
        case _:
            return _surprise(command, error), EXIT_STOPPED


def _is_of_names(encoding: str) -> bool:
    """Whether this locale encodes the names of files so, and cannot have all of them."""
    name = codecs.lookup(encoding).name
    return name != "utf-8" and name == codecs.lookup(sys.getfilesystemencoding()).name


def _surprise(command: str, error: BaseException) -> str:
    """What to say of an error that nobody has thought of, after where it happened is printed."""
    where = "".join(traceback.format_exception(error)).rstrip()
    print(message(redacted(where)), file=sys.stderr)
    return (
        f"an unexpected error ended {command}: {type(error).__name__}: {redacted(str(error))}\n"
        "What is finished is kept; run the same again to go on. The lines above say where it "
        "happened; if it happens again, report them"
    )


def _print(line: str) -> None:
    """Print a line for people, in which no name can look like another line."""
    print(_in_columns(visible(line), sys.stdout))


def _print_next(steps: Sequence[str]) -> None:
    """Print what may be typed next."""
    for step in steps:
        line = visible(f"Next, {step}")
        if _in_columns(line, sys.stdout) == line:
            print(line)
        else:
            # In a line of its own, which a terminal lets be copied in one piece.
            reason, _, command = line.partition(": ")
            print(f"{reason}:\n  {command}")


def _print_error(said: str) -> None:
    print(_in_columns(f"nst: {message(said)}", sys.stderr), file=sys.stderr)


def _in_columns(text: str, stream: Any) -> str:
    """The text with whole words in each line of a terminal; as it is for whatever else reads it."""
    is_terminal = stream is not None and stream.isatty()
    return wrapped(text, shutil.get_terminal_size().columns) if is_terminal else text


def _human(is_json: bool) -> AbstractContextManager[object]:
    """What is printed within is for people, which with `--json` stdout is not."""
    return redirect_stdout(sys.stderr) if is_json else nullcontext()


def _print_plan(plan: Plan, estimate: Estimate | None, settings: RunSettings) -> None:
    downloaded = [
        name for name in PROFILES if settings.weights.get(name, TORCHVISION) == TORCHVISION
    ]
    for line in plan_words.lines(plan, estimate, downloaded):
        _print(line)


def _print_sample(sample: Sample, plan: Plan, hourly_price: float) -> None:
    for line in plan_words.sample_lines(sample, plan.num_pictures_to_make, hourly_price):
        _print(line)


def _print_report(report: RunReport) -> None:
    before = f", {report.num_done_before} of them from before" if report.num_done_before else ""
    _print(f"{report.num_ok} of {counted(report.num_rows, 'row')} ok{before}")
    if report.num_encoded:
        _print(
            f"Encoded {counted(report.num_encoded, 'picture')} in another format, painted none of them"
        )
    if report.num_failed > len(report.failed):
        _print(
            f"The first {len(report.failed)} of {report.num_failed} failed rows; the metadata has "
            "all of them"
        )
    _print_rows([_failed_row(record) for record in report.failed], "failed")
    if report.num_failed:
        _print_counts(report)
    _print(f"Metadata: {report.metadata_url}")
    _print(f"Gallery: {report.gallery_url}")


def _print_counts(report: RunReport) -> None:
    counts = {"ok": report.num_ok}
    counts |= {f"failed, {reason}": n for reason, n in report.failed_by_reason.items()}
    width = max(len(str(report.num_rows)), len("rows"))
    _print(f"{'rows':>{width}}  status")
    for status, number in counts.items():
        _print(f"{number:>{width}}  {status}")


def _failed_row(record: Record) -> tuple[int, str, str]:
    return record.row, record.outcome.id, f"{record.outcome.reason}: {record.outcome.error}"


def _print_rows(rows: Sequence[tuple[int, str, str]], what: str) -> None:
    """Rows under the reason that they share, so that forty rows do not say one thing forty times."""
    by_reason: dict[str, list[tuple[int, str]]] = {}
    for row, job_id, reason in rows:
        by_reason.setdefault(reason, []).append((row, job_id))
    for reason, members in by_reason.items():
        _print(f"{counted(len(members), 'row')} {what}: {reason}")
        for row, job_id in members[:_MAX_LISTED]:
            _print(f"    row {row}, {job_id}")
        if len(members) > _MAX_LISTED:
            _print(f"    and {len(members) - _MAX_LISTED} more, all of them in the metadata")
