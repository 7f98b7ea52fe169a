"""The steps of a run, which the command line and the flow both call."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from nst import records, runs, storage
from nst.audit import clean, verify
from nst.errors import ConfigError, NSTError, StorageError, ends_the_run
from nst.finish import finish, gallery_folder, read_metadata, rebuild_gallery
from nst.plan import Group, Plan, PlannedJob
from nst.prepare import check_urls, make_plan, plan_rows, read_manifest, usable_weights
from nst.reports import GroupReport, Listener, NoListener, RunReport
from nst.settings import RunSettings
from nst.supervisor import supervised

__all__ = [
    "check",
    "clean",
    "finish",
    "gallery_folder",
    "make_plan",
    "make_thumbnails",
    "painter",
    "plan_rows",
    "read_manifest",
    "rebuild_gallery",
    "remaining",
    "run",
    "run_group",
    "run_manifest",
    "usable_weights",
    "verify",
    "why_it_ended",
]

_log = logging.getLogger(__name__)

# torch and torchvision take seconds to import, which a plan or a gallery need not wait for, so
# they are imported by the functions that do need them.

# What every machine has, so that nothing need be asked.
_ANYWHERE = ("auto", "cpu")

RunGroup = Callable[[Group, RunSettings, Listener], GroupReport]


def check(manifest: str, settings: RunSettings) -> None:
    """Raises ConfigError for a URL that may not be opened, a path that hangs on the folder, and a
    device that this machine does not have.

    Before anything else has seen them, Prefect's database too: there may be credentials in a URL. A
    worker runs in a temporary folder, to which a relative path would lead what it writes.
    """
    check_urls(manifest, settings)
    for uri in (manifest, settings.output):
        if not storage.is_same_anywhere(uri):
            raise ConfigError(f"expected an absolute path or a URL, found {uri!r}")
    if settings.device not in _ANYWHERE:
        from nst.devices import resolve_device

        resolve_device(settings.device)


def make_thumbnails(url: str) -> int:
    """Make the thumbnails that the pictures of an output lack; of how many they were made."""
    from nst.thumbnails import make_missing

    return make_missing(url, read_metadata(url))


def run_group(group: Group, settings: RunSettings, listener: Listener | None = None) -> GroupReport:
    """Make and write the pictures of a group in this process; see `nst.batch.run_group`."""
    from nst import batch

    return batch.run_group(group, settings, listener or NoListener())


@contextmanager
def painter(settings: RunSettings) -> Iterator[RunGroup]:
    """What runs groups: in a process of its own that is watched, or with `isolate` off in this one."""
    if not settings.isolate:
        yield run_group
        return
    with supervised() as supervisor:
        yield supervisor.run_group


def remaining(group: Group, settings: RunSettings) -> Group:
    """The jobs of a group that it has not recorded yet, for another try at it."""
    made = records.read(settings.output).made

    def is_recorded(one: PlannedJob) -> bool:
        found = made.brief(one.job.id)
        return found is not None and found.key == one.key and found.finished_at != one.outdated

    return replace(group, jobs=tuple(one for one in group.jobs if not is_recorded(one)))


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
    with painter(settings) as paint:
        rows = read_manifest(manifest, settings, overrides)
        with runs.opened(manifest, settings, overrides) as this:
            this.plan = plan_rows(rows, settings)
            this.report = run(this.plan, settings, listener, paint=paint, check=this.lease.check)
            return this.report


def run(
    plan: Plan,
    settings: RunSettings,
    listener: Listener | None = None,
    *,
    paint: RunGroup = run_group,
    check: Callable[[], None] = lambda: None,
) -> RunReport:
    """All groups of a plan one after the other, then metadata and gallery.

    A group that ends early does not stop the others, and its rows are failed in the report; but a
    store that is out of order does: StorageError. `check` is called before each group and at the end.
    """
    listener = listener or NoListener()
    listener.planned(plan)
    errors: dict[str, str] = {}
    for group in plan.groups:
        check()
        try:
            paint(group, settings, listener)
        except Exception as exc:
            errors[group.name] = why_it_ended(group, exc)
    check()
    return finish(plan, settings, errors)


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
