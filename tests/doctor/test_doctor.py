"""`multitalk doctor` on a machine without an account: each thing that can be wrong with it."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from multitalk_cli import contract, settings
from multitalk_cli.cli.views.doctor import next_step, remedy
from multitalk_cli.cloud.pack import COMPLETE, INCOMPLETE
from multitalk_cli.contract.weights_task import STORED_LAYERS, pack_revision
from multitalk_cli.doctor import account, eight_bit, gpu, local
from multitalk_cli.doctor.check import Check, Outcome, run_all
from multitalk_cli.doctor.report import make_report
from multitalk_cli.errors import SetupError
from multitalk_cli.jobs import ledger
from tests.tools.commands import problems

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def closed_port(monkeypatch):
    """No account, and a Modal that refuses at once: no test waits for a network."""
    for name in [name for name in os.environ if name.startswith("MODAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")


@pytest.fixture
def doctor(cli):
    """Runs the command, and gives how it ended, and its checks by their names."""

    def call(*words):
        ran = cli("doctor", "--json", *words)
        return ran, {check["name"]: check for check in ran.json["data"]["checks"]}

    return call


def test_a_new_machine_is_ready_for_previews_and_told_the_next_command(doctor):
    ran, checks = doctor()

    assert (ran.code, ran.json["status"]) == (4, "error")
    assert ran.json["data"]["preview_ready"] is True
    local_states = {c["name"]: c["state"] for c in checks.values() if c["group"] == "local"}
    assert {name for name, state in local_states.items() if state != "ok"} == {"model", "clock"}
    assert checks["token"]["remedy"] == "multitalk login"
    assert [error["code"] for error in ran.json["errors"]] == ["E_NETWORK", "E_NO_TOKEN"]


def test_the_screen_ends_with_one_command(cli):
    ran = cli("doctor")

    *_, readiness, last = ran.stdout.splitlines()
    missing = "account, deployment, weights"
    assert readiness == f"preview: ready      real video: 1 of 4 steps done, missing: {missing}"
    assert last == "next:  multitalk generate IMAGE VOICE --backend preview"
    assert ran.stderr == ""


def test_every_check_has_a_line_where_it_is_asked_for(cli, doctor):
    _, checks = doctor()

    lines = cli("doctor", "--all").stdout.splitlines()

    assert all(any(f"{c['group']} {c['name']} " in line for line in lines) for c in checks.values())


def test_the_report_for_an_issue_holds_all_and_no_secret(cli, doctor, folder, monkeypatch):
    secret = "hf_" + "Zq7" * 10
    monkeypatch.setenv("HF_TOKEN", secret)
    monkeypatch.setenv("MODAL_SERVER_URL", f"http://me:{secret}x@127.0.0.1:9")
    monkeypatch.setenv("TERM", "```")
    _, checks = doctor()

    ran = cli("doctor", "--report", "report.md")

    text = (folder / "report.md").read_text(encoding="utf-8")
    assert (ran.code, ran.stderr.split()) == (4, ["report", "report.md"])
    assert secret not in text
    assert str(Path.home()) not in text
    assert text.count("```") == 8
    shown = text.partition("## checks")[2]
    assert all(re.search(rf"^{name} +{c['state']}: ", shown, re.M) for name, c in checks.items())
    assert "pillow" in text and "max_cost" in text


def test_a_report_overwrites_nothing(cli, folder):
    (folder / "report.md").write_text("mine")

    refused = cli("doctor", "--gpu", "--yes", "--report", "report.md", "--json")
    forced = cli("doctor", "--report", "report.md", "--force")

    assert (refused.code, refused.error["code"]) == (3, "E_OUTPUT_EXISTS")
    assert refused.error["hint"] == "multitalk doctor --gpu --yes --report report.md --force"
    assert forced.code == 4
    assert (folder / "report.md").read_text(encoding="utf-8").startswith("# multitalk doctor")


def test_a_narrow_terminal_has_the_command_below(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")

    lines = cli("doctor").stdout.splitlines()

    (number,) = [n for n, line in enumerate(lines) if line.strip() == "multitalk login"]
    assert lines[number - 1].startswith("account")


# Python and packages


def test_an_old_python_is_refused():
    assert local.check_python((3, 10)).state == "fail"


def test_a_missing_package_is_named_with_the_command_that_installs():
    seen = local.check_python(packages=("numpy", "no-such-thing"))

    assert (seen.state, seen.remedy) == ("fail", f"{sys.executable} -m pip install no-such-thing")
    assert "no-such-thing" in seen.text


def test_another_modal_is_refused(monkeypatch):
    monkeypatch.setattr(local.metadata, "version", lambda _name: "2.0.1")

    seen = local.check_python(packages=("modal",))

    assert (seen.state, seen.remedy) == ("fail", f"{sys.executable} -m pip install 'modal<2'")


def test_the_packages_are_those_that_the_project_needs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    needed = {re.split(r"[\[>]", text)[0] for text in project["dependencies"]}
    assert set(local.PACKAGES) == needed


# Settings


@pytest.mark.parametrize("text", ["fsp = 24", "fps = ", "gpu = 'h7'"])
def test_settings_that_cannot_be_read(doctor, folder, text):
    (folder / "multitalk.toml").write_text(text)

    ran, checks = doctor()

    assert (ran.code, checks["settings"]["code"]) == (4, "E_CONFIG")
    assert checks["token"]["is_blocked"] is True


def test_a_variable_that_cannot_be_read(doctor, monkeypatch):
    monkeypatch.setenv("MULTITALK_FPS", "fast")

    _, checks = doctor()

    assert (checks["settings"]["code"], checks["settings"]["remedy"]) == (
        "E_SETTING",
        "unset MULTITALK_FPS",
    )


def test_settings_are_shown_with_where_they_came_from(cli, doctor, monkeypatch):
    cli("config", "set", "fps", "25")
    monkeypatch.setenv("MULTITALK_GPU", "h200")

    _, checks = doctor()

    assert "gpu (MULTITALK_GPU)" in checks["settings"]["seen"]
    assert f"fps ({settings.user_file()})" in checks["settings"]["seen"]


# ffmpeg


@pytest.fixture
def fake_ffmpeg(folder, monkeypatch):
    """Puts a script in ffmpeg's place."""

    def put(script):
        path = folder / "ffmpeg"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(path))
        return path

    return put


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo ffmpeg version 7.0 libx264", "lacks aac"),
        ("echo ffmpeg version 7.0 aac", "lacks libx264"),
        ("exit 1", "does not run"),
    ],
)
def test_an_ffmpeg_that_cannot_make_videos(doctor, fake_ffmpeg, script, said):
    fake_ffmpeg(script)

    ran, checks = doctor()

    assert said in checks["ffmpeg"]["seen"]
    assert (checks["ffmpeg"]["code"], checks["ffmpeg"]["remedy"]) == (
        "E_NO_FFMPEG",
        f"unset IMAGEIO_FFMPEG_EXE; {sys.executable} -m pip install --force-reinstall "
        "imageio-ffmpeg",
    )
    assert (checks["media"]["is_blocked"], ran.json["data"]["preview_ready"]) == (True, False)


def test_an_ffmpeg_that_is_not_there(doctor, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")

    _, checks = doctor()

    assert (checks["ffmpeg"]["state"], checks["ffmpeg"]["code"]) == ("fail", "E_NO_FFMPEG")


def test_the_remedy_for_ffmpeg_helps(doctor, monkeypatch):
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    remedy = doctor()[1]["ffmpeg"]["remedy"].partition(";")[0]

    assert remedy == "unset IMAGEIO_FFMPEG_EXE"
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    assert doctor()[1]["ffmpeg"]["state"] == "ok"


def test_an_ffmpeg_that_writes_nothing_fails_the_video(doctor, fake_ffmpeg):
    fake_ffmpeg('case "$*" in *-version*|*-encoders*) echo ffmpeg version 7 libx264 aac;; esac')

    ran, checks = doctor()

    assert (checks["ffmpeg"]["state"], checks["media"]["state"]) == ("ok", "fail")
    assert ran.json["data"]["preview_ready"] is False


# Folders, disk, jobs, terminal


def test_a_full_disk_and_a_tight_one(folder):
    assert local.check_disk([folder], full_bytes=1 << 60, tight_bytes=1 << 60).code == "E_DISK_FULL"
    assert local.check_disk([folder], full_bytes=0, tight_bytes=1 << 60).state == "warn"
    assert local.check_disk([folder, folder / "not" / "yet"], tight_bytes=0).state == "ok"


@pytest.mark.parametrize("kind", ["STATE", "CONFIG", "CACHE"])
def test_a_folder_that_cannot_be_made_is_mended_by_the_command(doctor, folder, monkeypatch, kind):
    place = folder / "in the way"
    place.write_text("a file")
    monkeypatch.setenv(f"XDG_{kind}_HOME", str(place))
    _, checks = doctor()
    assert checks["folders"]["code"] == "E_OUTPUT_PATH"

    subprocess.run(["sh", "-c", checks["folders"]["remedy"]], check=True)

    assert doctor()[1]["folders"]["state"] == "ok"


@pytest.mark.skipif(
    os.geteuid() == 0, reason="needs a user without root's right to write everywhere"
)
def test_a_folder_without_permission_is_mended_by_the_command(doctor, folder, monkeypatch):
    place = folder / "locked"
    place.mkdir(mode=0o500)
    monkeypatch.setenv("XDG_STATE_HOME", str(place))
    _, checks = doctor()
    assert checks["folders"]["remedy"] == shlex.join(["chmod", "u+rwx", str(place)])

    subprocess.run(["sh", "-c", checks["folders"]["remedy"]], check=True)

    assert doctor()[1]["folders"]["state"] == "ok"


def test_a_broken_list_of_jobs(doctor):
    path = ledger.ledger_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all")

    ran, checks = doctor()

    assert checks["jobs"]["code"] == "E_LEDGER"
    assert ran.json["data"]["preview_ready"] is True


@pytest.mark.parametrize(
    ("columns", "encoding", "state"),
    [(100, "utf-8", "ok"), (100, "ascii", "warn"), (40, "UTF8", "warn")],
)
def test_terminals(columns, encoding, state):
    assert local.check_terminal(columns, encoding).state == state


def keep_manifest(place, **changes):
    """Writes the manifest of a pack of one file, and gives the pack's revision."""
    file = {"name": "a", "size_bytes": 1, "sha256": "ab" * 32}
    body = {"format_version": contract.PACK_FORMAT, "files": [file], "sources": []}
    place.mkdir(parents=True)
    (place / "manifest.json").write_text(json.dumps(body | changes))
    return pack_revision([file["sha256"]])


def test_weights_of_this_machine_need_no_account(doctor, folder, monkeypatch):
    base = keep_manifest(folder / "pack")
    (folder / "loras").mkdir()
    loras = [{"name": name, "sha256": "cd" * 32} for name in ("mine", "new")]
    (folder / "loras/manifest.json").write_text(json.dumps({"loras": loras}))
    layers = list(STORED_LAYERS)
    states = {
        "": {"base": base, "loras": [], "layers": layers[1:]},
        "-mine": {"base": base, "loras": [loras[0]]},
        "-new": {"base": base, "loras": [{"name": "new", "sha256": "ef" * 32}]},
        "-old": {"base": "0" * 16, "loras": []},
    }
    for name, changes in states.items():
        keep_manifest(folder / f"8bit/transformer{name}", changes={"layers": layers, **changes})
    for name in ("transformer-part", "notes"):
        (folder / "8bit" / name).mkdir()
    monkeypatch.setenv("MULTITALK_WEIGHTS", str(folder / "pack"))
    pytest.importorskip("torch")

    ran, checks = doctor()

    assert (ran.code, ran.json["data"]["video_ready"]) == (0, True)
    assert (checks["model"]["state"], checks["token"]["state"]) == ("warn", "skip")
    assert checks["model"]["seen"].endswith(
        "; 8bit/transformer (outdated: other layers in 8 bits), 8bit/transformer-mine, "
        "8bit/transformer-new (outdated: another file of its LoRA), "
        "8bit/transformer-old (outdated: made from other weights), "
        "8bit/transformer-part (incomplete)"
    )
    assert checks["model"]["remedy"] == f"multitalk download --to {folder} --preset balanced"
    assert checks["app"]["is_blocked"] is False


@pytest.mark.parametrize(
    ("states", "remedy"),
    [
        ({}, ""),
        ({"8bit/transformer": COMPLETE, "8bit/transformer-mine": INCOMPLETE}, ""),
        ({"8bit/transformer": COMPLETE, "8bit/transformer-mine": "outdated"}, "--prune"),
        ({"8bit/transformer-lightx2v": INCOMPLETE}, "--preset fast"),
        ({"8bit/transformer-a": "outdated", "8bit/transformer": "outdated"}, "--preset balanced"),
    ],
)
def test_what_renews_weights_in_8_bits(states, remedy):
    found = eight_bit.outcome("packed", states)

    assert found.remedy == (f"multitalk download {remedy}" if remedy else "")
    assert found.state == ("ok" if set(states.values()) <= {COMPLETE} else "warn")


def test_weights_of_this_machine_that_are_not_there(doctor, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("MULTITALK_WEIGHTS", "nowhere")

    _, checks = doctor()

    assert checks["model"]["code"] == "E_WEIGHTS"


# The clock


@pytest.fixture
def dated_server(monkeypatch):
    """A server whose answers are dated so many seconds from now; None for no date."""
    servers = []

    def start(offset_s):
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.send_response_only(200)
                if offset_s is not None:
                    date = datetime.now(UTC) + timedelta(seconds=offset_s)
                    self.send_header("Date", format_datetime(date, usegmt=True))
                self.end_headers()

            def log_message(self, *_arguments):
                """Says nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("MODAL_SERVER_URL", f"http://127.0.0.1:{server.server_address[1]}")

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("offset_s", "state", "said"),
    [
        (0, "ok", "clock OK"),
        (120, "warn", "2 min behind"),
        (-120, "warn", "2 min ahead"),
        (3600, "fail", "1 h behind"),
        (None, "skip", "not compared"),
    ],
)
def test_the_clock_is_compared_with_the_server_s(dated_server, offset_s, state, said):
    dated_server(offset_s)

    seen = account.check_clock()

    assert (seen.state, said in seen.text) == (state, True)
    assert bool(seen.remedy) is (state in ("warn", "fail"))


def test_a_wrong_clock_does_not_spoil_previews(doctor, dated_server):
    dated_server(7200)

    ran, checks = doctor()

    assert checks["clock"]["code"] == "E_S3_CLOCK"
    assert ran.json["data"]["preview_ready"] is True


# Checks at the same time


def check_of(name, run, **more):
    return Check(name=name, group="local", run=run, **more)


def test_checks_run_at_the_same_time():
    all_at_work = threading.Barrier(10)

    def meet():
        all_at_work.wait()
        return Outcome(text="met the others")

    checks = run_all(check_of(str(number), meet) for number in range(10))

    assert {check.text for check in checks} == {"met the others"}
    assert [check.name for check in checks] == [str(number) for number in range(10)]


@pytest.mark.parametrize("late", ["fail", "warn", "skip"])
def test_a_check_that_hangs_ends_in_time(late):
    stop = threading.Event()

    (check,) = run_all([check_of("slow", stop.wait, limit_s=0.1, state_if_late=late)])

    stop.set()
    assert (check.state, check.text) == (late, "no answer within 0.1 s")


def test_what_needs_a_failed_check_is_blocked_with_the_reason():
    def fail():
        raise SetupError("no", code="E_NO_TOKEN")

    first, second, third = run_all(
        [
            check_of("one", fail),
            check_of("two", lambda: Outcome(text="never"), needs=("one",)),
            check_of("three", lambda: Outcome(text="never"), needs=("two",)),
        ]
    )

    assert (first.code, remedy(first)) == ("E_NO_TOKEN", "multitalk login")
    assert (second.state, second.text, second.is_blocked) == ("skip", "needs one", True)
    assert (third.text, third.is_blocked) == ("needs one", True)


def test_what_needs_something_left_out_is_left_out_too():
    _, second = run_all(
        [
            check_of("one", lambda: Outcome(text="not set up", state="skip")),
            check_of("two", lambda: Outcome(text="never"), needs=("one",)),
        ]
    )

    assert (second.state, second.text, second.is_blocked) == ("skip", "not set up", False)


def test_a_check_that_breaks_is_a_failure_and_with_debug_a_bug():
    checks = [check_of("broken", lambda: 1 // 0), check_of("fine", lambda: Outcome(text="fine"))]

    broken, fine = run_all(checks)

    assert (broken.code, fine.state) == ("E_BUG", "ok")
    with pytest.raises(ZeroDivisionError):
        run_all(checks, debug=True)


def test_the_next_command_is_of_the_first_failure():
    checks = run_all(
        [
            check_of("one", lambda: Outcome(text="", state="warn", remedy="first")),
            check_of("two", lambda: Outcome(text="", state="fail", remedy="second")),
            check_of("three", lambda: Outcome(text="", state="fail", remedy="third")),
        ]
    )

    assert next_step(make_report(checks)) == "second"


def test_no_card_is_paid_before_everything_is_set_up(doctor):
    ran, checks = doctor("--gpu", "--yes")

    assert (ran.code, ran.json["data"]["gpu"]) == (4, {})
    assert "no container was started" in checks["container"]["seen"]


@pytest.mark.parametrize("words", [["--gpu"], ["--gpu", "l4"], ["--gpu=l4"], ["--gpu", "--all"]])
def test_a_gpu_may_be_named_or_left_to_the_settings(doctor, words):
    _, checks = doctor(*words)

    assert checks["container"]["is_blocked"] is True


def test_a_gpu_that_does_not_exist_is_refused(cli):
    ran = cli("doctor", "--gpu", "rtx9", "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_RANGE")
    assert "--gpu must be one of auto" in ran.error["message"]


def test_the_named_gpu_is_checked_and_priced():
    chosen = settings.load_settings({"gpu": "l4"})

    assert "videos on l4" in account.Account(chosen).check_gpu().text
    assert gpu.question(chosen).startswith("l4: ")


# Commands that are printed


def test_what_is_printed_runs_with_nothing_but_multitalk_on_the_path(doctor, command):
    report, checks = doctor()
    printed = {check["remedy"] for check in checks.values() if check["remedy"]}
    printed.add(report.json["data"]["next"])
    ours = [text for text in printed if text.startswith("multitalk ")]
    assert len(ours) >= 2

    for text in ours:
        assert not problems(text)
        ran = subprocess.run(
            [*shlex.split(text), "--help"],
            env={**os.environ, "PATH": str(command)},
            capture_output=True,
            check=False,
        )
        assert ran.returncode == 0, (text, ran.stderr)
