"""What an S3 store's answer means: what has failed, and whether a retry makes sense."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from nst.errors import CorruptTransferError, ForbiddenError, NotFoundError, StorageError
from nst.redaction import redacted

Kind = Literal[
    "passing",  # the next try may succeed
    "changed",  # the object has changed since it was read
    "damaged",  # what arrived differs from what the store has
    "missing",  # there is no such object
    "forbidden",  # we may not do this
    "refused",  # something else is wrong with this request
    "no_bucket",  # there is no such bucket
    "credentials",  # the store does not accept the credentials, or no longer
    "region",  # the bucket is in another region
    "unexplained",  # 400 without a reason
    "full",  # the store has no space left
    "unusable",  # the settings for the store make no sense
]
# Those that say something of one object and nothing of the others.
_OF_ONE_OBJECT: frozenset[Kind] = frozenset({"missing", "forbidden", "refused", "damaged"})

_ADVICE: Mapping[Kind, str] = {
    "changed": "another process writes it at the same time; wait for it, and run it again",
    "passing": "check the store and the network (AWS_ENDPOINT_URL), and run it again",
    "damaged": "the data that arrives differs from the data in the store; run it again, or upload "
    "the object again",
    "missing": "there is no such file or object",
    "forbidden": "these credentials do not have the permission; without the permission to list the "
    "bucket, a missing object looks the same",
    "refused": "correct the URL, or the object",
    "no_bucket": "create the bucket, or correct the URL or AWS_ENDPOINT_URL",
    "credentials": "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, "
    "AWS_SESSION_TOKEN, or AWS_PROFILE, to credentials that are valid now, and run it again",
    "region": "set AWS_DEFAULT_REGION and AWS_ENDPOINT_URL to where the bucket is",
    "unexplained": "expired credentials look like this, and so does a wrong region: renew the "
    "credentials, check AWS_DEFAULT_REGION, and run it again",
    "full": "free some space, and run it again",
    "unusable": "check AWS_ENDPOINT_URL, AWS_PROFILE, AWS_DEFAULT_REGION and the URL",
}

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
_KINDS: Mapping[str, Kind] = {
    "NoSuchBucket": "no_bucket",
    # Of a PUT with a condition too.
    "NoSuchKey": "missing",
    "PreconditionFailed": "changed",
    "QuotaExceeded": "full",
    "XMinioStorageFull": "full",
    **dict.fromkeys(
        [
            "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException",
            "InvalidToken", "TokenRefreshRequired", "RequestExpired", "RequestTimeTooSkewed",
            "InvalidSecurity", "InvalidClientTokenId", "NotSignedUp", "AccountProblem",
            "AllAccessDisabled", "MissingSecurityHeader", "MissingAuthenticationToken",
        ],
        "credentials",
    ),
    **dict.fromkeys(
        [
            "PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
        ],
        "region",
    ),
    **dict.fromkeys(
        [
            "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded",
            "TooManyRequests", "RequestTimeout", "RequestTimeoutException", "InternalError",
            "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict",
            # Of an upload in parts that is complete, whose answer was lost.
            "NoSuchUpload",
            # A body that was damaged on its way there.
            "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch",
            "XAmzContentChecksumMismatch",
        ],
        "passing",
    ),
}  # fmt: skip
_PASSING_STATUSES = {408, 409, 425, 429, 500, 502, 503, 504, 509}
_REDIRECTS = {301, 302, 307, 308}


class Fault(Exception):
    """Why one request failed; never leaves this package.

    `is_answer`: the store itself answered so. `received`: a digest of what arrived whole, but
    damaged.
    """

    def __init__(
        self, kind: Kind, said: str, *, is_answer: bool = False, received: str | None = None
    ) -> None:
        super().__init__(said)
        self.kind = kind
        self.is_answer = is_answer
        self.received = received


def may_pass(error: Exception) -> bool:
    """Whether the same request may succeed at the next try."""
    return isinstance(error, Fault) and error.kind in ("passing", "changed", "damaged")


def storage_error(verb: str, uri: str, fault: Fault, num_tries: int) -> StorageError:
    """The error for the caller, made from the last fault: what was tried, what happened, what to do."""
    tries = f", at each of {num_tries} tries" if num_tries > 1 else ""
    what = "" if fault.kind == "missing" else f"{fault}{tries}; "
    message = redacted(f"cannot {verb} {uri}: {what}{_ADVICE[fault.kind]}")
    if verb == "read":
        match fault.kind:
            case "missing":
                return NotFoundError(message)
            case "forbidden":
                return ForbiddenError(message)
            case "damaged":
                return CorruptTransferError(message)
    return StorageError(message, ends_the_run=verb != "read" or fault.kind not in _OF_ONE_OBJECT)


def fault_of(method: str, error: Exception) -> Fault:
    """The meaning of an exception of s3fs or botocore, by the store's answer in it.

    Its class says little: a refusal can be any kind of OSError.
    """
    answer = _answer_in(error)
    if answer is None:
        kind = _kind_without_answer(error)
        # botocore repeats the name, in which half of a URL's secret can stand.
        words = "no bucket has such a name" if kind == "refused" else words_of(error)
        return Fault(kind, words)
    status = answer["ResponseMetadata"].get("HTTPStatusCode", 0)
    code, message = (str(answer["Error"].get(name) or "") for name in ("Code", "Message"))
    words = f"{code} {message}" if code.isdigit() else f"{code}: {message}"
    said = words.strip(": ") or f"status {status}"
    return Fault(_kind(method, status, code), said, is_answer=True)


def words_of(error: BaseException) -> str:
    """The text of an exception, on one line."""
    lines = (str(error) or type(error).__name__).splitlines()
    return " ".join(line.strip() for line in lines)


def _answer_in(error: BaseException) -> Mapping[str, Any] | None:
    """The store's answer, wherever in the chain of exceptions botocore's own is."""
    found: BaseException | None = error
    while found is not None:
        response = getattr(found, "response", None)
        if isinstance(response, Mapping) and "ResponseMetadata" in response:
            return {"Error": {}, **response}
        found = found.__cause__
    return None


def _kind(method: str, status: int, code: str) -> Kind:
    if code in _KINDS:
        return _KINDS[code]
    if status in _PASSING_STATUSES:
        return "passing"
    if status in _REDIRECTS:
        return "region"
    if status == 404:
        is_of_object = method in ("head_object", "get_object", "delete_object")
        return "missing" if is_of_object else "no_bucket"
    if status in (401, 403):
        return "forbidden"
    if status == 412:
        return "changed"
    if status == 507:
        return "full"
    if status == 400 and code in ("", "400", "BadRequest", "Bad Request"):
        return "unexplained"
    return "refused"


def _kind_without_answer(error: Exception) -> Kind:
    """By the names of botocore's exception classes, since importing them is slow."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if "ParamValidationError" in names:
        return "refused"
    if names & {"HTTPClientError", "ConnectionError"}:
        # aiohttp follows a redirect, and gives up after ten.
        is_circular = type(error.__context__).__name__ == "TooManyRedirects"
        return "region" if is_circular else "passing"
    if "BotoCoreError" in names:
        is_of_credentials = re.search("Credential|Token|Login|SSO|Profile", type(error).__name__)
        return "credentials" if is_of_credentials else "unusable"
    # Broken connections, timeouts, and whatever an answer that makes no sense leads to.
    return "passing"
