"""Records -> metadata and gallery: what a run leaves behind, whatever became of its groups."""

from collections.abc import Mapping, Sequence

from nst import gallery, metadata, output, storage
from nst.errors import ConfigError, NotFoundError, NSTError
from nst.metadata import Outcome, Record
from nst.plan import Group, Plan
from nst.reports import RunReport
from nst.settings import RunSettings
from nst.tables import TableError


def finish(plan: Plan, settings: RunSettings, errors: Mapping[str, str] | None = None) -> RunReport:
    """Write the metadata and the gallery of what is there, and report every row.

    `errors` are what ended groups before they wrote their record, by the group's name.
    """
    outcomes = {outcome.id: outcome for outcome in (*plan.done, *plan.failed)}
    for group in plan.groups:
        outcomes |= {outcome.id: outcome for outcome in _outcomes(group, settings, errors or {})}
    records = metadata.make_records(plan.jobs, outcomes)
    metadata_url = storage.join(settings.output, output.METADATA)
    storage.write_bytes(metadata_url, metadata.metadata_to_parquet(records))
    gallery_url = _write_gallery(settings.output, records)
    failed = tuple(record for record in records if record.outcome.status == "failed")
    return RunReport(
        num_rows=len(records),
        num_ok=len(records) - len(failed),
        num_done_before=len(plan.done),
        failed=failed,
        gallery_url=storage.browsable(gallery_url),
        metadata_url=metadata_url,
    )


def _outcomes(group: Group, settings: RunSettings, errors: Mapping[str, str]) -> list[Outcome]:
    """What the record of a group says, or for one that an error ended, that."""
    why = errors.get(group.name)
    if why is None:
        return output.read_record(settings.output, group.digest)
    error = NSTError(f"its group ended early: {why}; run it again")
    return [output.failure(one.job.id, error, key=one.key) for one in group.jobs]


def rebuild_gallery(url: str) -> str:
    """Write the gallery of an output anew from its metadata, and return where it is."""
    uri = storage.join(url, output.METADATA)
    try:
        records = metadata.metadata_from_parquet(storage.read_bytes(uri))
    except NotFoundError as exc:
        raise ConfigError(f"{exc}; expected the output of a run") from exc
    except (TableError, KeyError) as exc:
        raise ConfigError(f"{uri}: expected the metadata of a run, found {exc}") from exc
    return storage.browsable(_write_gallery(url, records))


def _write_gallery(url: str, records: Sequence[Record]) -> str:
    previews = storage.list_sizes(storage.join(url, output.INPUTS)).keys()
    files = gallery.render(records, previews=previews)
    # The page last, so that it never asks for a script or a style sheet that is not there yet.
    for path, text in sorted(files.items(), key=lambda item: item[0] == output.GALLERY):
        storage.write_bytes(storage.join(url, path), text.encode())
    return storage.join(url, output.GALLERY)
