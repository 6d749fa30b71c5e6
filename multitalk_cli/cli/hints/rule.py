"""What a rule is: the facts of an error and the words typed make a command that helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact


Rule = Callable[[Mapping[str, "Fact"], list[str]], str]
"""(facts of the error, words typed after `multitalk`) -> a command, or "" where none fits."""


def texts(fact: Fact) -> tuple[str, ...]:
    """A fact that is a list of texts."""
    return fact if isinstance(fact, tuple) else ()


def either(*rules: Rule) -> Rule:
    """The first rule that knows a command."""

    def choose(facts: Mapping[str, Fact], words: list[str]) -> str:
        return next((found for rule in rules if (found := rule(facts, words))), "")

    return choose
