"""S3 credentials from a block, in a run on a Prefect server."""

import os
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect_aws import AwsClientParameters, AwsCredentials
from pydantic import SecretStr

from nst.errors import ConfigError
from nst.running.reports import RunReport
from nst_flows.stylize import stylize_manifest
from tests import servers
from tests.helpers import row, write_project


def everything_told() -> list[str]:
    """Runs with their parameters, logs and artifacts, once the end of the run is in the log."""
    give_up = time.monotonic() + 60
    while True:
        with get_client(sync_client=True) as client:
            logs = [each.model_dump_json() for each in client.read_logs()]
            runs = [each.model_dump_json() for each in client.read_flow_runs()]
            artifacts = [each.model_dump_json() for each in client.read_artifacts()]
        if any("rows ok" in text for text in logs) or time.monotonic() > give_up:
            return [*logs, *runs, *artifacts]
        time.sleep(0.2)


@pytest.mark.usefixtures("prefect_server")
def test_credentials_of_a_block_reach_the_process_that_paints_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = servers.moto_url()
    write_project(tmp_path, [row(id="one")])
    names = ("manifest.csv", "a.png", "s.png")
    files = {f"in/{name}": (tmp_path / name).read_bytes() for name in names}
    servers.copy_up(url, "night", files)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    # Of other keys, and so of no use with those of the block.
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-another")
    block = AwsCredentials(
        aws_access_key_id=servers.KEY_ID,
        aws_secret_access_key=SecretStr(servers.SECRET),
        region_name="us-east-1",
        aws_client_parameters=AwsClientParameters(endpoint_url=url),
    )
    block.save("night-store", overwrite=True)
    state: State[RunReport] = stylize_manifest(  # type: ignore[assignment]
        "s3://night/in/manifest.csv",
        "s3://night/out",
        credentials_block="night-store",
        return_state=True,
    )
    assert state.result().num_ok == 1
    s3 = servers.client(url)
    listed = s3.list_objects_v2(Bucket="night", Prefix="out/")["Contents"]
    assert "out/images/one.png" in {each["Key"] for each in listed}
    assert {n: v for n, v in os.environ.items() if n.startswith("AWS_")} == {
        "AWS_SESSION_TOKEN": "of-another"
    }
    told = everything_told()
    bodies = [s3.get_object(Bucket="night", Key=each["Key"])["Body"].read() for each in listed]
    assert any("night-store" in text for text in told)
    assert any("1 of 1 rows ok" in text for text in told)
    for secret in (servers.SECRET, servers.KEY_ID):
        assert not any(secret in text for text in told)
        assert not any(secret.encode() in body for body in bodies)


@pytest.mark.usefixtures("prefect_server")
def test_a_block_that_is_not_there_is_named(tmp_path: Path) -> None:
    manifest = write_project(tmp_path / "in", [row(id="one")])
    state: State[RunReport] = stylize_manifest(  # type: ignore[assignment]
        str(manifest), str(tmp_path / "out"), credentials_block="nobodys", return_state=True
    )
    with pytest.raises(ConfigError, match="an AWS Credentials block called 'nobodys'"):
        state.result()
    assert not (tmp_path / "out").exists()
