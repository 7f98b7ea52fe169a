"""Machines that die under a run of a deployment, and one that gets the release from a repository."""

import json
import os
import re
import shutil
import subprocess
import sysconfig
import venv
from pathlib import Path

import psutil

from tests.helpers import ROOT, row, write_project
from tests.operators import (
    Operator,
    begin_long_run,
    finish_it,
    is_alive,
    painters,
    parameters,
)


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
        operator.do(f"python deploy/set_up.py --code git --repository {url} --release v9.1.0")
        # Enough for all workers, without deploying again.
        operator.do("prefect variable set nst_release v9.2.0 --overwrite")
        operator.begin(bare)
        chosen = parameters(manifest=str(manifest), output=str(tmp_path / "out"))
        operator.do(f"prefect deployment run stylize-manifest/adhoc {chosen} --watch")
    finally:
        operator.end(bare)
        operator.do("python deploy/set_up.py")
        operator.begin(worker)
    assert (tmp_path / "out/images/one.png").exists()
    assert json.loads((tmp_path / "out/run.json").read_text())["versions"]["nst"] == "9.2.0"
