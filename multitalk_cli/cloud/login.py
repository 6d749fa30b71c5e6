"""Tokens: Modal's own login in this process, and pairs that come from elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from multitalk_cli.cloud import modal_config
from multitalk_cli.cloud.errors import AppRef, modal_errors
from multitalk_cli.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


_MOST_BYTES = 4096


def login_in_browser() -> Path:
    """Opens Modal's page, waits until the user has agreed, and gives the file with the token."""
    modal_config.require_network()
    start_token_flow(AppRef(app="", environment=""))
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
    set_token(AppRef(app="", environment=""), *lines)
    return modal_config.config_file()


def start_token_flow(place: AppRef) -> None:
    """Modal's own login: opens a page, waits for the user, tries the token and stores it."""
    _modal_command(place, ["token", "new"])


def set_token(place: AppRef, token_id: str, token_secret: str) -> None:
    """Tries a token pair and stores it where Modal's client looks."""
    _modal_command(place, ["token", "set", "--token-id", token_id, "--token-secret", token_secret])


def _modal_command(place: AppRef, words: list[str]) -> None:
    """Runs one of Modal's commands in this process, so that no secret is on a command line."""
    from modal.cli.entry_point import entrypoint_cli

    with modal_errors(place):
        entrypoint_cli(words, standalone_mode=False)
