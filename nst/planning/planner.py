"""Manifest -> plan: finds what is done by the versions of inputs, and reads only the other inputs."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from nst import storage
from nst.errors import (
    ManifestError,
    NSTError,
)
from nst.iterables import in_chunks
from nst.job import Job
from nst.manifest import Rows
from nst.output import Outcome, failure
from nst.painting import WeightsFile, usable_weights
from nst.planning.done import EarlierRuns, with_history
from nst.planning.earlier_ids import with_earlier_ids
from nst.planning.plan import Plan, PlannedJob, make_groups
from nst.planning.survey import DONE, DOUBTFUL, TO_ENCODE, TO_MAKE, Survey, attempts
from nst.planning.taken import without_taken_ids
from nst.profiles import PROFILES
from nst.settings import RunSettings

# The number of jobs that are handled at once.
_JOBS_AT_ONCE = 10_000

_log = logging.getLogger(__name__)


def plan_rows(
    rows: Rows, settings: RunSettings, *, download: bool = True, resume: bool = True
) -> Plan:
    """The plan for these rows. Checks every backbone's weights, and inputs as `nst.planning.inputs` says.

    Rows whose inputs or weights are missing fail in the plan, also finished ones whose input is gone.
    Damage behind the first bytes of an input is found only when it is loaded. Without `download`,
    weights that would have to be downloaded count as missing; without `resume` the output is ignored.
    Raises ConfigError for a bad weights file of the user's own, StorageError if a store fails, and
    ManifestError for an id by which another manifest has another picture in the output.
    """
    storage.name_roots(settings.roots)
    if resume:
        rows = with_earlier_ids(rows, settings)
    if resume and not settings.only:
        rows = without_taken_ids(rows, settings)
    unique = list({job.id: job for job in rows.jobs if job.id not in rows.refused}.values())
    layers = layers_of(unique)
    chosen = attempts(
        lambda backbone: usable_weights(
            backbone, settings.weights.get(backbone), layers[backbone], download=download
        ),
        layers,
    )
    impossible = refusals_of(rows)
    # What is known of earlier runs is let go of before groups are made.
    sorted_out = _sorted_out(unique, chosen, settings, resume=resume)
    files = {name: file for name, file in chosen.items() if isinstance(file, WeightsFile)}
    return Plan(
        jobs=rows.jobs,
        groups=make_groups(
            sorted_out.to_make,
            weights=files,
            max_batch_pixels=settings.max_batch_pixels,
        ),
        done=tuple(sorted_out.done),
        to_encode=tuple(sorted_out.to_encode),
        failed=(*impossible, *sorted_out.impossible, *sorted_out.left_alone),
        manifest_digest=rows.digest,
        learned=sorted_out.learned,
        manifest=rows.manifest,
    )


@dataclass(frozen=True, slots=True)
class _SortedOut:
    """Jobs sorted by what happens to them, and what was `learned` of some, as in a Plan."""

    done: list[str] = field(default_factory=list)
    learned: dict[str, dict[str, str]] = field(default_factory=dict)
    impossible: list[Outcome] = field(default_factory=list)
    left_alone: list[Outcome] = field(default_factory=list)
    to_make: list[PlannedJob] = field(default_factory=list)
    to_encode: list[Job] = field(default_factory=list)


def _sorted_out(
    jobs: Sequence[Job],
    chosen: Mapping[str, WeightsFile | NSTError],
    settings: RunSettings,
    *,
    resume: bool,
) -> _SortedOut:
    result = _SortedOut()
    inputs_keys = result.learned.setdefault("inputs_key", {})
    planner = Survey(jobs, chosen)
    before = EarlierRuns(jobs, settings) if resume else None
    verdicts = _verdicts(jobs, planner, before)
    undecided = np.nonzero((verdicts != DONE) & (verdicts != TO_ENCODE))[0]
    planner.look_at(jobs, verdicts)
    for some in in_chunks(undecided.tolist(), _JOBS_AT_ONCE):
        planned: dict[int, PlannedJob] = {}
        for number in some:
            try:
                is_doubtful = bool(verdicts[number] == DOUBTFUL)
                planned[number] = planner.planned(jobs[number], with_key=is_doubtful)
            except NSTError as exc:
                result.impossible.append(planner.failed(jobs[number], exc))
        if before is None:
            result.to_make.extend(planned.values())
            continue
        known = before.look_up(list(planned), list(planned.values()))
        for (number, one), found in zip(planned.items(), known, strict=True):
            if found.is_done:
                verdicts[number] = DONE
                if one.inputs_key is not None:
                    inputs_keys[one.job.id] = one.inputs_key
            elif found.is_stored:
                verdicts[number] = TO_ENCODE
            elif found.left_alone is not None:
                result.left_alone.append(found.left_alone)
            else:
                result.to_make.append(with_history(one, found))
    result.done.extend(jobs[number].id for number in np.nonzero(verdicts == DONE)[0].tolist())
    encoded = np.nonzero(verdicts == TO_ENCODE)[0].tolist()
    result.to_encode.extend(jobs[number] for number in encoded)
    if before is not None:
        result.learned["picture_version"] = before.picture_versions
    if before is not None and before.num_of_another_precision:
        _log.warning(
            "%s: %d finished pictures stay as they are, though they were not made in %s as the "
            "others; --replace makes them again",
            settings.output,
            before.num_of_another_precision,
            settings.precision,
        )
    return result


def _verdicts(
    jobs: Sequence[Job], planner: "Survey", before: "EarlierRuns | None"
) -> NDArray[np.int8]:
    found = np.full(len(jobs), TO_MAKE, np.int8)
    for start in range(0, len(jobs), _JOBS_AT_ONCE):
        some = range(start, min(start + _JOBS_AT_ONCE, len(jobs)))
        sketches = [planner.sketch(jobs[number]) for number in some]
        if before is not None:
            found[start : some.stop] = before.verdicts(some, jobs, sketches)
        # All of a row's inputs, or none: see `nst.planning.inputs`.
        without = [
            number for number, each in zip(some, sketches, strict=True) if each.is_unversioned
        ]
        found[without] = DOUBTFUL
    return found


def layers_of(jobs: Iterable[Job]) -> dict[str, tuple[str, ...]]:
    """The layers that jobs use, by backbone, from shallow to deep."""
    kinds = dict.fromkeys(
        (job.backbone, job.params.content_layers, job.params.style_layers) for job in jobs
    )
    used: dict[str, set[str]] = {}
    for backbone, content, style in kinds:
        found = PROFILES[backbone].shares(content, style).layers
        used.setdefault(backbone, set()).update(found)
    return {
        name: tuple(layer for layer in PROFILES[name].layers if layer in some)
        for name, some in used.items()
    }


def refusals_of(rows: Rows) -> list[Outcome]:
    """What comes of the rows that must not run, each with its reason."""
    return [
        replace(failure(job_id, ManifestError(refusal.message)), reason=refusal.reason)
        for job_id, refusal in rows.refused.items()
    ]
