"""Modal's texts with our commands, or Modal's pages, in place of commands of Modal's own.

pipx puts `multitalk` on the PATH and not `modal`, which it only depends on.
"""

from __future__ import annotations

import re

APPS_PAGE = "https://modal.com/apps"
SETTINGS_PAGE = "https://modal.com/settings"
SPENDING_PAGE = "https://modal.com/settings/usage"
_STORAGE_PAGE = "https://modal.com/storage"
_OTHER_PAGE = "https://modal.com/docs/cli"

_OURS = {
    "app": APPS_PAGE,
    "billing": SPENDING_PAGE,
    "config": "multitalk config",
    "container": APPS_PAGE,
    "dashboard": APPS_PAGE,
    "deploy": "multitalk deploy",
    "dict": _STORAGE_PAGE,
    "environment": SETTINGS_PAGE,
    "function": APPS_PAGE,
    "nfs": _STORAGE_PAGE,
    "profile": "multitalk login",
    "queue": _STORAGE_PAGE,
    "secret": "multitalk setup-secrets",
    "setup": "multitalk login",
    "token": "multitalk login",
    "volume": _STORAGE_PAGE,
    "workspace": SETTINGS_PAGE,
}
"""The first word of a command of Modal's -> what to use instead; `_OTHER_PAGE` for all others."""

# A failed build's log is printed, and a login needs no list of profiles.
_LEFT_OUT = re.compile(
    r"\s*View the build logs:\s*modal image logs \S+"
    r"|(?<=Run )`modal profile list` to see available profiles, or "
)
_QUOTED = re.compile(r"`(?:python -m )?modal ([a-z][a-z-]*)[^`\n]*`")
_VERBS = (
    "activate|create|current|delete|get|info|list|logs|ls|new|put|rm|roles|rotate|set|"
    "set-environment|settings|stats|stop|update"
)
_BARE = re.compile(
    r"(?<![\w`./-])(?:python -m )?modal "
    rf"(?:({'|'.join(_OURS)}|image) (?:{_VERBS})(?: (?:list|set))?|(setup))(?![\w-])"
    r"(?: (?:-\S+|<[^>]*>|[a-z]{2}-\w+|[A-Z][A-Z_]+))*"
)


_THROTTLED = re.compile(
    r"(?s)^Warning: Received \S*RESOURCE_EXHAUSTED\s+(.*?)\s+for /\S+ .*Retrying"
)


def log_in_our_words(text: str) -> str:
    """A line of the log of Modal's client; a pause that its server asked for is told as one."""
    throttled = _THROTTLED.match(text)
    if throttled is None:
        return f"Modal's client: {in_our_words(text)}"
    return f"Modal is throttling this account ({throttled[1]}); retrying"


def in_our_words(text: str) -> str:
    """The same text without commands that only Modal's own program has."""
    return _BARE.sub(_instead, _QUOTED.sub(_instead, _LEFT_OUT.sub("", text)))


def _instead(command: re.Match[str]) -> str:
    noun = next(word for word in command.groups() if word is not None)
    ours = _OURS.get(noun, _OTHER_PAGE)
    is_quoted = command[0].startswith("`") and not ours.startswith("https:")
    return f"`{ours}`" if is_quoted else ours
