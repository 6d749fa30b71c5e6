"""The command that helps with an error, made from its code, its facts and the words typed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multitalk_cli.errors import MultitalkError
    from multitalk_cli.errors.exceptions import Fact

Rule = Callable[[Mapping[str, "Fact"], list[str]], str]
"""(facts of the error, words typed after `multitalk`) -> a command, or "" where none fits."""

RULES: dict[str, Rule] = {}
"""Error code -> its rule."""


def next_command(error: MultitalkError, words: list[str]) -> str:
    """The command to run next; the error's own hint where no rule knows better."""
    rule = RULES.get(error.code)
    found = "" if rule is None else rule(error.facts, words)
    return found if found else error.hint
