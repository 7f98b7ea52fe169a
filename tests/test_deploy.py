import importlib

import yaml

from tests.helpers import ROOT


def test_the_deployment_names_a_flow_and_nothing_to_fetch() -> None:
    settings = yaml.safe_load((ROOT / "deploy/prefect.yaml").read_text())
    assert settings["pull"] == []
    for deployment in settings["deployments"]:
        module, _, name = deployment["entrypoint"].rpartition(".")
        flow = getattr(importlib.import_module(module), name)
        assert set(deployment.get("parameters", {})) <= set(flow.parameters.properties)
        assert f"prefect deployment run {flow.name}/{deployment['name']}" in (
            ROOT / "README.md"
        ).read_text(encoding="utf-8")
