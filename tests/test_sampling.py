"""Which rows of a plan are painted as a sample."""

from dataclasses import replace

from nst.job import Job
from nst.planning.plan import Plan, make_groups
from nst.sampling import chosen
from tests.test_plan import WEIGHTS, planned


def plan_of(*jobs: tuple[str, str, str]) -> Plan:
    """Jobs of a content, a style and a backbone each, in their order."""
    made = []
    for row, (content, style, backbone) in enumerate(jobs, start=1):
        one = planned(f"{content}-{style}-{backbone}", backbone=backbone)
        job: Job = replace(one.job, row=row, content=content, styles=(style,))
        made.append(replace(one, job=job))
    groups = make_groups(made, weights=WEIGHTS, max_batch_pixels=10**6)
    return Plan(jobs=tuple(each.job for each in made), groups=groups, done=(), failed=())


ALL = [(c, s, b) for c in "abc" for s in "st" for b in ("vgg16", "vgg19")]


def test_a_sample_differs_in_as_much_as_it_can() -> None:
    assert [job.id for job in chosen(plan_of(*ALL), 2)] == ["a-s-vgg16", "b-t-vgg19"]
    third = chosen(plan_of(*ALL), 3)[2]
    assert third.content == "c"


def test_a_sample_has_no_row_twice_and_no_more_than_there_are() -> None:
    ids = [job.id for job in chosen(plan_of(*ALL), 100)]
    assert len(ids) == len(set(ids)) == len(ALL)
    assert chosen(Plan(jobs=(), groups=(), done=(), failed=()), 3) == []
