"""`multitalk login`: a token of the user's Modal account on this machine."""

from typing import Annotated

import typer

from multitalk_cli.cli.console import Console
from multitalk_cli.cloud import login as cloud_login


def login(
    ctx: typer.Context,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read TOKEN_ID and TOKEN_SECRET, one a line.")
    ] = False,
) -> None:
    """Store a token of your Modal account, through a page that opens in your browser."""
    output: Console = ctx.obj
    with output.redirect_stdout():
        file = cloud_login.login_with_pair() if stdin else cloud_login.login_in_browser()
    output.fact("token", f"stored in {file}")
    output.note("next:  multitalk deploy")
    output.succeed("login", {"file": str(file)}, [])
