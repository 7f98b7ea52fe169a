"""One flow, three tasks: plan, stylize each group, finish. Decorators and calls, nothing else."""

from typing import Any, Literal

from prefect import flow, get_run_logger, runtime, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task

from flows.listening import current_listener
from flows.summary import summary_markdown
from nst import pipeline
from nst.errors import ends_the_run
from nst.plan import Group, Plan
from nst.reports import GroupReport, RunReport
from nst.settings import RunSettings

_DEFAULTS = RunSettings(output="-")


def _may_pass_next_time(_: Task[Any, Any], __: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and ends_the_run(error)


def _run_name() -> str:
    parameters = runtime.flow_run.parameters
    name = str(parameters["manifest"]).rstrip("/").rpartition("/")[2]
    return f"{name} to {parameters['output']}"


_STEP: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": [1, 5, 30],
    "retry_condition_fn": _may_pass_next_time,
    # Results stay in memory and nothing is cached: what is done is what the output says is done.
    "cache_policy": NO_CACHE,
    "persist_result": False,
}


@task(name="plan", task_run_name="plan", **_STEP)
def make_plan(manifest: str, settings: RunSettings, overrides: dict[str, Any]) -> Plan:
    """Read the manifest, look at every input and at the weights, and cut the rows into groups."""
    return pipeline.make_plan(manifest, settings, overrides)


@task(
    name="stylize",
    task_run_name="{group.backbone} {group.height}x{group.width}, group {group.name}",
    **_STEP,
)
def stylize_group(group: Group, settings: RunSettings) -> GroupReport:
    """Make the pictures of one group as one batch, and write them."""
    report = pipeline.run_group(group, settings, current_listener())
    get_run_logger().info("%d made, %d failed", report.num_made, report.num_failed)
    return report


@task(name="finish", task_run_name="metadata and gallery", **_STEP)
def finish(plan: Plan, settings: RunSettings, errors: dict[str, str]) -> RunReport:
    """Write the metadata and the gallery of all that is there."""
    return pipeline.finish(plan, settings, errors)


# A batch fills the device by itself.
_ONE_GROUP_AT_A_TIME: TaskRunner[Any] = ThreadPoolTaskRunner(max_workers=1)


@flow(name="nst", flow_run_name=_run_name, task_runner=_ONE_GROUP_AT_A_TIME)
def stylize_manifest(
    manifest: str,
    output: str,
    overrides: dict[str, Any] | None = None,
    device: str = _DEFAULTS.device,
    precision: Literal["auto", "float32", "bfloat16"] = _DEFAULTS.precision,
    image_format: Literal["png", "jpeg", "webp"] = _DEFAULTS.image_format,
    max_batch_pixels: int = _DEFAULTS.max_batch_pixels,
    weights: dict[str, str] | None = None,
) -> Any:
    """Repaint every content of a manifest in its style, and write pictures, metadata and gallery.

    What the output already has is not made again. Rows that fail do not stop the others; the run
    then ends as Completed under the name PartiallyFailed.

    Args:
        manifest: CSV, JSON Lines, Parquet or YAML matrix of rows; an absolute path or a URL.
        output: Folder or URL to write to, absolute.
        overrides: Picture parameters for every row, over the manifest's own, such as {"size": 384}.
        device: auto, cpu, mps, cuda or cuda:N.
        precision: What the network computes in; auto takes what a short trial finds faster.
        image_format: Format of the pictures.
        max_batch_pixels: Pixels of a batch together; bounds the memory it takes.
        weights: Per backbone, a weights file or URL, or `torchvision` for its download.
    """
    settings = RunSettings(
        output=output,
        device=device,
        precision=precision,
        image_format=image_format,
        max_batch_pixels=max_batch_pixels,
        weights=weights or {},
    )
    pipeline.check(manifest, settings)
    plan = make_plan(manifest, settings, overrides or {})
    current_listener().planned(plan)
    futures = {}
    for group in plan.groups:
        with tags(group.backbone):
            futures[group.name] = stylize_group.submit(group, settings)
    errors: dict[str, str] = {}
    for name, future in futures.items():
        error: object = future.result(raise_on_failure=False)
        if isinstance(error, BaseException):
            errors[name] = str(error)
            get_run_logger().error("group %s ended: %s", name, error)
    report = finish(plan, settings, errors)
    create_markdown_artifact(
        summary_markdown(report), key="nst-run", description=f"Run of {manifest}"
    )
    if report.failed:
        message = f"{len(report.failed)} of {report.num_rows} rows failed"
        return Completed(name="PartiallyFailed", message=message, data=report)
    return report
