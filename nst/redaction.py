"""Text without credentials, for whatever a person or a log gets to see."""

import os
import re
from urllib.parse import quote, quote_plus

HIDDEN = "***"

_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
# What is shorter is found in any text, as `test` in a path, and protects nothing.
_MIN_SECRET_LENGTH = 8

# `user@` and `user:secret@` after a scheme. A secret may hold slashes, as those of AWS do, so what
# tells it from a port is that a port is all digits.
_USER_INFO = re.compile(
    r"(?<=://)(?:[^\s/@:\"'<>]*:(?!\d+(?:[/?#]|$))[^\s@\"'<>]*|[^\s/@:?#\"'<>]+)@"
)
# Names that mean a credential wherever they stand, as in a signed request's header.
_SIGNATURES = re.compile(
    r"(?i)\b(x-(?:amz|goog)-(?:signature|credential|security-token)|awsaccesskeyid|googleaccessid"
    r"|signature|credential)=[^\s&;,#\"'<>]+"
)
# Names that mean one in the query of a URL.
_PARAMETERS = re.compile(
    r"(?i)([?&;])((?:[\w.-]*(?:token|secret|password|passwd|pwd|apikey|api[_-]key|auth))|key|sig)"
    r"=[^\s&;#\"'<>]+"
)
_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b")


def redacted(text: str) -> str:
    """`text` with each credential in it replaced by `***`: a URL, a message, anything.

    Those are what stands before an @ in a URL, signatures and tokens in its query, the access keys
    of AWS, and the values of the environment's AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
    AWS_SESSION_TOKEN, percent-encoded or not, where they have at least 8 characters.
    """
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    text = _USER_INFO.sub(f"{HIDDEN}@", text)
    text = _SIGNATURES.sub(rf"\1={HIDDEN}", text)
    text = _PARAMETERS.sub(rf"\1\2={HIDDEN}", text)
    return _KEY_ID.sub(HIDDEN, text)


def without_user(url: str) -> str:
    """A URL without what stands before its @."""
    return _USER_INFO.sub("", url)


# What may stand in no page, whoever hid what, by what it is called.
_TRACES = (
    ("a parameter of a signed URL", re.compile(r"(?i)x-amz-[a-z]|awsaccesskeyid")),
    ("a signature", re.compile(r"(?i)\b(?:signature|sig)=|sharedaccesssignature")),
    ("the id of an access key", re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}")),
    ("the user of a URL", _USER_INFO),
    ("a token or a password", _SIGNATURES),
    ("a token or a password", _PARAMETERS),
)
# One of these stands in any text in which a trace is found, and they are found much faster.
_HINTS = ("=", "@", "akia", "asia", "x-amz-", "awsaccesskeyid", "sharedaccesssignature")


def secret_in(text: str) -> str | None:
    """What kind of credential a text holds or names, or None.

    Of texts apart by line breaks it tells whether any of them does.
    """
    if any(secret in text for secret in _secrets()):
        return "a credential of the environment"
    lower = text.lower()
    if not any(hint in lower for hint in _HINTS):
        return None
    return next((kind for kind, pattern in _TRACES if pattern.search(text)), None)


def _secrets() -> list[str]:
    """The forms in which the environment's credentials can stand in a text, the longest first."""
    values = [value for name in _VARIABLES if (value := os.environ.get(name))]
    forms = {form for v in values for form in (v, quote(v, safe=""), quote(v), quote_plus(v))}
    return sorted((f for f in forms if len(f) >= _MIN_SECRET_LENGTH), key=len, reverse=True)
