"""Help pages: read off Typer's commands, laid out and printed like every other result."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from multitalk_cli.cli.layout import Block, Line, Row, Table
from multitalk_cli.cli.options import replace_renamed
from multitalk_cli.errors import UsageError
from multitalk_cli.files import expand_home

GLOBAL_OPTIONS = "--json, --quiet (-q), --debug, --no-color, --progress KIND"
MAKE, SET_UP, RUN, OTHER = "Make", "Set up", "Run", "Other"
"""The panels of `multitalk --help`."""

_INDENT = 2
_COMMAND_WIDTH = 14


def epilog(*examples: str) -> str:
    """The end of a command's help: its examples."""
    title = "Examples:" if len(examples) > 1 else "Example:"
    return "\n".join([title, *(f"  {example}" for example in examples)])


class PagedCommand(TyperCommand):
    """A command whose help is one of Console's results."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the words; raises UsageError where an option follows one that needs a value.

        Paths are given to the command as a shell would: a shell leaves --output=~/x as it is.
        """
        parameters = self.get_params(ctx)
        _refuse_options_as_values(parameters, args)
        rest = list(super().parse_args(ctx, args))
        for parameter in parameters:
            if (label := label_of(parameter)) in PATH_LABELS:
                ctx.params[parameter.name] = _expand_home(ctx.params.get(parameter.name), label)
        return rest

    def get_help(self, ctx: Any) -> str:
        """Prints the help and ends the command."""
        return _show(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage as manuals write it: IMAGE must be there, [VOICE] may."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece.removesuffix("...").strip("{}") for piece in pieces]


PLACED = "PLACE=VOICE"
PATH_LABELS = frozenset(
    {"ARGUMENT", "DIR", "FILE", "IMAGE", "LIST", "PACK", "PATH", PLACED, "VIDEO", "VOICE"}
)
"""The words for paths in usage lines, by which options and arguments of this kind are known."""


def label_of(parameter: Any) -> str:
    """The first word for a parameter's value in its usage line, without brackets and dots."""
    shown = parameter.metavar or parameter.name.upper()
    return str(shown.strip("[]").split()[0].rstrip("."))


def _expand_home(value: Any, label: str) -> Any:
    """A path, or several, with a leading ~ as the home folder; anything else unchanged."""
    if isinstance(value, list | tuple):
        return type(value)(_expand_home(each, label) for each in value)
    if isinstance(value, Path):
        return expand_home(value)
    if not isinstance(value, str):
        return value
    place, equals, path = value.partition("=") if label == PLACED else ("", "", value)
    return place + equals + os.path.expanduser(path)  # noqa: PTH111 - an empty path stays empty


def _refuse_options_as_values(parameters: Sequence[Any], words: Sequence[str]) -> None:
    """Raises UsageError for `--app --dry-run`: the parser would read an app called --dry-run."""
    options = [each for each in parameters if each.param_type_name == "option"]
    names = {name for each in options for name in (*each.opts, *each.secondary_opts)}
    valued = {name for each in options if not each.is_flag for name in each.opts}
    end = words.index("--") if "--" in words else len(words)
    for word, after in pairwise(words[:end]):
        if word in valued and after.partition("=")[0] in names:
            raise UsageError(
                f"{word} needs a value, and {after} is an option",
                code="E_USAGE",
                facts={"option": word},
            )


class PagedGroup(TyperGroup):
    """A group of commands whose help is one of Console's results."""

    def get_help(self, ctx: Any) -> str:
        """Prints the help and ends the command."""
        return _show(ctx)


def show_help_of(ctx: typer.Context, words: Sequence[str]) -> None:
    """Prints the help of the command with these words. Raises UsageError for an unknown one."""
    context: Any = ctx.find_root()
    words, _ = replace_renamed(words)
    for word in words:
        command = getattr(context.command, "commands", {}).get(word)
        if command is None:
            commands = getattr(context.command, "commands", {})
            close = difflib.get_close_matches(word, commands, n=1)
            raise UsageError(
                f"no command {' '.join(words)!r}",
                code="E_USAGE",
                hint=f"{context.command_path} --help",
                facts={"typed": word, "nearest": close[0]} if close else {},
            )
        context = command.make_context(word, [], parent=context, resilient_parsing=True)
    context.command.get_help(context)


def _show(ctx: Any) -> str:
    """Prints the page of the context's command, then ends the command."""
    command = " ".join(ctx.command_path.split()[1:2]) or "multitalk"
    ctx.obj.show_page(command, list(_page(ctx)))
    raise typer.Exit


def _page(ctx: Any) -> Iterator[Block]:
    command = ctx.command
    pieces = " ".join(command.collect_usage_pieces(ctx))
    yield Row("Usage:", f"{ctx.command_path} {pieces}", label_style="bold", width=7)
    for paragraph in (command.help or "").split("\n\n"):
        yield Line("")
        yield Line(" ".join(paragraph.split()))
    commands = [each for each in getattr(command, "commands", {}).values() if not each.hidden]
    yield from _sections(commands, _command_row, "Commands")
    shown = [each for each in command.get_params(ctx) if not getattr(each, "hidden", False)]
    arguments = [each for each in shown if each.param_type_name == "argument"]
    options = [each for each in shown if each.param_type_name == "option"]
    yield from _sections(arguments, _argument_row, "Arguments")
    yield from _sections(options, _option_row, "Options")
    if command.epilog:
        yield Line("")
        for line in command.epilog.split("\n"):
            yield Row("", line, width=0, wraps=False)
    if ctx.parent is not None:
        yield Line("")
        yield Row("Anywhere:", GLOBAL_OPTIONS, width=10)


def _sections(items: Sequence[Any], to_row: Any, title: str) -> Iterator[Block]:
    """A titled table for each panel of the items, in the order in which panels first come."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for item in items:
        panel = getattr(item, "rich_help_panel", None)
        panels.setdefault(panel if isinstance(panel, str) else title, []).append(to_row(item))
    for name, rows in panels.items():
        yield Line("")
        yield Line(name, "bold")
        yield Table(rows=rows, gives_way=(1, 0), indent=_INDENT)


def _command_row(command: Any) -> tuple[str, str]:
    # Equally wide in all panels, so that the page reads as one.
    return f"{command.name:<{_COMMAND_WIDTH}}", (command.help or "").partition("\n")[0]


def _argument_row(argument: Any) -> tuple[str, str]:
    name = argument.metavar if argument.metavar is not None else argument.name.upper()
    return str(name), argument.help or ""


def _option_row(option: Any) -> tuple[str, str]:
    names = sorted(option.opts, key=len)
    short = [name for name in names if not name.startswith("--")]
    text = ", ".join(names) if short else "    " + ", ".join(option.opts)
    if option.secondary_opts:
        text += f" / {', '.join(option.secondary_opts)}"
    if not option.is_flag:
        text += f" {option.metavar if option.metavar else option.name.upper()}"
    default = option.default
    is_shown = option.show_default and isinstance(default, str | int) and not option.is_flag
    is_shown = is_shown and default != ""
    told = f" (default: {default})" if is_shown else ""
    return text, f"{option.help or ''}{told}"
