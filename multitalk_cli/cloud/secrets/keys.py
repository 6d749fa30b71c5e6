"""What the two secrets hold, and values as people paste them: cleaned, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from multitalk_cli import contract
from multitalk_cli.errors import SetupError
from multitalk_cli.storage.access import is_endpoint

KEY_ID, KEY_SECRET, KEY_TOKEN = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
BUCKET, REGION, ENDPOINT = "AWS_BUCKET_NAME", "AWS_REGION", "AWS_ENDPOINT_URL"
HF_TOKEN = "HF_TOKEN"

CREDENTIALS = (KEY_ID, KEY_SECRET, KEY_TOKEN)
"""These belong together: those of one source are never mixed with another's."""
SHOWN = (BUCKET, REGION, ENDPOINT)
"""Their values are no secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSpec:
    """One of the two secrets. option: what --only takes. label: in reports. what: it is for."""

    option: str
    label: str
    name: str
    keys: tuple[str, ...]
    required: tuple[str, ...]
    what: str


AWS = SecretSpec(
    option="aws",
    label="aws",
    name=contract.AWS_SECRET,
    keys=(KEY_ID, KEY_SECRET, BUCKET, REGION, KEY_TOKEN, ENDPOINT),
    required=(KEY_ID, KEY_SECRET, BUCKET),
    what="inputs and outputs in a bucket of S3",
)
HUB = SecretSpec(
    option="hf",
    label="huggingface",
    name=contract.HUGGINGFACE_SECRET,
    keys=(HF_TOKEN,),
    required=(HF_TOKEN,),
    what="downloads of the weights with your name",
)
SECRET_SPECS: Mapping[str, SecretSpec] = {kind.option: kind for kind in (AWS, HUB)}
KEYS = AWS.keys + HUB.keys
OTHER_NAMES = {"AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL_S3": ENDPOINT}
"""Names that boto3 reads too -> the key that the secret has for them."""

_PASTE_MARKS = re.compile("\x1b\\[20[01]~|[\u200b\u200c\u200d\u2060\ufeff]")
_QUOTES = ("''", '""', "``", "\u201c\u201d", "\u2018\u2019")
_AMAZON_KEY_ID = re.compile(r"A[A-Z]IA[A-Z0-9]{12,124}")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A value that can be used. removed: what was taken off it, in words."""

    value: str
    removed: tuple[str, ...]


def is_temporary(key_id: str) -> bool:
    """Whether Amazon gave the key for a session, whose token it then needs."""
    return key_id.startswith("ASIA")


def clean(key: str, raw: str) -> Cleaned:
    """The value without what came along when it was copied.

    Raises SetupError E_SECRET_VALUE, which never shows the value.
    """
    removed: list[str] = []
    text = _take(_PASTE_MARKS.sub("", raw), raw, "marks of a terminal", removed)
    # Typing a line ends it as well, which is nothing to speak of.
    stripped = text.strip()
    if text.removesuffix("\n") != stripped:
        removed.append("spaces and line ends around it")
    text = stripped
    name = re.match(rf"(?:export\s+)?{key}\s*=\s*", text)
    text = _take(text[name.end() :] if name else text, text, "its name", removed)
    while len(text) > 1 and text[0] + text[-1] in _QUOTES:
        text = _take(text[1:-1].strip(), text, "quotes", removed)
    text = _take(re.sub(r"[\r\n]+", "", text), text, "line ends inside it", removed)
    if not text:
        raise _refused(key, "is empty")
    for position, character in enumerate(text, 1):
        if not "!" <= character <= "~":
            what = "a space" if character.isspace() else "a character that no key has"
            raise _refused(key, f"has {what} at position {position} of {len(text)}")
    text = _shape(key, text, removed)
    return Cleaned(value=text, removed=tuple(dict.fromkeys(removed)))


def check_together(values: Mapping[str, str]) -> None:
    """Raises SetupError E_SECRET_VALUE where keys were taken for each other."""
    if _AMAZON_KEY_ID.fullmatch(values.get(KEY_SECRET, "")):
        raise _refused(KEY_SECRET, f"looks like a key's id: was it taken for {KEY_ID}?")


def missing(kind: SecretSpec, values: Mapping[str, str]) -> list[str]:
    """Which keys are still needed for this secret."""
    needed = [*kind.required]
    if is_temporary(values.get(KEY_ID, "")):
        needed.append(KEY_TOKEN)
    return [key for key in needed if key in kind.keys and key not in values]


def _take(new: str, old: str, what: str, removed: list[str]) -> str:
    if new != old:
        removed.append(what)
    return new


def _shape(key: str, text: str, removed: list[str]) -> str:
    """Checks what only some keys must look like."""
    if key == BUCKET:
        bare = re.sub(r"^(s3://|arn:aws[a-z-]*:s3:::)", "", text).rstrip("/")
        text = _take(bare, text, "all but the bucket's name", removed)
        if not _BUCKET.fullmatch(text):
            raise _refused(key, f"must be the name of a bucket, not {text!r}")
    if key == REGION and not _REGION.fullmatch(text):
        raise _refused(key, "must be a region such as eu-west-3")
    if key == ENDPOINT and not is_endpoint(text):
        raise _refused(key, "must be http://HOST or https://HOST")
    return text


def _refused(key: str, why: str) -> SetupError:
    return SetupError(f"{key} {why}", code="E_SECRET_VALUE")
