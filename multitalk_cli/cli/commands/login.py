"""`multitalk login`: a token of the user's Modal account on this machine."""

from typing import Annotated

import typer

from multitalk_cli.cli.console import Console
from multitalk_cli.cli.stdin import read_pipe
from multitalk_cli.cloud import login as cloud_login
from multitalk_cli.cloud.modal_config import hiding_variables
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
    console.leaving = "interrupted; no token was stored"
    pair = _read_pair() if stdin else ()
    console.hide(pair)
    if pair:
        file = cloud_login.login_with_pair(*pair)
    else:
        file = cloud_login.login_in_browser(lambda page: _show(page, console), console)
    console.fact("token", f"stored in {file}")
    hidden = hiding_variables()
    if hidden:
        console.warn(f"{' and '.join(hidden)} hide the stored token: unset {' '.join(hidden)}")
    console.next("multitalk download")
    console.succeed("login", {"file": str(file)}, [])


def _show(page: cloud_login.LoginPage, console: Console) -> None:
    """The page to open, also with --quiet: without it there is no login."""
    if console.is_quiet:
        console.tell(f"open {page.address}" + (f" and enter {page.code}" if page.code else ""))
        return
    console.fact("page", page.address, wraps=False)
    if page.code:
        console.fact("code", page.code)
    where = "the browser that was opened" if page.is_open else "any browser"
    console.fact("waiting", f"until you confirm that page in {where}; Ctrl-C stops")


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
