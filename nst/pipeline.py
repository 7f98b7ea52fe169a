"""The steps of a run, which the command line and the flow both call."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from nst import gallery as galleries
from nst import output, storage
from nst.audit import clean, verify
from nst.errors import (
    ConfigError,
    NSTError,
    TooManyFailedError,
)
from nst.gallery import LiveGallery, Voter, gallery_folder, publish
from nst.job import Job
from nst.manifest import Rows, check_urls, read_manifest
from nst.painting import usable_weights
from nst.planning import (
    Estimate,
    Plan,
    estimate,
    plan_rows,
    with_earlier_ids,
    without_taken_ids,
)
from nst.redaction import redacted_url, secret_in_url
from nst.running import (
    InThisProcess,
    Listener,
    Listeners,
    NoListener,
    Painter,
    RunReport,
    Session,
    Standings,
    Stopping,
    as_before,
    as_recorded,
    counting_failures,
    growing,
    make_missing_previews,
    max_failed,
    open_painter,
    retract_metadata,
    run_in_lanes,
    runs,
    status,
    stop,
    told_settings,
    write_metadata,
    write_provisional,
)
from nst.settings import RunSettings
from nst.storage import ScratchFile, release_memory

__all__ = [
    "as_before",
    "check",
    "clean",
    "encode_stored",
    "estimated",
    "finish",
    "gallery_folder",
    "keep_manifest",
    "make_plan",
    "make_thumbnails",
    "plan_rows",
    "read_manifest",
    "read_rows",
    "rebuild_gallery",
    "retract",
    "run",
    "run_jobs",
    "run_manifest",
    "status",
    "stop",
    "usable_weights",
    "verify",
    "with_output",
]

_log = logging.getLogger(__name__)

# torch and torchvision take seconds to import, which a plan or a gallery need not wait for, so
# they are imported by the functions that do need them.

# What every machine has, so that nothing need be asked.
_ANYWHERE = ("auto", "cpu")


def check(manifest: str, settings: RunSettings, *, paints_here: bool = True) -> None:
    """Raises ConfigError for a URL that may not be opened, a relative path, and a device that is missing.

    Before anything else has seen them, Prefect's database too: there may be credentials in a URL. A
    worker runs in a temporary folder, to which a relative path would lead what it writes. Devices are
    those of this machine, and count only if it paints.
    """
    check_urls(manifest, settings)
    for uri in (manifest, settings.output):
        if not storage.is_same_anywhere(uri):
            raise ConfigError(f"expected an absolute path or a URL, found {uri!r}")
    if paints_here and settings.device not in _ANYWHERE:
        from nst.painting import resolve_devices

        resolve_devices(settings.device)


def with_output(settings: RunSettings, url: str) -> RunSettings:
    """The settings for another output."""
    return replace(settings, output=url)


def make_plan(
    manifest_uri: str,
    settings: RunSettings,
    overrides: Mapping[str, Any] | None = None,
    *,
    download: bool = True,
    resume: bool = True,
    kept_as: str | None = None,
) -> Plan:
    """`plan_rows` of `read_rows`."""
    rows = read_rows(manifest_uri, settings, overrides, kept_as=kept_as)
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


def rebuild_gallery(
    urls: Sequence[str],
    *,
    to: str | None = None,
    static_pages: bool | None = None,
    voters: Sequence[Voter] = (),
) -> str:
    """As `nst.gallery.rebuild_gallery`; of a run that did not finish, from the records so far.

    The gallery of a run under way stays as that run keeps it; what `voters` said it takes from the file
    that is kept beside it.
    """
    folder = storage.absolute(gallery_folder(urls, to)).rstrip("/")
    if folder in {storage.absolute(url).rstrip("/") for url in urls} and _is_under_way(folder):
        galleries.keep_votes(folder, voters)
        _log.warning(
            "%s: the gallery is not built anew, since the run under way keeps it up to date", folder
        )
        return storage.browsable(storage.join(folder, output.GALLERY))
    return galleries.rebuild_gallery(
        urls, to=to, static_pages=static_pages, voters=voters, read=so_far
    )


def _is_under_way(url: str) -> bool:
    """Whether a run writes to an output; one that was killed does not."""
    account = output.read_account(url) or {}
    return account.get("state") == "running" and status(url).is_alive


def so_far(url: str, file: ScratchFile) -> ScratchFile:
    """The metadata of an output, put into `file`; of a run that did not finish, by its records.

    Its rows are read from its manifest again, or else told by the pictures themselves. Raises
    ConfigError where no run has written.
    """
    account = output.read_account(url) or {}
    if account.get("state") in (None, "finished"):
        return output.read_table(url, file)
    ledger = output.records.read(url)
    try:
        settings, overrides = told_settings(url, account)
        rows = read_manifest(storage.resolve(url, str(account["manifest"])), settings, overrides)
        rows = with_earlier_ids(rows, settings)
        rows = replace(rows, manifest=output.manifest_name(str(account["manifest"]), url))
        if not settings.only:
            rows = without_taken_ids(rows, settings)
    except (NSTError, KeyError) as exc:
        if storage.exists(storage.join(url, output.METADATA)):
            _log.warning("%s: the gallery has the rows of the last run that ended: %s", url, exc)
            return output.read_table(url, file)
        _log.warning("%s: the gallery has what its pictures say of themselves: %s", url, exc)
        output.write_recorded(file, url, ledger)
        return file
    write_provisional(file, as_recorded(rows, ledger), settings, ledger, {})
    return file


def make_thumbnails(url: str) -> int:
    """Make the thumbnails that the pictures of an output lack; of how many they were made."""
    from nst.output import make_missing, read_claims

    return make_missing(url, read_claims(url).outcomes)


def run_manifest(
    manifest: str,
    settings: RunSettings,
    overrides: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
    *,
    kept_as: str | None = None,
) -> RunReport:
    """The whole of a run, without Prefect: manifest in; pictures, metadata and gallery out.

    With `kept_as` the manifest is kept there, as by `keep_manifest`, and run.json names the copy.

    Raises ManifestError or ConfigError before anything is made, and StorageError where a store is
    out of order; what is finished by then is kept, and another run goes on from there.
    """
    overrides = overrides or {}
    storage.work_for(settings.output, have_answered=False)
    with open_painter(settings) as painter:
        rows = read_rows(manifest, settings, overrides, kept_as=kept_as)
        with runs.opened(kept_as or manifest, settings, overrides) as this:
            if kept_as is not None:
                keep_manifest(manifest, kept_as, this.lease.check)
            this.plan = plan_rows(rows, this.settings)
            settled = this.settled(lambda: painter.precision(settings.device))
            this.report = run(
                this.plan,
                settled,
                Listeners(this.standings, listener or NoListener()),
                painter=painter,
                check=this.lease.check,
                stop_asked_by=this.lease.stop_asked_by,
                standings=this.standings,
            )
            this.has_lost_processes = painter.has_lost_processes()
            return this.report


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """The plan of a run, and how it ended."""

    plan: Plan
    report: RunReport


def run_jobs(jobs: Sequence[Job], settings: RunSettings, listener: Listener | None = None) -> Ran:
    """A run of jobs of which no manifest is written, as a sample is. Raises what `run_manifest` raises."""
    rows = Rows(jobs=tuple(jobs), refused={}, digest="", manifest="sample")
    with (
        open_painter(settings) as painter,
        runs.opened(storage.join(settings.output, rows.manifest), settings, {}) as this,
    ):
        this.plan = plan_rows(rows, this.settings)
        settled = this.settled(lambda: painter.precision(settings.device))
        report = run(this.plan, settled, listener, painter=painter, check=this.lease.check)
        this.report = report
        this.has_lost_processes = painter.has_lost_processes()
        return Ran(plan=this.plan, report=report)


def keep_manifest(manifest: str, kept_as: str, check: Callable[[], None]) -> None:
    """Copy a manifest into the output, JSON Lines without the credentials of rows refused for them.

    To be called when the output is this run's: a run that is refused leaves the manifest of the last
    one. `check` is called before the write.
    """
    data = storage.read_bytes(manifest)
    check()
    storage.write_bytes(kept_as, _without_secrets(data) if kept_as.endswith(".jsonl") else data)


def _without_secrets(json_lines: bytes) -> bytes:
    lines = json_lines.splitlines(keepends=True)
    return b"".join(map(_line_without_secrets, lines))


def _line_without_secrets(line: bytes) -> bytes:
    if secret_in_url(line.decode()) is None:
        return line
    return json.dumps(_hidden(json.loads(line))).encode() + b"\n"


def _hidden(value: Any) -> Any:
    match value:
        case str():
            return redacted_url(value)
        case dict():
            return {redacted_url(name): _hidden(each) for name, each in value.items()}
        case list():
            return [_hidden(each) for each in value]
        case _:
            return value


def read_rows(
    manifest: str,
    settings: RunSettings,
    overrides: Mapping[str, Any] | None = None,
    *,
    kept_as: str | None = None,
) -> Rows:
    """`read_manifest`; with `kept_as`, of a run that keeps the manifest there, by which it is named."""
    rows = read_manifest(manifest, settings, overrides)
    if kept_as is None:
        return rows
    return replace(rows, manifest=output.manifest_name(kept_as, settings.output))


def run(
    plan: Plan,
    settings: RunSettings,
    listener: Listener | None = None,
    *,
    painter: Painter | None = None,
    check: Callable[[], None] = lambda: None,
    stop_asked_by: Callable[[], str | None] = lambda: None,
    standings: Standings | None = None,
) -> RunReport:
    """All groups of a plan, as many at a time as there are lanes, then metadata and gallery.

    A group that ends early does not stop the others, and its rows are failed in the report; but a
    store that is out of order does: StorageError. `check` is called before each group and before each
    write at the end.
    More failed rows than the settings allow end all groups, and those not made fail as well. So does
    somebody who asks the run to stop, as `stop_asked_by` says, once the current pictures are made.
    The gallery grows while it goes on, and says how far it is, as `standings` is told by `listener`.
    """
    if standings is None:
        standings = Standings()
        listener = Listeners(standings, listener or NoListener())
    told, check_both = counting_failures(plan, settings, listener or NoListener(), check)
    told.planned(plan)
    retract(plan, settings, check)
    plan = encode_stored(plan, settings, check)
    stopping = Stopping(stop_asked_by)
    with growing_gallery(plan, settings, standings, check) as gallery:
        try:
            session = Session(
                painter=painter or InThisProcess(),
                settings=settings,
                listener=Listeners(told, gallery, stopping),
                check=stopping.beside(check_both),
            )
            made = run_in_lanes(plan.groups, session)
            errors, is_stopped = made.errors, made.is_stopped
        except TooManyFailedError as exc:
            errors, is_stopped = {group.name: str(exc) for group in plan.groups}, False
    check()
    report = finish(plan, settings, errors, check)
    return replace(report, stopped_by=(stop_asked_by() or "") if is_stopped else "")


def growing_gallery(
    plan: Plan, settings: RunSettings, standings: Standings, check: Callable[[], None]
) -> AbstractContextManager[Listener]:
    """As `growing`, with the gallery of the output."""
    return growing(LiveGallery(settings.output), plan, settings, standings, check)


def encode_stored(
    plan: Plan, settings: RunSettings, check: Callable[[], None] = lambda: None
) -> Plan:
    """Encode what the output has without loss in another format; the plan with what failed of that."""
    if not plan.to_encode:
        return plan
    from nst.running import encode_stored as encode

    return encode(plan, settings, check)


def retract(plan: Plan, settings: RunSettings, check: Callable[[], None] = lambda: None) -> None:
    """Have metadata and gallery tell no more of pictures that the plan makes anew.

    To be called before the first of them is made; see `retract_metadata`. `check` is called right
    before each write.
    """
    with ScratchFile() as table:
        if retract_metadata(table, plan, settings, check):
            publish(settings.output, table, check=check)


def finish(
    plan: Plan,
    settings: RunSettings,
    errors: Mapping[str, str] | None = None,
    check: Callable[[], None] = lambda: None,
) -> RunReport:
    """The report of every row, after metadata, lost previews and the gallery are written.

    `errors` are what ended groups before all of their pictures were made, by the group's name.
    `check` is called right before each write and deletion, and what it raises ends this.
    """
    release_memory()
    # Of a million rows it is more than should be in memory at once.
    with ScratchFile() as table:
        ended = write_metadata(table, plan, settings, errors or {}, check)
        make_missing_previews(table, plan, settings, check)
        release_memory()
        gallery_url = publish(settings.output, table, check=check)
    return RunReport(
        num_rows=len(plan.jobs),
        num_ok=len(plan.jobs) - ended.failed_by_reason.total(),
        num_done_before=ended.num_done_before,
        failed_by_reason=ended.failed_by_reason,
        failed=tuple(ended.failed),
        examples=tuple(ended.examples),
        manifests=tuple(ended.manifests),
        gallery_url=gallery_url,
        metadata_url=storage.join(settings.output, output.METADATA),
        metadata_digest=ended.metadata_digest,
        num_encoded=len({job.id for job in plan.to_encode} - {each.id for each in plan.failed}),
    )


def fails(report: RunReport, settings: RunSettings) -> bool:
    """Whether more rows failed than the settings allow."""
    allowed = max_failed(settings.fail_over, report.num_rows)
    return allowed is not None and report.num_failed > allowed
