"""Commands that help with outputs: their names, folders, and what is in their place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from multitalk_cli.cli.hints.rule import texts
from multitalk_cli.cli.typed_words import option_values, typed_again, typed_line
from multitalk_cli.reporting.formatting import shell_word

if TYPE_CHECKING:
    from multitalk_cli.errors.exceptions import Fact


_OUTPUT_PROBLEMS = {"empty": "FOLDER/", "unsafe key": "FILE", "stdout": "FILE.mp4"}
"""What is wrong with an output's name -> a name that would do."""


_FIELD = re.compile(r"\{(\w*)[^{}]*\}?")


def name_output(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with a name for the output that would do."""
    path = facts.get("folder", facts.get("proposed"))
    if path is None and "problem" in facts:
        path = _OUTPUT_PROBLEMS.get(str(facts["problem"]))
    addresses = texts(facts.get("addresses", ()))
    if path is None and addresses:
        path = addresses[0]
    if path is not None:
        return typed_again(words, "-o", str(path))
    if facts.get("problem") == "terminal":
        return f"{typed_line(words)} > FILE.mp4"
    if "problem" in facts:
        return "fetch them one by one, each with -o FILE"
    return _correct_template(texts(facts.get("fields", ())), words)


def _correct_template(fields: tuple[str, ...], words: list[str]) -> str:
    """The words typed with a field that exists for each that does not."""
    typed = [*option_values(words, "-o"), *option_values(words, "--output")]
    if not fields or not typed:
        return f"use {', '.join(f'{{{field}}}' for field in fields)}" if fields else ""
    known = "voice" if "voice" in fields else fields[0]
    right = _FIELD.sub(lambda match: f"{{{match[1] if match[1] in fields else known}}}", typed[0])
    return typed_again(words, "-o", right.replace("}}", "}"))


_OVERWRITING = (
    ["generate"],
    ["finish"],
    ["redo"],
    ["demo"],
    ["jobs", "attach"],
    ["jobs", "fetch"],
    ["s3", "get"],
    ["completion", "install"],
    ["doctor"],
)
"""Commands that overwrite a file with --force."""


def overwrite(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with --force, and the way around it."""
    if words[:2] == ["jobs", "rerun"] and "existing" in facts:
        # It has neither --force nor -o: a job that runs again has its own output.
        return f"move {shell_word(str(facts['existing']))} away, then run the same command again"
    command = next((each for each in _OVERWRITING if words[: len(each)] == each), None)
    if command is None:
        return ""
    has_output = command not in (["demo"], ["completion", "install"], ["doctor"])
    other = "\nor -o with another name" if has_output else ""
    return typed_again(words, "--force") + other


def leave_output(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The words typed with another output, or the job that is to write this one."""
    other = typed_again(words, "-o", "OTHER.mp4")
    return f"{other}\nor multitalk jobs attach {facts['holder']}" if "holder" in facts else ""


def make_folder(facts: Mapping[str, Fact], _words: list[str]) -> str:
    """The folder that is missing, made."""
    if "is_busy" in facts:
        return "wait for the other process, or pass -o with another path"
    folder = facts.get("missing_folder")
    return f"mkdir -p {shell_word(str(folder))}" if folder else ""


def show_columns(facts: Mapping[str, Fact], words: list[str]) -> str:
    """The columns, or the command with an output of which each row has its own."""
    if "output" in facts:
        return typed_again(words, "-o", str(facts["output"]))
    return "multitalk batch --help"


_FORCE_SOME = "or move these files: --force makes every video of the list again"


def check_rows(facts: Mapping[str, Fact], words: list[str]) -> str:
    """Makes the folder that all rows lack, or checks their corrected rows and starts nothing.

    Where all that is wrong are files in the way, overwrites them.
    """
    if "missing_folder" in facts:
        return make_folder(facts, words)
    if "exists" in facts:
        return f"{typed_again(words, '--force')}\n{_FORCE_SOME}"
    return "" if "--plan" in words else typed_again(words, "--plan")
