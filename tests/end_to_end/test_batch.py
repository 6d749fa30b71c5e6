"""A batch in the cloud: a client that is killed, and reruns that pay for nothing twice."""

import json
import re
import signal

import pytest

from multitalk_cli.media.video.probe import probe_video
from tests.end_to_end.product import SMALL

WORDS = (*SMALL, "--backend", "modal", "-q")


def write_list(user, *names):
    """A list of a short video for each name."""
    rows = [
        f"{name},host.png,{user.speech(f'row-{name}.wav', 0.2)},{seed}"
        for seed, name in enumerate(names)
    ]
    (user.folder / "list.csv").write_text("\n".join(["id,image,voice,seed", *rows]))


def rows_of(ran):
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.long
def test_a_killed_batch_is_completed_by_a_rerun_that_pays_nothing_twice(cloud, deployed, rpcs):
    write_list(deployed, "a", "b", "c")
    cloud.no_capacity(ends_idle=True)
    killed = deployed.start("batch", "list.csv", *WORDS, "--parallel", "3")
    cloud.wait_until(lambda: rpcs.count("FunctionMap") == 3, "all rows are started")
    killed.kill()
    cloud.capacity_back()

    again = deployed.run("batch", "list.csv", *WORDS, "--report", "report")
    assert again.code == 0, again.stderr
    assert sorted((row["id"], row["state"]) for row in rows_of(again)) == [
        ("a", "done"), ("b", "done"), ("c", "done"),
    ]  # fmt: skip
    assert all(probe_video(deployed.folder / f"row-{name}.mp4").frames == 5 for name in "abc")
    assert re.search("3 of 3", (deployed.folder / "report" / "index.html").read_text())

    last = deployed.run("batch", "list.csv", *WORDS, "--json")
    assert [row["already_made"] for row in last.data["rows"]] == [True] * 3
    assert last.data["price_usd"] == 0.0
    assert rpcs.count("FunctionMap") == 3


def test_a_budget_starts_what_fits_and_says_what_does_not(deployed, rpcs):
    write_list(deployed, "d", "e", "f")
    with (deployed.folder / "list.csv").open("a") as file:
        file.write("\ntwin,host.png,row-d.wav,0")
    words = ("batch", "list.csv", *WORDS, "-o", "{id}.mp4")
    plan = deployed.run(*words, "--plan", "--json").data
    price = plan["rows"][0]["price_usd"]
    assert [row["same_as_row"] for row in plan["rows"]] == [None, None, None, 2]
    assert plan["price_usd"] == pytest.approx(3 * price, abs=1e-3)

    ran = deployed.run(*words, "--budget", price + 1e-5, "--json")

    assert ran.code == 5
    assert ran.error["code"] == "E_ROWS"
    states = ["done", "not started", "not started", "done"]
    assert [row["state"] for row in ran.data["rows"]] == states
    assert ran.data["rows"][3]["price_usd"] == 0.0
    assert ran.data["price_usd"] == pytest.approx(ran.data["rows"][0]["price_usd"], abs=1e-4)
    assert "does not fit" in ran.data["rows"][1]["reason"]
    assert ran.error["message"] == "2 of 4 videos are missing"
    hint, _, enough = ran.error["hint"].rpartition(" --budget ")
    assert hint.startswith("multitalk batch list.csv") and float(enough) > 2 * price
    assert rpcs.count("FunctionMap") == 1


def test_ctrl_c_cancels_what_runs_and_a_second_one_does_not_wait(cloud, deployed, rpcs):
    write_list(deployed, "g", "h")
    words = ("batch", "list.csv", *WORDS)
    for idle in cloud.containers():
        cloud.stop_container(idle)
    cloud.no_capacity()
    once = deployed.start(*words)
    cloud.wait_until(lambda: rpcs.count("FunctionMap") == 2, "all rows are started")
    once.signal(signal.SIGINT)
    cancelled = once.finish()
    cloud.capacity_back()

    # Containers that hold a commit do not confirm a cancellation.
    with cloud.commits_held():
        twice = deployed.start(*words)
        cloud.wait_until(lambda: cloud.containers(busy=True), "a row is made")
        cloud.wait_until(lambda: rpcs.count("FunctionMap") == 4, "all rows are started")
        twice.signal(signal.SIGINT)
        cloud.wait_until(lambda: rpcs.count("FunctionCallCancel") >= 3, "a cancellation")
        twice.signal(signal.SIGINT)
        left = twice.finish()
    last = deployed.run(*words)

    assert [ran.code for ran in (cancelled, left)] == [-signal.SIGINT] * 2, left.stderr
    assert [row["state"] for row in rows_of(cancelled)] == ["cancelled"] * 2
    assert [row["price_usd"] for row in rows_of(cancelled)] == [None] * 2
    assert (last.code, {row["state"] for row in rows_of(last)}) == (0, {"done"}), last.stderr
    assert rpcs.count("FunctionMap") <= 6
