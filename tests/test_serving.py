import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from nst import storage
from nst.errors import ConfigError
from nst.gallery import serving

FILES = {
    "index.html": b"<!doctype html>",
    "assets/gallery.0123abcd.js": b"1",
    "assets/gallery.0123abcd.css": b"a{}",
    "images/a b#1%.png": b"png",
    "thumbs/ab/x-256.webp": b"webp",
    "inputs/x.jpg": b"jpg",
    "metadata.parquet": b"PAR1",
    "notes.xyz": b"<script>",
    "images/.hidden": b"half",
}
TYPES = {
    "index.html": "text/html; charset=utf-8",
    "assets/gallery.0123abcd.js": "text/javascript; charset=utf-8",
    "assets/gallery.0123abcd.css": "text/css; charset=utf-8",
    "images/a%20b%231%25.png": "image/png",
    "thumbs/ab/x-256.webp": "image/webp",
    "inputs/x.jpg": "image/jpeg",
    "metadata.parquet": "application/vnd.apache.parquet",
    "notes.xyz": "application/octet-stream",
}


def write_files(folder: str) -> str:
    for path, data in FILES.items():
        storage.write_bytes(f"{folder}/{path}", data)
    return folder


@contextmanager
def served(site: serving.Site) -> Iterator[int]:
    with serving.open_server(site, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def ask(
    port: int, path: str, *, method: str = "GET", host: str | None = None
) -> tuple[HTTPResponse, bytes]:
    """The answer to a request whose target is `path` as it stands."""
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host if host is not None else f"127.0.0.1:{port}")
    connection.endheaders()
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response, data


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("served")
    output = write_files(str(folder / "out"))
    (folder / "secret.txt").write_text("secret")
    (folder / "out/images/link.png").symlink_to(folder / "secret.txt")
    (folder / "out/images/inner.png").symlink_to(folder / "out/inputs/x.jpg")
    (folder / "out/up").symlink_to(folder)
    (folder / "out2").mkdir()
    (folder / "out2/x.png").write_bytes(b"of another")
    with served(serving.site_of(output, [output])) as port:
        yield port


@pytest.mark.parametrize("path", TYPES)
def test_files_are_served_as_what_they_are(port: int, path: str) -> None:
    response, data = ask(port, f"/{path}")
    assert response.status == 200
    assert data == FILES[path.replace("%20", " ").replace("%23", "#").replace("%25", "%")]
    assert response.getheader("Content-Type") == TYPES[path]
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("Content-Security-Policy") == "frame-ancestors 'none'"
    assert response.getheader("Cross-Origin-Resource-Policy") == "same-origin"
    is_hashed = ".0123abcd." in path
    assert ("immutable" in str(response.getheader("Cache-Control"))) == is_hashed
    head, nothing = ask(port, f"/{path}", method="HEAD")
    assert (head.status, nothing) == (200, b"")
    assert head.getheader("Content-Length") == str(len(data))


def test_the_folder_itself_is_the_page_and_queries_are_no_part_of_a_path(port: int) -> None:
    for path in ("/", "/?x=1", "/index.html?v=../../x"):
        response, data = ask(port, path)
        assert (response.status, data) == (200, FILES["index.html"])


def test_links_within_the_output_are_followed(port: int) -> None:
    assert ask(port, "/images/inner.png")[1] == b"jpg"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/images/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/images/%2e%2e/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/..%5csecret.txt",
        "/..\\secret.txt",
        "/%252e%252e/secret.txt",
        "/images//a%20b%231%25.png",
        "//etc/passwd",
        "/%2fetc/passwd",
        "//127.0.0.1/index.html",
        "http://127.0.0.1/index.html",
        "index.html",
        "*",
        "/./index.html",
        "/index.html%00.png",
        "/index.html/",
        "/images/link.png",
        "/up/secret.txt",
        "/up/out2/x.png",
        "/../out2/x.png",
        "/images",
        "/images/",
        "/assets/",
        "/images/.hidden",
        "/none.png",
        "/%ff%fe",
        "/%c0%ae%c0%ae/secret.txt",
        "/~root/.profile",
    ],
)
def test_nothing_else_is(port: int, path: str) -> None:
    response, data = ask(port, path)
    assert response.status == 404
    assert b"secret" not in data
    assert b"png" not in data
    assert b"of another" not in data
    assert response.getheader("X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_nothing_is_taken(port: int, method: str) -> None:
    response, _ = ask(port, "/index.html", method=method)
    assert response.status == 501


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{}",
     "127.0.0.1:{}@evil.example", "[::1]:{}", ""],
)  # fmt: skip
def test_a_name_that_was_made_to_lead_here_is_refused(port: int, host: str) -> None:
    response, data = ask(port, "/index.html", host=host.format(port))
    assert response.status == 421
    assert FILES["index.html"] not in data


def test_localhost_is_this_machine(port: int) -> None:
    assert ask(port, "/index.html", host=f"localhost:{port}")[0].status == 200


def test_it_listens_on_this_machine_alone(port: int, tmp_path: Path) -> None:
    site = serving.site_of(str(tmp_path), [str(tmp_path)])
    with serving.open_server(site, 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        assert serving.url_of(server, site) == f"http://127.0.0.1:{server.server_port}/"
    with pytest.raises(ConfigError, match=f"--port {port}: expected one that is free"):
        serving.open_server(site, port)


def test_of_several_outputs_each_is_served_and_nothing_beside_them(tmp_path: Path) -> None:
    one, other = (write_files(str(tmp_path / name)) for name in ("run one", "two"))
    write_files(str(tmp_path / "private"))
    (tmp_path / "private.txt").write_text("private")
    site = serving.site_of(f"{one}/compare", [one, other])
    storage.write_bytes(f"{one}/compare/index.html", b"compare")
    with served(site) as port:
        response, _ = ask(port, "/")
        assert response.status == 302
        assert response.getheader("Location") == "/run%20one/compare/index.html"
        assert ask(port, "/run%20one/compare/index.html")[1] == b"compare"
        assert ask(port, "/run%20one/inputs/x.jpg")[1] == b"jpg"
        assert ask(port, "/two/inputs/x.jpg")[1] == b"jpg"
        for path in ("/private/index.html", "/private.txt", "/two/../private.txt", "/index.html"):
            assert ask(port, path)[0].status == 404


def test_a_bucket_is_served_as_a_folder_is(bucket: str) -> None:
    output = write_files(f"{bucket}/deep/out")
    storage.write_bytes(f"{bucket}/deep/secret.txt", b"secret")
    with served(serving.site_of(output, [output])) as port:
        for path, kind in TYPES.items():
            response, _ = ask(port, f"/{path}")
            assert (response.status, response.getheader("Content-Type")) == (200, kind)
        for path in ("/../secret.txt", "/none.png", "/images/"):
            assert ask(port, path)[0].status == 404
    with served(serving.site_of(f"{bucket}/deep/both", [output])) as port:
        assert ask(port, "/out/inputs/x.jpg")[1] == b"jpg"
        assert ask(port, "/secret.txt")[0].status == 404


@pytest.mark.parametrize(
    "places", [["s3://a/x", "s3://b/x"], ["/x", "s3://b/x"], ["s3://a/x", "gs://a/x"]]
)
def test_places_without_a_folder_of_all_are_refused(places: list[str]) -> None:
    with pytest.raises(ConfigError):
        serving.site_of(places[0], places)


def test_a_store_that_fails_is_no_missing_file(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from nst.errors import StorageError

    def fail(uri: str, **_: object) -> bytes:
        raise StorageError(f"{os.path.basename(uri)}: busy")

    monkeypatch.setattr(storage, "read_bytes", fail)
    response, data = ask(port, "/index.html")
    assert response.status == 502
    assert b"busy" not in data
