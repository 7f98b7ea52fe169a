"""deploy/constraints.txt: the versions with which the tests passed, of what nst needs and of nothing else."""

import subprocess
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.helpers import ROOT

CONSTRAINTS = ROOT / "deploy/constraints.txt"


def constraints() -> dict[str, Version]:
    """Versions by package, of those lines that hold for this Python."""
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if line and line[0] != "#"]
    found = {}
    for requirement in map(Requirement, lines):
        (pin,) = requirement.specifier
        assert pin.operator == "==", requirement
        if requirement.marker is None or requirement.marker.evaluate():
            found[requirement.name] = Version(pin.version)
    return found


def needs(package: Distribution) -> set[str]:
    """What it needs here without any of its extras, and of nst that for S3 credentials too."""
    extras = ("", "aws") if package.name == "nst" else ("",)
    found = map(Requirement, package.requires or [])
    return {
        canonicalize_name(each.name)
        for each in found
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
    }


def with_extras(package: Distribution) -> set[str]:
    """What it needs here with all of its extras."""
    return {canonicalize_name(Requirement(each).name) for each in package.requires or []}


def installed() -> dict[str, Distribution]:
    """Those of the constraints that are here; on a machine without CUDA its packages are not."""
    found = {}
    for name in constraints():
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            assert name.startswith(("nvidia-", "cuda-", "triton")), name
    return found


def test_what_is_installed_is_of_the_versions_that_are_written_down() -> None:
    written = constraints()
    here = {name: Version(package.version) for name, package in installed().items()}
    differ = {
        f"{name} {version}, found {here[name]}"
        for name, version in written.items()
        if name in here and here[name].public != version.public
    }
    assert not differ, "install with --constraint deploy/constraints.txt, or run make constraints"


def test_all_that_they_need_is_written_down_and_nothing_that_nobody_needs() -> None:
    written = set(constraints())
    packages = [distribution("nst"), *installed().values()]
    lacking = {name for package in packages for name in needs(package)} - written
    assert not lacking, "run make constraints"
    wanted = {name for package in packages for name in with_extras(package)}
    ours = {canonicalize_name(Requirement(e).name) for e in distribution("nst").requires or []}
    tools = ours - needs(distribution("nst"))
    assert not (written - wanted)
    assert "pytest" in tools
    assert not tools & written - {name for p in installed().values() for name in needs(p)}


def lines_of_make(*arguments: str, tmp_path: Path) -> str:
    """What make would run for the demo where nothing is installed yet."""
    command = ["make", "--dry-run", "--always-make", f"VENV={tmp_path}/venv", *arguments, "demo"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("torch", ["cuda", "cpu"])
def test_the_demo_is_set_up_in_these_versions_with_cuda_or_without(
    torch: str, tmp_path: Path
) -> None:
    lines = lines_of_make(f"TORCH={torch}", tmp_path=tmp_path).splitlines()
    pip = [line.partition(" -m pip install ")[2] for line in lines if " -m pip install " in line]
    assert all("--constraint deploy/constraints.txt" in line for line in pip)
    *before, own = pip
    assert own.endswith("--editable .")
    wanted = "--no-deps --index-url https://download.pytorch.org/whl/cpu torch torchvision"
    assert [line.endswith(wanted) for line in before] == ([True] if torch == "cpu" else [])


def test_the_demo_says_how_much_it_installs_and_the_way_around_it(tmp_path: Path) -> None:
    said = lines_of_make("TORCH=cuda", tmp_path=tmp_path)
    (line,) = [line for line in said.splitlines() if line.startswith("echo") and "GB" in line]
    assert "minutes" in line
    assert "make demo TORCH=cpu" in line
    assert said.index("GB") < said.index("pip install")
    assert "TORCH: expected cpu or cuda, found gpu" in lines_of_make("TORCH=gpu", tmp_path=tmp_path)
