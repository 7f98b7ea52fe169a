"""A run's report for Prefect's UI: a summary in markdown, and a table of failed rows."""

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
    """The plan in a line for the log."""
    return (
        f"{counted(len(plan.jobs), 'row')}: {counted(plan.num_pictures_to_make, 'picture')} to make "
        f"in {counted(len(plan.groups), 'group')}, {len(plan.done)} done before, "
        f"{len(plan.failed)} that cannot run"
        f"{f', {len(plan.to_encode)} to encode in another format' if plan.to_encode else ''}"
    )


def portion_name(portion: Sequence[Group]) -> str:
    """The name of a portion: that of its group, or of its first and last group."""
    return f"{_kind(portion)}, {_numbers(portion)}"


def portion_line(portion: Sequence[Group], report: PortionReport, seconds: float) -> str:
    """The result of a portion in a line for the log."""
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
    """The result of the run in a line for the log."""
    failed = f", {report.num_failed} failed" if report.num_failed else ""
    url = gallery_url(report, gallery_base_url)
    return f"{report.num_ok} of {report.num_rows} rows ok{failed}; gallery: {url}"


def stopped_line(num_made: int, num_pictures: int) -> str:
    """The state of a run that was cancelled, or whose worker was stopped."""
    return (
        f"stopped: {num_made} of {num_pictures} pictures were made and are kept, with all earlier "
        "ones; run it again to make the rest"
    )


def artifact_key(kind: str, output_url: str) -> str:
    """The key of an artifact; each output has its own, so the UI shows the history of that output.

    It has the end of the URL for people, and six digits of its sha256 to tell similar URLs apart.
    """
    parts = output_url.rstrip("/").split("/")[-2:]
    words = re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")
    digest = hashlib.sha256(output_url.rstrip("/").encode()).hexdigest()
    return "-".join(filter(None, ["stylize", kind, words[-_MAX_KEY_WORDS:].strip("-"), digest[:6]]))


def example_urls(report: RunReport, base_url: str) -> list[str]:
    """The URLs of a few thumbnails, below the address that serves the output."""
    return [f"{base_url.rstrip('/')}/{path}" for path in report.examples]


def gallery_url(report: RunReport, base_url: str | None) -> str:
    """The URL of the gallery: below `base_url`, if there is one that serves the output."""
    return f"{base_url.rstrip('/')}/{output.GALLERY}" if base_url else report.gallery_url


def summary_markdown(
    report: RunReport, *, num_made: int, seconds: float, gallery_base_url: str | None = None
) -> str:
    """Rows by status and reason, the speed, and the links to gallery and metadata."""
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
    """The first failed rows with their reasons, as many as the UI shows without scrolling."""
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
    """The title of the table of failed rows: how many it shows, and where the others are."""
    shown = min(len(report.failed), MAX_FAILED_ROWS)
    return f"{shown} of {report.num_failed} failed rows; all are in {report.metadata_url}"


def _speed(num_made: int, seconds: float) -> str:
    return f"{num_made / seconds if seconds > 0 else 0:.3g} images/s"


def _link(url: str) -> str:
    """A link if it is a web address; a browser does not follow others from the UI, so they are text."""
    return f"[{url}]({url})" if url.startswith(("http://", "https://")) else f"`{url}`"
