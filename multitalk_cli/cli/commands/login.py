"""`multitalk login`: a token of the user's Modal account on this machine."""

from typing import Annotated

import typer

from multitalk_cli.cli.console import Console
from multitalk_cli.cli.stdin import read_pipe
from multitalk_cli.cloud import login as cloud_login
from multitalk_cli.errors import UsageError

_MAX_BYTES = 4096
_PIPED = "printf '%s\\n' TOKEN_ID TOKEN_SECRET | multitalk login --stdin"


def login(
    ctx: typer.Context,
    stdin: Annotated[
        bool,
        typer.Option("--stdin", help="Read TOKEN_ID and TOKEN_SECRET from a pipe, one a line."),
    ] = False,
) -> None:
    """Store a token of your Modal account, through a page that opens in your browser."""
    console: Console = ctx.obj
    pair = _read_pair() if stdin else ()
    console.hide(pair)
    with console.redirect_stdout():
        file = cloud_login.login_with_pair(*pair) if pair else cloud_login.login_in_browser()
    console.fact("token", f"stored in {file}")
    console.note("next:  multitalk deploy")
    console.succeed("login", {"file": str(file)}, [])


def _read_pair() -> tuple[str, str]:
    """The token's id and secret on standard input. Raises UsageError for anything else."""
    words = read_pipe(_MAX_BYTES, _PIPED).decode("utf-8", "replace").split()
    if len(words) != 2:
        raise UsageError(
            f"--stdin takes a token's id and secret, one a line; got {len(words)} words",
            code="E_USAGE",
            hint=_PIPED,
        )
    token_id, token_secret = words
    return token_id, token_secret
