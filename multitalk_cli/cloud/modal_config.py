"""Modal's own settings, read without importing modal: the token and the server's address.

Modal reads variables first, then a section of a TOML file: the one that MODAL_PROFILE names, or the
one that is marked active.
"""

import os
import socket
import threading
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from multitalk_cli.contract.limits import find_flaw
from multitalk_cli.errors import SetupError, TemporaryError

DEFAULT_SERVER_URL = "https://api.modal.com"
PROBE_S = 3.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_PAIRS = (
    ("token_id", "token_secret"),
    ("oauth_refresh_token", "oauth_client_id"),
)


def config_file() -> Path:
    """The path of Modal's settings file."""
    path = os.environ.get("MODAL_CONFIG_PATH")
    return Path(path) if path else Path.home() / ".modal.toml"


def profile(path: Path) -> Mapping[str, Any]:
    """The section of the file that Modal would use; empty without one."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SetupError(f"{path} cannot be used: {error}", code="E_TOKEN") from None
    sections = {name: item for name, item in document.items() if isinstance(item, dict)}
    name = os.environ.get("MODAL_PROFILE")
    active = [item for item in sections.values() if item.get("active") is True]
    return sections.get(name, {}) if name else next(iter(active), sections.get("default", {}))


def has_token() -> bool:
    """Whether there is a complete token.

    Raises SetupError E_TOKEN for half of one or one with spaces or line ends in it, E_NO_TOKEN for
    an empty variable that hides one.
    """
    section = profile(config_file())
    for names in _PAIRS:
        hidden = [_variable(name) for name in names if _is_empty(name) and section.get(name)]
        if hidden:
            message = f"{' and '.join(hidden)} must not be empty: the stored token is hidden"
            raise SetupError(message, code="E_NO_TOKEN", facts={"unset": tuple(hidden)})
        values = [os.environ.get(_variable(name), section.get(name)) for name in names]
        for name, value in zip(names, values, strict=True):
            _require_clean(name, value)
        given = [bool(value) for value in values]
        if all(given):
            return True
        if any(given):
            absent, half = names[given.index(False)], names[given.index(True)]
            unset = (_variable(half),) if os.environ.get(_variable(half)) else ()
            message = f"the Modal token lacks its {absent}"
            raise SetupError(message, code="E_TOKEN", facts={"unset": unset})
    return False


def _require_clean(name: str, value: object) -> None:
    """Raises SetupError E_TOKEN for part of a token that Modal would refuse by printing it."""
    if value is not None and not isinstance(value, str):
        raise SetupError(f"{name} in {config_file()} must be text in quotes", code="E_TOKEN")
    flaw = find_flaw(value) if value else ""
    if not flaw:
        return
    variable = _variable(name)
    if variable in os.environ:
        message = f"{variable} has {flaw}"
        raise SetupError(message, code="E_TOKEN", facts={"clean": variable})
    raise SetupError(f"{name} in {config_file()} has {flaw}", code="E_TOKEN")


def stored_tokens() -> list[str]:
    """Tokens in Modal's file, to be hidden; none from an unreadable one."""
    # RuntimeError: a user without a home folder.
    with suppress(SetupError, RuntimeError):
        section = profile(config_file())
        values = (section.get(name) for names in _PAIRS for name in names)
        return [value for value in values if isinstance(value, str)]
    return []


def _variable(name: str) -> str:
    return f"MODAL_{name.upper()}"


def _is_empty(name: str) -> bool:
    """Whether the variable is empty, which for Modal is a value too."""
    return os.environ.get(_variable(name)) == ""


def require_token() -> None:
    """Raises SetupError E_NO_TOKEN without a token, or as `has_token`."""
    if not has_token():
        message = f"no Modal token in {config_file()} or MODAL_TOKEN_ID"
        raise SetupError(message, code="E_NO_TOKEN")


def prefer_plain_payloads() -> None:
    """Sends calls as cbor, which needs neither pickle nor the same Python on both sides."""
    os.environ.setdefault("MODAL_PAYLOAD_FORMAT", "cbor")


def set_variable(name: str, value: str) -> None:
    """Sets a variable that the app's definition reads when it is imported."""
    os.environ[name] = value


def server_url() -> str:
    """The address of Modal's server."""
    found = os.environ.get("MODAL_SERVER_URL") or profile(config_file()).get("server_url")
    return found if isinstance(found, str) else DEFAULT_SERVER_URL


def require_network() -> None:
    """Raises TemporaryError E_NETWORK unless Modal answers within three seconds.

    Modal's client would try for a minute.
    """
    url = urlsplit(server_url())
    if url.scheme == "unix" or any(os.environ.get(name) for name in _PROXIES):
        return
    host, port = url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
    reached = threading.Event()

    def connect() -> None:
        with suppress(OSError), socket.create_connection((host, port), timeout=PROBE_S):
            reached.set()

    # A thread, because the look-up of a name has no time limit of its own.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(PROBE_S)
    if not reached.is_set():
        raise TemporaryError(f"cannot reach Modal at {host}:{port}", code="E_NETWORK")
