"""Modal's own login, run in this process."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multitalk_cli.cloud import modal_config, network
from multitalk_cli.cloud.errors import AppRef, lost_connection, modal_errors
from multitalk_cli.contract.limits import find_flaw
from multitalk_cli.errors import FileError, SetupError
from multitalk_cli.files import check_creatable
from multitalk_cli.reporting.reporter import Reporter
from multitalk_cli.storage.retry import SYSTEM_CLOCK, RetryPolicy

_NOWHERE = AppRef(app="", environment="")
_RECONNECTS = RetryPolicy(pauses_s=(1.0, 2.0, 5.0), limit_s=600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPage:
    """The page on which the user confirms the login. is_open: whether a browser was started."""

    address: str
    code: str
    is_open: bool


def login_in_browser(show: Callable[[LoginPage], None], reporter: Reporter) -> Path:
    """Opens Modal's page, waits for the user, and stores the token; returns its file.

    show: receives the page before the waiting begins; it may be opened on another machine.
    """
    _require_place()
    network.require_network()
    import modal
    from modal.config import config
    from modal.token_flow import TokenFlow

    with modal_errors(_NOWHERE), modal.Client.anonymous(config["server_url"]) as client:
        flow = TokenFlow(client)
        with flow.start() as (_, address, code):
            show(LoginPage(address=address, code=code, is_open=_open(address)))
            found = _await_token(flow, reporter)
    return _store(found.token_id, found.token_secret)


def _await_token(flow: Any, reporter: Reporter) -> Any:
    """The token once the user has confirmed the page; a laptop may sleep meanwhile."""
    retry = _RECONNECTS.start(SYSTEM_CLOCK)
    while True:
        try:
            found = flow.finish()
        except lost_connection():
            if not retry.has_failed:
                reporter.warn("the connection to Modal was lost; reconnecting")
            if not retry.wait():
                raise
            continue
        retry.succeed()
        if found is not None:
            return found


def _open(address: str) -> bool:
    """Opens a page in a browser with a window; tells whether one was started."""
    try:
        browser = webbrowser.get()
        # Browsers that run inside the terminal would hide the address and the code.
        is_text = isinstance(browser, webbrowser.GenericBrowser) and browser.name != "open"
        return not is_text and browser.open_new_tab(address)
    except webbrowser.Error:
        return False


def login_with_pair(token_id: str, token_secret: str) -> Path:
    """Verifies and stores a token pair; returns its file. Raises SetupError E_TOKEN."""
    for name, value in (("id", token_id), ("secret", token_secret)):
        flaw = find_flaw(value)
        if flaw:
            raise SetupError(f"the token's {name} has {flaw}", code="E_TOKEN")
    _require_place()
    network.require_network()
    return _store(token_id, token_secret)


def _require_place() -> None:
    """Raises FileError E_CONFIG where no token can be stored, before one is made."""
    file = modal_config.config_file()
    advice = "set MODAL_CONFIG_PATH=FILE, or MODAL_TOKEN_ID and MODAL_TOKEN_SECRET"
    if str(file).startswith("~"):
        message = "no home folder: a token cannot be stored for this user (HOME is not set)"
        raise FileError(message, code="E_CONFIG", hint=advice)
    try:
        check_creatable(file)
    except FileError as error:
        raise FileError(error.message, code="E_CONFIG", hint=advice) from error


def _store(token_id: str, token_secret: str) -> Path:
    """Runs Modal's command in this process: a command line would show the secret."""
    from modal.cli.token import set as command

    store: Any = command.callback
    with modal_errors(_NOWHERE):
        store(
            token_id=token_id,
            token_secret=token_secret,
            activate=True,
            verify=True,
            delete_existing=False,
        )
    return modal_config.config_file()
