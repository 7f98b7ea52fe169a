"""Ids with letters of other scripts, where the output has the names that earlier releases gave."""

import os
from dataclasses import replace

from nst import storage
from nst.job import Job
from nst.manifest import Rows, earlier_id
from nst.output import records
from nst.settings import RunSettings


def with_earlier_ids(rows: Rows, settings: RunSettings) -> Rows:
    """The rows, by the ids of earlier releases where the output has records of those.

    So pictures keep the names by which people link to them, and what is done stays done. The same
    holds where the output is on a disk of this machine whose names cannot have such letters.
    """
    others = [job for job in rows.jobs if not job.id.isascii()]
    if not others:
        return rows
    ledger = records.read(settings.output)
    names = [earlier_id(job) for job in others]
    has_record = (ledger.made.find(names) >= 0) | (ledger.failed.find(names) >= 0)
    is_local = storage.local_path(settings.output) is not None
    new = {
        job.id: name
        for job, name, known in zip(others, names, has_record, strict=True)
        if known or (is_local and not _can_be_written(job))
    }
    jobs = tuple(replace(job, id=new.get(job.id, job.id)) if new else job for job in rows.jobs)
    refused = {new.get(name, name): refusal for name, refusal in rows.refused.items()}
    return replace(rows, jobs=jobs, refused=refused)


def _can_be_written(job: Job) -> bool:
    try:
        os.fsencode(job.id)
    except UnicodeEncodeError:
        return False
    return True
