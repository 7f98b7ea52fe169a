"""Pictures on their way to a GPU and back; on other devices they stay where they are."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from nst.painting.devices import is_out_of_memory
from nst.painting.targets import Item


def sent_ahead(item: Item, device: torch.device) -> Item:
    """The item with its pictures on a GPU, whatever that computes meanwhile.

    They go by pinned memory and a stream of their own; only the calling thread waits for them. If
    the GPU has no room yet, or the CPU none that can be pinned, the item stays as it is.
    """
    if device.type != "cuda":
        return item
    stream = _sending_stream(device)
    try:
        with torch.cuda.stream(stream):
            sent = with_pictures(
                item, lambda picture: picture.pin_memory().to(device, non_blocking=True)
            )
        # So they are there for every other stream. Their memory is this stream's: it is used again
        # once nothing holds on to them, when the batch is painted and its pictures fetched.
        stream.synchronize()
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        return item
    return sent


def placed(item: Item, device: torch.device) -> Item:
    """The item with its pictures on a GPU, where all that is made of them is computed, too."""
    return (
        with_pictures(item, lambda picture: picture.to(device)) if device.type == "cuda" else item
    )


def fetched(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, from a GPU by pinned memory."""
    if not tensor.is_cuda:
        return tensor.cpu()
    found = tensor.to("cpu", non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return found


def with_pictures(item: Item, function: Callable[[Tensor], Tensor]) -> Item:
    """The item with `function` of each of its pictures in their place."""

    def of_some(picture: Tensor | None) -> Tensor | None:
        return None if picture is None else function(picture)

    return replace(
        item,
        content=function(item.content),
        styles=tuple(map(function, item.styles)),
        mask=of_some(item.mask),
        start=of_some(item.start),
        style_alphas=tuple(map(of_some, item.style_alphas)),
    )


@cache
def _sending_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
