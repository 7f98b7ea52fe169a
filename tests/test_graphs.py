"""Steps that are recorded and repeated, with a stand-in for a CUDA graph.

It records the operations of a step with the tensors that they worked on, and repeats these operations
on these tensors: as in a graph, whatever Python decided meanwhile stays as it was.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nst.painting import graphs
from nst.painting.backbones import Backbone
from nst.painting.engine import Stylized, stylize
from nst.painting.targets import LOSS_NAMES, Item
from tests import helpers
from tests.helpers import mask_tensor, vgg16

pytestmark = pytest.mark.usefixtures("two_threads")

LAYERS: dict[str, Any] = {"content_layers": "relu2_1", "style_layers": "relu1_1 relu2_1"}


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations, and repeats them: what is computed anew goes where it was before."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operations: list[tuple[Any, Sequence[Any], Mapping[str, Any], list[Tensor]]] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        self._operations.append((func, args, kwargs or {}, tensors_in(made)))
        return made

    def repeat(self) -> None:
        with torch.no_grad():
            for func, args, kwargs, before in self._operations:
                known = {storage(each) for each in tensors_in((args, kwargs))}
                for new, old in zip(tensors_in(func(*args, **kwargs)), before, strict=True):
                    # What is a view, or was written in place, is where it belongs.
                    if storage(old) not in known:
                        old.copy_(new)


def tensors_in(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def item(pictures: int = 0, **params: Any) -> Item:
    values: dict[str, Any] = {"noise_weight": 0.0, "steps": 3, "method": "gatys"} | LAYERS | params
    return helpers.item(pictures, **values)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return vgg16(**LAYERS)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """The devices that something was recorded on; this machine's CPU has graphs, and runs batches as one."""
    found: list[torch.device] = []

    def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
        found.append(device)
        step()
        with Tape() as tape:
            step()
        repeat: Callable[[], None] = tape.repeat
        return repeat

    monkeypatch.delenv(graphs.SWITCH, raising=False)
    monkeypatch.setattr(graphs, "_kept", graphs._Kept())
    monkeypatch.setattr(graphs, "MIN_STEPS", 2)
    monkeypatch.setattr(graphs, "record", record)
    monkeypatch.setattr(graphs, "is_capable", lambda device: True)
    monkeypatch.setattr(graphs, "_is_short_of_memory", lambda device: False)
    monkeypatch.setattr("nst.painting.objective.runs_items_together", lambda device, tile_px: True)
    return found


def plainly(items: list[Item], backbone: Backbone) -> Stylized:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(graphs.SWITCH, "off")
        return stylize(items, backbone)


def assert_alike(found: Stylized, expected: Stylized) -> None:
    """Rounding apart, of so few steps that it has not grown."""
    assert found.num_evaluations.tolist() == expected.num_evaluations.tolist()
    torch.testing.assert_close(found.images, expected.images, atol=5e-3, rtol=0)
    for name in LOSS_NAMES:
        for a, b in ((found.losses, expected.losses), (found.curve, expected.curve)):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=2e-3, atol=1e-6)


def test_a_shape_is_recorded_once_and_each_batch_is_painted_as_step_by_step(
    records: list[torch.device], backbone: Backbone
) -> None:
    batches = [
        [item(0, tv_weight=1.0), item(1, content_weight=1.0)],
        [item(2), item(3, style_weight=3.0, detail_weight=1.0)],
    ]
    for batch in batches:
        assert_alike(stylize(batch, backbone), plainly(batch, backbone))
    assert len(records) == 1


def test_each_size_of_a_pyramid_is_recorded(
    records: list[torch.device], backbone: Backbone
) -> None:
    batch = [item(size=(144, 192), method="pyramid", steps=4)]
    assert_alike(stylize(batch, backbone), plainly(batch, backbone))
    assert len(records) == 2


@pytest.mark.parametrize(
    "other",
    [
        [item(), item(1), item(2)],
        [replace(one, mask=mask_tensor(48, 64)) for one in (item(), item(1))],
        [item(num_styles=2), item(1, num_styles=2)],
    ],
    ids=["another number of pictures", "masks", "two styles"],
)
def test_what_has_another_shape_is_recorded_by_itself(
    other: list[Item], records: list[torch.device], backbone: Backbone
) -> None:
    stylize([item(), item(1)], backbone)
    made = stylize(other, backbone)
    # Two styles are blended to one target before anything is evaluated.
    assert len(records) == (1 if len(other[0].styles) == 2 else 2)
    assert_alike(made, plainly(other, backbone))


def test_an_item_ends_where_it_would_have_ended_and_stays_as_it_was(
    records: list[torch.device], backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the content and with no weight on anything but it, the first cannot get better."""
    monkeypatch.setattr("nst.painting.engine.STALL_WINDOW", 2)
    ends: dict[str, Any] = {"tolerance": 0.1, "content_weight": 1.0, "style_weight": 0.0}
    made = stylize([item(steps=8, **ends), item(1, steps=8)], backbone)
    assert made.num_evaluations.tolist() == [4, 8]
    torch.testing.assert_close(made.images[0], item().content)
    assert len(records) == 1


def test_items_that_are_repeated_together_do_not_affect_each_other(
    records: list[torch.device], backbone: Backbone
) -> None:
    bad = item(0)
    bad.content[0, 0, 0] = float("nan")
    made = stylize([bad, item(1)], backbone)
    assert made.is_finite.tolist() == [False, True]
    assert_alike_of(made, 1, stylize([item(1)], backbone))
    # What was not finite is not left behind for the next batch.
    again = stylize([item(2), item(1)], backbone)
    assert again.is_finite.tolist() == [True, True]
    assert torch.equal(again.images[1], made.images[1])
    assert len(records) == 2


def assert_alike_of(made: Stylized, index: int, alone: Stylized) -> None:
    torch.testing.assert_close(made.images[index], alone.images[0], atol=5e-3, rtol=0)


def test_where_nothing_can_be_recorded_it_goes_on_step_by_step_and_says_so_once(
    records: list[torch.device],
    backbone: Backbone,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
        step()
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "record", record)
    with caplog.at_level(logging.WARNING, "nst"):
        for batch in ([item()], [item(1), item(2)]):
            assert torch.equal(stylize(batch, backbone).images, plainly(batch, backbone).images)
    (message,) = caplog.messages
    assert "not permitted" in message


def test_a_shape_without_memory_to_be_recorded_leaves_the_others_theirs(
    records: list[torch.device], backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = graphs.record

    def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
        if not records:
            records.append(device)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(step, device)

    monkeypatch.setattr(graphs, "record", record)
    for batch in ([item()], [item()], [item(1), item(2)]):
        stylize(batch, backbone)
    assert len(records) == 2


@pytest.mark.parametrize(
    "batch",
    [[item(steps=1)], [item(n, steps=2) for n in range(9)], [item(optimizer="adam", steps=2)]],
    ids=["few steps", "a large batch", "adam"],
)
def test_what_gains_nothing_is_not_recorded(
    batch: list[Item], records: list[torch.device], backbone: Backbone
) -> None:
    stylize(batch, backbone)
    assert records == []


def test_nothing_is_recorded_on_a_cpu(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "record", None)
    assert stylize([item()], backbone).is_finite.all()


def test_what_is_forgotten_is_recorded_again(
    records: list[torch.device], backbone: Backbone
) -> None:
    assert not graphs.forget()
    stylize([item()], backbone)
    assert graphs.forget()
    stylize([item()], backbone)
    assert len(records) == 2


def test_while_it_is_paused_nothing_is_recorded_or_repeated(
    records: list[torch.device], backbone: Backbone
) -> None:
    stylize([item()], backbone)
    with graphs.paused():
        assert torch.equal(stylize([item()], backbone).images, plainly([item()], backbone).images)
        stylize([item(), item(1)], backbone)
    assert len(records) == 1
    stylize([item(), item(1)], backbone)
    assert len(records) == 2
