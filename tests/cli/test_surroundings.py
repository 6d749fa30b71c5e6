"""Unusual surroundings: no home, no space, no streams, odd limits, clocks, encodings and terminals.

Right is the documented exit code with one clear message, or the work done; never a traceback.
"""

import codecs
import itertools
import os
import re
import resource
import shutil
import subprocess
import sys

import pytest

from multitalk_cli.cli.app import run
from tests.cli import surroundings
from tests.cli.surroundings import (
    limited,
    run_all_in,
    run_in,
    with_stream,
    with_umask,
    with_variables,
)
from tests.command_line import EXAMPLES, ROOT

pytestmark = pytest.mark.slow

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not surroundings.others_can_read(ROOT, sys.prefix, sys.base_prefix),
    reason="needs root's right to be another user, and files that another user can read",
)

QUICK = {
    "version": ["--version"],
    "help": ["--help"],
    "explain": ["explain", "E_BUG", "--json"],
    "config show": ["config", "show"],
    "config path": ["config", "path", "--json"],
    "jobs ls": ["jobs", "ls"],
    "completion": ["completion", "show", "bash"],
    "generate": ["generate", "nothing.png", "voice.wav", "--plan"],
    "status": ["status", "--json"],
    "s3": ["s3", "ls", "s3://bucket/"],
    "wrong": ["frobnicate"],
}
CODES = {"generate": 3, "status": 4, "s3": 4, "wrong": 2}
PREVIEW = ["generate", "host.png", "voice.wav", "--backend", "preview", "--force", "--json"]
PLAN = ["generate", "host.png", "voice.wav", "--plan", "--json"]

CONDITIONS = {
    "no folder": surroundings.in_no_folder,
    "few files": limited(resource.RLIMIT_NOFILE, 20),
    "small files": limited(resource.RLIMIT_FSIZE, 256 * 1024),
    "private files": with_umask(0o077),
    "no rights at all": with_umask(0o777),
    "no temporary folder": with_variables(TMPDIR="/nowhere", TEMP="/nowhere", TMP="/nowhere"),
    "unwritable temporary folder": with_variables(TMPDIR="/proc"),
    "no PATH": with_variables(PATH=None),
    "clock of 1970": surroundings.at_time(0),
    "clock of 2100": surroundings.at_time(4102444800),
    "stdin closed": with_stream(0, None, os.O_RDONLY),
    "home is a file": with_variables(HOME="/dev/null"),
    "home of another": pytest.param(
        lambda: (surroundings.without_home(), with_variables(HOME="/proc/1/cwd/root")()),
        marks=needs_root,
    ),
    "home is absent": with_variables(HOME="/nowhere/at/all"),
    "relative home": with_variables(HOME="somewhere"),
    "no user": pytest.param(surroundings.without_home, marks=needs_root),
    "no user, HOME=/": pytest.param(surroundings.with_root_as_home, marks=needs_root),
}
WHOLE = (
    "few files", "no temporary folder", "clock of 1970", "no user",
)  # fmt: skip
"""Conditions under which a preview is made too."""


def cases(names):
    values = [(name, CONDITIONS[name]) for name in names]
    return [
        pytest.param(name, *value.values, marks=value.marks, id=name)
        if hasattr(value, "marks")
        else pytest.param(name, value, id=name)
        for name, value in values
    ]


@pytest.fixture(scope="module")
def _imported(tmp_path_factory):
    """Everything is imported before the first fork: once, and while it can still be read."""
    working = tmp_path_factory.mktemp("imported")
    codecs.lookup("utf-8-sig")
    for name in ("portrait.png", "voice.wav"):
        shutil.copy(EXAMPLES / name, working)
    for words in (*QUICK.values(), [*PREVIEW[:-1], "-o", f"{working}/v.preview.mp4"]):
        paths = {"host.png": f"{working}/portrait.png", "voice.wav": f"{working}/voice.wav"}
        run([paths.get(word, word) for word in words])


@pytest.fixture
def place(_imported, tmp_path, monkeypatch):
    """A folder with `work` in it, both open to any user, and no account."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "HF_", "MODAL_"))]:
        monkeypatch.delenv(name)
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.delenv(f"XDG_{name}_HOME")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    shutil.copy(EXAMPLES / "portrait.png", work / "host.png")
    shutil.copy(EXAMPLES / "voice.wav", work)
    # A child that ends at once leaves its temporary files.
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    for folder in (work, temporary, tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.getuid() and folder != folder.parent:
            is_open = folder in (work, temporary)
            folder.chmod(folder.stat().st_mode | 0o055 | (0o022 if is_open else 0))
    return tmp_path


def assert_clear(ran, code):
    """The documented exit code, with one message of ours if it is an error."""
    assert ran.code == code, ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr
    assert "internal error" not in ran.stderr
    assert ran.stderr.count("error:") <= 1


@pytest.mark.parametrize(("name", "change"), cases(CONDITIONS))
def test_every_command_that_needs_no_account(place, name, change):
    for command, ran in zip(QUICK, run_all_in(place, QUICK.values(), change), strict=True):
        needs_folder = command == "config path" and name == "no folder"
        assert_clear(ran, 3 if needs_folder else CODES.get(command, 0))
        if command in ("version", "help", "explain", "config show", "completion"):
            assert ran.stdout


@pytest.mark.parametrize("columns", ["0", "1", "7", "20", "-5", "x", "1e9", "9" * 30, ""])
def test_every_width(cli, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for command in ("help", "explain", "config show", "wrong"):
        ran = cli(*QUICK[command])
        assert_clear(ran, CODES.get(command, 0))
        assert ran.stdout or ran.stderr


@pytest.mark.parametrize(("name", "change"), cases(WHOLE))
def test_a_preview_is_made(place, name, change):
    ran = run_in(place, PREVIEW, change)

    assert_clear(ran, 0)
    assert (place / "work" / "voice.preview.mp4").stat().st_size > 10_000


def test_a_file_that_may_not_be_that_large_is_no_bug(place):
    ran = run_in(place, PREVIEW, limited(resource.RLIMIT_FSIZE, 64 * 1024))

    assert_clear(ran, 3)
    assert (ran.error["code"], ran.error["hint"]) == ("E_OUTPUT_PATH", "ulimit -f unlimited")
    made = {path.name for path in (place / "work").iterdir()}
    assert made == {"host.png", "voice.wav"}


# No home folder


@needs_root
@pytest.mark.parametrize("change", [surroundings.without_home, surroundings.with_root_as_home])
def test_without_a_home_folder_nothing_is_kept_and_that_is_said(place, change):
    path = run_in(place, ["config", "path", "--json"], change).json["data"]["files"]
    assert [file["path"] for file in path if "work" in file["path"]] == [
        str(place / "work" / "multitalk.toml")
    ]
    for words, advice in (
        (["config", "set", "fps", "25"], "E_CONFIG"),
        (["completion", "install", "bash"], "E_OUTPUT_PATH"),
        (["login"], "E_CONFIG"),
    ):
        ran = run_in(place, [*words, "--json"], change)
        assert_clear(ran, 3)
        assert ran.error["code"] == advice
        assert "chmod" not in ran.error["hint"]
    assert run_in(place, ["config", "set", "fps", "25", "--project"], change).code == 0
    shown = run_in(place, ["config", "show", "--json"], change)
    assert shown.code == 0, shown.stdout
    assert shown.json["data"]["settings"]["fps"]["value"] == 25


@needs_root
def test_jobs_of_a_user_without_a_home_are_kept_until_the_end(place, tmp_path):
    """The ledger lies in a temporary folder that goes with the process."""
    from multitalk_cli import files
    from multitalk_cli.jobs import ledger

    seen = tmp_path / "seen"
    seen.touch()
    seen.chmod(0o666)

    def change():
        surroundings.without_home()
        path = ledger.ledger_path()
        with ledger.Ledger(path)._transaction():
            pass
        assert files.is_unkept()
        seen.write_text(str(path))

    ran = run_in(place, ["explain", "E_BUG"], change)

    assert ran.code == 0, ran.stderr
    assert "jobs and settings are not kept" in ran.stderr
    assert "multitalk-" in seen.read_text()


# Streams


@pytest.mark.parametrize("command", ["help", "explain", "config show", "jobs ls", "wrong"])
def test_a_full_or_closed_stream(place, command):
    code = CODES.get(command, 0)
    full = run_in(place, QUICK[command], with_stream(1, "/dev/full"))
    silent = run_in(place, QUICK[command], with_stream(1, None))
    blind = run_in(place, QUICK[command], with_stream(2, "/dev/full"))

    assert (silent.code, blind.code) == (code, code)
    prints = code == 0 and command != "jobs ls"
    assert full.code == (3 if prints else code)
    if prints:
        assert "the result cannot be written to stdout" in full.stderr


def test_the_stdin_that_nohup_leaves_is_an_empty_pipe(place):
    for words in (["login", "--stdin"], ["setup-secrets", "--stdin"]):
        ran = run_in(place, words, with_stream(0, "/dev/null"))

        assert ran.code in (2, 4), ran.stderr
        assert_clear(ran, ran.code)


# Encodings: the interpreter chooses when it starts

ENCODINGS = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"},
    {"LANG": "xx_YY.UTF-8", "PYTHONIOENCODING": "latin-1:strict"},
]


@pytest.mark.parametrize("variables", ENCODINGS, ids=str)
def test_every_encoding_prints_every_name(place, variables):
    """A file whose name is not UTF-8, and one in words that ASCII lacks."""
    for name in (b"caf\xe9.png", "häuser.png".encode()):
        ran = subprocess.run(
            [sys.executable, "-m", "multitalk_cli", "generate", name, b"voice.wav", "--plan"],
            cwd=place / "work",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(EXAMPLES.parents[1]), **variables},
            capture_output=True,
            check=False,
        )

        assert ran.returncode == 3, ran.stderr
        assert b"does not exist" in ran.stderr
        assert b"Traceback" not in ran.stderr


# Colours

COLOURS = [
    ("NO_COLOR", "1"), ("NO_COLOR", ""), ("FORCE_COLOR", "1"), ("FORCE_COLOR", "0"),
    ("GITHUB_ACTIONS", "true"), ("CI", "true"), ("PY_COLORS", "1"), ("TERM", "dumb"),
    ("TERM", None), ("TERM", "xterm-256color"), ("CLICOLOR_FORCE", "1"), ("TTY_COMPATIBLE", "1"),
]  # fmt: skip
PAIRS = [pair for pair in itertools.combinations(COLOURS, 2) if pair[0][0] != pair[1][0]]


def assert_plain(cli, monkeypatch, pairs):
    for pair in pairs:
        for name, value in pair:
            monkeypatch.delenv(name, raising=False)
            if value is not None:
                monkeypatch.setenv(name, value)
        for words in (
            ["--help"],
            ["explain", "E_BUG"],
            ["frobnicate"],
            ["config", "show", "--json"],
        ):
            ran = cli(*words)
            assert not re.search("\x1b", ran.stdout + ran.stderr), (pair, words)
        for name, _ in pair:
            monkeypatch.delenv(name, raising=False)


def test_no_colours_on_a_pipe(cli, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    assert_plain(cli, monkeypatch, [(each,) for each in COLOURS])


@pytest.mark.long
def test_no_colours_on_a_pipe_whatever_is_combined(cli, monkeypatch):
    monkeypatch.delenv("NO_COLOR")
    assert_plain(cli, monkeypatch, PAIRS)


@pytest.mark.long
@pytest.mark.parametrize("one", CONDITIONS)
def test_every_pair_of_conditions(place, one):
    def plain(name):
        found = CONDITIONS[name]
        return found.values[0] if hasattr(found, "marks") else found

    users = [name for name, found in CONDITIONS.items() if hasattr(found, "marks")]
    for other in (name for name in CONDITIONS if name > one):
        if len({one, other} & {*users, "no folder", "no rights at all"}) == 2:
            # Folders of another user that may not even be looked into are refused by name.
            continue
        # Another user last: nobody else may change groups.
        first, second = sorted((one, other), key=users.__contains__)

        def change(first=first, second=second):
            plain(first)()
            plain(second)()

        rans = run_all_in(place, QUICK.values(), change)
        for command, ran in zip(QUICK, rans, strict=True):
            needs_folder = command == "config path" and "no folder" in (one, other)
            assert_clear(ran, 3 if needs_folder else CODES.get(command, 0))
