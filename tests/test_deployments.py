"""What deploy/ says of deployments, without a server."""

import importlib
import shlex
from typing import Any

import yaml
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY

from deploy import set_up
from nst_flows import local
from tests.helpers import ROOT
from tests.operators import DOCUMENT, SECTION, settings_and_commands


def deployments() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/prefect.yaml").read_text())[
        "deployments"
    ]
    return found


def test_the_deployments_name_a_flow_and_wait_in_a_queue_that_is_made() -> None:
    for deployment in deployments():
        module, _, name = deployment["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        assert set(deployment.get("parameters", {})) <= set(flow.parameters.properties)
        assert f"{flow.name}/{deployment['name']}" in DOCUMENT.read_text(encoding="utf-8")
        assert "nst" in deployment["tags"]
        assert deployment["work_pool"]["name"] == set_up.POOL
        assert deployment["work_pool"]["work_queue_name"] in set_up.QUEUES


def test_only_the_nightly_one_has_a_schedule_and_it_never_runs_twice_at_a_time() -> None:
    by_name = {each["name"]: each for each in deployments()}
    assert set(by_name) == {"adhoc", "nightly"}
    nightly = by_name.pop("nightly")
    assert not any("schedules" in each for each in by_name.values())
    assert [each["cron"] for each in nightly["schedules"]] == ["0 2 * * *"]
    assert nightly["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_a_silent_run_is_told_from_one_that_lives_by_three_heartbeats() -> None:
    trigger = yaml.safe_load((ROOT / "deploy/zombies.yaml").read_text())["trigger"]
    frequencies = [
        int(each["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
        for each in deployments()
    ]
    # A run of `nst run --prefect` has the tag as well.
    frequencies.append(int(str(local._DEFAULTS[PREFECT_FLOWS_HEARTBEAT_FREQUENCY])))
    assert trigger["within"] >= 3 * max(frequencies)
    assert trigger["match_related"]["prefect.resource.id"] == "prefect.tag.nst"
    # A run that ended under this name is not silent.
    assert "prefect.flow-run.PartiallyFailed" in trigger["expect"]


def test_the_document_names_the_command_that_prefect_run_would_be() -> None:
    _, commands = settings_and_commands(DOCUMENT, SECTION)
    (adhoc,) = [each for each in commands if each.startswith("prefect deployment run")]
    words = shlex.split(adhoc)
    assert words[3] == "stylize-manifest/adhoc"
    assert words[-1] == "--watch"
    assert "Prefect 3 has no `prefect run`" in DOCUMENT.read_text(encoding="utf-8")
