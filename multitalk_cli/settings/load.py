"""The settings of a run, each with its origin.

The order of precedence: an option of the command line, a MULTITALK_ variable, ./multitalk.toml, the
user's config file, the default.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from multitalk_cli.planning.presets import FIELDS, values_of
from multitalk_cli.settings.file import files, read_settings
from multitalk_cli.settings.parse import parse_setting
from multitalk_cli.settings.setting import Setting, SettingValue
from multitalk_cli.settings.table import SETTINGS, find_setting

_SURROUNDINGS = (
    "LANG", "LC_ALL", "TERM", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "CI", "TMPDIR", "MODAL_PROFILE",
    "MODAL_ENVIRONMENT", "MODAL_CONFIG_PATH", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
    "IMAGEIO_FFMPEG_EXE", "VIRTUAL_ENV",
)  # fmt: skip


class Settings:
    """The value of every setting."""

    def __init__(self, values: Mapping[str, SettingValue]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name].value

    def having(self, name: str, value: object) -> "Settings":
        """The same with another value of `name`."""
        return Settings({**self._values, name: SettingValue(value, self.origin(name))})

    def origin(self, name: str) -> str:
        """The origin of the value of `name`."""
        return self._values[name].origin

    def replaced(self, values: Mapping[str, Any], origin: str) -> "Settings":
        """These settings with other values; each must be one that its setting takes, or None."""
        changed = {name: SettingValue(value, origin) for name, value in values.items()}
        return Settings({**self._values, **changed})

    def items(self) -> list[tuple[Setting, SettingValue]]:
        """Every setting with its value, in the order of the table."""
        return [(setting, self._values[name]) for name, setting in SETTINGS.items()]


def surroundings() -> dict[str, str]:
    """The variables that are set of those that change what a command does; none holds a secret."""
    return {name: os.environ[name] for name in _SURROUNDINGS if name in os.environ}


def load_settings(
    given: Mapping[str, object] | None = None, *, as_keywords: bool = False
) -> Settings:
    """Settings from all five origins. given: the strongest values, None if absent.

    as_keywords: whether a program gave them, and not the options of the command line.
    Raises UsageError for an unknown name or a bad value, FileError for a bad file.
    """
    values = {name: SettingValue(setting.default, "default") for name, setting in SETTINGS.items()}
    for path in reversed(files()):
        values |= _with_preset(read_settings(path))
    values |= _with_preset(_from_variables())
    values |= _with_preset(_from_options({} if given is None else given, as_keywords=as_keywords))
    return Settings(values)


def _from_variables() -> dict[str, SettingValue]:
    return {
        name: SettingValue(parse_setting(setting, raw, setting.variable), setting.variable)
        for name, setting in SETTINGS.items()
        if (raw := os.environ.get(setting.variable)) is not None
    }


def _from_options(given: Mapping[str, object], *, as_keywords: bool) -> dict[str, SettingValue]:
    values = {}
    for name, raw in given.items():
        setting = find_setting(name)
        if raw is not None:
            origin = name if as_keywords else setting.option
            values[setting.name] = SettingValue(
                parse_setting(setting, raw, origin, "E_RANGE"), origin
            )
    return values


def _with_preset(values: dict[str, SettingValue]) -> dict[str, SettingValue]:
    """The values of one origin, and those of its preset that it does not have."""
    if "preset" not in values:
        return values
    preset = values["preset"].value
    origin = f"preset {preset}"
    return {name: SettingValue(v, origin) for name, v in values_of(preset).items()} | values


def merged(given: Mapping[str, object], stronger: Mapping[str, object]) -> dict[str, object]:
    """Settings of two commands or rows; a preset of the stronger ones replaces what it sets."""
    replaced = with_preset(name for name, value in stronger.items() if value is not None)
    return {n: v for n, v in given.items() if n not in replaced} | dict(stronger)


def with_preset(names: Iterable[str]) -> set[str]:
    """Names of settings that were given, and those that a given preset sets."""
    given = set(names)
    return given | set(FIELDS) if "preset" in given else given


def hub_endpoint() -> str:
    """The address of the Hugging Face Hub in HF_ENDPOINT; empty for the default one."""
    return os.environ.get("HF_ENDPOINT", "").strip()
