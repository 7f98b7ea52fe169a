"""Records -> metadata and gallery: what a run leaves behind, whatever became of its groups."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from nst import gallery, metadata, output, records, storage
from nst.errors import ConfigError, NotFoundError, NSTError
from nst.job import Job
from nst.metadata import Outcome, Record
from nst.output import failure
from nst.plan import Plan
from nst.records import Ledger
from nst.reports import RunReport
from nst.settings import RunSettings
from nst.tables import TableError


def finish(plan: Plan, settings: RunSettings, errors: Mapping[str, str] | None = None) -> RunReport:
    """Write the metadata and the gallery of what is there, and report every row.

    `errors` are what ended groups before all of their pictures were made, by the group's name.
    """
    ledger = records.read(settings.output)
    outcome_of = _finder(plan, ledger, errors or {})
    labels = list(dict.fromkeys(name for job in plan.jobs for name in job.labels))
    metadata_url = storage.join(settings.output, output.METADATA)
    table = metadata.metadata_to_parquet(
        (metadata.record_of(job, outcome_of(job)) for job in plan.jobs), labels
    )
    storage.write_bytes(metadata_url, table)
    # The page shows no curve, which is most of a record.
    shown = [metadata.record_of(job, replace(outcome_of(job), loss_curve=())) for job in plan.jobs]
    gallery_url = _write_gallery(settings.output, shown)
    records.compact(settings.output, ledger, also=plan.failed)
    done = set(plan.done)
    failed = tuple(record for record in shown if record.outcome.status == "failed")
    return RunReport(
        num_rows=len(shown),
        num_ok=len(shown) - len(failed),
        num_done_before=sum(job.id in done for job in plan.jobs),
        failed_by_reason=Counter(record.outcome.reason or "" for record in failed),
        failed=failed,
        gallery_url=storage.browsable(gallery_url),
        metadata_url=metadata_url,
    )


def _finder(plan: Plan, ledger: Ledger, errors: Mapping[str, str]) -> Callable[[Job], Outcome]:
    """What became of a job: by the plan, by the records, or by what ended its group."""
    failed = {outcome.id: outcome for outcome in plan.failed}
    groups = {one.job.id: (one, group) for group in plan.groups for one in group.jobs}

    def outcome_of(job: Job) -> Outcome:
        if job.id in failed:
            return failed[job.id]
        if job.id not in groups:
            return ledger.made[job.id]
        planned, group = groups[job.id]
        made = ledger.made.get(job.id)
        if made is not None and made.key == planned.key and made.finished_at != planned.outdated:
            return made
        found = ledger.last_failure(job.id)
        if found is not None and found.key == planned.key:
            return found
        why = errors.get(group.name, "it was not reached")
        error = NSTError(f"its group ended early: {why}; run it again")
        return failure(job.id, error, key=planned.key)

    return outcome_of


def rebuild_gallery(url: str) -> str:
    """Write the gallery of an output anew from its metadata, and return where it is."""
    return storage.browsable(_write_gallery(url, read_metadata(url)))


def read_metadata(url: str) -> list[Record]:
    """The rows of an output's last run. Raises ConfigError where there was none."""
    uri = storage.join(url, output.METADATA)
    try:
        return metadata.metadata_from_parquet(storage.read_bytes(uri))
    except NotFoundError as exc:
        raise ConfigError(f"{exc}; expected the output of a run") from exc
    except (TableError, KeyError) as exc:
        raise ConfigError(f"{uri}: expected the metadata of a run, found {exc}") from exc


def _write_gallery(url: str, rows: Sequence[Record]) -> str:
    previews = storage.list_sizes(storage.join(url, output.INPUTS)).keys()
    files = gallery.render(rows, previews=previews)
    # The page last, so that it never asks for a script or a style sheet that is not there yet.
    for path, text in sorted(files.items(), key=lambda item: item[0] == output.GALLERY):
        storage.write_bytes(storage.join(url, path), text.encode())
    return storage.join(url, output.GALLERY)
