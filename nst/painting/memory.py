"""The memory that a batch needs, predicted from measurements, and the memory that a device has."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nst.profiles import BackboneProfile
from nst.settings import Precision

# A forecast needs no torch, whose import takes seconds.
if TYPE_CHECKING:
    import torch

# Side of the tiles that a picture too large for one pass goes through the network in.
TILE_PX = 720

# A pass may take this share of all the memory there is; beyond it, a picture is tiled. A share of
# the whole and not of what is free just then, so that a machine makes the same picture every time.
_MAX_PASS_SHARE = 1 / 3
# And a batch this share of what is free, since a forecast is no promise.
_MAX_BATCH_SHARE = 0.85
# Ten pairs of past steps, the images, the gradient and what the arithmetic between them needs.
_OPTIMIZER_BYTES_PER_PX = 450
# Half of what a pass holds are float32 Grams and gradients whatever the network computes in.
_BFLOAT16_SHARE = 0.7
# A style goes through the network once, without gradients. That was measured to take 0.39 of a pass there
# and back with a VGG and 0.37 with ResNet-50, and 0.48 with an alpha, at 1024 px.
_STYLE_SHARE = 0.5
# And these are its pixels, on their way to each size, and what the losses of pixels find out of them.
_STYLE_BYTES_PER_PX = 40
# What each picture that is painted beside others on a CPU takes besides, in threads' own memory: of 256 px,
# the second was measured to take 0.39 GB, and the third and fourth 0.04 GB each.
BESIDE_BYTES = 150_000_000
_CGROUP = Path("/sys/fs/cgroup")
# PyTorch's name for the memory that it hands out to whoever asks; each CUDA graph has another one.
_SHARED_POOL = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A device's memory in bytes: total and free."""

    total: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cgroup:
    """The files in which a version of cgroups tells of memory, and the names of lines of `stat`.

    `anonymous` is what no kernel can take back without swapping, and `cached` what it can: pages of files.
    """

    limit: str
    used: str
    stat: str
    anonymous: str
    cached: tuple[str, ...]


# Version 2, then 1.
_CGROUPS = (
    _Cgroup(
        limit="memory.max",
        used="memory.current",
        stat="memory.stat",
        anonymous="anon",
        cached=("inactive_file", "active_file"),
    ),
    _Cgroup(
        limit="memory/memory.limit_in_bytes",
        used="memory/memory.usage_in_bytes",
        stat="memory/memory.stat",
        anonymous="total_rss",
        cached=("total_inactive_file", "total_active_file"),
    ),
)
# Where there is no limit, version 2 says "max", and version 1 the largest number of whole pages.
_NO_LIMIT = 2**62


def memory_of(device: "torch.device", *, cgroup: Path = _CGROUP) -> Memory:
    """The memory of a device, within the limits of this process, which are those told in `cgroup`."""
    if device.type == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info(device)
        # What PyTorch holds on to and does not use is free to us, but for what graphs compute in.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return Memory(total=total, free=free + kept - _held_by_graphs(device))
    found = psutil.virtual_memory()
    own = _memory_of_container(cgroup)
    if own is None:
        return Memory(total=found.total, free=found.available)
    return Memory(total=min(found.total, own.total), free=min(found.available, own.free))


def _held_by_graphs(device: "torch.device") -> int:
    """The bytes that CUDA graphs compute in when they are repeated, and nothing else can use."""
    import torch

    if torch.cuda.get_allocator_backend() != "native":
        # Another allocator does not tell.
        return 0
    number = torch.cuda.current_device() if device.index is None else device.index
    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
        if segment.get("device", number) == number
        and tuple(segment["segment_pool_id"]) != _SHARED_POOL
    )


def tile_px(height: int, width: int, profile: BackboneProfile, memory: Memory) -> int | None:
    """The side of the tiles for a picture; None if it goes through the network as a whole."""
    fits = profile.bytes_per_px * height * width <= _MAX_PASS_SHARE * memory.total
    return None if fits or profile.margin_px is None else TILE_PX


def whole_style_px(profile: BackboneProfile, memory: Memory) -> int | None:
    """How many pixels of a style may go through the network as a whole; None if it cannot be cut."""
    if profile.margin_px is None:
        return None
    return int(_MAX_PASS_SHARE * memory.total / (_STYLE_SHARE * profile.bytes_per_px))


def style_tile_px(height: int, width: int, tile: int | None, whole_px: int | None) -> int | None:
    """The side of the tiles for a style, whose picture has `tile` and of which `whole_px` may go whole.

    By its own size: with `style_scale` it may be many times as large as the picture.
    """
    if tile is None and whole_px is not None and height * width > whole_px:
        return TILE_PX
    return tile


def bytes_per_picture(
    height: int, width: int, profile: BackboneProfile, multiplied_in: Precision, tile: int | None
) -> int:
    """The memory that one picture of a batch needs during the optimisation.

    What is multiplied in float32 takes as much whatever the format of features is.
    """
    bytes_of_pass = _bytes_of_pass(height, width, profile, multiplied_in, tile)
    return int(bytes_of_pass + height * width * _OPTIMIZER_BYTES_PER_PX)


def bytes_of_styles(
    sizes: Sequence[tuple[int, int]],
    profile: BackboneProfile,
    multiplied_in: Precision,
    tile: int | None,
    whole_px: int | None,
) -> int:
    """The memory that it takes to look at styles, [height, width] each, one after the other.

    `tile` and `whole_px` are as in `style_tile_px`.
    """
    passes = (
        _STYLE_SHARE
        * _bytes_of_pass(*size, profile, multiplied_in, style_tile_px(*size, tile, whole_px))
        for size in sizes
    )
    held = sum(height * width for height, width in sizes) * _STYLE_BYTES_PER_PX
    return int(max(passes, default=0) + held)


def _bytes_of_pass(
    height: int, width: int, profile: BackboneProfile, multiplied_in: Precision, tile: int | None
) -> float:
    """What one pass there and back takes."""
    pass_px = height * width
    if tile is not None:
        outer = tile + 3 * (profile.margin_px or 0)
        pass_px = min(height, outer) * min(width, outer)
    share = _BFLOAT16_SHARE if multiplied_in == "bfloat16" else 1
    return pass_px * profile.bytes_per_px * share


def pictures_at_once(bytes_each: int, memory: Memory, *, at_most: int | None) -> int:
    """How many pictures fit, 0 for none.

    `at_most` is None where they share a pass, and otherwise how many are painted side by side.
    """
    free = int(memory.free * _MAX_BATCH_SHARE)
    if at_most is None:
        return free // bytes_each
    if at_most < 1 or free < bytes_each:
        return 0
    return min(at_most, 1 + (free - bytes_each) // (bytes_each + BESIDE_BYTES))


def _memory_of_container(root: Path) -> Memory | None:
    """The memory of this process's container, if it has a limit."""
    for files in _CGROUPS:
        limit, used = _number_in(root / files.limit), _number_in(root / files.used)
        if limit is None or used is None or limit >= _NO_LIMIT:
            continue
        told = _told_in(root / files.stat)
        # Inputs that were read and pictures that were written count as used until others need the room,
        # so that after a while a container seems to be full.
        cached = sum(told.get(name, 0) for name in files.cached)
        held = max(used - cached, told.get(files.anonymous, 0))
        return Memory(total=limit, free=max(0, limit - held))
    return None


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _told_in(path: Path) -> dict[str, int]:
    """The lines of a file that are a name and a number; none where it cannot be read."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError):
        return {}
    pairs = (line.split() for line in lines)
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
