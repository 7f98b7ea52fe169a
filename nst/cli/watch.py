"""`nst status` and `nst stop`: a run that is under way."""

import getpass
import socket
from typing import Annotated

import typer

from nst import pipeline
from nst.api import output_url
from nst.cli.arguments import JsonOption
from nst.cli.exits import errors
from nst.cli.printing import print_line
from nst.documents import status_document, to_json
from nst.running import RunStatus
from nst.wording import counted, shown_duration


def status(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run.")],
    json_: JsonOption = False,
) -> None:
    """Say how far the run of an output is, or how its last one ended; from any machine.

    Whether a run on another machine is alive takes up to 20 seconds to see.

    Exit status: 0 it is told, whatever it is; 2 no run has written there; 1 a fault of a store.

    Example: nst status output/demo
    """
    with errors("status", is_json=json_):
        found = pipeline.status(output_url(output))
    if json_:
        print(to_json(status_document(found)))
    else:
        _print_status(found)


def stop(
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="Folder or URL of a run.")],
) -> None:
    """Ask the run of an output, on whatever machine, to stop as by Ctrl-C; return once it knows.

    The pictures that it is painting are finished, metadata and gallery are written, and it ends with
    exit status 130. Run the same again to go on.

    Exit status: 0 it has taken note, or no run is under way; 2 no run has written there, or it takes
    no requests; 1 a fault of a store.

    Example: nst stop output/demo
    """
    with errors("stop"):
        url = output_url(output)
        asked = pipeline.stop(url, _who())
    before = asked.before
    if asked.has_noted:
        print_line(
            f"The run of process {before.pid} on {before.host} stops after its current pictures, and "
            "then writes metadata and gallery"
        )
        print_line(f"To see when it has: nst status {output}")
    elif before.is_alive:
        print_line("The run has ended meanwhile")
        _print_status(pipeline.status(url))
    else:
        print_line("No run is under way: there is nothing to stop")
        _print_status(before)


def _who() -> str:
    """Who types this, and where, as far as the system tells."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A container's user may have no name.
        user = "somebody"
    return f"{user} on {socket.gethostname()}"


def _print_status(found: RunStatus) -> None:
    standing = found.standing
    print_line(_state_line(found))
    if standing.num_rows is not None:
        parts = [f"{standing.num_ok} of {counted(standing.num_rows, 'row')} done"]
        if standing.num_done_before:
            parts.append(f"{standing.num_done_before} of them from before")
        parts.append(f"{standing.num_failed} failed")
        if standing.images_per_s is not None:
            parts.append(f"{standing.images_per_s:.3g} images/s")
        if standing.seconds_left and found.state == "running":
            parts.append(f"about {shown_duration(standing.seconds_left)} left")
        print_line(", ".join(parts))
    for reason, number in standing.failed_by_reason.items():
        print_line(f"    {number} failed, {reason}")
    if standing.num_rows is not None and standing.at:
        print_line(f"As of {standing.at}")
    if found.manifest:
        print_line(f"Manifest: {found.manifest}")
    if found.error:
        print_line(f"Error: {found.error}")
    if found.state == "running":
        print_line(f"To stop it: nst stop {found.output}")
    elif found.state in ("interrupted", "stopped", "killed"):
        print_line("To go on: run the same command again")


def _state_line(found: RunStatus) -> str:
    who = f"process {found.pid} on {found.host} since {found.started_at}"
    match found.state:
        case "running":
            return f"Running ({found.standing.phase}): {who}, whose lease is alive"
        case "stopping":
            return f"Stopping: {who}, as {found.stop_asked_by} has asked"
        case "killed" if found.pid is not None:
            return f"Killed: {who}, which does not renew its lease any more"
        case "killed":
            return f"Killed: a run that began at {found.started_at} and did not say how it ended"
        case "interrupted" if found.stop_asked_by:
            return f"Stopped at {found.ended_at}, as {found.stop_asked_by} had asked"
        case "interrupted":
            return f"Stopped at {found.ended_at} by Ctrl-C or a signal"
        case "stopped":
            return f"Stopped at {found.ended_at} by an error"
        case _:
            return f"Finished at {found.ended_at}"
