"""Outcomes and metadata as the bytes of the files that a run writes."""

import io
from collections.abc import Iterable, Sequence
from itertools import groupby

from nst.iterables import in_chunks
from nst.job import Job
from nst.output import metadata
from nst.output.metadata import Outcome, Record
from nst.storage.tables import side_by_side


def outcomes_to_parquet(outcomes: Iterable[Outcome]) -> bytes:
    """A part of records."""
    sink = io.BytesIO()
    metadata.write_outcomes(sink, map(metadata.outcomes_to_table, in_chunks(outcomes, 1000)))
    return sink.getvalue()


def metadata_to_parquet(records: Iterable[Record], labels: Sequence[str]) -> bytes:
    """The metadata of these rows."""
    sink = io.BytesIO()
    found = (
        side_by_side(
            metadata.jobs_to_table(map(_job, some), labels, manifest),
            metadata.outcomes_to_table(record.outcome for record in some),
        )
        for manifest, members in groupby(records, key=lambda record: record.manifest)
        for some in in_chunks(members, 1000)
    )
    metadata.write_metadata(sink, found, labels)
    return sink.getvalue()


def _job(record: Record) -> Job:
    """A job that such a row could be of; where its inputs lie is in no metadata."""
    return Job(
        row=record.row,
        id=record.outcome.id,
        content=record.content,
        styles=(record.style,),
        content_name=record.content,
        style_name=record.style,
        mask_name=record.mask,
        start_name=record.start,
        style_mask_name=record.style_mask,
        backbone=record.backbone,
        labels=record.labels,
        params=record.params,
    )
