"""`multitalk bench` before anything is asked of the account."""

import pytest


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("MODAL_TOKEN_ID", "ak-x")
    monkeypatch.setenv("MODAL_TOKEN_SECRET", "as-x")


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        ([], 2, "E_USAGE"),
        (["--steps", "11"], 2, "E_RANGE"),
        (["--steps", "few"], 2, "E_USAGE"),
        (["--size", "auto"], 2, "E_RANGE"),
        (["--size", "100x448"], 2, "E_RANGE"),
        (["--persons", "3"], 2, "E_RANGE"),
        (["--gpu", "rtx"], 2, "E_RANGE"),
        (["--gpu", "t4", "--size", "2048x2048"], 8, "E_GPU_TOO_SMALL"),
        (["--quality", "--gpu", "a10g"], 8, "E_TIER"),
        (["--quality", "--stack", "cuda12.1"], 8, "E_TIER"),
        (["--gpu", "b200", "--stack", "cuda12.1"], 8, "E_GPU_STACK"),
    ],
)
def test_what_cannot_be_measured_is_refused(cli, words, exit_code, code):
    ran = cli("bench", *words, "--json")

    assert (ran.code, ran.error["code"]) == (exit_code, code)


def test_what_is_timed_is_not_for_the_errors_of_tiers(cli):
    ran = cli("bench", "--quality", "--steps", "1", "--json")

    assert (ran.code, ran.error["code"]) == (2, "E_CONFLICT")
    assert ran.error["hint"] == "multitalk bench --quality"


def test_a_script_is_told_the_price_and_the_option(cli):
    ran = cli("bench", "--gpu", "l40s")

    assert ran.code == 2
    assert "l40s: starts a container, reads the weights and measures, up to " in ran.stderr
    assert "error: a benchmark costs money, and this is not a terminal: pass --yes" in ran.stderr
    assert "next:  multitalk bench --gpu l40s --yes" in ran.stderr


@pytest.mark.parametrize("words", [["--yes"], []])
def test_a_missing_token_comes_before_the_price(cli, monkeypatch, words):
    for name in ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"):
        monkeypatch.delenv(name)

    ran = cli("bench", *words, "--json")

    assert (ran.code, ran.error["code"]) == (4, "E_NO_TOKEN")
