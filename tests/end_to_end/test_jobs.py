"""Jobs that outlive the command that started them: detach, attach, cancel, killed clients."""

import json
import signal
import subprocess

import pytest

from multitalk_cli import contract
from multitalk_cli.media.video.probe import probe_video
from tests.end_to_end.product import User, computing, new_job, state_of
from tests.waiting import HANG_S

pytestmark = pytest.mark.usefixtures("idle_at_end")

LONG = ("--steps", "40", "--size", "48x48")
"""Options of a job that runs for many seconds."""


@pytest.fixture
def elsewhere(cloud, deployed, tmp_path):
    """The same account on another machine, with an empty state folder."""
    return User(cloud, deployed.site, tmp_path / "elsewhere")


def long_job(user, name, speech_s=4.4):
    """The words of a long job."""
    voice = user.speech(name, speech_s)
    return ("generate", "host.png", voice, "--backend", "modal", "--text-guidance", "1", *LONG)


def started(cloud, user, name, speech_s=4.4, **options):
    """A long job that computes: the command and the job's id."""
    before = computing(cloud)
    running = user.start(*long_job(user, name, speech_s), **options)
    return running, new_job(cloud, before)


def statuses(cloud, job):
    """How the job's first call ended."""
    call = json.loads(cloud.entries(contract.STATES_DICT)[f"{job}/call/0"])
    return cloud.call(call).statuses


def test_a_video_for_stdout_leaves_no_file_and_can_be_fetched_as_one(deployed, rpcs):
    words = deployed.generate(deployed.speech("piped.wav", 0.5), "-o", "-")

    done = subprocess.run(
        deployed.command(*words), env=deployed.env, cwd=deployed.folder, capture_output=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout[4:8] == b"ftyp"
    assert not list(deployed.folder.glob("*.mp4"))
    (job,) = deployed.run("jobs", "ls", "--json").data["jobs"]
    assert job["target"] == ""
    attached = deployed.run("jobs", "attach", job["id"])
    assert attached.stdout == f"{deployed.folder / 'piped.mp4'}\n", attached.stderr
    assert (deployed.folder / "piped.mp4").read_bytes() == done.stdout
    assert rpcs.count("FunctionMap") == 1


def test_detach_prints_the_id_and_attach_brings_the_video(deployed, rpcs):
    words = deployed.generate(deployed.speech("left.wav", 0.5), "--detach")

    left = deployed.run(*words)
    job = left.stdout.strip()
    attached = deployed.run("jobs", "attach", job[:6])

    assert (left.code, contract.JOB_ID.fullmatch(job) is not None) == (0, True), left.stderr
    assert attached.stdout == f"{deployed.folder / 'left.mp4'}\n", attached.stderr
    assert probe_video(deployed.folder / "left.mp4").frames == 12
    assert rpcs.count("FunctionMap") == 1
    assert deployed.run("jobs", "ls").stdout.splitlines()[1].split()[::2][:2] == [job[:8], "done"]


def test_a_job_is_followed_from_another_machine(deployed, elsewhere):
    job = deployed.run(*deployed.generate(deployed.speech("far.wav", 0.5), "--detach"))

    listed = elsewhere.run("jobs", "ls", "--remote", "--json").data["jobs"]
    attached = elsewhere.run("jobs", "attach", job.stdout.strip())

    assert job.stdout.strip() in {row["id"] for row in listed}
    assert attached.stdout == f"{elsewhere.folder / 'far.mp4'}\n", attached.stderr


def test_a_finished_job_is_fetched_and_shown(deployed, elsewhere):
    job = deployed.run(*deployed.generate(deployed.speech("made.wav", 0.5), "--json")).data["job"]

    fetched = elsewhere.run("jobs", "fetch", job, "-o", "copy.mp4")
    no_video = elsewhere.run("jobs", "fetch", job, "-o", "notes.txt", "--json")
    no_folder = elsewhere.run("jobs", "fetch", job, "-o", "gone/", "--json")
    shown = elsewhere.run("jobs", "show", job, "--json")

    assert fetched.code == 0, fetched.stderr
    assert (no_folder.code, no_folder.error["code"]) == (3, "E_OUTPUT_PATH")
    assert not (elsewhere.folder / "gone").exists()
    assert (no_video.code, no_video.error["code"]) == (2, "E_OUTPUT_NAME")
    assert no_video.error["hint"] == f"multitalk jobs fetch {job} -o notes.mp4"
    here, there = deployed.folder / "made.mp4", elsewhere.folder / "copy.mp4"
    assert here.read_bytes() == there.read_bytes()
    assert shown.data["job"]["state"] == "not-fetched"


def test_no_such_job_is_a_wrong_command_line(elsewhere):
    ran = elsewhere.run("jobs", "attach", "nosuchjob", "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_NO_JOB")


def test_a_rerun_of_an_unfinished_job_attaches_and_keeps_its_seed(cloud, deployed, rpcs):
    words = deployed.generate(deployed.speech("rerun.wav", 0.5), "--json")
    with cloud.commits_held():
        running = deployed.start(*words)
        cloud.busy_container()
        running.kill()
        (job,) = (row["id"] for row in _jobs(deployed) if row["label"] == "rerun")
        again = deployed.start(*words)
        cloud.wait_until(lambda: rpcs.count("FunctionGetOutputs"), "the second command's look")
    again = again.finish()

    assert again.code == 0, again.stderr
    assert again.data["job"] == job
    assert rpcs.count("FunctionMap") == 1


def test_a_client_killed_as_the_call_was_accepted_never_pays_twice(cloud, deployed, rpcs):
    words = deployed.generate(deployed.speech("killed.wav", 0.5))
    running = deployed.start(*words)
    cloud.wait_until(lambda: rpcs.count("FunctionMap"), "the call")
    running.kill()

    again = deployed.run(*words)

    assert again.code == 0, again.stderr
    assert rpcs.count("FunctionMap") == 1
    assert (deployed.folder / "killed.mp4").exists()


def test_cancel_from_another_machine_frees_the_card(cloud, deployed, elsewhere):
    # Longer than another process takes to start, on any machine.
    running, job = started(cloud, deployed, "stop.wav", speech_s=20.0)

    cancelled = elsewhere.run("jobs", "cancel", job, "--json")
    ended = running.finish()

    assert cancelled.data == {"job": job, "state": "cancelled", "confirmed": True}
    assert (ended.code, "E_CANCELLED" in ended.stderr) == (5, True)
    assert not cloud.containers(busy=True)
    assert state_of(cloud, job)["event"]["code"] == "E_CANCELLED"
    assert not (deployed.folder / "stop.mp4").exists()


def test_a_signal_before_the_job_says_that_there_is_none(cloud, deployed, rpcs):
    waits = cloud.on("VolumeGetFile2", delay_s=HANG_S)
    running = deployed.start(*deployed.generate(deployed.speech("none.wav", 0.4)))
    cloud.wait_until(lambda: rpcs.count("VolumeGetFile2"), "the account is checked")
    running.signal(signal.SIGINT)
    ran = running.finish()
    waits.times = 0

    assert ran.stderr.endswith("interrupted; no job was started\n")
    assert (ran.code, rpcs.count("FunctionMap")) == (-signal.SIGINT, 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_script_cancels_the_job(cloud, deployed, number):
    running, job = started(cloud, deployed, f"signal{number}.wav", speech_s=20.0)

    running.signal(number)
    ended = running.finish()

    assert ended.code == -number, ended.stderr
    assert "its GPU is free" in ended.stderr
    assert ended.stderr.endswith("interrupted; the same command starts it again\n")
    assert ended.stdout == ""
    assert not cloud.containers(busy=True)
    assert f"{job}/cancel" in cloud.entries(contract.STATES_DICT)


@pytest.mark.long
def test_two_commands_for_one_job_make_one_call(deployed, rpcs):
    words = deployed.generate(deployed.speech("both.wav", 0.5))
    first, second = deployed.start(*words), deployed.start(*words)

    ended = [first.finish(), second.finish()]

    assert [ran.code for ran in ended] == [0, 0], [ran.stderr for ran in ended]
    assert rpcs.count("FunctionMap") == 1
    assert len([job for job in _jobs(deployed) if job["label"] == "both"]) == 1


def test_one_job_at_a_time_writes_to_a_file(cloud, deployed, rpcs):
    mine = deployed.generate(deployed.speech("mine.wav", 0.5), "--detach")
    other = deployed.generate(deployed.speech("other.wav", 0.5), "-o", "talk.mp4")
    with cloud.commits_held():
        first = deployed.run(*mine, "-o", "talk.mp4")
        refused = deployed.run(*other, "--json")
        moved = deployed.run(*mine, "-o", "moved.mp4")
    attached = deployed.run("jobs", "attach", first.stdout.strip())

    assert (refused.code, refused.error["code"]) == (3, "E_OUTPUT_TAKEN"), refused.stderr
    assert first.stdout.strip() in refused.error["message"]
    assert "price" not in refused.stderr
    assert moved.stdout == first.stdout
    assert "already making this video; nothing more is paid" in moved.stderr
    assert attached.stdout == f"{deployed.folder / 'moved.mp4'}\n", attached.stderr
    assert not (deployed.folder / "talk.mp4").exists()
    assert rpcs.count("FunctionMap") == 1


@pytest.mark.long
def test_a_list_asks_what_became_of_detached_jobs(cloud, deployed):
    left = [
        deployed.run(*deployed.generate(deployed.speech(f"left{n}.wav", 0.5), "--detach"))
        for n in range(2)
    ]
    ids = [ran.stdout.strip() for ran in left]
    cloud.wait_until(lambda: all(_is_done(cloud, job) for job in ids), "both are done")
    with cloud.network_lost():
        offline = deployed.run("jobs", "ls", "--json")
    online = deployed.run("jobs", "ls", "--state", "not-fetched", "--total", "--json")

    assert (offline.code, offline.data["is_current"]) == (0, False)
    assert "cannot reach Modal" in offline.stderr
    rows = {row["id"]: row for row in online.data["jobs"]}
    assert set(ids) <= rows.keys()
    assert all(rows[job]["price_usd"] > 0 and rows[job]["ended_s"] for job in ids)
    assert online.data["total"]["price_usd"] > 0
    assert [each["location"] for each in rows[ids[0]]["inputs"]] == [
        str(deployed.folder / name) for name in ("host.png", "left0.wav")
    ]


def _is_done(cloud, job):
    return state_of(cloud, job).get("event", {}).get("kind") == "done"


def _jobs(user):
    return user.run("jobs", "ls", "--json").data["jobs"]


def test_a_first_dict_is_made_by_whoever_needs_it(cloud, elsewhere):
    ran = elsewhere.run("jobs", "ls", "--remote", "--environment", "main", "--json")

    assert ran.code == 0, ran.stderr
    assert state_of(cloud, "nothing") == {}
