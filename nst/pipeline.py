"""The steps of a run, which the command line and the flow both call."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, TypeAlias

from nst import output, storage
from nst.audit import clean, verify
from nst.errors import (
    ConfigError,
    NSTError,
    RunEndedError,
    StorageError,
    TooManyFailedError,
    ends_the_run,
)
from nst.gallery import gallery_folder, publish, rebuild_gallery
from nst.manifest import check_urls, read_manifest
from nst.output import Outcome, read_metadata
from nst.painting import usable_weights
from nst.planning import (
    Estimate,
    Group,
    Plan,
    estimate,
    in_portions,
    plan_rows,
)
from nst.running import (
    GroupReport,
    Lanes,
    Listener,
    Listeners,
    NoListener,
    PortionReport,
    RunReport,
    as_before,
    max_failed,
    runs,
    write_metadata,
)
from nst.settings import Precision, RunSettings
from nst.storage import ScratchFile, release_memory

__all__ = [
    "Painter",
    "as_before",
    "check",
    "clean",
    "estimated",
    "finish",
    "gallery_folder",
    "in_portions",
    "make_plan",
    "make_thumbnails",
    "painter",
    "plan_rows",
    "read_manifest",
    "rebuild_gallery",
    "run",
    "run_group",
    "run_groups",
    "run_manifest",
    "run_portion",
    "run_portions",
    "usable_weights",
    "verify",
    "why_it_ended",
]

_log = logging.getLogger(__name__)

# torch and torchvision take seconds to import, which a plan or a gallery need not wait for, so
# they are imported by the functions that do need them.

# What every machine has, so that nothing need be asked.
_ANYWHERE = ("auto", "cpu")

Portion: TypeAlias = tuple[Group, ...]
RunGroup = Callable[[Group, RunSettings, Listener], GroupReport]


def check(manifest: str, settings: RunSettings, *, paints_here: bool = True) -> None:
    """Raises ConfigError for a URL that may not be opened, a path that hangs on the folder, and a
    device that this machine does not have, unless it is others that paint.

    Before anything else has seen them, Prefect's database too: there may be credentials in a URL. A
    worker runs in a temporary folder, to which a relative path would lead what it writes.
    """
    check_urls(manifest, settings)
    for uri in (manifest, settings.output):
        if not storage.is_same_anywhere(uri):
            raise ConfigError(f"expected an absolute path or a URL, found {uri!r}")
    if paints_here and settings.device not in _ANYWHERE:
        from nst.painting import resolve_devices

        resolve_devices(settings.device)


def make_plan(
    manifest_uri: str,
    settings: RunSettings,
    overrides: Mapping[str, Any] | None = None,
    *,
    download: bool = True,
    resume: bool = True,
) -> Plan:
    """`plan_rows` of `read_manifest`."""
    rows = read_manifest(manifest_uri, settings, overrides)
    return plan_rows(rows, settings, download=download, resume=resume)


def estimated(plan: Plan, settings: RunSettings) -> Estimate | None:
    """What the groups of a plan will take here, by a probe of a second or so; None where it fails.

    Raises ConfigError for a device that this machine does not have.
    """
    from nst.running import probe

    try:
        found = probe(settings.device, settings.precision)
    except RuntimeError as exc:
        # A GPU that others fill is no reason to tell nothing of the plan.
        _log.warning("no estimate: the probe of %s failed: %s", settings.device, exc)
        return None
    return estimate(plan.groups, found)


def make_thumbnails(url: str) -> int:
    """Make the thumbnails that the pictures of an output lack; of how many they were made."""
    from nst.output import make_missing

    return make_missing(url, read_metadata(url))


def run_group(group: Group, settings: RunSettings, listener: Listener | None = None) -> GroupReport:
    """Make and write the pictures of a group in this process; see `nst.running.batch.run_group`."""
    from nst.running import batch

    return batch.run_group(group, settings, listener or NoListener())


def _precision_here(device: str) -> Precision:
    from nst.painting import resolve_devices, resolve_precision

    return resolve_precision("auto", *resolve_devices(device))


@dataclass(frozen=True, slots=True)
class Painter:
    """What runs groups, from as many threads at a time as it has lanes.

    Closed, it ends those that are under way, and runs no more. `precision` says what all of its lanes
    take for `auto` on the devices of a choice.
    """

    run_group: RunGroup
    num_lanes: Callable[[], int] = lambda: 1
    close: Callable[[], None] = lambda: None
    precision: Callable[[str], Precision] = _precision_here


@contextmanager
def painter(settings: RunSettings) -> Iterator[Painter]:
    """In processes of their own that are watched, one for each lane, or with `isolate` off here."""
    if not settings.isolate:
        yield Painter(run_group)
        return
    lanes = Lanes(settings)
    try:
        yield Painter(lanes.run_group, lanes.num_lanes, lanes.close, lanes.precision)
    finally:
        lanes.close()


def run_manifest(
    manifest: str,
    settings: RunSettings,
    overrides: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
) -> RunReport:
    """The whole of a run, without Prefect: manifest in; pictures, metadata and gallery out.

    Raises ManifestError or ConfigError before anything is made, and StorageError where a store is
    out of order; what is finished by then is kept, and another run goes on from there.
    """
    overrides = overrides or {}
    with painter(settings) as by:
        rows = read_manifest(manifest, settings, overrides)
        with runs.opened(manifest, settings, overrides) as this:
            this.plan = plan_rows(rows, this.settings)
            settled = this.settled(lambda: by.precision(settings.device))
            this.report = run(this.plan, settled, listener, by=by, check=this.lease.check)
            return this.report


def run(
    plan: Plan,
    settings: RunSettings,
    listener: Listener | None = None,
    *,
    by: Painter | None = None,
    check: Callable[[], None] = lambda: None,
) -> RunReport:
    """All groups of a plan, as many at a time as there are lanes, then metadata and gallery.

    A group that ends early does not stop the others, and its rows are failed in the report; but a
    store that is out of order does: StorageError. `check` is called before each group and before each
    write at the end.
    More failed rows than the settings allow end all groups, and those not made fail as well.
    """
    failed = FailedRows(plan, settings)
    told = Listeners(failed, listener or NoListener())

    def check_both() -> None:
        check()
        failed.check()

    told.planned(plan)
    try:
        errors = run_groups(plan.groups, settings, told, by=by, check=check_both)
    except TooManyFailedError as exc:
        errors = {group.name: str(exc) for group in plan.groups}
    check()
    return finish(plan, settings, errors, check)


def finish(
    plan: Plan,
    settings: RunSettings,
    errors: Mapping[str, str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> RunReport:
    """Write the metadata and the gallery of what is there, and report every row.

    `errors` are what ended groups before all of their pictures were made, by the group's name.
    `check` is called right before each write and deletion, and what it raises ends this. Raises
    CredentialError where the gallery is refused, by when all else is written.
    """
    release_memory()
    # Of a million rows it is more than should be in memory at once.
    with ScratchFile() as table:
        ended = write_metadata(table, plan, settings, errors or {}, check)
        release_memory()
        gallery_url = publish(settings.output, table, check=check)
    return RunReport(
        num_rows=len(plan.jobs),
        num_ok=len(plan.jobs) - ended.failed_by_reason.total(),
        num_done_before=ended.num_done_before,
        failed_by_reason=ended.failed_by_reason,
        failed=tuple(ended.failed),
        examples=tuple(ended.examples),
        gallery_url=gallery_url,
        metadata_url=storage.join(settings.output, output.METADATA),
    )


def fails(report: RunReport, settings: RunSettings) -> bool:
    """Whether more rows failed than the settings allow."""
    allowed = max_failed(settings.fail_over, report.num_rows)
    return allowed is not None and report.num_failed > allowed


class FailedRows(NoListener):
    """Counts the rows that failed: those of the plan, and those that are told of."""

    def __init__(self, plan: Plan, settings: RunSettings) -> None:
        self._num_failed = len(plan.failed)
        self._allowed = max_failed(settings.fail_over, len(plan.jobs))

    def check(self) -> None:
        """Raises TooManyFailedError where more failed than the settings allow."""
        if self._allowed is not None and self._num_failed > self._allowed:
            raise TooManyFailedError(
                f"{self._num_failed} rows have failed, more than the {self._allowed} that "
                "--fail-over allows; the others were not made; correct those rows, or allow more"
            )

    def recorded(self, group: Group, outcome: Outcome) -> None:
        self._num_failed += outcome.status == "failed"


def run_groups(
    groups: Sequence[Group],
    settings: RunSettings,
    listener: Listener,
    *,
    by: Painter | None = None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, str]:
    """Run groups; what ended some of them early, by their names. Raises as `run` does."""
    by = by or Painter(run_group)

    def run_it(portion: Portion) -> Mapping[str, str]:
        return run_portion(portion, settings, listener, by=by, check=check).errors

    return run_portions(in_portions(groups, len(groups)), run_it, by=by)


def run_portion(
    portion: Portion,
    settings: RunSettings,
    listener: Listener,
    *,
    by: Painter,
    check: Callable[[], None] = lambda: None,
) -> PortionReport:
    """Run groups one after the other, and `check` before each. Raises as `run` does."""
    reports: list[GroupReport] = []
    errors: dict[str, str] = {}
    for group in portion:
        check()
        try:
            reports.append(by.run_group(group, settings, listener))
        except RunEndedError:
            raise
        except Exception as exc:
            errors[group.name] = why_it_ended(group, exc)
    return PortionReport(
        num_made=sum(report.num_made for report in reports),
        num_failed=sum(report.num_failed for report in reports),
        errors=errors,
    )


def run_portions(
    portions: Sequence[Portion],
    run_it: Callable[[Portion], Mapping[str, str]],
    *,
    by: Painter,
) -> dict[str, str]:
    """Have `run_it` run portions, as many at a time as `by` has lanes; what they return, together."""
    num_lanes = min(by.num_lanes(), len(portions)) if len(portions) > 1 else 1
    if num_lanes > 1:
        return _side_by_side(portions, run_it, by, num_lanes)
    errors: dict[str, str] = {}
    for portion in portions:
        errors |= run_it(portion)
    return errors


def _side_by_side(
    portions: Sequence[Portion],
    run_it: Callable[[Portion], Mapping[str, str]],
    by: Painter,
    num_lanes: int,
) -> dict[str, str]:
    """As `run_portions`, in so many threads. What ends one of them ends all other lanes."""
    errors: dict[str, str] = {}
    running: set[Future[Mapping[str, str]]] = set()

    def gather() -> None:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            running.remove(future)
            errors.update(future.result())

    with ThreadPoolExecutor(num_lanes, "lane") as pool:
        try:
            for portion in portions:
                if len(running) == num_lanes:
                    gather()
                # Whoever calls may have set variables of a context, as Prefect does.
                running.add(pool.submit(copy_context().run, run_it, portion))
            while running:
                gather()
        except BaseException:
            # Before this is left: a thread would be waited for however long its group takes.
            by.close()
            raise
    return errors


def why_it_ended(group: Group, error: Exception) -> str:
    """What to tell of a group that `error` ended; raises StorageError where it ends the run."""
    if ends_the_run(error):
        raise StorageError(
            f"{error}\nWhat is finished is kept; run the same again to make the rest"
        ) from error
    # The last line of defence: hours of other groups must not go with this one.
    is_ours = isinstance(error, NSTError)
    _log.log(
        logging.WARNING if is_ours else logging.ERROR,
        "group %s ended early: %s",
        group.name,
        error,
        exc_info=None if is_ours else error,
    )
    return str(error) if is_ours else f"{type(error).__name__}: {error}"
