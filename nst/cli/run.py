"""`nst run`: make the pictures of a manifest, or of pictures that are named."""

import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, cast

import typer

from nst import next_steps, options, pipeline, starting, storage
from nst.cli.arguments import (
    RUNNERS,
    BackboneOption,
    ContentOption,
    Given,
    JsonOption,
    PlacesArgument,
    SetOption,
    StyleOption,
)
from nst.cli.exits import EXIT_SOME_FAILED, EXIT_STOPPED_ON_REQUEST, EXIT_TOO_MANY_FAILED, errors
from nst.cli.printing import (
    human,
    open_page,
    print_error,
    print_line,
    print_next,
    print_rows,
    print_start,
)
from nst.documents import ErrorDocument, picture_document, run_document, to_json
from nst.errors import ConfigError
from nst.options import pairs, typed_settings
from nst.output import GALLERY, Record
from nst.planning import Plan
from nst.running import Listener, Listeners, NoListener, RunProgress, RunReport
from nst.settings import RunnerName, RunSettings
from nst.starting import Start, Typed
from nst.wording import counted, shown_duration, visible

_OutputOption = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="URL",
        help="Folder or URL to write to; of one picture also its file, such as out.png. Required.",
    ),
]
_PrefectOption = Annotated[
    bool,
    typer.Option("--prefect", help="Run as the Prefect flow, on its own server if none is set."),
]
_RunnerOption = Annotated[
    str,
    typer.Option(
        metavar="|".join(RUNNERS),
        help="With --prefect: paint on a cluster of Ray or Dask in place of this machine.",
    ),
]
_AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Where the cluster is; if not given, one of this machine alone is started.",
    ),
]
_OpenOption = Annotated[
    bool, typer.Option("--open", help="Open the gallery, or the one picture, at the end.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """By what a run is painted, and how its end is told; `started` is by the monotonic clock."""

    prefect: bool
    runner: str
    runner_address: str | None
    is_json: bool
    opened: bool
    started: float

    @property
    def wall_s(self) -> float:
        return time.monotonic() - self.started


@options.taking(options.ALL)
def run(
    output: _OutputOption = None,
    places: PlacesArgument = [],  # noqa: B006 typer copies it
    content: ContentOption = [],  # noqa: B006
    style: StyleOption = [],  # noqa: B006
    backbone: BackboneOption = [],  # noqa: B006
    set_: SetOption = [],  # noqa: B006
    given: Given = {},  # noqa: B006
    prefect: _PrefectOption = False,
    runner: _RunnerOption = "threads",
    runner_address: _AddressOption = None,
    open_: _OpenOption = False,
    json_: JsonOption = False,
) -> None:
    """Make every picture of a manifest that the output does not have, its metadata and gallery.

    Exit status: 0 every row has its picture; 2 bad usage or a bad manifest, and nothing was run;
    3 the run finished and some rows failed, which are listed; 4 more failed than --fail-over allows,
    and the others were not made; 1 a fault of a store, no answer of a cluster or an unexpected error
    stopped it, or all is done but stdout could not take the report;
    129, 130 and 143 the end of its terminal, Ctrl-C or nst stop, or SIGTERM did. Whatever stops it,
    run the same again to go on.

    Example: nst run manifests/demo.csv --output output/demo --set size=384 --set steps=150

    Example: nst run --content photos/ --style paintings/ --output output/mine

    Example: nst run photo.jpg painting.jpg -o out.png
    """
    way = _Way(
        prefect=prefect,
        runner=runner,
        runner_address=runner_address,
        is_json=json_,
        opened=open_,
        started=time.monotonic(),
    )
    with errors("run", is_json=json_):
        typed = Typed(places=places, contents=content, styles=style, backbones=backbone)
        overrides = pairs(set_, "--set", "FIELD=VALUE")
        line = next_steps.with_output(typed, overrides, options.words(given))
        output = starting.check_output(output, typed, line)
        settings = typed_settings(starting.with_schemes(given, typed), storage.absolute(output))
        _check_runner(runner, runner_address, prefect)
        one = None if typed.manifest else starting.picture_format(output)
        start = starting.start_of(typed, settings, overrides, is_kept=one is None)
        pipeline.check(start.manifest, settings, paints_here=runner == "threads")
        print_start(start, is_kept=one is None)
    if one is not None:
        _run_one(start, replace(settings, image_format=one), way)
    else:
        again = options.words(starting.without_once(starting.with_schemes(given, typed)))
        _run_all(start, settings, again, way)


def _run_all(start: Start, settings: RunSettings, again: Sequence[str], way: _Way) -> None:
    """Make the rows of a manifest, tell how that ended, and exit with what it means.

    `again` are the options that another run of the same has.
    """
    with errors("run", is_json=way.is_json), start.opened() as manifest, RunProgress() as progress:
        listener = Listeners(progress, _GalleryLink(settings.output))
        report = _report_of(start, manifest, settings, listener, way)
    wall_s = way.wall_s
    with human(way.is_json):
        _print_end(report, start, settings, again, num_made=progress.num_made, wall_s=wall_s)
        if way.opened:
            open_page(report.gallery_url)
    if way.is_json:
        print(to_json(run_document(report, num_made=progress.num_made, wall_s=wall_s)))
    _exit(report, settings)


def _report_of(
    start: Start, manifest: str, settings: RunSettings, listener: Listener, way: _Way
) -> RunReport:
    """What came of a run; `manifest` is where its manifest can be read."""
    if not way.prefect:
        return pipeline.run_manifest(
            manifest, settings, start.overrides, listener, kept_as=start.kept_as
        )
    return _flow()(
        start.manifest,
        settings,
        start.overrides,
        listener,
        runner=cast(RunnerName, way.runner),
        runner_address=way.runner_address,
        draft=manifest if start.named else None,
    )


def _exit(report: RunReport, settings: RunSettings) -> None:
    """Exit with what a report means; 0 is what a command ends with that does not."""
    if report.stopped_by:
        print_error(
            f"stopped by nst stop, by {report.stopped_by}; what is finished is kept, run the same "
            "again to go on"
        )
        raise typer.Exit(EXIT_STOPPED_ON_REQUEST)
    if pipeline.fails(report, settings):
        print_error(
            f"more rows failed than --fail-over {settings.fail_over} allows; correct them, or "
            "allow more, and run it again"
        )
        raise typer.Exit(EXIT_TOO_MANY_FAILED)
    if report.num_failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _run_one(start: Start, settings: RunSettings, way: _Way) -> None:
    """Paint one picture into a file of its own, with no output around it."""
    url = settings.output
    with errors("run", is_json=way.is_json), RunProgress() as progress:
        assert start.named is not None
        if way.prefect:
            raise ConfigError(f"--prefect: expected a folder as --output, found {url!r}")
        outcome = starting.paint_picture(start.named.matrix, settings, url, progress)
    wall_s = way.wall_s
    if outcome.status == "failed":
        said = f"no picture was made, {outcome.reason}: {outcome.error}"
        print_error(said)
        if way.is_json:
            print(to_json(ErrorDocument(command="run", error=said, exit_status=EXIT_SOME_FAILED)))
        raise typer.Exit(EXIT_SOME_FAILED)
    with human(way.is_json):
        print_line(f"Picture: {storage.browsable(url)}")
        print_line(f"Made in {shown_duration(wall_s)}")
        print_next(next_steps.after_picture(url))
        if way.opened:
            open_page(storage.browsable(url))
    if way.is_json:
        print(to_json(picture_document(url, wall_s=wall_s)))


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
    if runner not in RUNNERS:
        raise ConfigError(f"--runner: expected one of {', '.join(RUNNERS)}; found {runner!r}")
    if runner != "threads" and not prefect:
        raise ConfigError(f"--runner {runner}: expected --prefect with it, which has the runners")
    if address is not None and runner == "threads":
        raise ConfigError("--runner-address: expected --runner ray or --runner dask with it")


def _print_end(
    report: RunReport,
    start: Start,
    settings: RunSettings,
    again: Sequence[str],
    *,
    num_made: int,
    wall_s: float,
) -> None:
    _print_report(report)
    if num_made:
        print_line(
            f"Made {counted(num_made, 'picture')} in {shown_duration(wall_s)}, "
            f"{num_made / wall_s:.3g} images/s"
        )
    print_next(next_steps.after_run(start, settings.output, again, num_failed=report.num_failed))


def _print_report(report: RunReport) -> None:
    before = f", {report.num_done_before} of them from before" if report.num_done_before else ""
    print_line(f"{report.num_ok} of {counted(report.num_rows, 'row')} ok{before}")
    if report.num_encoded:
        print_line(
            f"Encoded {counted(report.num_encoded, 'picture')} in another format, painted none of them"
        )
    if report.num_failed > len(report.failed):
        print_line(
            f"The first {len(report.failed)} of {report.num_failed} failed rows; the metadata has "
            "all of them"
        )
    print_rows([_failed_row(record) for record in report.failed], "failed")
    if report.num_failed:
        _print_counts(report)
    print_line(f"Metadata: {report.metadata_url}")
    print_line(f"Gallery: {report.gallery_url}")


def _print_counts(report: RunReport) -> None:
    counts = {"ok": report.num_ok}
    counts |= {f"failed, {reason}": n for reason, n in report.failed_by_reason.items()}
    width = max(len(str(report.num_rows)), len("rows"))
    print_line(f"{'rows':>{width}}  status")
    for status, number in counts.items():
        print_line(f"{number:>{width}}  {status}")


def _failed_row(record: Record) -> tuple[int, str, str]:
    return record.row, record.outcome.id, f"{record.outcome.reason}: {record.outcome.error}"
