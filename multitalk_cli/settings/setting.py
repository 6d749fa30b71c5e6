"""One setting: its type, range and option, and how a text becomes its value."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multitalk_cli.contract.limits import is_unicode
from multitalk_cli.reporting.formatting import human_choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its type, range and default.

    help: its meaning. values: what may be given, as a help page lists it; None to derive it.
    metavar: the value's name there. flag: the option, where it is not named as the setting is.
    aliases: further names of the option. check: raises ValueError for a text of another form than
    the option takes. find_nearest: a valid text like a bad one. normalize: the text in the form
    that is kept; raises as `check`.
    """

    name: str
    kind: type
    default: Any
    help: str
    values: str | None = None
    metavar: str | None = None
    flag: str = ""
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    check: Callable[[str], object] | None = None
    find_nearest: Callable[[str], str | None] | None = None
    normalize: Callable[[str], str] | None = None

    @property
    def option(self) -> str:
        """The option of the command line, as help and messages name it."""
        return self.flag or "--" + self.name.replace("_", "-")

    @property
    def option_help(self) -> str:
        """The line of a help page: what may be given and the default, else the meaning."""
        if self.values is not None:
            return self.values
        if self.choices:
            words = [f"{each} (default)" if each == self.default else each for each in self.choices]
            return f"{human_choice(words)}."
        meaning = f"{self.help[0].upper()}{self.help[1:]}"
        if self.kind is bool or self.default in (None, ""):
            return f"{meaning}."
        return f"{meaning} (default {self.default if self.kind is str else f'{self.default:g}'})."

    @property
    def variable(self) -> str:
        """The environment variable."""
        return "MULTITALK_" + self.name.upper()

    def parse(self, raw: object) -> Any:
        """The value in the setting's own type; raises ValueError with the expected values."""
        value = self._convert(raw)
        if self.choices and value not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}, not {raw!r}")
        if self.kind in (int, float) and not self.low <= value <= self.high:
            raise ValueError(f"must be {self._range()}, not {raw}")
        if self.kind is float and math.isinf(value):
            raise ValueError(f"must be finite, not {raw}")
        if self.kind is str and value.startswith("-"):
            raise ValueError(f"must not begin with a dash: {raw!r}")
        if self.check is not None and value != self.default:
            self.check(value)
        if self.normalize is not None and value != self.default:
            value = self.normalize(value)
        return value

    def nearest(self, raw: object) -> str | None:
        """The valid value that is nearest to a bad one, as text; None without a near one."""
        if self.choices:
            close = difflib.get_close_matches(str(raw).lower(), self.choices, n=1)
            return close[0] if close else str(self.default)
        if self.check is not None:
            found = None if self.find_nearest is None else self.find_nearest(str(raw))
            return found if found or not self.default else str(self.default)
        if self.kind not in (int, float):
            return None
        try:
            number = float(str(raw))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            return None if self.default is None else f"{self.default:g}"
        return f"{min(max(self.kind(number), self.low), self.high):g}"

    def _range(self) -> str:
        if math.isinf(self.high):
            return f"{self.low:g} or more"
        return f"from {self.low:g} to {self.high:g}"

    def _convert(self, raw: object) -> Any:
        if self.kind is bool:
            return _to_bool(raw)
        if self.kind is str:
            if not isinstance(raw, str):
                raise ValueError(f"must be text, not {raw!r}")
            if not is_unicode(raw):
                raise ValueError(f"must be text in UTF-8, not {raw!r}")
            return raw.lower() if self.choices else raw
        if isinstance(raw, bool) or not isinstance(raw, int | float | str):
            raise ValueError(f"must be a number, not {raw!r}")
        kind = "a whole number" if self.kind is int else "a number"
        # int() would silently truncate 24.5 to 24.
        if self.kind is int and isinstance(raw, float) and not raw.is_integer():
            raise ValueError(f"must be {kind}, not {raw!r}")
        try:
            return self.kind(raw)
        except (ValueError, OverflowError):
            raise ValueError(f"must be {kind}, not {raw!r}") from None


def _to_bool(raw: object) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.lower() in words:
        return words[raw.lower()]
    raise ValueError(f"must be true or false, not {raw!r}")


@dataclass(frozen=True, slots=True)
class SettingValue:
    """A setting's value, and its origin in a user's words."""

    value: Any
    origin: str
