"""The files of deploy/ against the schemas and linters of what reads them: none of it can be built
or started where the tests run."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from compose_spec.models import ComposeSpecification
from prefect.settings import PREFECT_API_URL, Settings, temporary_settings
from prefect.workers.base import BaseJobConfiguration
from pydantic import Field, ValidationError

from deploy import set_up
from tests.helpers import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
DOCKERFILE = DEPLOY / "Dockerfile"
KUBERNETES = DEPLOY / "kubernetes"
JOB_TEMPLATE = KUBERNETES / "job-template.json"
# What a secret is called, where it is not said where it comes from.
SECRET = re.compile(r"(?i)(password|secret|auth|token|access_key)")
FROM_OUTSIDE = re.compile(r"\$\{(?P<name>\w+)(?P<default>:-[^}]*|:\?[^}]*)?\}")
UID = 10001


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def instructions() -> list[list[str]]:
    """The lines of the Dockerfile, put together where they go on, each in words."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line.strip()]


def last(instruction: str) -> list[str]:
    return [words[1:] for words in instructions() if words[0] == instruction][-1]


def example() -> dict[str, str]:
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_is_pinned_runs_as_a_number_and_copies_what_is_there() -> None:
    stages = {words[3] for words in instructions() if words[0] == "FROM" and len(words) > 2}
    for base in (words[1] for words in instructions() if words[0] == "FROM"):
        assert base in stages or is_pinned(base), base
    assert last("USER") == [str(UID)]
    assert not any(words[0] == "VOLUME" for words in instructions())
    kept = [
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line
    ]
    for words in instructions():
        if words[0] == "COPY" and not words[1].startswith("--from"):
            for source in words[1:-1]:
                path = source.replace("${WEIGHTS}/", "deploy/weights")
                assert list(ROOT.glob(path)), source
                assert any(path == each or path.startswith(f"{each}/") for each in kept), source


def test_the_image_has_the_versions_that_are_written_down_and_cuda_where_it_is_wanted() -> None:
    installs = [
        line
        for line in re.sub(r"\\\n\s*", "", DOCKERFILE.read_text()).splitlines()
        if "pip install" in line and "dist/nst" not in line
    ]
    commands = [each for line in installs for each in line.split("/opt/nst/bin/")[1:]]
    assert [each.startswith("pip install --constraint constraints.txt ") for each in commands] == [
        True,
        True,
    ]
    assert "https://download.pytorch.org/whl/cpu torch torchvision" in commands[0]
    assert 'if [ "$TORCH" = cpu ]' in installs[0]
    assert ["TORCH=cuda"] in [words[1:] for words in instructions() if words[0] == "ARG"]
    # CUDA comes with PyTorch, or not at all.
    assert not any("cuda" in words[1] for words in instructions() if words[0] == "FROM")


def test_the_box_without_a_gpu_differs_in_its_image_and_its_worker_alone() -> None:
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!reset", lambda loader, node: "reset")
    override = yaml.load((DEPLOY / "compose.cpu.yaml").read_text(), Loader)
    assert override == {
        "services": {
            "server": {"build": {"args": {"TORCH": "cpu"}}},
            "worker": {"deploy": "reset"},
        }
    }
    devices = services()["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert [each["driver"] for each in devices] == ["nvidia"]


def test_every_program_that_a_container_starts_is_there() -> None:
    programs = {each.name for each in entry_points(group="console_scripts")}
    commands = [json.loads(" ".join(last("CMD")))]
    commands += [service["command"] for name, service in services().items() if is_ours(service)]
    for program, *_ in commands:
        in_image = program.removeprefix("/opt/nst/")
        assert program in programs or (ROOT / in_image).stat().st_mode & 0o111, program


def test_compose_has_what_its_schema_knows_and_nothing_else() -> None:
    settings = yaml.safe_load(COMPOSE.read_text())
    # Those that start so are the file's own.
    settings = {name: value for name, value in settings.items() if not name.startswith("x-")}
    ComposeSpecification.model_validate(settings, extra="forbid")
    settings["services"]["worker"]["comand"] = ["x"]
    with pytest.raises(ValidationError, match="comand"):
        ComposeSpecification.model_validate(settings, extra="forbid")


def test_compose_is_pinned_private_and_in_order() -> None:
    found = services()
    for name, service in found.items():
        # What is built here has no digest before it is.
        assert is_pinned(service["image"]) or is_ours(service), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
        for other, how in service.get("depends_on", {}).items():
            is_last = how["condition"] == "service_completed_successfully"
            assert is_last != ("healthcheck" in found[other]), (name, other)
    assert last("FROM")[0] == "python"
    assert {service["image"] for service in found.values() if is_ours(service)} == {
        f"nst:{version()}"
    }


def test_every_variable_of_compose_is_in_the_example_and_no_secret_is() -> None:
    used = {each["name"] for each in FROM_OUTSIDE.finditer(COMPOSE.read_text())}
    assert used == set(example())
    assert not [name for name, value in example().items() if value and SECRET.search(name)]
    for service in services().values():
        for name, value in service.get("environment", {}).items():
            assert not SECRET.search(name) or FROM_OUTSIDE.fullmatch(value), name
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", "deploy/.env"], cwd=ROOT, check=False
    )
    assert ignored.returncode == 0


def test_every_prefect_setting_of_compose_is_one() -> None:
    known = set(setting_names(Settings))
    for service in services().values():
        named = {n for n in service.get("environment", {}) if n.startswith("PREFECT_")}
        assert named <= known


class _Job(BaseJobConfiguration):
    """What the Kubernetes worker makes of a template, as far as Prefect's own package goes."""

    job_manifest: dict[str, Any] = Field()
    namespace: str = "default"


def filled_in(template: dict[str, Any]) -> dict[str, Any]:
    """The job that Prefect's worker makes of a template, as far as Kubernetes is to see it."""
    values = {"name": "x", "command": "prefect flow-run execute"}
    # Whoever fills in a template gets a client, which else would start a server.
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        filled: Any = asyncio.run(
            _Job.from_template_and_values(base_job_template=template, values=values)
        )
    job: dict[str, Any] = filled.job_manifest
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    # Prefect insists on these two where Kubernetes has no such fields, and drops them.
    assert [pod.pop(name) for name in ("parallelism", "completions")] == [1, 1]
    # The worker's own, which it makes a list of.
    container["args"] = container["args"].split()
    assert container.pop("env", None) in (None, {})
    return job


def test_the_job_template_becomes_a_job_that_kubernetes_knows() -> None:
    job = filled_in(json.loads(JOB_TEMPLATE.read_text()))
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["envFrom"] == [{"secretRef": {"name": "nst-store"}}]
    assert pod["securityContext"]["runAsUser"] == UID
    assert pod["imagePullSecrets"] == []
    assert container["image"] == f"nst:{version()}"


def test_a_job_without_a_gpu_waits_for_no_node_that_has_one() -> None:
    job = filled_in(
        set_up.job_template(
            {"pool_type": "kubernetes", "image": "i:1-cpu", "gpus": "0", "pull_secret": "mine"}
        )
    )
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 0
    assert "nvidia" not in json.dumps([pod.get("nodeSelector"), pod.get("tolerations")])
    assert pod["imagePullSecrets"] == [{"name": "mine"}]


@pytest.mark.parametrize("name", ["set-up.yaml", "leases.yaml"])
def test_what_else_kubernetes_is_told_it_knows(name: str) -> None:
    told = yaml.safe_load((KUBERNETES / name).read_text())
    kubernetes_validate.validate(told, kubernetes_validate.latest_version(), strict=True)


def test_the_set_up_in_the_cluster_says_all_that_it_takes_and_one_image() -> None:
    job = yaml.safe_load((KUBERNETES / "set-up.yaml").read_text())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    taken = {option.variable for option in set_up.OPTIONS.values()}
    assert {name for name in env if name.startswith("NST_")} <= taken
    assert container["image"] == env["NST_IMAGE"] == f"nst:{version()}"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert job["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == UID


def values(chart: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((KUBERNETES / f"{chart}-values.yaml").read_text())
    return found


def test_server_worker_and_set_up_meet() -> None:
    server, worker = values("server"), values("worker")["worker"]
    told = yaml.safe_load((KUBERNETES / "set-up.yaml").read_text())
    env = {e["name"]: e for e in told["spec"]["template"]["spec"]["containers"][0]["env"]}
    reached = worker["selfHostedServerApiConfig"]
    assert reached["apiUrl"] == env["PREFECT_API_URL"]["value"]
    secrets = {
        server["server"]["basicAuth"]["existingSecret"],
        reached["basicAuth"]["existingSecret"],
        env["PREFECT_API_AUTH_STRING"]["valueFrom"]["secretKeyRef"]["name"],
    }
    assert len(secrets) == 1
    assert worker["config"]["workPool"] == set_up.POOL
    assert worker["config"]["type"] in set_up.POOL_TYPES
    claim = yaml.safe_load((KUBERNETES / "leases.yaml").read_text())["metadata"]["name"]
    assert server["server"]["extraVolumes"][0]["persistentVolumeClaim"]["claimName"] == claim
    named = {each["name"] for each in server["server"]["env"]}
    assert named <= set(setting_names(Settings))


def test_the_charts_run_the_prefect_that_the_jobs_have() -> None:
    (pinned,) = re.findall(
        r"^prefect==(.*)$", (DEPLOY / "constraints.txt").read_text(), re.MULTILINE
    )
    tags = [
        values("server")["global"]["prefect"]["image"]["prefectTag"],
        values("worker")["worker"]["image"]["prefectTag"],
    ]
    (python,) = re.findall(r"^FROM python:(\d+\.\d+)\.", DOCKERFILE.read_text(), re.MULTILINE)
    assert tags == [f"{pinned}-python{python}", f"{pinned}-python{python}-kubernetes"]


@pytest.mark.parametrize("chart", ["server", "worker"])
def test_a_chart_has_the_values_that_it_is_given(chart: str) -> None:
    """Where NST_PREFECT_HELM names a checkout of Prefect's charts, whose schemas know their values."""
    folder = os.environ.get("NST_PREFECT_HELM")
    if not folder:
        pytest.skip("NST_PREFECT_HELM names no checkout of Prefect's Helm charts")
    of_chart = Path(folder) / f"charts/prefect-{chart}"
    schema = json.loads((of_chart / "values.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(values(chart))
    known = yaml.safe_load((of_chart / "values.yaml").read_text())
    assert not list(unknown(values(chart), known))


def unknown(given: dict[str, Any], known: Any) -> Iterator[str]:
    """The names of values that a chart has no default for, and so does not look at."""
    for name, value in given.items():
        if name not in known:
            yield name
        elif isinstance(value, dict) and known[name]:
            yield from unknown(value, known[name])


def test_the_job_template_uses_every_variable_and_no_other() -> None:
    template = json.loads(JOB_TEMPLATE.read_text())
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(template["job_configuration"])))
    assert used == set(template["variables"]["properties"])


def is_pinned(image: str) -> bool:
    """Whether it has a tag that names a version, for who reads it, and a digest, which decides."""
    return bool(re.fullmatch(r"[\w./-]+:\d[\w.-]*@sha256:[0-9a-f]{64}", image))


def is_ours(service: dict[str, Any]) -> bool:
    return str(service["image"]).startswith("nst:")


def version() -> str:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found
    return found[1]


def setting_names(model: Any, prefix: str = "PREFECT") -> list[str]:
    """The variables of all settings, those of groups within groups too."""
    names = []
    for name, field in model.model_fields.items():
        path = f"{prefix}_{name.upper()}"
        if hasattr(field.annotation, "model_fields"):
            names += setting_names(field.annotation, path)
        else:
            names.append(path)
    return names
