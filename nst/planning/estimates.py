"""The time and memory that a plan's groups need, computed from a probe's measurements.

An estimate, not a promise. It assumes that every picture makes all of its evaluations, that styles take
no longer than those as large as their pictures, and that nothing else runs. Compared with runs of three
rows of 12 steps on one thread of a Xeon, it said 10.5 s for 9.7 s of the processor at 128 px and 22.1 s
for 23.9 s at 256 px. Single evaluations of VGG-16 came within 9% up to 256 px; at 384 and 512 px it has
0.83 and 0.68 of what they took, on a machine whose caches others shared. On GPUs it
has not been compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nst.painting import Memory, memory, tiles
from nst.planning.plan import Group, PlannedJob
from nst.profiles import PROFILES
from nst.scales import scales_of
from nst.settings import Precision

# What a picture takes besides its steps, in evaluations: the features of its inputs, its metrics.
_EVALUATIONS_PER_PICTURE = 3.0
# Until the first picture is begun: a process, its libraries, the weights.
_START_S = 5.0
# How much faster n threads paint a picture than one: n to this power, 1.4 times for two, as at 256 px on
# an AMD EPYC. Beyond two it is an assumption. Whole runs of pictures side by side gained 1.28 times.
THREADS_POWER = 0.5
# What the processes of a run hold on a CPU besides a picture: of the 1.55 GB that one of 256 px was
# measured to take, 0.15 GB are its own.
_CPU_BASE_BYTES = 1_400_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A device's memory, and its measured time for an evaluation of VGG-16.

    The time is `evaluation_s`, however small the pictures, and `pixel_s` for each of their pixels.
    `name` is what people call the device; `multiplied_in` is the format that convolutions multiply in
    where that of features is `precision`. `together` says whether a batch goes through it at once.
    Elsewhere so many pictures are painted side by side as there are `threads`, which is 1 but on a CPU;
    the times are those of a picture that has all of them.
    """

    device: str
    name: str
    precision: Precision
    multiplied_in: Precision
    evaluation_s: float
    pixel_s: float
    memory: Memory
    together: bool
    threads: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEstimate:
    """For one group: seconds, bytes of the device's memory, and pictures that are painted at once.

    `fits` is whether the device had as much free for even one of them.
    """

    name: str
    seconds: float
    memory_bytes: int
    pictures_at_once: int
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """For a whole plan, including the start; `memory_bytes` is the highest of all groups.

    `is_upper_bound` is whether some pictures have a tolerance and so may stop early.
    """

    device: str
    precision: Precision
    seconds: float
    memory_bytes: int
    is_upper_bound: bool
    groups: tuple[GroupEstimate, ...]


def estimate(groups: Sequence[Group], probe: Probe) -> Estimate:
    """The time and memory of a plan's groups on the probed device, one group after the other."""
    each = tuple(_of_group(group, probe) for group in groups)
    return Estimate(
        device=probe.name,
        precision=probe.precision,
        seconds=_START_S + sum(one.seconds for one in each) if each else 0.0,
        memory_bytes=max((one.memory_bytes for one in each), default=0),
        is_upper_bound=any(one.job.params.tolerance > 0 for group in groups for one in group.jobs),
        groups=each,
    )


def _of_group(group: Group, probe: Probe) -> GroupEstimate:
    profile = PROFILES[group.backbone]
    tile = memory.tile_px(group.height, group.width, profile, probe.memory)
    bytes_each = memory.bytes_per_picture(
        group.height, group.width, profile, probe.multiplied_in, tile
    )
    whole_px = memory.whole_style_px(profile, probe.memory)
    bytes_alone = max(
        bytes_of_job(planned, bytes_each, probe.multiplied_in, tile, whole_px)
        for planned in group.jobs
    )
    together = probe.together and tile is None
    is_alone = probe.multiplied_in == "bfloat16" and profile.depends_on_threads_in_bfloat16
    at_most = None if together else 1 if is_alone else probe.threads
    if not together:
        # Each may be looking at its styles just then; a batch looks at one after the other.
        bytes_each = bytes_alone
    fitting = memory.pictures_at_once(bytes_each, probe.memory, at_most=at_most)
    at_once = max(1, min(len(group.jobs), fitting))
    cost = profile.cost
    besides = 0
    if not together:
        # Each has a share of the threads, and they go on at the same time.
        cost *= at_once ** (THREADS_POWER - 1)
        besides = (at_once - 1) * memory.BESIDE_BYTES
    num = len(group.jobs)
    # A batch that is cut up waits for the device once for each part and step.
    num_passes = -(-num // at_once) if together else num
    scales = scales_of(group.height, group.width, group.jobs[0].job.params)
    evaluations_s = sum(
        scale.steps
        * (work.passes * num_passes * probe.evaluation_s + num * work.pixels * probe.pixel_s)
        for scale, work in zip(scales, tiles.work_of(scales, tile, profile.margin_px), strict=True)
    )
    others_s = _EVALUATIONS_PER_PICTURE * (
        num_passes * probe.evaluation_s + num * group.height * group.width * probe.pixel_s
    )
    return GroupEstimate(
        name=group.name,
        seconds=cost * (evaluations_s + others_s),
        memory_bytes=max(at_once * bytes_each, bytes_alone) + besides + _base_bytes(probe),
        pictures_at_once=at_once,
        fits=memory.pictures_at_once(bytes_alone, probe.memory, at_most=None) > 0,
    )


def bytes_of_job(
    planned: PlannedJob,
    bytes_painting: int,
    multiplied_in: Precision,
    tile: int | None,
    whole_style_px: int | None,
) -> int:
    """The memory that a job needs by itself: to paint it, or to look at its styles if that is more."""
    looking = memory.bytes_of_styles(
        planned.style_sizes, PROFILES[planned.job.backbone], multiplied_in, tile, whole_style_px
    )
    return max(bytes_painting, looking)


def _base_bytes(probe: Probe) -> int:
    """The memory of the libraries; on a GPU it is not counted, since the driver decides it."""
    return _CPU_BASE_BYTES if probe.device == "cpu" else 0
