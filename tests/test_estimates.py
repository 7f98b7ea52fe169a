from dataclasses import replace
from typing import Any

import pytest

from nst.painting.memory import BESIDE_BYTES, Memory
from nst.planning.estimates import Probe, estimate
from nst.planning.plan import Group, make_groups
from nst.profiles import PROFILES
from nst.wording import shown_duration
from tests.test_plan import WEIGHTS, planned

CPU = Probe(
    device="cpu",
    name="cpu",
    precision="float32",
    multiplied_in="float32",
    evaluation_s=0.01,
    pixel_s=1e-6,
    memory=Memory(total=32 * 10**9, free=16 * 10**9),
    together=False,
)
GPU = replace(CPU, device="cuda", name="a GPU", together=True)
ROOMY = 10**9


def groups(*sizes: tuple[int, int], backbone: str = "vgg16", **params: Any) -> tuple[Group, ...]:
    jobs = [
        planned(f"j{n}", height=h, width=w, backbone=backbone, **params)
        for n, (h, w) in enumerate(sizes)
    ]
    weights = {**WEIGHTS, "resnet50": replace(WEIGHTS["vgg16"], backbone="resnet50")}
    return make_groups(jobs, weights=weights, max_batch_pixels=ROOMY)


def test_time_is_evaluations_times_pixels_for_each_picture_on_a_cpu() -> None:
    found = estimate(groups((100, 200), (100, 200), (50, 60), steps=47), CPU)
    # 47 steps and 3 for what a picture takes besides: 50 evaluations.
    expected = [2 * 50 * (0.01 + 20_000e-6), 50 * (0.01 + 3_000e-6)]
    assert [each.seconds for each in found.groups] == pytest.approx(expected)
    assert found.seconds == pytest.approx(sum(expected) + 5)
    assert [each.pictures_at_once for each in found.groups] == [1, 1]


def test_a_gpu_waits_once_for_a_batch_that_fits() -> None:
    (found,) = estimate(groups(*[(100, 200)] * 4, steps=47), GPU).groups
    assert found.pictures_at_once == 4
    assert found.seconds == pytest.approx(50 * (0.01 + 4 * 20_000e-6))
    assert found.memory_bytes == 4 * 20_000 * (PROFILES["vgg16"].bytes_per_px + 450)
    tight = replace(GPU, memory=replace(GPU.memory, free=found.memory_bytes * 3 // 4))
    (cut_up,) = estimate(groups(*[(100, 200)] * 4, steps=47), tight).groups
    assert cut_up.pictures_at_once == 2
    assert cut_up.seconds == pytest.approx(50 * (2 * 0.01 + 4 * 20_000e-6))


def test_pictures_side_by_side_share_the_threads_of_a_cpu() -> None:
    one = estimate(groups(*[(100, 200)] * 6), CPU).groups[0]
    four = replace(CPU, threads=4)
    (found,) = estimate(groups(*[(100, 200)] * 6), four).groups
    assert found.pictures_at_once == 4
    # The times are those of all threads, and four pictures of one thread each take half as long as that.
    assert found.seconds == pytest.approx(one.seconds / 2)
    (alone,) = estimate(groups((100, 200)), four).groups
    assert alone.seconds == pytest.approx(one.seconds / 6)
    each = 20_000 * (PROFILES["vgg16"].bytes_per_px + 450)
    assert found.memory_bytes - alone.memory_bytes == 3 * (each + BESIDE_BYTES)
    tight = replace(
        four, memory=replace(CPU.memory, free=int((each + 1.5 * (each + BESIDE_BYTES)) / 0.85))
    )
    assert estimate(groups(*[(100, 200)] * 6), tight).groups[0].pictures_at_once == 2


def test_what_depends_on_threads_is_painted_one_at_a_time() -> None:
    probe = replace(CPU, threads=4, precision="bfloat16", multiplied_in="bfloat16")
    rounded = replace(probe, multiplied_in="float32")
    for backbone, measured, expected in (
        ("resnet50", probe, 1),
        ("resnet50", rounded, 2),
        ("vgg16", probe, 2),
    ):
        two = groups((100, 200), (100, 200), backbone=backbone)
        assert estimate(two, measured).groups[0].pictures_at_once == expected


def test_what_is_multiplied_in_float32_takes_the_memory_of_float32() -> None:
    half = replace(CPU, precision="bfloat16", multiplied_in="bfloat16")
    rounded = replace(half, multiplied_in="float32")
    plain, as_plain, less = (
        estimate(groups((100, 200)), probe).memory_bytes for probe in (CPU, rounded, half)
    )
    assert as_plain == plain > less


def test_a_backbone_costs_what_its_profile_says() -> None:
    (plain,) = estimate(groups((100, 200)), CPU).groups
    (other,) = estimate(groups((100, 200), backbone="vgg19"), CPU).groups
    assert other.seconds == pytest.approx(plain.seconds * PROFILES["vgg19"].cost)


def test_a_picture_too_large_for_one_pass_takes_longer_for_each_pixel_and_less_memory() -> None:
    small = replace(CPU, memory=Memory(total=6 * 10**9, free=6 * 10**9))
    (whole,) = estimate(groups((2048, 2048)), CPU).groups
    (tiled,) = estimate(groups((2048, 2048)), small).groups
    # Cores of 672 pixels a side with a margin of 112 around, and a pass before that takes a third.
    assert 1.5 * whole.seconds < tiled.seconds < 2.5 * whole.seconds
    assert tiled.memory_bytes < whole.memory_bytes


def test_what_does_not_fit_is_told() -> None:
    full = replace(CPU, memory=replace(CPU.memory, free=10**6))
    (found,) = estimate(groups((100, 200)), full).groups
    assert not found.fits
    assert found.pictures_at_once == 1
    (found,) = estimate(groups((100, 200)), CPU).groups
    assert found.fits


def test_a_tolerance_makes_it_an_upper_bound() -> None:
    assert not estimate(groups((100, 200)), CPU).is_upper_bound
    assert estimate(groups((100, 200), tolerance=0.1), CPU).is_upper_bound


def test_nothing_to_make_takes_nothing() -> None:
    found = estimate((), CPU)
    assert (found.seconds, found.memory_bytes, found.groups) == (0, 0, ())


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.01, "1 s"),
        (42.4, "42 s"),
        (89.9, "90 s"),
        (90, "2 min"),
        (700, "12 min"),
        (5400, "1.5 h"),
        (360_000, "100 h"),
    ],
)
def test_durations_have_no_more_digits_than_an_estimate(seconds: float, said: str) -> None:
    assert shown_duration(seconds) == said


def with_style(side_px: int, *groups: Group) -> tuple[Group, ...]:
    """The groups with styles of which the files have so many pixels a side."""
    return tuple(
        replace(
            group,
            jobs=tuple(
                replace(each, styles=(replace(each.styles[0], height=side_px, width=side_px),))
                for each in group.jobs
            ),
        )
        for group in groups
    )


def test_a_style_that_is_larger_than_its_picture_is_counted() -> None:
    """It is looked at once, without gradients; no style is enlarged."""
    large = groups(*[(100, 200)] * 2, size=200, style_scale=8)
    (picture,) = estimate(large, CPU).groups
    (small,) = estimate(with_style(200, *large), CPU).groups
    assert small.memory_bytes == picture.memory_bytes
    (found,) = estimate(with_style(4096, *large), CPU).groups
    style = 1600**2 * (PROFILES["vgg16"].bytes_per_px // 2 + 40)
    assert found.memory_bytes - picture.memory_bytes == style - 20_000 * 2300
    four = replace(CPU, threads=4)
    (beside,) = estimate(with_style(4096, *large), four).groups
    assert beside.memory_bytes - found.memory_bytes == style + BESIDE_BYTES
    # A GPU looks at the styles of a batch one after the other.
    (batch,) = estimate(with_style(4096, *large), GPU).groups
    assert batch.memory_bytes == style
    assert batch.pictures_at_once == 2


def test_a_style_too_large_for_one_pass_goes_in_tiles_where_it_can() -> None:
    large = with_style(4096, *groups((512, 512), size=512, style_scale=8))
    (whole,) = estimate(large, replace(CPU, memory=Memory(total=10**11, free=10**11))).groups
    (tiled,) = estimate(large, replace(CPU, memory=Memory(total=10**10, free=10**10))).groups
    assert whole.memory_bytes > 15 * 10**9
    assert tiled.memory_bytes < 4 * 10**9
    uncut = with_style(4096, *groups((512, 512), backbone="resnet50", size=512, style_scale=8))
    (found,) = estimate(uncut, replace(CPU, memory=Memory(total=10**10, free=8 * 10**9))).groups
    assert found.memory_bytes > 8 * 10**9
    assert not found.fits
