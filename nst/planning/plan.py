"""Which jobs run together, and which need not run; pure functions of values in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from nst.errors import NSTError
from nst.job import Job, PictureParams, style_edge_px
from nst.output import Brief, Outcome, failure
from nst.painting import WeightsFile
from nst.pictures import images
from nst.profiles import PROFILES
from nst.scales import full_evaluations


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A picture that a job reads: where it is, and its size in pixels.

    `digest` is the sha256 of its bytes, or None if not all have been read yet; `transparency` is
    known with it. `version` is what the store told about the bytes that were read, or None if that
    cannot be relied on.
    """

    uri: str
    digest: str | None = None
    version: str | None = None
    height: int
    width: int
    transparency: images.Transparency = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedJob:
    """A job that can run: its inputs are there, and its picture will have `height` x `width`.

    `inputs_key` is None if an input has no version. `key` is None if the plan did not need it, or not
    all bytes of the inputs have been read yet. At least one of them is there. `attempts` says how
    often in a row the job crashed or hung its painting process. `outdated` and `failed_before` are
    the times of the records, of a picture and of a failure, that the plan has found.
    """

    job: Job
    key: str | None
    inputs_key: str | None = None
    content: Input
    styles: tuple[Input, ...]
    mask: Input | None
    start: Input | None
    style_masks: tuple[Input | None, ...] = ()
    height: int
    width: int
    attempts: int = 0
    outdated: datetime | None = None
    failed_before: datetime | None = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Every picture that the job reads: content, styles, and what else there is."""
        others = (self.mask, self.start, *self.style_masks)
        return (self.content, *self.styles, *(each for each in others if each is not None))

    @property
    def style_sizes(self) -> tuple[tuple[int, int], ...]:
        """The (height, width) at which each style is looked at."""
        edge = max(self.height, self.width)
        return tuple(style_size(style, self.job.params, edge) for style in self.styles)

    def is_made_by(self, record: Brief | None) -> bool:
        """Whether `record`, the last one of its picture, was written after the plan."""
        return record is not None and record.finished_at != self.outdated

    def is_failed_by(self, record: Brief | None) -> bool:
        """Whether `record`, the last one of its failure, was written after the plan."""
        return record is not None and record.finished_at != self.failed_before


def style_size(style: Input, params: PictureParams, long_edge_px: int) -> tuple[int, int]:
    """The (height, width) at which a style is looked at for a picture; no style is enlarged."""
    edge = min(style_edge_px(params, long_edge_px), max(style.height, style.width))
    return images.fitted_size(style.height, style.width, edge)


def style_digest(styles: Iterable[Input]) -> str | None:
    """The known digests of styles, as an outcome stores them."""
    return " ".join(style.digest for style in styles if style.digest is not None) or None


def failure_of(planned: PlannedJob, error: NSTError) -> Outcome:
    """The outcome of a planned job that `error` stopped."""
    return replace(
        failure(planned.job.id, error, key=planned.key, inputs_key=planned.inputs_key),
        content_digest=planned.content.digest,
        style_digest=style_digest(planned.styles),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Jobs that one tensor program makes as one batch. `name` is for people."""

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
    def evaluations(self) -> int:
        """Of a picture, as many of its own size as are as much work as those it gets."""
        return full_evaluations(self.height, self.width, self.jobs[0].job.params)

    @property
    def work(self) -> int:
        """The pixels of all evaluations, by what the backbone costs; the time is proportional to it."""
        return self.work_of(self.evaluations * len(self.jobs))

    def work_of(self, evaluations: int) -> int:
        """The work of so many evaluations of one picture."""
        return round(self.height * self.width * evaluations * PROFILES[self.backbone].cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What happens to every row of a manifest: it will run, is done, or cannot run.

    Identical rows are one job with one id, which is once in `groups`, `done` (ids), `failed` or
    `to_encode`: the jobs whose pictures are there without loss in another format than the run's.
    `manifest_digest` is the sha256 of the manifest's bytes, `manifest` what the metadata calls it.

    `learned` is what is new in the records of some finished jobs, by the column and the job's id: an
    `inputs_key` or a `picture_version`. Their inputs, or their pictures, had new versions and had to be
    read, which showed that their bytes are the same.
    """

    jobs: tuple[Job, ...]
    groups: tuple[Group, ...]
    done: tuple[str, ...]
    failed: tuple[Outcome, ...]
    manifest_digest: str = ""
    learned: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    manifest: str = ""
    to_encode: tuple[Job, ...] = ()

    @property
    def num_pictures_to_make(self) -> int:
        return sum(len(group.jobs) for group in self.groups)


def make_groups(
    planned: Iterable[PlannedJob],
    *,
    weights: Mapping[str, WeightsFile],
    max_batch_pixels: int,
) -> tuple[Group, ...]:
    """Jobs in groups: each shares one tensor program and has at most `max_batch_pixels` pixels.

    Groups are in the order in which the manifest first needs each program. A picture larger than the
    limit is a group of its own.
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
    """The groups in order, in at most `at_most` portions of about the same work."""
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
    """The properties that all items of a batch share; weights, seeds, inits and styles may differ."""
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
        params.method,
        params.steps,
        params.optimizer,
    )


def in_batches(members: Sequence[PlannedJob], length: int) -> list[Sequence[PlannedJob]]:
    """The members in order, at most `length` to a batch, and at least one."""
    length = max(1, length)
    return [members[i : i + length] for i in range(0, len(members), length)]
