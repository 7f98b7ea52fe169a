"""The flow that has a run's shards made by other machines, and the pool of Prefect that they are."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, cast
from uuid import UUID

import httpx
from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import Cancelled, Cancelling
from pydantic import Field

from nst import pipeline, runs
from nst.errors import ConfigError
from nst.pipeline import Phase, Ticket
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
from nst_flows.stylize import (
    ended,
    finish,
    plan_rows,
    read_manifest,
    run_name,
    saying_it_stopped,
)
from nst_flows.watching import current_listener, listening

_DEFAULTS = RunSettings(output="-")

_PHASES: Mapping[StateType, Phase] = {
    StateType.SCHEDULED: "waiting",
    # Taken by a worker, which may be lost before a process of it says a word.
    StateType.PENDING: "running",
    StateType.RUNNING: "running",
    StateType.PAUSED: "running",
    StateType.CANCELLING: "running",
    StateType.COMPLETED: "through",
    StateType.FAILED: "lost",
    StateType.CRASHED: "lost",
    StateType.CANCELLED: "lost",
}

DeploymentName = Annotated[str, Field(pattern=r"^[^/]+/[^/]+$")]

_log = logging.getLogger(__name__)


@flow(name="stylize-shards", flow_run_name=run_name)
def stylize_shards(
    manifest: Reference,
    output: Reference,
    shard_rows: Annotated[int, Field(ge=1, le=100_000)] = 500,
    in_flight: Annotated[int, Field(ge=1, le=200)] = 4,
    deployment: DeploymentName = "stylize-shard/shard",
    shard_timeout_s: Seconds = 180,
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
) -> Any:
    """Do what `stylize-manifest` does on many machines: cut the rows into shards, and have each run.

    It paints nothing and needs no GPU, and lives in a pool of its own, where it takes no place from
    its shards. A shard that is lost with its machine is run again elsewhere; one that is lost twice
    is given up, and its rows that are not made fail. Cancelled, it cancels its shards.

    Args:
        manifest: CSV, JSON Lines, Parquet or YAML matrix of rows; an absolute path or a URL. A folder,
            with a slash at its end, or a pattern such as s3://bucket/rows/*.csv: all of its files.
        output: Folder or URL to write to, absolute, that every worker reaches under this name.
        shard_rows: Rows of a shard at most, which are to take minutes; from 1 to 100000.
        in_flight: Shards that are started or wait for a worker at a time, from 1 to 200.
        deployment: Deployment of stylize-shard that runs them.
        shard_timeout_s: Seconds without a sign of life after which a shard is lost.
        overrides: Picture parameters for every row, over the manifest's own.
        gallery_base_url: Web address that serves the output, to link its gallery; none if empty.
        credentials_block: Name of an AWS Credentials block of Prefect, for this and its shards.
        device: What a worker computes on: auto, cpu, mps, cuda or GPUs such as cuda:0,cuda:1.
        lanes: Groups that a worker paints at a time, from 0 to 64; 0 paints one on each device.
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
    )
    # The device is the workers', and need not be here.
    pipeline.check(manifest, dataclasses.replace(settings, device="auto"))
    _check_deployment(deployment)
    chosen = overrides.given() if overrides else {}
    progress = ProgressArtifact(current_listener())
    with (
        saying_it_stopped(
            progress,
            lambda: summary.stopped_shards_line(progress.num_through, progress.num_pictures),
        ),
        credentials_of(credentials_block),
        listening(progress),
    ):
        rows = read_manifest(manifest, settings, chosen)
        with runs.opened(manifest, settings, chosen) as this:
            this.plan = plan_rows(rows, this.settings)
            get_run_logger().info(summary.planned_line(this.plan))
            progress.planned(this.plan)
            pipeline.drive(
                pipeline.cut(this.plan.groups, shard_rows),
                this.settings,
                this.lease,
                Deployment(deployment, this.lease.token, credentials_block),
                progress,
                in_flight=in_flight,
                timeout_s=shard_timeout_s,
                settle=lambda precision: this.settled(lambda: precision),
            )
            this.lease.check()
            this.report = report = finish(this.plan, settings, {}, this.lease.check)
    progress.num_made = report.num_ok - report.num_done_before
    return ended(report, progress, settings, gallery_base_url)


@dataclass(frozen=True, slots=True)
class Deployment:
    """The pool that a deployment of Prefect is for shards.

    `key` is of this run alone: a run of a key that was used before is that of back then.
    """

    name: str
    key: str
    credentials_block: str | None

    def start(self, ticket: Ticket, attempt: int) -> str | None:
        try:
            run = run_deployment(
                self.name,
                parameters={
                    "shard": ticket.url,
                    "digest": ticket.digest,
                    "number": ticket.number,
                    "attempt": attempt,
                    # Not where it is none: the deployment may have one of its own.
                    **({"credentials_block": block} if (block := self.credentials_block) else {}),
                },
                timeout=0,
                idempotency_key=f"{self.key}/{ticket.number}/{attempt}",
            )
        except (httpx.HTTPError, PrefectException) as exc:
            _log.warning("shard %d was not started, the server said: %s", ticket.number, exc)
            return None
        # Prefect types it as if it might be asynchronous; here it is not.
        return str(cast(FlowRun, run).id)

    def phases(self, runs: Sequence[str]) -> Mapping[str, Phase]:
        if not runs:
            return {}
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(run) for run in runs]))
        try:
            with get_client(sync_client=True) as client:
                found = client.read_flow_runs(flow_run_filter=wanted)
        except (httpx.HTTPError, PrefectException) as exc:
            _log.warning("the Prefect server did not tell of the shards: %s", exc)
            return {}
        return {str(run.id): _PHASES[run.state.type] for run in found if run.state}

    def cancel(self, run: str) -> None:
        self._propose(run, Cancelling())

    def discard(self, run: str) -> None:
        self._propose(run, Cancelled(message="It did not end when it was told to."))

    def _propose(self, run: str, state: State[Any]) -> None:
        try:
            with get_client(sync_client=True) as client:
                client.set_flow_run_state(UUID(run), state)
        except (httpx.HTTPError, PrefectException) as exc:
            _log.warning("run %s is not %s: %s", run, state.name, exc)


def _check_deployment(name: str) -> None:
    try:
        with get_client(sync_client=True) as client:
            client.read_deployment_by_name(name)
    except ObjectNotFound as exc:
        raise ConfigError(
            f"deployment: expected one of stylize-shard, found none of the name {name!r}; deploy it "
            "as deploy/README.md says"
        ) from exc
