"""Access to a store: credentials, endpoint, region."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from multitalk_cli.contract.limits import find_flaw
from multitalk_cli.errors import SetupError, UsageError
from multitalk_cli.errors.masking import hide
from multitalk_cli.storage import answers, key_text
from multitalk_cli.storage.certificates import reason_of, require_key_log
from multitalk_cli.storage.endpoint import EndpointError, find_proxy, parse_endpoint
from multitalk_cli.storage.errors import converted

MAX_CONNECTIONS = 10
_CONNECT_S, _READ_S = 10, 30
_PAYER = "x-amz-request-payer"
_STS_REGION = "us-east-1"
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A pair of keys, with a session's token if it is temporary."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Access to a store; None leaves the choice to boto3's own chain.

    With `credentials` that chain is disabled: no variable, profile or endpoint of this machine is
    used, as in a container. pays: whether the requester pays for the transfer, which some buckets
    ask for.
    """

    profile: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    credentials: Credentials | None = None
    pays: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile of the AWS configuration; None for what it does not set."""

    credentials: Credentials
    region: str | None
    endpoint_url: str | None


def is_amazon(endpoint_url: str | None) -> bool:
    """Whether the store is Amazon's, which has services besides S3."""
    host = "" if endpoint_url is None else urlsplit(endpoint_url).hostname or ""
    return endpoint_url is None or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def connect(access: Access) -> tuple[Any, Any]:
    """A session of boto3 and its client of the store.

    Raises UsageError E_S3_ADDRESS, SetupError E_S3_CREDENTIALS, E_PROXY and E_CERTIFICATE, which
    show no key and no password.
    """
    require_key_log()
    if access.endpoint_url is None:
        session = _session(access)
        endpoint = None if access.credentials else _configured_endpoint(session)
    else:
        endpoint = _given_endpoint(access.endpoint_url)
        session = _session(access)
    _require_clean_keys(session)
    _require_certificates(session)
    client = _open_client(session, access, endpoint)
    find_proxy(client.meta.endpoint_url)
    return session, client


def _given_endpoint(text: str) -> str:
    try:
        return parse_endpoint(text)
    except EndpointError as error:
        proposed = {"example": error.proposed} if error.proposed else {}
        raise UsageError(
            f"--endpoint-url {error}",
            code="E_S3_ADDRESS",
            facts={"option": "--endpoint-url", **proposed},
        ) from None


def _configured_endpoint(session: Any) -> str | None:
    """The endpoint in variables or in the profile, where boto3 looks for it; None for Amazon's."""
    core = session._session
    if core.get_config_variable("ignore_configured_endpoint_urls"):
        return None
    profile = core.get_scoped_config()
    services = core.full_config.get("services", {}).get(profile.get("services"), {})
    found = {name: os.environ.get(name) for name in _ENDPOINT_VARIABLES}
    found["endpoint_url of s3 in your AWS configuration"] = services.get("s3", {}).get(
        "endpoint_url"
    )
    found["endpoint_url in your AWS configuration"] = profile.get("endpoint_url")
    for origin, text in found.items():
        if text:
            try:
                return parse_endpoint(text)
            except EndpointError as error:
                proposed = {"proposed": error.proposed} if error.proposed else {}
                facts = {"variable": origin, **proposed} if origin in _ENDPOINT_VARIABLES else {}
                message = f"{origin} {error}"
                raise SetupError(message, code="E_S3_CREDENTIALS", facts=facts) from None
    return None


def _open_client(session: Any, access: Access, endpoint: str | None) -> Any:
    session._session.register_component("response_parser_factory", _checked_parsers())
    client = session.client(
        "s3",
        region_name=_region(session, access),
        endpoint_url=endpoint,
        config=_config(access.credentials is not None),
    )
    answers.watch(client)
    key_text.watch(client)
    if access.pays:
        client.meta.events.register("before-parameter-build.s3", _agree_to_pay)
        client.meta.events.register("before-sign.s3", _sign_agreement)
    return client


def _checked_parsers() -> Any:
    """botocore's parsers, which report a value that they cannot read as an error of the answer."""
    from botocore.parsers import ResponseParserError, ResponseParserFactory

    factory = ResponseParserFactory()
    create = factory.create_parser

    def create_checked(protocol_name: str) -> Any:
        parser = create(protocol_name)
        parse = parser.parse

        def parse_checked(response: Any, shape: Any) -> Any:
            try:
                return parse(response, shape)
            except ValueError as error:
                raise ResponseParserError(str(error)) from error

        parser.parse = parse_checked
        return parser

    factory.create_parser = create_checked
    return factory


def _region(session: Any, access: Access) -> str | None:
    """The region; AWS_REGION, which boto3 does not read, if nothing else names one."""
    if access.region is not None:
        return access.region
    own = session.region_name
    found = own if own or access.credentials else os.environ.get("AWS_REGION")
    if found and find_flaw(found):
        message = (
            f"the region (AWS_DEFAULT_REGION or your AWS configuration) has {find_flaw(found)}"
        )
        raise SetupError(message, code="E_S3_CREDENTIALS")
    return found or None


def _agree_to_pay(params: dict[str, Any], model: Any, **_others: Any) -> None:
    if "RequestPayer" in model.input_shape.members:
        params["RequestPayer"] = "requester"


def _sign_agreement(request: Any, signature_version: object, **_others: Any) -> None:
    """Puts the agreement into a signed URL: whoever opens it sends no header."""
    if str(signature_version).endswith("-query") and _PAYER in request.headers:
        del request.headers[_PAYER]
        mark = "&" if "?" in request.url else "?"
        request.url += f"{mark}{_PAYER}=requester"


def _require_clean_keys(session: Any) -> None:
    """Raises SetupError E_S3_CREDENTIALS for keys with spaces or line ends.

    HTTP headers cannot carry them, and botocore would print the whole header.
    """
    found = session.get_credentials()
    if found is None:
        return
    keys = found.get_frozen_credentials()
    values = {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.token,
    }
    hide(value for value in (keys.access_key, keys.secret_key, keys.token) if value)
    for name, value in values.items():
        flaw = find_flaw(value) if value else ""
        if flaw:
            message = f"{name} has {flaw} (source: {found.method})"
            raise SetupError(message, code="E_S3_CREDENTIALS", facts={"key": name})


def _require_certificates(session: Any) -> None:
    """Raises SetupError E_S3_CREDENTIALS for a file of certificates that cannot be used."""
    import ssl

    path = session._session.get_config_variable("ca_bundle")
    if not path:
        return
    try:
        folder = {"capath": path} if os.path.isdir(path) else {"cafile": path}  # noqa: PTH112
        ssl.create_default_context(**folder)
    except OSError as error:
        message = f"the certificates of AWS_CA_BUNDLE in {path} cannot be read: {reason_of(error)}"
        facts = {"needs_certificate": True}
        raise SetupError(message, code="E_S3_CREDENTIALS", facts=facts) from None


def account_of(credentials: Credentials, region: str | None, sts_url: str | None = None) -> str:
    """The number of the AWS account of the keys, which needs no permission.

    sts_url: the endpoint of the token service, if not Amazon's.
    """
    with converted("sts:GetCallerIdentity", None):
        client = _session(Access(credentials=credentials)).client(
            "sts",
            region_name=_STS_REGION if region is None else region,
            endpoint_url=sts_url,
            config=_config(True),
        )
        return str(client.get_caller_identity()["Account"])


def read_profile(name: str) -> Profile:
    """A profile as boto3 resolves it. Raises SetupError E_S3_CREDENTIALS and E_S3_EXPIRED."""
    import boto3

    with converted("sign in", None):
        session = boto3.Session(profile_name=name)
        found = session.get_credentials()
        if found is None:
            message = f"the profile {name!r} has no credentials"
            raise SetupError(message, code="E_S3_CREDENTIALS")
        keys = found.get_frozen_credentials()
        endpoint = _configured_endpoint(session)
    return Profile(
        credentials=Credentials(key_id=keys.access_key, secret=keys.secret_key, token=keys.token),
        region=session.region_name,
        endpoint_url=None if is_amazon(endpoint) else endpoint,
    )


def _session(access: Access) -> Any:
    import boto3
    import botocore.session

    given = access.credentials
    if given is None:
        return boto3.Session(profile_name=access.profile)
    nowhere = {"config_file": os.devnull, "credentials_file": os.devnull}
    own = {name: (None, None, nowhere.get(name), None) for name in (*nowhere, "profile", "region")}
    return boto3.Session(
        botocore_session=botocore.session.Session(session_vars=own),
        aws_access_key_id=given.key_id,
        aws_secret_access_key=given.secret,
        aws_session_token=given.token,
    )


def _config(is_own: bool) -> Any:
    from botocore.config import Config

    return Config(
        # The older signatures let a URL carry headers that it was not signed for.
        signature_version="s3v4",
        connect_timeout=_CONNECT_S,
        read_timeout=_READ_S,
        retries={"mode": "standard", "max_attempts": 4},
        max_pool_connections=MAX_CONNECTIONS,
        ignore_configured_endpoint_urls=is_own,
        # Uploads carry a digest of ours. Several stores reject the headers of Amazon's own.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
