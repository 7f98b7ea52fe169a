"""The command line: a thin translation to the steps of a run; it alone prints and exits."""

import codecs
import getpass
import io
import logging
import os
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
from functools import partial
from typing import Annotated, Any, cast, get_args

import typer
from typer.core import TyperGroup

from nst import __version__, options, pipeline, storage, streams
from nst.api import manifest_uri, output_url
from nst.audit import Audit
from nst.documents import (
    ErrorDocument,
    WeightsDocument,
    backbone_weights,
    plan_document,
    run_document,
    status_document,
    to_json,
    verify_document,
)
from nst.errors import ConfigError, ManifestError, NSTError
from nst.gallery import serving
from nst.options import pairs, typed_settings
from nst.output import GALLERY, Record
from nst.painting import WeightsFile
from nst.planning import Estimate, GroupEstimate, Plan
from nst.profiles import PROFILES
from nst.redaction import redacted
from nst.running import (
    Interrupted,
    Listeners,
    NoListener,
    RunProgress,
    RunReport,
    RunStatus,
)
from nst.settings import RunnerName
from nst.wording import counted, message, shown_bytes, shown_duration, visible

EXIT_STOPPED = 1  # it was stopped by no fault of the user's; running it again goes on from there
EXIT_USAGE = 2  # bad usage or a bad manifest, and nothing was run
EXIT_SOME_FAILED = 3  # the run finished and some rows failed
EXIT_TOO_MANY_FAILED = 4  # more than --fail-over allows, and the rest was left

EXIT_STOPPED_ON_REQUEST = 128 + signal.SIGINT  # by nst stop, which is a Ctrl-C from elsewhere

_MAX_LISTED = 50
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

ManifestArgument = Annotated[
    str,
    typer.Argument(
        metavar="MANIFEST",
        help="CSV, JSON Lines, Parquet or YAML matrix; a path or URL. A folder, with a slash at "
        "its end, or a pattern in quotes: all files of it together.",
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
        return message(super().format(record))


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


@app.command(short_help="Make the pictures of a manifest.")
@options.taking(options.ALL)
def run(
    manifest: ManifestArgument,
    output: Annotated[str, typer.Option(metavar="URL", help="Folder or URL to write to.")],
    set_: SetOption = [],  # noqa: B006 typer copies it
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
    json_: JsonOption = False,
) -> None:
    """Make every picture of a manifest that the output does not have, its metadata and gallery.

    Exit status: 0 every row has its picture; 2 bad usage or a bad manifest, and nothing was run;
    3 the run finished and some rows failed, which are listed; 4 more failed than --fail-over allows,
    and the others were not made; 1 a fault of a store, no answer of a cluster or an unexpected error
    stopped it, or all is done but stdout could not take the report;
    130 and 143 Ctrl-C, nst stop or SIGTERM did. Whatever stops it, run the same again to go on.

    Example: nst run manifests/demo.csv --output output/demo --set size=384 --set steps=150
    """
    started = time.monotonic()
    with _errors("run", is_json=json_):
        settings = typed_settings(given, storage.absolute(output))
        _check_runner(runner, runner_address, prefect)
        overrides = pairs(set_, "--set", "FIELD=VALUE")
        manifest = manifest_uri(manifest)
        pipeline.check(manifest, settings, paints_here=runner == "threads")
    with _errors("run", is_json=json_), RunProgress() as progress:
        listener = Listeners(progress, _GalleryLink(settings.output))
        if prefect:
            report = _flow()(
                manifest,
                settings,
                overrides,
                listener,
                runner=cast(RunnerName, runner),
                runner_address=runner_address,
            )
        else:
            report = pipeline.run_manifest(manifest, settings, overrides, listener)
    wall_s = time.monotonic() - started
    with _human(json_):
        _print_report(report)
        if progress.num_made:
            _print(
                f"Made {counted(progress.num_made, 'picture')} in {shown_duration(wall_s)}, "
                f"{progress.num_made / wall_s:.3g} images/s"
            )
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
    manifest: ManifestArgument,
    output: Annotated[
        str | None, typer.Option(metavar="URL", help="Also say what is already done there.")
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
    json_: JsonOption = False,
) -> None:
    """Check a manifest and print what would run, in which groups, and what that takes; run nothing.

    Exit status: 0 the manifest is good, also where rows cannot run as things are, which are listed;
    2 it is not; 1 a fault of a store.

    Example: nst plan manifests/study.yaml --output output/study
    """
    with _errors("plan", is_json=json_):
        settings = typed_settings(given, storage.absolute(output) if output else "-")
        made = pipeline.make_plan(
            manifest_uri(manifest),
            settings,
            pairs(set_, "--set", "FIELD=VALUE"),
            download=False,
            resume=output is not None,
        )
        estimated = None
        if estimate and made.groups:
            chosen = pipeline.as_before(settings) if output else settings
            estimated = pipeline.estimated(made, chosen)
    if json_:
        print(to_json(plan_document(made, estimated)))
    else:
        _print_plan(made, estimated)


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
        bool, typer.Option("--open/--no-open", help="Open a browser on what is served.")
    ] = True,
) -> None:
    """Rebuild the gallery of an output from its metadata, or make one of several outputs.

    Of a run that did not finish it has what is recorded so far.

    Served, a private bucket can be looked at too: what is asked for is read with the credentials
    at hand, and nobody but this machine can ask.

    Example: nst gallery output/demo

    Example: nst gallery output/first output/second --to output/both --serve
    """
    with _errors("gallery"):
        urls = [output_url(each) for each in outputs]
        place = output_url(to) if to else None
        if thumbnails:
            for url in urls:
                made = pipeline.make_thumbnails(url)
                _print(f"Thumbnails: made for {counted(made, 'picture')} of {url}")
        _print(f"Gallery: {pipeline.rebuild_gallery(urls, to=place, static_pages=static_pages)}")
        if serve:
            _serve(pipeline.gallery_folder(urls, place), urls, port, opened=open_)


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
    print(visible(line))


def _print_error(said: str) -> None:
    print(f"nst: {message(said)}", file=sys.stderr)


def _human(is_json: bool) -> AbstractContextManager[object]:
    """What is printed within is for people, which with `--json` stdout is not."""
    return redirect_stdout(sys.stderr) if is_json else nullcontext()


def _print_plan(plan: Plan, estimate: Estimate | None) -> None:
    _print(f"{counted(len(plan.jobs), 'row')}: {_plan_summary(plan)}")
    if estimate is not None:
        _print(_estimate_summary(estimate))
    of_groups = {one.name: one for one in estimate.groups} if estimate is not None else {}
    for group in plan.groups:
        found = of_groups.get(group.name)
        _print(
            f"  group {group.name}: {group.backbone}, {group.height} x {group.width} px, "
            f"{group.steps} steps, {counted(len(group.jobs), 'picture')}"
            f"{_group_estimate(found) if found else ''}"
        )
        for planned in group.jobs:
            _print(f"    {planned.job.id}")
    if plan.done:
        _print("  already done")
        for job_id in plan.done:
            _print(f"    {job_id}")
    if plan.to_encode:
        _print("  to encode in another format")
        for job in plan.to_encode:
            _print(f"    {job.id}")
    failed = {outcome.id: outcome for outcome in plan.failed}
    rows = [(job.row, job.id, failed[job.id].error or "") for job in plan.jobs if job.id in failed]
    _print_rows(rows, "cannot run as things are")


def _estimate_summary(estimate: Estimate) -> str:
    where = "this CPU" if estimate.device == "cpu" else estimate.device
    # VGG-16 was measured here just now, the others relative to it elsewhere.
    ratios = "" if estimate.device == "cpu" else "; backbones relative to vgg16 as on a CPU"
    about = "at most about" if estimate.is_upper_bound else "about"
    return (
        f"{about} {shown_duration(estimate.seconds)} on {where}, {shown_bytes(estimate.memory_bytes)} "
        f"(an estimate, if nothing else runs on it{ratios})"
    )


def _group_estimate(found: GroupEstimate) -> str:
    more = "" if found.fits else ", which is more than is free now"
    return f", about {shown_duration(found.seconds)}, {shown_bytes(found.memory_bytes)}{more}"


def _plan_summary(plan: Plan) -> str:
    parts = [f"{counted(plan.num_pictures_to_make, 'picture')} to make"]
    parts.append(f"{len(plan.done)} already done")
    if plan.to_encode:
        parts.append(f"{len(plan.to_encode)} to encode in another format, not to paint")
    if plan.failed:
        parts.append(f"{len(plan.failed)} that cannot run")
    return ", ".join(parts)


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
