"""Which jobs run together and which need not run at all; pure, on values already in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from nst.errors import NSTError
from nst.job import Job
from nst.metadata import Outcome
from nst.output import failure
from nst.weights import WeightsFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A picture that a job reads: where it is, the sha256 of its bytes, its size in pixels."""

    uri: str
    digest: str
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job that can run: its inputs are there, and its picture will have `height` x `width`.

    `attempts` says how often in a row it has killed or hung what painted it. `outdated` is when a
    record of it was written whose picture is gone.
    """

    job: Job
    key: str
    content: Input
    styles: tuple[Input, ...]
    mask: Input | None
    start: Input | None
    height: int
    width: int
    attempts: int = 0
    outdated: datetime | None = None


def failure_of(planned: PlannedJob, error: NSTError) -> Outcome:
    """The outcome of a job that `error` stopped once its inputs were known."""
    return replace(
        failure(planned.job.id, error, key=planned.key),
        content_digest=planned.content.digest,
        style_digest=" ".join(style.digest for style in planned.styles),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Jobs that one tensor program makes as one batch. `name` says what a person calls it."""

    name: str
    backbone: str
    weights: WeightsFile
    height: int
    width: int
    jobs: tuple[PlannedJob, ...]

    @property
    def steps(self) -> int:
        return self.jobs[0].job.params.steps

    @property
    def work(self) -> int:
        """Pixels times evaluations, which its time is proportional to."""
        return self.height * self.width * self.steps * len(self.jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every row of a manifest accounted for: to run, already done, or failed before it could run.

    Rows that say the same are one job of one id, and stand in `groups`, `done` (the ids of what the
    output has) or `failed` once. `manifest_digest` is the sha256 of the manifest's bytes.
    """

    jobs: tuple[Job, ...]
    groups: tuple[Group, ...]
    done: tuple[str, ...]
    failed: tuple[Outcome, ...]
    manifest_digest: str = ""

    @property
    def num_pictures_to_make(self) -> int:
        return sum(len(group.jobs) for group in self.groups)


def make_groups(
    planned: Iterable[PlannedJob],
    *,
    weights: Mapping[str, WeightsFile],
    max_batch_pixels: int,
) -> tuple[Group, ...]:
    """The jobs in groups that each share one tensor program and hold at most `max_batch_pixels`.

    Groups come in the order in which the manifest first needs each program. A picture larger than
    the bound is a group of its own.
    """
    programs: dict[tuple[object, ...], list[PlannedJob]] = {}
    for one in planned:
        programs.setdefault(_program(one), []).append(one)
    batches = [
        batch
        for members in programs.values()
        for batch in in_batches(members, max_batch_pixels // (members[0].height * members[0].width))
    ]
    return tuple(
        Group(
            name=f"{number} of {len(batches)}",
            backbone=batch[0].job.backbone,
            weights=weights[batch[0].job.backbone],
            height=batch[0].height,
            width=batch[0].width,
            jobs=tuple(batch),
        )
        for number, batch in enumerate(batches, start=1)
    )


def in_portions(groups: Sequence[Group], at_most: int) -> list[tuple[Group, ...]]:
    """The groups in order, in portions of about the same work, as many as there may be at most."""
    if len(groups) <= at_most:
        return [(group,) for group in groups]
    portions: dict[int, list[Group]] = {}
    whole, so_far = sum(group.work for group in groups), 0
    for group in groups:
        # By its middle, so that one of the size of a portion is not cut off from those beside it.
        number = (2 * so_far + group.work) * at_most // (2 * whole)
        portions.setdefault(number, []).append(group)
        so_far += group.work
    return [tuple(portion) for portion in portions.values()]


def _program(planned: PlannedJob) -> tuple[object, ...]:
    """What the items of a batch must share; weights, seeds, inits and styles are each item's own."""
    params = planned.job.params
    return (
        planned.job.backbone,
        planned.height,
        planned.width,
        len(planned.styles) if planned.mask else 1,
        planned.mask is not None,
        params.pooling,
        params.content_layers,
        params.style_layers,
        params.steps,
        params.optimizer,
    )


def in_batches(members: Sequence[PlannedJob], length: int) -> list[Sequence[PlannedJob]]:
    """The members in order, at most `length` to a batch, and at least one."""
    length = max(1, length)
    return [members[i : i + length] for i in range(0, len(members), length)]
