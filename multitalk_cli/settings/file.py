"""Settings files: where they are, what they hold, and changes of them that keep the rest."""

import re
import tomllib
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multitalk_cli.errors import FileError, UsageError
from multitalk_cli.errors.exceptions import Fact
from multitalk_cli.files import is_there, write_atomically, write_error
from multitalk_cli.settings.setting import Setting, SettingValue
from multitalk_cli.settings.table import SETTINGS, did_you_mean

PROJECT_FILE = "multitalk.toml"


def user_file() -> Path:
    """The path of the user's config file. Raises FileError E_CONFIG without a home folder."""
    import platformdirs

    try:
        return platformdirs.user_config_path("multitalk") / "config.toml"
    except RuntimeError:
        raise FileError(
            "no home folder: settings cannot be kept for this user (HOME is not set)",
            code="E_CONFIG",
            hint=f"set HOME, or keep them in ./{PROJECT_FILE}: multitalk config set --project",
        ) from None


def files() -> tuple[Path, ...]:
    """The settings files, strongest first; without a home folder only the project's."""
    try:
        return Path(PROJECT_FILE), user_file()
    except FileError:
        return (Path(PROJECT_FILE),)


def read_settings(path: Path) -> dict[str, SettingValue]:
    """The values in a settings file; none where it is absent. Raises FileError E_CONFIG."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken_file(path, error) from None
    except OSError as error:
        # In the home folder of another user, which may not be looked into, it counts as absent.
        if not is_there(path):
            return {}
        message = f"{path} cannot be read: {error.strerror}"
        is_denied = isinstance(error, PermissionError)
        facts: dict[str, Fact] = {"unreadable_file" if is_denied else "broken_file": str(path)}
        raise FileError(message, code="E_CONFIG", facts=facts) from None
    return {name: _from_entry(path, name, raw) for name, raw in document.items()}


def _broken_file(path: Path, error: Exception) -> FileError:
    message = f"{path} is not valid TOML: {error}"
    return FileError(message, code="E_CONFIG", facts={"broken_file": str(path)})


def _from_entry(path: Path, name: str, raw: object) -> SettingValue:
    setting = SETTINGS.get(name)
    facts: dict[str, Fact] = {"name": name, "is_project": path == Path(PROJECT_FILE)}
    where = f"{path}{_line_of(path, name)}"
    if setting is None:
        message = f"{where}: unknown setting {name!r}{did_you_mean(name)}"
        raise FileError(message, code="E_CONFIG", facts=facts)
    try:
        return SettingValue(setting.parse(raw), str(path))
    except ValueError as error:
        nearest = setting.nearest(raw)
        facts |= {} if nearest is None else {"example": nearest}
        raise FileError(f"{where}: {name} {error}", code="E_CONFIG", facts=facts) from None


def _line_of(path: Path, name: str) -> str:
    """The line of a key in a settings file, which the parser does not tell: `, line 3`."""
    key = re.compile(rf"""\s*\[?\s*["']?{re.escape(name)}["']?\s*[=.\]]""")
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return next((f", line {at}" for at, line in enumerate(lines, 1) if key.match(line)), "")


def save_setting(path: Path, setting: Setting, raw: str) -> Any:
    """Writes one setting into a settings file and keeps the rest of it; returns the parsed value.

    Raises UsageError for a bad value, FileError if the file is broken or
    cannot be written.
    """
    try:
        value = setting.parse(raw)
    except ValueError as error:
        nearest = setting.nearest(raw)
        facts: dict[str, Fact] = {} if nearest is None else {"typed": raw, "example": nearest}
        raise UsageError(f"{setting.name} {error}", code="E_SETTING", facts=facts) from None
    with _edited(path) as document:
        document[setting.name] = value
    return value


def remove_setting(path: Path, name: str) -> bool:
    """Removes one setting from a settings file and keeps the rest; tells whether it was there.

    name: also one that is no setting. Raises FileError as `save_setting`.
    """
    if not path.exists():
        return False
    with _edited(path) as document:
        return document.pop(name, None) is not None


@contextmanager
def _edited(path: Path) -> Iterator[MutableMapping[str, Any]]:
    """A settings file to change; written when the block ends."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        text = path.read_bytes().decode("utf-8-sig") if path.exists() else ""
        document = tomlkit.parse(text)
        yield document
        path.parent.mkdir(parents=True, exist_ok=True)
        # A link stays one: what it points to is replaced.
        write_atomically(path.resolve(), tomlkit.dumps(document).encode(), durable=True)
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise _broken_file(path, error) from None
    except (FileError, OSError) as error:
        known = error if isinstance(error, FileError) else write_error(path, error)
        raise FileError(known.message, code="E_CONFIG") from error
