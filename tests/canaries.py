"""Credentials that are easy to find again, in the environment of a run that reads from S3."""

import pytest

from nst import storage
from tests.helpers import csv_bytes, picture_bytes, row

KEY = "AKIACANARYCANARYCANA"
SECRET = "canary/secret+canary/secret+canary/secret"
TOKEN = "canary-session-token-canary"
# One that the environment does not have.
OF_A_URL = "canary-of-a-url"
CANARIES = tuple(text.encode() for text in (KEY, SECRET, TOKEN, OF_A_URL))


def with_canaries(bucket: str, patch: pytest.MonkeyPatch) -> tuple[str, list[tuple[str, int]]]:
    """The manifest of a run with these credentials, and outputs with the exit status of each.

    One row is painted, three fail, two of them for a credential of their own; `--keep-going` goes with
    it. The last output has the credentials in its URL and is refused.
    """
    rows = [
        row(id="one", size=48, steps=1, label_x="signature=Monet"),
        row("no.png", id="two"),
        row(f"https://host.org/a.png?token={OF_A_URL}", id="three"),
        row(id="four", label_x=f"https://me:{OF_A_URL}@host.org"),
    ]
    storage.write_bytes(f"{bucket}/in/manifest.csv", csv_bytes(rows))
    storage.write_bytes(f"{bucket}/in/a.png", picture_bytes(48, 64))
    storage.write_bytes(f"{bucket}/in/s.png", picture_bytes(64, 64, seed=1))
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
    }.items():
        patch.setenv(name, value)
    signed = f"s3://{KEY}:{SECRET}@bucket/run"
    return f"{bucket}/in/manifest.csv", [(f"{bucket}/out", 3), (signed, 2)]


def lines_with_canaries(printed: bytes) -> list[bytes]:
    return [line for line in printed.splitlines() if any(each in line for each in CANARIES)]


def files_of(bucket: str) -> dict[str, bytes]:
    """All but the manifest, which is its owner's and has a canary of its own."""
    return {
        path: storage.read_bytes(f"{bucket}/{path}")
        for path in storage.list_tree(bucket)
        if path != "in/manifest.csv"
    }
