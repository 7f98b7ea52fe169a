"""What a credential is, and texts without any, for whatever a person or a log gets to see.

All work is linear in the length of a text: strangers write the texts of a manifest.
"""

import os
import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "***"

_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# What is shorter is found in any text, as `test` in a path, and protects nothing.
_MIN_SECRET_LENGTH = 8

# A URL, or a part of one, has none of these, so that its credentials are in one word.
_WORD = re.compile(r"[^\s\"'<>]+")
# Where a user begins, in what stands before an @. A secret may hold slashes, as those of AWS do, so
# what tells it from a port is that a port is all digits.
_USER = re.compile(r"(?<=://)(?:[^/:]*:(?!\d+[/?#])|[^/:?#]+\Z)")
# Parameters of a query that sign it (AWS, Google, Azure, CloudFront), or that are a key themselves.
_PARAMETER = re.compile(
    r"(?i)([?&;])((?:[\w.-]*(?:signature|credential|token|secret|password|passwd|pwd|auth|accessid"
    r"|key-pair-id|(?:api|access|account|subscription)[_-]?key(?:[_-]?id)?))|key|sig)=[^&;#]+"
)
# Names that mean a credential wherever they stand.
_NAMED = re.compile(
    r"(?i)\b(x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid"
    r"|sharedaccesssignature|accountkey)=[^\s&;,#\"'<>]+"
)
# The header of a signed request.
_HEADER = re.compile(
    r"(?i)\b(credential=)[^\s,=]+(,\s*signedheaders=[^\s,=]+,\s*signature=)[^\s,=]+"
)
_KEY_ID = re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{12,}(?![A-Za-z0-9])")

# One of these stands in any text that holds a credential, and they are found much faster.
_HINTS = ("=", "@", "%", "AKIA", "ASIA")


def redacted(text: str) -> str:
    """`text` with each credential in it replaced by `***`: a URL, a message, anything.

    Those are what stands before an @ in a URL, signatures, tokens, passwords and keys in its query,
    the header of a signed request, the ids of AWS's access keys, and the values of the environment's
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, percent-encoded or not, where they
    have at least 8 characters. `sig=` and the like outside a query are none.
    """
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    return redacted_url(text)


def redacted_url(text: str) -> str:
    """As `redacted`, but for what the environment has: a folder may be called as a user is."""
    if not any(hint in text for hint in _HINTS):
        return text
    text = _WORD.sub(lambda word: _redacted_word(word[0]), text)
    text = _NAMED.sub(rf"\1={HIDDEN}", text)
    text = _HEADER.sub(rf"\1{HIDDEN}\2{HIDDEN}", text)
    text = _KEY_ID.sub(HIDDEN, text)
    return _WORD.sub(lambda word: HIDDEN if _hides_one(word[0]) else word[0], text)


def without_user(url: str) -> str:
    """A URL, or a text with URLs, without what stands before their @."""
    return _WORD.sub(lambda word: _with_users(word[0], ""), url)


def secret_in(text: str) -> str | None:
    """Which kind of credential `redacted` would hide in a text, or has hidden; None if it has none.

    For texts joined by line breaks it says whether any of them has one.
    """
    if any(secret in text for secret in _secrets()):
        return "a credential of the environment"
    return secret_in_url(text)


def secret_in_url(text: str) -> str | None:
    """As `secret_in`, but for what the environment has: a folder may be called as a user is."""
    if not any(hint in text for hint in _HINTS):
        return None
    found = _kind(text)
    return _kind(unquote(text)) if found is None and "%" in text else found


def _kind(text: str) -> str | None:
    return next((kind for kind, has in _KINDS.items() if has(text)), None)


def _has_user(text: str) -> bool:
    return "@" in text and "://" in text and without_user(text) != text


def _has_parameter(text: str) -> bool:
    return "?" in text and any(
        _PARAMETER.search(word, word.find("?")) for word in _WORD.findall(text) if "?" in word
    )


_KINDS: dict[str, Callable[[str], object]] = {
    "the user of a URL": _has_user,
    "a signature, a token or a key in a URL": _has_parameter,
    "a signature or a key": lambda text: _NAMED.search(text) or _HEADER.search(text),
    "the id of an access key": _KEY_ID.search,
}


def _redacted_word(word: str) -> str:
    if "@" in word:
        word = _with_users(word, f"{HIDDEN}@")
    path = word.partition("?")[0]
    return path + _PARAMETER.sub(rf"\1\2={HIDDEN}", word[len(path) :])


def _hides_one(word: str) -> bool:
    """Whether a word has a credential in it that is percent-encoded, as in the query of another URL."""
    return "%" in word and _kind(unquote(word.replace(HIDDEN, ""))) is not None


def _with_users(word: str, instead: str) -> str:
    """A word with the users of its URLs, and the @ behind each, replaced."""
    if "://" not in word:
        return word
    *before, rest = word.split("@")
    return "".join([*(_with_user(piece, instead) for piece in before), rest])


def _with_user(piece: str, instead: str) -> str:
    """What stands before an @, with a user in it replaced, and with the @ if there is none."""
    user = _USER.search(piece)
    return piece[: user.start()] + instead if user else f"{piece}@"


def _secrets() -> tuple[str, ...]:
    return _forms(tuple(os.environ.get(name) for name in _VARIABLES))


@lru_cache(maxsize=8)
def _forms(values: tuple[str | None, ...]) -> tuple[str, ...]:
    """The forms in which credentials can stand in a text, the longest first."""
    forms = {
        form for value in values if value for form in (value, quote(value, safe=""), quote(value))
    } | {quote_plus(value) for value in values if value}
    return tuple(sorted((f for f in forms if len(f) >= _MIN_SECRET_LENGTH), key=len, reverse=True))
