"""Keys with control characters, which some stores write into XML although it cannot hold them."""

from __future__ import annotations

import re
from typing import Any

_FORBIDDEN = re.compile(rb"&#(?:x([0-9A-Fa-f]{1,6})|([0-9]{1,7}));|[\x00-\x08\x0b\x0c\x0e-\x1f]")
_CONTROLS = 32
_STAND_INS = 0xFDD0
"""The first of 32 code points that no text uses, one for each control character."""
_RESTORED = {_STAND_INS + code: code for code in range(_CONTROLS)}


def watch(client: Any) -> None:
    """Lets a client of boto3 read such answers, with stand-ins in the place of the characters."""
    # Wildcards make it go before boto3's own handler of "before-parse.s3.*", which takes what it
    # cannot read for a busy store.
    client.meta.events.register("before-parse.*.*", _replace)


def restored(key: str) -> str:
    """The key that the store has, of one in an answer."""
    return key.translate(_RESTORED)


def _replace(response_dict: dict[str, Any], **_others: Any) -> None:
    body = response_dict.get("body")
    if isinstance(body, bytes):
        response_dict["body"] = _FORBIDDEN.sub(_stand_in, body)


def _stand_in(match: re.Match[bytes]) -> bytes:
    """The same, or what stands in for a character that XML does not allow."""
    hexadecimal, decimal = match.groups()
    code = int(hexadecimal, 16) if hexadecimal else int(decimal) if decimal else match[0][0]
    if code < _CONTROLS and code not in b"\t\n\r":
        return chr(_STAND_INS + code).encode()
    is_allowed = code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF and code not in (0xFFFE, 0xFFFF)
    return match[0] if is_allowed else "\ufffd".encode()
