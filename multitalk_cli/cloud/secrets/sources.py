"""Sources of the values of secrets: the environment, profiles, files, a pipe. Never options.

Values are never shown: errors name keys, lines and sources.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from multitalk_cli.contract.secrets import (
    CREDENTIALS,
    ENDPOINT,
    HF_TOKEN,
    KEY_ID,
    KEY_SECRET,
    KEY_TOKEN,
    KEYS,
    REGION,
)
from multitalk_cli.errors import FileError
from multitalk_cli.files import expand_home, shown_path

MAX_BYTES = 64 * 1024
OTHER_NAMES = {"AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL_S3": ENDPOINT}
"""Names that boto3 reads too -> the secret's key for them."""
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The sources to read, in this order: a value is used from the first that has it.

    stdin: the content of standard input.
    """

    from_env: bool = False
    profile: str | None = None
    from_hub: bool = False
    from_file: str | None = None
    stdin: bytes | None = None

    @property
    def names(self) -> list[str]:
        """The sources in words."""
        return [name for name, _ in _readers(self)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcedValue:
    """A raw value and its source. name: of the value there, if it is another than the key."""

    raw: str
    source: str
    name: str = ""


def collect(sources: Sources) -> dict[str, SourcedValue]:
    """Values of the known keys in the sources.

    Raises FileError E_SECRET_FILE, and as `read_profile`.
    """
    found: dict[str, SourcedValue] = {}
    for source, read in _readers(sources):
        new = _renamed(source, read())
        has_credentials = any(key in found for key in CREDENTIALS)
        for key, given in new.items():
            # The key of one account and the secret of another are no pair.
            if key not in found and not (has_credentials and key in CREDENTIALS):
                found[key] = given
    return found


def _readers(sources: Sources) -> Iterator[tuple[str, Callable[[], Mapping[str, str]]]]:
    """The chosen sources in words, and how each is read."""
    if sources.from_env:
        yield "the environment", _from_environment
    if (profile := sources.profile) is not None:
        yield f"the profile {profile}", lambda: _from_profile(profile)
    if sources.from_hub:
        yield "the hub's own login", _from_hub
    if (path := sources.from_file) is not None:
        yield shown_path(Path(path)), lambda: _from_file(expand_home(path))
    if (content := sources.stdin) is not None:
        yield "stdin", lambda: _pairs(_decode(content, "stdin"), "stdin")


def _renamed(source: str, raw: Mapping[str, str]) -> dict[str, SourcedValue]:
    found = {key: SourcedValue(raw=raw[key], source=source) for key in KEYS if key in raw}
    for other, key in OTHER_NAMES.items():
        if other in raw and key not in found:
            found[key] = SourcedValue(raw=raw[other], source=source, name=other)
    return found


def _from_environment() -> Mapping[str, str]:
    # An exported, empty variable counts as unset.
    return {name: os.environ[name] for name in (*KEYS, *OTHER_NAMES) if os.environ.get(name)}


def _from_profile(name: str) -> Mapping[str, str]:
    from multitalk_cli.storage.access import read_profile

    profile = read_profile(name)
    keys = profile.credentials
    found = {
        KEY_ID: keys.key_id,
        KEY_SECRET: keys.secret,
        KEY_TOKEN: keys.token,
        REGION: profile.region,
        ENDPOINT: profile.endpoint_url,
    }
    return {key: value for key, value in found.items() if value is not None}


def hub_token_file() -> Path:
    """The file of `hf auth login`."""
    path, home = os.environ.get("HF_TOKEN_PATH"), os.environ.get("HF_HOME")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(home) if home else Path(cache) / "huggingface"
    return expand_home(path if path else f"{folder}/token")


def _from_hub() -> Mapping[str, str]:
    path = hub_token_file()
    try:
        with path.open("rb") as file:
            return {HF_TOKEN: _decode(file.read(MAX_BYTES), shown_path(path))}
    except FileNotFoundError:
        raise FileError(
            f"no token in {shown_path(path)}: not logged in to the Hugging Face Hub",
            code="E_SECRET_FILE",
            facts={"secret": "hf", "asks": True},
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _from_file(path: Path) -> Mapping[str, str]:
    """Reads a file that only its owner may read."""
    try:
        # Without O_NONBLOCK, opening a pipe would wait for whoever writes into it.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as file:
            state = os.fstat(handle)
            if not stat.S_ISREG(state.st_mode):
                raise FileError(
                    f"{shown_path(path)} is not a regular file; for a pipe use --stdin",
                    code="E_SECRET_FILE",
                )
            _require_own(path, state)
            return _pairs(_decode(file.read(MAX_BYTES + 1), shown_path(path)), shown_path(path))
    except OSError as error:
        raise _unreadable(path, error) from None


def _require_own(path: Path, state: os.stat_result) -> None:
    """Raises FileError E_SECRET_FILE for a file that another user can read."""
    mode = stat.S_IMODE(state.st_mode)
    if mode & 0o077:
        raise FileError(
            f"{shown_path(path)} can be read by others (mode {mode:04o}); it holds secrets",
            code="E_SECRET_FILE",
            facts={"open_file": shown_path(path)},
        )
    if state.st_uid not in (os.getuid(), 0):
        message = f"{shown_path(path)} belongs to another user"
        raise FileError(message, code="E_SECRET_FILE")


def _decode(raw: bytes, where: str) -> str:
    if len(raw) > MAX_BYTES:
        raise FileError(f"{where} has more than {MAX_BYTES} bytes", code="E_SECRET_FILE")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FileError(f"{where} is not text in UTF-8", code="E_SECRET_FILE") from None


def _pairs(text: str, where: str) -> dict[str, str]:
    """The pairs in KEY=VALUE lines, names in capitals; # begins a comment."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            # Not shown: it may be a value alone.
            raise FileError(f"line {number} of {where} is not KEY=VALUE", code="E_SECRET_FILE")
        key = match[1].upper()
        if key in found and key in KEYS:
            raise FileError(f"{where} has {key} twice", code="E_SECRET_FILE")
        found[key] = match[2]
    return found


def _unreadable(path: Path, error: OSError) -> FileError:
    message = f"{shown_path(path)} cannot be read: {error.strerror}"
    return FileError(message, code="E_SECRET_FILE")
