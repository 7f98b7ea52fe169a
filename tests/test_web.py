"""Web servers that answer without end, late, with redirects, or from where they must not be asked."""

import hashlib
import io
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from nst import storage
from nst.errors import AccessError, ForbiddenError, NotFoundError, StorageError, TooLargeError
from nst.planning import taken
from nst.storage import stores, web
from nst.storage.web import OF_OPERATOR, OF_ROW_IN_ROOT, Terms, WebError
from tests.buckets import hurry

DATA = bytes(range(256)) * 100
# Beyond what a connection holds of an answer that nobody reads.
ENDLESS = 64 << 20


class Site(ThreadingHTTPServer):
    """A server of files and of answers to order, by their paths."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Callable[[_Handler], None]] = {}
        self.asked: Counter[str] = Counter()
        self.hosts: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no fault of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: Site

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests count."""

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        self.server.hosts.append(self.headers["Host"])
        answer = self.server.answers.get(self.path)
        if answer is None:
            self.answer(404)
        else:
            answer(self)

    def answer(self, status: int, data: bytes | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if data is not None:
            self.wfile.write(data)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    hurry(monkeypatch)
    monkeypatch.setattr(stores, "_has_roots", True)
    with Site() as site:
        threading.Thread(target=site.serve_forever, args=(0.02,), daemon=True).start()
        yield site
        site.closing.set()
        site.shutdown()


def file_of(data: bytes) -> Callable[[_Handler], None]:
    return lambda handler: handler.answer(200, data, Content_Length=str(len(data)))


def without_end(handler: _Handler) -> None:
    handler.answer(200)
    for _ in range(ENDLESS >> 16):
        handler.wfile.write(bytes(1 << 16))


def byte_by_byte(handler: _Handler) -> None:
    handler.answer(200, Content_Length="1000")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"x")


def header_by_header(handler: _Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.closing.wait(0.02):
        handler.wfile.write(b"X: y\r\n")


def test_a_file_is_read_as_it_is(site: Site) -> None:
    for path in ("/a.bin", "/deep/a%20b%C3%A9.bin?x=1%262"):
        site.answers[path] = file_of(DATA)
    for url in (f"{site.url}/a.bin", f"{site.url}/deep/a b%C3%A9.bin?x=1%262#here"):
        assert storage.read_bytes(url) == DATA
        found = storage.read_input(url, max_bytes=len(DATA))
        assert (found.data, found.is_whole, found.version.settled) == (DATA, True, None)
        file = io.BytesIO(b"more than that" * 10_000)
        storage.read_into(url, file)
        assert file.getvalue() == DATA
    site.answers["/none.bin"] = file_of(b"")
    assert storage.read_bytes(f"{site.url}/none.bin") == b""


def test_a_body_without_end_is_read_up_to_the_limit(site: Site) -> None:
    site.answers["/endless.png"] = without_end
    sink = io.BytesIO()
    with pytest.raises(TooLargeError, match="at most 100,000 bytes"):
        web.reader(f"{site.url}/endless.png", OF_ROW_IN_ROOT)(sink, 100_000)
    assert sink.tell() <= 100_000 + web._CHUNK_BYTES
    with pytest.raises(TooLargeError):
        storage.read_bytes(f"{site.url}/endless.png", max_bytes=100_000)
    assert site.asked["/endless.png"] == 2


def test_a_body_that_says_it_is_too_long_is_not_read(site: Site) -> None:
    site.answers["/large.png"] = lambda handler: handler.answer(200, Content_Length="100001")
    sink = io.BytesIO()
    with pytest.raises(TooLargeError, match="found 100,001"):
        web.reader(f"{site.url}/large.png", OF_ROW_IN_ROOT)(sink, 100_000)
    assert sink.tell() == 0


@pytest.mark.parametrize("answer", [byte_by_byte, header_by_header])
def test_an_answer_that_trickles_ends_with_the_time_for_all_of_it(
    site: Site, answer: Callable[[_Handler], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked for, and although each wait is short."""
    site.answers["/slow.png"] = answer
    hasty = Terms(is_public=False, max_redirects=0, max_seconds=0.3)
    monkeypatch.setattr(web, "OF_ROW_IN_ROOT", hasty)
    with pytest.raises(StorageError, match=r"expected all of it within 0\.3 s") as caught:
        storage.read_input(f"{site.url}/slow.png", max_bytes=10_000)
    assert not caught.value.ends_the_run
    assert site.asked["/slow.png"] == 1


def test_tries_share_the_time() -> None:
    now = [0.0]
    read = web.reader("http://127.0.0.1:9/a", OF_ROW_IN_ROOT, clock=lambda: now[0])
    with pytest.raises(ConnectionError):
        read(io.BytesIO(), None)
    now[0] = 60
    with pytest.raises(WebError, match="within 60 s"):
        read(io.BytesIO(), None)


def test_a_redirect_of_a_row_is_not_followed_and_one_of_the_operator_is(site: Site) -> None:
    site.answers["/in/a.png"] = lambda handler: handler.answer(302, Location="/secret/a.png")
    site.answers["/secret/a.png"] = file_of(DATA)
    with pytest.raises(StorageError, match=rf"redirect to '{site.url}/secret/a\.png'") as caught:
        storage.read_input(f"{site.url}/in/a.png", max_bytes=1 << 20)
    assert not caught.value.ends_the_run
    assert site.asked["/secret/a.png"] == 0
    assert storage.read_bytes(f"{site.url}/in/a.png") == DATA
    site.answers["/round"] = lambda handler: handler.answer(301, Location="/round")
    site.answers["/out"] = lambda handler: handler.answer(307, Location="file:///etc/passwd")
    for path, num_asked in (("/round", OF_OPERATOR.max_redirects + 1), ("/out", 1)):
        with pytest.raises(StorageError, match="redirect to"):
            storage.read_bytes(site.url + path)
        assert site.asked[path] == num_asked


def test_a_row_that_shares_its_id_with_another_manifest_is_read_as_a_row_is(site: Site) -> None:
    """Its URL is compared by the bytes, and a stranger may have written it."""
    site.answers["/in/a.png"] = lambda handler: handler.answer(302, Location="/secret/a.png")
    site.answers["/secret/a.png"] = file_of(DATA)
    assert taken._digest_of(f"{site.url}/in/a.png") is None
    assert site.asked["/secret/a.png"] == 0
    assert taken._digest_of(f"{site.url}/secret/a.png") == hashlib.sha256(DATA).hexdigest()


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> list[str]:
    """Names point to these addresses, at each question to the next ones; the names asked for."""
    real, asked = socket.getaddrinfo, []
    left = list(answers)

    def resolve(host: str, port: int, *arguments: Any, **options: Any) -> Any:
        if not host.endswith(".example"):
            return real(host, port, *arguments, **options)
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, 1, 6, "", (each, port))
            for each in left.pop(0)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.7"],
        ["169.254.169.254"],
        ["::1"],
        ["fe80::1%eth0"],
        ["::ffff:192.168.1.1"],
        ["64:ff9b::7f00:1"],
        ["93.184.216.34", "127.0.0.1"],
    ],
)
def test_a_name_that_points_to_a_private_address_is_not_asked(
    site: Site, addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_has_roots", False)
    monkeypatch.setattr(
        socket, "create_connection", lambda *_, **__: pytest.fail("it was connected to")
    )
    resolving(monkeypatch, addresses)
    with pytest.raises(AccessError, match=r"--root names; found 'pictures\.example', which is at"):
        storage.read_input(f"http://pictures.example:{site.server_port}/a.png", max_bytes=100)
    assert not site.asked


def test_the_address_that_was_checked_is_the_one_that_is_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is resolved once: the second answer of a server of names could be another."""
    site.answers["/a.png"] = file_of(DATA)
    monkeypatch.setattr(web, "is_public", lambda address: str(address) != "10.0.0.7")
    monkeypatch.setattr(stores, "_has_roots", False)
    asked = resolving(monkeypatch, ["127.0.0.1"], ["10.0.0.7"])
    url = f"http://pictures.example:{site.server_port}/a.png"
    assert storage.read_input(url, max_bytes=1 << 20).data == DATA
    assert asked == ["pictures.example"]
    assert site.hosts == [f"pictures.example:{site.server_port}"]
    with pytest.raises(AccessError):
        storage.read_input(url, max_bytes=1 << 20)


def test_a_root_opens_the_private_host_that_it_names(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.answers["/a.png"] = file_of(DATA)
    resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
    url = f"http://pictures.example:{site.server_port}/a.png"
    storage.name_roots(())
    with pytest.raises(AccessError):
        storage.read_input(url, max_bytes=1 << 20)
    storage.name_roots((f"http://pictures.example:{site.server_port}",))
    assert storage.read_input(url, max_bytes=1 << 20).data == DATA


@pytest.fixture
def over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a server of the name pictures.example, which this process trusts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pictures.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pictures.example")]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = tmp_path / "server.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    (tmp_path / "trusted.pem").write_bytes(certificate.public_bytes(pem))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_a_server_over_tls_has_to_be_the_one_that_was_named(
    site: Site, over_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.socket = over_tls.wrap_socket(site.socket, server_side=True)
    site.answers["/a.png"] = file_of(DATA)
    resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.1"])
    url = f"https://pictures.example:{site.server_port}/a.png"
    assert storage.read_input(url, max_bytes=1 << 20).data == DATA
    with pytest.raises(StorageError, match="CERTIFICATE_VERIFY_FAILED") as caught:
        storage.read_input(url.replace("pictures", "other"), max_bytes=1 << 20)
    assert not caught.value.ends_the_run
    assert site.asked == {"/a.png": 1}


def cut_short(handler: _Handler) -> None:
    handler.answer(200, DATA[:1000], Content_Length=str(len(DATA)))


@pytest.mark.parametrize(
    "answer", [cut_short, lambda handler: handler.answer(503), lambda handler: None]
)
def test_what_passes_is_absorbed(site: Site, answer: Callable[[_Handler], None]) -> None:
    answers = [file_of(DATA), answer, answer]
    site.answers["/a.png"] = lambda handler: answers.pop()(handler)
    assert storage.read_input(f"{site.url}/a.png", max_bytes=1 << 20).data == DATA
    assert site.asked["/a.png"] == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, NotFoundError), (410, NotFoundError), (403, ForbiddenError), (400, StorageError)],
)
def test_a_refusal_is_told_at_once_and_concerns_its_row(
    site: Site, status: int, error: type[StorageError]
) -> None:
    site.answers["/a.png"] = lambda handler: handler.answer(status)
    with pytest.raises(error, match="cannot read http://") as caught:
        storage.read_input(f"{site.url}/a.png", max_bytes=100)
    assert not caught.value.ends_the_run
    assert site.asked["/a.png"] == 1


def test_a_body_that_is_coded_is_not_taken_for_the_file(site: Site) -> None:
    site.answers["/a.png"] = lambda handler: handler.answer(200, b"x", Content_Encoding="gzip")
    with pytest.raises(StorageError, match="found it coded as 'gzip'"):
        storage.read_bytes(f"{site.url}/a.png")


def test_a_pattern_matches_the_links_of_the_page_of_its_folder(site: Site) -> None:
    page = (
        b'<a href="a.png">a</a><A class=x HREF=b.png>b</A><a href="/in/c%20d.png">c</a>'
        b'<a href="../other/e.png">e</a><a href="https://elsewhere.example/f.png">f</a><a href="g.txt">'
    )
    site.answers["/in/"] = file_of(page)
    names = ["a.png", "b.png", "c%20d.png"]
    assert storage.glob("/x", f"{site.url}/in/*.png") == [f"{site.url}/in/{name}" for name in names]
    assert storage.glob(f"{site.url}/in", "*.png") == names
    site.answers["/a.png?x=1"] = file_of(DATA)
    assert storage.glob("/x", f"{site.url}/a.png?x=1") == [f"{site.url}/a.png?x=1"]
    with pytest.raises(NotFoundError, match="a pattern in the name of a file"):
        storage.glob("/x", f"{site.url}/*/a.png")
    site.answers["/endless/"] = without_end
    with pytest.raises(TooLargeError):
        storage.glob("/x", f"{site.url}/endless/*.png")


def test_a_page_of_tags_that_do_not_end_takes_time_in_proportion(site: Site) -> None:
    """Each of a million took a look at all that follow it."""
    site.answers["/in/"] = file_of(b"<a " * 1_000_000 + b'<a href="a.png">')
    assert storage.glob("/x", f"{site.url}/in/*.png") == [f"{site.url}/in/a.png"]
