"""`nst verify` and `nst clean`: an output beside its records."""

from typing import Annotated

import typer

from nst import next_steps, pipeline
from nst.api import output_url
from nst.audit import Audit
from nst.cli.arguments import JsonOption
from nst.cli.exits import EXIT_SOME_FAILED, errors
from nst.cli.printing import human, print_line, print_next
from nst.documents import to_json, verify_document
from nst.wording import counted


def verify(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run.")],
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Have the next run make damaged pictures again, and make thumbnails and gallery "
            "anew.",
        ),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Check every picture of an output against its record, and all other files of it.

    It changes nothing without --repair.

    Exit status: 0 all is as recorded; 3 it is not, and what has to be made again is listed;
    2 no run has written there; 1 a fault of a store.

    Example: nst verify output/demo
    """
    with errors("verify", is_json=json_):
        audit = pipeline.verify(output_url(output), repair=repair)
    with human(json_):
        _print_audit(audit, repaired=repair)
        print_next(
            next_steps.after_verify(
                output_url(output),
                num_findings=len(audit.findings),
                num_redone=len(audit.redone),
                repaired=repair,
            )
        )
    if json_:
        print(to_json(verify_document(audit)))
    if audit.findings:
        raise typer.Exit(EXIT_SOME_FAILED)


def _print_audit(audit: Audit, *, repaired: bool) -> None:
    print_line(f"{counted(audit.num_good, 'picture')} as recorded")
    for finding in audit.findings:
        print_line(f"  {finding.path}: {finding.said}")
    if audit.redone:
        how = "run it again" if repaired else "give --repair, and then run it again,"
        print_line(f"{how} to make {counted(len(audit.redone), 'picture')} anew:")
        for job_id in audit.redone:
            print_line(f"    {job_id}")


def clean(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be removed.")
    ] = False,
) -> None:
    """Remove what no row of any manifest owns: pictures, thumbnails, records, previews, leftovers.

    Example: nst clean output/demo --dry-run
    """
    with errors("clean"):
        removed = pipeline.clean(output_url(output), dry_run=dry_run)
    for path in removed:
        print_line(f"  {path}")
    print_line(f"{counted(len(removed), 'file')} {'to remove' if dry_run else 'removed'}")
    print_next(next_steps.after_clean(output_url(output), num_files=len(removed), dry_run=dry_run))
