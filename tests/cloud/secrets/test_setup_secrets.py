"""`multitalk setup-secrets` before it asks anybody: command lines, sources and what is refused."""

import os

import pytest

TOKEN = "hf_qLmNoPqRsTuVwXyZaBcDeFgHiJkLmNoPqR"


@pytest.fixture(autouse=True)
def _nothing_set_up(monkeypatch):
    """Neither keys nor a token of Modal are on this machine."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "HF_", "MODAL_"))]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "words",
    [
        [TOKEN],
        [f"HF_TOKEN={TOKEN}"],
        ["--only", "hf", TOKEN, "--from-env"],
        ["--", TOKEN],
        ["--hf-token", TOKEN],
        [f"--hf-token={TOKEN}"],
        [f"-p{TOKEN}"],
        [f"--from-env={TOKEN}"],
        ["--only", TOKEN],
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"], ["--debug"]], ids=["plain", "json", "debug"])
def test_a_value_on_the_command_line_is_refused_and_not_repeated(cli, words, form):
    ran = cli("setup-secrets", *form, *words)

    assert ran.code == 2
    assert "hf_" not in ran.stdout + ran.stderr


def test_a_value_on_the_command_line_is_known_to_others(cli):
    ran = cli("setup-secrets", TOKEN)

    assert "values do not belong on a command line" in ran.stderr
    assert "next:  multitalk setup-secrets\n" in ran.stderr


def test_without_a_terminal_a_source_must_be_named(cli):
    error = cli("setup-secrets", "--only", "aws", "--json").error

    assert (error["code"], error["exit_code"]) == ("E_SECRET_SOURCE", 2)
    assert error["hint"] == "multitalk setup-secrets --only aws --from-env"


def test_a_source_that_has_nothing_is_named(cli, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "eu-west-3")

    error = cli("setup-secrets", "--from-env", "--json").error

    assert error["code"] == "E_SECRET_SOURCE"
    assert "none of AWS_ACCESS_KEY_ID" in error["message"]
    assert "is in the environment" in error["message"]


def test_update_and_force_contradict_each_other(cli):
    assert cli("setup-secrets", "--update", "--force", "--json").error["code"] == "E_CONFLICT"


@pytest.mark.parametrize(
    ("value", "why"),
    [("   ", "HF_TOKEN is empty"), (f"{TOKEN[:9]} {TOKEN[9:]}", "HF_TOKEN has a space")],
)
def test_a_value_that_cannot_be_right_is_refused_before_the_network(cli, monkeypatch, value, why):
    monkeypatch.setenv("HF_TOKEN", value)

    ran = cli("setup-secrets", "--from-env")

    assert (ran.code, why in ran.stderr) == (4, True)
    assert "hf_" not in ran.stderr


def test_pairs_come_through_a_pipe(shell, monkeypatch):
    monkeypatch.delenv("MODAL_CONFIG_PATH", raising=False)

    ran = shell("multitalk setup-secrets --stdin", stdin=f"HF_TOKEN='{TOKEN}'\n")

    # What a pipe brought was read and cleaned; only the account is missing.
    assert (ran.code, "E_NO_TOKEN" in ran.stderr) == (4, True)
    assert "adjusted    HF_TOKEN: quotes removed" in ran.stderr
    assert "hf_" not in ran.stdout + ran.stderr


@pytest.mark.parametrize("stdin", ["", "\n", f"{TOKEN}\n"])
def test_a_pipe_without_pairs_is_refused(shell, stdin):
    ran = shell("multitalk setup-secrets --stdin", stdin=stdin)

    assert ran.code in (2, 3)
    assert "hf_" not in ran.stderr


def test_a_closed_stdin_is_no_source(shell):
    ran = shell("multitalk setup-secrets --stdin <&-")

    assert ran.code == 2


def test_help_says_that_no_option_takes_a_secret(cli):
    ran = cli("setup-secrets", "--help")

    assert ran.code == 0
    assert "takes a secret, because shells keep a history" in " ".join(ran.stdout.split())
    assert "--from-hub" in ran.stdout
