"""Tokens: Modal's own login in this process, and pairs that come from elsewhere."""

import sys
from pathlib import Path

from multitalk_cli import modal_config
from multitalk_cli.cloud import Place, set_token, start_token_flow
from multitalk_cli.errors import UsageError

_MOST_BYTES = 4096


def login_in_browser() -> Path:
    """Opens Modal's page, waits until the user has agreed, and gives the file with the token."""
    modal_config.require_network()
    start_token_flow(Place(app="", environment=""))
    return modal_config.config_file()


def login_with_pair() -> Path:
    """Stores the token pair that stdin has, once it has been tried."""
    lines = sys.stdin.read(_MOST_BYTES).split()
    if len(lines) != 2:
        raise UsageError(
            f"--stdin takes a token's id and secret, one a line; {len(lines)} words came",
            code="E_USAGE",
            hint="printf '%s\\n' TOKEN_ID TOKEN_SECRET | multitalk login --stdin",
        )
    modal_config.require_network()
    set_token(Place(app="", environment=""), *lines)
    return modal_config.config_file()
