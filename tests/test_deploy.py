"""What an operator types, from deploy/README.md itself, against a real server and worker."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from deploy import set_up
from nst_flows.summary import artifact_key
from tests.helpers import ROOT, row, write_project
from tests.operators import (
    Operator,
    begin_long_run,
    finish_it,
    is_alive,
    painters,
    parameters,
    settings_and_commands,
)

DOCUMENT = ROOT / "deploy/README.md"
SECTION = "From nothing to a nightly run"
# Commands that go on until somebody ends them.
GO_ON = ("prefect server start", "prefect worker start")


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
    for deployment in deployments():
        env = deployment["work_pool"]["job_variables"]["env"]
        assert trigger["within"] >= 3 * int(env["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
        assert trigger["match_related"]["prefect.resource.id"] == "prefect.tag.nst"
    # A run that ended under this name is not silent.
    assert "prefect.flow-run.PartiallyFailed" in trigger["expect"]


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One who has typed all that deploy/README.md says, with a manifest and folders of their own."""
    folder = tmp_path_factory.mktemp("operator")
    manifest = write_project(folder / "in", [row(id="one"), row("b.png", id="two", steps=2)])
    settings, commands = settings_and_commands(DOCUMENT, SECTION)
    theirs = {"NST_MANIFEST": str(manifest), "NST_OUTPUT": str(folder / "nightly")}
    operator = Operator(folder, settings | theirs)
    try:
        for command in commands:
            if not command.startswith(GO_ON):
                operator.outputs.append(operator.do(command))
            else:
                operator.begin(command)
                operator.wait("a server", operator.is_up)
            if "schedule create" in command:
                operator.wait("a scheduled run", lambda: _scheduled(operator))
        yield operator
    finally:
        operator.close()


def _scheduled(operator: Operator) -> list[dict[str, Any]]:
    runs = operator.runs_of("nightly", ["COMPLETED"])
    return [run for run in runs if run["auto_scheduled"]]


def test_a_batch_by_hand_is_made_and_watched_to_its_end(operator: Operator) -> None:
    (run,) = operator.runs_of("adhoc", ["COMPLETED"])
    output = f"{operator.settings['NST_OUTPUT']}-adhoc"
    assert run["name"] == f"manifest.csv to {output}"
    assert run["tags"] == ["nst"]
    assert "Flow run finished successfully in 'Completed'" in "".join(operator.outputs)
    assert sorted(p.name for p in (Path(output) / "images").iterdir()) == ["one.png", "two.png"]
    progress = operator.artifact(run["id"], artifact_key("progress", output))
    assert progress is not None
    assert progress["data"] == 100


def test_the_schedule_fires_and_the_file_has_the_last_word_on_it(operator: Operator) -> None:
    run = _scheduled(operator)[-1]
    output = Path(operator.settings["NST_OUTPUT"])
    assert run["name"] == f"manifest.csv to {output}"
    assert set(run["tags"]) >= {"nst", "nightly"}
    assert sorted(p.name for p in (output / "images").iterdir()) == ["one.png", "two.png"]
    (deployment,) = operator.ask("deployments/filter", deployments={"name": {"any_": ["nightly"]}})
    assert [each["schedule"].get("cron") for each in deployment["schedules"]] == ["0 2 * * *"]


SET_UP = "python deploy/set_up.py"


def what_is_set_up(operator: Operator) -> dict[str, Any]:
    """All that the set-up makes, with its ids, as the server tells it."""
    return {
        "pools": [(p["id"], p["type"]) for p in operator.ask("work_pools/filter")],
        "queues": [
            (q["id"], q["name"], q["priority"])
            for q in operator.ask("work_pools/nst/queues/filter")
        ],
        "variables": [(v["id"], v["name"], v["value"]) for v in operator.ask("variables/filter")],
        "automations": [(a["id"], a["name"]) for a in operator.ask("automations/filter")],
        "deployments": [
            (d["id"], d["name"], d["parameters"], d["work_queue_name"], d["pull_steps"])
            for d in operator.ask("deployments/filter")
        ],
    }


def test_the_set_up_may_be_run_again_and_keeps_what_it_is_not_given(operator: Operator) -> None:
    before = what_is_set_up(operator)
    assert [queue[1:] for queue in before["queues"]][:2] == [("adhoc", 1), ("nightly", 2)]
    assert {variable[1:] for variable in before["variables"]} == {
        ("nst_manifest", operator.settings["NST_MANIFEST"]),
        ("nst_output", operator.settings["NST_OUTPUT"]),
    }
    operator.do(f"env -u NST_MANIFEST -u NST_OUTPUT {SET_UP}")
    assert what_is_set_up(operator) == before


def test_who_is_told_of_failed_rows_is_in_a_block_and_in_no_output(operator: Operator) -> None:
    address = "http://127.0.0.1:1/a-secret-path"
    assert "a-secret-path" not in operator.do(f"NST_WEBHOOK={address} {SET_UP}")
    (block,) = operator.ask(
        "block_documents/filter", block_documents={"name": {"any_": [set_up.NOTIFICATION_BLOCK]}}
    )
    told = [each for each in operator.ask("automations/filter") if "failed rows" in each["name"]]
    assert [each["actions"][0]["block_document_id"] for each in told] == [block["id"]]


def test_an_image_is_built_and_pushed_under_its_name_where_it_is_asked_for(
    operator: Operator, tmp_path: Path
) -> None:
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$(pwd)" "$@" >> {tmp_path}/told\n')
    docker.chmod(0o755)
    # The last step alone: the pool of this server is one of processes.
    given = {"code": "image", "image": "example.org/nst:1"}
    code = f"from deploy import set_up; set_up.deploy({given})"
    operator.do(f"PATH={tmp_path}:$PATH python -c {shlex.quote(code)}")
    # For one deployment after the other, the second time out of the cache.
    build, push = sorted(set((tmp_path / "told").read_text().splitlines()))
    assert build == f"{ROOT} build --file deploy/Dockerfile --tag example.org/nst:1 ."
    assert push == f"{ROOT} push example.org/nst:1"


def test_a_set_up_that_cannot_be_says_what_to_do(operator: Operator) -> None:
    said = operator.do(f"! {SET_UP} --pool-type kubernetes --image example.org/nst:1 2>&1")
    assert "expected one of the type kubernetes, found process" in said
    assert "Traceback" not in said
    said = operator.do(f"! {SET_UP} --code git --release v1 2>&1")
    assert "NST_REPOSITORY: expected a value, found none, nor a Prefect Variable" in said
    assert "Traceback" not in said


def test_an_ad_hoc_run_goes_before_one_of_the_night_that_waits_longer(operator: Operator) -> None:
    ids = {d["name"]: d["id"] for d in operator.ask("deployments/filter")}
    soon = datetime.now(UTC) + timedelta(hours=1)
    # Far enough ahead that the worker leaves them alone.
    when = {"nightly": soon, "adhoc": soon + timedelta(minutes=5)}
    runs = {
        name: operator.ask(
            f"deployments/{ids[name]}/create_flow_run",
            state={"type": "SCHEDULED", "state_details": {"scheduled_time": str(moment)}},
            parameters={"manifest": "/m", "output": "/o"},
        )["id"]
        for name, moment in when.items()
    }
    waiting = operator.ask(
        "work_pools/nst/get_scheduled_flow_runs", scheduled_before=str(soon + timedelta(minutes=9))
    )
    for run in runs.values():
        httpx.delete(f"{operator.api}/flow_runs/{run}", timeout=60).raise_for_status()
    found = [each["flow_run"]["id"] for each in waiting if each["flow_run"]["id"] in runs.values()]
    assert found == [runs["adhoc"], runs["nightly"]]


def test_the_document_names_the_command_that_prefect_run_would_be() -> None:
    _, commands = settings_and_commands(DOCUMENT, SECTION)
    (adhoc,) = [each for each in commands if each.startswith("prefect deployment run")]
    words = shlex.split(adhoc)
    assert words[3] == "stylize-manifest/adhoc"
    assert words[-1] == "--watch"
    assert "Prefect 3 has no `prefect run`" in DOCUMENT.read_text(encoding="utf-8")


def test_a_cancelled_run_stops_at_once_and_says_what_it_keeps(
    operator: Operator, tmp_path: Path
) -> None:
    worker = psutil.Process(operator.process("prefect worker start").pid)
    run = begin_long_run(operator, "adhoc", tmp_path / "out")
    (painter,) = painters(worker)
    operator.do(f"prefect flow-run cancel {run}")
    operator.wait("painting to end", lambda: not is_alive(painter), patience_s=10)
    operator.wait(
        "the run to be cancelled",
        lambda: any(each["id"] == run for each in operator.runs_of("adhoc", ["CANCELLED"])),
        patience_s=25,
    )
    said = "stopped: 1 of 2 pictures were made and are kept"
    operator.wait("the log to say so", lambda: any(said in line for line in operator.messages(run)))
    progress = operator.artifact(run, artifact_key("progress", str(tmp_path / "out")))
    assert progress is not None
    assert progress["description"].startswith(said)
    finish_it(operator, "adhoc", tmp_path / "out")


@pytest.mark.long
def test_a_machine_that_dies_holds_no_slot_and_the_next_run_goes_on(
    operator: Operator, tmp_path: Path
) -> None:
    worker = psutil.Process(operator.process("prefect worker start").pid)
    run = begin_long_run(operator, "nightly", tmp_path / "out")
    (painter,) = painters(worker)
    flow = painter.parent()
    assert flow is not None
    worker.kill()
    flow.kill()
    operator.wait("what paints to end with it", lambda: not is_alive(painter), patience_s=20)
    operator.begin(operator.command("prefect worker start"))
    operator.wait(
        "the silent run to be marked as crashed",
        lambda: any(each["id"] == run for each in operator.runs_of("nightly", ["CRASHED"])),
    )
    # One at a time: had the dead one kept its slot, this one would be cancelled.
    finish_it(operator, "nightly", tmp_path / "out")


@pytest.mark.long
def test_a_run_whose_process_is_killed_is_crashed_and_the_next_goes_on(
    operator: Operator, tmp_path: Path
) -> None:
    worker = psutil.Process(operator.process("prefect worker start").pid)
    run = begin_long_run(operator, "adhoc", tmp_path / "out")
    (painter,) = painters(worker)
    flow = painter.parent()
    assert flow is not None
    flow.kill()
    operator.wait("what paints to end with it", lambda: not is_alive(painter), patience_s=20)
    operator.wait(
        "the run to be crashed",
        lambda: any(each["id"] == run for each in operator.runs_of("adhoc", ["CRASHED"])),
        patience_s=60,
    )
    finish_it(operator, "adhoc", tmp_path / "out")


def bare_environment(folder: Path) -> Path:
    """The programs of an environment with the packages of this one, less those that are checkouts.

    A folder that a file of paths names is searched for packages, and not for such files of its own.
    """
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "those-of-the-tests.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


def repository(folder: Path, *versions: str) -> str:
    """The URL of one that has this project as it is now, under a tag for each version."""
    folder.mkdir()
    for name in ("nst", "flows", "deploy"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "weights")
        )
    project = (ROOT / "pyproject.toml").read_text()
    me = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    for number, version in enumerate(versions):
        text = re.sub(r'(?m)^version = ".*"$', f'version = "{version}"', project)
        (folder / "pyproject.toml").write_text(text)
        steps = ["add --all", "commit --quiet --message=release", f"tag v{version}"]
        for step in [*([] if number else ["init --quiet"]), *steps]:
            subprocess.run(["git", *me, *step.split()], cwd=folder, check=True)
    return f"file://{folder}"


def test_a_worker_on_a_bare_machine_runs_the_release_that_a_variable_names(
    operator: Operator, tmp_path: Path
) -> None:
    programs = bare_environment(tmp_path / "bare")
    alone = f"env --chdir={tmp_path} -u PYTHONPATH PATH={programs}:{os.environ['PATH']}"
    operator.do(f"{alone} python -c 'import prefect, torch'")
    assert "No module named" in operator.do(f"! {alone} python -c 'import nst_flows' 2>&1")
    url = repository(tmp_path / "repository", "9.1.0", "9.2.0")
    manifest = write_project(tmp_path / "in", [row(id="one")])
    worker = operator.command("prefect worker start")
    bare = f"{alone} python -m prefect {worker.removeprefix('prefect ')}"
    try:
        operator.end(worker)
        operator.do(f"{SET_UP} --code git --repository {url} --release v9.1.0")
        # Enough for all workers, without deploying again.
        operator.do("prefect variable set nst_release v9.2.0 --overwrite")
        operator.begin(bare)
        chosen = parameters(manifest=str(manifest), output=str(tmp_path / "out"))
        operator.do(f"prefect deployment run stylize-manifest/adhoc {chosen} --watch")
    finally:
        operator.end(bare)
        operator.do(SET_UP)
        operator.begin(worker)
    assert (tmp_path / "out/images/one.png").exists()
    assert json.loads((tmp_path / "out/run.json").read_text())["versions"]["nst"] == "9.2.0"
