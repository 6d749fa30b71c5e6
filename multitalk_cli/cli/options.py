"""Options that several commands share, each declared once, and the old words of renamed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer


def advanced(text: str, metavar: str | None = None, *names: str) -> Any:
    """An option that only --help-all shows."""
    return typer.Option(*names, metavar=metavar, help=text, hidden=True, rich_help_panel="Advanced")


_APP = "Name of the Modal app; multitalk by default."
_ENVIRONMENT = "Modal environment; the account's default if absent."
_STACK = "In the cloud: current (default) or cuda12.1."

AppName = Annotated[str | None, typer.Option("--app", metavar="NAME", help=_APP)]
AdvancedAppName = Annotated[str | None, advanced(_APP, "NAME", "--app")]
Environment = Annotated[str | None, typer.Option(metavar="NAME", help=_ENVIRONMENT)]
AdvancedEnvironment = Annotated[str | None, advanced(_ENVIRONMENT, "NAME")]
Gpu = Annotated[
    str | None,
    typer.Option(metavar="GPU", help="h100 (default), h200, b200, a100-80gb ..."),
]
Stack = Annotated[str | None, typer.Option(metavar="STACK", help=_STACK)]
AdvancedStack = Annotated[str | None, advanced(_STACK, "STACK")]
OutputPath = Annotated[
    str | None, typer.Option("--output", "-o", metavar="PATH", help="FILE or FOLDER/.")
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite what exists.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending money.")]


# Renamed words


RENAMED_COMMANDS: dict[str, str] = {"upload": "upload-weights"}
"""Old words of a command -> its new ones."""

RENAMED_OPTIONS: dict[str, dict[str, str]] = {
    "deploy": {"--name": "--app"},
}
"""Words of a command (the new ones) -> old option -> new option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renaming:
    """An old word that was typed, and the word that replaced it."""

    old: str
    new: str

    @property
    def notice(self) -> str:
        """The sentence that tells the user."""
        return f"{self.old} is now {self.new}"


def replace_renamed(arguments: Sequence[str]) -> tuple[list[str], list[Renaming]]:
    """The command line in today's words, and each old word that it held, once.

    Words after `--` are files and stay.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    words, files = list(arguments[:end]), list(arguments[end:])
    found: list[Renaming] = []
    for old, new in RENAMED_COMMANDS.items():
        old_words = old.split()
        if words[: len(old_words)] == old_words:
            words[: len(old_words)] = new.split()
            found.append(Renaming(old=old, new=new))
    for command, options in RENAMED_OPTIONS.items():
        command_words = command.split()
        if words[: len(command_words)] == command_words:
            for place, word in enumerate(words):
                name, equals, value = word.partition("=")
                if name in options:
                    words[place] = options[name] + equals + value
                    found.append(Renaming(old=name, new=options[name]))
    return [*words, *files], list(dict.fromkeys(found))
