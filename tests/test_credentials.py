"""S3 credentials from a block: where they go while a run lasts, and where they do not."""

import sys

import pytest
from prefect_aws import AwsClientParameters, AwsCredentials

from nst.errors import ConfigError
from nst_flows import credentials


def test_a_block_of_what_the_environment_cannot_say_is_refused() -> None:
    for block in (
        AwsCredentials(assume_role_arn="arn:aws:iam::1:role/r"),
        AwsCredentials(aws_client_parameters=AwsClientParameters(verify=False)),
    ):
        with pytest.raises(ConfigError, match="'b' to hold keys or a profile"):
            credentials._variables(block, "b")


def test_a_block_leaves_the_rest_of_the_environment_alone() -> None:
    assert credentials._variables(AwsCredentials(region_name="eu-west-1"), "b") == {
        "AWS_DEFAULT_REGION": "eu-west-1"
    }
    chosen = credentials._variables(AwsCredentials(profile_name="night"), "b")
    assert chosen["AWS_PROFILE"] == "night"
    assert chosen["AWS_ACCESS_KEY_ID"] is None


def test_without_prefect_aws_a_block_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "prefect_aws", None)
    with (
        pytest.raises(ConfigError, match=r"pip install 'nst\[aws\]'"),
        credentials.credentials_of("night-store"),
    ):
        raise AssertionError("not reached")
