"""A plan in words: every picture of a short one, sums of a long one."""

from dataclasses import replace

import pytest

from nst.errors import NotFoundError, NSTError, WeightsError
from nst.job import Job
from nst.output.metadata import Outcome, failure
from nst.plan_words import lines
from nst.planning.estimates import Estimate, GroupEstimate
from nst.planning.plan import Plan, make_groups
from tests.test_plan import WEIGHTS, planned


def a_plan(number: int, *, failed: tuple[Outcome, ...] = (), jobs: tuple[Job, ...] = ()) -> Plan:
    """So many pictures to make, in groups of two, and rows that fail."""
    to_make = [planned(f"p{n}", steps=4) for n in range(number)]
    pixels = to_make[0].height * to_make[0].width
    groups = make_groups(to_make, weights=WEIGHTS, max_batch_pixels=2 * pixels)
    every = (*(each.job for each in to_make), *jobs)
    return Plan(jobs=every, groups=groups, done=(), failed=failed)


def failing(
    number: int, error: NSTError, backbone: str = "vgg16"
) -> tuple[tuple[Job, ...], Outcome]:
    job = replace(planned(f"f{number}", steps=4).job, row=number, backbone=backbone)
    return (job,), failure(job.id, error)


def estimate(plan: Plan) -> Estimate:
    each = tuple(
        GroupEstimate(name=g.name, seconds=100, memory_bytes=10**9, pictures_at_once=2, fits=True)
        for g in plan.groups
    )
    return Estimate(
        device="cpu", precision="float32", seconds=100.0 * len(each), memory_bytes=10**9,
        is_upper_bound=False, groups=each,
    )  # fmt: skip


def test_a_long_plan_is_summed_up() -> None:
    plan = a_plan(3000)
    said = list(lines(plan, estimate(plan)))
    assert len(said) == 4
    assert said[0] == "3000 rows: 3000 pictures to make, 0 already done"
    assert "4 steps: 3000 pictures in 1500 groups, about 41.7 h, 1.0 GB" in said[2]


def test_a_short_plan_names_every_picture() -> None:
    said = list(lines(a_plan(3), None))
    assert [each.strip() for each in said if each.startswith("    ")] == ["p0", "p1", "p2"]


def test_thousands_of_reasons_are_counted() -> None:
    made = [failing(n, NotFoundError(f"cannot read {n}.jpg")) for n in range(3000)]
    jobs = tuple(job for some, _ in made for job in some)
    plan = a_plan(1, failed=tuple(outcome for _, outcome in made), jobs=jobs)
    said = list(lines(plan, None))
    assert len(said) < 60
    assert "2980 rows more cannot run, for 2980 other reasons" in said


@pytest.mark.parametrize("is_downloaded", [True, False])
def test_rows_whose_weights_a_run_downloads_can_run(is_downloaded: bool) -> None:
    error = WeightsError("weights of resnet50: not here yet. A run downloads them by itself")
    jobs, outcome = failing(7, error, backbone="resnet50")
    plan = a_plan(1, failed=(outcome,), jobs=jobs)
    said = "\n".join(lines(plan, None, ["resnet50"] if is_downloaded else []))
    assert ("1 to make once a run has downloaded weights" in said) is is_downloaded
    assert ("that cannot run" in said) is not is_downloaded
    assert ("ends with exit status 3" in said) is not is_downloaded
