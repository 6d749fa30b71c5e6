"""boto3's errors as ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from multitalk_cli.errors import (
    FileError,
    MultitalkError,
    SetupError,
    StorageError,
    TemporaryError,
    UsageError,
)

if TYPE_CHECKING:
    from multitalk_cli.storage.address import S3Uri

_CREDENTIAL_CODES = {
    "AuthorizationHeaderMalformed", "CredentialsError", "InvalidAccessKeyId",
    "InvalidClientTokenId", "InvalidToken", "SignatureDoesNotMatch", "UnrecognizedClientException",
}  # fmt: skip
_EXPIRED_CODES = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_REGION_CODES = {
    "301", "IllegalLocationConstraintException", "PermanentRedirect", "TemporaryRedirect",
}  # fmt: skip
_BUSY_CODES = {
    "429", "500", "502", "503", "504", "ConditionalRequestConflict", "InternalError",
    "OperationAborted", "RequestLimitExceeded", "RequestTimeout", "ServiceUnavailable", "SlowDown",
    "Throttling", "ThrottlingException",
}  # fmt: skip


def library_errors() -> tuple[type[Exception], ...]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return (ClientError, BotoCoreError, Boto3Error)


@contextmanager
def converted(permission: str, uri: S3Uri | None) -> Iterator[None]:
    """Turns boto3's errors into ours.

    permission: needed for the block. uri: the bucket or object that it works on.
    """
    try:
        yield
    except library_errors() as error:
        from botocore.exceptions import ClientError

        if isinstance(error, ClientError):
            raise _convert_answer(error.response, permission, uri) from error
        raise _convert_local(error) from error


def _convert_local(error: Exception) -> MultitalkError:
    """An error from before the store answered."""
    from botocore import exceptions as known

    text = " ".join(str(error).split())
    expired = (known.UnauthorizedSSOTokenError, known.SSOTokenLoadError, known.TokenRetrievalError)
    credentials = (
        known.NoCredentialsError,
        known.PartialCredentialsError,
        known.CredentialRetrievalError,
        known.ProfileNotFound,
        known.ConfigParseError,
    )
    if isinstance(error, expired):
        return SetupError(f"the session has ended: {text}", code="E_S3_EXPIRED")
    if isinstance(error, credentials):
        return SetupError(f"no S3 credentials: {text}", code="E_S3_CREDENTIALS")
    if isinstance(error, known.HTTPClientError | known.ConnectionError | known.IncompleteReadError):
        return TemporaryError(f"the store cannot be reached: {text}", code="E_S3_NETWORK")
    if isinstance(error, known.ParamValidationError | known.InvalidRegionError):
        return UsageError(text, code="E_S3_ADDRESS")
    return StorageError(f"storage failed: {text}", code="E_STORAGE")


def _convert_answer(
    response: Mapping[str, Any], permission: str, uri: S3Uri | None
) -> MultitalkError:
    """An error that the store answered with."""
    detail = response.get("Error", {})
    code, message = str(detail.get("Code", "")), " ".join(str(detail.get("Message", "")).split())
    bucket = "" if uri is None else uri.bucket
    region = _region_of(response)
    if code in _REGION_CODES or (code == "AuthorizationHeaderMalformed" and region):
        return _wrong_region(bucket, region)
    if code in _CREDENTIAL_CODES:
        text = f"S3 refuses the credentials: {message} ({code})"
        return SetupError(text, code="E_S3_CREDENTIALS")
    if code in _EXPIRED_CODES:
        return SetupError(f"the S3 credentials have expired ({code})", code="E_S3_EXPIRED")
    if code == "RequestTimeTooSkewed":
        text = f"this machine's clock is wrong: the store has {detail.get('ServerTime', 'another')}"
        return SetupError(text, code="E_S3_CLOCK")
    if code in _BUSY_CODES:
        return TemporaryError(f"throttled by the store: {message} ({code})", code="E_S3_NETWORK")
    return _convert_refusal(code, message, permission, uri)


def _convert_refusal(code: str, message: str, permission: str, uri: S3Uri | None) -> MultitalkError:
    """An answer about the bucket or the object itself."""
    folder = "" if uri is None else uri.key.rpartition("/")[0]
    if code in ("NoSuchBucket", "InvalidBucketName") and uri is not None:
        return StorageError(f"no bucket {uri.bucket!r}", code="E_S3_BUCKET")
    if code in ("NoSuchKey", "NotFound", "404") and uri is not None:
        place = f"s3://{uri.bucket}/{folder}{'/' if folder else ''}"
        return StorageError(f"no object {uri}", code="E_S3_KEY", facts={"folder": place})
    if code in ("AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"):
        what = f"{permission} on {uri}" if uri is not None else permission
        return StorageError(f"the store does not allow {what}", code="E_S3_DENIED")
    if code in ("PreconditionFailed", "412"):
        if permission == "s3:PutObject":
            return FileError(f"{uri} exists", code="E_S3_EXISTS")
        return StorageError(f"{uri} was replaced while it was fetched", code="E_S3_CHANGED")
    return StorageError(f"unexpected response of the store: {message} ({code})", code="E_STORAGE")


def _region_of(response: Mapping[str, Any]) -> str:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region") or response.get("Error", {}).get("Region") or "")


def _wrong_region(bucket: str, region: str) -> StorageError:
    if not re.fullmatch(r"[a-z0-9-]+", region):
        return StorageError(f"the bucket {bucket!r} is in another region", code="E_S3_REGION")
    return StorageError(
        f"the bucket {bucket!r} is in the region {region}",
        code="E_S3_REGION",
        facts={"bucket": bucket, "region": region},
    )
