"""Which URLs a run may read, decided before anything is opened or requested.

The decision uses the text of a URL, and on a disk the current targets of links. What a host name points
to is checked where it is resolved, in `nst/storage/web.py`, which follows no redirect of a row's URL. A
link that someone changes during the run is not detected.
"""

import glob
import os
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from nst.errors import AccessError, ConfigError
from nst.manifest.limits import MAX_REFERENCE
from nst.redaction import redacted, secret_in_url
from nst.storage import address_of, is_public, matches, split_pattern, url_meant_by, with_home

_WEB = ("http", "https")
_WEB_PORTS = {"http": 80, "https": 443}
# What fsspec takes for a URL although it has no `://`.
_BARE_SCHEMES = ("data:", "file:", "local:")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:\d*)?")
_VERSION = re.compile(r"[?&]versionId=", re.IGNORECASE)
_NO_SECRETS = (
    "a URL without credentials, since URLs are written and shown; those of a store come from the "
    "environment, and a picture that needs others can be copied to a store or a disk first"
)
_PRIVATE_NAMES = ("localhost", "local", "internal", "localdomain")


@dataclass(frozen=True, slots=True)
class Access:
    """Which inputs may be read: URLs of `schemes` in one of `roots`, or anywhere if there are none.

    The scheme `file` includes paths. Whatever the roots, no input may be one of the files and folders
    `closed`, in one of them, or in any folder below one of `closed_below`. Links are followed on both
    sides; those of roots when this is made. Raises ConfigError for a root
    that is neither an absolute path nor a URL that may be read.
    """

    schemes: tuple[str, ...]
    roots: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    closed_below: tuple[str, ...] = ()
    _root_places: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _closed_places: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _closed_below_places: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for root in self.roots:
            expected = self.objection_to_kind(root) or _objection_to_root(root)
            if expected:
                raise ConfigError(f"--root: expected {expected}; found {redacted(root)!r}")
        object.__setattr__(self, "_root_places", tuple(map(_place, self.roots)))
        object.__setattr__(self, "_closed_places", tuple(map(_place, self.closed)))
        object.__setattr__(self, "_closed_below_places", tuple(map(_place, self.closed_below)))

    def check(self, uri: str) -> None:
        """Raises AccessError if an input may not be read from the absolute path or URL `uri`."""
        expected = self.objection(uri)
        if expected:
            raise AccessError(f"expected {expected}; found {redacted(uri)!r}")

    def objection(self, uri: str) -> str | None:
        """What was expected instead of this absolute path or URL of an input; None if it is allowed."""
        expected = self.objection_to_kind(uri) or _objection_to_form(uri)
        if expected:
            return expected
        place = _place(uri)
        if self.roots:
            expected = self._objection_to_place(place)
        elif _scheme(uri) in _WEB:
            # A root that names a private host has opened it.
            expected = _objection_to_host(uri)
        if not expected and self._is_closed(place):
            expected = "an input outside the folders that this run writes, or another --output"
        return expected

    def _is_closed(self, place: str) -> bool:
        is_own = any(_is_below(place, closed) for closed in self._closed_places)
        folder = place.rpartition("/")[0]
        return is_own or any(
            _is_below(folder, closed) and folder != closed for closed in self._closed_below_places
        )

    def objection_to_kind(self, reference: str) -> str | None:
        """As `objection`, but only by the form of the text, so also for a relative path."""
        if not is_plain(reference):
            return "a path or a URL of characters that UTF-8 has, without NUL"
        if len(reference) > MAX_REFERENCE:
            return (
                f"a path or a URL of at most {MAX_REFERENCE:,} characters, not {len(reference):,}"
            )
        if secret_in_url(reference) is not None:
            return _NO_SECRETS
        meant = url_meant_by(reference)
        if meant is not None:
            return f"{meant!r}, with :// behind the scheme"
        scheme = _scheme(reference)
        is_of_home = with_home(reference) != reference
        is_absolute = is_of_home or reference.startswith(("/", "file://"))
        is_relative = scheme == "file" and not is_absolute
        if scheme not in self.schemes and not is_relative:
            if scheme.lower() in self.schemes:
                return f"{scheme.lower()}:// in lower case"
            allowed = ", ".join(self.schemes)
            return f"a URL of {allowed}, where file is a path (others need --allow-scheme)"
        if "::" in reference:
            return "one path or URL without '::', since chains of stores are not read"
        if scheme == "file":
            return None
        authority = reference.partition("://")[2].partition("/")[0]
        may_have_port = scheme in _WEB and _HOST.fullmatch(authority)
        if "@" in authority or (":" in authority and not may_have_port):
            return _NO_SECRETS
        if scheme not in _WEB and _VERSION.search(reference):
            return "a URL without a versionId, since objects are read as they are now"
        return None

    def objection_to_pattern(self, uri: str) -> str | None:
        """As `objection`, for an absolute pattern, before anything is listed.

        Each of its matches must still be checked by `objection`.
        """
        expected = self.objection_to_kind(uri) or _objection_to_form(uri)
        if expected:
            return expected
        folder, rest = split_pattern(uri)
        place, pattern = _place(folder), rest.split("/")
        if self.roots:
            expected = self._objection_to_place(place)
            if not expected and ".." in pattern:
                expected = "a pattern without '..'"
        elif _scheme(uri) in _WEB:
            expected = _objection_to_host(uri)
        if not expected:
            plain = map(glob.escape, place.split("/"))
            folders = [*plain, *(pattern if pattern[-1] == "**" else pattern[:-1])]
            if any(matches(folders, closed.split("/")) for closed in self._closed_places):
                expected = "a pattern that does not reach into the folders that this run writes"
        return expected

    def _objection_to_place(self, place: str) -> str | None:
        has_dots = not place.startswith("/") and _has_dots(place)
        if not has_dots and any(_is_below(place, root) for root in self._root_places):
            return None
        return f"a place in {' or '.join(self.roots)}, and no '..' in a URL"


def is_inside(uri: str, folder: str) -> bool:
    """Whether `uri` is `folder` or below it: paths with links followed, URLs by whole segments."""
    return _is_below(_place(uri), _place(folder))


def is_plain(text: str) -> bool:
    """Whether a text can be a file name: no NUL, and no half of a surrogate pair, as JSON allows."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _scheme(reference: str) -> str:
    """The scheme that fsspec will use; `file` for a path."""
    if "://" in reference:
        return reference.partition("://")[0]
    bare = next((each for each in _BARE_SCHEMES if reference.startswith(each)), "")
    return bare or "file"


def _objection_to_form(uri: str) -> str | None:
    """What was expected instead of this URL's form. fsspec reads s3:///b/k as s3://b/k, and takes s3://../x."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return None
    authority, _, key = rest.partition("/")
    if scheme == "file":
        return "file:/// with an absolute path" if authority else None
    if scheme in _WEB:
        # A web client tidies these away, and would ask for something else than was looked at.
        if re.search(r"[\s\\\x00-\x1f\x7f]", uri) or not _HOST.fullmatch(authority):
            return f"{scheme}://host/path in plain characters"
        return None
    if not _BUCKET.fullmatch(authority) or not key.strip("/"):
        return f"{scheme}://bucket/key"
    return None


def _objection_to_root(root: str) -> str | None:
    if _scheme(root) == "file":
        is_absolute = root.startswith(("/", "~", "file:///"))
        return None if is_absolute else "an absolute path, which is the same for every worker"
    return _objection_to_form(f"{root}/-") or ("a URL without '..'" if _has_dots(root) else None)


def _has_dots(url: str) -> bool:
    parts = url.split("/")
    if url.startswith(_WEB):
        parts += unquote(unquote(url)).split("/")
    return "." in parts or ".." in parts


def _place(uri: str) -> str:
    """A path with its links resolved, or a URL with its host normalised; without a last slash."""
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme == "file":
        # As what reads it does: a tilde is expanded, and the path of a URL is percent-encoded.
        return os.path.realpath(with_home(unquote(rest) if separator else uri))
    if scheme in _WEB:
        authority, slash, path = rest.partition("/")
        host = authority.lower().removesuffix(f":{_WEB_PORTS[scheme]}").removesuffix(":")
        rest = host + slash + path
    return f"{scheme}://{rest.rstrip('/')}"


def _is_below(place: str, folder: str) -> bool:
    return place == folder or place.startswith(folder.rstrip("/") + "/")


def _objection_to_host(url: str) -> str | None:
    host = (urlsplit(url).hostname or "").rstrip(".")
    address = address_of(host)
    if address is None:
        is_private = "." not in host or host.rpartition(".")[2] in _PRIVATE_NAMES
    else:
        is_private = not is_public(address)
    return "a host of the public internet, or one that a --root names" if is_private else None
