"""A run as a whole: it holds its output alone, checks that it can write there, and keeps run.json."""

import importlib.metadata
import json
import logging
import os
import platform
import secrets
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from nst import __version__, output, storage
from nst import manifest as manifests
from nst.errors import ConfigError, NSTError, RunEndedError, StorageError
from nst.job import ENGINE_VERSION, LAST_ENGINE_OF_ONE_METHOD, METHOD_ONCE, size_text
from nst.output import manifests_before, read_account, records
from nst.planning import Plan
from nst.redaction import redacted
from nst.running import lease
from nst.running.lease import Lease
from nst.running.reports import RunReport
from nst.running.standing import Standings, told_of
from nst.settings import SETTING_FIELDS, Precision, RunSettings, option_name, settings_of

SCHEMA_VERSION = 1

State = Literal["running", "finished", "interrupted", "stopped"]

# What a picture looks like follows from these and its row; the rest is how a run goes. The account's
# precision is what was computed in, and that among its settings what was asked for, mostly `auto`.
_DECIDING = ("overrides", "image_format", "precision")
_NOT_TOLD_TWICE = ("output", "overrides", "image_format")
_PACKAGES = ("torch", "torchvision", "pillow", "pyarrow", "fsspec", "s3fs", "prefect")

_log = logging.getLogger(__name__)


class Interrupted(BaseException):
    """A signal asked this process to stop. It is not an Exception, so no handler of errors catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass(slots=True, kw_only=True)
class Run:
    """A run in progress. The caller sets its plan and its report.

    The precision in its settings stays `auto` until it is decided. `bound_by` is what run.json says
    of the settings that bind the output until this run is about to change its pictures.
    `manifests_before` are those that had rows in the metadata when it began, None where that is not
    known.
    """

    lease: Lease
    settings: RunSettings
    account: Mapping[str, Any]
    bound_by: Mapping[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    report: RunReport | None = None
    has_lost_processes: bool = False
    standings: Standings = field(default_factory=Standings)
    manifests_before: tuple[str, ...] | None = None

    def settled(self, choose: Callable[[], Precision]) -> RunSettings:
        """The settings with the one precision of all pictures of this run.

        It is written into the output before the first picture, with all that binds the output from
        then on. `choose` is called if neither the user nor the output's pictures decide it, and there
        is a picture to make.
        """
        before = _settings_told(self)
        is_idle = self.plan is not None and not self.plan.groups
        if self.settings.precision == "auto" and not is_idle:
            self.settings = replace(self.settings, precision=choose())
        if self.plan is None or self.plan.groups or self.plan.to_encode or self.plan.done:
            # Where all rows fail, the pictures stay those of the settings before.
            self.bound_by = {}
        if _settings_told(self) != before:
            _write(self, "running")
        return self.settings


@contextmanager
def opened(manifest: str, settings: RunSettings, overrides: Mapping[str, Any]) -> Iterator[Run]:
    """Hold an output as its only run, and write into run.json what was run and how it ended.

    Raises ConfigError if another run is active, the pictures have other settings or the page is none
    of a gallery, and StorageError if the output cannot be written.
    """
    storage.check_writable(settings.output)
    output.check_page(settings.output)
    with lease.held(settings.output) as held:
        account = _account(manifest, settings, overrides)
        before = read_account(settings.output)
        # For the next run, if this one is killed before it has written the metadata.
        named = output.manifest_name(manifest, settings.output)
        if before is None and not storage.exists(storage.join(settings.output, output.METADATA)):
            # An output in which no manifest has rows yet.
            told: Mapping[str, Any] | None = {"manifests": []}
        else:
            told = before
        account |= manifests_before(told, named)
        was_cut_short = before is not None and before.get("state") != "finished"
        _sweep(settings.output, held, everywhere=held.took_over or was_cut_short)
        if before is not None:
            _check_records_are_listed(settings.output, before)
        made_with = _made_with(settings.output, before or {})
        if not settings.replace:
            _check_same_settings(
                settings.output, account, _in_todays_words(account, made_with, before)
            )
        run = Run(
            lease=held,
            settings=_with_precision(settings, made_with),
            account=account,
            bound_by=_bound_by(account, made_with, before),
        )
        if told is not None and "manifests" in account:
            run.manifests_before = tuple(told["manifests"])
        held.tell(lambda: told_of(run.standings.now()))
        _write(run, "running")
        try:
            yield run
        except Exception as exc:
            said = str(exc) if isinstance(exc, NSTError) else f"{type(exc).__name__}: {exc}"
            account["error"] = redacted(said)
            _write_if_possible(run, "stopped")
            raise
        except BaseException:
            # Ctrl-C, SIGTERM, or what Prefect makes of it.
            _write_if_possible(run, "interrupted")
            raise
        if run.has_lost_processes:
            _sweep_if_possible(settings.output, held)
        is_stopped = run.report is not None and run.report.stopped_by
        _write(run, "interrupted" if is_stopped else "finished")


def as_before(settings: RunSettings) -> RunSettings:
    """The settings with the precision of the output's pictures, as a run would use them."""
    before = read_account(settings.output) or {}
    return _with_precision(settings, _made_with(settings.output, before))


def told_settings(url: str, account: Mapping[str, Any]) -> tuple[RunSettings, Mapping[str, Any]]:
    """The settings of the run that wrote a run.json, and its overrides, but for what hides in them.

    Raises ConfigError for what no run has written.
    """
    given, overrides = account.get("settings"), account.get("overrides")
    if not isinstance(given, dict) or not isinstance(overrides, dict):
        raise ConfigError(f"{url}: expected a {output.RUN} with settings, found one without")
    known = {name: value for name, value in given.items() if name in SETTING_FIELDS}
    return settings_of(url, known), overrides


def _sweep_if_possible(url: str, held: Lease) -> None:
    """Remove what processes left that this run has lost, which takes no picture from anybody."""
    try:
        _sweep(url, held, everywhere=True)
    except NSTError as exc:
        _log.warning("temporary files may be left, which nst clean removes: %s", exc)


def _sweep(url: str, held: Lease, *, everywhere: bool) -> None:
    """Remove temporary files of killed processes.

    In the whole output if the last run may have been killed, otherwise only where every run writes first.
    """
    if everywhere:
        paths = list(output.list_output(url))
    else:
        paths = [
            *storage.list_sizes(url),
            *(f"{output.LOCKS}/{name}" for name in storage.list_sizes(f"{url}/{output.LOCKS}")),
        ]
    leftovers = [
        storage.join(url, path)
        for path in paths
        if storage.is_leftover(path) or output.is_transient(path)
    ]
    storage.delete_all(leftovers, check=held.check)


def _account(manifest: str, settings: RunSettings, overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "run": secrets.token_hex(8),
        "manifest": redacted(manifest),
        # As they are meant, whether they came as text or as numbers.
        "overrides": json.loads(json.dumps(manifests.parse_overrides(overrides))),
        "settings": {
            name: _redacted(value)
            for name, value in asdict(settings).items()
            if name not in _NOT_TOLD_TWICE
        },
        "image_format": settings.image_format,
        "precision": settings.precision,
        "versions": _versions(),
        "host": {
            "system": platform.platform(),
            "machine": platform.machine(),
            "num_cpus": os.cpu_count(),
        },
        "started_at": _now(),
    }


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redacted(value)
        case Mapping():
            return {name: _redacted(each) for name, each in value.items()}
        case list() | tuple():
            return [_redacted(each) for each in value]
        case _:
            return value


def _versions() -> dict[str, str]:
    """The versions of the packages, without importing them, which can take seconds."""
    found = {"nst": __version__, "engine": str(ENGINE_VERSION), "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _check_records_are_listed(url: str, before: Mapping[str, Any]) -> None:
    """Raises StorageError if the store lists no records, although an earlier run has written some.

    Otherwise a list that lags behind would look like an output in which nothing is done.
    """
    if before.get("num_ok") and records.is_empty(url):
        raise StorageError(
            f"{url}: expected the records of {before['num_ok']} pictures of an earlier run, found "
            f"none listed; run it again later, or if they were removed on purpose, remove "
            f"{output.RUN} as well"
        )


def _made_with(url: str, before: Mapping[str, Any]) -> dict[str, Any]:
    """The known settings that decided an output's pictures; empty if there are no pictures."""
    if not storage.list_sizes(storage.join(url, output.IMAGES)):
        return {}
    found = {name: before[name] for name in _DECIDING if name in before}
    precision = found.pop("precision", None)
    if precision not in get_args(Precision):
        # The release before this one put down none.
        precision = records.precision(url)
    return found | {"precision": precision} if precision in get_args(Precision) else found


def _bound_by(
    account: Mapping[str, Any], made_with: Mapping[str, Any], before: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """What a run says of its settings as long as the pictures are those of the runs before it.

    With the engine, by which `_in_todays_words` reads them.
    """
    versions = (before or {}).get("versions")
    if not made_with or not isinstance(versions, dict) or "engine" not in versions:
        return made_with
    return {**made_with, "versions": {**account["versions"], "engine": versions["engine"]}}


def _settings_told(run: Run) -> Mapping[str, Any]:
    """What run.json says of a run but how far it is."""
    return {**run.account, "precision": run.settings.precision, **run.bound_by}


def _with_precision(settings: RunSettings, made_with: Mapping[str, Any]) -> RunSettings:
    """The settings with `auto` replaced by the precision of the existing pictures."""
    if settings.precision != "auto" or "precision" not in made_with:
        return settings
    return replace(settings, precision=made_with["precision"])


def _in_todays_words(
    account: Mapping[str, Any], made_with: dict[str, Any], before: Mapping[str, Any] | None
) -> dict[str, Any]:
    """`made_with` as this run says it, where an earlier engine's only method has got a name since.

    So that `--set method=gatys` goes on with an output of a release in which there was no other.
    """
    versions = (before or {}).get("versions")
    engine = versions.get("engine") if isinstance(versions, dict) else None
    overrides = made_with.get("overrides")
    if str(engine) in map(str, range(LAST_ENGINE_OF_ONE_METHOD + 1)) and isinstance(
        overrides, dict
    ):
        named = {"method": METHOD_ONCE} | overrides
        if account["overrides"] == named:
            return made_with | {"overrides": named}
    return made_with


def _check_same_settings(
    url: str, account: Mapping[str, Any], made_with: Mapping[str, Any]
) -> None:
    """Raises ConfigError if this run would make pictures again because of other settings."""
    changed = [
        f"{_shown(name, before)} before and {_shown(name, account[name])} now"
        for name, before in made_with.items()
        # `auto` is whatever it was before.
        if account[name] not in (before, "auto")
    ]
    if changed:
        raise ConfigError(
            f"{url}: expected the settings that its pictures were made with, found "
            f"{'; '.join(changed)}; choose another output, or --replace to make them again"
        )


def _shown(setting: str, value: object) -> str:
    """A setting as it is typed."""
    if isinstance(value, dict):
        told = value | ({"size": size_text(value["size"])} if "size" in value else {})
        return " ".join(f"--set {name}={each}" for name, each in told.items()) or "no --set"
    return f"{option_name(setting)} {value}"


def _write(run: Run, state: State) -> None:
    """Write run.json. Raises RunEndedError if another run took over, whose run.json must stay."""
    ended = {} if state == "running" else {"ended_at": _now()}
    counts: dict[str, Any] = {}
    if run.plan is not None:
        counts["manifest_digest"] = run.plan.manifest_digest
        counts["num_rows"] = len(run.plan.jobs)
    if run.report is not None:
        counts["num_ok"] = run.report.num_ok
        counts["num_done_before"] = run.report.num_done_before
        counts["failed_by_reason"] = dict(run.report.failed_by_reason)
        if run.report.stopped_by:
            counts["stopped_by"] = run.report.stopped_by
    if state in ("stopped", "interrupted"):
        # Rows that were not reached are no failures yet, unlike in the report.
        counts["progress"] = told_of(run.standings.now())
    if run.report is not None and state == "finished":
        counts["manifests"] = list(run.report.manifests)
        counts["metadata_digest"] = run.report.metadata_digest
    whole = {**_settings_told(run), "state": state, **ended, **counts}
    if state == "finished":
        whole.pop("manifest_of_old_rows", None)
    if (
        state in ("stopped", "interrupted")
        and run.plan is None
        and run.manifests_before is not None
    ):
        # It was refused, or stopped before it could make a picture.
        whole["manifests"] = list(run.manifests_before)
    data = json.dumps(whole, indent=2).encode() + b"\n"
    run.lease.check()
    storage.write_bytes(storage.join(run.settings.output, output.RUN), data)


def _write_if_possible(run: Run, state: State) -> None:
    try:
        _write(run, state)
    except RunEndedError:
        # What ended the run says so itself, or it was over anyway.
        pass
    except NSTError as exc:
        _log.warning("%s", exc)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
