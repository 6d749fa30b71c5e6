"""--app and --environment in commands that help: of the app that an error or a result is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from multitalk_cli import contract
from multitalk_cli.cli.layout import is_command
from multitalk_cli.cli.typed_words import option_values
from multitalk_cli.reporting.formatting import shell_line

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact

_PROGRAM = "multitalk "
COMMANDS = (
    "batch", "bench", "cool", "deploy", "doctor", "download", "finish", "generate", "jobs cost",
    "jobs ls", "redo", "setup-secrets", "status", "upload-weights", "warm",
)  # fmt: skip
"""Commands for an app. Those for a job find its app in the list of jobs."""


def app_options(facts: Mapping[str, Fact]) -> list[str]:
    """The options for an app that is not the usual one, or in another environment."""
    app, environment = facts.get("app"), facts.get("environment")
    words = ["--app", str(app)] if app not in (None, "", contract.APP_NAME) else []
    return words + (["--environment", str(environment)] if environment else [])


def for_app(text: str, facts: Mapping[str, Fact], typed: Sequence[str] = ()) -> str:
    """Commands with the app's options, where they lack them; containers know nothing of these.

    text: commands and advice, a line each; a command may follow advice and a colon. facts: of an
    error. typed: the words after `multitalk`, which name the app where the facts do not.
    """
    names = ("app", "environment")
    values = {name: option_values(typed, f"--{name}")[-1:] for name in names}
    known = {name: value[0] for name, value in values.items() if value}
    place = {**known, **{name: facts[name] for name in names if name in facts}}
    return "\n".join(_completed(line, app_options(place)) for line in text.split("\n"))


def _completed(line: str, options: Sequence[str]) -> str:
    advice, program, rest = line.rpartition(_PROGRAM)
    is_last = program and (not advice or advice.endswith(": ")) and is_command(program + rest)
    words = rest.split()
    is_for_app = any(words[: len(each.split())] == each.split() for each in COMMANDS)
    if not (is_last and is_for_app) or "--to" in words or "local" in words:
        return line
    added = [
        word
        for name, value in zip(options[::2], options[1::2], strict=True)
        if name not in {word.partition("=")[0] for word in words}
        for word in (name, value)
    ]
    return f"{line} {shell_line(added)}" if added else line
