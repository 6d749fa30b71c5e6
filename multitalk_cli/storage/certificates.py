"""Files that encrypted connections need: certificates to trust, and a log of their keys."""

from __future__ import annotations

import os
from pathlib import Path

from multitalk_cli.errors import SetupError

_KEY_LOG = "SSLKEYLOGFILE"


def require_key_log() -> None:
    """Raises SetupError E_CERTIFICATE for a SSLKEYLOGFILE with which nothing can be encrypted."""
    path = os.environ.get(_KEY_LOG)
    if not path:
        return
    try:
        with Path(path).open("ab"):
            return
    except OSError as error:
        message = f"{_KEY_LOG} is {path!r}, which cannot be written: {error.strerror}"
        raise SetupError(message, code="E_CERTIFICATE", facts={"unset": (_KEY_LOG,)}) from None


def reason_of(error: OSError) -> str:
    """The reason why a connection or a file failed, without OpenSSL's capitals."""
    reason = getattr(error, "reason", None)
    if not isinstance(reason, str):
        return error.strerror or str(error)
    return _IN_WORDS.get(reason, reason.lower().replace("_", " "))


_IN_WORDS = {
    "WRONG_VERSION_NUMBER": "the answer is not encrypted",
    "RECORD_LAYER_FAILURE": "the answer is not encrypted",
    "UNEXPECTED_EOF_WHILE_READING": "it hung up",
}
"""OpenSSL's reasons that say little."""
