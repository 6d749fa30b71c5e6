"""How a store is reached: whose credentials, which endpoint, which region."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from multitalk_cli.errors import SetupError, UsageError
from multitalk_cli.storage.errors import converted

MAX_CONNECTIONS = 10
_CONNECT_S, _READ_S = 10, 30
_ENDPOINT = re.compile(r"https?://(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?/?")
_STS_REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A pair of keys, with a session's token where it is temporary."""

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the store is reached; None leaves it to boto3's own chain.

    With `credentials` that chain is left out: nothing of this machine's variables, profiles and
    endpoints is used, so that it is as if they were used elsewhere.
    """

    profile: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a profile of the AWS configuration says; None where it says nothing."""

    credentials: Credentials
    region: str | None
    endpoint_url: str | None


def is_endpoint(url: str) -> bool:
    """Whether it is the address of a host, and nothing more: a password could be in the rest."""
    return _ENDPOINT.fullmatch(url) is not None


def is_amazon(endpoint_url: str | None) -> bool:
    """Whether the store is AWS itself, which has more services than this one."""
    host = "" if endpoint_url is None else urlsplit(endpoint_url).hostname or ""
    return endpoint_url is None or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def connect(access: Access) -> tuple[Any, Any]:
    """A session of boto3 and its client of the store."""
    if access.endpoint_url is not None and not is_endpoint(access.endpoint_url):
        raise UsageError(
            f"--endpoint-url must be http://HOST or https://HOST, not {access.endpoint_url!r}",
            code="E_S3_ADDRESS",
            hint="multitalk s3 ls --endpoint-url https://HOST",
        )
    session = _session(access)
    client = session.client(
        "s3",
        region_name=access.region,
        endpoint_url=access.endpoint_url,
        config=_config(access.credentials is not None),
    )
    return session, client


def account_of(credentials: Credentials, region: str | None, sts_url: str | None = None) -> str:
    """The number of the AWS account that the keys are of; AWS tells it to whoever asks.

    sts_url: where its service for that is, if not at Amazon's.
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
    """What boto3 finds for a profile. Raises SetupError E_S3_CREDENTIALS and E_S3_EXPIRED."""
    import boto3

    with converted("sign in", None):
        session = boto3.Session(profile_name=name)
        found = session.get_credentials()
        if found is None:
            message = f"the profile {name!r} has no credentials"
            raise SetupError(message, code="E_S3_CREDENTIALS")
        keys = found.get_frozen_credentials()
        url = str(session.client("s3").meta.endpoint_url)
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
