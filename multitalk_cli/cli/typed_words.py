"""The words that were typed after `multitalk`, with something changed: the commands that help."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from multitalk_cli.reporting.formatting import shell_line

_SAME = (
    {"--force", "-f"},
    {"--output", "-o"},
    {"--prompt", "-p"},
    {"--yes", "-y"},
    {"--steps", "--sample-steps"},
    {"--persistent-params", "--vram-params"},
    {"--plan", "--dry-run"},
)
"""Options with several names."""


def typed_without(words: Sequence[str], option: str, *, has_value: bool = True) -> list[str]:
    """The words without an option, under each of its names."""
    names = next((names for names in _SAME if option in names), {option})
    end = _end_of_options(words)
    kept: list[str] = []
    typed = iter(words[:end])
    for word in typed:
        if word in names:
            if has_value:
                next(typed, None)
        elif not word.startswith(tuple(f"{name}=" for name in names if name.startswith("--"))):
            kept.append(word)
    return [*kept, *words[end:]]


def typed_again(words: Sequence[str], option: str, value: str | None = None) -> str:
    """The command that was typed with one option set to another value, quoted for a shell.

    value: None for a flag.
    """
    kept = typed_without(words, option, has_value=value is not None)
    end = _end_of_options(kept)
    added = [option] if value is None else [option, value]
    return typed_line([*kept[:end], *added, *kept[end:]])


def option_values(words: Sequence[str], option: str) -> list[str]:
    """The values that were typed for an option."""
    typed = list(words[: _end_of_options(words)])
    joined = [word.partition("=")[2] for word in typed if word.startswith(f"{option}=")]
    return joined + [after for word, after in pairwise(typed) if word == option]


def with_replaced(words: Sequence[str], old: str, new: str) -> list[str]:
    """The words with another file in place of one, which may be the value of an option."""
    return [
        f"{word[: -len(old)]}{new}" if word == old or word.endswith(f"={old}") else word
        for word in words
    ]


def typed_line(words: Sequence[str]) -> str:
    """The words as a command, quoted for a shell."""
    return shell_line(["multitalk", *words])


def _end_of_options(words: Sequence[str]) -> int:
    return list(words).index("--") if "--" in words else len(words)
