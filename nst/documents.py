"""What `--json` prints: one document for each command, its fields by stable names.

Fields are added without notice; one that is renamed, removed or given another meaning raises
`SCHEMA_VERSION`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from nst.audit import Audit
from nst.output import Record
from nst.painting import WeightsFile
from nst.planning import Estimate, Plan
from nst.running import MAX_FAILED, RunReport, RunStatus
from nst.sampling import Sample

SCHEMA_VERSION = 1

Version = Annotated[int, "Version of these fields; goes up when one changes its name or meaning."]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRow:
    """A row without a picture."""

    row: Annotated[int, "Number of the manifest row, from 1."]
    id: Annotated[str, "Name of the picture."]
    reason: Annotated[str | None, "Why, as one of a closed list of words."]
    error: Annotated[str | None, "Why, as a sentence that says what to do."]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDocument:
    """`nst run --json`."""

    schema_version: Version = SCHEMA_VERSION
    command: Annotated[Literal["run"], "The command."] = "run"
    num_rows: Annotated[int, "Rows of the manifest."]
    num_ok: Annotated[int, "Rows that have their picture."]
    num_failed: Annotated[int, "Rows that have none."]
    num_done_before: Annotated[int, "Rows that had their picture before this run."]
    num_made: Annotated[int, "Pictures that this run made; rows that say the same share one."]
    num_encoded: Annotated[int, "Pictures from before that it encoded in another format."]
    failed_by_reason: Annotated[Mapping[str, int], "Failed rows by reason."]
    failed: Annotated[
        Sequence[FailedRow],
        f"Every failed row, or the first {MAX_FAILED} of more: `row`, `id`, `reason`, `error`.",
    ]
    wall_s: Annotated[float, "Seconds from the manifest to the gallery."]
    images_per_s: Annotated[float, "Pictures that this run made, by those seconds."]
    metadata: Annotated[str, "Path or URL of the metadata; empty where one picture was named."]
    gallery: Annotated[str, "URL of the gallery; empty where one picture was named."]
    picture: Annotated[
        str | None, "Path or URL of the one picture, where `--output` named its file."
    ] = None
    stopped_by: Annotated[str | None, "Who asked it to stop before all was made, or null."] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGroup:
    """Pictures that are painted as one batch; the last four are null without an estimate."""

    name: Annotated[str, "What people call it."]
    backbone: Annotated[str, "The backbone."]
    height: Annotated[int, "Height of its pictures in pixels."]
    width: Annotated[int, "Width of its pictures in pixels."]
    steps: Annotated[
        int, "Their parameter `steps`; with `pyramid` a picture gets more evaluations."
    ]
    ids: Annotated[Sequence[str], "Names of its pictures."]
    seconds: Annotated[float | None, "What it will take; an estimate."]
    memory_bytes: Annotated[int | None, "The memory that it will take; an estimate."]
    pictures_at_once: Annotated[int | None, "Pictures that are painted at once."]
    fits: Annotated[bool | None, "Whether so much memory is free now."]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEstimate:
    """What all groups will take together, if nothing else runs on the device."""

    device: Annotated[str, "The device that was measured."]
    precision: Annotated[str, "What the network would compute in."]
    seconds: Annotated[float, "Seconds, start included."]
    memory_bytes: Annotated[int, "The most memory at a time; of a GPU, its own."]
    is_upper_bound: Annotated[bool, "Whether pictures may stop early by their tolerance."]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument:
    """`nst plan --json`."""

    schema_version: Version = SCHEMA_VERSION
    command: Annotated[Literal["plan"], "The command."] = "plan"
    num_rows: Annotated[int, "Rows of the manifest."]
    num_to_make: Annotated[int, "Pictures to make."]
    num_done: Annotated[int, "Pictures that the output has."]
    groups: Annotated[Sequence[PlannedGroup], "What would run: see below."]
    done: Annotated[Sequence[str], "Names of the pictures that the output has."]
    to_encode: Annotated[
        Sequence[str],
        "Names of the pictures that it has without loss in another format, which are not painted.",
    ]
    failed: Annotated[
        Sequence[FailedRow], "Rows that cannot run as things are: `row`, `id`, `reason`, `error`."
    ]
    estimate: Annotated[
        PlanEstimate | None,
        "See below; null with `--no-estimate` and where there is nothing to make.",
    ]
    sample_gallery: Annotated[str | None, "URL of the gallery of `--sample`."] = None
    sample_s: Annotated[float | None, "Seconds that the sample took."] = None
    rest_s: Annotated[
        float | None, "What all pictures to make will take, by the speed of the sample."
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusDocument:
    """`nst status --json`."""

    schema_version: Version = SCHEMA_VERSION
    command: Annotated[Literal["status"], "The command."] = "status"
    state: Annotated[
        str,
        "`running`; `stopping`: asked to stop; `finished`; `interrupted`: by Ctrl-C, a signal or "
        "`nst stop`; `stopped`: by an error; `killed`: it ended without saying so.",
    ]
    phase: Annotated[str, "`starting`, `painting` or `finishing`; the last one, if it has ended."]
    num_rows: Annotated[int | None, "Rows of the manifest; null where they are not known."]
    num_ok: Annotated[int, "Rows that have their picture."]
    num_done_before: Annotated[int, "Those of them that had it when the run began."]
    num_failed: Annotated[int, "Rows that failed."]
    failed_by_reason: Annotated[Mapping[str, int], "How many rows failed for each reason."]
    images_per_s: Annotated[float | None, "Pictures a second; null where that is not known."]
    seconds_left: Annotated[float | None, "Seconds until all are painted; null as above."]
    at: Annotated[str, "When it was so far, as ISO 8601; empty where that is not known."]
    manifest: Annotated[str | None, "The manifest; null where it is not known."]
    host: Annotated[str | None, "The machine that runs it; null where none does."]
    pid: Annotated[int | None, "The process on it; null where none runs it."]
    is_alive: Annotated[bool, "Whether that process renews its lease."]
    stop_asked_by: Annotated[str | None, "Who asked it to stop; null if nobody did."]
    started_at: Annotated[str | None, "When it began."]
    ended_at: Annotated[str | None, "When it ended; null if it has not, or was killed."]
    error: Annotated[str | None, "What ended it, if that was an error."]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyFinding:
    """Something that is not as recorded."""

    path: Annotated[str, "Its path in the output."]
    said: Annotated[str, "What was expected and what was found."]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyDocument:
    """`nst verify --json`."""

    schema_version: Version = SCHEMA_VERSION
    command: Annotated[Literal["verify"], "The command."] = "verify"
    num_good: Annotated[int, "Pictures that are as recorded."]
    findings: Annotated[Sequence[VerifyFinding], "What is not: `path` in the output, `said`."]
    redone: Annotated[
        Sequence[str], "Names of the pictures that a run makes again after `--repair`."
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneWeights:
    """The weights of a backbone, or why there are none."""

    backbone: Annotated[str, "The backbone."]
    origin: Annotated[str | None, "`embedded`, `torchvision` or `file`; null where missing."]
    uri: Annotated[str | None, "Where they are; null where missing."]
    sha256: Annotated[str | None, "Of the file's bytes; null where missing."]
    topology: Annotated[
        str | None, "`torchvision` or `caffe`; null where missing, and where there is but one."
    ]
    error: Annotated[str | None, "How to get them; null where they are there."]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsDocument:
    """`nst weights --json`."""

    schema_version: Version = SCHEMA_VERSION
    command: Annotated[Literal["weights"], "The command."] = "weights"
    backbones: Annotated[Sequence[BackboneWeights], "Every backbone: see below."]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument:
    """Any command with `--json` that came to no result, by what it says on stderr too."""

    schema_version: Version = SCHEMA_VERSION
    command: Annotated[str, "The command."]
    error: Annotated[str, "What was wrong, and what to do."]
    exit_status: Annotated[int, "The exit status, as without `--json`."]


Document = (
    RunDocument | PlanDocument | StatusDocument | VerifyDocument | WeightsDocument | ErrorDocument
)


def to_json(document: Document) -> str:
    """The document as printable ASCII, which every terminal and pipe can carry."""
    # Of all control characters JSON leaves this one as it is.
    return json.dumps(asdict(document), indent=2).replace("\x7f", "\\u007f")


def run_document(report: RunReport, *, num_made: int, wall_s: float) -> RunDocument:
    """How a run ended, of which `num_made` pictures in `wall_s` seconds."""
    return RunDocument(
        num_rows=report.num_rows,
        num_ok=report.num_ok,
        num_failed=report.num_failed,
        num_done_before=report.num_done_before,
        num_made=num_made,
        num_encoded=report.num_encoded,
        failed_by_reason=dict(report.failed_by_reason),
        failed=[_failed_row(record) for record in report.failed],
        wall_s=wall_s,
        images_per_s=num_made / wall_s if wall_s > 0 else 0.0,
        metadata=report.metadata_url,
        gallery=report.gallery_url,
        stopped_by=report.stopped_by or None,
    )


def picture_document(url: str, *, wall_s: float) -> RunDocument:
    """How a run of one picture ended, which is at `url`, and no metadata or gallery with it."""
    return RunDocument(
        num_rows=1,
        num_ok=1,
        num_failed=0,
        num_done_before=0,
        num_made=1,
        num_encoded=0,
        failed_by_reason={},
        failed=[],
        wall_s=wall_s,
        images_per_s=1 / wall_s if wall_s > 0 else 0.0,
        metadata="",
        gallery="",
        picture=url,
    )


def plan_document(
    plan: Plan, estimate: Estimate | None, sample: Sample | None = None
) -> PlanDocument:
    """What would run, and what that would take."""
    failed = {outcome.id: outcome for outcome in plan.failed}
    of_groups = {one.name: one for one in estimate.groups} if estimate is not None else {}
    groups = []
    for group in plan.groups:
        found = of_groups.get(group.name)
        groups.append(
            PlannedGroup(
                name=group.name,
                backbone=group.backbone,
                height=group.height,
                width=group.width,
                steps=group.steps,
                ids=[planned.job.id for planned in group.jobs],
                seconds=found.seconds if found else None,
                memory_bytes=found.memory_bytes if found else None,
                pictures_at_once=found.pictures_at_once if found else None,
                fits=found.fits if found else None,
            )
        )
    return PlanDocument(
        num_rows=len(plan.jobs),
        num_to_make=plan.num_pictures_to_make,
        num_done=len(plan.done),
        groups=groups,
        done=plan.done,
        to_encode=[job.id for job in plan.to_encode],
        failed=[
            FailedRow(
                row=job.row, id=job.id, reason=failed[job.id].reason, error=failed[job.id].error
            )
            for job in plan.jobs
            if job.id in failed
        ],
        estimate=_of_all(estimate) if estimate is not None else None,
        sample_gallery=sample.report.gallery_url if sample else None,
        sample_s=sample.wall_s if sample else None,
        rest_s=sample.rest_s if sample else None,
    )


def status_document(found: RunStatus) -> StatusDocument:
    """How far a run is, and who runs it."""
    standing = found.standing
    return StatusDocument(
        state=found.state,
        phase=standing.phase,
        num_rows=standing.num_rows,
        num_ok=standing.num_ok,
        num_done_before=standing.num_done_before,
        num_failed=standing.num_failed,
        failed_by_reason=standing.failed_by_reason,
        images_per_s=standing.images_per_s,
        seconds_left=standing.seconds_left,
        at=standing.at,
        manifest=found.manifest,
        host=found.host,
        pid=found.pid,
        is_alive=found.is_alive,
        stop_asked_by=found.stop_asked_by,
        started_at=found.started_at,
        ended_at=found.ended_at,
        error=found.error,
    )


def verify_document(audit: Audit) -> VerifyDocument:
    """What was found of an output."""
    return VerifyDocument(
        num_good=audit.num_good,
        findings=[VerifyFinding(path=one.path, said=one.said) for one in audit.findings],
        redone=audit.redone,
    )


def backbone_weights(backbone: str, found: WeightsFile | Exception) -> BackboneWeights:
    """The weights that were found of a backbone, or what was raised instead."""
    if isinstance(found, Exception):
        return BackboneWeights(
            backbone=backbone, origin=None, uri=None, sha256=None, topology=None, error=str(found)
        )
    return BackboneWeights(
        backbone=backbone,
        origin=found.origin,
        uri=found.uri,
        sha256=found.digest,
        topology=found.topology,
        error=None,
    )


def _failed_row(record: Record) -> FailedRow:
    outcome = record.outcome
    return FailedRow(row=record.row, id=outcome.id, reason=outcome.reason, error=outcome.error)


def _of_all(estimate: Estimate) -> PlanEstimate:
    return PlanEstimate(
        device=estimate.device,
        precision=estimate.precision,
        seconds=estimate.seconds,
        memory_bytes=estimate.memory_bytes,
        is_upper_bound=estimate.is_upper_bound,
    )
