"""What an operator types, from deploy/README.md itself, against a real server and worker."""

import importlib
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.helpers import ROOT, row, write_project
from tests.operators import Operator, parameters, settings_and_commands

DOCUMENT = ROOT / "deploy/README.md"
SECTION = "From nothing to a nightly run"
# Commands that go on until somebody ends them.
GO_ON = ("prefect server start", "prefect worker start")


def deployments() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/prefect.yaml").read_text())[
        "deployments"
    ]
    return found


def test_the_deployments_name_a_flow_and_nothing_to_fetch() -> None:
    assert yaml.safe_load((ROOT / "deploy/prefect.yaml").read_text())["pull"] == []
    for deployment in deployments():
        module, _, name = deployment["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        assert set(deployment.get("parameters", {})) <= set(flow.parameters.properties)
        assert f"{flow.name}/{deployment['name']}" in DOCUMENT.read_text(encoding="utf-8")
        assert "nst" in deployment["tags"]


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
    progress = operator.artifact(run["id"], "stylize-progress")
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


def test_the_document_names_the_command_that_prefect_run_would_be() -> None:
    _, commands = settings_and_commands(DOCUMENT, SECTION)
    (adhoc,) = [each for each in commands if each.startswith("prefect deployment run")]
    words = shlex.split(adhoc)
    assert words[3] == "stylize-manifest/adhoc"
    assert words[-1] == "--watch"
    assert "Prefect 3 has no `prefect run`" in DOCUMENT.read_text(encoding="utf-8")


# So many steps on so small a picture take minutes, each of them milliseconds.
LONG_STEPS = 100_000


def painters(worker: psutil.Process) -> list[psutil.Process]:
    """The processes below a worker that paint."""
    return [
        process
        for process in worker.children(recursive=True)
        if any("nst.worker" in word for word in process.cmdline())
    ]


def is_alive(process: psutil.Process) -> bool:
    """Whether it does anything: one whose parent is gone may wait for nobody to ask for its end."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def begin_long_run(operator: Operator, deployment: str, output: Path) -> str:
    """The id of a run that has made its first picture and paints one that takes minutes."""
    rows = [row(id="quick"), row("b.png", id="long", steps=LONG_STEPS)]
    manifest = write_project(output.with_name(f"{output.name}-in"), rows)
    chosen = parameters(manifest=str(manifest), output=str(output))
    # One that the schedule has begun, and that would have this one cancelled.
    operator.wait("no other run", lambda: not operator.runs_of(deployment, ["RUNNING", "PENDING"]))
    operator.do(f"prefect deployment run stylize-manifest/{deployment} {chosen}")

    def has_begun() -> str | None:
        for run in operator.runs_of(deployment, ["RUNNING"]):
            progress = operator.artifact(run["id"], "stylize-progress")
            is_long = progress and "1/2 pictures" in str(progress["description"])
            if is_long:
                return str(run["id"])
        return None

    return operator.wait("a run that paints its second picture", has_begun)


def finish_it(operator: Operator, deployment: str, output: Path) -> None:
    """Run the same again, with few steps for what is left, to its end."""
    manifest = output.with_name(f"{output.name}-in") / "manifest.csv"
    write_project(manifest.parent, [row(id="quick"), row("b.png", id="long")])
    made = (output / "images/quick.png").stat().st_mtime_ns
    chosen = parameters(manifest=str(manifest), output=str(output))
    operator.do(f"prefect deployment run stylize-manifest/{deployment} {chosen} --watch")
    run = operator.runs_of(deployment, ["COMPLETED"])[0]
    assert run["name"].endswith(str(output))
    assert (output / "images/long.png").exists()
    # Kept from the run that was stopped, not made again.
    assert (output / "images/quick.png").stat().st_mtime_ns == made


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
    progress = operator.artifact(run, "stylize-progress")
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
