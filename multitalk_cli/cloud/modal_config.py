"""Modal's own settings, read without importing modal: the token and the server's address.

Modal reads variables first, then a profile, which is a section of a TOML file: the one that
MODAL_PROFILE names, or the one that is marked active.
"""

import difflib
import logging
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from multitalk_cli.contract.limits import find_flaw
from multitalk_cli.errors import SetupError
from multitalk_cli.errors.exceptions import Fact
from multitalk_cli.files import is_there

DEFAULT_SERVER_URL = "https://api.modal.com"
DEFAULT_SERVER_URLS = f"{DEFAULT_SERVER_URL},https://api.modal2.com"
"""As in Modal's client, which uses the second where a network blocks the first."""
_CODE = "E_MODAL_CONFIG"
_PART = re.compile(r"a[ks]-\w")
"""How the id and the secret of a token begin."""
_PAIRS = (
    ("token_id", "token_secret"),
    ("oauth_refresh_token", "oauth_client_id"),
)


def config_file() -> Path:
    """The path of Modal's settings file."""
    path = os.environ.get("MODAL_CONFIG_PATH")
    # Modal's client reads ./~/.modal.toml for a user without a home folder.
    return Path(path if path else os.path.expanduser("~/.modal.toml"))  # noqa: PTH111


def profiles(path: Path) -> dict[str, Mapping[str, Any]]:
    """The profiles of the file, which are its sections; none without a file.

    Raises SetupError E_MODAL_CONFIG for a file that Modal could not read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            raise _broken(path, "it begins with a byte order mark, which Modal refuses")
        document = tomllib.loads(text)
    except IsADirectoryError:
        raise _broken(path, "it is a folder, as Docker makes for a missing file") from None
    except OSError as error:
        # In the home folder of another user, which may not be looked into, it counts as absent.
        if not is_there(path):
            return {}
        raise SetupError(f"{path} cannot be read: {error.strerror}", code=_CODE) from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SetupError(
            f"{path} is not valid TOML: {error}", code=_CODE, facts={"broken_file": str(path)}
        ) from None
    loose = [name for name, item in document.items() if not isinstance(item, dict)]
    if loose:
        raise _broken(path, f"{', '.join(loose)} must be in a section, such as [default]")
    return document


def _broken(path: Path, problem: str) -> SetupError:
    return SetupError(f"{path}: {problem}", code=_CODE, facts={"broken_file": str(path)})


def profile(path: Path) -> Mapping[str, Any]:
    """The profile that Modal would use; empty without one."""
    sections = profiles(path)
    return sections.get(_profile_name(sections), {})


def _profile_name(sections: Mapping[str, Mapping[str, Any]]) -> str:
    return os.environ.get("MODAL_PROFILE") or next(iter(_active(sections)), "default")


def _active(sections: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name for name, item in sections.items() if item.get("active") is True]


def _require_one_active(sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises SetupError E_MODAL_CONFIG for profiles of which Modal would use none."""
    active = _active(sections)
    if len(active) > 1:
        message = f"{config_file()} has several active profiles: {_quoted(active)}"
        raise SetupError(message, code=_CODE, facts={"needs_login": True})
    if len(sections) > 1 and not active and _profile_name(sections) == "default":
        first = next(iter(sections))
        raise SetupError(
            f"{config_file()} has no active profile, only {_quoted(sections)}",
            code=_CODE,
            facts={"variable": "MODAL_PROFILE", "value": first},
        )


def _no_profile(sections: Mapping[str, Mapping[str, Any]]) -> SetupError:
    """The error for a name that is none of the profiles."""
    name, has = _profile_name(sections), f"{config_file()} has {_quoted(sections)}"
    if not os.environ.get("MODAL_PROFILE"):
        facts: dict[str, Fact] = {"variable": "MODAL_PROFILE", "value": next(iter(sections))}
        return SetupError(f"no profile is active: {has}", code=_CODE, facts=facts)
    close = difflib.get_close_matches(name, sections, n=1)
    if not close and (_active(sections) or "default" in sections):
        facts = {"unset": ("MODAL_PROFILE",)}
    else:
        facts = {"variable": "MODAL_PROFILE", "value": [*close, *sections][0]}
    return SetupError(f"MODAL_PROFILE is {name!r}, but {has}", code=_CODE, facts=facts)


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def has_token() -> bool:
    """Whether there is a complete token.

    Raises SetupError E_TOKEN for half of one or one with spaces or line ends in it, E_NO_TOKEN for
    an empty variable that hides one, E_MODAL_CONFIG for a file or a profile that cannot be used.
    """
    sections = profiles(config_file())
    _require_one_active(sections)
    name = _profile_name(sections)
    section = sections.get(name, {})
    if _has_pair(section):
        return True
    if sections and name not in sections:
        raise _no_profile(sections)
    return False


def _has_pair(section: Mapping[str, Any]) -> bool:
    """Whether the variables and this profile are a complete token. Raises as `has_token`."""
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
            _require_one_kind(section)
            return True
        if any(given):
            absent, half = names[given.index(False)], names[given.index(True)]
            unset = (_variable(half),) if os.environ.get(_variable(half)) else ()
            message = f"the Modal token lacks its {absent}"
            raise SetupError(message, code="E_TOKEN", facts={"unset": unset})
    return False


def _require_one_kind(section: Mapping[str, Any]) -> None:
    """Raises SetupError E_MODAL_CONFIG for a token beside OAuth, of which Modal refuses both."""
    if all(os.environ.get(_variable(name), section.get(name)) for pair in _PAIRS for name in pair):
        message = "a Modal token and OAuth credentials are set, and Modal takes one of them"
        unset = tuple(name for name in hiding_variables() if "OAUTH" in name)
        raise SetupError(message, code=_CODE, facts={"unset": unset})


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


def has_stored_token() -> bool:
    """Whether the file has a token, whatever the variables say."""
    section = profile(config_file())
    return any(all(section.get(name) for name in names) for names in _PAIRS)


def stored_tokens() -> list[str]:
    """Tokens in Modal's file, to be hidden; none from an unreadable one."""
    # RuntimeError: a user without a home folder.
    with suppress(SetupError, RuntimeError):
        sections = profiles(config_file()).values()
        values = (each.get(name) for each in sections for names in _PAIRS for name in names)
        return [value for value in values if isinstance(value, str)]
    return []


def hiding_variables() -> tuple[str, ...]:
    """Variables with a token, which Modal prefers to the file."""
    names = (_variable(name) for pair in _PAIRS for name in pair)
    return tuple(name for name in names if os.environ.get(name))


def _variable(name: str) -> str:
    return f"MODAL_{name.upper()}"


def _is_empty(name: str) -> bool:
    """Whether the variable is empty, which for Modal is a value too."""
    return os.environ.get(_variable(name)) == ""


def require_token() -> None:
    """Raises SetupError E_NO_TOKEN without a token, or as `has_token`."""
    if not has_token():
        message = f"no Modal token in {config_file()} or MODAL_TOKEN_ID"
        unread = _unread_tokens()
        if unread:
            message = (
                f"{' and '.join(unread)} hold a token, but Modal reads MODAL_TOKEN_ID and "
                "MODAL_TOKEN_SECRET"
            )
        raise SetupError(message, code="E_NO_TOKEN")


def _unread_tokens() -> list[str]:
    """Variables with parts of a token that Modal's client does not read, such as MODAL_SECRET."""
    return [
        name
        for name, value in os.environ.items()
        if "MODAL" in name and name not in map(_variable, _PAIRS[0]) and _PART.match(value.strip())
    ]


def _is_level(text: str) -> bool:
    return text.upper() in logging.getLevelNamesMapping()


def _is_log_format(text: str) -> bool:
    return text.upper() != "JSON" or find_spec("pythonjsonlogger") is not None


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        return float(text) >= 0
    return False


_READ_AT_IMPORT: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "loglevel": (_is_level, "DEBUG, INFO, WARNING or ERROR"),
    "log_format": (_is_log_format, "STRING; JSON needs the package python-json-logger"),
    "heartbeat_interval": (_is_number, "a number of seconds"),
}
"""Settings whose wrong values make the import of Modal's client fail, and right values."""


def require_settings() -> None:
    """Raises SetupError E_MODAL_CONFIG for a value with which Modal's client cannot be imported."""
    section = profile(config_file())
    for name, (is_right, right) in _READ_AT_IMPORT.items():
        variable, value = _variable(name), section.get(name)
        origin = f"{name} in {config_file()}"
        if variable in os.environ:
            origin, value = variable, os.environ[variable]
        if value is not None and not is_right(str(value)):
            raise refused_setting(name, f"{origin} is {value!r}, and must be {right}")


def refused_setting(name: str, message: str) -> SetupError:
    """The error for a setting that Modal's client refuses."""
    variable = _variable(name)
    unset = (variable,) if variable in os.environ else ()
    return SetupError(message, code=_CODE, facts={"unset": unset})


def prefer_plain_payloads() -> None:
    """Sends calls as cbor, which needs neither pickle nor the same Python on both sides."""
    os.environ.setdefault("MODAL_PAYLOAD_FORMAT", "cbor")


def set_variable(name: str, value: str) -> None:
    """Sets a variable that the app's definition reads when it is imported."""
    os.environ[name] = value


def environment() -> str:
    """The environment that Modal's own variable or file names; empty for the account's default."""
    found = os.environ.get("MODAL_ENVIRONMENT") or profile(config_file()).get("environment")
    return found if isinstance(found, str) else ""


def server_url() -> str:
    """The first address of `server_urls`."""
    return server_urls()[0]


def server_urls() -> list[str]:
    """The addresses of Modal's server; its client takes the first that answers.

    Raises SetupError E_MODAL_CONFIG for one that is no address.
    """
    variable = os.environ.get("MODAL_SERVER_URL")
    found = variable or profile(config_file()).get("server_url") or DEFAULT_SERVER_URLS
    given = found.split(",") if isinstance(found, str) else [str(found)]
    for address in given:
        flaw = _find_address_flaw(address)
        if flaw:
            origin = "MODAL_SERVER_URL" if variable else f"server_url in {config_file()}"
            raise SetupError(
                f"{origin} is {_without_password(address)!r}: {flaw}",
                code=_CODE,
                facts=_correct_address(address, in_variable=bool(variable)),
            )
    return [address.strip() for address in given]


def ignores_proxies() -> bool:
    """Whether Modal's client was told to connect without a proxy."""
    return bool(os.environ.get("MODAL_DISABLE_API_PROXY"))


def complete_proxy(variable: str) -> None:
    """Gives the proxy that a variable names a scheme, without which Modal's client fails."""
    address = os.environ.get(variable, "")
    if address and "://" not in address:
        os.environ[variable] = f"http://{address.lstrip('/')}"


def _find_address_flaw(address: str) -> str:
    """The reason why it is no address of a server; empty for one that is."""
    try:
        url = urlsplit(address.strip())
        has_port = url.port is None or url.port > 0
    except ValueError:
        has_port = False
    if not has_port:
        return "a port is a number from 1 to 65535"
    if url.scheme == "unix":
        return ""
    is_whole = url.scheme in ("http", "https") and _is_name(url.hostname)
    return "" if is_whole else f"an address has the form {DEFAULT_SERVER_URL}"


def _is_name(host: str | None) -> bool:
    """Whether a name can be looked up: not one with empty or very long parts."""
    try:
        return bool(host and host.encode("idna"))
    except UnicodeError:
        return False


def _correct_address(address: str, *, in_variable: bool) -> dict[str, Fact]:
    """The facts of a command that mends the address of the server."""
    completed = f"https://{address.strip().rpartition('://')[2]}"
    if "@" not in address and not _find_address_flaw(completed):
        return {"variable": "MODAL_SERVER_URL", "value": completed}
    if in_variable:
        return {"unset": ("MODAL_SERVER_URL",)}
    return {"variable": "MODAL_SERVER_URL", "value": DEFAULT_SERVER_URL}


def _without_password(address: str) -> str:
    before, at, host = address.rpartition("@")
    return f"{before.partition('://')[0]}://***@{host}" if at else address
