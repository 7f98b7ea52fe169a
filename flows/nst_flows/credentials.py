"""S3 credentials from a named Prefect block, for the duration of a run.

They are put into the environment of this process, which the painting process inherits. So they are
in no parameter, message or file.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from nst.errors import ConfigError

if TYPE_CHECKING:
    from prefect_aws import AwsCredentials

_SLUG = "aws-credentials/"


@contextmanager
def credentials_of(block: str | None) -> Iterator[None]:
    """Within this, the environment has the credentials, region and endpoint of the block.

    Raises ConfigError if the block is missing, or has a setting that the environment cannot express.
    """
    if block is None:
        yield
        return
    chosen = _variables(_load(block), block)
    before = {name: os.environ.get(name) for name in chosen}
    _set(chosen)
    try:
        yield
    finally:
        _set(before)


def _load(name: str) -> "AwsCredentials":
    try:
        from prefect_aws import AwsCredentials
    except ImportError as exc:
        raise ConfigError(
            "credentials_block: expected prefect-aws in the worker's environment, found none; "
            "pip install 'nst[aws]'"
        ) from exc
    try:
        # Typed as if it might be asynchronous, which it is not in a flow that is not.
        return cast(AwsCredentials, AwsCredentials.load(name.removeprefix(_SLUG)))
    except ValueError as exc:
        raise ConfigError(
            f"credentials_block: expected an AWS Credentials block called {name!r}, found none; "
            "make it in Prefect's UI under Blocks"
        ) from exc


def _variables(block: "AwsCredentials", name: str) -> Mapping[str, str | None]:
    """The environment variables of a block; None for a variable that must be unset."""
    parameters = block.aws_client_parameters
    if block.assume_role_arn or parameters.verify is False:
        raise ConfigError(
            f"credentials_block: expected {name!r} to hold keys or a profile, found a role to "
            "assume or certificates not to verify; give the worker that role, or that certificate"
        )
    secret = block.aws_secret_access_key
    chosen: dict[str, str | None] = {}
    if block.aws_access_key_id or block.profile_name:
        # All of them: a token or a profile that was there before would be for other keys.
        chosen |= {
            "AWS_ACCESS_KEY_ID": block.aws_access_key_id,
            "AWS_SECRET_ACCESS_KEY": secret.get_secret_value() if secret else None,
            "AWS_SESSION_TOKEN": block.aws_session_token,
            "AWS_PROFILE": block.profile_name,
        }
    # Which is either a path or whether to look at all.
    verify = None if isinstance(parameters.verify, bool) else parameters.verify
    places = {
        "AWS_DEFAULT_REGION": block.region_name,
        "AWS_ENDPOINT_URL": parameters.endpoint_url,
        "AWS_CA_BUNDLE": parameters.verify_cert_path or verify,
    }
    return chosen | {variable: str(place) for variable, place in places.items() if place}


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
