"""A plan in words, line by line: in full where it is short, summed up where it is long."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from nst.output import Outcome
from nst.planning import Estimate, Group, GroupEstimate, Plan
from nst.sampling import Sample
from nst.wording import counted, shown_bytes, shown_duration

# Plans of more rows are summed up.
MAX_IN_FULL = 50
_MAX_KINDS = 20


def lines(plan: Plan, estimate: Estimate | None, downloaded: Collection[str] = ()) -> Iterator[str]:
    """What a run of this plan would do; `downloaded` are backbones whose weights it would download.

    At most some hundred lines, however many rows there are.
    """
    waiting = {job.id for job in plan.jobs if job.backbone in downloaded}
    waiting &= {each.id for each in plan.failed if _is_for_download(each)}
    is_long = len(plan.jobs) > MAX_IN_FULL
    yield f"{counted(len(plan.jobs), 'row')}: {_summary(plan, len(waiting))}"
    if estimate is not None:
        yield _estimate_summary(estimate)
    yield from (_kinds if is_long else _groups)(plan.groups, estimate)
    if not is_long:
        yield from _ids("already done", plan.done)
        yield from _ids("to encode in another format", [job.id for job in plan.to_encode])
    yield from _waiting(plan, waiting, is_long=is_long)
    yield from _impossible(plan, waiting, most=5 if is_long else MAX_IN_FULL)
    if is_long:
        yield "  nst plan --json lists every picture"


def sample_lines(sample: Sample, num_pictures: int, hourly_price: float) -> Iterator[str]:
    """What a sample of a plan of so many pictures looks like, and what it says of the rest."""
    report = sample.report
    expected = (
        "" if sample.estimated_s is None else f", of {shown_duration(sample.estimated_s)} expected"
    )
    yield (
        f"Sample: {report.num_ok} of {counted(report.num_rows, 'picture')} painted small in "
        f"{shown_duration(sample.wall_s)}{expected}"
    )
    for record in report.failed:
        yield f"    {record.outcome.id} failed, {record.outcome.reason}: {record.outcome.error}"
    yield f"Gallery of the sample: {report.gallery_url}"
    if sample.rest_s is not None and report.num_ok:
        cost = f", for {sample.rest_s / 3600 * hourly_price:.2f}" if hourly_price else ""
        yield (
            f"All {counted(num_pictures, 'picture')} in their size: about "
            f"{shown_duration(sample.rest_s)}{cost}, by the speed of the sample"
        )


def _is_for_download(outcome: Outcome) -> bool:
    """Whether a row lacks nothing but weights that a run gets, not those that are there and unusable."""
    return outcome.reason == "weights_unavailable" and "not here yet" in (outcome.error or "")


def _summary(plan: Plan, num_waiting: int) -> str:
    parts = [f"{counted(plan.num_pictures_to_make, 'picture')} to make"]
    if num_waiting:
        parts.append(f"{num_waiting} to make once a run has downloaded weights")
    parts.append(f"{len(plan.done)} already done")
    if plan.to_encode:
        parts.append(f"{len(plan.to_encode)} to encode in another format, not to paint")
    if len(plan.failed) > num_waiting:
        parts.append(f"{len(plan.failed) - num_waiting} that cannot run")
    return ", ".join(parts)


def _estimate_summary(estimate: Estimate) -> str:
    where = "this CPU" if estimate.device == "cpu" else estimate.device
    # VGG-16 was measured here just now, the others relative to it elsewhere.
    ratios = "" if estimate.device == "cpu" else "; backbones relative to vgg16 as on a CPU"
    about = "at most about" if estimate.is_upper_bound else "about"
    return (
        f"{about} {shown_duration(estimate.seconds)} on {where}, {shown_bytes(estimate.memory_bytes)} "
        f"(an estimate, if nothing else runs on it{ratios})"
    )


def _by_name(estimate: Estimate | None) -> Mapping[str, GroupEstimate]:
    return {one.name: one for one in estimate.groups} if estimate is not None else {}


def _groups(groups: Sequence[Group], estimate: Estimate | None) -> Iterator[str]:
    """Every group with its pictures."""
    found = _by_name(estimate)
    for group in groups:
        yield (
            f"  group {group.name}: {_kind(group)}, {counted(len(group.jobs), 'picture')}"
            f"{_needs([found[group.name]]) if group.name in found else ''}"
        )
        for planned in group.jobs:
            yield f"    {planned.job.id}"


def _kinds(groups: Sequence[Group], estimate: Estimate | None) -> Iterator[str]:
    """What groups have in common, with the sums of those that have the same."""
    found = _by_name(estimate)
    members: dict[str, list[Group]] = {}
    for group in groups:
        members.setdefault(_kind(group), []).append(group)
    for kind, some in list(members.items())[:_MAX_KINDS]:
        needs = [found[group.name] for group in some if group.name in found]
        pictures = counted(sum(len(group.jobs) for group in some), "picture")
        yield (
            f"  {kind}: {pictures} in {counted(len(some), 'group')}{_needs(needs) if needs else ''}"
        )
    if len(members) > _MAX_KINDS:
        others = [group for some in list(members.values())[_MAX_KINDS:] for group in some]
        pictures = counted(sum(len(group.jobs) for group in others), "picture")
        yield f"  {len(members) - _MAX_KINDS} other kinds: {pictures}"


def _kind(group: Group) -> str:
    return f"{group.backbone}, {group.height} x {group.width} px, {group.steps} steps"


def _needs(found: Sequence[GroupEstimate]) -> str:
    more = "" if all(one.fits for one in found) else ", which is more than is free now"
    seconds = sum(one.seconds for one in found)
    memory = max(one.memory_bytes for one in found)
    return f", about {shown_duration(seconds)}, {shown_bytes(memory)}{more}"


def _ids(head: str, ids: Sequence[str]) -> Iterator[str]:
    if ids:
        yield f"  {head}"
        yield from (f"    {each}" for each in ids)


def _waiting(plan: Plan, ids: Collection[str], *, is_long: bool) -> Iterator[str]:
    """The rows whose weights are not here yet, by backbone."""
    jobs = list({job.id: job for job in plan.jobs if job.id in ids}.values())
    for backbone, number in Counter(job.backbone for job in jobs).items():
        yield f"  {backbone}: {counted(number, 'picture')}; a run downloads its weights first"
        if not is_long:
            yield from (f"    {job.id}" for job in jobs if job.backbone == backbone)


def _impossible(plan: Plan, waiting: Collection[str], *, most: int) -> Iterator[str]:
    """The rows that cannot run, under the reason that they share."""
    failed = {each.id: each.error or "" for each in plan.failed if each.id not in waiting}
    by_error: dict[str, list[str]] = {}
    for job in plan.jobs:
        if job.id in failed:
            by_error.setdefault(failed[job.id], []).append(f"    row {job.row}, {job.id}")
    for error, rows in list(by_error.items())[:_MAX_KINDS]:
        yield f"{counted(len(rows), 'row')} cannot run as things are: {error}"
        yield from rows[:most]
        if len(rows) > most:
            yield f"    and {len(rows) - most} more"
    if len(by_error) > _MAX_KINDS:
        rest = sum(len(rows) for rows in list(by_error.values())[_MAX_KINDS:])
        yield f"{counted(rest, 'row')} more cannot run, for {len(by_error) - _MAX_KINDS} other reasons"
    if by_error:
        yield "A run fails these rows, makes the others, and ends with exit status 3"
