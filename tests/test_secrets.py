"""Credentials are used, and are nowhere to be found afterwards."""

import pytest

from nst import storage
from tests.helpers import csv_bytes, nst, picture_bytes, row

KEY = "AKIACANARYCANARYCANA"
SECRET = "canary/secret+canary/secret+canary/secret"
TOKEN = "canary-session-token-canary"
# One that the environment does not have.
OF_A_URL = "canary-of-a-url"
CANARIES = tuple(text.encode() for text in (KEY, SECRET, TOKEN, OF_A_URL))


def test_no_output_and_no_message_has_them(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
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
        monkeypatch.setenv(name, value)
    # A URL with credentials in it is refused, and told of without them.
    signed = f"s3://{KEY}:{SECRET}@bucket/run"
    for output, status in ((f"{bucket}/out", 3), (signed, 2)):
        done = nst(
            "run", f"{bucket}/in/manifest.csv", "--output", output, "--no-isolate", "--keep-going"
        )
        assert done.returncode == status, done.stderr
        printed = (done.stdout + done.stderr + caplog.text).encode().splitlines()
        assert [line for line in printed if any(each in line for each in CANARIES)] == []
    left = {
        path: storage.read_bytes(f"{bucket}/{path}")
        for path in storage.list_tree(bucket)
        # Its owner's own, with the canary that it has.
        if path != "in/manifest.csv"
    }
    assert any(path.endswith("metadata.parquet") for path in left)
    found = {path for path, data in left.items() if any(canary in data for canary in CANARIES)}
    assert found == set()
