"""Values of secrets as people paste them: cleaned, or refused by the name of their key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from multitalk_cli.contract.limits import find_flaw
from multitalk_cli.contract.secrets import (
    BUCKET,
    ENDPOINT,
    KEY_ID,
    KEY_SECRET,
    KEY_TOKEN,
    REGION,
    SecretSpec,
)
from multitalk_cli.errors import SetupError
from multitalk_cli.storage.address import check_bucket
from multitalk_cli.storage.endpoint import EndpointError, parse_endpoint

_PASTE_MARKS = re.compile("\x1b\\[20[01]~|[\u200b\u200c\u200d\u2060\ufeff]")
_QUOTES = ("''", '""', "``", "\u201c\u201d", "\u2018\u2019")
_AMAZON_KEY_ID = re.compile(r"A[A-Z]IA[A-Z0-9]{12,124}")
_REGION = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A usable value. removed: in words, for the user."""

    value: str
    removed: tuple[str, ...]


def is_temporary(key_id: str) -> bool:
    """Whether the key belongs to a session of Amazon's, and needs the session's token."""
    return key_id.startswith("ASIA")


def clean(key: str, raw: str) -> Cleaned:
    """The value without the quotes, names and line ends that are often copied with it.

    Raises SetupError E_SECRET_VALUE, which never shows the value.
    """
    removed: list[str] = []
    text = _take(_PASTE_MARKS.sub("", raw), raw, "marks of a terminal", removed)
    # A typed line always ends with one, which is not worth a word.
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
    flaw = find_flaw(text)
    if flaw:
        raise _refused(key, f"has {flaw}")
    text = _shape(key, text, removed)
    return Cleaned(value=text, removed=tuple(dict.fromkeys(removed)))


def check_together(values: Mapping[str, str]) -> None:
    """Raises SetupError E_SECRET_VALUE for keys that were swapped."""
    if _AMAZON_KEY_ID.fullmatch(values.get(KEY_SECRET, "")):
        raise _refused(KEY_SECRET, f"looks like an access key's id: was it swapped with {KEY_ID}?")


def missing(spec: SecretSpec, values: Mapping[str, str]) -> list[str]:
    """The keys that the secret still needs."""
    needed = [*spec.required]
    if is_temporary(values.get(KEY_ID, "")):
        needed.append(KEY_TOKEN)
    return [key for key in needed if key in spec.keys and key not in values]


def _take(new: str, old: str, what: str, removed: list[str]) -> str:
    if new != old:
        removed.append(what)
    return new


def _shape(key: str, text: str, removed: list[str]) -> str:
    """The value in the form that its key must have."""
    if key == BUCKET:
        bare = re.sub(r"^(s3://|arn:aws[a-z-]*:s3:::)", "", text).rstrip("/")
        text = _take(bare, text, "all but the bucket's name", removed)
        try:
            check_bucket(text)
        except ValueError as error:
            raise _refused(key, str(error)) from None
    if key == REGION and not _REGION.fullmatch(text):
        raise _refused(key, "must be a region such as eu-west-3")
    if key == ENDPOINT:
        try:
            return parse_endpoint(text)
        except EndpointError as error:
            raise _refused(key, str(error)) from None
    return text


def _refused(key: str, why: str) -> SetupError:
    return SetupError(f"{key} {why}", code="E_SECRET_VALUE")
