"""One flow and its tasks: read, plan, stylize groups, finish. Decorators and calls, no more."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TagsContext
from prefect.events import emit_event
from prefect.exceptions import TerminationSignal
from prefect.states import Completed
from prefect.tasks import Task

from nst import pipeline, runs
from nst.access import is_pattern
from nst.errors import NSTError, RunEndedError, ends_the_run
from nst.pipeline import Portion
from nst.plan import Plan
from nst.prepare import Rows
from nst.reports import PortionReport, RunReport
from nst.settings import ImageFormat, PrecisionChoice, RunSettings
from nst_flows import summary
from nst_flows.credentials import credentials_of
from nst_flows.parameters import (
    BlockName,
    Device,
    Lanes,
    PictureOverrides,
    Pixels,
    Reference,
    Seconds,
    WebAddress,
)
from nst_flows.progress import ProgressArtifact
from nst_flows.watching import current_listener, current_painter, listening, painting

SUMMARY_KEY = "stylize-summary"
FAILED_ROWS_KEY = "stylize-failed-rows"
ROWS_FAILED_EVENT = "nst.batch.rows-failed"

# However many rows there are: each costs 0.1 s between two groups, 20 KB of the server's database and
# 40 KB of this process, and more than a hundred nobody looks at.
MAX_TASKS = 100

_DEFAULTS = RunSettings(output="-")


def _may_pass_next_time(_: Task[Any, Any], __: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and ends_the_run(error)


def run_name() -> str:
    parameters = runtime.flow_run.parameters
    *_, folder, name = ("", *str(parameters["manifest"]).split("/"))
    # A pattern, and a folder, which ends in a slash, are told apart by what is before them.
    is_name = name and not is_pattern(name)
    return f"{name if is_name else f'{folder}/{name}'} to {parameters['output']}"


_STEP: dict[str, Any] = {
    # A store has been asked for long enough by then; once more, and the run stops within 90 s.
    "retries": 1,
    "retry_delay_seconds": 5,
    "retry_condition_fn": _may_pass_next_time,
    # Results stay in memory and nothing is cached: what is done is what the output says is done.
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="read manifest", task_run_name="read manifest", **_STEP)
def read_manifest(manifest: str, settings: RunSettings, overrides: dict[str, Any]) -> Rows:
    """Read the rows of the manifest; a bad one ends the run here."""
    return pipeline.read_manifest(manifest, settings, overrides)


@task(name="plan", task_run_name="plan", **_STEP)
def plan_rows(rows: Rows, settings: RunSettings) -> Plan:
    """Look at every input and at the weights, and cut the rows that are not done into groups."""
    return pipeline.plan_rows(rows, settings)


class GroupsEndedError(NSTError):
    """Some groups of a task ended early; `errors` say why, by their names."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"group {name}: {why}" for name, why in errors.items()))
        self.errors = errors


def portion_run_name() -> str:
    return summary.portion_name(runtime.task_run.parameters["portion"])


@task(name="stylize", task_run_name=portion_run_name, **_STEP)
def stylize_portion(
    portion: Portion, settings: RunSettings, check: Callable[[], None]
) -> PortionReport:
    """Make the pictures of some groups, one after the other, each as one batch, and write them.

    Raises GroupsEndedError at the end where some of them ended early.
    """
    by = current_painter() or pipeline.Painter(pipeline.run_group)
    is_first = (runtime.task_run.run_count or 0) <= 1
    left = portion if is_first else pipeline.remaining(portion, settings)
    started_at = time.monotonic()
    report = pipeline.run_portion(left, settings, current_listener(), by=by, check=check)
    line = summary.portion_line(portion, report, time.monotonic() - started_at)
    get_run_logger().info(line)
    if report.errors:
        raise GroupsEndedError(report.errors)
    return report


@task(name="finish", task_run_name="metadata and gallery", **_STEP)
def finish(
    plan: Plan,
    settings: RunSettings,
    errors: dict[str, str],
    check: Callable[[], None] = lambda: None,
) -> RunReport:
    """Write the metadata and the gallery of all that is there."""
    return pipeline.finish(plan, settings, errors, check)


def stylize_groups(
    plan: Plan, settings: RunSettings, check: Callable[[], None], *, max_tasks: int
) -> dict[str, str]:
    """A task for each group, or for some where there are many; what ended groups, by their names."""

    def as_task(portion: Portion) -> Mapping[str, str]:
        check()
        errors: Mapping[str, str]
        try:
            errors = stylize_portion(portion, settings, check).errors
        except GroupsEndedError as exc:
            errors = exc.errors
        except Exception as exc:
            if ends_the_run(exc) or isinstance(exc, RunEndedError):
                raise
            errors = {group.name: pipeline.why_it_ended(group, exc) for group in portion}
        for name, why in errors.items():
            get_run_logger().error("group %s ended: %s", name, why)
        return errors

    current_listener().planned(plan)
    by = current_painter() or pipeline.Painter(pipeline.run_group)
    errors = pipeline.run_portions(pipeline.in_portions(plan.groups, max_tasks), as_task, by=by)
    check()
    return errors


@flow(name="stylize-manifest", flow_run_name=run_name)
def stylize_manifest(
    manifest: Reference,
    output: Reference,
    overrides: PictureOverrides | None = None,
    gallery_base_url: WebAddress | None = None,
    credentials_block: BlockName | None = None,
    device: Device = _DEFAULTS.device,
    lanes: Lanes = _DEFAULTS.lanes,
    precision: PrecisionChoice = _DEFAULTS.precision,
    image_format: ImageFormat = _DEFAULTS.image_format,
    max_batch_pixels: Pixels = _DEFAULTS.max_batch_pixels,
    weights: dict[str, str] | None = None,
    roots: list[str] | None = None,
    schemes: list[str] | None = None,
    keep_going: bool = False,
    skip_failed: bool = False,
    retry_quarantined: bool = False,
    replace: bool = False,
    timeout_s: Seconds = _DEFAULTS.timeout_s,
    isolate: bool = True,
) -> Any:
    """Repaint every content of a manifest in its style, and write pictures, metadata and gallery.

    What the output already has is not made again, so that running it again makes what is new, what
    has changed and what failed. Rows that fail do not stop the others; the run then ends as
    Completed under the name PartiallyFailed, and emits the event `nst.batch.rows-failed`.

    Args:
        manifest: CSV, JSON Lines, Parquet or YAML matrix of rows; an absolute path or a URL. A folder,
            with a slash at its end, or a pattern such as s3://bucket/rows/*.csv: all of its files.
        output: Folder or URL to write to, absolute. Runs on one output go on from one another.
        overrides: Picture parameters for every row, over the manifest's own.
        gallery_base_url: Web address that serves the output, to link its gallery; none if empty.
        credentials_block: Name of an AWS Credentials block of Prefect; if empty, the worker's own.
        device: auto, cpu, mps, cuda or GPUs such as cuda:0,cuda:1; auto takes every GPU there is.
        lanes: Groups painted at a time, from 0 to 64; 0 paints one on each device.
        precision: What the network computes in; auto takes what the output's pictures were made in, or else
            bfloat16 where all devices have units for it, or else float32.
        image_format: Format of the pictures.
        max_batch_pixels: Pixels of a batch together, at least 1; bounds the memory it takes.
        weights: Per backbone, a weights file or URL, or `torchvision` for its download.
        roots: Folders and URL prefixes that inputs must lie in; anywhere if empty.
        schemes: Schemes of the URLs that may be read and written; file and s3 if empty.
        keep_going: Fail the rows of a manifest that are wrong, and run the others.
        skip_failed: Leave rows that failed before as they are.
        retry_quarantined: Try rows again that killed or hung the process that painted them.
        replace: Go on in an output whose pictures were made with other settings.
        timeout_s: Seconds without a sign of life after which a process that paints is ended.
        isolate: Paint in a process of its own, whose end costs one picture and no more.
    """
    settings = RunSettings(
        output=output,
        device=device,
        lanes=lanes,
        precision=precision,
        image_format=image_format,
        max_batch_pixels=max_batch_pixels,
        weights=weights or {},
        roots=tuple(roots or ()),
        schemes=tuple(schemes or _DEFAULTS.schemes),
        keep_going=keep_going,
        skip_failed=skip_failed,
        retry_quarantined=retry_quarantined,
        replace=replace,
        timeout_s=timeout_s,
        isolate=isolate,
    )
    pipeline.check(manifest, settings)
    progress = ProgressArtifact(current_listener())
    with (
        # The processes that paint are ended by then, whatever they were at.
        saying_it_stopped(
            progress, lambda: summary.stopped_line(progress.num_made, progress.num_pictures)
        ),
        credentials_of(credentials_block),
        listening(progress),
    ):
        report = _stylize(manifest, settings, overrides.given() if overrides else {})
    return ended(report, progress, settings, gallery_base_url)


@contextmanager
def saying_it_stopped(progress: ProgressArtifact, line: Callable[[], str]) -> Iterator[None]:
    """A flow that is cancelled within, or whose worker ends, says how far it got."""
    try:
        yield
    except TerminationSignal:
        said = line()
        get_run_logger().warning(said)
        progress.ended(said)
        raise


def _stylize(manifest: str, settings: RunSettings, overrides: dict[str, Any]) -> RunReport:
    # For each tag of a task run the server is asked for a slot, whether or not it has a limit, and
    # tasks wait for its answer; the flow run keeps its own.
    untagged = TagsContext(current_tags=set())
    with pipeline.painter(settings) as by, painting(by), untagged:
        rows = read_manifest(manifest, settings, overrides)
        with runs.opened(manifest, settings, overrides) as this:
            this.plan = plan_rows(rows, this.settings)
            get_run_logger().info(summary.planned_line(this.plan))
            settled = this.settled(lambda: by.precision(settings.device))
            errors = stylize_groups(this.plan, settled, this.lease.check, max_tasks=MAX_TASKS)
            this.report = finish(this.plan, settled, errors, this.lease.check)
            return this.report


def ended(
    report: RunReport,
    progress: ProgressArtifact,
    settings: RunSettings,
    gallery_base_url: str | None,
) -> Any:
    """What a flow returns: the report, under a name of its own where rows failed; after it is shown."""
    _show(report, progress, settings, gallery_base_url)
    if report.num_failed:
        message = f"{report.num_failed} of {report.num_rows} rows failed"
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
    progress.ended(line)
    create_markdown_artifact(
        summary.summary_markdown(
            report,
            num_made=progress.num_made,
            seconds=progress.seconds,
            gallery_base_url=gallery_base_url,
        ),
        key=SUMMARY_KEY,
        description=line,
    )
    if not report.num_failed:
        return
    create_table_artifact(
        summary.failed_table(report),
        key=FAILED_ROWS_KEY,
        description=summary.failed_title(report),
    )
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
