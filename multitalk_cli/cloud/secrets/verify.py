"""Verification of secrets before they are saved, against the bucket and the hub themselves."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from multitalk_cli import contract
from multitalk_cli.contract.secrets import (
    AWS_SPEC,
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
    """The verified permissions in words. region: of the bucket, if the store told it."""

    text: str
    region: str | None = None


def verify_secret(spec: SecretSpec, values: Mapping[str, str]) -> VerifyResult:
    """Uses the secret for its purpose. Raises the errors of the store and the hub."""
    return _verify_bucket(values) if spec is AWS_SPEC else _verify_hub(values)


def _verify_bucket(values: Mapping[str, str]) -> VerifyResult:
    from multitalk_cli.storage.access import Access, Credentials, account_of, is_amazon
    from multitalk_cli.storage.client import Storage
    from multitalk_cli.storage.probe import try_bucket

    bucket, endpoint, region = values[BUCKET], values.get(ENDPOINT), values.get(REGION)
    credentials = Credentials(
        key_id=values[KEY_ID], secret=values[KEY_SECRET], token=values.get(KEY_TOKEN)
    )
    owner = "keys"
    if is_amazon(endpoint):
        owner = f"keys of the AWS account {account_of(credentials, region)}"
    access = Access(credentials=credentials, endpoint_url=endpoint, region=region)
    found = try_bucket(Storage(access), bucket)
    if found is not None and found != region:
        # The verified values are those that are saved.
        access = Access(credentials=credentials, endpoint_url=endpoint, region=found)
        try_bucket(Storage(access), bucket)
    text = f"{owner} can list, write, read and delete in s3://{bucket}/outputs/"
    return VerifyResult(text=text, region=found)


def _verify_hub(values: Mapping[str, str]) -> VerifyResult:
    from multitalk_cli.storage.hub import Hub, HubPolicy
    from multitalk_cli.storage.retry import RetryPolicy

    # Nothing shows the pauses of a hub that throttles: none that is long.
    policy = HubPolicy(
        stall_s=_STALL_S, throttled_s=_STALL_S, asking=RetryPolicy(pauses_s=_PAUSES_S)
    )
    hub = Hub.with_token(values[HF_TOKEN], policy)
    name = hub.whoami()
    with ThreadPoolExecutor(len(contract.REPOSITORIES)) as pool:
        list(pool.map(hub.check_access, contract.REPOSITORIES))
    count = len(contract.REPOSITORIES)
    return VerifyResult(text=f"token of {name} can read all {count} repositories of the weights")
