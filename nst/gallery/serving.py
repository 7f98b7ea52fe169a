"""An output over HTTP on this machine, wherever it lies, for who may read it to look at."""

import logging
import os
import posixpath
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote_to_bytes

from nst import output, storage
from nst.errors import ConfigError, ForbiddenError, NotFoundError, StorageError

HOST = "127.0.0.1"

# Of a name that another site has made to lead here (DNS rebinding), the Host is that name.
_HOSTS = {HOST, "localhost"}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".csv": "text/csv; charset=utf-8",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".parquet": "application/vnd.apache.parquet",
}
_OTHER_TYPE = "application/octet-stream"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    # The files of data are scripts, which any other page could load and read.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_HASHED = re.compile(r"\.[0-9a-f]{8}\.(js|css)$")
_FOREVER = "max-age=31536000, immutable"
# What means something else to some system than the name of one file in one folder.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]" + (r"|:" if os.name == "nt" else ""))
_IDLE_S = 60

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is served: a folder or URL, those folders below it that may be read, and the page."""

    root: str
    folders: tuple[str, ...]
    page: str


def site_of(gallery: str, outputs: Sequence[str]) -> Site:
    """The gallery in a folder, and the outputs that it shows, below the folder that holds them all.

    Raises ConfigError where there is none.
    """
    urls = list(dict.fromkeys([gallery, *outputs]))
    root = _common(urls)
    folders = [storage.relative_link(url, root) for url in urls]
    if any(folder.startswith("..") for folder in folders):
        raise ConfigError(f"expected outputs below one folder, found {', '.join(urls)}")
    plain = tuple(unquote_to_bytes(folder).decode() for folder in folders)
    return Site(root=root, folders=plain, page=plain[0] + output.GALLERY)


def open_server(site: Site, port: int) -> ThreadingHTTPServer:
    """A server on this machine alone, at `port` or with 0 any that is free; not serving yet.

    Raises ConfigError where the port is taken.
    """
    handler = type("_SiteHandler", (_Handler,), {"site": site})
    try:
        return ThreadingHTTPServer((HOST, port), handler)
    except OSError as exc:
        raise ConfigError(
            f"--port {port}: expected one that is free, found {exc.strerror}; try 0"
        ) from exc


def url_of(server: ThreadingHTTPServer, site: Site) -> str:
    """Where a browser finds the page."""
    page = "" if site.page == output.GALLERY else quote(site.page)
    return f"http://{HOST}:{server.server_port}/{page}"


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD with a file, or says why not; it lists nothing and writes nothing."""

    site: Site
    protocol_version = "HTTP/1.1"
    server_version = "nst"
    sys_version = ""
    timeout = _IDLE_S

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        _log.debug(format, *args)

    def _answer(self, *, with_body: bool) -> None:
        if not self._is_for_us():
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, with_body=with_body)
            return
        if self.path == "/" and self.site.page != output.GALLERY:
            self._send(HTTPStatus.FOUND, {"Location": f"/{quote(self.site.page)}"}, b"", with_body)
            return
        path = _path_of(self.path)
        if path is None or not _is_inside(self.site, path):
            self._refuse(HTTPStatus.NOT_FOUND, with_body=with_body)
            return
        try:
            data = storage.read_bytes(storage.join(self.site.root, path))
        except NotFoundError:
            self._refuse(HTTPStatus.NOT_FOUND, with_body=with_body)
        except ForbiddenError:
            self._refuse(HTTPStatus.FORBIDDEN, with_body=with_body)
        except StorageError as exc:
            _log.warning("%s", exc)
            self._refuse(HTTPStatus.BAD_GATEWAY, with_body=with_body)
        else:
            headers = {"Content-Type": _TYPES.get(_suffix(path), _OTHER_TYPE)}
            if _HASHED.search(path):
                headers["Cache-Control"] = _FOREVER
            self._send(HTTPStatus.OK, headers, data, with_body)

    def _is_for_us(self) -> bool:
        hosts = self.headers.get_all("Host") or []
        assert isinstance(self.server, ThreadingHTTPServer)
        port = self.server.server_port
        allowed = {f"{host}:{port}" for host in _HOSTS} | (_HOSTS if port == 80 else set())
        return len(hosts) == 1 and hosts[0].strip().lower() in allowed

    def _refuse(self, status: HTTPStatus, *, with_body: bool) -> None:
        text = f"{status.value} {status.phrase}\n".encode()
        self._send(status, {"Content-Type": "text/plain; charset=utf-8"}, text, with_body)

    def _send(
        self, status: HTTPStatus, headers: dict[str, str], data: bytes, with_body: bool
    ) -> None:
        # A browser that has gone on asks for nothing any more.
        with suppress(ConnectionError, TimeoutError):
            self.send_response(status)
            for name, value in {**_HEADERS, **headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(data)


def _path_of(target: str) -> str | None:
    """The path, below the root, that a request names; None for one that no page of ours has."""
    raw = target.partition("?")[0]
    if not raw.startswith("/"):
        return None
    try:
        names = [unquote_to_bytes(name).decode() for name in raw[1:].split("/")]
    except UnicodeDecodeError:
        return None
    if names[-1] == "":
        names[-1] = output.GALLERY
    # Names that begin with a dot are those of half-written files, and of what is nobody's business.
    if any(
        not name or name.startswith(".") or "/" in name or _UNSAFE.search(name) for name in names
    ):
        return None
    return "/".join(names)


def _is_inside(site: Site, path: str) -> bool:
    """Whether a path is below one of the folders, also where its links lead."""
    folder = next((each for each in site.folders if path.startswith(each)), None)
    if folder is None:
        return False
    if "://" in site.root:
        return True
    allowed = os.path.realpath(os.path.join(site.root, folder))
    found = os.path.realpath(os.path.join(site.root, path))
    return os.path.commonpath([allowed, found]) == allowed


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def _common(urls: Sequence[str]) -> str:
    """The folder that holds all of them, or is one of them."""
    if not any("://" in url for url in urls):
        try:
            return os.path.commonpath([storage.absolute(url) for url in urls])
        except ValueError as exc:
            raise ConfigError(f"expected outputs below one folder, found {exc}") from exc
    names = [url.rstrip("/").split("/") for url in urls]
    shared = [each[0] for each in zip(*names, strict=False)]
    length = next(
        (i for i, each in enumerate(zip(*names, strict=False)) if len(set(each)) > 1), len(shared)
    )
    if length < 3:
        raise ConfigError(f"expected outputs in one bucket, found {', '.join(urls)}")
    return "/".join(names[0][:length])
