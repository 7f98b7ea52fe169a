import itertools

import pytest

from nst.job import PictureParams
from nst.scales import full_evaluations, scales_of


def sizes(height: int, width: int, **params: object) -> list[tuple[int, int]]:
    found = scales_of(height, width, PictureParams(**params))  # type: ignore[arg-type]
    return [(scale.height, scale.width) for scale in found]


def test_gatys_has_one_size_and_all_steps() -> None:
    (only,) = scales_of(384, 512, PictureParams(method="gatys", steps=70))
    assert (only.height, only.width, only.steps, only.pixels) == (384, 512, 70, 384 * 512)
    assert full_evaluations(384, 512, PictureParams(method="gatys", steps=70)) == 70


@pytest.mark.parametrize(("height", "width"), [(192, 256), (384, 512), (768, 1024), (3072, 4096)])
def test_a_pyramid_begins_at_one_size_whatever_the_picture_is(height: int, width: int) -> None:
    found = sizes(height, width)
    assert found[0] == (97, 129)
    assert found[-1] == (height, width)


@pytest.mark.parametrize("width", range(100, 2000, 61))
def test_sizes_grow_about_twofold_and_keep_the_shape(width: int) -> None:
    found = sizes(round(width * 0.7), width)
    for (_, small), (_, large) in itertools.pairwise(found):
        assert 1.4 < large / small < 2.9
    for height, wide in found:
        assert height / wide == pytest.approx(0.7, abs=0.02)


def test_each_size_has_half_the_evaluations_and_at_least_a_quarter() -> None:
    found = scales_of(1536, 2048, PictureParams(steps=40))
    assert [scale.steps for scale in found] == [40, 20, 10, 10, 10]


def test_an_evaluation_looks_at_all_coarser_sizes_as_well() -> None:
    found = scales_of(384, 512, PictureParams())
    areas = [scale.height * scale.width for scale in found]
    assert [scale.pixels for scale in found] == [sum(areas[: n + 1]) for n in range(len(areas))]


def test_small_and_narrow_pictures_have_one_size() -> None:
    assert sizes(90, 120) == [(90, 120)]
    assert sizes(64, 2000) == [(64, 2000)]
    assert min(sizes(128, 4000)[0]) >= 64


def test_one_step_is_one_at_each_size() -> None:
    assert [scale.steps for scale in scales_of(384, 512, PictureParams(steps=1))] == [1, 1, 1]


def test_a_picture_of_1024_px_is_less_than_five_times_the_work_of_512() -> None:
    large = 768 * 1024 * full_evaluations(768, 1024, PictureParams())
    small = 384 * 512 * full_evaluations(384, 512, PictureParams())
    assert large < 5 * small
