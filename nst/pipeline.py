"""The three steps of a run, which the command line and the flow both call."""

import logging

from nst import storage
from nst.errors import ConfigError, NSTError
from nst.finish import finish, rebuild_gallery
from nst.plan import Group, Plan
from nst.prepare import make_plan, usable_weights
from nst.reports import GroupReport, Listener, NoListener, RunReport
from nst.settings import RunSettings

__all__ = [
    "check",
    "finish",
    "make_plan",
    "rebuild_gallery",
    "run",
    "run_group",
    "usable_weights",
]

_log = logging.getLogger(__name__)

# torch and torchvision take seconds to import, which a plan or a gallery need not wait for, so
# they are imported by the functions that do need them.


def check(manifest: str, settings: RunSettings) -> None:
    """Raises ConfigError where this machine has no such device, or a path hangs on the folder.

    A worker runs in a temporary folder, to which a relative path would lead what it writes.
    """
    from nst.devices import resolve_device

    for uri in (manifest, settings.output):
        if not storage.is_same_anywhere(uri):
            raise ConfigError(f"expected an absolute path or a URL, found {uri!r}")
    resolve_device(settings.device)


def run_group(group: Group, settings: RunSettings, listener: Listener | None = None) -> GroupReport:
    """Make and write the pictures of a group; see `nst.batch.run_group`."""
    from nst import batch

    return batch.run_group(group, settings, listener or NoListener())


def run(plan: Plan, settings: RunSettings, listener: Listener | None = None) -> RunReport:
    """All groups of a plan one after the other, without Prefect.

    A group that an error ends does not stop the others; its rows are failed in the report.
    """
    listener = listener or NoListener()
    listener.planned(plan)
    errors: dict[str, str] = {}
    for group in plan.groups:
        try:
            run_group(group, settings, listener)
        except Exception as exc:
            # The last line of defence: hours of other groups must not go with this one.
            _log.log(
                logging.WARNING if isinstance(exc, NSTError) else logging.ERROR,
                "group %s ended early: %s",
                group.name,
                exc,
                exc_info=not isinstance(exc, NSTError),
            )
            errors[group.name] = f"{type(exc).__name__}: {exc}"
    return finish(plan, settings, errors)
