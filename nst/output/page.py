"""The page of an output: the one file of a gallery that other programs name the same, `index.html`."""

from nst.errors import ConfigError
from nst.output.paths import GALLERY
from nst.output.reading import read_whole

# In the head of each page that this project has written.
_MARK = b"default-src 'none'"
_HEAD_BYTES = 2000


def is_page(data: bytes) -> bool:
    """Whether these are the bytes of a page of a gallery, as far as its head tells."""
    return _MARK in data[:_HEAD_BYTES]


def check_page(folder: str) -> None:
    """Raises ConfigError for a folder that has somebody else's page where the gallery's would be.

    An empty one is none: nothing is lost with it.
    """
    data = read_whole(folder, GALLERY)
    if data and not is_page(data):
        raise ConfigError(
            f"{folder}: expected no {GALLERY} or that of a gallery, found an {GALLERY} that no "
            "gallery has written; move it away, or choose another folder"
        )
