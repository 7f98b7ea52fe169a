from dataclasses import replace
from typing import Any

from nst.job import PictureParams, job_key
from nst.plan import Group, Input, PlannedJob, make_groups
from nst.weights import WeightsFile
from tests.helpers import job

WEIGHTS = {
    name: WeightsFile(backbone=name, origin="file", uri=f"/{name}", digest="w")
    for name in ("vgg16", "vgg19")
}
INPUT = Input(uri="/in/a.png", digest="d", height=48, width=64)


def planned(
    name: str, *, backbone: str = "vgg16", height: int = 48, width: int = 64, **params: Any
) -> PlannedJob:
    return PlannedJob(
        job=job(id=name, backbone=backbone, params=PictureParams(**params)),
        key=f"key of {name}",
        content=INPUT,
        style=INPUT,
        height=height,
        width=width,
    )


def groups(*jobs: PlannedJob, max_batch_pixels: int = 10**6) -> list[list[str]]:
    made = make_groups(jobs, weights=WEIGHTS, max_batch_pixels=max_batch_pixels)
    return [[each.job.id for each in group.jobs] for group in made]


def test_jobs_of_one_tensor_program_run_together() -> None:
    assert groups(
        planned("a"),
        planned("b", backbone="vgg19"),
        planned("c", content_weight=3.0, style_weight=2.0, tv_weight=1.0, seed=4, init="noise"),
        planned("d", height=40),
        planned("e", steps=7),
        planned("f", optimizer="adam"),
        planned("g", style_layers=("relu1_1",)),
        planned("h", backbone="vgg19"),
    ) == [["a", "c"], ["b", "h"], ["d"], ["e"], ["f"], ["g"]]


def test_batches_hold_at_most_the_pixels_that_are_allowed() -> None:
    jobs = [planned(name) for name in "abcde"]
    assert groups(*jobs, max_batch_pixels=2 * 48 * 64) == [["a", "b"], ["c", "d"], ["e"]]
    assert groups(*jobs, max_batch_pixels=1) == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_nothing_gives_no_groups() -> None:
    assert groups() == []


def test_a_groups_digest_is_that_of_its_pictures() -> None:
    def digest(*jobs: PlannedJob) -> str:
        (group,) = make_groups(jobs, weights=WEIGHTS, max_batch_pixels=10**6)
        assert isinstance(group, Group)
        return group.digest

    assert digest(planned("a")) == digest(planned("a"))
    assert digest(planned("a")) != digest(planned("b"))
    assert digest(planned("a"), planned("b")) != digest(planned("a"))


def test_a_key_is_of_all_that_decides_the_pixels_and_of_nothing_else() -> None:
    one = job()

    def key(made: Any = one, **digests: str) -> str:
        defaults = {"content_digest": "c", "style_digest": "s", "weights_digest": "w"}
        return job_key(made, **(defaults | digests))

    assert key() == key(replace(one, id="other", row=9, content="/elsewhere", labels={"a": "b"}))
    others = [
        key(content_digest="x"),
        key(style_digest="x"),
        key(weights_digest="x"),
        key(replace(one, backbone="vgg19")),
        key(replace(one, params=PictureParams(seed=1))),
        key(content_digest="s", style_digest="c"),
    ]
    assert len({key(), *others}) == 7
