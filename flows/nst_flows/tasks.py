"""The tasks of the flow: read, plan, stylize groups, finish. Decorators and calls, no more."""

import time
from collections.abc import Callable
from typing import Any

from prefect import get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Cancelled
from prefect.tasks import Task

from nst import pipeline
from nst.errors import NSTError, RunEndedError, ends_the_run
from nst.manifest import Rows
from nst.planning import Plan, Portion
from nst.running import PortionResult, RunIdentity, RunReport, make_portion, remaining, run_in_order
from nst.settings import RunSettings
from nst_flows import summary
from nst_flows.logs import show_names_as_text
from nst_flows.watching import session_here

# Of the tasks that paint, by which a concurrency limit can hold them.
TAG = "gpu"


def _may_pass_next_time(_: Task[Any, Any], __: TaskRun, state: State[Any]) -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, BaseException) and ends_the_run(error)


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
def read_manifest(
    manifest: str, settings: RunSettings, overrides: dict[str, Any], kept_as: str | None = None
) -> Rows:
    """Read the rows of the manifest; a bad one ends the run here."""
    return pipeline.read_rows(manifest, settings, overrides, kept_as=kept_as)


@task(name="plan", task_run_name="plan", **_STEP)
def plan_rows(rows: Rows, settings: RunSettings) -> Plan:
    """Look at every input and at the weights, and cut the rows that are not done into groups."""
    return pipeline.plan_rows(rows, settings)


class GroupsEndedError(NSTError):
    """Some groups of a task ended early; the rest of it is as `made` says."""

    def __init__(self, made: PortionResult) -> None:
        super().__init__(made)
        self.made = made

    def __str__(self) -> str:
        errors = self.made.report.errors
        return "; ".join(f"group {name}: {why}" for name, why in errors.items())


class Assignment:
    """What a task is told: some groups, how they are to be made, for which run.

    No dataclass, which Prefect would go through for futures: with a thousand rows that takes seconds.
    """

    __slots__ = ("identity", "portion", "settings")

    def __init__(self, portion: Portion, settings: RunSettings, identity: RunIdentity) -> None:
        self.portion = portion
        self.settings = settings
        self.identity = identity


def portion_run_name() -> str:
    return summary.portion_name(runtime.task_run.parameters["assignment"].portion)


@task(name="stylize", task_run_name=portion_run_name, tags={TAG}, **_STEP)
def stylize_portion(assignment: Assignment) -> Any:
    """Make the pictures of some groups, one after the other, each as one batch, and write them.

    In whatever process: its arguments are plain data, and what is made is in the output. Raises
    GroupsEndedError at the end where some groups ended early.
    """
    show_names_as_text()
    portion, settings = assignment.portion, assignment.settings
    is_first = (runtime.task_run.run_count or 0) <= 1
    started_at = time.monotonic()
    try:
        made = _made_here(portion, settings, is_first) or make_portion(
            portion, settings, assignment.identity
        )
    except RunEndedError as exc:
        return Cancelled(message=str(exc))
    line = summary.portion_line(portion, made.report, time.monotonic() - started_at)
    get_run_logger().info(line)
    if made.report.errors:
        raise GroupsEndedError(made)
    return made


def _made_here(portion: Portion, settings: RunSettings, is_first: bool) -> PortionResult | None:
    """None where nothing paints in this process."""
    session = session_here()
    if session is None:
        return None
    left = portion if is_first else remaining(portion, settings)
    return PortionResult(report=run_in_order(left, session), failed=())


@task(name="finish", task_run_name="metadata and gallery", **_STEP)
def finish(
    plan: Plan,
    settings: RunSettings,
    errors: dict[str, str],
    check: Callable[[], None] = lambda: None,
) -> RunReport:
    """Write the metadata and the gallery of all that is there."""
    return pipeline.finish(plan, settings, errors, check)
