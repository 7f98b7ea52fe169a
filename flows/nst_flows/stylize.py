"""The flow: read, plan, stylize groups, finish, and what the UI is told. Calls, no more."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.context import TagsContext
from prefect.events import emit_event
from prefect.exceptions import TerminationSignal
from prefect.states import Cancelled, Completed, Failed

from nst import pipeline
from nst.redaction import redacted
from nst.running import Listeners, RunReport, runs
from nst.settings import RunnerName, RunSettings, settings_of
from nst.storage import is_pattern, work_for
from nst.wording import visible
from nst_flows import summary, variables
from nst_flows.credentials import credentials_of
from nst_flows.fan_out import fan_out, open_backend
from nst_flows.logs import show_names_as_text
from nst_flows.parameters import (
    BlockName,
    PictureOverrides,
    Reference,
    RunnerAddress,
    WebAddress,
    taking_settings,
)
from nst_flows.progress import ProgressArtifact
from nst_flows.runners import is_in_threads
from nst_flows.tasks import finish, plan_rows, read_manifest
from nst_flows.watching import current_listener, draft_here, end_of_flow, listening

TOO_MANY_FAILED = "TooManyFailed"
ROWS_FAILED_EVENT = "nst.batch.rows-failed"

# How long the end of a run may wait for the server to take what it shows of it.
_SHOWN_S = 60.0


def run_name() -> str:
    parameters = runtime.flow_run.parameters
    # Before the flow looks at them, which refuses a URL with credentials.
    manifest = redacted(variables.shown(str(parameters["manifest"])))
    output = redacted(variables.shown(str(parameters["output"])))
    *_, folder, name = ("", *manifest.split("/"))
    # A pattern, and a folder, which ends in a slash, are told apart by what is before them.
    is_name = name and not is_pattern(name)
    return visible(f"{name if is_name else f'{folder}/{name}'} to {output}")


@flow(name="stylize-manifest", flow_run_name=run_name)
@taking_settings
def stylize_manifest(
    manifest: Reference,
    output: Reference,
    overrides: PictureOverrides | None = None,
    gallery_base_url: WebAddress | None = None,
    credentials_block: BlockName | None = None,
    runner: RunnerName = "threads",
    runner_address: RunnerAddress | None = None,
    **settings: Any,
) -> Any:
    """Repaint every content of a manifest in its style, and write pictures, metadata and gallery.

    What the output already has is not made again, so that running it again makes what is new, what
    has changed and what failed. Rows that fail do not stop the others; the run then ends as
    Completed under the name PartiallyFailed, and emits the event `nst.batch.rows-failed`.

    Args:
        manifest: CSV, JSON Lines, Parquet or YAML matrix of rows; an absolute path or a URL. A folder,
            with a slash at its end, or a pattern such as s3://bucket/rows/*.csv: all of its files.
            variable:NAME is what the Prefect Variable NAME holds when the run begins.
        output: Folder or URL to write to, absolute, or variable:NAME. Runs on one output go on from one
            another.
        overrides: Picture parameters for every row, over the manifest's own.
        gallery_base_url: Web address that serves the output, to link its gallery; none if empty.
        credentials_block: Name of an AWS Credentials block of Prefect; if empty, the worker's own.
        runner: Where groups are painted: threads of this process, or a cluster of ray or dask.
        runner_address: Address of the cluster, such as HOST:8786; one of this machine alone if empty.
    """
    show_names_as_text()
    manifest, output = variables.resolved(manifest), variables.resolved(output)
    chosen = settings_of(output, settings)
    pipeline.check(manifest, chosen, paints_here=is_in_threads(runner))
    progress = ProgressArtifact(summary.artifact_key("progress", output))
    with (
        # What paints has ended by then, whatever it was at.
        _saying_it_stopped(progress),
        _keeping_its_error(),
        credentials_of(credentials_block),
        listening(Listeners(current_listener(), progress)),
    ):
        report = _stylize(
            manifest, chosen, overrides.given() if overrides else {}, runner, runner_address
        )
    return _ended(report, progress, chosen, gallery_base_url)


@contextmanager
def _saying_it_stopped(progress: ProgressArtifact) -> Iterator[None]:
    """A flow that is cancelled within, or whose worker ends, says how far it got."""
    try:
        yield
    except TerminationSignal:
        said = summary.stopped_line(progress.num_made, progress.num_pictures)
        get_run_logger().warning(said)
        progress.ended(said)
        raise


@contextmanager
def _keeping_its_error() -> Iterator[None]:
    """What a flow raises within is known also where Prefect cannot tell its server."""
    try:
        yield
    except Exception as exc:
        end_of_flow().error = exc
        raise


def _stylize(
    manifest: str,
    settings: RunSettings,
    overrides: dict[str, Any],
    runner: RunnerName,
    address: str | None,
) -> RunReport:
    work_for(settings.output, have_answered=False)
    # Tasks have the tag of their own alone: for each the server is asked for a slot, and a flow run's
    # other tags would be asked for by each of its tasks.
    with TagsContext(current_tags=set()), open_backend(settings, runner, address) as backend:
        draft = draft_here()
        rows = read_manifest(draft or manifest, settings, overrides, draft and manifest)
        with runs.opened(manifest, settings, overrides) as this:
            if draft is not None:
                pipeline.keep_manifest(draft, manifest, this.lease.check)
            planned = plan_rows(rows, this.settings, return_state=True)
            this.plan = plan = planned.result()
            get_run_logger().info(summary.planned_line(plan))
            settled = this.settled(lambda: backend.precision(settings))
            told = Listeners(this.standings, current_listener())
            told.planned(plan)
            pipeline.retract(plan, settled, this.lease.check)
            plan = pipeline.encode_stored(plan, settled, this.lease.check)
            with (
                pipeline.growing_gallery(
                    plan, settled, this.standings, this.lease.check
                ) as gallery,
                listening(Listeners(told, gallery)),
            ):
                made = fan_out(plan, settled, this.lease, backend, planned)
            this.lease.check()
            report = finish(plan, settled, made.errors, this.lease.check, wait_for=made.edges)
            who = this.lease.stop_asked_by() if made.is_stopped else None
            this.report = replace(report, stopped_by=who or "")
            painter = backend.painter
            # Of a cluster's nodes it is known that they ended groups early.
            this.has_lost_processes = bool(made.errors) or (
                painter is not None and painter.has_lost_processes()
            )
            return this.report


def _ended(
    report: RunReport,
    progress: ProgressArtifact,
    settings: RunSettings,
    gallery_base_url: str | None,
) -> Any:
    """What a flow returns: the report, under a name of its own where rows failed; after it is shown."""
    end_of_flow().report = report
    _show(report, progress, settings, gallery_base_url)
    if report.stopped_by:
        message = f"stopped by nst stop, by {report.stopped_by}; run it again to go on"
        return Cancelled(message=message, data=report)
    message = f"{report.num_failed} of {report.num_rows} rows failed"
    if pipeline.fails(report, settings):
        allowed = f"{message}, more than fail_over={settings.fail_over} allows"
        return Failed(name=TOO_MANY_FAILED, message=allowed, data=report)
    if report.num_failed:
        return Completed(name="PartiallyFailed", message=message, data=report)
    return report


def _show(
    report: RunReport,
    progress: ProgressArtifact,
    settings: RunSettings,
    gallery_base_url: str | None,
) -> None:
    """Tell the UI how a run ended, and whoever listens to events of the rows that failed."""
    line = summary.ended_line(report, gallery_base_url)
    get_run_logger().info(line)
    # Each by itself, so that one that the server does not take costs none of the others.
    tell = progress.teller.tell
    if report.num_failed:
        # First, as somebody may wait for it.
        tell("event", lambda: _emit_failed(report, settings, gallery_base_url))
    progress.ended(line)
    for subject, make in _artifacts(report, progress, settings, gallery_base_url, line).items():
        tell(subject, make)
    progress.teller.wait(_SHOWN_S)


def _artifacts(
    report: RunReport,
    progress: ProgressArtifact,
    settings: RunSettings,
    gallery_base_url: str | None,
    line: str,
) -> dict[str, Callable[[], object]]:
    """By their subjects, what makes the artifacts of the end."""

    def key(kind: str) -> str:
        return summary.artifact_key(kind, settings.output)

    made: dict[str, Callable[[], object]] = {
        "summary": partial(
            create_markdown_artifact,
            summary.summary_markdown(
                report,
                num_made=progress.num_made,
                seconds=progress.seconds,
                gallery_base_url=gallery_base_url,
            ),
            key=key("summary"),
            description=line,
        )
    }
    if report.num_failed:
        made["failed-rows"] = partial(
            create_table_artifact,
            summary.failed_table(report),
            key=key("failed-rows"),
            description=summary.failed_title(report),
        )
    if gallery_base_url:
        # The UI links and shows only what a browser can open.
        made["gallery"] = partial(
            create_link_artifact,
            summary.gallery_url(report, gallery_base_url),
            link_text="Gallery",
            key=key("gallery"),
            description=line,
        )
        for number, url in enumerate(summary.example_urls(report, gallery_base_url), start=1):
            name = f"picture-{number}"
            made[name] = partial(create_image_artifact, url, key=key(name), description=line)
    return made


def _emit_failed(report: RunReport, settings: RunSettings, gallery_base_url: str | None) -> None:
    emit_event(
        ROWS_FAILED_EVENT,
        resource={
            "prefect.resource.id": f"nst.batch.{runtime.flow_run.id}",
            "prefect.resource.name": str(runtime.flow_run.name),
        },
        payload={
            "num_failed": report.num_failed,
            "num_rows": report.num_rows,
            "failed_by_reason": dict(report.failed_by_reason),
            "output": settings.output,
            "gallery": summary.gallery_url(report, gallery_base_url),
        },
    )
