"""Modal's own login, run in this process."""

from __future__ import annotations

from pathlib import Path

from multitalk_cli.cloud import modal_config
from multitalk_cli.cloud.errors import AppRef, modal_errors
from multitalk_cli.contract.limits import find_flaw
from multitalk_cli.errors import SetupError


def login_in_browser() -> Path:
    """Opens Modal's page, waits for the user, and stores the token; returns its file."""
    return _login(["token", "new"])


def login_with_pair(token_id: str, token_secret: str) -> Path:
    """Verifies and stores a token pair; returns its file. Raises SetupError E_TOKEN."""
    for name, value in (("id", token_id), ("secret", token_secret)):
        flaw = find_flaw(value)
        if flaw:
            raise SetupError(f"the token's {name} has {flaw}", code="E_TOKEN")
    return _login(["token", "set", "--token-id", token_id, "--token-secret", token_secret])


def _login(words: list[str]) -> Path:
    """Runs one of Modal's commands in this process: a command line would show the secret."""
    modal_config.require_network()
    from modal.cli.entry_point import entrypoint_cli

    with modal_errors(AppRef(app="", environment="")):
        entrypoint_cli(words, standalone_mode=False)
    return modal_config.config_file()
