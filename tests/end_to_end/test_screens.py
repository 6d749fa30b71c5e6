"""The screens of the README's three commands are what a newcomer sees in the cloud."""

import re

from tests.documents.pages import PAGES, screens
from tests.end_to_end.test_download import repos, served, tiny_site  # noqa: F401
from tests.end_to_end.test_newcomer import newcomer  # noqa: F401
from tests.modal_plane.cloud import TOKEN_ID, TOKEN_SECRET

SMALL = ("--size", "32x32", "--steps", "10")


def printed(ran):
    """What a terminal would show of a command, without what only a tiny size is warned of."""
    assert ran.code == 0, ran.stderr
    lines = [*ran.stderr.splitlines(), *ran.stdout.splitlines()]
    return [line for line in lines if not line.startswith("warning ")]


def shows(screen, lines):
    """Whether a screen is what was printed; `...` stands for any lines, or for a line's rest."""
    parts = [re.escape(line).replace(r"\.\.\.", ".*") for line in screen]
    return re.fullmatch("\n".join(parts), "\n".join(lines), re.DOTALL) is not None


def labels(lines):
    """The first word of each line: what it is about, the voice's name, or where the video is."""
    return [line.split()[0].rpartition("/")[2] for line in lines if line != "..."]


def test_the_three_commands_print_what_the_readme_shows(newcomer):  # noqa: F811
    shown = {
        command.split()[1]: lines
        for command, lines in screens(PAGES["README.md"])
        if "preview" not in command
    }
    assert list(shown) == ["login", "download", "generate"]

    login = newcomer.run("login", "--stdin", stdin=f"{TOKEN_ID}\n{TOKEN_SECRET}\n")
    home = [line.replace("/home/you", str(newcomer.home)) for line in shown["login"]]
    assert shows(home, printed(login)), printed(login)

    download = newcomer.run("download", "--yes")
    unasked = [line for line in shown["download"] if not line.endswith("[y/N] y")]
    assert len(unasked) == len(shown["download"]) - 1
    assert shows(unasked, printed(download)), printed(download)

    video = newcomer.run("generate", "portrait.png", "voice.wav", *SMALL)
    assert labels(shown["generate"]) == labels(printed(video))
