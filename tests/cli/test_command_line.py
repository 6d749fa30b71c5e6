"""The command line as a whole: help, errors, global options, streams and signals."""

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from multitalk_cli import __version__
from multitalk_cli.cli import app
from multitalk_cli.cli.commands.generate import generate
from multitalk_cli.errors import CODES, UsageError
from multitalk_cli.settings import SETTINGS
from tests.command_line import ROOT
from tests.terminal.program import Program
from tests.waiting import HANG_S

pytestmark = pytest.mark.slow

COMMANDS = [["generate"], ["demo"], ["explain"], ["config"], ["config", "set"], ["config", "show"]]
COMMANDS += [["s3"], ["s3", "ls"], ["s3", "get"], ["s3", "put"], ["s3", "url"]]
COMMANDS += [
    ["completion"],
    ["completion", "install"],
    ["completion", "show"],
    ["help"],
    ["jobs"],
    ["warm"],
]


# Help


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("words", [[], *COMMANDS], ids=" ".join)
def test_every_command_has_help_with_an_example(cli, words, flag):
    ran = cli(*words, flag)

    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[0].startswith("Usage: multitalk")
    assert not re.search(r"\[\[|[{}]", ran.stdout.splitlines()[0])
    assert re.search(r"^ +multitalk |:  multitalk ", ran.stdout, re.MULTILINE)
    assert all(len(line) <= 100 for line in ran.stdout.splitlines())


def test_help_names_no_types_of_the_language(cli):
    for words in ([], *COMMANDS):
        assert not re.search(r"<\w+>|list\[|\bNone\b", cli(*words, "--help").stdout)


def test_the_everyday_help_fits_a_screen(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ran = cli("generate", "--help")

    assert len(ran.stdout.splitlines()) <= 45
    assert all(len(line) <= 80 for line in ran.stdout.splitlines())
    for option in ("--prompt", "--speaker", "--plan", "--max-cost", "--backend", "--help-all"):
        assert option in ran.stdout
    assert "--audio-guidance" not in ran.stdout
    assert "Usage: multitalk generate [OPTIONS] IMAGE [VOICE [VOICE2]]" in ran.stdout


def test_the_whole_help_shows_every_option(cli):
    ran = cli("generate", "--help-all")

    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.count("Usage:") == 1
    for name in SETTINGS.keys() & inspect.signature(generate).parameters.keys():
        assert SETTINGS[name].option in ran.stdout
    for option in ("--output", "--seed", "--speaker", "--plan", "--dry-run", "--steps"):
        assert option in ran.stdout


def test_the_everyday_help_stays_short_after_the_whole_one(cli):
    cli("generate", "--help-all")

    assert "--audio-guidance" not in cli("generate", "--help").stdout


def test_global_options_are_named_in_the_help_of_commands(cli):
    for option in ("--json", "--quiet", "--debug", "--no-color", "--progress"):
        assert option in cli("generate", "--help").stdout


@pytest.mark.parametrize("words", [[], ["config"]])
def test_a_command_that_needs_more_words_shows_its_help(cli, words):
    assert cli(*words) == cli(*words, "--help")


@pytest.mark.parametrize("words", [["--help"], ["generate", "-h"], ["generate", "--help-all"], []])
def test_help_can_be_json_too(cli, words):
    ran = cli(*words, "--json")

    assert ran.code == 0
    assert "Usage: multitalk" in ran.json["data"]["help"]
    assert ran.json["command"] == (words[0] if words and words[0] == "generate" else "multitalk")


@pytest.mark.parametrize("columns", ["0", "20", "-1", "wide"])
def test_a_help_page_has_a_least_width(cli, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    page = cli("generate", "--help").stdout

    for word in ("--speaker PLACE=VOICE", "--steps, --sample-steps N", "--seed N"):
        assert word in page
    assert max(map(len, page.splitlines())) <= 80


def test_the_help_of_all_groups_its_commands_and_shows_examples(cli):
    page = cli("--help").stdout.splitlines()

    titles = [page.index(title) for title in ("Make", "Set up", "Run", "Other", "Options")]
    assert titles == sorted(titles)
    assert titles[0] < page.index(next(line for line in page if "  generate " in line)) < titles[1]
    assert "Examples:" in page


@pytest.mark.parametrize("words", [[], ["generate"], ["jobs"], ["jobs", "attach"]])
def test_help_is_a_command_as_well(cli, words):
    assert cli("help", *words) == cli(*words, "--help")


def test_the_help_of_an_unknown_command_is_refused(cli):
    ran = cli("help", "jobs", "attac")

    assert (ran.code, ran.stdout) == (2, "")
    assert "no command 'jobs attac'" in ran.stderr


def test_the_help_of_the_group_helps_with_a_word_unlike_any_of_its_commands(cli):
    ran = cli("help", "jobs", "zzz", "--json")

    assert ran.error["hint"] == "multitalk jobs --help"


@pytest.mark.parametrize(
    "wish", ["GITHUB_ACTIONS=1", "FORCE_COLOR=0", "FORCE_COLOR=1", "PY_COLORS=1"]
)
def test_a_pipe_gets_no_colours_whatever_the_surroundings_wish(shell, wish):
    ran = shell(
        f"export {wish}; multitalk --help; multitalk --help --json; multitalk -h --no-color;"
        "unset NO_COLOR; multitalk generate --help; multitalk generat"
    )

    assert "\x1b" not in ran.stdout + ran.stderr


# Version


def test_the_version(cli):
    assert cli("--version").stdout == cli("-V").stdout == f"multitalk {__version__}\n"
    assert cli("--version", "--json").json["data"] == {"version": __version__}


def test_the_version_of_a_process(shell):
    assert shell("multitalk --version").stdout == f"multitalk {__version__}\n"


# Errors


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["generat"], "No such command 'generat'", "multitalk generate"),
        (
            ["generate", "a.png", "--fsp", "3"],
            "No such option: --fsp",
            "multitalk generate a.png --fps 3",
        ),
        (
            ["generate", "a.png", "--promt=x y"],
            "No such option: --promt",
            "multitalk generate a.png '--prompt=x y'",
        ),
        (["generate"], "Missing argument 'IMAGE'", "multitalk generate --help"),
        (["generate", "a.png", "--fps", "x"], "not 'x'", "multitalk generate a.png --fps 24"),
        (["generate", "a.png", "--fps"], "--fps", "multitalk generate --help"),
        (["generate", "a.png", "--lora"], "--lora", "multitalk generate --help-all"),
        (["explain", "E_BUG", "E_COST"], "unexpected extra argument", "multitalk explain --help"),
        (["config", "set", "fps"], "Missing argument 'VALUE'", "multitalk config set --help"),
        (["config", "get"], "No such command 'get'", "multitalk config --help"),
        (["--progress", "fancy", "demo"], "not 'fancy'", "multitalk --help"),
        (["demo", "--progress"], "not ''", "multitalk --help"),
        (["demo", "--force=yes"], "--force", "multitalk demo --help"),
        (["-x"], "No such option: -x", "multitalk --help"),
    ],
)
def test_a_wrong_command_line_says_what_and_what_next(cli, words, message, hint):
    ran = cli(*words)

    assert (ran.code, ran.stdout) == (2, "")
    lines = ran.stderr.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert lines[1] == f"  next:  {hint}"
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["generat"], "generate"),
        (["generate", "a.png", "--promt", "x"], "--prompt"),
        (["explain", "E_AUDIO_SILENCE"], "E_AUDIO_SILENT"),
        (["config", "set", "max_costs", "1"], "max_cost"),
    ],
)
def test_the_nearest_name_is_proposed(cli, words, meant):
    ran = cli(*words)

    assert ran.code == 2
    assert meant in ran.stderr.splitlines()[0]


def test_the_hint_of_an_error_runs(cli):
    ran = cli("generate", "a.png", "--qqq", "3")
    words = ran.stderr.splitlines()[1].removeprefix("  next:  multitalk ").split()

    assert cli(*words).code == 0


@pytest.mark.parametrize("name", ["-voice.wav", "--voice.wav", "-p voice.wav", "-\n.wav"])
def test_a_file_that_begins_with_a_dash_is_recognised(cli, folder, name):
    (folder / name).touch()

    ran = cli("generate", "host.png", name)

    assert (ran.code, ran.stdout) == (2, "")
    assert "begins with a dash" in ran.stderr
    assert "./-" in ran.stderr


def test_an_internal_error_is_called_so(cli, monkeypatch):
    monkeypatch.setitem(CODES, "E_BUG", None)

    ran = cli("explain", "E_BUG")

    assert (ran.code, ran.stdout) == (1, "")
    assert "internal error of multitalk" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Traceback" in cli("explain", "E_BUG", "--debug").stderr


def test_a_bug_is_one_json_object(cli, monkeypatch):
    monkeypatch.setitem(CODES, "E_BUG", None)

    ran = cli("explain", "E_BUG", "--json")

    assert (ran.code, ran.error["code"]) == (1, "E_BUG")


# Global options


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "config", "show"],
        ["config", "--json", "show"],
        ["config", "show", "--json"],
        ["config", "show", "--json", "--json", "-q", "--no-color"],
    ],
)
def test_global_options_may_stand_anywhere(cli, words):
    ran = cli(*words)

    assert ran.code == 0
    assert ran.json["command"] == "config"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["generat"], "E_USAGE"),
        (["generate"], "E_USAGE"),
        (["generate", "a.png", "--fps", "x"], "E_RANGE"),
        (["--progress", "fancy"], "E_RANGE"),
        (["demo", "--progress"], "E_RANGE"),
        (["explain", "E_NOPE"], "E_UNKNOWN_CODE"),
        (["config", "set", "fps", "0"], "E_SETTING"),
        (["generate", "nowhere.png", "nowhere.wav", "--backend", "preview"], "E_FILE_MISSING"),
    ],
)
def test_json_is_one_object_on_failure_too(cli, words, code):
    ran = cli(*words, "--json")

    assert ran.error["code"] == code
    assert ran.error["exit_code"] == ran.code == int(CODES[code].exit_code)
    assert ran.json["status"] == "error"
    assert ran.stderr.startswith("error: ")


def test_quiet_still_says_errors(cli):
    assert cli("-q", "generat").stderr.startswith("error: ")


# explain


def test_explain_lists_every_code(cli):
    ran = cli("explain")

    assert [line.split()[0] for line in ran.stdout.splitlines()] == list(CODES)


@pytest.mark.parametrize("code", CODES)
def test_explain_explains_every_code(cli, code):
    ran = cli("explain", code.lower())

    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.startswith(f"{code} (exit {int(CODES[code].exit_code)})")
    assert cli("explain", code, "--json").json["data"]["remedy"] == CODES[code].remedy


# config


def test_config_shows_values_with_their_origins(cli, folder, monkeypatch):
    (folder / "multitalk.toml").write_text("fps = 25\n")
    monkeypatch.setenv("MULTITALK_FIT", "contain")

    data = cli("config", "show", "--json").json["data"]["settings"]

    assert list(data) == list(SETTINGS)
    assert data["fps"] == {"value": 25, "origin": "multitalk.toml"}
    assert data["fit"] == {"value": "contain", "origin": "MULTITALK_FIT"}
    assert data["size"]["origin"] == "default"


def test_config_show_is_a_table(cli):
    lines = cli("config", "show").stdout.splitlines()

    assert lines[0].split() == ["setting", "value", "from", "meaning"]
    assert len(lines) == len(SETTINGS) + 1


def test_config_path_tells_which_files_there_are(cli, folder):
    (folder / "multitalk.toml").touch()

    first, second = cli("config", "path").stdout.splitlines()

    assert first == str(folder / "multitalk.toml")
    assert second.endswith("multitalk/config.toml  (does not exist)")


def test_config_set_is_seen_by_config_show(cli):
    ran = cli("config", "set", "sample-steps", "30")

    assert ran.stdout.startswith("sample_steps = 30  (")
    shown = cli("config", "show", "--json").json["data"]["settings"]["sample_steps"]
    assert shown["value"] == 30
    assert shown["origin"].endswith("config.toml")


def test_config_set_can_write_the_project_s_file(cli, folder):
    cli("config", "set", "loudness", "no", "--project")

    assert (folder / "multitalk.toml").read_text() == "loudness = false\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [("fsp = 24\n", "unknown setting 'fsp'; did you mean 'fps'?"), ("fps = \n", "not valid TOML")],
)
@pytest.mark.parametrize("words", [["config", "show"], ["generate", "a.png", "b.wav"], ["demo"]])
def test_a_broken_settings_file_is_named(cli, folder, text, message, words):
    (folder / "multitalk.toml").write_text(text)

    ran = cli(*words)

    assert (ran.code, ran.stdout) == (3, "")
    assert message in ran.stderr
    assert "multitalk.toml" in ran.stderr


def test_a_broken_settings_file_can_be_found_and_explained(cli, folder):
    (folder / "multitalk.toml").write_text("fps = \n")

    assert cli("config", "path").code == 0
    assert cli("explain", "E_CONFIG").code == 0


# Streams


def test_colours_need_a_terminal(shell):
    ran = shell("unset NO_COLOR; multitalk generat; multitalk --help")

    assert "\x1b" not in ran.stdout + ran.stderr


def on_terminal(surroundings, script):
    """Everything that a shell script prints on a terminal of its own."""
    program = Program(["sh", "-c", script], surroundings)
    program.end()
    return program.raw.decode()


@pytest.mark.parametrize(
    ("prefix", "colours"),
    [
        ("TERM=xterm-256color", True),
        ("TERM=xterm-256color NO_COLOR=1", False),
        ("TERM=xterm-256color CI=1", False),
        ("TERM=dumb", False),
    ],
)
def test_a_terminal_gets_colours_unless_it_wants_none(surroundings, prefix, colours):
    seen = on_terminal(surroundings, f"unset NO_COLOR; {prefix} multitalk generat")
    page = on_terminal(surroundings, f"unset NO_COLOR; {prefix} multitalk --help")

    assert ("\x1b[1;31m" in seen, "\x1b[" in page) == (colours, colours)
    assert "Usage: multitalk" in re.sub(r"\x1b\[[0-9;]*m", "", page)


def test_no_color_is_a_flag_as_well(surroundings):
    script = "unset NO_COLOR; TERM=xterm multitalk --no-color"

    assert "\x1b" not in on_terminal(surroundings, f"{script} generat; {script} --help")


@pytest.mark.parametrize(
    "script",
    [
        "multitalk explain | head -n 1",
        "multitalk --help | head -n 1",
        "multitalk --help | true",
        "multitalk explain | true",
        "multitalk --version | true",
        "multitalk config show --json | true",
        "multitalk generat 2>&1 | true",
    ],
)
def test_a_reader_that_leaves_is_no_error(shell, script):
    ran = shell(f"set -o pipefail; {script}", name="bash")

    assert ran.stderr == ""
    assert ran.code in (0, 2)


@pytest.mark.parametrize("words", ["explain", "--help", "--version", "config show --json"])
@pytest.mark.parametrize("closing", [">&-", "<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(shell, words, closing):
    ran = shell(f"multitalk {words} {closing}")

    assert (ran.code, ran.stderr) == (0, "")


def test_an_error_without_anywhere_to_say_it_keeps_its_exit_code(shell):
    assert shell("multitalk generat >&- 2>&-").code == 2


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_result_that_is_lost_is_an_error(shell):
    ran = shell("multitalk explain --json >/dev/full")

    assert ran.code == 3
    assert "No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8"])
def test_help_and_errors_need_no_unicode_terminal(shell, locale):
    surroundings = f"LC_ALL={locale} PYTHONUTF8=0 PYTHONCOERCECLOCALE=0"
    ran = shell(f"{surroundings} multitalk --help && {surroundings} multitalk explain 'é' ")

    assert ran.code == 2
    assert "Usage" in ran.stdout
    assert "E_UNKNOWN_CODE" in ran.stderr


# Signals


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_becomes_an_exit_code_of_run(cli, monkeypatch, number, code):
    def slow(_):
        os.kill(os.getpid(), number)
        time.sleep(5)

    monkeypatch.setattr("multitalk_cli.settings.files", lambda: slow(None))
    before = signal.getsignal(number)

    ran = cli("config", "path", "--json")

    assert ran.code == code
    assert ran.error["code"] == "E_INTERRUPTED"
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored(cli, monkeypatch):
    monkeypatch.setattr(
        "multitalk_cli.settings.files", lambda: os.kill(os.getpid(), signal.SIGINT) or ()
    )
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert cli("config", "path").code == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("portrait")
def test_a_process_ends_by_the_signal_that_ended_it(started, speech, folder, number):
    speech("long.wav", 40)
    child = started("multitalk", "generate", "host.png", "long.wav", "--backend", "preview")
    for line in child.stderr:
        if line.startswith(b"price"):
            break
    child.send_signal(number)
    out, err = child.communicate(timeout=HANG_S)

    assert child.returncode == -number
    assert out == b""
    assert b"interrupted" in err
    assert b"Traceback" not in err
    assert {path.name for path in folder.iterdir()} == {"host.png", "long.wav"}


EARLY = """
import builtins, os, signal, sys
from multitalk_cli.__main__ import main as start
load = builtins.__import__

def interrupted(name, *rest, **more):
    if name == "typer":
        os.kill(os.getpid(), signal.SIGINT)
    return load(name, *rest, **more)

builtins.__import__ = interrupted
sys.argv = ["multitalk", "config", "show"]
start()
"""


def test_a_signal_before_the_command_runs_shows_no_traceback():
    ran = subprocess.run(
        [sys.executable, "-c", EARLY],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, b"", b"")


# The convention itself: what raises, and what is caught


def test_errors_of_the_tree_end_with_their_own_code(cli, monkeypatch):
    def fail():
        raise UsageError("no", code="E_CONFLICT", hint="multitalk demo")

    monkeypatch.setattr("multitalk_cli.settings.files", fail)

    assert cli("config", "path", "--json").error["code"] == "E_CONFLICT"


def test_run_never_raises(cli, monkeypatch):
    monkeypatch.setattr(app, "_invoke", lambda *_: (_ for _ in ()).throw(MemoryError()))

    assert cli("demo").code == 1


def test_the_installed_command_is_this_module():
    ran = subprocess.run(
        [sys.executable, "-m", "multitalk_cli", "explain", "--json"],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )

    assert json.loads(ran.stdout)["data"]["codes"]["E_BUG"] == 1
