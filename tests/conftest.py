"""Fixtures: a Prefect home of the tests' own, an S3 server, and pictures to work on."""

import os
import signal
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests import servers

if TYPE_CHECKING:
    from tests.operators import Operator

# Before anything imports prefect: neither the user's server nor their database is touched.
os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="nst-tests-prefect-")
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["DO_NOT_TRACK"] = "1"
os.environ.pop("PREFECT_API_URL", None)

# Before anything imports torch, and for all processes that tests start. Threads that spin while they
# wait for each other take six times as long where another process has the core.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# As many processes as cores: a second thread would only be in the way of the next one.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background has them ignore it, and all that they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# And nohup has them ignore the end of their terminal.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 server on the loopback interface, which the environment points to."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in servers.environment(servers.moto_url()).items():
            patch.setenv(name, value)
        yield servers.moto_url()


@pytest.fixture
def bucket(s3_server: str, request: pytest.FixtureRequest) -> str:
    """The URL of a bucket that only this test uses."""
    import s3fs

    name = f"bucket-{abs(hash(request.node.nodeid)) % 10**12}"
    s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True).mkdir(name)
    return f"s3://{name}"


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Shared out among threads, a long sum could come out another in a batch, or in tiles."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A temporary Prefect server and database for the tests of the flow."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Operator]":
    """Who has typed all that deploy/README.md says, with a server and a worker."""
    from tests.operators import who_has_typed_it_all

    with who_has_typed_it_all(tmp_path_factory.mktemp("operator")) as operator:
        yield operator
