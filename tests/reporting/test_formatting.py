"""Numbers in a form that people read."""

import math
import os
import re
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multitalk_cli.reporting.formatting import (
    human_bytes,
    human_count,
    human_duration,
    human_length,
    human_money,
    human_rate,
    human_span,
    shell_line,
    shell_word,
)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.04, "0 s"),
        (0.4, "0.4 s"),
        (0.97, "1 s"),
        (2.2, "2 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (110, "1 min 50 s"),
        (160, "2 min 40 s"),
        (163.4, "2 min 40 s"),
        (240, "4 min"),
        (297, "5 min"),
        (540, "9 min"),
        (3570, "1 h"),
        (3569, "59 min"),
        (3840, "1 h 4 min"),
        (4440, "1 h 14 min"),
        (7200, "2 h"),
        (108_000, "30 h"),
    ],
)
def test_durations_are_said_as_a_person_says_them(seconds, said):
    assert human_duration(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "0.2 s"),
        (12.42, "12.4 s"),
        (59.97, "1 min"),
        (62.5, "1 min 2 s"),
        (123, "2 min 3 s"),
        (1800, "30 min"),
        (3720, "1 h 2 min"),
        (3600, "1 h"),
    ],
)
def test_lengths_keep_tenths_below_a_minute(seconds, said):
    assert human_length(seconds) == said


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (0, "$0.00"),
        (0.00423, "$0.0042"),
        (0.0314, "$0.03"),
        (0.8, "$0.80"),
        (0.999, "$1.00"),
        (1.744, "$1.74"),
        (12.4, "$12.40"),
        (1240, "$1,240.00"),
    ],
)
def test_money_is_told_to_the_cent(usd, said):
    assert human_money(usd) == said


@pytest.mark.parametrize(
    ("usd", "said"),
    [
        (0, "$0"),
        (0.00423, "$0.0042"),
        (0.030, "$0.03"),
        (0.0314, "$0.031"),
        (0.0999, "$0.10"),
        (0.617, "$0.62"),
        (1.74, "$1.70"),
        (12.4, "$12"),
        (1240, "$1,200"),
    ],
)
def test_a_rate_has_two_significant_digits(usd, said):
    assert human_rate(usd) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (6_100_000, "6.1 MB"),
        (412_300_000, "412 MB"),
        (999_950_000, "1 GB"),
        (61_200_000_000, "61.2 GB"),
        (82e9, "82 GB"),
        (5e18, "5000 PB"),
    ],
)
def test_sizes_are_decimal_with_at_most_one_decimal(count, said):
    assert human_bytes(count) == said


def test_counts_agree_with_their_noun():
    assert human_count(1, "window") == "1 window"
    assert human_count(1200, "window") == "1,200 windows"
    assert human_count(2, "person", "people") == "2 people"


def test_spans_share_one_unit():
    assert human_span(3.375, 5.7083) == "3.4 to 5.7 s"


@pytest.mark.parametrize(
    "say", [human_duration, human_length, human_money, human_rate, human_bytes]
)
@pytest.mark.parametrize("amount", [-1, math.nan, math.inf])
def test_amounts_that_are_no_amounts_are_refused(say, amount):
    with pytest.raises(ValueError, match="finite amount"):
        say(amount)


@given(st.floats(min_value=1e-6, max_value=1e6))
def test_money_is_never_off_by_more_than_its_rounding(usd):
    said, rate = (
        float(shown(usd).removeprefix("$").replace(",", "")) for shown in (human_money, human_rate)
    )
    assert abs(said - usd) <= max(0.0050001, 0.0501 * min(usd, 0.005))
    assert abs(rate - usd) <= 0.0501 * usd


@given(st.floats(min_value=0, max_value=1e7))
def test_durations_always_carry_a_unit_and_never_sixty_of_it(seconds):
    said = human_duration(seconds)
    assert re.fullmatch(r"\d+(\.\d)? s|\d+ min( \d+ s)?|\d+ h( \d+ min)?", said)
    assert not re.search(r"\b60 (s|min)|h 60", said)


@pytest.mark.parametrize(
    "word", ["plain", "two words", "a\nb'c\\d", "\x1b[2J1", "é\u202e1", "\udcff0", "tab\there", ""]
)
def test_a_quoted_word_is_one_line_and_the_same_word_in_bash(word):
    quoted = shell_word(word)

    assert quoted.isprintable()
    ran = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True)
    assert os.fsdecode(ran.stdout) == word


def test_a_line_of_quoted_words():
    assert shell_line(["rm", "a b", "c\nd"]) == "rm 'a b' $'c\\x0ad'"
