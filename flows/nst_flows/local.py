"""Run the flow in this process, on the server that is configured or else on Prefect's own."""

from collections.abc import Mapping
from typing import Any, cast

from prefect import tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from nst.errors import ConfigError
from nst.manifest import parse_overrides
from nst.redaction import redacted
from nst.running import Listener, RunReport
from nst.settings import RunnerName, RunSettings
from nst_flows import runners
from nst_flows.parameters import overrides_of, parameters_of
from nst_flows.stylize import TOO_MANY_FAILED, stylize_manifest
from nst_flows.watching import listening

_OWN_SERVER = {
    # The default of 20 s is too short for a loaded machine with a fresh database.
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120,
    # Without a network it logs an error; and a run should call nobody that it was not asked to.
    PREFECT_SERVER_ANALYTICS_ENABLED: False,
}


def run_locally(
    manifest: str,
    settings: RunSettings,
    overrides: Mapping[str, Any],
    listener: Listener,
    *,
    runner: RunnerName = "threads",
    runner_address: str | None = None,
) -> RunReport:
    """Run the flow and return its report, also where more rows failed than the settings allow.

    Raises what the flow raised, a ManifestError above all, ConfigError where no server answers, and
    what `runners.check` raises.
    """
    # Before Prefect checks them too, in words that are not ours.
    chosen = overrides_of(parse_overrides(overrides))
    if runner != "threads":
        # Before a server is started, which takes longer and logs a traceback of what the flow raises.
        runners.check(runner, runner_address)
    with temporary_settings(_OWN_SERVER), listening(listener), tags("nst"):
        _check_server()
        ended = stylize_manifest(
            manifest,
            settings.output,
            overrides=chosen,
            runner=runner,
            runner_address=runner_address,
            **parameters_of(settings),
            return_state=True,
        )
    # Prefect types every flow as if it might be asynchronous; this one is not.
    state = cast(State[Any], ended)
    found = state.result(raise_on_failure=state.name != TOO_MANY_FAILED)
    assert isinstance(found, RunReport)
    return found


def _check_server() -> None:
    """Only one that is configured: Prefect's own is not started yet."""
    url = PREFECT_API_URL.value()
    if url is None:
        return
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        raise ConfigError(
            f"expected a Prefect server at PREFECT_API_URL, {redacted(url)}, found none that answers "
            f"({error}); start it, or unset PREFECT_API_URL to use a temporary one"
        )
