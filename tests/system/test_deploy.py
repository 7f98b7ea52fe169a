"""What an operator types, from deploy/README.md itself, against a real server and worker."""

import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from deploy import set_up
from nst_flows.summary import artifact_key
from tests.helpers import ROOT
from tests.operators import (
    Operator,
    begin_long_run,
    finish_it,
    is_alive,
    painters,
    scheduled,
)


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
    run = scheduled(operator)[-1]
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
        operator.delete(f"flow_runs/{run}")
    found = [each["flow_run"]["id"] for each in waiting if each["flow_run"]["id"] in runs.values()]
    assert found == [runs["adhoc"], runs["nightly"]]


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
