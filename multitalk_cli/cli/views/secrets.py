"""The result of `multitalk setup-secrets` as lines and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multitalk_cli.cli.views.next_step import after_deploy

if TYPE_CHECKING:
    from multitalk_cli.cloud.secrets.setup import SecretsResult


def next_step(result: SecretsResult) -> str:
    """The command that comes next."""
    if not result.is_known:
        return "multitalk status"
    return after_deploy(result.obstacle).partition("\n")[0]


def data(result: SecretsResult) -> dict[str, Any]:
    """The JSON: names and sources of the keys, never their values."""
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
    return {"environment": result.environment, "secrets": secrets, "next": next_step(result)}


def lines(result: SecretsResult) -> list[str]:
    """The names of the saved secrets."""
    return [secret.name for secret in result.saved]
