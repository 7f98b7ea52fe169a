"""What an operator of the tests does where a server is busy for a moment."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from tests.operators import Operator


class _Busy(BaseHTTPRequestHandler):
    """Answers `statuses` in turn, as a Prefect server does whose database is locked."""

    statuses: list[int]
    asked: list[str]

    def do_POST(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(self.statuses.pop(0))
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    do_DELETE = do_POST

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(tmp_path, {})
    _Busy.asked = []
    with ThreadingHTTPServer(("127.0.0.1", httpx.URL(operator.api).port or 0), _Busy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield operator
        server.shutdown()
        thread.join()


def test_one_whose_database_is_locked_is_asked_again(operator: Operator) -> None:
    _Busy.statuses = [503, 200, 503, 204]
    assert operator.ask("deployments/filter") == []
    operator.delete("flow_runs/one")
    assert _Busy.asked == ["POST /api/deployments/filter"] * 2 + ["DELETE /api/flow_runs/one"] * 2


def test_a_refusal_fails_the_test(operator: Operator) -> None:
    _Busy.statuses = [404]
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        operator.ask("deployments/filter")
