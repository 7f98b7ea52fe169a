"""What deploy/set_up.py takes and refuses before it has touched a server."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from deploy import from_git, set_up
from tests.helpers import ROOT
from tests.servers import free_ports

COMPLETE = {"NST_MANIFEST": "s3://b/m.csv", "NST_OUTPUT": "s3://b/out"}


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for option in set_up.OPTIONS.values():
        monkeypatch.delenv(option.variable, raising=False)


@pytest.fixture
def nobody() -> Any:
    """A server's address at which nobody answers."""
    (port,) = free_ports(1)
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{port}/api"}):
        yield port


def test_the_command_line_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_MANIFEST", "/from/environment")
    # As Compose has one that is not set.
    monkeypatch.setenv("NST_BUCKET", "")
    assert set_up.settings(["--output", "/out"]) == {
        "manifest": "/from/environment",
        "output": "/out",
        "pool_type": "process",
        "code": "installed",
    }
    assert set_up.settings(["--manifest", "/given"])["manifest"] == "/given"


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"NST_MANIFEST": "night/rows.csv"}, "NST_MANIFEST: expected an absolute path or a URL"),
        ({"NST_OUTPUT": "out"}, "NST_OUTPUT: expected an absolute path or a URL"),
        ({"NST_POOL_TYPE": "dokcer"}, "NST_POOL_TYPE: expected process or kubernetes"),
        ({"NST_CODE": "svn"}, "NST_CODE: expected installed or git or image, found 'svn'"),
        ({"NST_POOL_TYPE": "kubernetes"}, "NST_IMAGE: expected an image's name"),
        ({"NST_CODE": "image"}, "NST_CODE: expected a pool whose jobs are containers"),
        ({"NST_GPUS": "-1"}, "NST_GPUS: expected a number from 0 on, found '-1'"),
        ({}, "expected a Prefect server at http://127.0.0.1:"),
    ],
)
def test_what_cannot_be_is_one_message(
    changed: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in (COMPLETE | changed).items():
        monkeypatch.setenv(name, value)
    assert set_up.main([]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert message in said.err


def test_without_a_server_named_none_is_started(capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert set_up.main(["--manifest", "/m", "--output", "/o"]) == 1
    assert "PREFECT_API_URL: expected the address" in capsys.readouterr().err


@pytest.mark.parametrize("code", set_up.CODE)
def test_every_way_of_the_code_is_in_prefect_yaml_and_leaves_no_definition(code: str) -> None:
    file = yaml.safe_load((ROOT / "deploy/prefect.yaml").read_text())
    assert set(file["definitions"]["code"]) == set(set_up.CODE)
    made = set_up.with_steps(file, code)
    assert "definitions" not in made
    assert made["deployments"] == file["deployments"]
    assert made | file["definitions"]["code"][code] == made
    # And the file as it stands is the first way.
    assert set_up.with_steps(file, "installed")["pull"] == file["pull"] == []


JOBS = {"pool_type": "kubernetes", "image": "example.org/nst:1"}


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({}, {}),
        ({"gpus": "2"}, {"gpus": 2}),
        ({"gpus": "0"}, {"gpus": 0, "node_selector": {}, "tolerations": []}),
        ({"pull_secret": "mine"}, {"image_pull_secrets": [{"name": "mine"}]}),
    ],
)
def test_a_pool_of_jobs_has_what_is_given_and_else_what_the_file_says(
    given: dict[str, str], changed: dict[str, Any]
) -> None:
    template = json.loads((ROOT / "deploy/kubernetes/job-template.json").read_text())
    for name, value in ({"image": "example.org/nst:1"} | changed).items():
        template["variables"]["properties"][name]["default"] = value
    assert set_up.job_template(JOBS | given) == template


def test_what_an_environment_lacks_is_told_from_what_it_has() -> None:
    requirements = ["pytest", "pytest>=1,<1000", "pytest>=1000", "no-such-package-as-this>=1"]
    assert list(from_git.not_satisfied(requirements)) == requirements[2:]


def test_what_is_lacking_is_installed_where_the_worker_runs_in_the_releases_own_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(
        "deploy.from_git.subprocess.run", lambda command, check: told.append([*map(str, command)])
    )
    from_git.install(["numpy>=2", "torch>=2"])
    ((python, _, *pip),) = told
    assert python == sys.executable
    assert pip[:2] == ["pip", "install"]
    constraints = str(ROOT / "deploy/constraints.txt")
    assert pip[-4:] == ["--constraint", constraints, "numpy>=2", "torch>=2"]


def test_everybody_calls_the_one_script() -> None:
    """Wherever a pool or a deployment is made, it is by the script."""
    own = {"deploy/set_up.py", "tests/test_set_up.py"}
    steps = ("work-pool create", "prefect deploy --all", "automation create")
    for path in [ROOT / "README.md", *ROOT.glob("deploy/**/*"), *ROOT.glob("docs/*.md")]:
        if path.is_file() and path.suffix in {".md", ".yaml", ".py", ".sh", ".json"}:
            if str(path.relative_to(ROOT)) in own:
                continue
            text = path.read_text(encoding="utf-8")
            assert not [step for step in steps if step in text], path
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    assert compose["services"]["setup"]["command"] == ["/opt/nst/deploy/set_up.py"]
    job = yaml.safe_load((ROOT / "deploy/kubernetes/set-up.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == compose["services"]["setup"]["command"]
    assert "python deploy/set_up.py" in (ROOT / "deploy/README.md").read_text()
    assert Path(set_up.__file__) == ROOT / "deploy/set_up.py"
