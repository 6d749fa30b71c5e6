"""What Modal's own settings say, read without importing modal: the token, the address, the way.

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

from multitalk_cli.errors import SetupError, TemporaryError

DEFAULT_SERVER_URL = "https://api.modal.com"
PROBE_S = 3.0
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_PAIRS = (
    ("token_id", "token_secret"),
    ("oauth_refresh_token", "oauth_client_id"),
)


def config_file() -> Path:
    """Where Modal keeps its settings, whether or not the file exists."""
    path = os.environ.get("MODAL_CONFIG_PATH")
    return Path(path) if path else Path.home() / ".modal.toml"


def profile(path: Path) -> Mapping[str, Any]:
    """The section of the file that Modal would use; empty where there is none."""
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
    """Whether a whole token is there.

    Raises SetupError E_TOKEN for half of one, E_NO_TOKEN where an empty variable hides one.
    """
    section = profile(config_file())
    for names in _PAIRS:
        hidden = [_variable(name) for name in names if _is_empty(name) and section.get(name)]
        if hidden:
            message = f"{' and '.join(hidden)} must not be empty: the stored token is hidden"
            raise SetupError(message, code="E_NO_TOKEN", hint=f"unset {' '.join(hidden)}")
        given = [bool(os.environ.get(_variable(name), section.get(name))) for name in names]
        if all(given):
            return True
        if any(given):
            absent, half = names[given.index(False)], names[given.index(True)]
            hint = f"unset {_variable(half)}" if os.environ.get(_variable(half)) else ""
            message = f"the Modal token lacks its {absent}"
            raise SetupError(message, code="E_TOKEN", hint=hint)
    return False


def _variable(name: str) -> str:
    return f"MODAL_{name.upper()}"


def _is_empty(name: str) -> bool:
    """Whether the variable is set to nothing, which for Modal is a value too."""
    return os.environ.get(_variable(name)) == ""


def require_token() -> None:
    """Raises SetupError E_NO_TOKEN where there is no token."""
    if not has_token():
        raise SetupError(
            f"no Modal token in {config_file()} or MODAL_TOKEN_ID",
            code="E_NO_TOKEN",
            hint="multitalk login",
        )


def prefer_plain_payloads() -> None:
    """Makes calls carry cbor: neither pickle nor the same Python is then needed on both sides."""
    os.environ.setdefault("MODAL_PAYLOAD_FORMAT", "cbor")


def set_variable(name: str, value: str) -> None:
    """Sets a variable that the app's definition reads when it is imported."""
    os.environ[name] = value


def server_url() -> str:
    """The address that Modal's client will use."""
    found = os.environ.get("MODAL_SERVER_URL") or profile(config_file()).get("server_url")
    return found if isinstance(found, str) else DEFAULT_SERVER_URL


def require_network() -> None:
    """Raises TemporaryError E_NETWORK unless Modal can be reached, within three seconds.

    Modal's client tries for a minute before it says so.
    """
    url = urlsplit(server_url())
    if url.scheme == "unix" or any(os.environ.get(name) for name in _PROXIES):
        return
    host, port = url.hostname or "", url.port or (80 if url.scheme == "http" else 443)
    reached = threading.Event()

    def connect() -> None:
        with suppress(OSError), socket.create_connection((host, port), timeout=PROBE_S):
            reached.set()

    # A thread, because looking a name up has no time limit of its own.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(PROBE_S)
    if not reached.is_set():
        raise TemporaryError(f"Modal cannot be reached at {host}:{port}", code="E_NETWORK")
