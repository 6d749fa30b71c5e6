"""First windows and rests that are cancelled, or many: nothing is paid twice."""

import json
import subprocess
import sys

import modal
import pytest

from multitalk_cli import contract
from tests.end_to_end.product import SMALL, User
from tests.end_to_end.test_faults import TWO_WINDOWS, frames_of, held_rest, long_words
from tests.waiting import HANG_S

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("idle_at_end")]


@pytest.fixture(scope="module")
def whole(deployed):
    """The video as a single run makes it."""
    ran = deployed.run(*long_words(deployed, "talk.wav"), "-o", "whole.mp4", "--json")
    assert ran.code == 0, ran.stderr
    return deployed.folder / "whole.mp4"


def test_a_cancelled_rest_costs_no_first_window(cloud, deployed, whole):
    words = long_words(deployed, "talk.wav", "--force", "-o", "stop.mp4")
    first = deployed.run(*words, "--first", "--json")
    job = first.data["job"]
    ended = deployed.run("jobs", "cancel", job, "--json").data
    assert ended == {"job": job, "state": "first-window"}
    with held_rest(cloud, deployed, job) as running:
        stopping = deployed.start("jobs", "cancel", job)
        flag = lambda: f"{job}/cancel" in cloud.entries(contract.STATES_DICT)  # noqa: E731
        cloud.wait_until(flag, "the cancellation")
    cancelled, _ = stopping.finish(), running.finish()
    state = deployed.run("jobs", "show", job, "--json").data["job"]["state"]

    # The same command, without --first, makes the rest.
    last = deployed.run(*words[:-3], "-o", "stop.mp4", "--json")

    assert "its first window is kept" in cancelled.stderr
    assert state == "first-window"
    assert (last.code, last.data["job"]) == (0, job), last.stderr
    assert any("resumed after window" in note for note in last.data["adjusted"])
    assert frames_of(deployed.folder / "stop.mp4") == frames_of(whole)
    over = deployed.run("finish", job, "--json")
    assert (over.code, over.error["code"]) == (2, "E_NOT_FIRST")
    assert over.error["hint"] == f"multitalk jobs show {job[:8]}"


def test_chosen_rows_of_a_batch_are_finished_from_another_machine(cloud, deployed, rpcs, tmp_path):
    rows = [
        f"{name},host.png,{deployed.speech(f'row-{name}.wav', TWO_WINDOWS)},{seed}"
        for seed, name in enumerate("abc")
    ]
    (deployed.folder / "rows.csv").write_text("\n".join(["id,image,voice,seed", *rows]))
    words = ("batch", "rows.csv", *SMALL, "--backend", "modal", "--json")

    looked = deployed.run(*words, "--first")
    jobs = [row["job"] for row in looked.data["rows"]]
    elsewhere = User(cloud, deployed.site, tmp_path / "elsewhere")
    far = elsewhere.run("finish", *jobs[:2], "--json")
    plan = deployed.run(*words, "--plan")

    assert looked.code == 0, looked.stderr
    assert [row["seconds"] for row in looked.data["rows"]] == [2.875] * 3
    assert f"next:  multitalk finish {' '.join(each[:8] for each in jobs)}" in looked.stderr
    assert far.code == 0, far.stderr
    assert [each["output"] for each in far.data["videos"]] == [
        str(elsewhere.folder / f"row-{name}.mp4") for name in "ab"
    ]
    assert [row["known"] for row in plan.data["rows"]] == [""] * 3
    # What the other machine has finished is fetched here, and not made again.
    calls = rpcs.count("FunctionMap")
    over = deployed.run("finish", jobs[0], "--json")
    assert (over.code, over.error["code"]) == (2, "E_NOT_FIRST")
    assert over.error["hint"] == f"multitalk jobs fetch {jobs[0][:8]}"
    whole = deployed.run(*words)
    assert [row["state"] for row in whole.data["rows"]] == ["done"] * 3, whole.stderr
    assert [row["job"] for row in whole.data["rows"]] == jobs
    assert rpcs.count("FunctionMap") == calls + 1


def test_an_app_that_was_deployed_before_makes_no_first_window(deployed, rpcs):
    dictionary = modal.Dict.from_name(contract.DEPLOYMENTS_DICT)
    record = json.loads(dictionary[contract.APP_NAME])
    del record["features"]
    kept, dictionary[contract.APP_NAME] = dictionary[contract.APP_NAME], json.dumps(record)
    try:
        ran = deployed.run(*long_words(deployed, "old.wav", "--first", "--json"))
    finally:
        dictionary[contract.APP_NAME] = kept

    assert (ran.code, ran.error["code"]) == (4, "E_CONTRACT")
    assert ran.error["hint"] == "multitalk deploy"
    assert rpcs.count("FunctionMap") == 0


def test_a_rest_is_limited_judged_and_recorded_as_its_commands_asked(deployed, rpcs):
    words = long_words(deployed, "judged.wav", "--sidecar", "--fail-under", "0.99", "--json")

    first = deployed.run(*words, "--first")
    (job,) = deployed.run("jobs", "ls", "--search", "judged", "--json").data["jobs"]
    dear = deployed.run("finish", job["id"], "--max-cost", "0.01", "--json")
    calls = rpcs.count("FunctionMap")
    last = deployed.run("finish", job["id"], "--json")

    assert (first.code, first.error["code"]) == (8, "E_QUALITY")
    assert (job["state"], calls) == ("first-window", 1)
    assert (dear.code, dear.error["code"]) == (8, "E_COST")
    assert dear.error["hint"].startswith(f"multitalk finish {job['id']} --max-cost 0.")
    # The whole video has too small a face to be measured, and is kept nevertheless.
    assert (last.code, last.error["code"]) == (8, "E_QUALITY"), last.stderr
    assert (deployed.folder / "judged.mp4").is_file()
    recipe = json.loads((deployed.folder / "judged.mp4.json").read_text())
    assert (recipe["image"], recipe["voices"]) == ("host.png", ["judged.wav"])
    assert "prompt" in recipe and "first_window" not in recipe


def test_a_program_looks_and_finishes(deployed, rpcs):
    deployed.speech("program.wav", TWO_WINDOWS)
    code = (
        "from multitalk_cli import Client\n"
        "client = Client(backend='modal', size='32x32', sample_steps=10, text_guidance=1)\n"
        "job = client.submit('host.png', 'program.wav', first=True)\n"
        "look = job.result()\n"
        "print(job.state, look.path.name, look.first.windows, look.first.rest.price_usd > 0)\n"
        "print(client.job(job.id[:8]).state, client.jobs(states=['first-window'])[0].state)\n"
        "rest = client.finish(job.id)\n"
        "whole = rest.result()\n"
        "print(rest.state, whole.path.name, whole.frames, whole.price_usd > look.price_usd)\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code], env=deployed.env, cwd=deployed.folder,
        capture_output=True, text=True, check=False, timeout=HANG_S,
    )  # fmt: skip

    assert ran.stdout.splitlines() == [
        "first-window program.first.mp4 2 True",
        "first-window first-window",
        "done program.mp4 106 True",
    ], ran.stderr
    assert rpcs.count("FunctionMap") == 2
