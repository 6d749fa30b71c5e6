"""Real shells: loops, pipes, parallel runs and Ctrl-C behave as scripts expect."""

import os
import shutil
import signal

import pytest

from tests.waiting import HANG_S

# One name for each program: sh is often a link to dash.
_FOUND = {shutil.which(name): name for name in ("dash", "zsh", "bash", "sh")}
SHELLS = sorted({os.path.realpath(path): name for path, name in _FOUND.items() if path}.values())
EVERY_SHELL = pytest.mark.parametrize("name", SHELLS)
GENERATE = "multitalk generate host.png"


pytestmark = [pytest.mark.shell, pytest.mark.usefixtures("portrait")]


@pytest.fixture(autouse=True)
def takes(speech, monkeypatch):
    """Three short voices of their own, and videos small enough not to wait for."""
    monkeypatch.setenv("MULTITALK_SIZE", "192x96")
    return [speech(f"take {number}.wav", 0.3, start_s=0.3 * number) for number in (1, 2, 3)]


def made(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".mp4")


ALL = ["take 1.preview.mp4", "take 2.preview.mp4", "take 3.preview.mp4"]


@EVERY_SHELL
def test_a_loop_over_files_makes_one_video_each(shell, folder, name):
    ran = shell(f'for f in *.wav; do {GENERATE} "$f" --backend preview -q; done', name=name)

    assert (ran.code, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == [f"{folder}/{each}" for each in ALL]
    assert made(folder) == ALL


@EVERY_SHELL
def test_a_loop_over_lines_gets_every_line(shell, folder, name):
    (folder / "list").write_text("".join(f"take {number}.wav\n" for number in (1, 2, 3)))
    loop = f'while read -r f; do {GENERATE} "$f" --backend preview -q; done < list'

    ran = shell(loop, name=name)

    assert (ran.code, ran.stderr) == (0, "")
    assert made(folder) == ALL


@pytest.mark.long
def test_a_loop_over_a_pipe_gets_every_line(shell, folder):
    ran = shell(f'ls *.wav | while read -r f; do {GENERATE} "$f" --backend preview -q; done')

    assert (ran.code, len(ran.stdout.splitlines())) == (0, 3)
    assert made(folder) == ALL


@pytest.mark.long
def test_a_loop_over_a_plan_gets_every_line_too(shell, folder):
    (folder / "list").write_text("".join(f"take {number}.wav\n" for number in (1, 2, 3)))
    ran = shell(f'while read -r f; do {GENERATE} "$f" --plan --json -q; done < list')

    assert [line[:14] for line in ran.stdout.splitlines()] == ['{"version": 1,'] * 3


def test_parallel_runs_do_not_disturb_each_other(shell, folder):
    runs = "xargs -0 -P4 -I{} multitalk generate host.png {} --backend preview -q"

    ran = shell(f"printf '%s\\0' *.wav | {runs}")

    assert (ran.code, ran.stderr) == (0, "")
    assert sorted(ran.stdout.splitlines()) == [f"{folder}/{each}" for each in ALL]
    assert made(folder) == ALL


@pytest.mark.long
def test_runs_in_the_background_are_waited_for(shell, folder):
    loop = f'for f in *.wav; do {GENERATE} "$f" --backend preview & done; wait'

    ran = shell(loop)

    assert ran.code == 0
    assert sorted(ran.stdout.splitlines()) == [f"{folder}/{each}" for each in ALL]
    assert "\x1b" not in ran.stderr
    assert made(folder) == ALL


def test_one_bad_file_is_seen_by_the_loop_and_harms_no_other(shell, folder):
    (folder / "take 2.wav").write_text("no sound")
    loop = f'for f in *.wav; do {GENERATE} "$f" --backend preview -q || echo "failed $?"; done'

    ran = shell(loop)

    assert ran.stdout.splitlines() == [f"{folder}/{ALL[0]}", "failed 3", f"{folder}/{ALL[2]}"]
    assert ran.stderr.count("error: ") == 1


def test_the_path_on_stdout_is_the_file(shell):
    script = f'p=$({GENERATE} "take 1.wav" --backend preview 2>/dev/null) && test -s "$p"'

    assert shell(script).code == 0


def test_xargs_stops_at_the_exit_code_of_a_command(shell):
    assert shell("echo nothing.wav | xargs multitalk generate host.png -q --backend preview").code
    assert shell(f"{GENERATE} nothing.wav --backend preview; echo $?").stdout == "3\n"
    assert shell(f"{GENERATE} --fps 0; echo $?").stdout == "2\n"
    assert shell(f'{GENERATE} "take 1.wav"; echo $?').stdout == "4\n"


def wait_until_it_works(child):
    """Reads what the program says up to the last line before the frames are drawn."""
    for line in child.stderr:
        if line.startswith(b"price"):
            return
    pytest.fail("it ended before it began")


@pytest.mark.parametrize("name", [name for name in SHELLS if name != "dash"])
def test_ctrl_c_stops_the_loop_and_leaves_nothing(started, speech, folder, name):
    for number in (1, 2, 3):
        speech(f"take {number}.wav", 60)
    before = sorted(folder.iterdir())
    loop = f'for f in *.wav; do {GENERATE} "$f" --backend preview; echo after; done'
    child = started(name, "-c", loop)
    wait_until_it_works(child)

    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=HANG_S)

    assert child.returncode in (-signal.SIGINT, 128 + signal.SIGINT)
    assert out == b"", "neither a result nor the next round"
    assert err.count(b"interrupted") == 1
    assert b"Traceback" not in err
    assert sorted(folder.iterdir()) == before


def test_a_second_ctrl_c_does_not_wait(started, speech):
    speech("long.wav", 60)
    child = started("multitalk", "generate", "host.png", "long.wav", "--backend", "preview")
    wait_until_it_works(child)

    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=HANG_S)

    assert child.returncode == -signal.SIGINT


def test_a_run_in_the_background_ignores_the_ctrl_c_of_its_shell(started, folder):
    child = started("sh", "-c", f'{GENERATE} "take 1.wav" --backend preview & wait $!; wait')
    wait_until_it_works(child)

    os.killpg(child.pid, signal.SIGINT)
    child.communicate(timeout=HANG_S)

    assert made(folder) == ["take 1.preview.mp4"]
