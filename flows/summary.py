"""A run's report as the markdown that Prefect's UI shows."""

from nst.reports import RunReport

_MAX_LISTED = 200


def summary_markdown(report: RunReport) -> str:
    """Counts, where the gallery and the metadata are, and the failed rows with their reasons."""
    lines = [
        f"# {report.num_ok} of {report.num_rows} rows ok",
        "",
        f"- gallery: {_link(report.gallery_url)}",
        f"- metadata: {_link(report.metadata_url)}",
        f"- made before this run: {report.num_done_before}",
        f"- failed: {len(report.failed)}",
    ]
    if report.failed:
        lines += ["", "| row | id | reason | error |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {r.row} | {_cell(r.outcome.id)} | {r.outcome.reason} | {_cell(r.outcome.error)} |"
            for r in report.failed[:_MAX_LISTED]
        ]
    if len(report.failed) > _MAX_LISTED:
        lines.append(f"\nand {len(report.failed) - _MAX_LISTED} more, all of them in the metadata")
    return "\n".join(lines)


def _link(url: str) -> str:
    """A browser follows only web links from the UI; others are text to copy."""
    return f"[{url}]({url})" if url.startswith(("http://", "https://")) else f"`{url}`"


def _cell(text: str | None) -> str:
    """Text that cannot end its table cell, nor the table."""
    return " ".join((text or "").replace("|", "\\|").replace("<", "&lt;").split())
