"""A static server like the plainest there are: no ranges, no compression, one folder, the loopback."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    # What some servers say of these is not what every system's table says.
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".js": "text/javascript",
        ".webp": "image/webp",
    }

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's own output is what matters."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a browser that closes in the middle of a file is no error of ours."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of `folder`, without a slash at its end, while it is served."""
    server = _Server(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    # The default half second between looks at whether to stop would be most of a test's time.
    thread = Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
