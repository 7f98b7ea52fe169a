from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nst.job import Job, PictureParams, inputs_key, job_key, params_as_json, recipe
from nst.painting.weights import WeightsFile
from nst.planning.plan import Input, PlannedJob, in_portions, make_groups
from nst.profiles import Topology
from tests.helpers import job

WEIGHTS = {
    name: WeightsFile(backbone=name, origin="file", uri=f"/{name}", digest="w")
    for name in ("vgg16", "vgg19")
}
INPUT = Input(uri="/in/a.png", digest="d", height=48, width=64)


def planned(
    name: str,
    *,
    backbone: str = "vgg16",
    height: int = 48,
    width: int = 64,
    num_styles: int = 1,
    mask: bool = False,
    **params: Any,
) -> PlannedJob:
    return PlannedJob(
        job=job(id=name, backbone=backbone, params=PictureParams(**params)),
        key=f"key of {name}",
        content=INPUT,
        styles=(INPUT,) * num_styles,
        mask=INPUT if mask else None,
        start=None,
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
        planned("i", num_styles=2),
        planned("j", mask=True),
        planned("k", mask=True, num_styles=2),
        planned("l", pooling="avg"),
        planned("m", preserve_color="match", style_scale=2.0, detail_weight=1.0, tolerance=0.1),
    ) == [
        ["a", "c", "i", "m"],
        ["b", "h"],
        ["d"],
        ["e"],
        ["f"],
        ["g"],
        ["j"],
        ["k"],
        ["l"],
    ]


def test_batches_hold_at_most_the_pixels_that_are_allowed() -> None:
    jobs = [planned(name) for name in "abcde"]
    assert groups(*jobs, max_batch_pixels=2 * 48 * 64) == [["a", "b"], ["c", "d"], ["e"]]
    assert groups(*jobs, max_batch_pixels=1) == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_nothing_gives_no_groups() -> None:
    assert groups() == []


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 12))
def test_portions_have_all_groups_in_order_and_about_the_same_work(
    steps: list[int], at_most: int
) -> None:
    jobs = [planned(str(number), steps=each) for number, each in enumerate(steps)]
    found = make_groups(jobs, weights=WEIGHTS, max_batch_pixels=1)
    portions = in_portions(found, at_most)
    assert [group for portion in portions for group in portion] == list(found)
    assert len(portions) <= max(at_most, 0 if len(found) > at_most else len(found))
    assert all(portions)
    if len(found) > at_most:
        works = [sum(group.work for group in portion) for portion in portions]
        largest = max(group.work for group in found)
        assert max(works) <= sum(works) / at_most + largest


def test_a_key_is_of_all_that_decides_the_pixels_and_of_nothing_else() -> None:
    one = job(styles=("/s", "/t"), mask="/m", start="/p")
    digests = {one.content: "c", "/s": "s", "/t": "t", "/m": "m", "/p": "p"}

    def key(made: Job = one, weights_digest: str = "w", **changed: str) -> str:
        moved = {f"/{name}": value for name, value in changed.items()}
        return job_key(made, digests=digests | moved, weights_digest=weights_digest)

    elsewhere = replace(one, id="other", row=9, content="/elsewhere", labels={"a": "b"})
    assert key() == key(elsewhere, elsewhere="c")
    others = [
        key(elsewhere, elsewhere="x"),
        key(s="x"),
        key(s="t", t="s"),
        key(m="x"),
        key(p="x"),
        key(replace(one, mask=None)),
        key(replace(one, start=None)),
        key(replace(one, styles=("/s",))),
        key(weights_digest="x"),
        key(replace(one, backbone="vgg19")),
        key(replace(one, params=PictureParams(seed=1))),
    ]
    assert len({key(), *others}) == 12


def test_masks_of_styles_are_a_part_of_the_key_where_there_are_any() -> None:
    one = job(styles=("/s", "/t"))
    digests = {uri: uri for uri in (*one.inputs, "/m", "/n")}

    def keys(*masks: str | None) -> tuple[str, str | None]:
        made = replace(one, style_masks=masks)
        return job_key(made, digests=digests, weights_digest="w"), inputs_key(made, "r", digests)

    found = [keys(), keys("/m", None), keys(None, "/m"), keys("/m", "/n"), keys("/n", "/n")]
    for number in (0, 1):
        assert len({each[number] for each in found}) == 5
    del digests["/m"]
    assert inputs_key(replace(one, style_masks=("/m", None)), "r", digests) is None


def test_a_key_tells_of_transparency_where_that_has_changed_what_is_painted() -> None:
    """And of nothing else, so that what earlier releases painted of other inputs stays done."""
    one = job(styles=("/s",), mask="/m", start="/p")
    digests = {one.content: "c", "/s": "s", "/m": "m", "/p": "p"}

    def key(**kinds: str) -> str:
        transparent = {one.content if name == "c" else f"/{name}": k for name, k in kinds.items()}
        return job_key(one, digests=digests, weights_digest="w", transparent=transparent)

    assert key() == job_key(one, digests=digests, weights_digest="w")
    assert key(c="none", s="none", m="none", p="none") == key()
    assert key(c="some") == key(m="some") == key()
    others = [key(s="some"), key(p="some"), *(key(**{name: "bitmap"}) for name in "csmp")]
    assert len({key(), *others}) == 7


@pytest.mark.parametrize(
    ("params", "key", "how"),
    [
        (
            {},
            "02456b5f84c8fab2fcee729333ac32e8f471e2efad028d255d6534f43c1f8fae",
            "db6c7cff83a70ed9",
        ),
        (
            {"steps": 70, "style_layers": "relu1_1 relu2_1"},
            "05e6bce83853600c1a5bbf74820e5dff8768e4ac1018f165e5dc99aa2395074f",
            "a96b705c931788de",
        ),
    ],
)
def test_pictures_of_one_size_have_kept_their_keys(
    params: dict[str, Any], key: str, how: str
) -> None:
    """Those that releases before the pyramid wrote, when theirs was the only method."""
    one = replace(job(), params=PictureParams(method="gatys", **params))
    digests = {uri: uri for uri in one.inputs}
    assert job_key(one, digests=digests, weights_digest="w") == key
    assert recipe(one, "w", None, params_as_json(one.params)) == how
    others: list[dict[str, Any]] = [
        {"method": "pyramid"},
        {"strength": 0.5},
        {"chroma_weight": 0.1},
        {"style_layers": "relu1_1:2 relu2_1"},
    ]
    for other in others:
        changed = replace(one, params=replace(one.params, **other))
        assert job_key(changed, digests=digests, weights_digest="w") != key


def test_a_key_is_of_the_topology_where_it_is_not_the_usual_one() -> None:
    """So that what earlier releases painted, which knew no other, is not painted again."""
    one = job(backbone="resnet50")
    digests = {uri: uri for uri in one.inputs}

    def key(topology: Topology | None) -> str:
        return job_key(one, digests=digests, weights_digest="w", topology=topology)

    assert key("torchvision") == key(None) == job_key(one, digests=digests, weights_digest="w")
    assert key("caffe") != key(None)
