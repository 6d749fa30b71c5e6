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


def _name_endpoint(facts: Mapping[str, Fact], _words: list[str]) -> str:
    is_endpoint = facts.get("option") == "--endpoint-url"
    return "multitalk s3 ls --endpoint-url https://HOST" if is_endpoint else ""


def _use_region(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "region" not in facts:
        return ""
    return f"AWS_DEFAULT_REGION={facts['region']} multitalk s3 ls s3://{facts['bucket']}/"


def _use_folder(facts: Mapping[str, Fact], _words: list[str]) -> str:
    return f"-o {shlex.quote(str(facts['folder']))}" if "folder" in facts else ""


def _make_folder(facts: Mapping[str, Fact], _words: list[str]) -> str:
    folder = facts.get("missing_folder")
    return f"mkdir -p {shlex.quote(str(folder))}" if folder else ""


def _allow_cost(facts: Mapping[str, Fact], _words: list[str]) -> str:
    if "enough_usd" not in facts:
        return ""
    cheaper = facts["cheaper"]
    assert isinstance(cheaper, tuple)
    lines = [f"add --max-cost {facts['enough_usd']:g} to allow it"]
    if cheaper:
        lines.append("cheaper: " + ", ".join(cheaper))
    return "\n".join(lines)


def _picture_first(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed, the picture moved to where the sound is."""
    picture, sound = facts.get("picture"), facts.get("sound")
    if picture not in words or sound not in words:
        return ""
    rest = [word for word in words if word != picture]
    at = rest.index(sound)
    return shlex.join(["multitalk", *rest[:at], picture, *rest[at:]])


def _option(name: str) -> Rule:
    """Proposes the value that the facts have for an option."""
    return lambda facts, _words: f"--{name} {facts[name]}" if name in facts else ""


def _log_in(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """A token that variables spoil is mended there."""
    unset, clean = facts.get("unset"), facts.get("clean")
    if isinstance(unset, tuple) and unset:
        return f"unset {' '.join(unset)}"
    if clean:
        return f'export {clean}="$(printf %s "${clean}" | LC_ALL=C tr -cd \'!-~\')"'
    return "multitalk login"


RULES: dict[str, Rule] = {
    "E_COST": _allow_cost,
    "E_GPU_STACK": _option("stack"),
    "E_GPU_TOO_SMALL": _option("gpu"),
    "E_NO_TOKEN": _log_in,
    "E_OUTPUT_NAME": _use_folder,
    "E_OUTPUT_PATH": _make_folder,
    "E_S3_ADDRESS": _name_endpoint,
    "E_S3_KEY": _list_folder,
    "E_S3_REGION": _use_region,
    "E_SWAPPED": _picture_first,
    "E_TOKEN": _log_in,
}
"""Error code -> its rule."""


def next_command(error: MultitalkError, words: list[str]) -> str:
    """The command to run next; the error's own hint where no rule knows better."""
    rule = RULES.get(error.code)
    found = "" if rule is None else rule(error.facts, words)
    return found if found else error.hint
