"""The flow, run as Prefect runs it."""

from pathlib import Path
from uuid import UUID

from prefect.client.schemas.objects import State

from nst.running.reports import RunReport
from nst_flows.stylize import stylize_manifest


def run_flow(manifest: Path, output: Path, **parameters: object) -> State[RunReport]:
    state: State[RunReport] = stylize_manifest(  # type: ignore[assignment]
        str(manifest),
        str(output),
        return_state=True,
        **{"isolate": False} | parameters,
    )
    return state


def flow_run_of(state: State[RunReport]) -> UUID:
    flow_run = state.state_details.flow_run_id
    assert flow_run is not None
    return flow_run
