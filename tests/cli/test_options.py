"""Options that commands share, and renamed words."""

import pytest
import typer.main

from multitalk_cli.cli import options
from multitalk_cli.cli.app import app
from multitalk_cli.cli.completion import tree
from multitalk_cli.cli.completion.tree import read_tree
from multitalk_cli.cli.help import PATH_LABELS
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
    "name",
    ["--app", "--environment", "--gpu", "--stack", "--attention", "--output", "--force", "--yes"],
)
def test_a_shared_option_means_the_same_in_every_command(name):
    # `deploy` sets defaults with --gpu and --stack; `doctor --gpu` may stand without a value.
    own = {("deploy", "--gpu"), ("deploy", "--stack"), ("doctor", "--gpu")}
    # Nothing is paid by `jobs prune`.
    own |= {
        ("jobs prune", "--yes"),
        ("batch", "--output"),
        ("generate", "--output"),
        ("redo", "--output"),
    }
    helps = {
        option.help
        for words, command in commands().items()
        for option in command.options
        if name in option.names and (words, name) not in own
    }

    assert len(helps) == 1, helps


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "~/host.png", "voice.wav"),
        ("generate", "host.png", "~/voice.wav"),
        ("generate", "host.png", "--speaker", "left=~/voice.wav"),
        ("generate", "host.png", "voice.wav", "--backend", "preview", "--output=~/gone/"),
        ("generate", "host.png", "voice.wav", "--backend", "local", "--weights=~/pack"),
        ("s3", "put", "~/voice.wav", "s3://bucket/"),
        ("upload-weights", "~/pack"),
        ("setup-secrets", "--from-file=~/keys"),
    ],
)
@pytest.mark.usefixtures("portrait", "voice")
def test_a_home_folder_that_the_shell_left_is_expanded(cli, folder, monkeypatch, words):
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-id")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-secret")
    typed = next(word for word in words if "~" in word)

    ran = cli(*words, "--json")

    assert ran.code
    assert typed.rpartition("~")[2].rstrip("/") in ran.error["message"]
    assert str(folder / "home") in ran.error["message"]


def test_every_path_is_known_as_one():
    """What completion offers files or folders for is expanded as a path, and nothing else is."""
    kinds = {
        value.label: value.kind
        for command in commands().values()
        for value in [
            *(argument.value for argument in command.arguments),
            *(option.value for option in command.options if option.value is not None),
        ]
    }

    of_files = {tree.FILES, tree.FOLDERS, tree.PICTURE, tree.SOUND, tree.SPEAKER}
    assert {label for label, kind in kinds.items() if kind in of_files} == PATH_LABELS


@pytest.mark.parametrize("command", [("generate", "a.png", "b.wav"), ("download", "--to", "w")])
def test_several_loras_are_refused(cli, folder, command):
    ran = cli(*command, "--lora=lightx2v", "--lora", "fusionx", "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_CONFLICT")
    assert ran.error["hint"] == f"multitalk {' '.join(command)} --lora fusionx"
    assert list(folder.iterdir()) == []


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
