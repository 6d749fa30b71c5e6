"""The one mask for keys, tokens and passwords, in errors and in everything that is printed.

Libraries quote what they were given: requests with their headers, addresses with passwords.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote

MASK = "***"
SECRET_VARIABLES = (
    "MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "MODAL_OAUTH_REFRESH_TOKEN", "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
)  # fmt: skip
ADDRESS_VARIABLES = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "HF_ENDPOINT",
    "MODAL_SERVER_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy",
    "all_proxy",
)  # fmt: skip
SHORTEST_SECRET = 12
"""Shorter values of variables are passwords of test stores, which paths may contain as words."""
SHORTEST_HIDDEN = 6
"""Shorter values are not masked: they are parts of words, and no real secrets."""
_SHORTEST_PART = 8
_SHORTEST_CODED = 12

_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("//", re.compile(r"(?<=//)[^\s/@\"'<>?#]+(?=@)")),
    ("x-amz-", re.compile(r"(?<=x-amz-signature=)[^&\s\"'<>]+", re.IGNORECASE)),
    ("x-amz-", re.compile(r"(?<=x-amz-credential=)[^&\s\"'<>]+", re.IGNORECASE)),
    ("x-amz-", re.compile(r"(?<=x-amz-security-token=)[^&\s\"'<>]+", re.IGNORECASE)),
    ("x-goog-", re.compile(r"(?<=x-goog-signature=)[^&\s\"'<>]+", re.IGNORECASE)),
    ("x-goog-", re.compile(r"(?<=x-goog-credential=)[^&\s\"'<>]+", re.IGNORECASE)),
    ("signature=", re.compile(r"(?<=[?&,\s]signature=)[^&\s\"'<>,]+", re.IGNORECASE)),
    ("credential=", re.compile(r"(?<=\bcredential=)[^/&\s\"'<>,]+", re.IGNORECASE)),
    ("awsaccesskeyid=", re.compile(r"(?<=awsaccesskeyid=)[^&\s\"'<>]+", re.IGNORECASE)),
    ("bearer ", re.compile(r"(?<=\bbearer )[A-Za-z0-9+/=._~-]{12,}", re.IGNORECASE)),
    ("authorization", re.compile(
        r"(?<=authorization)(['\"]?\s*[:=,]\s*b?['\"]?(?:basic|aws)\s+)[^\s\"',]+", re.IGNORECASE)),
    ("hf_", re.compile(r"\bhf_[A-Za-z0-9]{20,}")),
    ("akia", re.compile(r"\bAKIA[A-Z0-9]{12,}\b")),
    ("asia", re.compile(r"\bASIA[A-Z0-9]{12,}\b")),
)  # fmt: skip
"""A part of the text in small letters, without which it is not searched -> what is masked."""

_hidden: set[str] = set()
_revealed: set[str] = set()


def hide(values: Iterable[str]) -> None:
    """Masks these values, in every form that libraries print, from now on."""
    _hidden.update(value for value in values if len(value) >= SHORTEST_HIDDEN)


def reveal(text: str) -> None:
    """Leaves exactly this text as it is: a signed URL that was asked for."""
    _revealed.add(text)


def forget() -> None:
    """Starts again, with the environment alone."""
    _hidden.clear()
    _revealed.clear()


def mask(text: str) -> str:
    """The text without secrets: those of the environment, those hidden, and what looks like one."""
    for revealed in _revealed:
        if revealed in text:
            return revealed.join(mask(part) for part in text.split(revealed))
    for form in _all_forms(frozenset(_hidden).union(environment_secrets())):
        if form in text:
            text = text.replace(form, MASK)
    lowered = text.lower()
    for part, pattern in _PATTERNS:
        if part in lowered:
            text = pattern.sub(_masked, text)
    return text


def _masked(match: re.Match[str]) -> str:
    return f"{match[1]}{MASK}" if match.re.groups else MASK


def mask_all(data: Any) -> Any:
    """The same data with its texts masked, before JSON escapes them."""
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, Mapping):
        return {key: mask_all(each) for key, each in data.items()}
    return [mask_all(each) for each in data] if isinstance(data, list | tuple) else data


def environment_secrets() -> list[str]:
    """Keys, tokens and passwords in the environment."""
    tokens = [os.environ.get(name, "") for name in SECRET_VARIABLES]
    addresses = [os.environ.get(name, "") for name in ADDRESS_VARIABLES]
    passwords = [each for address in addresses if "@" in address for each in _passwords(address)]
    return [token for token in tokens if len(token.strip()) >= SHORTEST_SECRET] + [
        password for password in passwords if len(password) >= SHORTEST_HIDDEN
    ]


def _passwords(address: str) -> Iterator[str]:
    """What may be the password in an address, which may itself hold an @."""
    rest = address.partition("//")[2] or address
    user, _, behind = rest.rpartition("@")[0].partition(":")
    # A token may stand alone, in place of a user.
    yield behind if behind or len(user) < SHORTEST_SECRET else user
    yield from (behind[: each.start()] for each in re.finditer("@", behind))


@functools.lru_cache(maxsize=8)
def _all_forms(values: frozenset[str]) -> tuple[str, ...]:
    """The forms of values, the longest first: a part must not hide the rest of another."""
    found = {form for value in values for form in _forms_of(value)}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


def _forms_of(value: str) -> Iterator[str]:
    parts = [part for part in _BREAKS.split(value) if len(part) >= _SHORTEST_PART]
    for one in dict.fromkeys((value, value.strip(), unquote(value), *parts)):
        if len(one) >= SHORTEST_HIDDEN:
            yield from _spellings(one)


def _spellings(value: str) -> Iterator[str]:
    """A value as it is, and as Python, JSON, HTML, addresses and base64 write it."""
    raw = value.encode("utf-8", "surrogateescape")
    quoted = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    lowered = {re.sub("%..", lambda match: match[0].lower(), each) for each in quoted}
    escaped = {repr(value)[1:-1], ascii(value)[1:-1], repr(raw)[2:-1], json.dumps(value)[1:-1]}
    yield from {value, html.escape(value), *quoted, *lowered, *escaped}
    for shift in range(3):
        # Base64 of a longer text with the value in it: three bytes become four characters.
        coded = base64.b64encode(bytes(shift) + raw).decode()
        inner = coded[-(-shift * 8 // 6) : (shift + len(raw)) * 8 // 6]
        if len(inner) >= _SHORTEST_CODED:
            yield from {inner, inner.translate(_URL_SAFE)}


_BREAKS = re.compile(r"[^!-~]+|[\"'\\]+")
"""What texts write in several ways."""
_URL_SAFE = str.maketrans("+/", "-_")
