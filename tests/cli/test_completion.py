"""Completion: the scripts are those of the tree, and real shells complete with them."""

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pexpect
import pytest

from multitalk_cli.cli.completion import candidates, tree
from multitalk_cli.cli.completion.scripts import FILE_NAMES, place
from multitalk_cli.errors import CODES
from multitalk_cli.jobs.ledger import Job, Ledger
from multitalk_cli.settings import SETTINGS
from multitalk_cli.storage import recent_keys
from tests.command_line import ROOT
from tests.tools.write_completions import FOLDER, scripts
from tests.waiting import HANG_S

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def root():
    import typer.main

    from multitalk_cli.cli.app import app

    return tree.read_tree(typer.main.get_command(app))


# The scripts


@pytest.mark.parametrize("name", FILE_NAMES.values())
def test_the_scripts_that_travel_along_are_those_of_now(name):
    kept = (FOLDER / name).read_text(encoding="utf-8")

    assert kept == scripts()[name], "run: python -m tests.tools.write_completions"


@pytest.mark.parametrize("shell_name", SHELLS)
def test_show_prints_the_script(cli, shell_name):
    ran = cli("completion", "show", shell_name)

    assert (ran.code, ran.stdout) == (0, (FOLDER / FILE_NAMES[shell_name]).read_text())
    assert cli("completion", "show", shell_name, "--json").json["data"]["script"] == ran.stdout


def test_every_command_and_option_is_in_every_script(root):
    for text in scripts().values():
        for command in root.all():
            assert not command.path or command.path[-1] in text
            for option in command.options:
                assert all(name in text for name in option.names)


def test_what_can_be_chosen_is_known(root):
    options = {
        name: option for each in root.all() for option in each.options for name in option.names
    }

    assert options["--fit"].value.words == SETTINGS["fit"].choices
    assert options["--gpu"].value.words == SETTINGS["gpu"].choices
    assert options["--backend"].value.words == SETTINGS["backend"].choices
    assert options["--progress"].value.words == ("auto", "bars", "plain", "json", "none")
    assert options["--weights"].value.kind == tree.FOLDERS
    assert options["--force"].value is None


def test_the_bash_script_passes_shellcheck():
    program = Path(sys.executable).with_name("shellcheck")
    found = str(program) if program.exists() else shutil.which("shellcheck")
    if found is None:
        pytest.skip("shellcheck is absent")

    ran = subprocess.run(
        [found, "--norc", str(FOLDER / "multitalk.bash")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stdout) == (0, "")


# install


@pytest.mark.parametrize(
    ("shell_name", "ending"),
    [
        ("bash", "data/bash-completion/completions/multitalk"),
        ("zsh", "data/zsh/site-functions/_multitalk"),
        ("fish", "config/fish/completions/multitalk.fish"),
    ],
)
def test_install_writes_where_the_shell_looks(cli, shell_name, ending):
    for _ in range(2):
        ran = cli("completion", "install", shell_name)

        assert ran.code == 0
        assert ran.stdout.rstrip("\n").endswith(ending)
    written = Path(ran.stdout.rstrip("\n"))
    assert written.read_text() == (FOLDER / FILE_NAMES[shell_name]).read_text()
    assert [path.name for path in written.parent.iterdir()] == [written.name]


@pytest.mark.parametrize("content", [b"somebody else's", b"\xff\xfe"])
def test_install_overwrites_nothing_of_others(cli, content):
    path = place("fish")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    ran = cli("completion", "install", "fish", "--json")
    assert (ran.code, ran.error["code"]) == (3, "E_OUTPUT_EXISTS")
    assert path.read_bytes() == content

    assert cli("completion", "install", "fish", "--force").code == 0


@pytest.mark.parametrize("action", ["install", "show"])
def test_an_unknown_shell_is_refused(cli, action):
    ran = cli("completion", action, "tcsh", "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_RANGE")
    assert "bash, zsh, fish" in ran.error["message"]


# Jobs and keys


@pytest.fixture
def known(cli):
    """A job in the ledger, and two keys that were seen, one of the bucket that is set."""
    Ledger().start(
        Job(
            id="7f3a0000",
            fingerprint="f",
            app="multitalk",
            environment="main",
            stack="current",
            gpu="h100",
            seed=1,
            target="voice.mp4",
            label="host voice",
            recipe="{}",
        )
    )
    recent_keys.remember(["s3://mine/outputs/talk.mp4", "s3://other/outputs/x.mp4"])
    assert cli("config", "set", "bucket", "mine").code == 0


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("kind", "word", "expected"),
    [
        ("jobs", "", ["7f3a0000\tspawning, host voice"]),
        ("jobs", "7f", ["7f3a0000\tspawning, host voice"]),
        ("jobs", "8", []),
        ("keys", "out", ["outputs/talk.mp4"]),
        ("keys", "s3://", ["s3://mine/outputs/talk.mp4", "s3://other/outputs/x.mp4"]),
        ("keys", "s3://o", ["s3://other/outputs/x.mp4"]),
        ("others", "", []),
    ],
)
def test_what_is_known_is_answered(kind, word, expected):
    assert candidates.answer(kind, word) == expected


def test_nothing_is_known_at_first():
    assert candidates.answer("jobs", "") == []
    assert candidates.answer("keys", "") == []


@pytest.mark.usefixtures("known")
def test_a_ledger_that_is_being_written_does_not_hold_up_the_shell():
    from multitalk_cli.jobs.ledger import ledger_path

    with closing(sqlite3.connect(ledger_path(), isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        assert candidates.answer("jobs", "9") == []


def test_a_ledger_that_is_none_is_no_answer():
    from multitalk_cli.jobs.ledger import ledger_path

    ledger_path().parent.mkdir(parents=True)
    ledger_path().write_bytes(b"this is no database, but it is long enough to be looked at" * 20)

    assert candidates.answer("jobs", "") == []


@pytest.mark.usefixtures("known")
def test_broken_settings_are_no_answer(folder):
    (folder / "multitalk.toml").write_text("bucket = [")

    assert candidates.answer("keys", "") == []


@pytest.mark.usefixtures("known")
def test_a_process_answers_without_loading_the_command_line(shell):
    assert shell("multitalk _complete jobs 7").stdout == "7f3a0000\tspawning, host voice\n"
    assert shell("multitalk _complete keys").stdout == ""
    code = "import runpy,sys;sys.argv=['m','_complete','keys',''];" \
        "runpy.run_module('multitalk_cli',run_name='__main__',alter_sys=True);" \
        "print(*sys.modules,file=sys.stderr)"  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert not {"typer", "rich", "boto3", "modal", "socket"} & set(ran.stderr.split())


# Real shells


STARTS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "--private", "-i"],
}
SETUPS = {
    "bash": "PS1='READY''>'; bind 'set bell-style none'; source '{folder}/multitalk.bash'",
    "zsh": "PS1='READY''>'; unsetopt beep auto_remove_slash; fpath=({folder} $fpath); "
    "autoload -Uz compinit; compinit -D -u",
    "fish": "function fish_prompt; echo -n 'READY''>'; end; source '{folder}/multitalk.fish'",
}


@pytest.fixture
def press(folder, command, surroundings, known):
    """Types a line into a real shell, with Tab in it, and gives the words that the command gets."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "multitalk"
    program.write_text(
        f'#!/bin/sh\n[ "$1" = _complete ] && exec "{command}/multitalk" "$@"\n'
        "printf 'GOT'; printf '<%s>' \"$@\"; echo .\n"
    )
    program.chmod(0o755)
    for name in ("host.png", "host.plan.png", "host.PNG.txt", "voice one.wav", "notes.txt"):
        (folder / name).touch()
    (folder / "videos").mkdir()
    (folder / "videos" / "inner.jpg").touch()
    environment = {**surroundings, "PATH": f"{program.parent}:{surroundings['PATH']}"}
    environment |= {"TERM": "xterm", "LC_ALL": "C.UTF-8"}
    environment.pop("COLUMNS", None)
    opened = []

    def start(name):
        if shutil.which(name) is None:
            pytest.skip(f"needs the shell {name}")
        child = pexpect.spawn(
            name,
            STARTS[name],
            env=environment,
            dimensions=(50, 160),
            timeout=HANG_S,
            encoding="utf-8",
        )
        opened.append(child)
        child.sendline(SETUPS[name].format(folder=FOLDER))
        child.expect("READY>")
        return child

    def call(name, line, answer=r"GOT(.*)\.\r?\n"):
        child = opened[0] if opened else start(name)
        child.send(line + "\t")
        if answer.startswith("GOT"):
            child.send("\r")
        child.expect(answer)
        return re.findall("<(.*?)>", child.match[1]) if child.match.lastindex else child.match[0]

    yield call
    for child in opened:
        child.close(force=True)


CASES = [
    ("multitalk gen", ["generate"]),
    ("multitalk config se", ["config", "set"]),
    ("multitalk --json conf", ["--json", "config"]),
    ("multitalk generate --sp", ["generate", "--speaker"]),
    ("multitalk generate a.png --fit cov", ["generate", "a.png", "--fit", "cover"]),
    ("multitalk generate --fit=cov", ["generate", "--fit=cover"]),
    ("multitalk generate --gpu b2", ["generate", "--gpu", "b200"]),
    ("multitalk --progress ba", ["--progress", "bars"]),
    ("multitalk explain E_AUDIO_SI", ["explain", "E_AUDIO_SILENT"]),
    ("multitalk config set sample", ["config", "set", "sample_steps"]),
    ("multitalk completion install fi", ["completion", "install", "fish"]),
    ("multitalk generate ho", ["generate", "host.png"]),
    ("multitalk generate host.png vo", ["generate", "host.png", "voice one.wav"]),
    ("multitalk generate host.png a.wav vo", ["generate", "host.png", "a.wav", "voice one.wav"]),
    ("multitalk generate host.png voice\\ o", ["generate", "host.png", "voice one.wav"]),
    ('multitalk generate host.png "voice o', ["generate", "host.png", "voice one.wav"]),
    ("multitalk generate videos/in", ["generate", "videos/inner.jpg"]),
    ("multitalk generate -o vid", ["generate", "-o", "videos/"]),
    ("multitalk generate --weights vi", ["generate", "--weights", "videos/"]),
    ("multitalk generate --speaker left=vo", ["generate", "--speaker", "left=voice one.wav"]),
    ("multitalk jobs attach 7", ["jobs", "attach", "7f3a0000"]),
    ("multitalk s3 get outputs/t", ["s3", "get", "outputs/talk.mp4"]),
    ("multitalk s3 get s3://o", ["s3", "get", "s3://other/outputs/x.mp4"]),
    ("multitalk s3 get a b outputs/t", ["s3", "get", "a", "b", "outputs/talk.mp4"]),
    ("multitalk generate s3://m", ["generate", "s3://mine/outputs/talk.mp4"]),
    ("multitalk explain -- E_AUDIO_SI", ["explain", "--", "E_AUDIO_SILENT"]),
]


@pytest.mark.shell
@pytest.mark.parametrize("name", SHELLS)
def test_tab_completes(press, name):
    for line, words in CASES:
        assert press(name, line) == words, line


@pytest.mark.shell
@pytest.mark.parametrize("name", SHELLS)
def test_tab_offers_what_there_is(press, name, root):
    names = sorted(command.path[-1] for command in root.commands)

    # The shells list them in columns: which name comes last depends on how many there are.
    everything = "".join(f"(?=.*{re.escape(each)})" for each in names)
    offered = press(name, "multitalk \t", answer=f"(?s){everything}.*")

    assert all(each in offered for each in names)


@pytest.mark.shell
@pytest.mark.parametrize("name", SHELLS)
def test_tab_offers_nothing_where_there_is_nothing_to_choose(press, name):
    assert press(name, "multitalk generate --seed ho") == ["generate", "--seed", "ho"]
    assert press(name, "multitalk explain E_BUG ho") == ["explain", "E_BUG", "ho"]


@pytest.mark.shell
@pytest.mark.parametrize("name", ["bash", "fish"])
def test_tab_offers_no_file_of_another_kind(press, name):
    # zsh, as everywhere, offers all files where none of the kind fits.
    assert press(name, "multitalk generate not") == ["generate", "not"]


def test_every_code_can_be_completed():
    for text in scripts().values():
        assert all(code in text for code in CODES)
