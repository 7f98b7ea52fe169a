"""Run the flow in this process, on the server that is configured or else on Prefect's own."""

import logging
from collections.abc import Mapping
from typing import Any, cast

import httpx
from prefect import tags
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_INTERNAL_LOGGING_LEVEL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
    temporary_settings,
)

from nst.errors import ConfigError, RunnerError
from nst.manifest import parse_overrides
from nst.redaction import redacted
from nst.running import Listener, RunReport
from nst.settings import RunnerName, RunSettings
from nst_flows import own_server, runners
from nst_flows.parameters import overrides_of, parameters_of
from nst_flows.stylize import TOO_MANY_FAILED, stylize_manifest
from nst_flows.watching import End, awaiting_end, drafting, listening

_log = logging.getLogger(__name__)

_SETTINGS = {
    # The default of 20 s is too short for a loaded machine with a fresh database.
    PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120,
    # Without a network it logs an error; and a run should call nobody that it was not asked to.
    PREFECT_SERVER_ANALYTICS_ENABLED: False,
}
# Unless the user has chosen otherwise.
_DEFAULTS = {
    # A server that goes away is asked for 14 s in place of a minute, each time that Prefect has to know,
    # and one that takes connections and says nothing for a minute and a half in place of four.
    PREFECT_CLIENT_MAX_RETRIES: 3,
    PREFECT_API_REQUEST_TIMEOUT: 20.0,
    # By default each event that cannot be sent is a line of a thousand letters.
    PREFECT_INTERNAL_LOGGING_LEVEL: "CRITICAL",
    # A server that deploy/set_up.py has set up takes a run without a heartbeat for 90 s for a dead one.
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 30,
}


def run_locally(
    manifest: str,
    settings: RunSettings,
    overrides: Mapping[str, Any],
    listener: Listener,
    *,
    runner: RunnerName = "threads",
    runner_address: str | None = None,
    draft: str | None = None,
) -> RunReport:
    """Run the flow and return its report, also where more rows failed than the settings allow.

    `draft` is where the manifest can be read where `manifest` is only where the run is to keep it.
    Raises what the flow raised, a ManifestError above all, ConfigError where no server answers, and
    what `runners.check` raises. A server that goes away during the run is missed by nobody.
    """
    # Before Prefect checks them too, in words that are not ours.
    chosen = overrides_of(parse_overrides(overrides))
    if runner != "threads":
        # Before a server is started, which takes longer and logs a traceback of what the flow raises.
        runners.check(runner, runner_address)
    with (
        temporary_settings(_SETTINGS, set_defaults=_DEFAULTS),
        listening(listener),
        drafting(draft),
        tags("nst"),
        awaiting_end() as end,
    ):
        _check_server()
        own_server.start()
        try:
            ended = stylize_manifest(
                manifest,
                settings.output,
                overrides=chosen,
                runner=runner,
                runner_address=runner_address,
                **parameters_of(settings),
                return_state=True,
            )
        except (httpx.HTTPError, PrefectException) as exc:
            return _report_without_server(end, exc)
    # Prefect types every flow as if it might be asynchronous; this one is not.
    state = cast(State[Any], ended)
    # A run that was stopped on request has a report too.
    has_report = state.name == TOO_MANY_FAILED or (end.report is not None and state.is_cancelled())
    found = end.report if has_report else state.result()
    assert isinstance(found, RunReport)
    return found


def _report_without_server(end: End, error: Exception) -> RunReport:
    """The report of a flow whose end its server was not told. Raises what the flow raised."""
    if end.error is not None:
        raise end.error from error
    if end.report is None:
        raise RunnerError(
            f"expected a Prefect server that takes the run, found: {error}; run it again when the "
            "server answers"
        ) from error
    _log.warning("the Prefect server was not told how the run ended, it said: %s", error)
    return end.report


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
