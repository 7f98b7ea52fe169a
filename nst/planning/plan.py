"""Which jobs run together and which need not run at all; pure, on values already in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from nst.errors import NSTError
from nst.job import Job
from nst.output import Brief, Outcome, failure
from nst.painting import WeightsFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A picture that a job reads: where it is, and its size in pixels.

    `digest` is the sha256 of its bytes, None where not all of them have been read yet, and `version`
    what the store told of those that were, None where it told nothing that can be relied on.
    """

    uri: str
    digest: str | None = None
    version: str | None = None
    height: int
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job that can run: its inputs are there, and its picture will have `height` x `width`.

    `inputs_key` is None where an input has no version, and `key` where the plan did not need it, or not
    all bytes of its inputs have been read yet; never both. `attempts` says how often in a row it has
    killed or hung what painted it. `outdated` and `failed_before` are when the records of it were written that the plan has found.
    """

    job: Job
    key: str | None
    inputs_key: str | None = None
    content: Input
    styles: tuple[Input, ...]
    mask: Input | None
    start: Input | None
    height: int
    width: int
    attempts: int = 0
    outdated: datetime | None = None
    failed_before: datetime | None = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Every picture that the job reads: content, styles, and what else there is."""
        others = (each for each in (self.mask, self.start) if each is not None)
        return (self.content, *self.styles, *others)

    def is_made_by(self, record: Brief | None) -> bool:
        """Whether the last record of its picture was written since it was planned."""
        return record is not None and record.finished_at != self.outdated

    def is_failed_by(self, record: Brief | None) -> bool:
        """Whether the last record of its failure was written since it was planned."""
        return record is not None and record.finished_at != self.failed_before


def style_digest(styles: Iterable[Input]) -> str | None:
    """The digests of styles as an outcome has them, of those that are known."""
    return " ".join(style.digest for style in styles if style.digest is not None) or None


def failure_of(planned: PlannedJob, error: NSTError) -> Outcome:
    """The outcome of a job that `error` stopped once it was planned."""
    return replace(
        failure(planned.job.id, error, key=planned.key, inputs_key=planned.inputs_key),
        content_digest=planned.content.digest,
        style_digest=style_digest(planned.styles),
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

    `learned` has what the records of some that are done are to say as `inputs_key` from now on: their
    inputs had to be read to see that they are as they were.
    """

    jobs: tuple[Job, ...]
    groups: tuple[Group, ...]
    done: tuple[str, ...]
    failed: tuple[Outcome, ...]
    manifest_digest: str = ""
    learned: Mapping[str, str] = field(default_factory=dict)

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


# The groups of one task.
Portion: TypeAlias = tuple[Group, ...]


def in_portions(groups: Sequence[Group], at_most: int) -> list[Portion]:
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
