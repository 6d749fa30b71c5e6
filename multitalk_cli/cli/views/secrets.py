"""The result of `multitalk setup-secrets` as lines and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.app_options import for_app
from multitalk_cli.cli.views.next_step import after_deploy

if TYPE_CHECKING:
    from multitalk_cli.cloud.secrets.setup import SecretsResult


def next_step(result: SecretsResult, typed: Sequence[str]) -> str:
    """The command that comes next. typed: the words after `multitalk`."""
    if not result.is_known:
        return for_app("multitalk status", {}, typed)
    return after_deploy(result.obstacle, typed).partition("\n")[0]


def data(result: SecretsResult, typed: Sequence[str]) -> dict[str, Any]:
    """The JSON: names and sources of the keys, never their values. typed: as of `next_step`."""
    secrets = [
        {
            "name": secret.name,
            "action": secret.action,
            "keys": [*secret.sources],
            "sources": dict(secret.sources),
            "tried": secret.is_verified,
        }
        for secret in result.saved
    ]
    step = next_step(result, typed)
    return {"environment": result.environment, "secrets": secrets, "next": step}


def lines(result: SecretsResult) -> list[str]:
    """The names of the saved secrets."""
    return [secret.name for secret in result.saved]
