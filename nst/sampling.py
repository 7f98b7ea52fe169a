"""A few rows of a plan, chosen to differ, painted small, and what they say of the time of the rest."""

import tempfile
import time
from dataclasses import dataclass, replace

from nst import pipeline
from nst.job import Job
from nst.planning import Estimate, Plan
from nst.running import Listener, RunReport
from nst.settings import RunSettings

# The long edge of a picture of a sample: what a CPU paints in a minute.
SAMPLE_PX = 256
# Of very many rows, so many are looked at.
_MAX_CANDIDATES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was painted of a plan, in `wall_s` seconds of which `estimated_s` were expected.

    `rest_s` is what all pictures of the plan will take, by how much longer the sample took; None
    where there is no estimate.
    """

    report: RunReport
    wall_s: float
    estimated_s: float | None
    rest_s: float | None


def chosen(plan: Plan, number: int) -> list[Job]:
    """At most so many of the jobs to make, each as unlike those before it as possible; the same each time."""
    jobs = [planned.job for group in plan.groups for planned in group.jobs]
    step = -(-len(jobs) // _MAX_CANDIDATES) if jobs else 1
    candidates = sorted(jobs, key=lambda job: job.row)[::step]
    found = candidates[:1]
    least = [_difference(each, found[0]) for each in candidates] if found else []
    while len(found) < min(number, len(candidates)):
        taken = {each.id for each in found}
        at = max(
            (n for n, each in enumerate(candidates) if each.id not in taken), key=least.__getitem__
        )
        found.append(candidates[at])
        least = [
            min(known, _difference(each, candidates[at]))
            for known, each in zip(least, candidates, strict=True)
        ]
    return found


def _difference(one: Job, other: Job) -> int:
    """In how many of content, styles, backbone and parameters two jobs differ."""
    return (
        (one.content != other.content)
        + (one.styles != other.styles)
        + (one.backbone != other.backbone)
        + (one.params != other.params)
    )


def paint(
    plan: Plan,
    estimate: Estimate | None,
    number: int,
    settings: RunSettings,
    listener: Listener | None = None,
) -> Sample:
    """Paint a sample of a plan into a new folder of this machine, with a gallery; the output is not touched."""
    jobs = [_small(job) for job in chosen(plan, number)]
    folder = tempfile.mkdtemp(prefix="nst-sample-")
    own = replace(settings, output=folder, fail_over="")
    started = time.monotonic()
    ran = pipeline.run_jobs(jobs, own, listener)
    wall_s = time.monotonic() - started
    expected = pipeline.estimated(ran.plan, own) if estimate is not None else None
    return Sample(
        report=ran.report,
        wall_s=wall_s,
        estimated_s=expected.seconds if expected else None,
        rest_s=_rest_s(estimate, expected, wall_s),
    )


def _small(job: Job) -> Job:
    return replace(
        job, params=replace(job.params, size=min(job.params.size or SAMPLE_PX, SAMPLE_PX))
    )


def _rest_s(whole: Estimate | None, sample: Estimate | None, wall_s: float) -> float | None:
    if whole is None or sample is None or not sample.seconds:
        return None
    return whole.seconds * wall_s / sample.seconds
