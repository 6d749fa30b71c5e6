"""The script of each shell, and where that shell looks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multitalk_cli.cli.completion import bash, fish, zsh
from multitalk_cli.errors import FileError
from multitalk_cli.files import write_atomically, write_error

if TYPE_CHECKING:
    from pathlib import Path

    from multitalk_cli.cli.completion.tree import Command

_MAKERS = {"bash": bash.script, "zsh": zsh.script, "fish": fish.script}
FILE_NAMES = {"bash": "multitalk.bash", "zsh": "_multitalk", "fish": "multitalk.fish"}


def script(shell: str, root: Command) -> str:
    """The completion script of a shell."""
    return _MAKERS[shell](root)


def place(shell: str) -> Path:
    """The file in which the shell finds the script, on macOS too.

    Raises FileError E_OUTPUT_PATH without a home folder.
    """
    try:
        return _place(shell)
    except RuntimeError:
        raise FileError(
            "no home folder: no shell looks for completion scripts (HOME is not set)",
            code="E_OUTPUT_PATH",
            hint=f"multitalk completion show {shell} > FILE",
        ) from None


def _place(shell: str) -> Path:
    from platformdirs.unix import Unix

    if shell == "fish":
        return Unix().user_config_path / "fish" / "completions" / "multitalk.fish"
    data = Unix().user_data_path
    if shell == "bash":
        return data / "bash-completion" / "completions" / "multitalk"
    return data / "zsh" / "site-functions" / "_multitalk"


def advice(shell: str, path: Path) -> list[str]:
    """Lines to add to the shell's configuration if Tab does nothing in a new shell."""
    if shell == "bash":
        return ["in ~/.bashrc, if the package bash-completion is absent:", f"  source {path}"]
    if shell == "zsh":
        lines = f"  fpath=({path.parent} $fpath); autoload -U compinit; compinit"
        return ["in ~/.zshrc:", lines]
    return []


def install(shell: str, root: Command, *, force: bool) -> Path:
    """Writes the script where the shell finds it, and returns the path.

    Raises FileError if another program's file is there, or it cannot be written.
    """
    path = place(shell)
    try:
        if path.exists() and not force and "Completion of multitalk" not in path.read_text()[:200]:
            raise FileError(
                f"{path} exists and is not of multitalk",
                code="E_OUTPUT_EXISTS",
                hint=f"multitalk completion install {shell} --force",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
    except UnicodeDecodeError as error:
        raise FileError(f"{path} exists and is not of multitalk", code="E_OUTPUT_EXISTS") from error
    except OSError as error:
        raise write_error(path, error) from error
    write_atomically(path, script(shell, root).encode())
    return path
