"""Options that commands share, and renamed words."""

import pytest
import typer.main

from multitalk_cli.cli import options
from multitalk_cli.cli.app import app
from multitalk_cli.cli.completion.tree import read_tree
from multitalk_cli.cli.options import Renaming, replace_renamed


def commands():
    return {command.words: command for command in read_tree(typer.main.get_command(app)).all()}


def names(command):
    return {name for option in command.options for name in option.names}


@pytest.fixture
def renamed(monkeypatch):
    monkeypatch.setitem(options.RENAMED_COMMANDS, "about", "explain")
    monkeypatch.setitem(options.RENAMED_COMMANDS, "jobs list", "jobs ls")
    monkeypatch.setitem(options.RENAMED_OPTIONS, "generate", {"--rate": "--fps"})


@pytest.mark.parametrize("command", options.RENAMED_OPTIONS)
def test_an_old_option_stands_for_one_that_its_command_has(command):
    known = names(commands()[command])

    for old, new in options.RENAMED_OPTIONS[command].items():
        assert new in known
        assert old not in known


def test_an_old_command_stands_for_one_that_there_is():
    for old, new in options.RENAMED_COMMANDS.items():
        assert new in commands()
        assert old not in commands()


@pytest.mark.parametrize(
    "name", ["--app", "--environment", "--gpu", "--stack", "--output", "--force", "--yes"]
)
def test_a_shared_option_means_the_same_in_every_command(name):
    # `deploy` sets defaults with --gpu and --stack; `doctor --gpu` may stand without a value.
    own = {("deploy", "--gpu"), ("deploy", "--stack"), ("doctor", "--gpu")}
    own.add(("generate", "--output"))
    helps = {
        option.help
        for words, command in commands().items()
        for option in command.options
        if name in option.names and (words, name) not in own
    }

    assert len(helps) == 1, helps


@pytest.mark.usefixtures("renamed")
@pytest.mark.parametrize(
    ("typed", "words", "found"),
    [
        (["about", "E_BUG"], ["explain", "E_BUG"], ["about is now explain"]),
        (["jobs", "list"], ["jobs", "ls"], ["jobs list is now jobs ls"]),
        (["generate", "--rate", "25"], ["generate", "--fps", "25"], ["--rate is now --fps"]),
        (["generate", "--rate=25"], ["generate", "--fps=25"], ["--rate is now --fps"]),
        (["generate", "--", "--rate"], ["generate", "--", "--rate"], []),
        (["demo", "--rate"], ["demo", "--rate"], []),
        (["jobs", "about"], ["jobs", "about"], []),
        (["generate", "about"], ["generate", "about"], []),
        ([], [], []),
    ],
)
def test_old_words_become_new_ones(typed, words, found):
    replaced, renamings = replace_renamed(typed)

    assert replaced == words
    assert [renaming.notice for renaming in renamings] == found


@pytest.mark.usefixtures("renamed")
def test_an_old_word_is_told_once():
    _, found = replace_renamed(["generate", "--rate", "24", "--rate", "25"])

    assert found == [Renaming(old="--rate", new="--fps")]


@pytest.mark.usefixtures("renamed")
def test_an_old_word_works_and_the_new_one_is_named_on_stderr(cli):
    ran = cli("about", "E_BUG")

    assert (ran.code, ran.stderr) == (0, "about is now explain\n")
    assert ran.stdout == cli("explain", "E_BUG").stdout
    assert cli("about", "E_BUG", "-q").stderr == ""


def test_deploy_takes_the_name_of_the_app_as_every_command_does(cli):
    old, new = (
        cli("deploy", "--dry-run", "--name", "studio"),
        cli("deploy", "--dry-run", "--app", "studio"),
    )

    assert "--name is now --app" in old.stderr
    assert "app         studio" in new.stderr
    assert (old.code, old.stdout) == (new.code, new.stdout)
