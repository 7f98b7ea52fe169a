"""Whole steps as CUDA graphs: recorded once for a shape, and then launched by one call each.

A step has some thousand operations, and the CPU takes some microseconds to launch each. A small batch
is through with them sooner than the next is there, so that a GPU mostly waits. A graph launches all of
them at once (Gray, "Getting Started with CUDA Graphs", NVIDIA 2019; PyTorch's notes on CUDA semantics).

It repeats what was recorded, at the same addresses. So a step is a fixed sequence here, and what it
works on, targets included, is copied to where the first batch of its shape had it.
"""

import logging
import os
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from nst.painting.backbones import Backbone
from nst.painting.devices import free_memory, is_out_of_memory
from nst.painting.memo import Memo
from nst.painting.memory import memory_of
from nst.painting.octaves import Octaves
from nst.painting.optimizers import FixedLBFGS, Frequencies
from nst.painting.steps import Best
from nst.painting.targets import LOSS_NAMES, Losses

# Larger batches keep a GPU busy without graphs, which would take memory from them.
MAX_ITEMS = 8
# Set to `off`, no step is recorded, to compare.
SWITCH = "NST_CUDA_GRAPHS"
# What is over sooner does not pay for the recording.
MIN_STEPS = 8
# What a library prepares when it is used for the first time cannot be recorded.
_WARM_UPS = 2
# Each keeps its batch's targets and history. A shape has one for each of its sizes.
_MAX_KEPT = 12

_log = logging.getLogger(__name__)


class RecordedSteps:
    """`PlainSteps` with L-BFGS, each of which is one call of what `record` has made of the first."""

    def __init__(
        self, octaves: Octaves, images: Tensor, frequencies: Frequencies | None = None
    ) -> None:
        """`octaves` are this object's own from now on."""
        self._octaves = octaves
        self._optimizer = FixedLBFGS(images, frequencies=frequencies)
        self.best = Best(images)
        self._is_running = torch.ones(len(images), dtype=torch.bool, device=images.device)
        self._losses = images.new_zeros(len(LOSS_NAMES), len(images))
        self._repeat = record(self._step, images.device)

    def begin(self, octaves: Octaves, images: Tensor) -> None:
        """Begin with a batch of the same shape."""
        pairs = zip(_tensors(self._octaves.targets), _tensors(octaves.targets), strict=True)
        for own, new in pairs:
            own.copy_(new)
        self._optimizer.begin(images)
        self.best.begin(images)

    def evaluate(self, running: Sequence[bool], is_running: Tensor) -> Losses:
        self._is_running.copy_(is_running)
        self._repeat()
        return Losses(**dict(zip(LOSS_NAMES, self._losses.clone().unbind(), strict=True)))

    def move(self) -> None:
        """Each evaluation has gone on by itself."""

    def _step(self) -> None:
        images = self._optimizer.images
        losses, gradient = self._octaves(images, None)
        self.best.update(images, losses, gradient, self._is_running)
        self._losses.copy_(torch.stack([getattr(losses, name) for name in LOSS_NAMES]))
        self._optimizer.step(gradient)


class _Kept(threading.local):
    """What this thread has recorded: two batches that are painted side by side must not share it.

    None stands for what could not be recorded.
    """

    def __init__(self) -> None:
        self.steps: Memo[Hashable, RecordedSteps | None] = Memo(_MAX_KEPT)
        self.works = True


_kept = _Kept()


def steps_of(
    octaves: Octaves, images: Tensor, backbone: Backbone, frequencies: Frequencies
) -> RecordedSteps | None:
    """The steps of a batch that begins at `images`; None, with a warning, where they cannot be recorded."""
    key = _shape(octaves, images, backbone), frequencies
    if key not in _kept.steps:
        if _is_short_of_memory(images.device):
            forget()
            free_memory(images.device)
        _kept.steps[key] = _recorded(octaves, images, frequencies)
    found = _kept.steps[key]
    if found is not None:
        found.begin(octaves, images)
    return found


def suits(octaves: Octaves, images: Tensor, *, optimizer: str, num_steps: int) -> bool:
    """Whether such steps are to be recorded."""
    return (
        is_capable(images.device)
        and _kept.works
        and os.environ.get(SWITCH) != "off"
        and optimizer == "lbfgs"
        and len(images) <= MAX_ITEMS
        and num_steps >= MIN_STEPS
        and not octaves.is_tiled
    )


def is_capable(device: torch.device) -> bool:
    """Whether a device has graphs."""
    return device.type == "cuda"


def forget() -> bool:
    """Give up what was recorded, and its memory; whether there was anything."""
    had_any = any(each is not None for each in _kept.steps.values())
    _kept.steps.clear()
    return had_any


@contextmanager
def paused() -> Iterator[None]:
    """Meanwhile nothing is recorded, and nothing that was recorded is repeated."""
    before, _kept.works = _kept.works, False
    try:
        yield
    finally:
        _kept.works = before


def record(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """A function that does what `step` does, which is run some times for it.

    Raises RuntimeError if `step` waits for the device, and where memory is short.
    """
    with torch.cuda.device(device):
        stream, before = _recording_stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(before)
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                step()
        before.wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads load pictures meanwhile, and may do so.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                step()
        finally:
            # After an error PyTorch leaves the thread on the other stream.
            torch.cuda.set_stream(before)
    return graph.replay


@cache
def _recording_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all: PyTorch has 32 and hands them out in turn, to whoever sends pictures too."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _recorded(octaves: Octaves, images: Tensor, frequencies: Frequencies) -> RecordedSteps | None:
    try:
        return RecordedSteps(octaves, images, frequencies)
    except RuntimeError as exc:
        # Whatever a shape is too large for, the next one may have room.
        _kept.works = is_out_of_memory(exc)
        _log.warning(
            "painting goes on without a CUDA graph, which is slower: %s; %s=off records none",
            exc,
            SWITCH,
        )
        return None


def _is_short_of_memory(device: torch.device) -> bool:
    found = memory_of(device)
    return found.free < found.total / 2


def _shape(octaves: Octaves, images: Tensor, backbone: Backbone) -> Hashable:
    """What steps must have in common to be the same but for the values of tensors."""
    leaves = tuple(
        (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else repr(leaf)
        for leaf in _leaves(octaves.targets)
    )
    # What is recorded holds on to its backbone, so that no other one gets its id.
    how = (id(backbone), str(images.device), torch.backends.cudnn.deterministic)
    return how, tuple(images.shape), octaves.sizes, leaves


def _tensors(value: Any) -> Iterator[Tensor]:
    return (leaf for leaf in _leaves(value) if isinstance(leaf, Tensor))


def _leaves(value: Any) -> Iterator[Any]:
    """What a value of dataclasses, mappings and sequences is made of, in an order that is its own."""
    if is_dataclass(value):
        parts: Sequence[Any] = [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, Mapping):
        parts = [part for pair in value.items() for part in pair]
    elif isinstance(value, list | tuple):
        parts = value
    else:
        yield value
        return
    for part in parts:
        yield from _leaves(part)
