"""Text that people and files get to see, without what opens doors."""

import re

_CREDENTIALS = re.compile(r"://(?:[^/\s@:]*:[^\s@]*|[^/\s@]+)@")
_SIGNED = re.compile(
    r"([?&](?:X-Amz-[\w-]+|X-Goog-[\w-]+|AWSAccessKeyId|Signature|sig|token)=)[^&\s'\"]*",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """`text` with the credentials and the signatures of its URLs struck out."""
    return _SIGNED.sub(r"\1***", _CREDENTIALS.sub("://***@", text))
