"""The library on Modal: the real client in this process, and a real container's runtime."""

import os
import shutil
import subprocess
import sys
import threading

import pytest

from multitalk_cli import (
    Client,
    Done,
    MultitalkError,
    RefusedError,
    RemoteError,
    SetupError,
    Step,
    UsageError,
)
from tests.command_line import EXAMPLES, ROOT
from tests.end_to_end.product import gpu_calls
from tests.test_api import BLOCKS
from tests.waiting import HANG_S

pytestmark = pytest.mark.usefixtures("idle_at_end")

SMALL = {"size": "32x32", "sample_steps": 10, "text_guidance": 1}


@pytest.fixture(autouse=True)
def inputs(folder):
    """A portrait and a voice, by the names of the page."""
    for name in ("portrait.png", "voice.wav"):
        shutil.copy(EXAMPLES / name, name)
    return folder


@pytest.fixture
def client(deployed):
    """A client of the deployed app."""
    assert deployed.folder.is_dir()
    return Client(backend="modal", **SMALL)


@pytest.fixture
def long_voice(speech):
    """A voice of many windows."""
    return speech("long.wav", 20.0)


def long_job(client, voice, **more):
    """A job that takes long enough to be met while it runs."""
    settings = {**SMALL, "sample_steps": 50}
    return Client(backend="modal", **settings).submit("portrait.png", voice, **more)


def until_first_step(job):
    """Waits until the container computes."""
    next(event for event in job.events() if isinstance(event, Step))


def test_a_job_becomes_a_video(client, inputs, cloud, capfd):
    with cloud.commits_held():
        job = client.submit("portrait.png", "voice.wav", seed=5)
        early = next(job.events())

    video = job.result(timeout=HANG_S)
    assert (video.path, video.seed, video.backend) == (inputs / "voice.mp4", 5, "modal")
    assert (video.made.job_id, video.made.gpu, job.state) == (job.id, "h100", "done")
    assert video.price_usd > 0
    events = list(job.events())
    assert (events[0], type(events[-1])) == (early, Done)
    assert type(early) is not Done
    assert capfd.readouterr() == ("", "")


@pytest.mark.long
def test_the_same_again_is_not_paid_for(client, inputs, cloud, rpcs):
    first = client.submit("portrait.png", "voice.wav", output="one.mp4", seed=6).result()
    (inputs / "one.mp4").unlink()

    again = client.submit("portrait.png", "voice.wav", output="one.mp4", seed=6).result()

    assert (again.made.job_id, again.path) == (first.made.job_id, first.path)
    assert gpu_calls(cloud, rpcs) == 1


def test_the_wheel_carries_its_types(site):
    assert (site / "multitalk_cli" / "py.typed").is_file()


def test_submit_returns_when_the_call_is_made(deployed, long_voice, cloud, rpcs):
    slow = Client(backend="modal", **{**SMALL, "sample_steps": 50})
    job = slow.submit("portrait.png", long_voice)

    assert slow.submit("portrait.png", long_voice) is job
    assert gpu_calls(cloud, rpcs) == 1
    assert job.state == "running"
    (listed,) = Client(backend="modal").jobs()
    assert (listed.id, listed.name) == (job.id, "long")
    with pytest.raises(TimeoutError):
        job.result(timeout=0.1)
    assert job.cancel() is True


def test_cancel_frees_the_gpu_and_leaves_no_file(client, inputs, long_voice, cloud):
    before = sorted(inputs.iterdir())
    job = long_job(client, long_voice)
    until_first_step(job)

    assert job.cancel() is True

    assert not cloud.containers(busy=True)
    assert job.state == "cancelled"
    with pytest.raises(RemoteError) as caught:
        job.result()
    assert caught.value.code == "E_CANCELLED"
    assert sorted(inputs.iterdir()) == before


def test_another_client_attaches_by_id(client, inputs, cloud):
    with cloud.commits_held():
        job = client.submit("portrait.png", "voice.wav", output="long.mp4")
        cloud.busy_container()

        other = Client(backend="modal").job(job.id[:10], output="other.mp4")

        assert (other.id, other.state) == (job.id, "running")
    video = other.result(timeout=HANG_S)
    assert video.path == inputs / "other.mp4"
    assert video.path.read_bytes() == job.result(timeout=HANG_S).path.read_bytes()


@pytest.mark.long
def test_an_own_job_is_written_to_another_place_too(client, inputs, cloud):
    (inputs / "other.mp4").write_bytes(b"mine")
    with cloud.commits_held():
        job = client.submit("portrait.png", "voice.wav", output="long.mp4")

        again = client.job(job.id, output="other.mp4", force=True)

    assert (again.id, again is job) == (job.id, False)
    assert again.result(timeout=HANG_S).path == inputs / "other.mp4"
    assert job.result(timeout=HANG_S).path == inputs / "long.mp4"
    assert (inputs / "other.mp4").read_bytes() == (inputs / "long.mp4").read_bytes()


def test_another_client_cancels_by_id(client, long_voice, cloud):
    job = long_job(client, long_voice)
    until_first_step(job)

    assert Client(backend="modal").job(job.id).cancel() is True

    assert not cloud.containers(busy=True)
    with pytest.raises(RemoteError) as caught:
        job.result(timeout=HANG_S)
    assert (caught.value.code, job.state) == ("E_CANCELLED", "cancelled")


@pytest.mark.long
def test_another_machine_attaches_by_id(client, deployed):
    job = client.submit("portrait.png", "voice.wav", output="far.mp4", seed=8)

    ran = deployed.run("jobs", "attach", job.id)

    assert ran.code == 0, ran.stderr
    assert (deployed.folder / "far.mp4").read_bytes() == job.result().path.read_bytes()


@pytest.mark.parametrize("last", [pytest.param("", marks=pytest.mark.long), "next(job.events())"])
def test_a_job_continues_when_its_program_ends(client, inputs, cloud, last):
    program = (
        "from multitalk_cli import Client\n"
        "client = Client(backend='modal', size='32x32', sample_steps=10, text_guidance=1)\n"
        "job = client.submit('portrait.png', 'voice.wav', output='left.mp4', force=True)\n"
        f"print(job.id)\n{last}"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with cloud.commits_held():
        ran = subprocess.run(
            [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
        )

    video = client.job(ran.stdout.strip()).result(timeout=HANG_S)

    assert (video.path, ran.stderr) == (inputs / "left.mp4", "")


@pytest.mark.long
def test_several_jobs_at_once(client, speech):
    voices = [speech(f"{number}.wav", 0.5, start_s=0.3 * number) for number in range(3)]

    jobs = [client.submit("portrait.png", voice) for voice in voices]

    names = [job.result(timeout=HANG_S).path.name for job in jobs]
    assert names == ["0.mp4", "1.mp4", "2.mp4"]
    assert [job.id for job in client.jobs()] == [job.id for job in reversed(jobs)]


@pytest.mark.long
def test_one_client_serves_several_threads(client, speech):
    voices = [speech(f"t{number}.wav", 0.5, start_s=0.3 * number) for number in range(3)]
    made = {}

    def make(voice):
        made[voice] = client.submit("portrait.png", voice).result(timeout=HANG_S).path

    threads = [threading.Thread(target=make, args=(voice,)) for voice in voices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [made[voice].name for voice in voices] == ["t0.mp4", "t1.mp4", "t2.mp4"]


@pytest.mark.parametrize(
    ("settings", "kind", "code"),
    [
        ({"max_cost": 0.01}, RefusedError, "E_COST"),
        ({"gpu": "t4", "size": "1280x720"}, RefusedError, "E_GPU_TOO_SMALL"),
        ({"app": "nowhere"}, SetupError, "E_NOT_DEPLOYED"),
    ],
)
def test_nothing_is_paid_for_what_is_refused(client, settings, kind, code, cloud, rpcs):
    with pytest.raises(kind) as caught:
        Client(backend="modal", **{**SMALL, **settings}).submit("portrait.png", "voice.wav")

    assert (caught.value.code, gpu_calls(cloud, rpcs)) == (code, 0)
    assert client.jobs() == []


def test_a_long_voice_needs_a_price_limit(client, speech, cloud, rpcs):
    voice = speech("minute.wav", 61.0)

    with pytest.raises(MultitalkError) as caught:
        client.submit("portrait.png", voice)

    assert (caught.value.code, gpu_calls(cloud, rpcs)) == ("E_COST", 0)


def test_a_job_that_nobody_started_is_an_error(client):
    with pytest.raises(UsageError) as caught:
        client.job("7f3a7f3a7f3a")

    assert caught.value.code == "E_NO_JOB"


@pytest.mark.usefixtures("deployed")
@pytest.mark.parametrize("block", [each for each in BLOCKS if 'backend="modal"' in each])
def test_examples_of_the_page_run(block):
    settings = {f"MULTITALK_{name.upper()}": str(value) for name, value in SMALL.items()}
    env = {**os.environ, "PYTHONPATH": str(ROOT), **settings}

    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[0].endswith("running")
