"""Commands in printed text, compared with the application's own tree of commands."""

import re

import typer

from multitalk_cli.cli.app import app
from multitalk_cli.cli.completion.tree import anywhere, read_tree

_EVERYWHERE = ("--help", "-h", "--version")
# A sentence continues after the command.
_ENDS = re.compile(r"[,;:]|\.( |$)| (and|or) |[`\n]")


def problems(text):
    """What a line of text calls multitalk with, and there is not: "login has no --now"."""
    root = read_tree(typer.main.get_command(app))
    return [
        found
        for said in re.split(r"\bmultitalk ", text)[1:]
        if not said.startswith("_")
        for found in _problems(root, _ENDS.split(said)[0].split())
    ]


def _problems(root, words):
    command, rest = root, [word.strip("'\"()") for word in words]
    while rest and command.commands:
        below = {each.path[-1]: each for each in command.commands}
        if rest[0] not in below:
            break
        command = below[rest.pop(0)]
    if command.commands and rest and rest[0][0].islower():
        yield f"{command.words or 'multitalk'} has no {rest[0]}"
    known = {name for each in (*anywhere(root), *command.options) for name in each.names}
    for word in rest:
        if word.startswith("--") and word not in (*known, *_EVERYWHERE):
            yield f"{command.words} has no {word}"


def all_commands():
    """The words of every command that does something, such as `jobs ls`."""
    root = read_tree(typer.main.get_command(app))
    return [command.words for command in root.all() if not command.commands]


def all_options():
    """Every option of every command."""
    root = read_tree(typer.main.get_command(app))
    options = (option for command in root.all() for option in command.options)
    return {name for option in options for name in option.names}.union(_EVERYWHERE)
