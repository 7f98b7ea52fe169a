"""The flow of one shard: groups of a run that another flow drives, on whichever machine takes it."""

import dataclasses
from typing import Annotated, Any

from prefect import flow, get_run_logger
from pydantic import Field

from nst import pipeline
from nst.pipeline import Assignment
from nst_flows.credentials import credentials_of
from nst_flows.parameters import BlockName, Device, Lanes, Reference
from nst_flows.progress import ProgressArtifact
from nst_flows.stylize import stylize_groups
from nst_flows.watching import listening, painting

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]


@flow(name="stylize-shard", flow_run_name="shard {number}, attempt {attempt}")
def stylize_shard(
    shard: Reference,
    digest: Digest,
    number: Count = 1,
    attempt: Count = 1,
    device: Device | None = None,
    lanes: Lanes | None = None,
    credentials_block: BlockName | None = None,
) -> Any:
    """Make the pictures of one shard, under the lease of the run that drives it.

    Started by `stylize-shards` and by nobody else: without a driver that lives it ends at once. The
    rows that it has recorded are done whatever becomes of it, and its next attempt makes the rest.

    Args:
        shard: URL of the shard's file, which its driver wrote.
        digest: sha256 of that file.
        number: Number of the shard, for its name.
        attempt: How often the shard was started, this time included.
        device: What this worker computes on, in place of what the driver says; see stylize-manifest.
        lanes: Groups that this worker paints at a time, in place of what the driver says.
        credentials_block: Name of an AWS Credentials block of Prefect; if empty, the worker's own.
    """
    with credentials_of(credentials_block):
        _make(pipeline.read_assignment(shard, digest), attempt, device, lanes)


def _make(this: Assignment, attempt: int, device: str | None, lanes: int | None) -> None:
    settings = dataclasses.replace(
        this.settings,
        device=this.settings.device if device is None else device,
        lanes=this.settings.lanes if lanes is None else lanes,
    )
    with (
        pipeline.painter(settings) as by,
        painting(by),
        pipeline.beating(this, attempt) as heart,
        listening(ProgressArtifact(heart)) as progress,
    ):
        plan = pipeline.plan_of_shard(this, settings, attempt)
        settings = pipeline.settled(settings, by.precision, heart)
        # It is minutes of work, and there may be thousands of it.
        errors = stylize_groups(plan, settings, heart.check, max_tasks=by.num_lanes())
        pipeline.give_up_groups(plan, settings, errors)
        progress.ended(f"{progress.num_made} made, {progress.num_failed} failed")
        get_run_logger().info("shard %d: %d made", this.number, progress.num_made)
