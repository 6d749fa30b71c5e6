"""Durations, money and sizes in words; text without control characters."""

import math
import os
import shlex
from collections.abc import Iterable

from multitalk_cli.files import is_printable


def printable(text: str) -> str:
    """Text from outside without control characters that could move the cursor or fake a line."""
    return "".join(c if is_printable(c) else repr(c)[1:-1] for c in text)


def shell_word(word: str) -> str:
    """A word quoted for a shell, always on one line: control characters as in $'a\\nb'."""
    if is_printable(word):
        return shlex.quote(word)
    return f"$'{''.join(map(_escape, word))}'"


def shell_line(words: Iterable[str]) -> str:
    """A command line of these words, quoted for a shell."""
    return " ".join(map(shell_word, words))


def _escape(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if is_printable(character):
        return character
    try:
        return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
    except UnicodeEncodeError:
        return repr(character)[1:-1]


_MINUTE_S = 60
_HOUR_S = 60 * _MINUTE_S
_BYTE_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def human_duration(seconds: float) -> str:
    """A time to wait or to pay for: `42 s`, `2 min 40 s`, `9 min`, `1 h 14 min`.

    Under a second in tenths; from one to five minutes in steps of ten seconds; then in minutes.
    """
    _require_amount(seconds)
    if round(seconds, 1) < 1:
        return "0 s" if round(seconds, 1) == 0 else f"{seconds:.1f} s"
    if round(seconds) < _MINUTE_S:
        return f"{seconds:.0f} s"
    tens = round(seconds / 10) * 10
    if tens < 5 * _MINUTE_S:
        minutes, rest = divmod(tens, _MINUTE_S)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / _MINUTE_S)
    if minutes < _MINUTE_S:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def human_length(seconds: float) -> str:
    """The length of a recording or a video: `12.4 s`, `2 min 3 s`, `1 h 2 min`."""
    _require_amount(seconds)
    if round(seconds, 1) < _MINUTE_S:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR_S:
        minutes, rest = divmod(whole, _MINUTE_S)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / _MINUTE_S), 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def human_span(start_s: float, end_s: float) -> str:
    """A stretch of a recording: `3.4 to 5.7 s`."""
    return f"{start_s:.1f} to {end_s:.1f} s"


def human_range(least: str, most: str) -> str:
    """Two amounts as a range, the unit once where it is the same: `3 to 5 min`, `$1 to $2`."""
    if least == most:
        return most
    number, _, unit = least.partition(" ")
    is_same_unit = most.partition(" ")[2] == unit and " " not in unit
    return f"{number if is_same_unit else least} to {most}"


def human_money(usd: float) -> str:
    """Dollars to the cent, estimated or spent, so that sums add up: `$0.80`, `$1,243.18`.

    Less than half a cent has two significant digits: `$0.0042`.
    """
    _require_amount(usd)
    return human_rate(usd) if 0 < usd < 0.005 else f"${usd:,.2f}"


def human_rate(usd: float) -> str:
    """Dollars for a second or a minute, with two significant digits: `$0.055`, `$1.40`."""
    _require_amount(usd)
    if usd == 0:
        return "$0"
    rounded = float(f"{usd:.1e}")
    if rounded >= 10:
        return f"${rounded:,.0f}"
    decimals = max(2, 1 - math.floor(math.log10(rounded)))
    text = f"{rounded:.{decimals}f}"
    # $0.030 is $0.03.
    return "$" + (text.rstrip("0") if decimals > 2 else text)


def human_figure(value: float | None) -> str:
    """A measured number with three significant digits, whatever its size; None is not finite."""
    return "nan" if value is None else f"{value:.3g}"


def human_bytes(count: float) -> str:
    """A size in powers of 1000: `6.1 MB`, `412 MB`, `92.5 GB`."""
    _require_amount(count)
    if round(count) == 1:
        return "1 byte"
    value, unit = float(count), 0
    while round(value, 0 if unit == 0 or value >= 99.95 else 1) >= 1000 and unit < 5:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.95 else 1
    return f"{value:.{digits}f}".removesuffix(".0") + f" {_BYTE_UNITS[unit]}"


def human_bytes_of(done: float, total: float) -> str:
    """A part of a size, both in the unit of the whole: `6.2/9.9 GB`, `0/350 MB`."""
    whole, _, unit = human_bytes(total).partition(" ")
    size = 1000.0 ** max(0, _BYTE_UNITS.index(unit) if unit in _BYTE_UNITS else 0)
    digits = 1 if "." in whole else 0
    part = f"{done / size:.{digits}f}".removesuffix(".0")
    return f"{part}/{whole} {unit}"


def human_count(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 window`, `5 windows`."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {plural if plural is not None else noun + 's'}"


def human_choice(words: Iterable[str]) -> str:
    """`a, b or c`."""
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _require_amount(value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"expected a finite amount of 0 or more, not {value!r}")
