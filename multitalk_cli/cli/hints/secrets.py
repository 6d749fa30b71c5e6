"""`multitalk setup-secrets` typed again, with what was missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from multitalk_cli.contract.secrets import BUCKET, HUB_SPEC
from multitalk_cli.reporting.formatting import shell_line

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact


_WITH_VALUE = (
    "--only", "--environment", "--app", "--bucket", "--region", "--endpoint-url", "--profile",
    "--from-file",
)  # fmt: skip


_OF_BUCKET = ("--bucket", "--region", "--endpoint-url")


_OF_SOURCES = ("--from-env", "--profile", "--from-hub", "--from-file", *_OF_BUCKET)


def _secrets_again(
    words: list[str], *added: str, only: str = "", without: tuple[str, ...] = ()
) -> str:
    """The command typed, with `added`, for the secret `only`, and without some options.

    A pipe is empty after its first reading, so that --stdin is always left out.
    """
    dropped = {"--stdin", *without}
    dropped |= {"--only"} if only else set()
    dropped |= {*_OF_BUCKET} if only == HUB_SPEC.option else set()
    kept: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        name, has_value, _ = word.partition("=")
        option = [word, next(rest, "")] if name in _WITH_VALUE and not has_value else [word]
        kept += [] if name in dropped else option
    chosen = ["--only", only] if only else []
    return shell_line(["multitalk", "setup-secrets", *chosen, *kept, *added])


def set_up_secrets(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed for the secrets that are absent, incomplete or known to be wrong."""
    existing, absent, only = facts.get("existing"), facts.get("absent"), facts.get("secret")
    if "needs_source" in facts:
        return _secrets_again(words, "--from-env")
    if isinstance(existing, tuple) and isinstance(absent, tuple):
        lines = [_secrets_again(words, only=option) for option in absent]
        update_only = existing[0] if len(existing) == 1 else ""
        return "\n".join([*lines, _secrets_again(words, "--update", only=update_only)])
    if "empty_sources" in facts:
        return _secrets_again(words, "--from-file", "FILE", without=_OF_SOURCES)
    if not isinstance(only, str):
        return ""
    if facts.get("lacks") == (BUCKET,):
        return _secrets_again(words, "--bucket", "NAME", only=only)
    if "lacks" in facts or "asks" in facts:
        return _secrets_again(words, only=only, without=_OF_SOURCES)
    if "stale" in facts:
        return _secrets_again(words, "--force", only=only, without=("--update",))
    return _secrets_again(words, only=only)
