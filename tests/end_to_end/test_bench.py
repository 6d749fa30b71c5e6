"""`multitalk bench` with the control plane: a container's own engine, measured on its CPU."""

import json
import signal

import modal
import pytest

from multitalk_cli import contract
from tests.end_to_end.product import state_of

SMALL = ("--size", "32x32", "--steps", "1", "--yes")


@pytest.fixture(scope="module")
def measured(deployed):
    """A benchmark of one person, as a program reads it."""
    ran = deployed.run("bench", *SMALL, "--persons", "1", "--json")
    assert ran.code == 0, ran.stdout + ran.stderr
    return ran


def test_the_report_is_of_the_engine_in_the_container(measured):
    data = measured.data

    assert (measured.json["version"], measured.json["command"]) == (1, "bench")
    assert (data["machine"]["device"], data["backend"]) == ("cpu", "sdpa")
    assert (data["options"]["width_px"], data["options"]["measured_steps"]) == (32, 1)
    assert data["is_repeatable"] is True
    assert [row["forward"]["n"] for row in data["runs"]] == [1]


def test_a_cpu_is_compared_with_no_card(measured):
    (one,) = measured.data["rates"]

    assert one["forward_s"] == measured.data["runs"][0]["forward"]["median"] > 0
    assert (one["card"], one["ratio"], one["usd_per_video_s"]) == ("", None, None)


def test_it_is_in_the_list_of_what_cost_money(deployed, measured):
    assert measured.code == 0
    row = deployed.run("jobs", "ls", "--limit", "1", "--json").data["jobs"][0]

    assert (row["kind"], row["state"], row["gpu"]) == ("bench", "done", "auto")
    assert row["price_usd"] > 0


def test_it_says_first_what_it_does_and_costs(measured):
    first = measured.stderr.splitlines()[0]

    assert first.startswith("h100: starts a container, reads the weights and measures, up to ")
    assert "$0." in first


def test_the_errors_of_the_tiers_are_those_of_the_container(deployed, measured):
    assert measured.code == 0

    ran = deployed.run("bench", "--quality", *SMALL[:2], "--persons", "1", "--yes", "--json")

    assert ran.code == 0, ran.stderr
    assert ran.stderr.startswith("h100: starts a container, reads the weights in every tier and ")
    rows = {row["tier"]: row["errors"]["guided 5/4"] for row in ran.data["rows"]}
    assert list(rows) == list(contract.TIERS)
    assert max(rows["exact"]) == 0 < min(rows["near"] + rows["turbo"])
    assert (ran.data["floor_kernel"], ran.data["rates"]) == (None, [])
    row = deployed.run("jobs", "ls", "--limit", "1", "--json").data["jobs"][0]
    assert (row["kind"], row["state"], row["price_usd"] > 0) == ("bench", "done", True)


def test_an_older_app_that_cannot_compare_tiers_is_not_paid_for_it(deployed, rpcs):
    notes = modal.Dict.from_name(contract.DEPLOYMENTS_DICT)
    record = notes[contract.APP_NAME]
    notes[contract.APP_NAME] = json.dumps({**json.loads(record), "features": []})
    ran = deployed.run("bench", "--quality", "--yes", "--json")
    notes[contract.APP_NAME] = record

    assert (ran.code, ran.error["code"]) == (4, "E_CONTRACT")
    assert ran.error["hint"] == "multitalk deploy"
    assert rpcs.count("FunctionMap") == 0


@pytest.mark.long
def test_a_person_reads_the_benchmark_s_table(cloud, deployed, measured):
    assert measured.code == 0
    before = set(cloud.entries(contract.STATES_DICT))

    ran = deployed.run("bench", *SMALL, "--persons", "2")

    assert ran.code == 0, ran.stderr
    assert ran.stdout.startswith("cpu, torch ")
    for line in ("32x32, 81 frames, 20 steps, tier exact", "same request twice", "2 persons: "):
        assert line in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("cpu, 2 persons: ")
    (job_id,) = set(cloud.entries(contract.STATES_DICT)) - before
    assert state_of(cloud, job_id)["event"]["name"] == "2 persons"


def test_a_script_must_say_that_a_card_may_be_paid(deployed, rpcs):
    ran = deployed.run("bench", "--json")

    assert (ran.code, ran.error["hint"]) == (2, "multitalk bench --yes")
    assert not rpcs.names()


@pytest.fixture
def interrupted(cloud, deployed, rpcs):
    """Runs a command until it waits for a container, which does not come, and interrupts it."""

    def run(*words):
        cloud.no_capacity()
        running = deployed.start(*words)
        cloud.wait_until(lambda: rpcs.count("FunctionGetOutputs"), "a look at the call")
        running.signal(signal.SIGINT)
        return running.finish()

    return run


def test_ctrl_c_ends_the_container_s_call(deployed, interrupted, rpcs):
    ran = interrupted("bench", "--gpu", "l4", "--yes")

    assert ran.code in (130, -signal.SIGINT)
    assert ran.stderr.splitlines()[-1] == "interrupted; the call in the account was cancelled"
    assert rpcs.count("FunctionCallCancel") == 1
    row = deployed.run("jobs", "ls", "--limit", "1", "--json").data["jobs"][0]
    assert (row["kind"], row["state"], row["gpu"]) == ("bench", "cancelled", "l4")


def test_ctrl_c_at_warm_leaves_no_container_that_waits_longer(interrupted, rpcs):
    ran = interrupted("warm", "15m", "--gpu", "l4")

    assert ran.code == -signal.SIGINT, ran.stderr
    updates = rpcs.requests("FunctionUpdateSchedulingParams")
    windows = [each.settings.scaledown_window for each in updates]
    assert (windows, rpcs.count("FunctionCallCancel")) == ([900, 30], 1)


def test_without_a_pack_nothing_is_started(deployed, rpcs):
    modal.Volume.from_name(contract.WEIGHTS_VOLUME).remove_file("/bf16/manifest.json")

    ran = deployed.run("bench", "--yes", "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_WEIGHTS_MISSING")
    assert rpcs.count("FunctionMap") == 0
