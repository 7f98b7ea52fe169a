"""A run as a whole: alone in its output, which takes what it writes, and with an account of itself."""

import importlib.metadata
import json
import logging
import os
import platform
import secrets
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from nst import __version__, lease, output, records, storage
from nst import manifest as manifests
from nst.errors import ConfigError, NotFoundError, NSTError, StorageError
from nst.job import ENGINE_VERSION
from nst.lease import Lease
from nst.plan import Plan
from nst.redaction import redacted
from nst.reports import RunReport
from nst.settings import RunSettings

SCHEMA_VERSION = 1

State = Literal["running", "finished", "interrupted", "stopped"]

# What a picture looks like follows from these and its row; the rest is how a run goes.
_DECIDING = ("overrides", "image_format")
_PACKAGES = ("torch", "torchvision", "pillow", "pyarrow", "fsspec", "s3fs", "prefect")

_log = logging.getLogger(__name__)


class Interrupted(BaseException):
    """A signal asked this process to stop; no error, so that nothing that fails alone catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass(slots=True)
class Run:
    """A run that goes on. Whoever makes its pictures tells it what it planned and how it ended."""

    lease: Lease
    plan: Plan | None = None
    report: RunReport | None = None


@contextmanager
def opened(manifest: str, settings: RunSettings, overrides: Mapping[str, Any]) -> Iterator[Run]:
    """Be the only run of an output from here on, and put down in it what was run and how it ended.

    Raises ConfigError where another run is there or other settings made its pictures, and
    StorageError where the output cannot be written.
    """
    storage.check_writable(settings.output)
    with lease.held(settings.output) as held:
        account = _account(manifest, settings, overrides)
        before = read_account(settings.output)
        was_cut_short = before is not None and before.get("state") != "finished"
        _sweep(settings.output, everywhere=held.took_over or was_cut_short)
        if before is not None:
            _check_same_settings(settings, account, before)
            _check_records_are_listed(settings.output, before)
        run = Run(held)
        _write(settings.output, account, "running", run)
        try:
            yield run
            held.check()
        except Exception as exc:
            said = str(exc) if isinstance(exc, NSTError) else f"{type(exc).__name__}: {exc}"
            account["error"] = redacted(said)
            _write_if_possible(settings.output, account, "stopped", run)
            raise
        except BaseException:
            # Ctrl-C, SIGTERM, or what Prefect makes of it.
            _write_if_possible(settings.output, account, "interrupted", run)
            raise
        _write(settings.output, account, "finished", run)


def _sweep(url: str, *, everywhere: bool) -> None:
    """Remove what a process that was killed has left of files that it was writing.

    Where one may have been killed at its work that is everywhere, else where runs begin.
    """
    if everywhere:
        paths = list(storage.list_tree(url))
    else:
        paths = [
            *storage.list_sizes(url),
            *(f"{output.LOCKS}/{name}" for name in storage.list_sizes(f"{url}/{output.LOCKS}")),
        ]
    leftovers = [
        storage.join(url, path)
        for path in paths
        if storage.is_leftover(path) or path.startswith(f"{output.SHARDS}/")
    ]
    storage.in_parallel(storage.delete, leftovers)


def read_account(output_url: str) -> dict[str, Any] | None:
    """What the last run of an output wrote of itself, or None where there was none."""
    uri = storage.join(output_url, output.RUN)
    try:
        account = json.loads(storage.read_bytes(uri))
    except NotFoundError:
        return None
    except ValueError as exc:
        _log.warning(
            "%s: expected what a run wrote of itself, ignoring what was found: %s", uri, exc
        )
        return None
    return account if isinstance(account, dict) else None


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
            if name not in ("output", *_DECIDING)
        },
        "image_format": settings.image_format,
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
    """Without importing anything, since some of these take seconds."""
    found = {"nst": __version__, "engine": str(ENGINE_VERSION), "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _check_records_are_listed(url: str, before: Mapping[str, Any]) -> None:
    """Raises StorageError where a store's list has nothing of what an earlier run recorded.

    A list that lags behind must not read as an output in which nothing is done.
    """
    if before.get("num_ok") and records.is_empty(url):
        raise StorageError(
            f"{url}: expected the records of {before['num_ok']} pictures of an earlier run, found "
            f"none listed; run it again later, or if they were removed on purpose, remove "
            f"{output.RUN} as well"
        )


def _check_same_settings(
    settings: RunSettings, account: Mapping[str, Any], before: Mapping[str, Any]
) -> None:
    """Raises ConfigError where this run would repaint what another painted with other settings."""
    if settings.replace:
        return
    if not storage.list_sizes(storage.join(settings.output, output.IMAGES)):
        return
    changed = [
        f"{name} {_shown(before[name])} before and {_shown(account[name])} now"
        for name in _DECIDING
        if name in before and before[name] != account[name]
    ]
    if changed:
        raise ConfigError(
            f"{settings.output}: expected the settings that its pictures were made with, found "
            f"{'; '.join(changed)}; choose another output, or --replace to paint them anew"
        )


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"--set {name}={each}" for name, each in value.items()) or "no --set"
    return str(value)


def _write(url: str, account: dict[str, Any], state: State, run: Run) -> None:
    ended = {} if state == "running" else {"ended_at": _now()}
    counts: dict[str, Any] = {}
    if run.plan is not None:
        counts["manifest_digest"] = run.plan.manifest_digest
        counts["num_rows"] = len(run.plan.jobs)
    if run.report is not None:
        counts["num_ok"] = run.report.num_ok
        counts["num_done_before"] = run.report.num_done_before
        counts["failed_by_reason"] = dict(run.report.failed_by_reason)
    whole = {**account, "state": state, **ended, **counts}
    data = json.dumps(whole, indent=2).encode() + b"\n"
    storage.write_bytes(storage.join(url, output.RUN), data)


def _write_if_possible(url: str, account: dict[str, Any], state: State, run: Run) -> None:
    try:
        _write(url, account, state, run)
    except NSTError as exc:
        _log.warning("%s", exc)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
