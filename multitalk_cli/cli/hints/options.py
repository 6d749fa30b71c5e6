"""The words typed with other options: right values, ends of conflicts, nearest words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from multitalk_cli.cli.hints.rule import Rule, texts
from multitalk_cli.cli.hints.storage import store_files
from multitalk_cli.cli.typed_words import typed_again, typed_line, typed_without
from multitalk_cli.reporting.formatting import shell_line, shell_word

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact


def allow_cost(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with a limit that is enough, and what is cheaper."""
    if "enough_usd" not in facts:
        return ""
    option = str(facts.get("option", "--max-cost"))
    lines = [typed_again(words, option, f"{facts['enough_usd']:g}")]
    is_rerun = words[:2] == ["jobs", "rerun"]  # Of these options it has --gpu alone.
    cheaper = [
        each for each in texts(facts["cheaper"]) if each.startswith("--gpu ") or not is_rerun
    ]
    if cheaper:
        lines.append("cheaper: " + ", ".join(cheaper))
    return "\n".join(lines)


def option(name: str) -> Rule:
    """The command with the value that the facts have for an option."""

    def rule(facts: Mapping[str, Fact], words: list[str]) -> str:
        return typed_again(words, f"--{name}", str(facts[name])) if name in facts else ""

    return rule


def choose_stack(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed without a stack that the GPU has not, or with one that it has."""
    if "unsupported_stack" in facts:
        return f"leave --stack {facts['unsupported_stack']} out"
    return option("stack")(facts, words)


_CONFLICTS: dict[tuple[str, ...], tuple[str, bool]] = {
    ("VOICE", "--speaker"): ("--speaker", True),
    ("-o s3://", "--upload"): ("--upload", False),
    ("-o -", "--json"): ("--json", False),
    ("-o -", "--sidecar"): ("--sidecar", False),
    ("-o -", "--detach"): ("--detach", False),
    ("-o s3://", "--sidecar"): ("--sidecar", False),
    ("--upload", "--backend"): ("--upload", False),
    ("--detach", "--backend"): ("--detach", False),
    ("--seeds", "--detach"): ("--detach", False),
    ("--seeds", "-o -"): ("--seeds", True),
    ("--first", "-o s3://"): ("-o", True),
    ("several videos", "-o"): ("-o", True),
    ("--quality", "--steps"): ("--steps", True),
}
"""Options that contradict each other -> the one to leave out, and whether it has a value."""


def end_conflict(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed without one of the options that contradict each other."""
    if "addresses" in facts:
        return f"multitalk s3 get {shell_line(texts(facts['addresses']))}"
    if "sources" in facts:
        return store_files(texts(facts["sources"]), is_file=bool(facts.get("is_file")))
    if "example" in facts:
        return example(facts, words)
    if "superfluous" in facts:
        has_value = bool(facts["has_value"])
        return typed_line(typed_without(words, str(facts["superfluous"]), has_value=has_value))
    option, has_value = _CONFLICTS.get(texts(facts.get("options", ())), ("", False))
    rest = typed_without(words, option, has_value=has_value)
    if option == "--upload":
        rest = typed_without(rest, "--upload-to")
    # Options that work anywhere are not among the words.
    return typed_line(rest) if option and (rest != words or option == "--json") else ""


def nearest_word(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with a word that exists in place of one that does not."""
    if "nearest" not in facts or facts.get("typed") not in words:
        return ""
    return typed_line([str(facts["nearest"]) if w == facts["typed"] else w for w in words])


def complete_words(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with what they lack, or the help of their command."""
    if "image" in facts:
        return f"multitalk generate {shell_word(str(facts['image']))} VOICE.wav"
    if facts.get("option") == "--yes":
        return typed_again(words, "--yes")
    return f"multitalk {words[0]} --help" if "option" in facts and words else ""


def choose_backend(_facts: Mapping[str, Fact], words: list[str]) -> str:
    """An account, or a preview, which reads no buckets."""
    if any(word.rpartition("=")[2].startswith("s3://") for word in words):
        return "multitalk login"
    return f"multitalk login\n{typed_again(words, '--backend', 'preview')}"


_WITH_HELP_ALL = ("generate", "batch", "redo")


def example(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The command typed with a value that the option accepts, or else its help."""
    if "option" not in facts or not words:
        return ""
    if "replaced" in facts:
        words = typed_without(words, str(facts["replaced"]), has_value=True)
    if "example" in facts:
        return typed_again(words, str(facts["option"]), str(facts["example"]))
    # The option may be one that --help leaves out.
    return f"multitalk {words[0]} {'--help-all' if words[0] in _WITH_HELP_ALL else '--help'}"


def find_code(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The explanation of the nearest code, or the list of all."""
    return f"multitalk explain {facts['nearest']}" if "nearest" in facts else "multitalk explain"
