"""Renews the scripts in completions/: python -m tests.tools.write_completions"""

from pathlib import Path

import typer.main

from multitalk_cli.cli.app import app
from multitalk_cli.cli.completion.scripts import FILE_NAMES, script
from multitalk_cli.cli.completion.tree import read_tree

FOLDER = Path(__file__).resolve().parents[2] / "completions"


def scripts():
    """Each script of now, by the name of its file."""
    root = read_tree(typer.main.get_command(app))
    return {name: script(shell, root) for shell, name in FILE_NAMES.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in scripts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
