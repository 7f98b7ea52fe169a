"""Files of web servers, which may be anybody's: one answer, of bounded length, in bounded time.

A name is resolved here and the connection made to that very address, so that what was checked is what
is asked. Nothing is taken from the environment: no proxy, no credentials.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO
from urllib.parse import quote, urljoin, urlsplit

from nst.errors import AccessError
from nst.redaction import redacted
from nst.storage.addresses import is_public
from nst.storage.files import check_size

SCHEMES = ("http", "https")
_SILENCE_S = 15.0
_CHUNK_BYTES = 1 << 16
# A name may have any number of them, each of which is waited for.
_MAX_ADDRESSES = 2
_REDIRECTS = {301, 302, 303, 307, 308}
# What a URL may have as it stands, and a per cent sign, since it may be quoted already.
_PLAIN = "/%:@!$&'()*+,;=~-._?[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms a URL is read: from which addresses, and for how many seconds in all."""

    is_public: bool
    max_redirects: int
    max_seconds: float


# Whoever starts a run names its manifest and its weights, wherever they are.
OF_OPERATOR = Terms(is_public=False, max_redirects=10, max_seconds=3600)
OF_ROW = Terms(is_public=True, max_redirects=0, max_seconds=60)
# A root has opened the private host that it names.
OF_ROW_IN_ROOT = Terms(is_public=False, max_redirects=0, max_seconds=60)


class WebError(Exception):
    """Why a server's answer is not the file; never leaves this package. `status` is the answer's."""

    def __init__(self, said: str, status: int = 0) -> None:
        super().__init__(said)
        self.status = status


def reader(
    url: str, terms: Terms, *, clock: Callable[[], float] = time.monotonic
) -> Callable[[IO[bytes], int | None], None]:
    """Reads a URL into a file, whose content is replaced; all its calls together in the terms' time.

    Raises AccessError, TooLargeError before more than `max_bytes` are read, FileNotFoundError,
    ConnectionError and TimeoutError, which may pass, and WebError.
    """
    ends_at = clock() + terms.max_seconds

    def read(sink: IO[bytes], max_bytes: int | None) -> None:
        at = url
        for _ in range(terms.max_redirects + 1):
            left_s = ends_at - clock()
            if left_s <= 0:
                raise _too_slow(terms, 0)
            target = _read_once(at, sink, max_bytes, terms, left_s)
            if target is None:
                return
            at = urljoin(at, target)
            if urlsplit(at).scheme not in SCHEMES:
                break
        raise WebError(
            f"expected the file itself, found a redirect to {redacted(at)!r}; write that URL instead"
        )

    return read


def _read_once(
    url: str, sink: IO[bytes], max_bytes: int | None, terms: Terms, left_s: float
) -> str | None:
    """Read one answer; where it leads instead, if it is a redirect."""
    sink.seek(0)
    sink.truncate()
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    path = quote(parts.path or "/", safe=_PLAIN)
    path += f"?{quote(parts.query, safe=_PLAIN)}" if parts.query else ""
    has_ended = threading.Event()
    with (
        _translated(terms, has_ended, sink),
        _connected(parts.hostname or "", port, terms, is_tls=is_tls) as connection,
        _ended_after(left_s, connection, has_ended),
    ):
        if isinstance(connection.sock, ssl.SSLSocket):
            connection.sock.do_handshake()
        connection.request(
            "GET", path, headers={"Accept-Encoding": "identity", "User-Agent": "nst"}
        )
        with connection.getresponse() as answer:
            if answer.status in _REDIRECTS:
                return answer.headers.get("Location") or url
            _check_answer(answer)
            if answer.length is not None:
                check_size(url, answer.length, max_bytes)
            while chunk := answer.read(_CHUNK_BYTES):
                sink.write(chunk)
                check_size(url, sink.tell(), max_bytes)
            # It does not raise for a body that is cut short.
            if answer.length or has_ended.is_set():
                raise ConnectionError(f"expected {answer.length} more bytes, found the end")
    return None


def _check_answer(answer: http.client.HTTPResponse) -> None:
    if answer.status in (404, 410):
        raise FileNotFoundError(answer.reason)
    if answer.status != 200:
        raise WebError(f"{answer.status} {answer.reason}", answer.status)
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise WebError(f"expected the file as it is, found it coded as {coding!r}")


@contextmanager
def _translated(terms: Terms, has_ended: threading.Event, sink: IO[bytes]) -> Iterator[None]:
    """Turn what goes wrong on the way into errors that may pass, unless time is over."""
    try:
        yield
    except (WebError, FileNotFoundError, ssl.SSLCertVerificationError):
        raise
    except (OSError, http.client.HTTPException, ValueError) as exc:
        if has_ended.is_set():
            raise _too_slow(terms, sink.tell()) from exc
        if isinstance(exc, http.client.InvalidURL | ValueError):
            raise WebError(str(exc)) from exc
        raise ConnectionError(str(exc) or type(exc).__name__) from exc


def _too_slow(terms: Terms, num_bytes: int) -> WebError:
    return WebError(
        f"expected all of it within {terms.max_seconds:g} s, found {num_bytes:,} bytes by then"
    )


@contextmanager
def _ended_after(
    seconds: float, connection: http.client.HTTPConnection, has_ended: threading.Event
) -> Iterator[None]:
    """End the connection after so long, whatever it waits for: each byte may come by itself."""

    def end() -> None:
        has_ended.set()
        with suppress(OSError):
            socket_of_it.shutdown(socket.SHUT_RDWR)

    socket_of_it = connection.sock
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _connected(
    host: str, port: int, terms: Terms, *, is_tls: bool
) -> Iterator[http.client.HTTPConnection]:
    """A connection to one of the addresses of a host, each of which was checked."""
    kind = http.client.HTTPSConnection if is_tls else http.client.HTTPConnection
    connection = kind(host, port, timeout=_SILENCE_S)
    plain = _socket_to(_addresses(host, port, terms))
    try:
        # As its own `connect` does, but for the name, which it would resolve anew.
        connection.sock = plain
        if is_tls:
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(
                plain, server_hostname=host, do_handshake_on_connect=False
            )
        yield connection
    finally:
        connection.close()
        plain.close()


def _addresses(host: str, port: int, terms: Terms) -> list[tuple[str, int]]:
    """What a name resolves to. Raises AccessError if any of it is not of the public internet."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as exc:
        if exc.errno == socket.EAI_AGAIN:
            raise ConnectionError(f"{host}: {exc.strerror}") from exc
        raise WebError(f"{host}: {exc.strerror}") from exc
    texts = list(dict.fromkeys(str(address[0]) for *_, address in found))
    if terms.is_public:
        for text in texts:
            if not is_public(ipaddress.ip_address(text.partition("%")[0])):
                raise AccessError(
                    f"expected a host of the public internet, or one that a --root names; found "
                    f"{host!r}, which is at {text}"
                )
    return [(text, port) for text in texts[:_MAX_ADDRESSES]]


def _socket_to(addresses: list[tuple[str, int]]) -> socket.socket:
    """Connected to the first of them that answers."""
    last: OSError = ConnectionError("no address")
    for address in addresses:
        try:
            return socket.create_connection(address, timeout=_SILENCE_S)
        except OSError as exc:
            last = exc
    raise last
