"""Every command that draws, on a terminal of its own: from nothing to a video, and its questions.

One account on the control plane, whose set-up each screen continues.
"""

import re
import shutil
import signal
import tempfile
from pathlib import Path

import boto3
import pytest

from tests.end_to_end.product import ROOT, SMALL, User, computing, new_job
from tests.end_to_end.test_download import repos, served, tiny_site  # noqa: F401
from tests.recipes.made import copied
from tests.storage.stores import KEY_ID, SECRET
from tests.terminal.program import assert_orderly, bar_cells
from tests.terminal.screens import assert_kept, settled


@pytest.fixture(scope="module")
def person(cloud, tiny_site, served):  # noqa: F811
    """Somebody with a portrait and a voice, without a token or anything else."""
    # Pytest's folders have names of any length, and a path goes on in the next line at 80 columns.
    with tempfile.TemporaryDirectory(prefix="mt-", ignore_cleanup_errors=True) as home:
        yield _newcomer(cloud, tiny_site, served, Path(home))


def _newcomer(cloud, site, served, home):  # noqa: F811
    user = User(cloud, site, home)
    user.env["HF_ENDPOINT"] = served.url
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
        del user.env[name]
    for name in ("portrait.png", "voice.wav"):
        shutil.copy(ROOT / "multitalk_cli/examples" / name, user.folder / name)
    return user


def end(program, user, name="", code=0, *, has_figures=False, columns=False):
    """Ends a command in order; compares its screen with the kept one of that name.

    columns: their width depends on figures that are left out.
    """
    lines = program.end()
    assert program.code == code, "\n".join(lines)
    assert_orderly(program)
    if name:
        shown = settled(program.screen.lines, user.home, has_figures=has_figures)
        assert_kept(
            name, [re.sub("(?<=.) {2,}", "  ", line) for line in shown] if columns else shown
        )
    return lines


@pytest.fixture(scope="module")
def logged_in(cloud, person):
    program = person.at_terminal("login")
    program.until("page")
    cloud.confirm_login()
    end(program, person, "login")
    return person


@pytest.fixture(scope="module")
def owner(cloud, logged_in):
    """The person once everything is set up."""
    before = logged_in.at_terminal("doctor")
    end(before, logged_in, "doctor-new", 4)
    end(logged_in.at_terminal("deploy"), logged_in, "deploy")
    program = logged_in.at_terminal("download")
    program.answer("[y/N] ", "y\r")
    end(program, logged_in, "download")
    yield logged_in
    cloud.wait_until_idle()


def test_the_set_up_and_a_video_on_a_terminal(owner):
    end(owner.at_terminal("doctor"), owner, "doctor")
    words = ("generate", "portrait.png", "voice.wav", "--seed", "5")
    end(owner.at_terminal(*words, "--plan"), owner, "plan", has_figures=True)
    lines = end(owner.at_terminal(*words, *SMALL), owner, "generate")
    assert lines[-1].endswith("voice.mp4")
    end(owner.at_terminal(*words, *SMALL), owner, "generate-again")
    left = owner.at_terminal(
        *words, *SMALL, "--shift", "5", "--detach", "-o", "left.mp4", columns=60
    )
    job = end(left, owner, "generate-detached")[-1]
    end(owner.at_terminal("jobs", "attach", job), owner, "jobs-attach")
    end(owner.at_terminal("jobs", "ls"), owner)
    end(owner.at_terminal("status"), owner, "status")


def test_a_batch_is_left_on_a_terminal_and_completed(cloud, owner, rpcs):
    rows = [f"{name},portrait.png,{owner.speech(f'{name}.wav', 0.2)},1" for name in ("one", "two")]
    (owner.folder / "list.csv").write_text("\n".join(["id,image,voice,seed", *rows]))
    words = ("batch", "list.csv", *SMALL)
    end(owner.at_terminal(*words, "--plan"), owner, "batch-plan", columns=True)
    cloud.no_capacity(ends_idle=True)
    leaving = owner.at_terminal(*words)
    cloud.wait_until(lambda: rpcs.count("FunctionMap") == 2, "both rows are started")
    leaving.until("2 running")
    leaving.type("\x03")
    leaving.answer("[cancel in 10 s]", "d")
    end(leaving, owner, "batch-detached", -signal.SIGINT, columns=True)
    cloud.capacity_back()

    end(owner.at_terminal(*words), owner, "batch", columns=True)
    end(owner.at_terminal(*words, columns=60), owner, "batch-again-60", columns=True)

    assert rpcs.count("FunctionMap") == 2


def test_a_container_is_examined_for_a_yes(owner):
    program = owner.at_terminal("doctor", "--gpu", "--report", "gpu.md")
    program.answer("[y/N] ", "y\r")
    end(program, owner, "doctor-gpu")

    assert "usually 1-3 min" in program.raw.decode()
    report = (owner.folder / "gpu.md").read_text()
    for fact in (
        "pinned memory: not tried (no GPU), expandable segments: not tried (no GPU)",
        "to a Volume: written in",
        "image builder 2025.06 (of the workspace: 2025.06), out of memory: not seen yet",
        '"peak_bytes": ',
    ):
        assert fact in report


def test_a_pack_is_uploaded_with_progress(cloud, owner, tiny_pack):
    cloud.state.environments.add("spare")
    lines = end(
        owner.at_terminal("upload-weights", tiny_pack, "--environment", "spare"),
        owner,
        "upload-weights",
    )

    (bar,) = [line for line in lines if line.startswith("uploading")]
    done, total = re.search(r"([\d.]+)/([\d.]+) [kM]B$", bar).groups()
    assert done == total


def test_a_first_video_and_settings_need_no_account(person):
    lines = end(person.at_terminal("demo"), person, "demo")
    assert f"{person.folder}/multitalk-demo.preview.mp4" in lines
    end(person.at_terminal("config", "show"), person, "config-show")
    end(person.at_terminal("config", "show", columns=60), person, "config-show-60")
    refused = person.at_terminal("generate", "portrait.png", "voice.wav", "--fps", "x")
    end(refused, person, "refusal", 2)


def test_a_video_s_origin_its_changes_and_another_take(person):
    words = ("--size", "256x128", "--seed", "7", "--backend", "preview", "-o", "look.preview.mp4")
    assert person.run("generate", "portrait.png", "voice.wav", *words).code == 0
    copied(person.folder / "look.preview.mp4", person.folder / "cut.mp4", "-c", "copy", "-t", "1")

    end(person.at_terminal("inspect", "look.preview.mp4"), person, "inspect")
    end(person.at_terminal("inspect", "cut.mp4", columns=60), person, "inspect-cut-60")
    end(person.at_terminal("verify", "cut.mp4"), person, "verify", 8)
    again = ("redo", "look.preview.mp4", "--seed", "8", "--fps", "25", "--backend", "preview")
    end(person.at_terminal(*again), person, "redo")
    # Its figures differ a little between processors.
    end(person.at_terminal("compare", "look.preview.mp4", "look-8.preview.mp4"), person)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("bench",), "\r"),
        (("doctor", "--gpu"), "n\r"),
        (("doctor", "--model"), "n\r"),
        (("generate", "portrait.png", "long.wav"), "n\r"),
    ],
    ids=["bench", "doctor", "model", "generate"],
)
def test_no_at_a_question_of_money_starts_nothing(owner, words, answer):
    owner.speech("long.wav", 61.0)
    program = owner.at_terminal(*words, columns=60)
    program.answer("[y/N] ", answer)
    lines = end(program, owner, code=8)

    assert lines[-1] == "nothing was started or paid"


@pytest.mark.parametrize("keys", ["\x03", "\x03\x03"], ids=["once", "twice"])
def test_ctrl_c_at_a_question_ends_on_a_line_of_its_own(owner, keys):
    program = owner.at_terminal("bench")
    program.answer("[y/N] ", keys)
    lines = program.end()

    assert program.code == -signal.SIGINT
    assert lines[-1].startswith(("interrupted; nothing was started or paid", "Continue?"))
    assert_orderly(program)


@pytest.mark.long
def test_a_benchmark_on_a_terminal(owner):
    program = owner.at_terminal("bench", "--size", "32x32", "--steps", "1", "--persons", "1")
    program.answer("[y/N] ", "y\r")
    lines = end(program, owner)

    assert lines[-1].startswith("cpu, 1 person: ")


# Ctrl-C while a job runs


# Of many windows: a job that waits for a held commit does not notice that it is cancelled.
LONG_S = 15.0


@pytest.fixture
def running(cloud, owner):
    """Starts a job: `running("a.wav")` gives its terminal and its id once it computes."""

    def start(name, speech_s=4.4):
        voice, before = owner.speech(name, speech_s), computing(cloud)
        long = ("--size", "48x48", "--steps", "40", "--text-guidance", "1", "--seed", "7")
        program = owner.at_terminal("generate", "portrait.png", voice, *long)
        job = new_job(cloud, before)
        # What nobody has read yet is lost at a Ctrl-C.
        program.until("━")
        return program, job

    yield start
    cloud.wait_until_idle()


def test_c_cancels_and_the_process_ends_by_the_signal(cloud, owner, running):
    program, job = running("c.wav", LONG_S)
    program.type("\x03")
    program.answer("[cancel in 10 s]", "c")
    lines = end(program, owner, "generate-cancelled", -signal.SIGINT)

    assert any(line.startswith(f"job {job} is cancelled, its GPU is free; $") for line in lines)
    assert not cloud.containers(busy=True)


def test_enter_keeps_watching_and_d_detaches_from_a_job_that_goes_on(cloud, owner, running):
    with cloud.commits_held():
        program, job = running("d.wav")
        program.type("\x03")
        program.answer("[cancel in 10 s]", "\r")
        program.until("still watching")
        program.type("\x03")
        program.answer("[cancel in 10 s]", "d")

        assert end(program, owner)[-1] == job
    assert owner.run("jobs", "attach", job).code == 0
    assert (owner.folder / "d.mp4").exists()


@pytest.mark.long
def test_a_second_ctrl_c_cancels_at_once(cloud, owner, running):
    program, _ = running("twice.wav", LONG_S)
    program.type("\x03")
    program.answer("[cancel in 10 s]", "\x03")
    end(program, owner, code=-signal.SIGINT)

    cloud.wait_until(lambda: not cloud.containers(busy=True), "the call has ended")


# S3 and its secret


def create_bucket(url):
    """A bucket of the store at this address."""
    keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
    client = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys)
    client.create_bucket(Bucket="screens")
    client.close()
    return "screens"


@pytest.fixture(scope="module")
def bucket(moto_url):
    return create_bucket(moto_url)


def keys_for(url):
    """The variables of somebody who uses this store."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def test_a_file_goes_to_a_bucket_and_comes_back(moto_url, bucket, person):
    keys = keys_for(moto_url)
    name = "a-long-name-of-a-recording-that-does-not-fit-into-any-line-of-a-narrow-terminal.wav"
    shutil.copy(person.folder / "voice.wav", person.folder / name)
    address = f"s3://{bucket}/in/{name}"
    end(person.at_terminal("s3", "put", name, address, columns=60, **keys), person, "s3-put")
    end(person.at_terminal("s3", "get", address, "-o", "back.wav", **keys), person, "s3-get")
    end(person.at_terminal("s3", "ls", f"s3://{bucket}/in/", **keys), person)

    assert (person.folder / "back.wav").read_bytes() == (person.folder / name).read_bytes()


def test_parts_of_a_large_file_move_a_bar(weed_url, person):
    keys, address = keys_for(weed_url), f"s3://{create_bucket(weed_url)}/in/large.wav"
    (person.folder / "large.wav").write_bytes(b"RIFF" + bytes(36_000_000))
    put, get = ("put", "large.wav", address), ("get", address, "-o", "large.back.wav")

    for words, label in ((put, "uploading"), (get, "downloading")):
        program = person.at_terminal("s3", *words, **keys)
        (bar,) = [line for line in end(program, person) if bar_cells(line)]
        assert bar.startswith(label)
        assert bar.endswith(" 36/36 MB")


def test_ctrl_c_at_a_hidden_question_gives_the_echo_back(logged_in):
    program = logged_in.at_terminal("setup-secrets", "--only", "aws")
    program.answer("AWS_ACCESS_KEY_ID (hidden): ", "\x03")
    lines = program.end()

    assert program.code == -signal.SIGINT
    assert lines[-1].startswith("interrupted")
    assert_orderly(program)


def test_secrets_are_typed_without_echo_and_the_echo_comes_back(moto_url, bucket, owner):
    program = owner.at_terminal("setup-secrets", "--only", "aws", "--endpoint-url", moto_url)
    program.answer("AWS_ACCESS_KEY_ID (hidden): ", f"{KEY_ID}\r")
    program.answer("AWS_SECRET_ACCESS_KEY (hidden): ", f"{SECRET}\r")
    program.answer("AWS_BUCKET_NAME: ", f"{bucket}\r")
    program.answer("[y/N] ", "n\r")
    lines = program.end()

    assert program.code == 0, lines
    assert SECRET not in program.raw.decode()
    assert_orderly(program)
