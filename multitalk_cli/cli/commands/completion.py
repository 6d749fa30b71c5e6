"""`multitalk completion`: scripts for Tab in bash, zsh and fish."""

import difflib
from typing import Annotated, Any

import typer
import typer.main

from multitalk_cli.cli.console import Console
from multitalk_cli.cli.help import PagedCommand, PagedGroup, epilog
from multitalk_cli.cli.options import Force
from multitalk_cli.errors import UsageError

app = typer.Typer(
    cls=PagedGroup,
    no_args_is_help=True,
    help="Complete commands, options, files, jobs and keys with Tab.",
    epilog=epilog("multitalk completion install zsh"),
)

_Shell = Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]


@app.command("install", cls=PagedCommand, epilog=epilog("multitalk completion install bash"))
def install(
    ctx: typer.Context,
    shell: _Shell,
    force: Force = False,
) -> None:
    """Write the script where the shell finds it. No start-up file is changed."""
    from multitalk_cli.cli.completion import scripts

    console: Console = ctx.obj
    path = scripts.install(_known(shell), _tree(ctx), force=force)
    advice = scripts.advice(shell, path)
    last = "; if Tab does nothing there, add once:" if advice else ""
    console.note(f"it works in new shells{last}")
    for line in advice:
        console.note(f"  {line}")
    console.succeed("completion", {"shell": shell, "path": str(path)}, [str(path)])


@app.command("show", cls=PagedCommand, epilog=epilog("multitalk completion show fish"))
def show(ctx: typer.Context, shell: _Shell) -> None:
    """Print the script."""
    from multitalk_cli.cli.completion import scripts

    console: Console = ctx.obj
    text = scripts.script(_known(shell), _tree(ctx))
    console.succeed("completion", {"shell": shell, "script": text}, [text.rstrip("\n")])


def _known(shell: str) -> str:
    from multitalk_cli.cli.completion.tree import SHELLS

    if shell not in SHELLS:
        names = ", ".join(SHELLS)
        nearest = [*difflib.get_close_matches(shell, SHELLS, n=1), *SHELLS][0]
        raise UsageError(
            f"SHELL must be one of {names}, not {shell!r}",
            code="E_RANGE",
            facts={"typed": shell, "nearest": nearest},
        )
    return shell


def _tree(ctx: typer.Context) -> Any:
    from multitalk_cli.cli.completion.tree import read_tree

    return read_tree(ctx.find_root().command)
