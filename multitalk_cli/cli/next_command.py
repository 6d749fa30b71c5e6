"""The command that helps with an error, made from its code, its facts and the words typed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multitalk_cli.errors import MultitalkError
    from multitalk_cli.errors.exceptions import Fact

Rule = Callable[[Mapping[str, "Fact"], list[str]], str]
"""(facts of the error, words typed after `multitalk`) -> a command, or "" where none fits."""


def _list_folder(facts: Mapping[str, Fact], _words: list[str]) -> str:
    folder = facts.get("folder")
    return f"multitalk s3 ls {shlex.quote(str(folder))} --recursive" if folder else ""


def _use_region(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "region" not in facts:
        return ""
    return f"AWS_DEFAULT_REGION={facts['region']} multitalk s3 ls s3://{facts['bucket']}/"


def _use_folder(facts: Mapping[str, Fact], _words: list[str]) -> str:
    return f"-o {shlex.quote(str(facts['folder']))}" if "folder" in facts else ""


def _make_folder(facts: Mapping[str, Fact], _words: list[str]) -> str:
    folder = facts.get("missing_folder")
    return f"mkdir -p {shlex.quote(str(folder))}" if folder else ""


RULES: dict[str, Rule] = {
    "E_OUTPUT_NAME": _use_folder,
    "E_OUTPUT_PATH": _make_folder,
    "E_S3_KEY": _list_folder,
    "E_S3_REGION": _use_region,
}
"""Error code -> its rule."""


def next_command(error: MultitalkError, words: list[str]) -> str:
    """The command to run next; the error's own hint where no rule knows better."""
    rule = RULES.get(error.code)
    found = "" if rule is None else rule(error.facts, words)
    return found if found else error.hint
