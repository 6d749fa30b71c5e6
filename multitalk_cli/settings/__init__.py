"""Settings, each with its origin."""

from multitalk_cli.settings.file import (
    PROJECT_FILE,
    files,
    remove_setting,
    save_setting,
    user_file,
)
from multitalk_cli.settings.load import (
    Settings,
    hub_endpoint,
    load_settings,
    merged,
    surroundings,
    with_preset,
)
from multitalk_cli.settings.parse import parse_dollars, parse_flag, parse_option, parse_whole
from multitalk_cli.settings.setting import Setting, SettingValue
from multitalk_cli.settings.table import (
    DEFAULT_PROMPT,
    NAMES,
    NEGATIVE_PROMPT,
    SETTINGS,
    find_setting,
)

__all__ = [
    "DEFAULT_PROMPT",
    "NAMES",
    "NEGATIVE_PROMPT",
    "PROJECT_FILE",
    "SETTINGS",
    "Setting",
    "SettingValue",
    "Settings",
    "files",
    "find_setting",
    "hub_endpoint",
    "load_settings",
    "merged",
    "parse_dollars",
    "parse_flag",
    "parse_option",
    "parse_whole",
    "remove_setting",
    "save_setting",
    "surroundings",
    "user_file",
    "with_preset",
]
