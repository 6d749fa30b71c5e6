"""boto3's errors as ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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
    from botocore.parsers import ResponseParserError
    from urllib3.exceptions import HTTPError

    return (ClientError, BotoCoreError, Boto3Error, ResponseParserError, HTTPError)


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
    from urllib3.exceptions import HTTPError

    text = " ".join(str(error).split())
    expired = (known.UnauthorizedSSOTokenError, known.SSOTokenLoadError, known.TokenRetrievalError)
    credentials = (
        known.NoCredentialsError,
        known.PartialCredentialsError,
        known.CredentialRetrievalError,
        known.ProfileNotFound,
        known.ConfigParseError,
        known.ConfigNotFound,
        known.InvalidConfigError,
        known.InfiniteLoopConfigError,
        known.UnknownCredentialError,
        known.MetadataRetrievalError,
    )
    network = (known.HTTPClientError, known.ConnectionError, known.IncompleteReadError, HTTPError)
    if isinstance(error, expired):
        return SetupError(f"the session has ended: {text}", code="E_S3_EXPIRED")
    if isinstance(error, credentials):
        return SetupError(f"no S3 credentials: {text}", code="E_S3_CREDENTIALS")
    if isinstance(error, network):
        return _convert_network(error)
    if isinstance(error, known.ParamValidationError | known.InvalidRegionError):
        return UsageError(text, code="E_S3_ADDRESS")
    return StorageError(f"storage failed: {text}", code="E_STORAGE")


def _convert_network(error: Exception) -> MultitalkError:
    """An error of a connection. Only the host is shown: the rest of an address may be signed."""
    from botocore import exceptions as known

    details = getattr(error, "kwargs", {})
    url, cause = str(details.get("endpoint_url", "")), details.get("error", error)
    reason = _reason(cause)
    if isinstance(error, known.ProxyConnectionError):
        shown = str(details.get("proxy_url", "")).replace("***:***@", "")
        if "407" in reason:
            message = f"the proxy {shown} rejects the user and password: {reason}"
            return SetupError(message, code="E_PROXY")
        return TemporaryError(f"the proxy {shown} cannot be reached: {reason}", code="E_S3_NETWORK")
    parts = urlsplit(url)
    place = f" at {parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else ""
    if isinstance(error, known.SSLError):
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            message = f"the certificate of the store{place} is not trusted: {reason}"
            return StorageError(message, code="E_S3_ENDPOINT", facts={"needs_certificate": True})
        if "WRONG_VERSION_NUMBER" in reason or "RECORD_LAYER" in reason:
            message = f"the server{place} does not answer with TLS: is it http://?"
            facts = {"endpoint": f"http://{parts.netloc}"} if parts.netloc else {}
            return StorageError(message, code="E_S3_ENDPOINT", facts=facts)
    return TemporaryError(f"the store{place} cannot be reached: {reason}", code="E_S3_NETWORK")


def _reason(cause: object) -> str:
    """The innermost reason of a failed connection, in one line."""
    while True:
        args = cause.args if isinstance(cause, Exception) else ()
        inner = getattr(cause, "original_error", None) or getattr(cause, "reason", None)
        inner = inner or next((each for each in args if isinstance(each, Exception)), None)
        if not isinstance(inner, Exception) or inner is cause:
            break
        cause = inner
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    text = " ".join(str(cause).split())
    of_system = re.search(r"\[Errno -?[0-9]+\] ([^)\]]+)", text)
    return of_system[1] if of_system else text


def _convert_answer(
    response: Mapping[str, Any], permission: str, uri: S3Uri | None
) -> MultitalkError:
    """An error that the store answered with."""
    detail = response.get("Error", {})
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    code = str(detail.get("Code") or status)
    message = " ".join(str(detail.get("Message", "")).split())
    bucket = "" if uri is None else uri.bucket
    region = _region_of(response)
    if code in _REGION_CODES or (code == "AuthorizationHeaderMalformed" and region):
        return _wrong_region(bucket, region)
    if code in _CREDENTIAL_CODES:
        said = f"{message} ({code})" if message else code
        return SetupError(f"S3 refuses the credentials: {said}", code="E_S3_CREDENTIALS")
    if code in _EXPIRED_CODES:
        return SetupError(f"the S3 credentials have expired ({code})", code="E_S3_EXPIRED")
    if code == "RequestTimeTooSkewed":
        text = f"this machine's clock is wrong: the store has {detail.get('ServerTime', 'another')}"
        return SetupError(text, code="E_S3_CLOCK")
    if code in _BUSY_CODES:
        said = f"{message} ({code})" if message else f"status {code}"
        return TemporaryError(f"the store is busy or has failed: {said}", code="E_S3_NETWORK")
    return _convert_refusal(code, message, permission, uri)


def _convert_refusal(code: str, message: str, permission: str, uri: S3Uri | None) -> MultitalkError:
    """An answer about the bucket or the object itself."""
    folder = "" if uri is None else uri.key.rpartition("/")[0]
    if code in ("NoSuchBucket", "InvalidBucketName") and uri is not None:
        return StorageError(f"no bucket {uri.bucket!r}", code="E_S3_BUCKET")
    if code in ("NoSuchKey", "NotFound", "404") and uri is not None:
        place = f"s3://{uri.bucket}/{folder}{'/' if folder else ''}"
        return StorageError(f"no object {uri}", code="E_S3_KEY", facts={"folder": place})
    if code == "InvalidObjectState" and uri is not None:
        return archived(uri, message, is_on_its_way=False)
    if code in ("AccessDenied", "AllAccessDisabled", "AccountProblem", "403", "Forbidden"):
        what = f"{permission} on {uri}" if uri is not None else permission
        return StorageError(f"the store does not allow {what}", code="E_S3_DENIED")
    if code in ("PreconditionFailed", "412"):
        if permission == "s3:PutObject":
            return FileError(f"{uri} exists", code="E_S3_EXISTS")
        return StorageError(f"{uri} was replaced while it was fetched", code="E_S3_CHANGED")
    said = f"{message} ({code})" if message else code
    return StorageError(f"unexpected response of the store: {said}", code="E_STORAGE")


def archived(uri: S3Uri, archive: str, *, is_on_its_way: bool) -> StorageError:
    """The error for an object in an archive."""
    state = "is still being restored" if is_on_its_way else "is archived: restore it first"
    facts = {"is_on_its_way": True} if is_on_its_way else {}
    return StorageError(f"{uri} {state} ({archive})", code="E_S3_ARCHIVED", facts=facts)


def lacks_conditions(response: Mapping[str, Any]) -> bool:
    """Whether the store refused an upload because it knows no conditions."""
    detail = response.get("Error", {})
    code, message = str(detail.get("Code", "")), str(detail.get("Message", "")).lower()
    return code in ("NotImplemented", "501") or "if-none-match" in message


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
