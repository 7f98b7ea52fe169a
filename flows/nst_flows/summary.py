"""A run's report as Prefect's UI shows it: a summary in markdown, and the failed rows as a table."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from nst import output
from nst.planning import Group, Plan
from nst.running import PortionReport, RunReport
from nst.wording import counted

MAX_FAILED_ROWS = 200
_MAX_KEY_WORDS = 40


def planned_line(plan: Plan) -> str:
    """What is to be done, for the log."""
    return (
        f"{counted(len(plan.jobs), 'row')}: {counted(plan.num_pictures_to_make, 'picture')} to make "
        f"in {counted(len(plan.groups), 'group')}, {len(plan.done)} done before, "
        f"{len(plan.failed)} that cannot run"
    )


def portion_name(portion: Sequence[Group]) -> str:
    """What a portion is called: by its group, or by the first and the last of them."""
    return f"{_kind(portion)}, {_numbers(portion)}"


def portion_line(portion: Sequence[Group], report: PortionReport, seconds: float) -> str:
    """What became of a portion, for the log."""
    return (
        f"{_numbers(portion)}, {_kind(portion)}: {report.num_made} made, {report.num_failed} "
        f"failed in {seconds:.1f} s, {_speed(report.num_made, seconds)}"
    )


def _kind(portion: Sequence[Group]) -> str:
    if len(portion) == 1:
        return f"{portion[0].backbone} {portion[0].height}x{portion[0].width}"
    return " and ".join(dict.fromkeys(group.backbone for group in portion))


def _numbers(portion: Sequence[Group]) -> str:
    if len(portion) == 1:
        return f"group {portion[0].name}"
    return f"groups {portion[0].name.partition(' ')[0]} to {portion[-1].name}"


def ended_line(report: RunReport, gallery_base_url: str | None) -> str:
    """What became of the run, for the log."""
    failed = f", {report.num_failed} failed" if report.num_failed else ""
    url = gallery_url(report, gallery_base_url)
    return f"{report.num_ok} of {report.num_rows} rows ok{failed}; gallery: {url}"


def stopped_line(num_made: int, num_pictures: int) -> str:
    """What became of a run that was cancelled, or whose worker was told to end."""
    return (
        f"stopped: {num_made} of {num_pictures} pictures were made and are kept, with all from "
        "before; run the same again to make the rest"
    )


def artifact_key(kind: str, output_url: str) -> str:
    """What an artifact of the runs on an output is called: its history in the UI is that output's.

    The end of the URL is for who reads it, and six digits of its sha256 for those that end alike.
    """
    parts = output_url.rstrip("/").split("/")[-2:]
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    digest = hashlib.sha256(output_url.rstrip("/").encode()).hexdigest()
    return "-".join(filter(None, ["stylize", kind, words[-_MAX_KEY_WORDS:].strip("-"), digest[:6]]))


def example_urls(report: RunReport, base_url: str) -> list[str]:
    """Where the thumbnails of a few pictures are, below the address that serves the output."""
    return [f"{base_url.rstrip('/')}/{path}" for path in report.examples]


def gallery_url(report: RunReport, base_url: str | None) -> str:
    """Where the gallery is to be looked at: below `base_url`, which serves the output, if any."""
    return f"{base_url.rstrip('/')}/{output.GALLERY}" if base_url else report.gallery_url


def summary_markdown(
    report: RunReport, *, num_made: int, seconds: float, gallery_base_url: str | None = None
) -> str:
    """Rows by status and reason, how fast it went, and where the gallery and the metadata are."""
    counts = [
        ("ok", "made by this run", report.num_ok - report.num_done_before),
        ("ok", "done before", report.num_done_before),
        *(("failed", reason, number) for reason, number in report.failed_by_reason.items()),
    ]
    lines = [
        f"# {report.num_ok} of {report.num_rows} rows ok",
        "",
        "| status | reason | rows |",
        "| --- | --- | ---: |",
        *(f"| {status} | {reason} | {number} |" for status, reason, number in counts if number),
        "",
        f"- speed: {_speed(num_made, seconds)}, {num_made} pictures in {seconds:.0f} s",
        f"- gallery: {_link(gallery_url(report, gallery_base_url))}",
        f"- metadata: {_link(report.metadata_url)}",
    ]
    return "\n".join(lines)


def failed_table(report: RunReport) -> list[dict[str, Any]]:
    """The first of the failed rows, each with its reason, which the UI shows without scrolling."""
    return [
        {
            "row": record.row,
            "reason": record.outcome.reason,
            "error": record.outcome.error,
            "content": record.content,
            "style": record.style,
            "backbone": record.backbone,
            "id": record.outcome.id,
        }
        for record in report.failed[:MAX_FAILED_ROWS]
    ]


def failed_title(report: RunReport) -> str:
    """What the table of failed rows shows, and where the others are."""
    shown = min(len(report.failed), MAX_FAILED_ROWS)
    return f"{shown} of {report.num_failed} failed rows; all are in {report.metadata_url}"


def _speed(num_made: int, seconds: float) -> str:
    return f"{num_made / seconds if seconds > 0 else 0:.3g} images/s"


def _link(url: str) -> str:
    """A browser follows only web links from the UI; others are text to copy."""
    return f"[{url}]({url})" if url.startswith(("http://", "https://")) else f"`{url}`"
