"""Turns boto3's errors into ours, each with what helps."""

from __future__ import annotations

import re
import shlex
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
def converted(permission: str, address: S3Uri | None) -> Iterator[None]:
    """Turns boto3's errors into ours.

    permission: what must be allowed for this. address: what it is done to.
    """
    try:
        yield
    except library_errors() as error:
        raise _convert(error, permission, address) from error


def _convert(error: Exception, permission: str, address: S3Uri | None) -> MultitalkError:
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        return _convert_answer(error.response, permission, address)
    return _convert_local(error)


def _convert_local(error: Exception) -> MultitalkError:
    """What failed before the store answered."""
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
    response: Mapping[str, Any], permission: str, address: S3Uri | None
) -> MultitalkError:
    """What the store answered."""
    detail = response.get("Error", {})
    code, said = str(detail.get("Code", "")), " ".join(str(detail.get("Message", "")).split())
    bucket = "" if address is None else address.bucket
    region = _region_of(response)
    if code in _REGION_CODES or (code == "AuthorizationHeaderMalformed" and region):
        return _wrong_region(bucket, region)
    if code in _CREDENTIAL_CODES:
        return SetupError(f"S3 refuses the credentials: {said} ({code})", code="E_S3_CREDENTIALS")
    if code in _EXPIRED_CODES:
        return SetupError(f"the S3 credentials have expired ({code})", code="E_S3_EXPIRED")
    if code == "RequestTimeTooSkewed":
        times = f"it is {detail.get('ServerTime', 'another time')} there"
        return SetupError(f"this machine's clock is wrong: {times}", code="E_S3_CLOCK")
    if code in _BUSY_CODES:
        return TemporaryError(f"the store is busy: {said} ({code})", code="E_S3_NETWORK")
    return _convert_refusal(code, said, permission, address)


def _convert_refusal(
    code: str, said: str, permission: str, address: S3Uri | None
) -> MultitalkError:
    """What the store answered about the bucket or the object itself."""
    folder = "" if address is None else address.key.rpartition("/")[0]
    if code in ("NoSuchBucket", "InvalidBucketName") and address is not None:
        return StorageError(f"there is no bucket {address.bucket!r}", code="E_S3_BUCKET")
    if code in ("NoSuchKey", "NotFound", "404") and address is not None:
        place = f"s3://{address.bucket}/{folder}{'/' if folder else ''}"
        return StorageError(
            f"there is no object {address}",
            code="E_S3_KEY",
            hint=f"multitalk s3 ls {shlex.quote(place)} --recursive",
        )
    if code in ("AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"):
        what = f"{permission} on {address}" if address is not None else permission
        return StorageError(f"the store does not allow {what}", code="E_S3_DENIED")
    if code in ("PreconditionFailed", "412"):
        if permission == "s3:PutObject":
            return FileError(f"{address} exists", code="E_S3_EXISTS")
        return StorageError(f"{address} was replaced while it was fetched", code="E_S3_CHANGED")
    return StorageError(f"the store answered: {said} ({code})", code="E_STORAGE")


def _region_of(response: Mapping[str, Any]) -> str:
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return str(headers.get("x-amz-bucket-region") or response.get("Error", {}).get("Region") or "")


def _wrong_region(bucket: str, region: str) -> StorageError:
    if not re.fullmatch(r"[a-z0-9-]+", region):
        return StorageError(f"the bucket {bucket!r} is in another region", code="E_S3_REGION")
    return StorageError(
        f"the bucket {bucket!r} is in the region {region}",
        code="E_S3_REGION",
        hint=f"AWS_DEFAULT_REGION={region} multitalk s3 ls s3://{bucket}/",
    )
