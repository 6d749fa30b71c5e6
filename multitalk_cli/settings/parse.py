"""Values of options, from their text."""

import math
from typing import Any

from multitalk_cli.errors import UsageError
from multitalk_cli.errors.exceptions import Fact
from multitalk_cli.settings.setting import Setting
from multitalk_cli.settings.table import SETTINGS


def parse_setting(setting: Setting, raw: object, origin: str, code: str = "E_SETTING") -> Any:
    """The value of a setting. origin: of the text. Raises UsageError with that code."""
    try:
        return setting.parse(raw)
    except ValueError as error:
        # A variable: the option or the file that it hides may be right.
        facts: dict[str, Fact] = {"unset": (origin,)} if code == "E_SETTING" else {}
        if code == "E_RANGE" and not setting.choices and str(raw).startswith("-"):
            code = "E_USAGE" if setting.kind is str else code
        if code == "E_USAGE":
            facts = {"option": origin}
        elif code == "E_RANGE":
            nearest = setting.nearest(raw)
            facts = {"option": origin}
            facts |= {} if nearest is None else {"example": nearest}
        raise UsageError(f"{origin} {error}", code=code, facts=facts) from None


def parse_whole(option: str, raw: object, *, low: float = -math.inf, high: float = math.inf) -> int:
    """The whole number of an option. Raises UsageError E_RANGE."""
    setting = Setting(name="", kind=int, default=None, help="", low=low, high=high)
    return int(parse_setting(setting, raw, option, "E_RANGE"))


def parse_dollars(option: str, raw: object) -> float:
    """The amount of an option. Raises UsageError E_RANGE."""
    setting = Setting(name="", kind=float, default=None, help="", low=0)
    return float(parse_setting(setting, raw, option, "E_RANGE"))


def parse_flag(option: str, raw: object) -> bool:
    """The truth value of an option. Raises UsageError E_RANGE."""
    return bool(
        parse_setting(Setting(name="", kind=bool, default=None, help=""), raw, option, "E_RANGE")
    )


def parse_option(name: str, raw: str) -> Any:
    """The value of a setting's option. Raises UsageError E_RANGE."""
    setting = SETTINGS[name]
    return parse_setting(setting, raw, setting.option, "E_RANGE")
