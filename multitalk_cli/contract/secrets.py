"""The secrets in the user's Modal account: their names and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from multitalk_cli.contract.names import AWS_SECRET, HUGGINGFACE_SECRET

KEY_ID, KEY_SECRET, KEY_TOKEN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
BUCKET, REGION, ENDPOINT = "AWS_BUCKET_NAME", "AWS_REGION", "AWS_ENDPOINT_URL"
HF_TOKEN = "HF_TOKEN"

CREDENTIALS = (KEY_ID, KEY_SECRET, KEY_TOKEN)
"""Belong together: those of different sources are never mixed."""
SHOWN = (BUCKET, REGION, ENDPOINT)
"""Keys whose values are not secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSpec:
    """One secret of the account.

    name: in Modal. option: for --only. label: in reports. purpose: in words. keys: all that it may
    have, of which `required` must be there.
    """

    name: str
    option: str
    label: str
    purpose: str
    keys: tuple[str, ...]
    required: tuple[str, ...]


AWS_SPEC = SecretSpec(
    name=AWS_SECRET,
    option="aws",
    label="aws",
    purpose="inputs and outputs in an S3 bucket",
    keys=(KEY_ID, KEY_SECRET, BUCKET, REGION, KEY_TOKEN, ENDPOINT),
    required=(KEY_ID, KEY_SECRET, BUCKET),
)
HUB_SPEC = SecretSpec(
    name=HUGGINGFACE_SECRET,
    option="hf",
    label="huggingface",
    purpose="downloads of the weights under your own account",
    keys=(HF_TOKEN,),
    required=(HF_TOKEN,),
)
SECRET_SPECS: Mapping[str, SecretSpec] = {spec.option: spec for spec in (AWS_SPEC, HUB_SPEC)}
KEYS = AWS_SPEC.keys + HUB_SPEC.keys
