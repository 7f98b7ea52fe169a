import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import torch

from nst.painting import load_backbone, stylize
from nst.painting.side_by_side import AbandonedError, num_side_by_side, side_by_side, suits
from nst.painting.threads import same_with_any_number
from nst.profiles import PROFILES
from nst.settings import Precision
from tests.helpers import item, random_state, vgg16

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_all_go_on_at_the_same_time_each_with_its_share_of_the_threads() -> None:
    torch.set_num_threads(7)
    meeting = threading.Barrier(3)

    def paint(number: int, check: Callable[[], None]) -> tuple[int, int]:
        meeting.wait(30)
        return number, torch.get_num_threads()

    assert side_by_side(paint, 3) == [(0, 2), (1, 2), (2, 2)]
    assert torch.get_num_threads() == 7


def test_more_than_there_are_threads_take_turns() -> None:
    torch.set_num_threads(2)
    at_once, most = 0, 0
    lock = threading.Lock()
    meeting = threading.Barrier(2)

    def paint(number: int, check: Callable[[], None]) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        meeting.wait(30)
        with lock:
            at_once -= 1
        return number

    assert side_by_side(paint, 6) == list(range(6))
    assert most == 2


def test_one_that_fails_ends_the_others_and_is_what_is_told() -> None:
    torch.set_num_threads(3)
    begun = threading.Barrier(3)
    ended: list[int] = []

    def paint(number: int, check: Callable[[], None]) -> None:
        if number > 2:
            # It may have been begun before the others are called off.
            return
        begun.wait(30)
        if number == 2:
            raise MemoryError("full")
        try:
            while True:
                check()
        except AbandonedError:
            ended.append(number)
            raise

    with pytest.raises(MemoryError, match="full"):
        side_by_side(paint, 5)
    assert sorted(ended) == [0, 1]
    assert torch.get_num_threads() == 3


def test_pictures_side_by_side_are_those_of_each_alone() -> None:
    torch.set_num_threads(2)
    items = [item(n, steps=4, size=(48, 64)) for n in range(3)]
    told: list[float] = []
    kept: list[tuple[int, int]] = []
    found = stylize(
        items,
        vgg16(),
        on_step=lambda share, _: told.append(share),
        keep_every=3,
        on_kept=lambda number, evaluation, image: kept.append((number, evaluation)),
    )
    for number, one in enumerate(items):
        alone = stylize([one], vgg16())
        assert torch.equal(found.images[number], alone.images[0])
        assert found.num_evaluations[number] == alone.num_evaluations[0]
        assert torch.equal(found.losses.total[number], alone.losses.total[0])
        evaluations = len(alone.curve.total)
        assert torch.equal(found.curve.total[:evaluations, number], alone.curve.total[:, 0])
        for layer, losses in alone.style_by_layer.items():
            assert torch.equal(found.style_by_layer[layer][number], losses[0])
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    assert sorted(kept) == [(n, 3) for n in range(3)]


def test_a_curve_that_ends_early_is_as_long_as_that_of_the_others() -> None:
    torch.set_num_threads(2)
    short, whole = item(0, steps=30, tolerance=0.5), item(1, steps=30)
    found = stylize([short, whole], vgg16())
    first, second = found.num_evaluations.tolist()
    assert first < second == len(found.curve.total)
    alone = stylize([short], vgg16())
    assert torch.equal(found.curve.total[:first, 0], alone.curve.total[:first, 0])


def test_an_error_of_whoever_is_told_ends_all() -> None:
    torch.set_num_threads(2)

    def on_step(share: float, _: object) -> None:
        if share > 0.5:
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stylize([item(n, steps=20) for n in range(2)], vgg16(), on_step=on_step)


@pytest.mark.parametrize(
    ("backbone", "precision", "has_units", "expected"),
    [
        ("vgg16", "float32", True, 3),
        ("vgg16", "bfloat16", True, 3),
        ("resnet50", "float32", True, 3),
        # Its convolutions there depend on the number of threads, and so would its pictures.
        ("resnet50", "bfloat16", True, 1),
        # Those that are multiplied in float32 do not.
        ("resnet50", "bfloat16", False, 3),
    ],
)
def test_so_many_are_painted_as_there_are_threads_where_they_do_not_depend_on_them(
    monkeypatch: pytest.MonkeyPatch,
    backbone: str,
    precision: Precision,
    has_units: bool,
    expected: int,
) -> None:
    monkeypatch.setattr("nst.painting.precision.has_units", lambda _: has_units)
    torch.set_num_threads(3)
    network = load_backbone(
        backbone,
        random_state(backbone),
        tuple(PROFILES[backbone].style_shares),
        device=CPU,
        precision=precision,
    )
    assert num_side_by_side(network) == expected


def test_only_several_pictures_on_a_cpu_are_painted_so(monkeypatch: pytest.MonkeyPatch) -> None:
    network = vgg16()
    assert suits(2, network, None)
    assert suits(2, network, 64)
    assert not suits(1, network, None)
    monkeypatch.setattr(type(network), "is_independent_of_threads", False)
    assert not suits(2, network, None)
    monkeypatch.setattr(type(network), "is_independent_of_threads", True)
    monkeypatch.setattr(type(network), "device", torch.device("cuda"))
    assert not suits(2, network, None)
    assert not suits(2, network, 64)


def test_what_failed_holds_nothing_once_it_is_caught() -> None:
    """The memory is wanted at once: what ran out of it is tried again with fewer pictures."""
    torch.set_num_threads(2)
    held: list[weakref.ref[torch.Tensor]] = []
    begun = threading.Barrier(2)

    def paint(number: int, check: Callable[[], None]) -> None:
        computed = torch.zeros(1)
        held.append(weakref.ref(computed))
        begun.wait(30)
        if number == 0:
            raise RuntimeError("full")
        while True:
            check()

    gc.disable()
    try:
        with suppress(RuntimeError):
            side_by_side(paint, 2)
        assert [each() for each in held] == [None, None]
    finally:
        gc.enable()


def test_small_pictures_have_one_thread_alone_and_all_have_them_again() -> None:
    torch.set_num_threads(3)
    for size, expected in (((64, 111), 1), ((64, 112), 3)):
        with same_with_any_number(size, CPU):
            assert torch.get_num_threads() == expected
        assert torch.get_num_threads() == 3
