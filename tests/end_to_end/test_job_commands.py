"""Many jobs at once: waited for, fetched, run again, their logs and their money."""

import json
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from multitalk_cli import contract
from multitalk_cli.media.video.probe import probe_video
from tests.end_to_end.product import gpu_calls, state_of


def detached(user, *names):
    """Small jobs of voices with these names; their ids."""
    ids = []
    for name in names:
        left = user.run(*user.generate(user.speech(f"{name}.wav", 0.5), "--detach"))
        assert left.code == 0, left.stderr
        ids.append(left.stdout.strip())
    return ids


def in_state(user, *states):
    """Ids of the listed jobs in these states."""
    words = [word for state in states for word in ("--state", state)]
    return [row["id"] for row in user.run("jobs", "ls", *words, "--json").data["jobs"]]


def test_jobs_are_waited_for_and_fetched_together(cloud, deployed, rpcs):
    ids = detached(deployed, "one", "two")

    waited = deployed.run("jobs", "wait", "--json")
    fetched = deployed.run("jobs", "fetch", "--all")
    again = deployed.run("jobs", "fetch", "--all", "--json")

    assert waited.code == 0, waited.stderr
    assert {row["id"]: row["state"] for row in waited.data["jobs"]} == dict.fromkeys(
        ids, "not-fetched"
    )
    paths = {str(deployed.folder / f"{name}.mp4") for name in ("one", "two")}
    assert (fetched.code, set(fetched.stdout.splitlines())) == (0, paths), fetched.stderr
    assert all(probe_video(path).frames == 12 for path in paths)
    assert again.data == {"videos": []}
    assert set(ids) <= set(in_state(deployed, "done"))
    assert gpu_calls(cloud, rpcs) == 2


def test_what_failed_is_run_again_from_its_record(cloud, deployed, rpcs):
    cloud.no_capacity()
    (broken,) = detached(deployed, "broken")
    cloud.capacity_back()
    cloud.out_of_memory(cloud.busy_container())

    waited = deployed.run("jobs", "wait", "--json")
    assert (waited.code, waited.data["jobs"][0]["state"]) == (5, "failed"), waited.stderr
    assert waited.error["code"] == "E_OUT_OF_MEMORY"
    refused = deployed.run("jobs", "fetch", broken, "--json")
    assert (refused.code, refused.error["code"]) == (5, "E_UNFINISHED")
    assert refused.error["hint"] == f"multitalk jobs rerun {broken[:8]}"

    # The project's settings are others now; the record counts.
    (deployed.folder / "multitalk.toml").write_text("fps = 30\n")
    rerun = deployed.run("jobs", "rerun", "--failed", "--json")
    (deployed.folder / "multitalk.toml").unlink()
    nothing = deployed.run("jobs", "rerun", "--failed", "--json")

    video = deployed.folder / "broken.mp4"
    (row,) = rerun.data["jobs"]
    assert (rerun.code, row["job"], row["output"]) == (0, broken, str(video)), rerun.stderr
    assert row["new_job"] != broken
    assert probe_video(video).fps == 24
    assert nothing.data == {"jobs": []}
    assert gpu_calls(cloud, rpcs) == 2


def test_a_job_is_run_again_like_its_generate(deployed, rpcs):
    job = deployed.run(*deployed.generate(deployed.speech("again.wav", 0.5), "--json")).data["job"]
    video = deployed.folder / "again.mp4"
    content = video.read_bytes()

    kept = deployed.run("jobs", "rerun", job)
    video.unlink()
    (deployed.folder / "again.wav").rename(deployed.folder / "moved.wav")
    lost_input = deployed.run("jobs", "rerun", job, "--json")
    deployed.run("generate", "host.png", "moved.wav", "--plan")
    (deployed.folder / "moved.wav").rename(deployed.folder / "again.wav")
    fetched = deployed.run("jobs", "rerun", job)

    assert (kept.code, kept.stdout) == (0, f"{video}\n"), kept.stderr
    assert (lost_input.code, lost_input.error["code"]) == (3, "E_FILE_MISSING")
    assert (fetched.code, fetched.stdout) == (0, f"{video}\n"), fetched.stderr
    assert "nothing is paid" in fetched.stderr
    assert video.read_bytes() == content
    assert rpcs.count("FunctionMap") == 1


def test_a_video_that_modal_no_longer_keeps_comes_from_its_file(cloud, deployed, rpcs):
    voice = deployed.speech("kept.wav", 0.5)
    job = deployed.run(*deployed.generate(voice, "--json")).data["job"]
    deployed.cloud.volume(contract.JOBS_VOLUME)
    for path in list(cloud.volume(contract.JOBS_VOLUME).files()):
        if path.startswith(job):
            _forget(cloud, path)

    copied = deployed.run(*deployed.generate(voice, "-o", "copy.mp4"))

    assert copied.code == 0, copied.stderr
    assert "nothing is paid" in copied.stderr
    first, copy = (deployed.folder / name for name in ("kept.mp4", "copy.mp4"))
    assert copy.read_bytes() == first.read_bytes()
    first.unlink()
    copy.unlink()
    expired = deployed.run("jobs", "fetch", job, "--json")
    assert (expired.code, expired.error["code"]) == (5, "E_EXPIRED")
    assert gpu_calls(cloud, rpcs) == 1


def _forget(cloud, path):
    import modal

    volume = modal.Volume.from_name(contract.JOBS_VOLUME)
    volume.remove_file(path)


def test_logs_of_a_job(cloud, deployed):
    (job,) = detached(deployed, "logged")
    cloud.wait_until(lambda: state_of(cloud, job).get("event", {}).get("kind") == "done", "done")

    ran = deployed.run("jobs", "logs", job)
    told = deployed.run("jobs", "logs", job, "--json").data

    assert ran.code == 0, ran.stderr
    assert f"job {job}: 12 frames of 32x32, 1 windows, 10 steps" in ran.stdout
    assert f"job {job}: window 1 of 1 after" in ran.stdout
    assert f"job {job}: done after" in ran.stdout.splitlines()[-1]
    assert "\n".join(each["text"] for each in told["lines"]) == ran.stdout.rstrip("\n")
    assert {each["source"] for each in told["lines"]} == {"stdout"}


def test_a_log_is_followed_until_the_job_ends(cloud, deployed):
    with cloud.commits_held():
        (job,) = detached(deployed, "watched")
        left = deployed.start("jobs", "logs", job, "--follow")
        cloud.wait_until(lambda: f"job {job}: " in left.process.printed(), "a line")
        left.signal(signal.SIGINT)
        ran = left.finish()
        followed = deployed.start("jobs", "logs", job[:8], "--follow", "--json")
        cloud.wait_until(lambda: f"job {job}: " in followed.process.printed(), "a line")
    ended = followed.finish()

    assert (ran.code, "the same command follows its log again" in ran.stderr) == (-2, True)
    *lines, last = map(json.loads, ended.stdout.splitlines())
    assert (ended.code, last["data"]) == (0, {"job": job, "state": "not-fetched"}), ended.stderr
    kept = deployed.run("jobs", "logs", job, "--json").data["lines"]
    assert [{**line, "version": 1} for line in kept] == lines
    assert f"job {job}: done after" in lines[-1]["text"]
    again = deployed.run("jobs", "logs", job, "--follow")
    assert again.stdout.splitlines() == [line["text"] for line in lines]


def test_money_of_every_kind_of_call_is_added_up(cloud, deployed):
    detached(deployed, "priced")
    deployed.run("jobs", "wait")

    by_kind = deployed.run("jobs", "cost", "--by", "kind", "--json").data
    by_day = deployed.run("jobs", "cost")

    assert by_kind["rows"][0]["name"] == "generate"
    assert by_kind["total"]["price_usd"] > 0
    assert by_day.stdout.splitlines()[-1].startswith("total")


def test_the_list_is_compared_with_modal_s_bill(cloud, deployed):
    detached(deployed, "billed")
    deployed.run("jobs", "wait")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = today - timedelta(days=1)
    cloud.faults.billed = (
        (yesterday, contract.APP_NAME, "1.25"),
        (yesterday, "another", "0.50"),
        (today, contract.APP_NAME, "0.75"),
    )

    compared = deployed.run("jobs", "cost", "--check", "--since", "3d", "--json")
    cloud.faults.billed = None
    refused = deployed.run("jobs", "cost", "--check", "--json")

    first, second = compared.data["days"]
    assert (first["day"], first["billed_usd"], first["others_usd"]) == (
        f"{yesterday:%Y-%m-%d}", 1.25, 0.5,
    )  # fmt: skip
    assert (first["ledger_usd"], second["billed_usd"]) == (0.0, 0.75)
    assert second["ledger_usd"] > 0
    assert (refused.code, refused.error["code"]) == (4, "E_BILLING")


def test_old_jobs_are_removed_but_none_that_runs(cloud, deployed):
    (job,) = detached(deployed, "pruned")
    deployed.run("jobs", "wait")
    ledger = deployed.home / ".local" / "state" / "multitalk" / "jobs.sqlite3"
    with closing(sqlite3.connect(ledger)) as db, db:
        db.execute("UPDATE jobs SET created_s = 1, ended_s = 2 WHERE id = ?", (job,))
        db.execute("UPDATE jobs SET created_s = 1, state = 'running' WHERE label = 'priced'")

    unasked = deployed.run("jobs", "prune", "--older-than", "30d", "--json")
    pruned = deployed.run("jobs", "prune", "--older-than", "30d", "--yes", "--json")

    assert (unasked.code, unasked.error["code"]) == (2, "E_USAGE")
    assert pruned.data == {"removed": [job]}
    assert job not in in_state(deployed, "done", "not-fetched", "expired")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("fetch",), "E_USAGE"),
        (("fetch", "abc", "--all"), "E_USAGE"),
        (("fetch", "--all", "-o", "one.mp4"), "E_OUTPUT_NAME"),
        (("rerun",), "E_USAGE"),
        (("rerun", "nosuchjob"), "E_NO_JOB"),
        (("wait", "nosuchjob"), "E_NO_JOB"),
        (("logs", "nosuchjob"), "E_NO_JOB"),
        (("cancel", "nosuchjob"), "E_NO_JOB"),
        (("cost", "--by", "colour"), "E_RANGE"),
    ],
)
def test_wrong_words(deployed, words, code):
    ran = deployed.run("jobs", *words, "--json")

    assert (ran.code, ran.error["code"]) == (2, code)
