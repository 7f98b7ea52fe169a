from typing import Any

import pytest

from nst.errors import CorruptTransferError, ForbiddenError, NotFoundError, StorageError
from nst.storage.s3_faults import Fault, Kind, fault_of, may_pass, storage_error


class ClientError(Exception):
    """As botocore's: the store's answer is in it."""

    def __init__(self, status: int, code: str | None) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response: dict[str, Any] = {
            "Error": {"Code": code, "Message": "said"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }


def translated(cause: Exception) -> OSError:
    """As s3fs raises it: of a class that means something else."""
    error = OSError(22, "Invalid argument")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("method", "status", "code", "kind"),
    [
        ("put_object", 503, "SlowDown", "passing"),
        ("head_object", 503, "503", "passing"),
        ("put_object", 500, "InternalError", "passing"),
        ("put_object", 409, "ConditionalRequestConflict", "passing"),
        ("put_object", 400, "RequestTimeout", "passing"),
        ("put_object", 400, "BadDigest", "passing"),
        ("head_object", 404, "404", "missing"),
        ("get_object", 404, "NoSuchKey", "missing"),
        ("get_object", 404, "NoSuchBucket", "no_bucket"),
        ("head_bucket", 404, "404", "no_bucket"),
        ("list_objects_v2", 404, "404", "no_bucket"),
        ("put_object", 403, "AccessDenied", "forbidden"),
        ("head_object", 403, "403", "forbidden"),
        ("put_object", 403, "QuotaExceeded", "full"),
        ("put_object", 507, None, "full"),
        ("put_object", 403, "InvalidAccessKeyId", "credentials"),
        ("put_object", 403, "SignatureDoesNotMatch", "credentials"),
        ("put_object", 400, "ExpiredToken", "credentials"),
        ("head_object", 400, "400", "unexplained"),
        ("get_object", 400, None, "unexplained"),
        ("put_object", 301, "PermanentRedirect", "region"),
        ("head_object", 301, "301", "region"),
        ("put_object", 400, "AuthorizationHeaderMalformed", "region"),
        ("put_object", 501, "NotImplemented", "refused"),
        ("get_object", 400, "KeyTooLongError", "refused"),
    ],
)
def test_an_answer_is_judged_by_its_status_and_code(
    method: str, status: int, code: str | None, kind: Kind
) -> None:
    for error in (ClientError(status, code), translated(ClientError(status, code))):
        fault = fault_of(method, error)
        assert (fault.kind, fault.is_answer) == (kind, True)


def botocore_error(name: str, **arguments: Any) -> Exception:
    import botocore.exceptions

    error: Exception = getattr(botocore.exceptions, name)(**arguments)
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (botocore_error("EndpointConnectionError", endpoint_url="u"), "passing"),
        (botocore_error("ConnectionClosedError", endpoint_url="u"), "passing"),
        (botocore_error("ReadTimeoutError", endpoint_url="u"), "passing"),
        (botocore_error("HTTPClientError", error="e"), "passing"),
        (botocore_error("NoCredentialsError"), "credentials"),
        (botocore_error("PartialCredentialsError", provider="p", cred_var="v"), "credentials"),
        (botocore_error("ProfileNotFound", profile="p"), "credentials"),
        (botocore_error("NoRegionError"), "unusable"),
        (botocore_error("ParamValidationError", report="r"), "refused"),
        (ConnectionResetError(), "passing"),
        (TimeoutError(), "passing"),
        (TypeError("'NoneType' object is not iterable"), "passing"),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, Exception) else given,
)
def test_an_error_without_an_answer_is_judged_by_its_kind(error: Exception, kind: Kind) -> None:
    fault = fault_of("get_object", error)
    assert (fault.kind, fault.is_answer) == (kind, False)
    assert str(fault)


@pytest.mark.parametrize(
    ("kind", "of_reading", "ends_when_reading"),
    [
        ("missing", NotFoundError, False),
        ("forbidden", ForbiddenError, False),
        ("damaged", CorruptTransferError, False),
        ("refused", StorageError, False),
        ("no_bucket", StorageError, True),
        ("credentials", StorageError, True),
        ("region", StorageError, True),
        ("unexplained", StorageError, True),
        ("passing", StorageError, True),
        ("full", StorageError, True),
        ("unusable", StorageError, True),
    ],
)
def test_what_ends_the_run(
    kind: Kind, of_reading: type[StorageError], ends_when_reading: bool
) -> None:
    read = storage_error("read", "s3://b/k", Fault(kind, "said so"), 2)
    assert type(read) is of_reading
    assert read.ends_the_run is ends_when_reading
    written = storage_error("write", "s3://u:secret@b/k", Fault(kind, "said so"), 1)
    assert type(written) is StorageError
    assert written.ends_the_run
    assert str(written).startswith("cannot write s3://***@b/k: ")
    assert may_pass(Fault(kind, "said so")) is (kind in ("passing", "damaged"))
