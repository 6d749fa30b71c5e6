"""`multitalk login`: a token of the user's Modal account on this machine."""

from typing import Annotated

import typer

from multitalk_cli import account
from multitalk_cli.output import Output


def login(
    ctx: typer.Context,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read TOKEN_ID and TOKEN_SECRET, one a line.")
    ] = False,
) -> None:
    """Store a token of your Modal account, through a page that opens in your browser."""
    output: Output = ctx.obj
    with output.foreign():
        file = account.login_with_pair() if stdin else account.login_in_browser()
    output.fact("token", f"stored in {file}")
    output.note("next:  multitalk deploy")
    output.succeed("login", {"file": str(file)}, [])
