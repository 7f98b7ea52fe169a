"""Buckets of a test's own on moto, which our code reaches through a proxy only."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from nst.storage import s3, stores
from nst.storage.retries import persistently
from tests import servers
from tests.faults import FaultProxy


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket by its name, the proxy before it, and a client that goes past both proxy and our code."""

    proxy: FaultProxy
    bucket: str

    @property
    def direct(self) -> Any:
        return servers.client(servers.moto_url())

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def stored(self, uri: str) -> bytes:
        """What the server really has."""
        bucket, key = s3.split(uri)
        data: bytes = self.direct.get_object(Bucket=bucket, Key=key)["Body"].read()
        return data


def bucket_behind(
    proxy: FaultProxy, files: Mapping[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> str:
    """The name of a new bucket of these objects; the environment points to the proxy."""
    for name, value in servers.environment(proxy.url).items():
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{secrets.token_hex(6)}"
    servers.copy_up(servers.moto_url(), bucket, files)
    return bucket


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass between tries, nor in them, for our code as for the test.

    So a request to a store that stays out of order is tried at 0, 1, 3, 7, 15, 31 and 40 seconds, and
    at 0, 1, 3, 7 and 8 of a store that has never answered.
    """
    at_once = partial(
        persistently, sleep=lambda _: None, clock=lambda: 0.0, uniform=lambda low, high: high
    )
    for module in (s3, stores):
        monkeypatch.setattr(module, "persistently", at_once)
