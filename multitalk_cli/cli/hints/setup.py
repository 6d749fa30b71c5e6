"""Commands that help with the set-up: token, app, environment, versions, settings."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from multitalk_cli import settings
from multitalk_cli.cli.app_options import app_options
from multitalk_cli.cli.hints.rule import texts
from multitalk_cli.cli.typed_words import option_values, typed_again, typed_line
from multitalk_cli.planning.gpus import DEFAULT_STACK
from multitalk_cli.reporting.formatting import shell_line, shell_word

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact


def deploy_command(facts: Mapping[str, Fact]) -> str:
    """The command for a deploy with these facts: app, environment, stacks, gpu."""
    words, stacks = ["multitalk", "deploy", *app_options(facts)], facts.get("stacks", ())
    for stack in stacks if isinstance(stacks, tuple) else ():
        words += ["--stack", stack] if stack != DEFAULT_STACK else []
    words += ["--gpu", str(facts["gpu"])] if "gpu" in facts else []
    return shell_line(words)


def deploy(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """A deploy of the app that the facts name."""
    return deploy_command(facts) if "app" in facts else ""


_INSTALL_NEWER = "install the newer version: pipx install --force . in its checkout"


def match_versions(facts: Mapping[str, Fact], words: list[str]) -> str:
    """A deploy by the newer client, or the newer client for a job of a newer app."""
    if "is_client_older" in facts:
        after = [f"multitalk jobs attach {facts['job']}"] if "job" in facts else []
        return "\n".join([_INSTALL_NEWER, *after])
    if "app" in facts:
        return deploy_command(facts)
    chosen = settings.load_settings()
    typed = {name: option_values(words, f"--{name}") for name in ("app", "environment")}
    return deploy_command({name: (values or [chosen[name]])[-1] for name, values in typed.items()})


def use_ledger(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The newer client for a newer list; a damaged one aside, and the jobs that Modal knows."""
    if "is_newer" in facts:
        return f"{_INSTALL_NEWER}\n{typed_line(words)}"
    if "damaged" not in facts:
        return ""
    path = str(facts["damaged"])
    return f"{shell_line(['mv', path, f'{path}.damaged'])}\nmultitalk jobs ls --remote"


def show_build(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The deploy again, with the log of its build."""
    return f"{deploy_command(facts)} --debug" if "app" in facts else ""


def set_up_store(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The secret of the store where it is missing, then a deploy that gives it to the app."""
    if "is_set_up" not in facts:
        return ""
    first = [] if facts["is_set_up"] else ["multitalk setup-secrets --only aws"]
    return "\n".join([*first, deploy_command(facts)])


def unset(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The variables that spoil it, removed."""
    names = texts(facts.get("unset", ()))
    return f"unset {' '.join(names)}" if names else ""


def correct_setting(facts: Mapping[str, Fact], words: list[str]) -> str:
    """A variable removed, or the words typed with a name or a value that is right."""
    if "unset" in facts:
        return unset(facts, words)
    typed, right = facts.get("typed"), facts.get("name", facts.get("example"))
    if typed in words and right is not None:
        at = len(words) - 1 - words[::-1].index(str(typed))
        return shell_line(["multitalk", *words[:at], str(right), *words[at + 1 :]])
    return "multitalk config show"


def correct_file(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The line of a settings file replaced or removed, or a file that cannot be read put aside."""
    if "name" in facts:
        name = shell_word(str(facts["name"]))
        end = " --project" if facts["is_project"] else ""
        if "example" in facts:
            example = shell_word(str(facts["example"]))
            return f"multitalk config set {name} {example}{end}"
        return f"multitalk config unset {name}{end}"
    if "broken_file" in facts:
        file = str(facts["broken_file"])
        return shell_line(["mv", file, f"{file}.old"])
    if "unreadable_file" in facts:
        return shell_line(["chmod", "u+r", str(facts["unreadable_file"])])
    return ""


def upgrade_modal(_facts: Mapping[str, Fact], _words: list[str]) -> str:
    """A Modal client that this version works with, for the Python that runs."""
    # pipx keeps packages apart from the Python that `pip` means.
    package = "modal[api-proxy-support]>=1.6.3,<2"
    return shell_line([sys.executable, "-m", "pip", "install", "--upgrade", package])


def log_in(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """A token that variables spoil is mended there."""
    unset, clean = facts.get("unset"), facts.get("clean")
    if isinstance(unset, tuple) and unset:
        again = "\nmultitalk login" if facts.get("needs_login") else ""
        return f"unset {' '.join(unset)}{again}"
    if clean:
        return f'export {clean}="$(printf %s "${clean}" | LC_ALL=C tr -cd \'!#-&(-~\')"'
    return "multitalk login"


def correct_modal_config(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """Modal's file put aside, or a variable that goes before it."""
    if "broken_file" in facts:
        file = str(facts["broken_file"])
        return f"{shell_line(['mv', file, f'{file}.old'])}\nmultitalk login"
    if "variable" in facts:
        return f"export {facts['variable']}={shell_word(str(facts['value']))}"
    if texts(facts.get("unset", ())):
        return f"unset {' '.join(texts(facts['unset']))}"
    return "multitalk login" if "needs_login" in facts else ""


def choose_environment(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The nearest environment that exists, or none, wherever the wrong one was given."""
    if "environment" not in facts:
        return ""
    if "is_modals" in facts:
        return "unset MODAL_ENVIRONMENT"
    is_typed = any(word.partition("=")[0] == "--environment" for word in words)
    if not is_typed:
        return reset_command("environment")
    known = texts(facts.get("known", ()))
    close = difflib.get_close_matches(str(facts["environment"]), known, n=1)
    return typed_again(words, "--environment", [*close, *known][0]) if known else ""


def reset_command(name: str) -> str:
    """The command that removes a setting from where it was set."""
    setting = settings.SETTINGS[name]
    origin = settings.load_settings().origin(name)
    if origin == setting.variable:
        return f"unset {origin}"
    is_project = origin == settings.PROJECT_FILE
    return f"multitalk config unset {name}{' --project' if is_project else ''}"


def protect_file(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The file of keys, readable for its owner only."""
    return f"chmod 600 {shell_word(str(facts['open_file']))}" if "open_file" in facts else ""
