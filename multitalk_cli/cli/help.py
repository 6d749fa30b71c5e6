"""Help pages: laid out by Typer, printed by Console like every other result."""

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from multitalk_cli.cli.console import Console

GLOBAL_OPTIONS = (
    "Anywhere on the line:  --json  --quiet, -q  --debug  --no-color  --progress KIND  --version"
)


def epilog(*examples: str) -> str:
    """The end of a command's help: its examples, and the options that every command takes."""
    title = "Examples:" if len(examples) > 1 else "Example:"
    return "\n".join([title, *(f"  {example}" for example in examples), "", GLOBAL_OPTIONS])


class PagedCommand(TyperCommand):
    """A command whose help is one of Console's results."""

    def get_help(self, ctx: Any) -> str:
        """Prints the help and ends the command."""
        return _show(ctx, super().get_help)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage as manuals write it: IMAGE must be there, [VOICE] may."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece.strip("{}").removesuffix("...") for piece in pieces]


class PagedGroup(TyperGroup):
    """A group of commands whose help is one of Console's results."""

    def get_help(self, ctx: Any) -> str:
        """Prints the help and ends the command."""
        return _show(ctx, super().get_help)


def _show(ctx: Any, draw: Callable[[Any], str]) -> str:
    """Prints the page that `draw` partly prints and partly gives, then ends the command.

    On a terminal it is drawn there, in colours.
    """
    _hide_types(ctx)
    output: Console = ctx.obj
    if output.draws_results:
        output.note(draw(ctx))
        raise typer.Exit
    page = io.StringIO()
    with redirect_stdout(page):
        rest = draw(ctx)
    text = "\n".join(line.rstrip() for line in (page.getvalue() + rest).split("\n")).strip("\n")
    command = " ".join(ctx.command_path.split()[1:2]) or "multitalk"
    output.succeed(command, {"help": text}, [text])
    raise typer.Exit


def _hide_types(ctx: Any) -> None:
    """Leaves out `<bool>` and `<list[str]>`: words of Python that say nothing to a user."""
    for parameter in ctx.command.get_params(ctx):
        if isinstance(parameter, TyperArgument):
            parameter.display_type_rich = lambda ctx: ""  # type: ignore[method-assign]  # noqa: ARG005
        elif parameter.is_flag:
            parameter.metavar = ""
