"""A function's time limit: a chain of calls over the kept windows, followed or not."""

import json
import shutil

import pytest

from multitalk_cli import contract
from multitalk_cli.media.video.video import read_frames
from tests.end_to_end.product import ROOT, User, install, state_of, upload_pack
from tests.end_to_end.test_jobs import LONG

SPEECH_S = 6.0


def frames_of(path):
    """All pixels of a video."""
    return b"".join(frame.tobytes() for frame in read_frames(path))


def words_of(user):
    """The words of a job of some windows."""
    voice = user.speech("chain.wav", SPEECH_S)
    fixed = ("--backend", "modal", "--text-guidance", "1", "--seed", "4")
    return ("generate", "host.png", voice, *fixed, *LONG)


@pytest.fixture(scope="module")
def whole(deployed):
    """The frames of the job where nothing ends it."""
    ran = deployed.run(*words_of(deployed), "-o", "whole.mp4")
    assert ran.code == 0, ran.stderr
    return frames_of(deployed.folder / "whole.mp4")


def detached(cloud, user):
    """The job, of which a first window is kept."""
    left = user.run(*words_of(user), "-o", "chain.mp4", "--force", "--detach")
    job = left.stdout.strip()
    cloud.wait_until(lambda: state_of(cloud, job).get("windows", 0) >= 1, "a window")
    return job


@pytest.mark.long
def test_a_detached_job_that_ran_out_of_time_goes_on_when_attached(cloud, deployed, whole):
    job = detached(cloud, deployed)
    cloud.time_out(cloud.busy_container())

    shown = deployed.run("jobs", "show", job, "--json").data["job"]
    (row,) = (
        row
        for row in deployed.run("jobs", "ls", "--remote", "--json").data["jobs"]
        if row["id"] == job
    )
    attached = deployed.run("jobs", "attach", job)

    assert shown["state"] == row["state"] == "stopped"
    assert (shown["error"], shown["windows_kept"] >= 1) == ("E_TIMEOUT", True)
    assert attached.code == 0, attached.stderr
    assert frames_of(deployed.folder / "chain.mp4") == whole
    assert f"{job}/call/1" in cloud.entries(contract.STATES_DICT)


@pytest.fixture(scope="module")
def hasty_site(tmp_path_factory):
    """The wheel of a product whose calls never have time for another window."""
    tree = tmp_path_factory.mktemp("hasty")
    for name in ("pyproject.toml", "README.md", "LICENSE", "multitalk_cli", "remote"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    path = tree / "remote" / "worker" / "generate.py"
    text = path.read_text("utf-8")
    assert text.count("RESERVE_S = 600.0") == 1
    path.write_text(text.replace("RESERVE_S = 600.0", "RESERVE_S = 1e9"), "utf-8")
    return install(tree / "dist", tree)


@pytest.mark.long
def test_a_job_that_nobody_follows_starts_its_next_call_itself(
    cloud, deployed, whole, hasty_site, tiny_pack, tmp_path
):
    user = User(cloud, hasty_site, tmp_path)
    for name in ("host.png", "chain.wav"):
        shutil.copy(deployed.folder / name, user.folder)
    assert user.run("deploy").code == 0
    upload_pack(tiny_pack)
    job = detached(cloud, user)
    entries = lambda: cloud.entries(contract.STATES_DICT)  # noqa: E731
    cloud.wait_until(lambda: f"{job}/call/1" in entries(), "the next call")
    cloud.wait_until(lambda: json.loads(entries()[job])["event"]["kind"] == "done", "the end")

    attached = user.run("jobs", "attach", job)

    assert attached.code == 0, attached.stderr
    assert frames_of(user.folder / "chain.mp4") == whole
    assert deployed.run("deploy").code == 0
