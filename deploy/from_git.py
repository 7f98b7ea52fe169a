"""Make the release in this file's clone importable in the working folder of a run.

A pull step of prefect.yaml calls it, with that folder as the current one. It copies the packages there,
so that runs of several releases do not meet, and installs into the worker's environment what of the
release's dependencies is not there or too old: on a new machine all of them, otherwise mostly nothing.
"""

import fcntl
import importlib.metadata
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

CLONE = Path(__file__).resolve().parent.parent


def main() -> None:
    settings = tomllib.loads((CLONE / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    # One at a time: workers for several GPUs of a machine share its environment.
    with (Path(sys.prefix) / "nst.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if lacking := list(not_satisfied(project["dependencies"])):
            install(lacking)
    for package in settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        shutil.copytree(CLONE / package, Path(package).name)
    write_metadata(project)


def not_satisfied(requirements: Iterable[str]) -> Iterable[str]:
    """The requirements that this environment does not meet."""
    for text in requirements:
        requirement = Requirement(text)
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield text
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            yield text


def install(requirements: list[str]) -> None:
    print(f"installing {', '.join(requirements)}", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    constraints = CLONE / "deploy/constraints.txt"
    subprocess.run([*pip, "--constraint", constraints, *requirements], check=True)


def write_metadata(project: dict[str, Any]) -> None:
    """Write the package's metadata, from which it reads its version, as an installer does."""
    folder = Path(f"{project['name']}-{project['version']}.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )


if __name__ == "__main__":
    main()
