"""Each secret is tried before it is saved: with the bucket itself, and with the hub itself."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from multitalk_cli import contract
from multitalk_cli.cloud.secrets.keys import (
    AWS,
    BUCKET,
    ENDPOINT,
    HF_TOKEN,
    KEY_ID,
    KEY_SECRET,
    KEY_TOKEN,
    REGION,
    SecretSpec,
)

_STALL_S = 15.0
_PAUSES_S = (0.5, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """What was seen to work, in words. region: of the bucket, where the store tells it."""

    seen: str
    region: str | None = None


def verify_secret(kind: SecretSpec, values: Mapping[str, str]) -> VerifyResult:
    """Does what the secret is for. Raises whatever the store or the hub answers, as our errors."""
    return _try_bucket(values) if kind is AWS else _try_hub(values)


def _try_bucket(values: Mapping[str, str]) -> VerifyResult:
    from multitalk_cli.storage.access import Access, Credentials, account_of, is_amazon
    from multitalk_cli.storage.client import Storage
    from multitalk_cli.storage.probe import try_bucket

    bucket, endpoint, region = values[BUCKET], values.get(ENDPOINT), values.get(REGION)
    credentials = Credentials(
        key_id=values[KEY_ID], secret=values[KEY_SECRET], token=values.get(KEY_TOKEN)
    )
    whose = "keys"
    if is_amazon(endpoint):
        whose = f"keys of the AWS account {account_of(credentials, region)}"
    access = Access(credentials=credentials, endpoint_url=endpoint, region=region)
    found = try_bucket(Storage(access), bucket)
    if found is not None and found != region:
        # What is saved is what was tried.
        access = Access(credentials=credentials, endpoint_url=endpoint, region=found)
        try_bucket(Storage(access), bucket)
    where = f"s3://{bucket}/outputs/"
    return VerifyResult(seen=f"{whose} list, store, read and delete in {where}", region=found)


def _try_hub(values: Mapping[str, str]) -> VerifyResult:
    from multitalk_cli.storage.hub import Hub, HubPolicy
    from multitalk_cli.storage.retry import RetryPolicy

    policy = HubPolicy(stall_s=_STALL_S, asking=RetryPolicy(pauses_s=_PAUSES_S))
    hub = Hub.with_token(values[HF_TOKEN], policy)
    name = hub.whoami()
    with ThreadPoolExecutor(len(contract.REPOSITORIES)) as pool:
        list(pool.map(hub.check_access, contract.REPOSITORIES))
    return VerifyResult(
        seen=f"token of {name} reads all {len(contract.REPOSITORIES)} repositories of the weights"
    )
