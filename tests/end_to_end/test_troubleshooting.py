"""Frequent problems in the cloud: caused, recognised by their code, mended by their remedy."""

import shlex

import pytest
from grpclib import Status

from multitalk_cli.errors import CODES
from tests.documents.codes import TROUBLES


@pytest.fixture
def recognised(deployed):
    """Whether a command failed with this code, which the tool explains as its table does."""

    def check(ran, code):
        assert (ran.code, ran.error["code"]) == (int(CODES[code].exit_code), code), ran.stderr
        explained = deployed.run("explain", code)
        assert explained.stdout.splitlines()[-1] == CODES[code].remedy
        assert code in {each for codes in TROUBLES.values() for each in codes}
        return ran.error

    return check


def words_for(user, name, *more):
    """The words of a small video."""
    return user.generate(user.speech(name, 0.4), "--json", *more)


@pytest.mark.long
def test_a_cold_start_that_takes_too_long(cloud, deployed, recognised):
    words = words_for(deployed, "cold.wav", "--gpu", "h200")
    cloud.faults.start_delay_s, cloud.faults.startup_timeout_s = 60, 0.05
    error = recognised(deployed.run(*words), "E_START")
    assert "no container started" in error["message"]
    cloud.faults.start_delay_s, cloud.faults.startup_timeout_s = 0, None

    warmed = deployed.run("warm", "2s", "--gpu", "h200")
    again = deployed.run(*words)

    assert warmed.code == 0, warmed.stderr
    assert again.code == 0, again.stderr
    (row,) = deployed.run("jobs", "ls", "--search", "warm", "--json").data["jobs"]
    assert (row["kind"], row["state"], row["gpu"]) == ("warm", "done", "h200")
    assert row["gpu_seconds"] > 2


@pytest.mark.long
def test_a_quota_that_is_reached(cloud, deployed, recognised):
    words = words_for(deployed, "quota.wav")
    rule = cloud.on(
        "FunctionMap", error=(Status.RESOURCE_EXHAUSTED, "the limit of GPUs is reached"), times=99
    )
    error = recognised(deployed.run(*words), "E_CAPACITY")
    assert "limit of GPUs" in error["message"]
    rule.times = 0

    assert deployed.run(*words).code == 0


def test_a_budget_that_is_used_up(cloud, deployed, recognised):
    words = words_for(deployed, "budget.wav")
    reached = "workspace billing cycle spend limit reached"
    rule = cloud.on("FunctionMap", error=(Status.RESOURCE_EXHAUSTED, reached), times=99)
    ran = deployed.run(*words)
    error = recognised(ran, "E_SPENDING_LIMIT")
    assert ran.code == 4
    assert "https://modal.com/settings/usage" in error["message"]
    rule.times = 0

    assert deployed.run(*words).code == 0


@pytest.mark.long
def test_an_account_without_a_payment_method(cloud, deployed, recognised):
    missing = "Please add a payment method to use H100 GPU functions."
    rule = cloud.on("FunctionCreate", error=(Status.PERMISSION_DENIED, missing), times=99)
    error = recognised(deployed.run("deploy", "--json"), "E_PAYMENT_METHOD")
    assert "https://modal.com/settings/usage" in error["message"]
    rule.times = 0

    assert deployed.run("deploy").code == 0


def test_a_price_that_nobody_agreed_to(deployed, recognised):
    words = words_for(deployed, "dear.wav", "--max-cost", "0.001")
    error = recognised(deployed.run(*words), "E_COST")
    assert "--max-cost" in error["hint"]
    assert "cheaper: --gpu " in error["hint"]
    enough = error["hint"].partition("--max-cost ")[2].split()[0]

    again = [enough if word == "0.001" else word for word in words]

    assert deployed.run(*again).code == 0


def test_memory_of_a_card_that_is_too_small(deployed, recognised):
    voice = deployed.speech("large.wav", 0.4)
    words = ("generate", "host.png", voice, "--backend", "modal", "--size", "1280x720", "--json")
    error = recognised(deployed.run(*words, "--gpu", "t4"), "E_GPU_TOO_SMALL")

    command = shlex.split(error["hint"].partition(",")[0])
    planned = deployed.run(*command[1:], "--plan")

    assert "--gpu" in command
    assert planned.code == 0, planned.stderr
