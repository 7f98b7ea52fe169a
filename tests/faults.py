"""A store with faults to order: an HTTP proxy in front of any S3 server.

`with FaultProxy("http://127.0.0.1:9000") as proxy:` listens at `proxy.url`. Rules are put into
`proxy.rules`; each sees every request and gives a fault, or None to let the next rule see it.
"""

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import TracebackType
from typing import Any, Literal, TypeAlias
from urllib.parse import unquote, urlsplit

HTML = b"<html><head><title>Sign in</title></head><body><br/>Welcome to the WLAN</body></html>"

# Headers of one connection, which say nothing about the next.
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a rule sees it. `count` is 1 for the first of its method and path."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    count: int

    @property
    def key(self) -> str:
        """What follows the bucket in the path."""
        return self.path.lstrip("/").partition("/")[2]

    @property
    def is_list(self) -> bool:
        return "list-type=2" in self.query


@dataclass(frozen=True, slots=True)
class Status:
    """Answer with this status and S3 error code, without asking the server."""

    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection: `before` the server sees the request, or `after`, so that the reply is
    lost, or `inside` the body of the reply."""

    when: Literal["before", "after", "inside"] = "before"


@dataclass(frozen=True, slots=True)
class Delay:
    """Answer as the server does, this much later."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Answer with the first `keep` bytes of the body only, under a length to match."""

    keep: int


@dataclass(frozen=True, slots=True)
class CutUpload:
    """Pass on the first `keep` bytes of the request's body only, to a server that checks nothing."""

    keep: int


@dataclass(frozen=True, slots=True)
class FlipUpload:
    """Pass on the request's body with one bit turned over, to a server that checks nothing."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Answer with one bit of the body turned over."""

    at: int = 0


@dataclass(frozen=True, slots=True)
class Say:
    """Answer 200 with this body, without asking the server: swallows a PUT, empties a list."""

    body: bytes = b""
    content_type: str = "text/html"


@dataclass(frozen=True, slots=True)
class Stall:
    """Send half of the reply's body, and nothing more until the proxy is closed."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Pass on the request without a header, or with more in its query, to a server that checks nothing."""

    without: str = ""
    query: str = ""


Fault: TypeAlias = Status | Reset | Delay | Cut | CutUpload | FlipUpload | Flip | Say | Stall | Ask
Rule: TypeAlias = Callable[[Request], Fault | None]


def forever(fault: Fault, method: str = "", key: str = "") -> Rule:
    """`fault` for all requests of a method, where one is given, whose key contains `key`."""
    return first(10**9, fault, method, key)


def first(times: int, fault: Fault, method: str = "", key: str = "") -> Rule:
    """As `forever`, for the first `times` of each method and path."""

    def rule(request: Request) -> Fault | None:
        is_meant = method in ("", request.method) and key in request.key
        return fault if is_meant and request.count <= times else None

    return rule


def burst(fault: Fault, *, every: int, length: int) -> Rule:
    """`fault` for the last `length` of `every` so many requests, of whatever kind."""
    numbers = count()
    return lambda _: fault if next(numbers) % every >= every - length else None


def lists(fault: Fault) -> Rule:
    """`fault` for every list of objects."""
    return lambda request: fault if request.is_list else None


def share(fraction: float, faults: Sequence[Fault], *, seed: int) -> Rule:
    """One of `faults` for this fraction of all requests, drawn anew for each."""
    generator = random.Random(seed)

    def rule(_: Request) -> Fault | None:
        return generator.choice(faults) if generator.random() < fraction else None

    return rule


@dataclass(slots=True)
class FaultProxy:
    """Passes requests on to `server`, a URL, as they are: a signature is of the Host header too.

    `counts` are of all requests by method and path, `faulted` of those that met a fault.
    """

    server: str
    rules: list[Rule] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    faulted: Counter[tuple[str, str]] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)
    _listener: ThreadingHTTPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        assert self._listener is not None
        return f"http://127.0.0.1:{self._listener.server_port}"

    @property
    def num_requests(self) -> int:
        return sum(self.counts.values())

    def num_of(self, method: str, key: str = "") -> int:
        """How many requests there were of a method, to paths that contain `key`."""
        return sum(n for (m, path), n in self.counts.items() if m == method and key in path)

    def reset(self) -> None:
        """Forget all rules and counts."""
        with self._lock:
            self.rules.clear()
            self.counts.clear()
            self.faulted.clear()

    def fault(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Fault | None:
        """Count a request and ask the rules, one request after the other."""
        with self._lock:
            self.counts[method, path] += 1
            request = Request(method, path, query, headers, self.counts[method, path])
            fault = next((fault for rule in self.rules if (fault := rule(request))), None)
            self.faulted[method, path] += fault is not None
            return fault

    def __enter__(self) -> "FaultProxy":
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._listener = _Listener(("127.0.0.1", 0), handler)
        threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._listener is not None
        self.stopped.set()
        self._listener.shutdown()
        self._listener.server_close()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    # server_close would wait for clients that keep their connection.
    block_on_close = False
    request_queue_size = 64

    def shutdown_request(self, request: Any) -> None:
        """Only close it: a proper farewell would come before the reset."""
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no fault of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Its headers and its body would otherwise wait for one another.
    disable_nagle_algorithm = True
    wbufsize = -1
    proxy: FaultProxy

    def handle_expect_100(self) -> bool:
        """Ask for the body at once: s3fs waits for that, without end."""
        self.send_response_only(100)
        self.end_headers()
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests count."""

    def _serve(self) -> None:
        body = self._body()
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        match self.proxy.fault(self.command, path, parts.query, dict(self.headers.items())):
            case Status(status, code, headers):
                self._send_error(status, code, headers)
            case Reset("before"):
                self._break()
            case Reset("after"):
                self._forward(body)
                self._break()
            case Reset("inside"):
                answer, data = self._forward(body)
                self._send(answer.status, answer.getheaders(), data, num_sent=len(data) // 2)
                self._break()
            case Say(said, content_type):
                self._send(200, [("Content-Type", content_type)], said, length=len(said))
            case Delay(seconds):
                time.sleep(seconds)
                self._pass_on(body)
            case Cut(keep):
                answer, data = self._forward(body)
                self._send(answer.status, answer.getheaders(), data[:keep], length=len(data[:keep]))
            case CutUpload(keep):
                self._pass_on(body[:keep])
            case FlipUpload():
                self._pass_on(bytes([body[0] ^ 1]) + body[1:] if body else body)
            case Flip(at):
                answer, data = self._forward(body)
                flipped = bytearray(data)
                if flipped:
                    flipped[at % len(flipped)] ^= 1
                self._send(answer.status, answer.getheaders(), bytes(flipped))
            case Ask(without, query):
                del self.headers[without]
                self.path += f"&{query}" if query else ""
                self._pass_on(body)
            case Stall():
                answer, data = self._forward(body)
                self._send(answer.status, answer.getheaders(), data, num_sent=len(data) // 2)
                self.proxy.stopped.wait()
                self._break()
            case _:
                self._pass_on(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _pass_on(self, body: bytes) -> None:
        answer, data = self._forward(body)
        self._send(answer.status, answer.getheaders(), data)

    def _forward(self, body: bytes) -> tuple[HTTPResponse, bytes]:
        """What the server says to the very request, its headers in their order and all."""
        parts = urlsplit(self.proxy.server)
        connection = HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in _HOP_BY_HOP | {"content-length", "expect"}:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer, answer.read()
        except (OSError, HTTPException):
            self._break()
            raise
        finally:
            connection.close()

    def _send(
        self,
        status: int,
        headers: list[tuple[str, str]],
        data: bytes,
        *,
        length: int | None = None,
        num_sent: int | None = None,
    ) -> None:
        """An answer of `data`, or of its first `num_sent` bytes where more are announced."""
        self.send_response_only(status)
        announced = next((v for k, v in headers if k.lower() == "content-length"), None)
        if length is None:
            # A HEAD announces the body that it does not have.
            is_head = self.command == "HEAD" and announced is not None
            length = int(announced or 0) if is_head else len(data)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:num_sent])
        self.wfile.flush()

    def _send_error(self, status: int, code: str, headers: tuple[tuple[str, str], ...]) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>ordered</Message></Error>"
        kind = ("Content-Type", "application/xml")
        self._send(status, [kind, *headers], body.encode(), length=len(body))

    def _break(self) -> None:
        """Reset the connection and not end it, as a machine that goes down does."""
        self.close_connection = True
        no_time = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_time)
