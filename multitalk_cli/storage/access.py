"""Access to a store: credentials, endpoint, region."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from multitalk_cli.contract.limits import find_flaw
from multitalk_cli.errors import SetupError, UsageError
from multitalk_cli.storage.errors import converted

MAX_CONNECTIONS = 10
_CONNECT_S, _READ_S = 10, 30
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?/?")
_STS_REGION = "us-east-1"
_ENDPOINT_FLAW = (
    "the store's endpoint (AWS_ENDPOINT_URL or your AWS configuration) must be http://HOST or "
    "https://HOST, without a user or password"
)


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
    used, as in a container.
    """

    profile: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile of the AWS configuration; None for what it does not set."""

    credentials: Credentials
    region: str | None
    endpoint_url: str | None


def is_endpoint(url: str) -> bool:
    """Whether it is the address of a host alone: the rest could hold a password."""
    return _ENDPOINT.fullmatch(url) is not None


def is_amazon(endpoint_url: str | None) -> bool:
    """Whether the store is Amazon's, which has services besides S3."""
    host = "" if endpoint_url is None else urlsplit(endpoint_url).hostname or ""
    return endpoint_url is None or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def connect(access: Access) -> tuple[Any, Any]:
    """A session of boto3 and its client of the store.

    Raises UsageError E_S3_ADDRESS and SetupError E_S3_CREDENTIALS, which show no key and no
    password.
    """
    if access.endpoint_url is not None and not is_endpoint(access.endpoint_url):
        shown = "" if "@" in access.endpoint_url else f", not {access.endpoint_url!r}"
        raise UsageError(
            f"--endpoint-url must be http://HOST or https://HOST{shown}",
            code="E_S3_ADDRESS",
            facts={"option": "--endpoint-url"},
        )
    session = _session(access)
    _require_clean_keys(session)
    client = _open_client(session, access)
    if "@" in client.meta.endpoint_url:
        raise SetupError(_ENDPOINT_FLAW, code="E_S3_CREDENTIALS")
    return session, client


def _open_client(session: Any, access: Access) -> Any:
    from botocore.exceptions import BotoCoreError

    try:
        return session.client(
            "s3",
            region_name=access.region,
            endpoint_url=access.endpoint_url,
            config=_config(access.credentials is not None),
        )
    except BotoCoreError:
        raise
    except ValueError:
        # Shows the address as it is; a password may be in it.
        raise SetupError(_ENDPOINT_FLAW, code="E_S3_CREDENTIALS") from None


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
    for name, value in values.items():
        flaw = find_flaw(value) if value else ""
        if flaw:
            message = f"{name} has {flaw} (source: {found.method})"
            raise SetupError(message, code="E_S3_CREDENTIALS", facts={"key": name})


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
        url = str(_open_client(session, Access()).meta.endpoint_url)
    return Profile(
        credentials=Credentials(key_id=keys.access_key, secret=keys.secret_key, token=keys.token),
        region=session.region_name,
        endpoint_url=None if is_amazon(url) else url,
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
    )
